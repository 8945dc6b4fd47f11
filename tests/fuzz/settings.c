// SPDX-License-Identifier: MIT
/* Settings: a configuration file, KEY=VALUE of --set and ctl, and the value of each option and environment variable. */
#include "fuzz.h"

#include "control/settings.h"

/* Whatever was said, what is set is within its range, and its text sets the same again. */
static void check(struct hn_config *c)
{
	struct hn_config again = *c;

	for (unsigned i = 0; i < hn_nr_settings; i++) {
		const struct hn_setting *s = &hn_settings[i];
		uint64_t v = hn_setting_get(s, c);
		char text[512];

		hn_must(s->kind == HN_SETTING_NODES || (v >= s->min && v <= s->max));
		hn_setting_text(s, c, text, sizeof(text));
		hn_must(hn_setting_parse(s, &again, text));
	}
	hn_must(memcmp(c, &again, sizeof(again)) == 0);
}

static void read_file(struct hn_config *c, const char *text, size_t size)
{
	FILE *f = size ? fmemopen((void *)(uintptr_t)text, size, "r") : NULL;
	char err[256] = "";

	if (!f)
		return;
	if (hn_settings_read(c, f, "file", err, sizeof(err)) != 0)
		hn_must(strncmp(err, "file:", 5) == 0);
	fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), err[256] = "";
	struct hn_config c, before;

	hn_config_defaults(&c);
	before = c;
	if (hn_settings_assign(&c, text, err, sizeof(err)) != 0)
		hn_must(err[0] && memcmp(&c, &before, sizeof(c)) == 0);
	check(&c);
	for (unsigned i = 0; i < hn_nr_settings; i++) {
		before = c;
		if (!hn_setting_parse(&hn_settings[i], &c, text))
			hn_must(memcmp(&c, &before, sizeof(c)) == 0);
	}
	check(&c);
	hn_config_defaults(&c);
	read_file(&c, text, size);
	check(&c);
	free(text);
	return 0;
}
