// SPDX-License-Identifier: MIT
/*
 * Hardware memory errors, made by MADV_HWPOISON: what a program sees of one is SIGBUS (BUS_MCEERR_AR) at the base page that has
 * it, when it touches that, wherever the page was when it happened; and it sees nothing else. The memory is lost to the machine
 * until it is started again: in guests only (LIVE_HWPOISON).
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define PAGES 4u
#define SEED 31u
#define AT (7 * BASE) /* of a huge page: what is lost */
#define WORDS_BEFORE(bytes) ((bytes) / sizeof(uint64_t))

static sigjmp_buf back;
static volatile siginfo_t seen;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	memcpy((void *)(uintptr_t)&seen, info, sizeof(seen));
	siglongjmp(back, 1);
}

static void with_handler(void)
{
	struct sigaction act = { .sa_flags = SA_SIGINFO | SA_NODEFER };

	act.sa_sigaction = on_bus;
	CHECK(sigaction(SIGBUS, &act, NULL) == 0);
}

/* Is it the signal of a memory error that an access to `at` ends in? */
static bool is_lost(const char *at)
{
	if (sigsetjmp(back, 1) == 0)
		return *(const volatile char *)at == 0 && false;
	return seen.si_code == BUS_MCEERR_AR && seen.si_addr == (void *)(uintptr_t)at && seen.si_addr_lsb == 12;
}

static void guests_only(void)
{
	if (!getenv("LIVE_HWPOISON"))
		live_skip("memory is lost for good: in guests only");
}

/* Lose the base page at `at`; the kernel tells who asks for it at once, as if he had touched it. */
static void lose(char *at)
{
	guests_only();
	if (sigsetjmp(back, 1) == 0 && madvise(at, BASE, MADV_HWPOISON))
		live_skip("this kernel makes no hardware memory errors (CONFIG_MEMORY_FAILURE), or not for this user");
}

/* Lose the base page of `page` while it is in staging, if it ever is: protected in place it may not be. False: it is not. */
static bool lose_in_staging(char *page)
{
	char *staged;

	guests_only();
	staged = live_staged(page);
	if (staged)
		lose(staged + AT);
	return staged != NULL;
}

/* The same where there is an agent; without one the page is lost where it is. */
static void lose_while_armed(char *page)
{
	if (live_is_bare())
		lose(page + AT);
	else if (!lose_in_staging(page))
		live_skip("armed pages are in their places");
}

static void verify_others(const char *page, uint64_t seed, size_t first)
{
	live_verify_from(page, AT, seed, first);
	live_verify_from(page + AT + BASE, HUGE - AT - BASE, seed, first + WORDS_BEFORE(AT + BASE));
}

/* Page number n of the arena has lost a base page, and nothing else is wrong. */
static void verify_loss(char *arena, size_t n)
{
	char *page = arena + n * HUGE;
	int p[2];

	live_verify(arena, n * HUGE, SEED);
	verify_others(page, SEED, WORDS_BEFORE(n * HUGE));
	live_verify_from(page + HUGE, (PAGES - n - 1) * HUGE, SEED, WORDS_BEFORE((n + 1) * HUGE));
	CHECK(is_lost(page + AT));
	CHECK(is_lost(page + AT + 40));
	CHECK(pipe2(p, O_CLOEXEC) == 0);
	CHECK(write(p[1], page + AT, 1) == -1 && errno == EFAULT);
	close(p[0]);
	close(p[1]);
	verify_others(page, SEED, WORDS_BEFORE(n * HUGE));
	CHECK(is_lost(page + AT + BASE - 1));
}

/* Dropped, it is memory like any other. */
static void verify_new_life(char *page)
{
	CHECK(madvise(page + AT, BASE, MADV_DONTNEED) == 0);
	live_verify_zero(page + AT, BASE);
	memset(page + AT, 7, BASE);
	CHECK(page[AT + 5] == 7);
}

static void lost_in_place(void)
{
	char *arena = live_arena(PAGES, SEED);

	with_handler();
	lose(arena + HUGE + AT); /* which brings the page back, should it be away */
	verify_loss(arena, 1);
	live_sleep_ms(200);
	verify_loss(arena, 1);
	live_wait_absent(arena, HUGE); /* the others are managed still */
	verify_loss(arena, 1);
	verify_new_life(arena + HUGE);
}

static void lost_while_armed(void)
{
	char *arena = live_arena(PAGES, SEED);

	with_handler();
	lose_while_armed(arena + HUGE);
	verify_loss(arena, 1);
	live_wait_absent(arena + 2 * HUGE, HUGE);
	verify_loss(arena, 1);
	verify_new_life(arena + HUGE);
}

/* The first to touch the page touches what is lost. */
static void lost_while_armed_touched(void)
{
	char *arena = live_arena(PAGES, SEED);

	with_handler();
	lose_while_armed(arena + HUGE);
	CHECK(is_lost(arena + HUGE + AT + 8));
	verify_loss(arena, 1);
}

