// SPDX-License-Identifier: MIT
/*
 * The program changes its address space where its pages are absent at that very moment: crisp single cases.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "uapi/uapi.h"

#define PAGES 6u
#define BYTES (PAGES * HUGE)
#define SEED 7u

static char *absent_arena(void)
{
	char *p = live_arena(PAGES, SEED);

	live_wait_absent(p, BYTES);
	return p;
}

static void verify_outside(const char *p, size_t from, size_t to)
{
	live_verify(p, from, SEED);
	live_verify_from(p + to, BYTES - to, SEED, to / 8);
}

/* ---- unmapping ---- */

static void map_again(char *p, size_t bytes)
{
	CHECK(mmap(p, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
	CHECK(madvise(p, bytes, MADV_HUGEPAGE) == 0);
}

/*
 * Before Linux 6.13 a page that is read first, the huge zero page, becomes small ones when it is written, and those stay
 * in place: there the first access has to be a write.
 */
static void verify_fresh(char *p, size_t bytes)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	CHECK(uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2);
	for (size_t off = 0; (major < 6 || (major == 6 && minor < 13)) && off < bytes; off += HUGE)
		*(volatile char *)(p + off) = 0;
	live_verify_zero(p, bytes);
}

static void munmap_all_and_map_again(void)
{
	char *p = absent_arena();
	unsigned int i;

	for (i = 0; i < live_rounds(20); i++) {
		CHECK(munmap(p, BYTES) == 0);
		map_again(p, BYTES);
		verify_fresh(p, BYTES);
		live_fill(p, BYTES, SEED + i);
		if (i % 4 == 0)
			live_wait_absent(p, BYTES);
		live_verify(p, BYTES, SEED + i);
	}
}

static void cut_out(size_t from, size_t bytes)
{
	char *p = absent_arena();

	CHECK(munmap(p + from, bytes) == 0);
	verify_outside(p, from, from + bytes);
	map_again(p + from, bytes);
	live_verify_zero(p + from, bytes);
	live_fill_from(p + from, bytes, SEED, from / 8);
	live_sleep_ms(30);
	live_verify(p, BYTES, SEED);
}

static void munmap_middle_pages(void) { cut_out(2 * HUGE, 2 * HUGE); }
static void munmap_first_base_page(void) { cut_out(3 * HUGE, BASE); }
static void munmap_last_base_page(void) { cut_out(3 * HUGE - BASE, BASE); }
static void munmap_inside_page(void) { cut_out(2 * HUGE + 37 * BASE, 16 * BASE); }
static void munmap_across_pages(void) { cut_out(2 * HUGE - 5 * BASE, HUGE + 11 * BASE); }

static void map_fixed_over(void)
{
	char *p = absent_arena();

	CHECK(mmap(p + HUGE, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	      p + HUGE);
	verify_outside(p, HUGE, 4 * HUGE);
	live_verify_zero(p + HUGE, 3 * HUGE);
}

static void map_file_over(void)
{
	static char text[BASE];
	char *p = absent_arena();
	FILE *f = tmpfile();

	CHECK(f);
	memset(text, 'x', sizeof(text));
	CHECK(fwrite(text, 1, sizeof(text), f) == sizeof(text) && fflush(f) == 0);
	CHECK(mmap(p + HUGE, BASE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fileno(f), 0) == p + HUGE);
	CHECK(!memcmp(p + HUGE, text, BASE));
	verify_outside(p, HUGE, HUGE + BASE);
	fclose(f);
}

/* ---- moving ---- */

static void move_to(size_t misalign)
{
	char *p = absent_arena(), *hole = live_reserve(BYTES + 2 * HUGE), *to = hole + HUGE + misalign;

	CHECK(mremap(p, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	live_verify(to, BYTES, SEED);
	map_again(p, BYTES);
	live_verify_zero(p, BYTES);
	live_fill(to, BYTES, SEED + 1);
	live_sleep_ms(50);
	live_verify(to, BYTES, SEED + 1);
	live_verify_zero(p, BYTES);
}

static void mremap_aligned(void) { move_to(0); }
static void mremap_misaligned(void) { move_to(BASE); }
static void mremap_misaligned_more(void) { move_to(HUGE - 3 * BASE); }

/* There and back again, armed in between. */
static void mremap_back_and_forth(void)
{
	char *p = absent_arena(), *q = live_reserve(BYTES), *t;
	unsigned int i;

	for (i = 0; i < live_rounds(10); i++, t = p, p = q, q = t) {
		CHECK(mremap(p, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
		CHECK(mmap(p, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == p);
		live_wait_absent(q, BYTES);
		live_verify_zero(p, BASE);
		live_verify(q, BYTES, SEED);
		live_wait_absent(q, BYTES);
	}
}

static void mremap_grow_in_place(void)
{
	char *p = absent_arena();

	CHECK(mremap(p, BYTES, BYTES + 3 * HUGE, 0) == p);
	live_verify_zero(p + BYTES, 3 * HUGE);
	live_verify(p, BYTES, SEED);
	live_fill(p, BYTES + 3 * HUGE, SEED + 2);
	live_wait_absent(p, BYTES + 3 * HUGE);
	live_verify(p, BYTES + 3 * HUGE, SEED + 2);
}

static void mremap_shrink(void)
{
	char *p = absent_arena();

	CHECK(mremap(p, BYTES, BYTES - HUGE - 5 * BASE, 0) == p);
	live_verify(p, BYTES - HUGE - 5 * BASE, SEED);
	CHECK(mremap(p, BYTES - HUGE - 5 * BASE, BYTES, 0) == p);
	live_verify_zero(p + BYTES - HUGE - 5 * BASE, HUGE + 5 * BASE);
}

static void mremap_part(void)
{
	char *p = absent_arena(), *to = live_reserve(2 * HUGE) + HUGE / 2;
	size_t from = HUGE + 9 * BASE, len = 2 * HUGE / 2;

	to = mremap(p + from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	CHECK(to != MAP_FAILED);
	live_verify_from(to, len, SEED, from / 8);
	verify_outside(p, from, from + len);
}

static void mremap_dontunmap(void)
{
	char *p = absent_arena(), *to = live_reserve(BYTES);

	CHECK(mremap(p, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to);
	live_verify_zero(p, BYTES);
	live_verify(to, BYTES, SEED);
	live_fill(p, BYTES, SEED + 3);
	live_sleep_ms(50);
	live_verify(p, BYTES, SEED + 3);
	live_verify(to, BYTES, SEED);
}

/* ---- advice ---- */

static void dontneed(size_t from, size_t bytes)
{
	char *p = absent_arena();
	unsigned int i;

	for (i = 0; i < live_rounds(10); i++) {
		CHECK(madvise(p + from, bytes, MADV_DONTNEED) == 0);
		verify_outside(p, from, from + bytes);
		live_verify_zero(p + from, bytes);
		live_fill_from(p + from, bytes, SEED, from / 8);
		live_sleep_ms(5);
	}
	live_verify(p, BYTES, SEED);
}

static void dontneed_pages(void) { dontneed(HUGE, 2 * HUGE); }
static void dontneed_base_page(void) { dontneed(2 * HUGE + 5 * BASE, BASE); }
static void dontneed_across(void) { dontneed(2 * HUGE - 3 * BASE, HUGE + 9 * BASE); }

/* Every base page holds its old data or zeros; what is written afterwards stays. */
static void free_range(size_t from, size_t bytes)
{
	char *p = absent_arena();
	size_t off;

	CHECK(madvise(p + from, bytes, MADV_FREE) == 0);
	verify_outside(p, from, from + bytes);
	for (off = from; off < from + bytes; off += BASE) {
		const uint64_t *w = (const uint64_t *)(const void *)(p + off);

		if (w[0] || w[511])
			live_verify_from(p + off, BASE, SEED, off / 8);
		else
			live_verify_zero(p + off, BASE);
	}
	live_fill_from(p + from, bytes, SEED, from / 8);
	live_sleep_ms(30);
	live_verify(p, BYTES, SEED);
}

static void free_pages(void) { free_range(HUGE, 2 * HUGE); }
static void free_part(void) { free_range(2 * HUGE + 100 * BASE, 7 * BASE); }

static void harmless_advice(void)
{
	static const int advice[] = {
		MADV_COLD,       MADV_PAGEOUT,   MADV_NOHUGEPAGE,          MADV_HUGEPAGE,
		MADV_DONTDUMP,   MADV_DODUMP,    MADV_MERGEABLE,           MADV_UNMERGEABLE,
		MADV_WILLNEED,   MADV_SEQUENTIAL, MADV_NORMAL,             MADV_DONTFORK,
		MADV_DOFORK,     22 /* POPULATE_READ */, 23 /* POPULATE_WRITE */, 25 /* COLLAPSE */,
	};
	char *p = absent_arena();
	size_t i;

	for (i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		(void)live_absent_within(p, BYTES, 100);
		if (madvise(p, BYTES, advice[i]) && errno != EINVAL && errno != EAGAIN && errno != EBUSY)
			CHECK(!"madvise");
		live_verify(p, BYTES, SEED);
	}
}

/* ---- protection and locking ---- */

static sigjmp_buf on_fault;

static void jump(int sig)
{
	(void)sig;
	siglongjmp(on_fault, 1);
}

static void want_faults(void)
{
	struct sigaction sa = { .sa_handler = jump };

	CHECK(sigaction(SIGSEGV, &sa, NULL) == 0);
}

/* What was there is there again afterwards. */
static bool write_faults(volatile uint64_t *w, uint64_t value)
{
	if (sigsetjmp(on_fault, 1))
		return true;
	*w = value;
	return false;
}

static bool read_faults(const volatile uint64_t *w)
{
	if (sigsetjmp(on_fault, 1))
		return true;
	(void)*w;
	return false;
}

#define ANSWER 42u
#define CODE (0x9090c300000000b8u | (uint64_t)ANSWER << 8) /* mov $ANSWER, %eax; ret */

static bool run_faults(const volatile uint64_t *code)
{
	if (sigsetjmp(on_fault, 1))
		return true;
	CHECK(((unsigned int (*)(void))(uintptr_t)code)() == ANSWER);
	return false;
}

/* What can be written can be read. What can be run, too, unless the processor has protection keys: tried where nobody interferes. */
static bool is_readable(int prot)
{
	volatile uint64_t *w;
	bool faults;

	if (prot != PROT_EXEC)
		return prot != PROT_NONE;
	w = mmap(NULL, BASE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(w != MAP_FAILED);
	*w = 1;
	CHECK(mprotect((void *)(uintptr_t)w, BASE, prot) == 0);
	faults = read_faults(w);
	CHECK(munmap((void *)(uintptr_t)w, BASE) == 0);
	return !faults;
}

static void verify_beside(const char *p, size_t code)
{
	live_verify(p, code, SEED);
	live_verify_from(p + code + 8, BYTES - code - 8, SEED, code / 8 + 1);
}

/* The first to touch the pages is an instruction's fetch, in the middle, and a write, at the start. */
static void protect(size_t from, size_t bytes, int prot)
{
	char *p = live_arena(PAGES, SEED);
	volatile uint64_t *first = (volatile uint64_t *)(void *)(p + from), *code = first + bytes / 16;
	bool is_open;

	want_faults();
	is_open = is_readable(prot);
	*code = CODE;
	live_wait_absent(p, BYTES);
	CHECK(mprotect(p + from, bytes, prot) == 0);
	CHECK(run_faults(code) == !(prot & PROT_EXEC));
	CHECK(write_faults(first, live_word(SEED, from / 8)) == !(prot & PROT_WRITE));
	CHECK(read_faults(code) == !is_open);
	verify_outside(p, from, from + bytes);
	if (is_open)
		verify_beside(p, from + bytes / 2);
	CHECK(mprotect(p + from, bytes, PROT_READ | PROT_WRITE) == 0);
	CHECK(*code == CODE);
	verify_beside(p, from + bytes / 2);
	live_fill(p, BYTES, SEED + 4);
	live_sleep_ms(30);
	live_verify(p, BYTES, SEED + 4);
}

/* Guard pages take what was there away, fault, stay when what lies beside them is used, and give zeros when they go. */
static void guard(size_t from, size_t bytes)
{
	char *p = absent_arena();

	if (madvise(p + from, bytes, HN_MADV_GUARD_INSTALL)) {
		CHECK(errno == EINVAL);
		live_skip("the kernel has no guard pages (Linux 6.13)");
	}
	want_faults();
	CHECK(read_faults((uint64_t *)(void *)(p + from)));
	verify_outside(p, from, from + bytes);
	live_sleep_ms(30);
	CHECK(write_faults((uint64_t *)(void *)(p + from), 1) && read_faults((uint64_t *)(void *)(p + from + bytes) - 1));
	CHECK(madvise(p + from, bytes, HN_MADV_GUARD_REMOVE) == 0);
	live_verify_zero(p + from, bytes);
	live_fill(p, BYTES, SEED + 4);
	live_sleep_ms(30);
	live_verify(p, BYTES, SEED + 4);
}

static void guard_pages(void) { guard(HUGE, 2 * HUGE); }
static void guard_part(void) { guard(2 * HUGE + 8 * BASE, 3 * BASE); }

static void protect_read_pages(void) { protect(HUGE, 2 * HUGE, PROT_READ); }
static void protect_read_all(void) { protect(0, BYTES, PROT_READ); }
static void protect_read_part(void) { protect(2 * HUGE + 8 * BASE, 3 * BASE, PROT_READ); }
static void protect_none_pages(void) { protect(HUGE, 3 * HUGE, PROT_NONE); }
static void protect_none_part(void) { protect(2 * HUGE - BASE, 2 * BASE, PROT_NONE); }
static void protect_exec(void) { protect(HUGE, 2 * HUGE, PROT_READ | PROT_WRITE | PROT_EXEC); }
static void protect_write_only(void) { protect(HUGE, 2 * HUGE, PROT_WRITE); }
static void protect_write_only_part(void) { protect(2 * HUGE + 8 * BASE, 4 * BASE, PROT_WRITE); }
static void protect_exec_only(void) { protect(HUGE, 2 * HUGE, PROT_EXEC); }
static void protect_read_exec(void) { protect(HUGE, 2 * HUGE, PROT_READ | PROT_EXEC); }
static void protect_read_exec_part(void) { protect(2 * HUGE + 8 * BASE, 4 * BASE, PROT_READ | PROT_EXEC); }
static void protect_write_exec(void) { protect(HUGE, 2 * HUGE, PROT_WRITE | PROT_EXEC); }

static void unmap_part_of_protected(void)
{
	char *p = absent_arena();

	CHECK(mprotect(p + HUGE, 2 * HUGE, PROT_READ) == 0);
	CHECK(munmap(p + 2 * HUGE + BASE, BASE) == 0);
	verify_outside(p, 2 * HUGE + BASE, 2 * HUGE + 2 * BASE);
}

/* What is locked stays resident: at once, or with MLOCK_ONFAULT once it has been touched. */
static void lock_pages(unsigned int flags)
{
	char *p = absent_arena();
	struct rlimit r;

	CHECK(getrlimit(RLIMIT_MEMLOCK, &r) == 0);
	if (r.rlim_cur != RLIM_INFINITY && r.rlim_cur < BYTES && geteuid())
		live_skip("the memory-lock limit is too low");
	CHECK(mlock2(p + HUGE, 2 * HUGE, flags) == 0);
	if (flags)
		live_verify_from(p + HUGE, 2 * HUGE, SEED, HUGE / 8);
	live_sleep_ms(100);
	CHECK(live_is_bare() || live_present(p + HUGE, 2 * HUGE) == 2 * HUGE);
	live_verify(p, BYTES, SEED);
	live_wait_absent(p, HUGE);
	CHECK(munlock(p + HUGE, 2 * HUGE) == 0);
	live_fill(p, BYTES, SEED + 5);
	live_sleep_ms(50);
	live_verify(p, BYTES, SEED + 5);
}

static void mlock_pages(void) { lock_pages(0); }
static void mlock_on_fault(void) { lock_pages(MLOCK_ONFAULT); }

/* Locking everything makes everything resident: nothing that the program did not ask for may come with it. */
static void lock_all(int flags)
{
	char *p = absent_arena(), *q;
	size_t before = live_status_kib("VmRSS:"), after;

	if (mlockall(flags)) {
		CHECK(errno == ENOMEM || errno == EPERM);
		live_skip("mlockall is not permitted");
	}
	live_verify(p, BYTES, SEED);
	q = live_reserve(BYTES); /* filled before it can be asked to be huge */
	live_fill(q, BYTES, SEED + 6);
	live_sleep_ms(300);
	live_verify(p, BYTES, SEED);
	live_verify(q, BYTES, SEED + 6);
	after = live_status_kib("VmRSS:");
	dprintf(2, "resident: %zu KiB, then %zu KiB\n", before, after);
	CHECK(after < before + 2 * BYTES / 1024 + 100 * 1024);
	CHECK(munlockall() == 0);
	CHECK(madvise(p, BYTES, MADV_DONTNEED) == 0);
	live_verify_zero(p, BYTES);
	live_verify(q, BYTES, SEED + 6);
}

static void mlockall_current(void) { lock_all(MCL_CURRENT); }
static void mlockall_future(void) { lock_all(MCL_FUTURE); }
static void mlockall_both(void) { lock_all(MCL_CURRENT | MCL_FUTURE); }

/* ---- the heap ---- */

static void brk_grow_and_shrink(void)
{
	char *start = sbrk(0), *p, *end;
	unsigned int i;

	p = (char *)(((uintptr_t)start + HUGE - 1) & ~(HUGE - 1));
	end = p + BYTES;
	for (i = 0; i < live_rounds(5); i++) {
		CHECK(brk(end) == 0);
		CHECK(madvise(p, BYTES, MADV_HUGEPAGE) == 0);
		verify_fresh(p, BYTES);
		live_fill(p, BYTES, SEED + i);
		live_wait_absent(p + HUGE, BYTES - HUGE);
		CHECK(brk(end - 2 * HUGE - 3 * BASE) == 0);
		live_verify(p, BYTES - 2 * HUGE - 3 * BASE, SEED + i);
		CHECK(brk(end + HUGE) == 0);
		live_verify_zero(end - 2 * HUGE - 3 * BASE, 3 * HUGE + 3 * BASE);
		live_verify(p, BYTES - 2 * HUGE - 3 * BASE, SEED + i);
		CHECK(brk(p) == 0);
	}
}

/* ---- first touches of what is known to somebody else already ---- */

static void first_touches(void)
{
	char *p = live_reserve(16 * HUGE);
	size_t i;

	live_fill(p, 8 * HUGE, SEED);
	live_wait_absent(p, 8 * HUGE);
	for (i = 8; i < 16; i++) {
		live_verify_zero(p + i * HUGE, HUGE);
		live_fill_from(p + i * HUGE, HUGE, SEED, i * HUGE / 8);
	}
	live_verify(p, 16 * HUGE, SEED);
	live_wait_absent(p, 16 * HUGE);
	live_verify(p, 16 * HUGE, SEED);
}

static const struct live_case cases[] = {
	{ "munmap all and map again at the same place", munmap_all_and_map_again },
	{ "munmap whole pages in the middle", munmap_middle_pages },
	{ "munmap the first 4 KiB of a page", munmap_first_base_page },
	{ "munmap the last 4 KiB of a page", munmap_last_base_page },
	{ "munmap inside a page", munmap_inside_page },
	{ "munmap across pages", munmap_across_pages },
	{ "MAP_FIXED over pages", map_fixed_over },
	{ "MAP_FIXED of a file over a part of a page", map_file_over },
	{ "mremap to an aligned place", mremap_aligned },
	{ "mremap to a place 4 KiB off", mremap_misaligned },
	{ "mremap to a place 12 KiB short", mremap_misaligned_more },
	{ "mremap back and forth", mremap_back_and_forth },
	{ "mremap grows in place", mremap_grow_in_place },
	{ "mremap shrinks and grows", mremap_shrink },
	{ "mremap of a part", mremap_part },
	{ "mremap DONTUNMAP", mremap_dontunmap },
	{ "MADV_DONTNEED of whole pages", dontneed_pages },
	{ "MADV_DONTNEED of 4 KiB", dontneed_base_page },
	{ "MADV_DONTNEED across pages", dontneed_across },
	{ "MADV_FREE of whole pages", free_pages },
	{ "MADV_FREE of a part", free_part },
	{ "advice that must not change data", harmless_advice },
	{ "mprotect read-only, whole pages", protect_read_pages },
	{ "mprotect read-only, everything", protect_read_all },
	{ "mprotect read-only, 12 KiB of a page", protect_read_part },
	{ "mprotect none, whole pages", protect_none_pages },
	{ "mprotect none across two pages", protect_none_part },
	{ "mprotect executable", protect_exec },
	{ "mprotect write-only, whole pages", protect_write_only },
	{ "mprotect write-only, 16 KiB of a page", protect_write_only_part },
	{ "mprotect execute-only", protect_exec_only },
	{ "mprotect read and execute, whole pages", protect_read_exec },
	{ "mprotect read and execute, 16 KiB of a page", protect_read_exec_part },
	{ "mprotect write and execute", protect_write_exec },
	{ "guard pages, whole pages", guard_pages },
	{ "guard pages, 12 KiB of a page", guard_part },
	{ "munmap of a part of read-only pages", unmap_part_of_protected },
	{ "mlock and munlock", mlock_pages },
	{ "mlock2 on fault and munlock", mlock_on_fault },
	{ "mlockall current", mlockall_current },
	{ "mlockall future", mlockall_future },
	{ "mlockall current and future", mlockall_both },
	{ "brk grows and shrinks", brk_grow_and_shrink },
	{ "first touches beside absent pages", first_touches },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
