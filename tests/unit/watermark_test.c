// SPDX-License-Identifier: MIT
/* Which nodes /proc/zoneinfo says are short of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "linux/live.h"

static void read_lines(struct hn_zoneinfo *z, const char *const *line)
{
	*z = (struct hn_zoneinfo){ .node = -1 };
	for (; *line; line++)
		hn_zoneinfo_line(z, *line);
	hn_zoneinfo_end(z);
}

static void test_nodes(void **state)
{
	static const struct {
		const char *what, *line[12];
		uint64_t room, seen;
	} rows[] = {
		{ "plenty", { "Node 0, zone   Normal", "  pages free     100000", "        high     10000" }, 1, 1 },
		{ "a huge page too few", { "Node 0, zone   Normal", "  pages free     10512", "        high     10000" }, 0, 1 },
		{ "just enough", { "Node 0, zone   Normal", "  pages free     10513", "        high     10000" }, 1, 1 },
		{ "one zone has it", { "Node 1, zone      DMA", "  pages free     100", "        high     10", "Node 1, zone    DMA32",
				       "  pages free     3000", "        high     700" }, 2, 2 },
		{ "not the sum of them", { "Node 1, zone      DMA", "  pages free     400", "        high     10",
					   "Node 1, zone    DMA32", "  pages free     400", "        high     10" }, 0, 2 },
		{ "each node for itself", { "Node 0, zone   Normal", "  pages free     5", "        high     10000",
					    "Node 3, zone   Normal", "  pages free     90000", "        high     10000" }, 8, 9 },
		{ "lines that are something else", { "Node 0, zone   Normal", "      nr_free_pages 70000", "    cpu: 0",
						     "              high:  186", "  pages free     10", "        high     3" }, 0, 1 },
		{ "a node that there is not", { "Node 99, zone   Normal", "  pages free     90000", "        high     3" }, 0, 0 },
		{ "nothing", { "" }, 0, 0 },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hn_zoneinfo z;

		read_lines(&z, rows[i].line);
		if (z.room != rows[i].room || z.seen != rows[i].seen)
			fail_msg("%s: room %#lx, seen %#lx", rows[i].what, (unsigned long)z.room, (unsigned long)z.seen);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_nodes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
