// SPDX-License-Identifier: MIT
/*
 * Programs with and without huge pages worth managing. Those with: huge memory from malloc, used again and again for
 * half a second, and verified at the end.
 */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define BIG ((size_t)64 << 20)
#define BUSY_MS (700u * live_slow())
#define PATIENCE_MS (20000u * live_slow())
#define SEED 3u

/*
 * Where the test counts on it (LIVE_UNTIL_TAKEN), the memory is in use until pages of it are taken away when it is let be
 * for a moment, however little CPU time there is for that. Once in a process: what comes later may be left alone for long.
 */
static bool is_taken(uint64_t start, char *p, size_t bytes)
{
	static atomic_int taken_in; /* process id */
	char *whole = (char *)(((uintptr_t)p + BASE - 1) & ~(BASE - 1));

	if (!getenv("LIVE_UNTIL_TAKEN") || taken_in == getpid() || live_now_ms() - start > PATIENCE_MS)
		return true;
	live_sleep_ms(20);
	bytes = (bytes - (size_t)(whole - p)) & ~(BASE - 1);
	if (live_present(whole, bytes) == bytes)
		return false;
	taken_in = getpid();
	return true;
}

static uint64_t cpu_ms(void) { return (uint64_t)clock() / (CLOCKS_PER_SEC / 1000); }

/* Touch a word of every huge page again and again for a while, of CPU time too; then verify everything. */
static void use(char *p, size_t bytes)
{
	uint64_t start, end, cpu;
	size_t off;

	live_fill(p, bytes, SEED);
	start = live_now_ms();
	do {
		end = live_now_ms() + BUSY_MS;
		cpu = cpu_ms() + BUSY_MS;
		while (live_now_ms() < end || (cpu_ms() < cpu && live_now_ms() - start < PATIENCE_MS))
			for (off = 0; off < bytes; off += HUGE)
				(void)*(volatile uint64_t *)(void *)(p + off + 64);
	} while (!is_taken(start, p, bytes));
	live_verify(p, bytes, SEED);
}

static void use_malloc(void)
{
	char *p = malloc(BIG);

	CHECK(p);
	use(p, BIG);
	free(p);
}

static void burn(void)
{
	uint64_t end = live_now_ms() + BUSY_MS;
	volatile uint64_t x = 1;

	while (live_now_ms() < end)
		x = live_word(x, 1);
}

/* Many small blocks: the heap proper, grown by brk. */
static void use_brk(void)
{
	enum { BLOCKS = 1024, SIZE = 64 << 10 };
	static char *block[BLOCKS];
	char *low = sbrk(0);
	uint64_t start, end;
	int i;

	CHECK(mallopt(M_MMAP_THRESHOLD, 32 << 20) == 1);
	for (i = 0; i < BLOCKS; i++) {
		block[i] = malloc(SIZE);
		CHECK(block[i]);
		live_fill(block[i], SIZE, (uint64_t)i);
	}
	CHECK((char *)sbrk(0) - low >= BLOCKS * SIZE - (1 << 20));
	start = live_now_ms();
	do {
		end = live_now_ms() + BUSY_MS;
		while (live_now_ms() < end)
			for (i = 0; i < BLOCKS; i++)
				(void)*(volatile uint64_t *)(void *)(block[i] + 4096);
	} while (!is_taken(start, block[0], (size_t)(block[BLOCKS - 1] - block[0])));
	for (i = 0; i < BLOCKS; i++)
		live_verify(block[i], SIZE, (uint64_t)i);
}

static atomic_int workers_done;

/* Threads are there before the memory, and the first one sleeps all the time. */
static void *late_worker(void *arg)
{
	(void)arg;
	live_sleep_ms(100);
	use(live_reserve(BIG), BIG);
	atomic_fetch_add(&workers_done, 1);
	return NULL;
}

static void joinable_workers(void)
{
	pthread_t t[2];
	int i;

	for (i = 0; i < 2; i++)
		CHECK(pthread_create(&t[i], NULL, late_worker, NULL) == 0);
	for (i = 0; i < 2; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
}

static void detached_workers(void)
{
	pthread_attr_t attr;
	pthread_t t;

	CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
	CHECK(pthread_create(&t, &attr, late_worker, NULL) == 0);
	while (!atomic_load(&workers_done))
		live_sleep_ms(10);
}

static void forked_children(void)
{
	pid_t pid[2];
	int i;

	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			use_malloc();
			exit(0);
		}
	}
	for (i = 0; i < 2; i++)
		live_reap(pid[i]);
}

static void forked_by_managed(void)
{
	use_malloc();
	forked_children();
}

