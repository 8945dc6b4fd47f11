// SPDX-License-Identifier: MIT
/* `hugenuma check --replay': letters with counts. The first byte is the number of actors. */
#include "fuzz.h"

#include "check/explore.h"
#include "check/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t schedule[CK_MAX_STEPS];
	uint32_t nr = 0;
	uint8_t actors;
	char *text;

	fuzz_take(&data, &size, &actors, 1);
	actors = (uint8_t)(1 + actors % CK_MAX_ACTORS);
	text = fuzz_text(data, size);
	if (ck_schedule_parse(text, actors, schedule, &nr) == 0) {
		hn_must(nr <= CK_MAX_STEPS);
		for (uint32_t i = 0; i < nr; i++)
			hn_must(schedule[i] < actors);
	} else {
		hn_must(nr <= size);
	}
	free(text);
	return 0;
}