static void lost_while_armed_dropped(void)
{
	char *arena = live_arena(PAGES, SEED), *page = arena + HUGE;

	with_handler();
	lose_while_armed(page);
	CHECK(madvise(page + AT - BASE, 3 * BASE, MADV_DONTNEED) == 0);
	live_verify_zero(page + AT - BASE, 3 * BASE);
	live_verify_from(page, AT - BASE, SEED, WORDS_BEFORE(HUGE));
	live_verify_from(page + AT + 2 * BASE, HUGE - AT - 2 * BASE, SEED, WORDS_BEFORE(HUGE + AT + 2 * BASE));
}

/* A part of the page is moved away while it is in staging, the part with the loss. */
static void lost_while_armed_moved(void)
{
	char *arena = live_arena(PAGES, SEED), *page = arena + HUGE, *to = live_reserve(HUGE);

	with_handler();
	lose_while_armed(page);
	CHECK(mremap(page + AT - BASE, 3 * BASE, 3 * BASE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	live_verify_from(to, BASE, SEED, WORDS_BEFORE(HUGE + AT - BASE));
	live_verify_from(to + 2 * BASE, BASE, SEED, WORDS_BEFORE(HUGE + AT + BASE));
	CHECK(is_lost(to + BASE + 16));
	live_verify_from(page, AT - BASE, SEED, WORDS_BEFORE(HUGE));
}

/* Without a handler it is the end of the program, and only when that page is touched. */
static void lost_without_handler(void)
{
	int status = 0, pid = fork();

	if (pid == 0) {
		char *arena = live_arena(PAGES, SEED);

		with_handler();
		if (live_is_bare() || !lose_in_staging(arena + HUGE))
			lose(arena + HUGE + AT);
		signal(SIGBUS, SIG_DFL);
		verify_others(arena + HUGE, SEED, WORDS_BEFORE(HUGE));
		live_verify_from(arena + 2 * HUGE, 2 * HUGE, SEED, WORDS_BEFORE(2 * HUGE));
		live_sleep_ms(50);
		_exit(*(volatile char *)(arena + HUGE + AT) == 0 ? 5 : 6);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
		live_skip("memory is lost for good: in guests only; or this kernel does not do it");
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

/* Behind libc, while the page is in staging: the child has lost what its parent has lost, and nothing else. */
static void lost_in_child(void)
{
	char *arena = live_arena(PAGES, SEED);
	int status = 0, pid;

	with_handler();
	lose_while_armed(arena + HUGE);
	pid = (int)syscall(SYS_fork);
	if (pid == 0) {
		verify_loss(arena, 1);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	verify_loss(arena, 1);
}

/* The kernel brings the content elsewhere, and nobody notices. */
static void taken_offline(void)
{
	char *arena = live_arena(PAGES, SEED);
	char *staged;

	guests_only();
	if (madvise(arena + AT, BASE, MADV_SOFT_OFFLINE) && errno == EINVAL)
		live_skip("this kernel takes no memory offline (CONFIG_MEMORY_FAILURE)");
	live_verify(arena, PAGES * HUGE, SEED);
	staged = live_is_bare() ? NULL : live_staged(arena + HUGE);
	if (staged)
		madvise(staged + AT, BASE, MADV_SOFT_OFFLINE);
	live_verify(arena, PAGES * HUGE, SEED);
	live_fill(arena, PAGES * HUGE, SEED + 1);
	live_verify(arena, PAGES * HUGE, SEED + 1);
}

/*
 * Split for that, a page is huge again soon, also where parts of it are all zeros: for these the kernel (from 6.12 on) takes its
 * page of zeros, and then leaves a page alone that a userfaultfd watches.
 */
static void huge_again(void)
{
	char *arena = live_arena(PAGES, SEED), *page = arena + HUGE;
	uint64_t end;

	guests_only();
	if (live_is_bare())
		live_skip("khugepaged takes its time");
	live_wait_absent(page, HUGE);
	memset(page + 100 * BASE, 0, 20 * BASE);
	if (madvise(page + AT, BASE, MADV_SOFT_OFFLINE))
		live_skip("this kernel takes no memory offline (CONFIG_MEMORY_FAILURE)");
	end = live_now_ms() + 5000 * live_slow();
	while (live_huge(page, HUGE) < HUGE && !live_absent_within(page, HUGE, 50)) { /* armed: it is huge */
		CHECK(live_now_ms() < end);
		CHECK(page[100 * BASE] == 0);
	}
	live_verify_from(page, 100 * BASE, SEED, WORDS_BEFORE(HUGE));
	live_verify_zero(page + 100 * BASE, 20 * BASE);
	live_verify_from(page + 120 * BASE, HUGE - 120 * BASE, SEED, WORDS_BEFORE(HUGE + 120 * BASE));
}

static const struct live_case cases[] = {
	{ "lost in place", lost_in_place },
	{ "lost while armed", lost_while_armed },
	{ "lost while armed, touched", lost_while_armed_touched },
	{ "lost while armed, dropped", lost_while_armed_dropped },
	{ "lost while armed, moved", lost_while_armed_moved },
	{ "lost without a handler", lost_without_handler },
	{ "lost in a child", lost_in_child },
	{ "taken offline", taken_offline },
	{ "huge again", huge_again },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
