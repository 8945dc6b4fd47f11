// SPDX-License-Identifier: MIT
/*
 * json.h - building JSON with jansson: errors (out of memory) are collected in the object and asked for once, at the end.
 */
#ifndef HN_CONTROL_JSON_H
#define HN_CONTROL_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct hn_object {
	json_t *json;
	bool ok;
};

struct hn_object hn_object_new(void);
void hn_put_count(struct hn_object *o, const char *key, uint64_t n);
void hn_put_bool(struct hn_object *o, const char *key, bool b);
/* NULL becomes null; bytes that are not UTF-8 become '?'. */
void hn_put_text(struct hn_object *o, const char *key, const char *s);
/* part / whole in percent; null when there is nothing to take a share of. */
void hn_put_percent(struct hn_object *o, const char *key, uint64_t part, uint64_t whole);
void hn_put_object(struct hn_object *o, const char *key, struct hn_object child);
/* Takes over the array. */
void hn_put_array(struct hn_object *o, const char *key, json_t *array);
void hn_append(struct hn_object *o, json_t *array, json_t *value);
void hn_append_object(struct hn_object *o, json_t *array, struct hn_object child);
/* 32-bit counters as an array. */
void hn_put_words(struct hn_object *o, const char *key, const uint32_t *v, uint32_t nr);
/* An address, as text: numbers of JSON lose bits in some readers. */
void hn_put_addr(struct hn_object *o, const char *key, uint64_t addr);
json_t *hn_text_json(const char *s);

#endif
