// SPDX-License-Identifier: MIT
/* Which nodes /proc/zoneinfo says are short of memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "linux/live.h"
#include "linux/sys.h"

static char text[65536]; /* /proc/zoneinfo */
static size_t text_bytes, text_at, most_at_once;

long hn_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	size_t n = text_bytes - text_at;

	(void)a;
	(void)d;
	(void)e;
	(void)f;
	switch (nr) {
	case SYS_openat: text_at = 0; return 9;
	case SYS_close: return 0;
	case SYS_read:
		n = n < (size_t)c ? n : (size_t)c;
		n = n < most_at_once ? n : most_at_once;
		memcpy((void *)b, text + text_at, n);
		text_at += n;
		return (long)n;
	default: fail_msg("system call %ld: to be read from start to end", nr); /* pread makes the kernel begin again */
	}
	return -ENOSYS;
}

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
		{ "kept for others", { "Node 0, zone      DMA", "  pages free     3840", "        high     16",
				       "        protection: (0, 2966, 24090, 24090, 24090)" }, 0, 1 },
		{ "kept, but not the whole", { "Node 0, zone    DMA32", "  pages free     30000", "        high     1000",
					       "        protection: (0, 0, 21071, 21071, 21071)" }, 1, 1 },
		{ "a page short of it", { "Node 0, zone    DMA32", "  pages free     22583", "        high     1000",
					  "        protection: (0, 0, 21071, 21071)" }, 0, 1 },
		{ "each zone keeps its own", { "Node 0, zone    DMA32", "  pages free     10", "        high     3",
					       "        protection: (0, 0, 21071)", "Node 0, zone   Normal", "  pages free     900",
					       "        high     3", "        protection: (0, 0, 0)" }, 1, 1 },
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

/* ---- a whole file, as Linux 6.18 has it on two nodes ---- */

static void say(const char *line) { text_bytes += (size_t)sprintf(text + text_bytes, "%s\n", line); }

static void zone(unsigned node, const char *name, unsigned free, unsigned high, const char *protection)
{
	char line[128];
	unsigned cpu;

	sprintf(line, "Node %u, zone %8s", node, name);
	say(line);
	sprintf(line, "  pages free     %u\n        boost    0\n        min      %u\n        low      %u", free, high / 2, high / 4 * 3);
	say(line);
	sprintf(line, "        high     %u\n        promo    %u\n        spanned  4095\n        present  3998", high, high * 2);
	say(line);
	say("        managed  3840\n        cma      0");
	sprintf(line, "        protection: %s", protection);
	say(line);
	sprintf(line, "      nr_free_pages %u\n      nr_zone_inactive_anon 900000\n  pagesets", free);
	say(line);
	for (cpu = 0; cpu < 40; cpu++) {
		sprintf(line, "    cpu: %u\n              count:    24158\n              high:     24904", cpu);
		say(line);
		say("              batch:    63\n              high_min: 1444\n  vm stats threshold: 24");
	}
	say("  node_unreclaimable:  0\n  start_pfn:           1");
}

static const int16_t os_nid[] = { 0, 1 };

static uint64_t short_nodes(unsigned normal_free, unsigned free_1)
{
	static struct hn_live live;

	live.setup = (struct hn_setup){ .nr_nodes = 2, .os_nid = os_nid };
	text_bytes = 0;
	zone(0, "DMA", 3840, 16, "(0, 2966, 24090, 24090, 24090)");
	zone(0, "DMA32", 7000, 3660, "(0, 0, 21071, 21071, 21071)");
	zone(0, "Normal", normal_free, 25000, "(0, 0, 0, 0, 0)");
	zone(0, "Movable", 0, 0, "(0, 0, 0, 0, 0)");
	zone(1, "Normal", free_1, 25000, "(0, 0, 0, 0, 0)");
	zone(1, "Device", 0, 0, "(0, 0, 0, 0, 0)");
	return hn_nodes_short(&live);
}

/* Read in pieces of any size. Node 0 has what is kept for devices, and would never be short of memory. */
static void test_two_nodes(void **state)
{
	static const size_t piece[] = { 1, 7, 100, 1000, 1 << 20 };
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(piece) / sizeof(piece[0]); i++) {
		most_at_once = piece[i];
		assert_int_equal(short_nodes(90000, 90000), 0);
		assert_int_equal(short_nodes(25512, 90000), 1);
		assert_int_equal(short_nodes(25513, 25512), 2);
		assert_int_equal(short_nodes(100, 100), 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_nodes), cmocka_unit_test(test_two_nodes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
