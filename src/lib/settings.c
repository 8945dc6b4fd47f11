// SPDX-License-Identifier: MIT
/*
 * settings.c - settings by name, from the one table (control/settings.h).
 */
#include "control/settings.h"

#include <errno.h>
#include <string.h>

#include "control/nodes.h"
#include "control/proc.h"
#include "lib/lib.h"

#define PATIENCE_MS 5000

static struct hn_config config;
static bool is_set[64], any;

/* Before the first call the defaults stand. Lock held for writing. */
static struct hn_config *pending(void)
{
	if (!any)
		hn_config_defaults(&config);
	any = true;
	return &config;
}

void hn_lib_take_config(struct hn_config *c) { *c = *pending(); }

int hn_lib_read_config(struct hn_config *c, char *err, size_t len)
{
	char value[HN_PLUGIN_PATH + 16];

	hn_config_defaults(c);
	if (hn_settings_load(c, err, len) != 0)
		return -EINVAL;
	for (unsigned i = 0; i < hn_nr_settings && i < sizeof(is_set); i++) {
		if (!is_set[i])
			continue;
		hn_setting_text(&hn_settings[i], pending(), value, sizeof(value));
		hn_setting_parse(&hn_settings[i], c, value);
	}
	return 0;
}

/* As hn_attach_configure(), which another process would use; and both may at once. */
static int configure(const struct hn_door *d, const struct hn_config *c)
{
	struct hn_slot *s = d->agent->slot;
	uint64_t end = hn_now_ms() + PATIENCE_MS;
	uint32_t seq;

	for (;; hn_lib_nap()) {
		seq = hn_load_acquire(&s->config_seq);
		if (!(seq & 1) && hn_cas_acquire(&s->config_seq, seq, seq + 1))
			break;
		if (hn_now_ms() > end)
			return -ETIMEDOUT;
	}
	s->config = *c;
	hn_store_release(&s->config_seq, seq + 2);
	d->kick();
	for (; (int32_t)(hn_load_acquire(&s->config_seen) - (seq + 2)) < 0; hn_lib_nap())
		if (hn_now_ms() > end)
			return -ETIMEDOUT;
	return 0;
}

static int set_locked(const struct hn_setting *s, const char *value)
{
	const struct hn_door *d = hn_lib_running();
	struct hn_config trial = *pending(), live;
	char why[256];
	int err = 0;

	if (!hn_setting_parse(s, &trial, value))
		return -EINVAL;
	if (d && !s->live)
		return -EBUSY;
	if (d) {
		live = d->agent->slot->config;
		if (!hn_setting_parse(s, &live, value))
			return -EINVAL;
		if (live.nodes != d->agent->slot->config.nodes &&
		    hn_nodes_check(&d->agent->shm->machine, live.nodes, s->key, why, sizeof(why)) != 0)
			return -EINVAL;
		/* a policy object is loaded when managing starts */
		if (live.policy == HN_POLICY_PLUGIN && strcmp(live.plugin, d->agent->slot->config.plugin) != 0)
			return -EBUSY;
		err = configure(d, &live);
	}
	if (!err) {
		config = trial;
		if ((size_t)(s - hn_settings) < sizeof(is_set))
			is_set[s - hn_settings] = true;
	}
	return err;
}

EXPORT int hugenuma_set(const char *key, const char *value)
{
	const struct hn_setting *s = key ? hn_setting_find(key) : NULL;
	int err;

	if (!s)
		return -ENOENT;
	if (!value)
		return -EINVAL;
	hn_lib_write_lock();
	err = set_locked(s, value);
	hn_lib_unlock();
	return err;
}

EXPORT int hugenuma_get(const char *key, char *value, size_t len)
{
	const struct hn_setting *s = key ? hn_setting_find(key) : NULL;
	char text[HN_PLUGIN_PATH + 16];
	const struct hn_door *d;
	struct hn_config c;

	if (!s)
		return -ENOENT;
	hn_lib_write_lock();
	d = hn_lib_running();
	c = d ? d->agent->slot->config : *pending();
	hn_lib_unlock();
	hn_setting_text(s, &c, text, sizeof(text));
	return hn_lib_text(value, len, text);
}
