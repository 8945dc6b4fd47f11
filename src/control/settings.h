// SPDX-License-Identifier: MIT
/*
 * settings.h - everything that can be set, in one table: command line, environment, configuration files and `hugenuma ctl`
 * all read it, so that a setting has one name, one range and one explanation.
 *
 * Later wins: defaults, /etc/hugenuma.conf, ~/.config/hugenuma.conf, environment, command line.
 */
#ifndef HN_CONTROL_SETTINGS_H
#define HN_CONTROL_SETTINGS_H

#include "agent/layout.h"

#include <stddef.h>
#include <stdio.h>

enum hn_setting_kind {
	HN_SETTING_NUMBER, /* a whole number, min..max */
	HN_SETTING_CHOICE, /* one of a few words */
	HN_SETTING_SWITCH, /* on or off */
	HN_SETTING_POLICY, /* the name of a policy */
	HN_SETTING_NODES,  /* a list of nodes, 64 bits: "0-2,5", or all */
};

struct hn_setting {
	const char *key;    /* "scan.period_ms" */
	const char *option; /* "period-ms", without the dashes */
	enum hn_setting_kind kind;
	bool live;          /* can be changed while the program runs */
	size_t offset;      /* of its word in struct hn_config, 64 bits for nodes */
	const char *unit;   /* numbers: as in "expected a whole number of ..."; "" when it has none */
	uint64_t min, max;
	const char *const *word; /* choices */
	unsigned nr_words;
	const char *doc;
};

extern const struct hn_setting hn_settings[];
extern const unsigned hn_nr_settings;

void hn_config_defaults(struct hn_config *c);
/* What is out of its range gets its default. */
void hn_config_make_sane(struct hn_config *c);

/* NULL when there is no such key. */
const struct hn_setting *hn_setting_find(const char *key);

/* Its number; of nodes the set. */
uint64_t hn_setting_get(const struct hn_setting *s, const struct hn_config *c);
/* "0-2,5"; "" when there are none. */
void hn_nodes_text(uint64_t nodes, char *buf, size_t len);
/* The value in words, as it would be set. */
void hn_setting_text(const struct hn_setting *s, const struct hn_config *c, char *buf, size_t len);
/* The i-th of the words that may be set, NULL when there are no more. */
const char *hn_setting_word(const struct hn_setting *s, unsigned i);
/* What may be set: "a whole number of ms from 1 to 600000", "copy or kernel". */
void hn_setting_expected(const struct hn_setting *s, char *buf, size_t len);
/* False, and nothing is changed, when text is no value of this setting. */
bool hn_setting_parse(const struct hn_setting *s, struct hn_config *c, const char *text);

/*
 * Settings from files and the environment, in their order. $HUGENUMA_CONFIG names a file to read in place of both. A
 * file that is not there is none; 0, or -1 with a line in err that names file and line, or variable.
 */
int hn_settings_load(struct hn_config *c, char *err, size_t err_len);
/* From a file that is open, called `path` in errors. */
int hn_settings_read(struct hn_config *c, FILE *f, const char *path, char *err, size_t err_len);
/* One file; `must` when it is an error that it is not there. */
int hn_settings_read_file(struct hn_config *c, const char *path, bool must, char *err, size_t err_len);
/* "KEY=VALUE". 0, or -1 with a line in err. */
int hn_settings_assign(struct hn_config *c, const char *text, char *err, size_t err_len);

#endif
