// SPDX-License-Identifier: MIT
/*
 * mremap of memory that is one mapping where nobody watches it: the first part was managed before the second one came, and the
 * kernel makes no mapping one with another that is registered with a userfaultfd. It moves one mapping in a call.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "common.h"

#define SEED 41u
#define OLD 4u /* pages: managed, ... */
#define NEW 3u /* ... and come later, the last one half */
#define BYTES ((OLD + NEW) * HUGE - HUGE / 2)

static void fill_after(char *p, size_t from, size_t to)
{
	CHECK(mmap(p + from, to - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p + from);
	CHECK(madvise(p + from, to - from, MADV_HUGEPAGE) == 0);
	live_fill_from(p + from, to - from, SEED, from / 8);
}

static char *two_mappings(void)
{
	char *p = live_arena(OLD, SEED);

	live_wait_absent(p, OLD * HUGE);
	fill_after(p, OLD * HUGE, BYTES);
	return p;
}

/* The old place has nothing any more, or zeros. */
static bool is_unmapped(const char *p, size_t bytes)
{
	size_t off;

	for (off = 0; off < bytes; off += BASE) /* whole it may be one of several mappings */
		if (msync((void *)(uintptr_t)(p + off), BASE, MS_ASYNC) != -1 || errno != ENOMEM)
			return false;
	return true;
}

static void moves_and_grows(void)
{
	char *p = two_mappings(), *q;

	/* In its way, so that it has to move. */
	CHECK(mmap(p + BYTES, BASE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p + BYTES);
	q = mremap(p, BYTES, BYTES + 5 * HUGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED && q != p);
	live_verify(q, BYTES, SEED);
	live_verify_zero(q + BYTES, 5 * HUGE);
	CHECK(is_unmapped(p, BYTES));
	live_fill(q, BYTES + 5 * HUGE, SEED + 1);
	live_sleep_ms(50);
	live_verify(q, BYTES + 5 * HUGE, SEED + 1);
	/* What has moved is as good as new. */
	p = mremap(q, BYTES + 5 * HUGE, BYTES + 6 * HUGE, MREMAP_MAYMOVE);
	CHECK(p != MAP_FAILED);
	live_verify(p, BYTES + 5 * HUGE, SEED + 1);
	CHECK(munmap(p, BYTES + 6 * HUGE) == 0);
}

static void grows_in_place(void)
{
	char *p = two_mappings();

	CHECK(mremap(p, BYTES, BYTES + HUGE, 0) == p);
	live_verify(p, BYTES, SEED);
	live_verify_zero(p + BYTES, HUGE);
	CHECK(mmap(p + BYTES + HUGE, BASE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p + BYTES + HUGE);
	CHECK(mremap(p, BYTES + HUGE, BYTES + 2 * HUGE, 0) == MAP_FAILED && errno == ENOMEM);
	live_verify(p, BYTES, SEED);
}

/* To a place that is taken, longer, shorter, and as long as it was; from the middle of the one to the middle of the other. */
static void to_a_given_place(void)
{
	static const size_t lengths[] = { BYTES, BYTES + HUGE, BYTES - HUGE, HUGE };
	size_t i;

	for (i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		char *p = two_mappings(), *to = live_arena(OLD + NEW + 1, SEED + 9);
		size_t kept = lengths[i] < BYTES ? lengths[i] : BYTES;

		CHECK(mremap(p, BYTES, lengths[i], MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		live_verify(to, kept, SEED);
		live_verify_zero(to + kept, lengths[i] - kept);
		live_verify_from(to + lengths[i], (OLD + NEW + 1) * HUGE - lengths[i], SEED + 9, lengths[i] / 8);
		CHECK(is_unmapped(p, BYTES));
	}
}

/* What has come later lies before what is managed: from Linux 6.17 on the kernel would move the one, and then refuse. */
static void the_later_first(void)
{
	char *p = live_reserve(OLD * HUGE), *managed = p + NEW * HUGE, *to;
	size_t bytes = (OLD + NEW) * HUGE, i;

	for (i = 0; i < 2; i++) {
		CHECK(munmap(p, bytes) == 0);
		fill_after(p, NEW * HUGE, bytes);
		live_wait_absent(managed, OLD * HUGE);
		fill_after(p, 0, NEW * HUGE);
		to = live_reserve(bytes);
		CHECK(mremap(p, bytes, bytes, i ? MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP : MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		live_verify(to, bytes, SEED);
		if (i)
			live_verify_zero(p, bytes);
		else
			CHECK(is_unmapped(p, bytes));
	}
}

/* Two mappings for everybody. Before Linux 6.17 the kernel moves one in a call. */
static void one_of_them_read_only(void)
{
	char *p = live_reserve(OLD * HUGE), *managed = p + NEW * HUGE, *to = live_reserve((OLD + NEW) * HUGE);
	size_t bytes = (OLD + NEW) * HUGE;

	CHECK(munmap(p, bytes) == 0);
	fill_after(p, NEW * HUGE, bytes);
	live_wait_absent(managed, OLD * HUGE);
	fill_after(p, 0, NEW * HUGE);
	CHECK(mprotect(p, NEW * HUGE, PROT_READ) == 0);
	if (mremap(p, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
		CHECK(errno == EFAULT && live_is_bare());
		live_skip("this kernel moves one mapping in a call");
	}
	live_verify(to, bytes, SEED);
	CHECK(is_unmapped(p, bytes));
}

static void a_part(void)
{
	char *p = two_mappings(), *to = live_reserve(4 * HUGE);
	size_t from = (OLD - 1) * HUGE + 5 * BASE, bytes = 2 * HUGE;

	CHECK(mremap(p + from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to + HUGE) == to + HUGE);
	live_verify(p, from, SEED);
	live_verify_from(to + HUGE, bytes, SEED, from / 8);
	live_verify_from(p + from + bytes, BYTES - from - bytes, SEED, (from + bytes) / 8);
	live_verify_zero(to, HUGE);
	live_verify_zero(to + 3 * HUGE, HUGE);
	CHECK(is_unmapped(p + from, bytes));
}

static void leaves_a_mapping(void)
{
	char *p = two_mappings(), *q = mremap(p, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

	CHECK(q != MAP_FAILED && q != p);
	live_verify(q, BYTES, SEED);
	live_verify_zero(p, BYTES);
}

/* What fails without anybody's help fails, and nothing has moved. */
static void wrong(void)
{
	char *p = two_mappings(), *to = live_reserve(4 * HUGE);

	CHECK(mremap(p, BYTES + HUGE, BYTES + 2 * HUGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
	CHECK(mremap(p, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, p + HUGE) == MAP_FAILED && errno == EINVAL);
	CHECK(mremap(p, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to + 1) == MAP_FAILED && errno == EINVAL);
	CHECK(mremap(p, BYTES, BYTES, MREMAP_FIXED, to) == MAP_FAILED && errno == EINVAL);
	CHECK(mremap(p, BYTES, (size_t)1 << 60, MREMAP_MAYMOVE) == MAP_FAILED && (errno == ENOMEM || errno == EINVAL));
	live_verify_zero(to, 4 * HUGE);
	live_verify(p, BYTES, SEED);
	CHECK(mprotect(p + OLD * HUGE, HUGE, PROT_READ) == 0); /* two mappings for everybody */
	CHECK(mremap(p, BYTES, BYTES + HUGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
	live_verify(p, BYTES, SEED);
}

static const struct live_case cases[] = {
	{ "two mappings move and grow", moves_and_grows },
	{ "two mappings grow in place", grows_in_place },
	{ "two mappings go to a given place", to_a_given_place },
	{ "two mappings, the later one first", the_later_first },
	{ "two mappings, one of them read only", one_of_them_read_only },
	{ "a part of two mappings", a_part },
	{ "two mappings leave one", leaves_a_mapping },
	{ "two mappings, wrong", wrong },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
