// SPDX-License-Identifier: MIT
/*
 * What the kernel says of the machine and of threads, read by the agent through its one door to the kernel, which is ours here:
 * z /proc/zoneinfo, s /proc/stat, t a thread's schedstat, m a node's meminfo. The first letter chooses, the second says in what
 * pieces the file comes; the rest is the file.
 */
#include <errno.h>

#include "fuzz.h"

#include "linux/live.h"
#include "linux/sys.h"

#define NODES 4
#define CPUS 64
#define FD 1000 /* nobody's */

static struct {
	const uint8_t *text;
	size_t bytes, at, most; /* most: of one read */
} file;

long __wrap_hn_syscall6(long nr, long a, long b, long c, long d, long e, long f);
long __real_hn_syscall6(long nr, long a, long b, long c, long d, long e, long f);

static long take(void *to, size_t room, size_t from)
{
	size_t n = from < file.bytes ? file.bytes - from : 0;

	n = n < room ? n : room;
	n = n < file.most ? n : file.most;
	memcpy(to, file.text + from, n);
	return (long)n;
}

long __wrap_hn_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	long n;

	switch (nr) {
	case SYS_openat:
		file.at = 0;
		return FD;
	case SYS_read:
		hn_must(a == FD);
		n = take((void *)b, (size_t)c, file.at);
		file.at += (size_t)n;
		return n;
	case SYS_pread64:
		hn_must(a == FD);
		return take((void *)b, (size_t)c, (size_t)d);
	case SYS_close:
		hn_must(a == FD);
		return 0;
	default:
		return __real_hn_syscall6(nr, a, b, c, d, e, f);
	}
}

/* The longest line, with its end. */
static size_t longest(void)
{
	size_t most = 0, since = 0;

	for (size_t i = 0; i < file.bytes; i++) {
		since++;
		most = since > most ? since : most;
		if (file.text[i] == '\n')
			since = 0;
	}
	return most;
}

/* In pieces as they come, and all at once: where each holds a line, that is the same. */
static void read_zoneinfo(const struct hn_live *live, size_t piece)
{
	uint64_t whole, parts;

	file.most = piece;
	parts = hn_nodes_short(live);
	file.most = SIZE_MAX;
	whole = hn_nodes_short(live);
	hn_must(!(whole >> NODES) && (piece < longest() || parts == whole));
}

static void read_stat(const struct hn_live *live, size_t piece)
{
	uint64_t cpus[1] = { ~0ull }, whole[HN_MAX_NODES], parts[HN_MAX_NODES];
	bool known;

	file.most = piece;
	known = hn_idle_look(live, cpus, parts);
	file.most = SIZE_MAX;
	hn_must(hn_idle_look(live, cpus, whole) == known && memcmp(whole, parts, sizeof(whole)) == 0);
	for (unsigned n = 0; n < HN_MAX_NODES; n++)
		hn_must(!whole[n] || (known && n < NODES));
}

static void read_schedstat(const struct hn_live *live, size_t piece)
{
	struct hn_task_times t;
	bool there;

	file.most = piece;
	there = hn_task_times(live, 12, &t);
	hn_must(there == (file.bytes != 0) && (there || (!t.run_ns && !t.wait_ns)));
}

static void read_meminfo(const struct hn_live *live, size_t piece)
{
	file.most = piece;
	hn_must(hn_room_kib(live, 1) == 0 || file.bytes > strlen("MemFree:"));
	hn_room_is_enough(live, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int16_t os_nid[NODES] = { 0, 1, 3, HN_MAX_NODES };
	static int16_t cpu_node[CPUS];
	static struct hn_live live; /* as it is before anything has been managed */
	struct { char which, pieces; } head;

	fuzz_take(&data, &size, &head, sizeof(head));
	for (int cpu = 0; cpu < CPUS; cpu++)
		cpu_node[cpu] = (int16_t)(cpu % (NODES + 1) - 1); /* some are nobody's */
	live.setup.nr_nodes = NODES;
	live.setup.os_nid = os_nid;
	live.setup.nr_cpus = CPUS;
	live.setup.cpu_node = cpu_node;
	live.setup.kernel_mover = true;
	file.text = data;
	file.bytes = size;
	switch (head.which) {
	case 'z':
		read_zoneinfo(&live, 1 + (uint8_t)head.pieces);
		break;
	case 's':
		read_stat(&live, 1 + (uint8_t)head.pieces);
		break;
	case 't':
		read_schedstat(&live, 1 + (uint8_t)head.pieces);
		break;
	case 'm':
		read_meminfo(&live, 1 + (uint8_t)head.pieces);
		break;
	}
	return 0;
}
