// SPDX-License-Identifier: MIT
/*
 * Control that does not return where it came from, in memory that comes and goes: jumps across frames, coroutines whose
 * stacks are huge pages, signals on such stacks, a handler of SIGBUS that mends what was wrong.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "common.h"

#define SEED 61u
#define PAGES ((size_t)8)
#define BYTES (PAGES * HUGE)
#define MS 1500u

static char *arena;

static void absent_arena(void)
{
	arena = live_arena(PAGES, SEED);
	live_wait_absent(arena, BYTES);
}

/* ---- jumps ---- */

/* Frames of its own down to the ground, then out of all of them at once. The buffer itself lies in the arena. */
static void __attribute__((noinline)) descend(jmp_buf *to, unsigned int depth)
{
	volatile uint64_t frame[64];

	for (size_t i = 0; i < 64; i++)
		frame[i] = live_word(depth, i);
	if (depth == 0)
		longjmp(*to, 7);
	if (depth < 1000)
		descend(to, depth - 1);
	for (size_t i = 0; i < 64; i++)
		CHECK(frame[i] == live_word(depth, i));
}

static void jump_across_frames(void)
{
	uint64_t end = live_now_ms() + MS;
	volatile unsigned int rounds = 0;

	absent_arena();
	while (live_now_ms() < end || rounds < 20) {
		size_t at = (rounds * 37u % PAGES) * HUGE;
		jmp_buf *to = (jmp_buf *)(void *)(arena + at);

		if (setjmp(*to) == 0)
			descend(to, 50 + rounds % 50);
		live_verify_from(arena + at + BASE, HUGE - BASE, SEED, (at + BASE) / 8);
		if (++rounds % 16 == 0)
			(void)live_absent_within(arena, BYTES, 50);
	}
}

/* ---- coroutines ---- */

#define COROUTINES PAGES
static ucontext_t back, co[COROUTINES];
static volatile unsigned int steps[COROUTINES], signals;
static volatile bool over;

/* Each has a huge page for a stack, and keeps something in its frame from one turn to the next. */
static void coroutine(unsigned int n)
{
	while (!over) {
		volatile uint64_t frame[1000];
		unsigned int step = steps[n];

		for (size_t i = 0; i < 1000; i++)
			frame[i] = live_word(n + step, i);
		CHECK(swapcontext(&co[n], &back) == 0);
		for (size_t i = 0; i < 1000; i++)
			CHECK(frame[i] == live_word(n + step, i));
		steps[n]++;
	}
}

static void count(int sig)
{
	volatile char frame[2000];

	(void)sig;
	memset((char *)(uintptr_t)frame, 1, sizeof(frame));
	signals++;
}

/* Signals come when they like: their frames go onto whatever stack is in use, absent or not. */
static void coroutines(void)
{
	struct sigaction sa = { .sa_handler = count, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } };
	uint64_t end = live_now_ms() + 2 * MS;
	unsigned int rounds = 0;

	absent_arena();
	CHECK(sigaction(SIGALRM, &sa, NULL) == 0);
	for (size_t n = 0; n < COROUTINES; n++) {
		CHECK(getcontext(&co[n]) == 0);
		co[n].uc_stack.ss_sp = arena + n * HUGE;
		co[n].uc_stack.ss_size = HUGE;
		co[n].uc_link = &back;
		makecontext(&co[n], (void (*)(void))coroutine, 1, (unsigned int)n);
	}
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (; live_now_ms() < end || rounds < 50; rounds++)
		for (size_t n = 0; n < COROUTINES; n++)
			CHECK(swapcontext(&back, &co[(n * 5 + rounds) % COROUTINES]) == 0);
	for (size_t n = 0; n < COROUTINES; n++)
		CHECK(steps[n] + 2 >= rounds && steps[n] <= rounds + 1);
	over = true;
	for (size_t n = 0; n < COROUTINES; n++)
		CHECK(swapcontext(&back, &co[n]) == 0);
	CHECK(signals > 0);
}

/* ---- a signal to who sleeps on an absent stack ---- */

#define SLEEPS live_rounds(10)