static void double_fork(void)
{
	int p[2], status;
	pid_t pid;
	char c;

	CHECK(pipe(p) == 0);
	pid = fork();
	if (pid == 0) {
		CHECK(setsid() > 0);
		if (fork())
			_exit(0);
		use_malloc();
		CHECK(write(p[1], "x", 1) == 1);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	close(p[1]);
	CHECK(read(p[0], &c, 1) == 1);
	/* Its descendant has still to end. */
	CHECK(read(p[0], &c, 1) == 0);
	live_sleep_ms(100);
}

static void exec_again(void)
{
	use_malloc();
	execl("/proc/self/exe", "again", "malloc", NULL);
	CHECK(!"execl");
}

/* Cancellation uses the very signal that the late start borrows. */
static void *wait_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void *burn_for_ever(void *arg)
{
	volatile uint64_t x = 1;

	(void)arg;
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;)
		x = live_word(x, 1);
	return NULL;
}

static void cancel_one(void *(*fn)(void *))
{
	void *result = NULL;
	pthread_t t;

	CHECK(pthread_create(&t, NULL, fn, NULL) == 0);
	live_sleep_ms(120);
	CHECK(pthread_cancel(t) == 0);
	CHECK(pthread_join(t, &result) == 0 && result == PTHREAD_CANCELED);
}

static void cancel(void)
{
	burn();
	cancel_one(wait_for_ever);
	cancel_one(burn_for_ever);
	cancel_one(wait_for_ever);
}

static void cancel_while_managed(void)
{
	use_malloc();
	cancel();
	use_malloc();
}

static void preloaded(void)
{
	const char *name = getlogin();

	CHECK(name && !strcmp(name, "preloaded"));
	use_malloc();
}

/* Much memory, none of it huge. */
static void small_pages(void)
{
	char *p = live_reserve(BIG);

	CHECK(madvise(p, BIG, MADV_NOHUGEPAGE) == 0);
	use(p, BIG);
}

/* As much address space as the test says, after the agent has had its chance. */
static void reserve_after_malloc(void)
{
	const char *mib = getenv("LIVE_MIB");

	use_malloc();
	CHECK(mib && mmap(NULL, strtoul(mib, NULL, 10) << 20, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED);
}

#define BURST 64u /* pages */
#define BURSTS 3u
#define AFTER_MS 3000u

/*
 * Memory that comes with pauses, long enough to be taken for the end. When it is all there it is managed soon: it does not
 * matter how often it was thought to be before.
 */
static void filled_in_bursts(void)
{
	char *p = live_reserve(BURSTS * BURST * HUGE);
	unsigned int i;
	uint64_t end;

	for (i = 0; i < BURSTS * BURST; i++) {
		if (i && i % BURST == 0)
			live_sleep_ms(350);
		memset(p + i * HUGE, (int)i + 1, HUGE);
		live_sleep_ms(5);
	}
	end = live_now_ms();
	/* Half of them: the first ones may be away since a pause. */
	while (live_present(p, BURSTS * BURST * HUGE) > BURSTS * BURST * HUGE / 2) {
		CHECK(live_now_ms() - end < AFTER_MS * live_slow());
		live_sleep_ms(10);
	}
	for (i = 0; i < BURSTS * BURST; i++)
		CHECK(p[i * HUGE + 77] == (char)(i + 1));
}

#define TOO_MANY 4200u

static pthread_mutex_t released = PTHREAD_MUTEX_INITIALIZER;

static void *wait_for_release(void *arg)
{
	pthread_mutex_lock(&released);
	pthread_mutex_unlock(&released);
	return arg;
}

/* While there are more threads than can be kept apart from the rest nothing is taken away; and later it is. */
static void many_threads(void)
{
	static pthread_t t[TOO_MANY];
	pthread_attr_t small;
	uint64_t end;
	unsigned int i;
	size_t off;
	char *p;

	pthread_attr_init(&small);
	CHECK(pthread_attr_setstacksize(&small, 32 << 10) == 0);
	pthread_mutex_lock(&released);
	for (i = 0; i < TOO_MANY; i++)
		if (pthread_create(&t[i], &small, wait_for_release, NULL) != 0)
			live_skip("not so many threads here");
	p = live_reserve(BIG);
	live_fill(p, BIG, SEED);
	for (end = live_now_ms() + 2 * BUSY_MS; live_now_ms() < end; live_sleep_ms(20)) {
		CHECK(live_present(p, BIG) == BIG);
		for (off = 0; off < BIG; off += HUGE)
			(void)*(volatile uint64_t *)(void *)(p + off + 64);
	}
	pthread_mutex_unlock(&released);
	for (i = 0; i < TOO_MANY; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	use(p, BIG);
}

/* ---- forks while it is looked at, and while it is started ---- */

#define MAPPINGS 16384u /* so many to be looked at take a while */
#define GROWTH ((size_t)6 << 20)
#define LOOKS 2u

/* Whatever there is to be looked at, there is more of it the next time. */
static void *grow_and_burn(void *arg)
{
	char *p = live_reserve(MAPPINGS * BASE);
	unsigned int i;

	for (i = 0; i < MAPPINGS; i += 2)
		CHECK(mprotect(p + i * BASE, BASE, PROT_READ) == 0);
	CHECK(madvise(p, MAPPINGS * BASE, MADV_DONTFORK) == 0);
	for (i = 0; !atomic_load(&workers_done); i++) {
		uint64_t cpu = cpu_ms() + 40;

		if (i < 60) {
			p = live_reserve(GROWTH);
			CHECK(madvise(p, GROWTH, MADV_NOHUGEPAGE) == 0);
			memset(p, 1, GROWTH);
		}
		while (cpu_ms() < cpu && !atomic_load(&workers_done))
			;
	}
	return arg;
}

/* Descriptors that this program has never opened. */
static bool has_strangers(void)
{
	char name[32], to[64];
	int fd;

	for (fd = 3; fd < 9; fd++) {
		ssize_t n;

		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		n = readlink(name, to, sizeof(to) - 1);
		to[n > 0 ? n : 0] = '\0';
		if (strstr(to, "/maps") || strstr(to, "/pagemap"))
			return true;
	}
	return false;
}

/* A look takes a descriptor or two for a moment, and this program sees them; its children must not have them for good. */
static void forks_while_looked_at(void)
{
	uint64_t end = live_now_ms() + PATIENCE_MS;
	unsigned int seen = 0, i;
	pthread_t t;
	pid_t pid;

	CHECK(pthread_create(&t, NULL, grow_and_burn, NULL) == 0);
	while (seen < LOOKS && live_now_ms() < end) {
		for (i = 0; i < 20 && !has_strangers(); i++)
			;
		seen += i < 20;
		pid = fork();
		if (pid == 0)
			_exit(has_strangers());
		live_reap(pid);
	}
	atomic_store(&workers_done, 1);
	CHECK(pthread_join(t, NULL) == 0);
	if (seen < LOOKS && !live_is_bare())
		live_skip("nobody was seen looking");
}

#define ROUNDS 10u
#define ROUND_PAGES 20u
#define RINGS 8 /* on a loaded machine the thread may not get on at all between two */

static timer_t again;
static volatile sig_atomic_t rings = RINGS;
static volatile uint64_t longest_ms;

static void make_timer(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };

	event._sigev_un._tid = gettid();
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &again) == 0);
}

