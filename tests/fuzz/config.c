// SPDX-License-Identifier: MIT
/* Settings as they lie in shared memory, of any contents: made sane by the commands, they are in order for everybody. */
#include "fuzz.h"

#include "control/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hn_config c, again;
	char text[512];

	fuzz_take(&data, &size, &c, sizeof(c));
	hn_config_make_sane(&c);
	for (unsigned i = 0; i < hn_nr_settings; i++) {
		const struct hn_setting *s = &hn_settings[i];
		uint64_t v = hn_setting_get(s, &c);

		hn_must(s->kind == HN_SETTING_NODES || (v >= s->min && v <= s->max));
		hn_setting_text(s, &c, text, sizeof(text));
		hn_must(s->kind == HN_SETTING_POLICY || strcmp(text, "?") != 0); /* the path of a policy may be that */
	}
	again = c;
	hn_config_make_sane(&again);
	hn_must(memcmp(&c, &again, sizeof(c)) == 0);
	return 0;
}
