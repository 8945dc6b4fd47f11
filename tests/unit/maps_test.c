// SPDX-License-Identifier: MIT
/* Which mappings are looked at: asked of the kernel one by one, and read from maps, must be the same. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define MOST 512
#define BYTES ((size_t)8 << 20)

static int queries; /* that were answered; -1: none is to be */

long hn_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;

	if (nr == SYS_ioctl && b == (long)HN_PROCMAP_QUERY && queries < 0)
		return -ENOTTY;
	ret = syscall(nr, a, b, c, d, e, f);
	if (nr == SYS_ioctl && ret == 0)
		queries++;
	return ret < 0 ? -errno : ret;
}

struct found {
	struct hn_vma vma[MOST];
	unsigned nr;
};

static bool note(void *arg, const struct hn_vma *vma)
{
	struct found *f = arg;

	f->vma[f->nr++] = *vma;
	return f->nr < MOST;
}

static bool has(const struct found *f, const void *p)
{
	unsigned i;

	for (i = 0; i < f->nr; i++)
		if (f->vma[i].start <= (uintptr_t)p && (uintptr_t)p < f->vma[i].end)
			return true;
	return false;
}

static char *map(int prot, int flags)
{
	char *p = mmap(NULL, BYTES, prot, flags | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void test_the_same_either_way(void **state)
{
	static struct found asked, read;
	static char buf[16384];
	char *plain = map(PROT_READ | PROT_WRITE, MAP_PRIVATE), *shared = map(PROT_READ | PROT_WRITE, MAP_SHARED);
	char *read_only = map(PROT_READ, MAP_PRIVATE), *code = map(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE);
	char *named = map(PROT_READ | PROT_WRITE, MAP_PRIVATE), on_stack;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	(void)state;
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, BYTES, "a name, as long as a name can be: eighty bytes, the kernel says, less one NUL");
	assert_true(fd >= 0);
	assert_int_equal(hn_maps_walk(fd, buf, sizeof(buf), note, &asked), 0);
	if (!queries)
		skip(); /* before Linux 6.11 */
	queries = -1;
	assert_int_equal(hn_maps_walk(fd, buf, sizeof(buf), note, &read), 0);
	assert_int_equal(queries, -1);
	assert_true(read.nr > 2);
	assert_int_equal(asked.nr, read.nr);
	assert_memory_equal(asked.vma, read.vma, read.nr * sizeof(read.vma[0]));
	assert_true(has(&asked, plain) && has(&asked, named));
	assert_false(has(&asked, shared) || has(&asked, read_only) || has(&asked, code) || has(&asked, &on_stack));
	close(fd);
}

static bool first_only(void *arg, const struct hn_vma *vma)
{
	(void)vma;
	++*(unsigned *)arg;
	return false;
}

static void test_until_told_to_stop(void **state)
{
	char buf[4096];
	unsigned calls = 0;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	(void)state;
	queries = 0;
	assert_int_equal(hn_maps_walk(fd, buf, sizeof(buf), first_only, &calls), 0);
	assert_int_equal(calls, 1);
	close(fd);
}

/* One mapping, or a hole in it, or another in the place of a part; to the kernel that is asked by text only holes show. */
static void test_whole(void **state)
{
	char *p = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	hn_addr start = (hn_addr)(uintptr_t)p, end = start + BYTES;

	(void)state;
	for (queries = 0;; queries = -1) {
		bool by_text;

		assert_true(hn_maps_is_whole(fd, start, end) && hn_maps_is_whole(fd, start + 4096, end - 4096));
		by_text = queries <= 0;
		assert_int_equal(mprotect(p + BYTES / 2, 4096, PROT_READ), 0);
		assert_int_equal(hn_maps_is_whole(fd, start, end), by_text);
		assert_int_equal(munmap(p + BYTES / 2, 4096), 0);
		assert_false(hn_maps_is_whole(fd, start, end));
		assert_true(hn_maps_is_whole(fd, start, start + BYTES / 2));
		assert_ptr_equal(mmap(p + BYTES / 2, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
				 p + BYTES / 2);
		assert_int_equal(hn_maps_is_whole(fd, start, end), by_text);
		assert_ptr_equal(mmap(p, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), p);
		if (by_text)
			break;
	}
	queries = 0;
	assert_false(hn_maps_is_whole(-1, start, end)); /* cannot be told */
	munmap(p, BYTES);
	close(fd);
}

struct pieces {
	struct hn_vma vma[8];
	unsigned nr;
};

static void note_piece(void *arg, const struct hn_vma *piece)
{
	struct pieces *p = arg;

	assert_true(p->nr < 8);
	p->vma[p->nr++] = *piece;
}

/* What of a range each mapping has, holes and what is no plain memory too; the same when the kernel is asked by text. */
static void test_within(void **state)
{
	static struct hn_live live;
	char *p = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	hn_addr start = (hn_addr)(uintptr_t)p, k = 4096;
	int by_text;

	(void)state;
	live.fd_maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	live.fd_task = open("/proc/self/task", O_RDONLY | O_CLOEXEC | O_DIRECTORY);
	assert_int_equal(mprotect(p + 2 * k, k, PROT_READ), 0);
	assert_int_equal(munmap(p + 4 * k, k), 0);
	assert_ptr_not_equal(mmap(p + 5 * k, k, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), MAP_FAILED);
	for (by_text = 0; by_text < 2; by_text++) {
		const struct hn_vma wanted[] = { { start + k, start + 2 * k }, { start + 2 * k, start + 3 * k },
						 { start + 3 * k, start + 4 * k }, { start + 5 * k, start + 6 * k },
						 { start + 6 * k, start + 9 * k } };
		struct pieces got = { .nr = 0 }, none = { .nr = 0 };

		queries = by_text ? -1 : 0;
		hn_maps_within(&live, start + k, start + 9 * k, note_piece, &got);
		assert_int_equal(got.nr, 5);
		assert_memory_equal(got.vma, wanted, sizeof(wanted));
		hn_maps_within(&live, start + 4 * k, start + 5 * k, note_piece, &none);
		assert_int_equal(none.nr, 0);
	}
	munmap(p, BYTES);
	close(live.fd_maps);
	close(live.fd_task);
}

/* Of several, and among others: exactly those that were asked to be wiped. */
static void test_wiped(void **state)
{
	char *p = map(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	hn_addr start = (hn_addr)(uintptr_t)p, k = 4096;
	struct hn_range got[4];
	int fd;

	(void)state;
	assert_int_equal(madvise(p + k, 2 * k, MADV_WIPEONFORK), 0);
	assert_int_equal(madvise(p + 7 * k, k, MADV_WIPEONFORK), 0);
	fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	assert_int_equal(hn_smaps_wiped(fd, got, 4), 2);
	assert_true(got[0].start == start + k && got[0].end == start + 3 * k);
	assert_true(got[1].start == start + 7 * k && got[1].end == start + 8 * k);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(hn_smaps_wiped(fd, got, 1), 1);
	munmap(p, BYTES);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_same_either_way),
		cmocka_unit_test(test_until_told_to_stop),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_within),
		cmocka_unit_test(test_wiped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