/* When the thread has got on a little. */
static void ring(void)
{
	static unsigned int nr;
	long us = 20 + nr++ * 7919 % 60;

	CHECK(timer_settime(again, 0, &(struct itimerspec){ .it_value.tv_nsec = us * live_slow() * 1000 }, NULL) == 0);
}

/* fork(3) itself may wait in a handler for a lock of libc's that its own thread holds. */
static void timed_fork(void)
{
	uint64_t start = live_now_ms();
	pid_t pid = _Fork();

	if (pid == 0)
		_exit(0);
	if (live_now_ms() - start > longest_ms)
		longest_ms = live_now_ms() - start;
	live_reap(pid);
}

static void fork_in_handler(int sig)
{
	(void)sig;
	timed_fork();
	if (--rings > 0)
		ring();
}

static void *nothing(void *arg) { return arg; }

/* What is seen when a thread is made is enough to start the agent, on this thread. */
static void start_beside_forks(void)
{
	char *small = live_reserve(2 * GROWTH), *p;
	pthread_t t;

	make_timer();
	CHECK(madvise(small, 2 * GROWTH, MADV_NOHUGEPAGE) == 0);
	p = live_arena(ROUND_PAGES, SEED);
	memset(small, 1, 2 * GROWTH);
	ring();
	CHECK(pthread_create(&t, NULL, nothing, NULL) == 0);
	rings = 0;
	CHECK(pthread_join(t, NULL) == 0);
	timed_fork(); /* waits for an agent that is only starting */
	CHECK(longest_ms < 15000); /* for one that does not answer it would wait 20 s */
	live_verify(p, ROUND_PAGES * HUGE, SEED);
}

/* Each in a process that has not been looked at. */
static void forks_in_signals(void)
{
	unsigned int i;
	pid_t pid;

	CHECK(signal(SIGUSR1, fork_in_handler) != SIG_ERR);
	for (i = 0; i < live_rounds(ROUNDS); i++) {
		pid = fork();
		if (pid == 0) {
			start_beside_forks();
			_exit(0);
		}
		live_reap(pid);
	}
}

static void status_7(void)
{
	printf("hello\n");
	exit(7);
}

static const struct live_case cases[] = {
	{ "burn", burn },
	{ "malloc", use_malloc },
	{ "brk", use_brk },
	{ "joinable workers", joinable_workers },
	{ "detached workers", detached_workers },
	{ "forked children", forked_children },
	{ "forked by managed", forked_by_managed },
	{ "double fork", double_fork },
	{ "exec again", exec_again },
	{ "cancel", cancel },
	{ "cancel while managed", cancel_while_managed },
	{ "preloaded", preloaded },
	{ "small pages", small_pages },
	{ "reserve after malloc", reserve_after_malloc },
	{ "filled in bursts", filled_in_bursts },
	{ "many threads", many_threads },
	{ "forks while looked at", forks_while_looked_at },
	{ "forks in signals", forks_in_signals },
	{ "status 7", status_7 },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