static volatile sig_atomic_t asleep, caught, on_arena;
static char *stack; /* the page that it sleeps on */

/* The kernel has written the frame of this below that of the sleeper. */
static void catch(int sig)
{
	char here[4096];

	memset(here, sig, sizeof(here));
	on_arena += here >= stack && here + sizeof(here) <= stack + HUGE && here[4095] == sig;
	caught++;
}

/* Runs on a page of the arena, and touches nothing of it but its frame. */
static void sleep_on_stack(unsigned int round)
{
	volatile uint64_t frame[1000];
	sigset_t none;

	for (size_t i = 0; i < 1000; i++)
		frame[i] = live_word(round, i);
	sigemptyset(&none);
	asleep++;
	while (caught <= (int)round)
		sigsuspend(&none);
	for (size_t i = 0; i < 1000; i++)
		CHECK(frame[i] == live_word(round, i));
}

static void go_to_sleep(unsigned int round)
{
	ucontext_t here, there;

	CHECK(getcontext(&there) == 0);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = HUGE;
	there.uc_link = &here;
	makecontext(&there, (void (*)(void))sleep_on_stack, 1, round);
	CHECK(swapcontext(&here, &there) == 0);
}

static void *sleeper(void *arg)
{
	(void)arg;
	for (unsigned int round = 0; round < SLEEPS; round++) {
		stack = arena + (round % PAGES) * HUGE;
		go_to_sleep(round);
		CHECK(caught == (int)round + 1 && on_arena == caught);
		/* Nobody goes down that far. */
		live_verify_from(stack, HUGE / 2, SEED, round % PAGES * HUGE / 8);
	}
	return NULL;
}

/* Not by chance: it is known to be absent when the signal is sent. */
static void signal_on_absent_stack(void)
{
	struct sigaction sa = { .sa_handler = catch };
	sigset_t one, old;
	pthread_t t;

	absent_arena();
	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	CHECK(sigaction(SIGUSR1, &sa, NULL) == 0 && pthread_sigmask(SIG_BLOCK, &one, &old) == 0);
	CHECK(pthread_create(&t, NULL, sleeper, NULL) == 0);
	for (int round = 0; round < (int)SLEEPS; round++) {
		while (asleep <= round)
			live_sleep_ms(1);
		live_wait_absent(stack, HUGE);
		CHECK(caught == round && pthread_kill(t, SIGUSR1) == 0);
	}
	CHECK(pthread_join(t, NULL) == 0 && pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
}

/* ---- SIGBUS ---- */

static char *file_page;
static int fd;
static volatile unsigned int mended;

static void mend(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	CHECK((char *)info->si_addr >= file_page && (char *)info->si_addr < file_page + BASE);
	CHECK(ftruncate(fd, (off_t)BASE) == 0);
	mended++;
}

/* As databases that map their files do it: the handler makes the file long enough again, from data in absent memory. */
static void truncated_file(void)
{
	struct sigaction sa = { .sa_sigaction = mend, .sa_flags = SA_SIGINFO };
	char name[] = "/tmp/hugenuma-live-XXXXXX";

	absent_arena();
	fd = mkstemp(name);
	CHECK(fd >= 0 && unlink(name) == 0 && ftruncate(fd, (off_t)BASE) == 0);
	file_page = mmap(NULL, BASE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(file_page != MAP_FAILED && sigaction(SIGBUS, &sa, NULL) == 0);
	for (unsigned int i = 0; i < 200; i++) {
		size_t at = (i % PAGES) * HUGE + (i * 64 % HUGE);

		CHECK(ftruncate(fd, 0) == 0);
		memcpy(file_page, arena + at, BASE);
		CHECK(mended == i + 1 && memcmp(file_page, arena + at, BASE) == 0);
		if (i % 20 == 0)
			(void)live_absent_within(arena, BYTES, 50);
	}
	live_verify(arena, BYTES, SEED);
}

static const struct live_case cases[] = {
	{ "longjmp across frames", jump_across_frames },
	{ "coroutines with stacks of huge pages", coroutines },
	{ "a signal on an absent stack", signal_on_absent_stack },
	{ "SIGBUS mended by its handler", truncated_file },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
