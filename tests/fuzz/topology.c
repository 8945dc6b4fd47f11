// SPDX-License-Identifier: MIT
/*
 * Descriptions of a machine in hwloc's words: what is made of them is sane. XML files are another harness's:
 * topology_file.c.
 */
#include "fuzz.h"

#include "agent/layout.h"
#include "control/machine.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	/* the errors of libxml are of no interest, and the real machine need not be read from /sys each time */
	setenv("HWLOC_HIDE_ERRORS", "2", 1);
	setenv("HWLOC_COMPONENTS", "no_os,stop", 1);
	return 0;
}

/* The product of all numbers in it, which is at least that of its levels. */
static bool is_small(const char *text)
{
	double all = 1;

	for (const char *p = text; *p; p++)
		if (*p >= '0' && *p <= '9') {
			double n = strtod(p, (char **)(uintptr_t)&p);

			all *= n > 1 ? n : 1;
			p--;
		}
	return all < 3000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[512] = "", *text = fuzz_text(data, size);
	struct hn_machine m;
	unsigned real = 0;

	/* not the name of a file, nor a machine that takes minutes to describe */
	if (!strchr(text, '/') && !strstr(text, ".xml") && is_small(text)) {
		if (hn_machine_build_here(&m, text, &real, err, sizeof(err)) == 0)
			hn_must(hn_machine_is_sane(&m) && m.is_virtual);
		else
			hn_must(err[0]);
	}
	free(text);
	return 0;
}
