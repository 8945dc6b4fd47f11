// SPDX-License-Identifier: MIT
/* The controller's readers of /proc: stat, status, maps, smaps, numa_maps. A process chooses its name, and names of files. */
#include "fuzz.h"

#include "control/maps.h"
#include "control/proc.h"

static FILE *text_file(const char *text, size_t size)
{
	return size ? fmemopen((void *)(uintptr_t)text, size, "r") : NULL;
}

static void mapping(const char *text, size_t size)
{
	FILE *smaps = text_file(text, size), *numa_maps = text_file(text, size);
	struct hn_mapping m = { 0 };

	if (hn_mapping_find(&m, smaps, 0x7f0000001000)) {
		hn_must(m.start <= 0x7f0000001000 && m.end > 0x7f0000001000);
		hn_mapping_find_policy(&m, numa_maps);
		hn_must(strlen(m.name) < sizeof(m.name) && strlen(m.policy) < sizeof(m.policy) && strlen(m.perms) < sizeof(m.perms));
		for (const char *p = m.name; *p; p++)
			hn_must(*p >= ' ' && *p <= '~');
	}
	if (smaps)
		fclose(smaps);
	if (numa_maps)
		fclose(numa_maps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), state;
	static struct hn_kernel_view view;
	uint64_t ticks;
	long threads;

	hn_parse_stat(text, &state, &threads, &ticks);
	hn_parse_innermost_pid(text);
	hn_maps_line_is_of(text, 0x18, 1234);
	memset(&view, 0, sizeof(view));
	hn_kernel_view_line(&view, text);
	mapping(text, size);
	free(text);
	return 0;
}
