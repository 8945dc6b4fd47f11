// SPDX-License-Identifier: MIT
/*
 * victim [MS [MODE]] - a program that does to its memory what programs do, verifies every byte of it, prints one line that
 * depends on nothing else, and ends with status 7. It knows nothing of hugenuma. A wrong byte, a thread that does not get
 * through: a line on standard error, and status 1.
 *
 * Two threads hammer pages of their own and shared ones; the main thread forks, with and behind libc, drops, unmaps,
 * moves and grows memory, and reads into it. MODE adds something that takes other calls of the agent:
 *   libc     forks only by way of libc
 *   users    two threads at a time set the user to what it is
 *   filter   runs itself under a system call filter that allows everything
 *   lost     expects hardware memory errors, in the sixth base page of a huge page of the workers' and nowhere else: it fills
 *            what it has lost anew
 *   still    does nothing but wait
 *   signals  is sent SIGBUS while all its threads block it, and gets each
 *   one shot   has a SIGSEGV itself at the end, and a handler that is called once
 *   kept back  forks behind libc with memory that a child does not get
 *   beside   has memory that rests, and right beside it some that comes and goes
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define HUGE ((size_t)2 << 20)
#define PAGES 24u
#define OWN 8u /* pages of each worker */
#define WORDS (HUGE / sizeof(uint64_t))
#define KEPT 32u
#define STEP 509u /* words between two that are looked at: each base page is hit */

static char *arena;
static uint64_t end_ms;
static volatile int done;
static const char *mode = "";

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* How many times slower than most this machine is (tests/live). */
static unsigned int slow(void)
{
	const char *n = getenv("LIVE_SLOW");

	return n && atoi(n) > 1 ? (unsigned int)atoi(n) : 1;
}

__attribute__((noreturn)) static void fail(const char *what, const void *at, uint64_t got, uint64_t wanted)
{
	fprintf(stderr, "victim: %s at %p: %#llx is not %#llx\n", what, at, (unsigned long long)got,
		(unsigned long long)wanted);
	_exit(1);
}

static uint64_t word(uint64_t seed, size_t i) { return (i + 1) * 0x9e3779b97f4a7c15ull + seed; }

static void fill(void *p, size_t bytes, uint64_t seed)
{
	uint64_t *w = p;
	size_t i;

	for (i = 0; i < bytes / sizeof(*w); i++)
		w[i] = word(seed, i);
}

static void verify(const char *what, const void *p, size_t bytes, uint64_t seed, size_t step)
{
	const uint64_t *w = p;
	size_t i;

	for (i = 0; i < bytes / sizeof(*w); i += step)
		if (w[i] != word(seed, i))
			fail(what, &w[i], w[i], word(seed, i));
}

static char *reserve(size_t pages)
{
	char *p = mmap(NULL, (pages + 1) * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));

	if (p == MAP_FAILED)
		exit(3);
	if (at != p)
		munmap(p, (size_t)(at - p));
	munmap(at + pages * HUGE, (size_t)(p + HUGE - at));
	madvise(at, pages * HUGE, MADV_HUGEPAGE);
	return at;
}

/* Each round stamps every page of this thread with a number one higher; nothing may ever be behind, or ahead. */
static void *worker(void *arg)
{
	unsigned int id = *(unsigned int *)arg, page;
	volatile uint64_t *count;
	uint64_t round = 0;

	while (!done) {
		for (page = 0; page < OWN; page++) {
			char *at = arena + (id * OWN + page) * HUGE;

			count = (volatile uint64_t *)(void *)(at + 8 * (id + 1));
			if (round && *count != round)
				fail("stamp", (void *)(uintptr_t)count, *count, round);
			*count = round + 1;
			verify("worker", at + 4096, HUGE - 4096, page, STEP);
			at = arena + (2 * OWN + page) * HUGE; /* shared: a word of one's own in each */
			count = (volatile uint64_t *)(void *)(at + 8 * (id + 1));
			if (round && *count != round)
				fail("shared stamp", (void *)(uintptr_t)count, *count, round);
			*count = round + 1;
		}
		round++;
	}
	return NULL;
}

static void reap(pid_t pid)
{
	int status = 0;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		fail("child", NULL, (uint64_t)status, 0);
}

static void pause_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

static bool is_away(int fd, const char *p)
{
	uint64_t entry;

	return pread(fd, &entry, 8, (off_t)((uintptr_t)p / 4096 * 8)) != 8 || !(entry >> 63);
}

/* Until somebody has taken these pages away, as far as a program can see, or for 300 ms. */
static void rest(const char *p, unsigned int pages)
{
	int fd = open("/proc/self/pagemap", O_RDONLY), i;

	for (i = 0; i < 60 && fd >= 0 && pages; i++) {
		pause_ms(5);
		while (pages && is_away(fd, p + (pages - 1) * HUGE))
			pages--;
	}
	if (fd >= 0)
		close(fd);
}

static void bare_fork(char *p)
{
	pid_t pid = (pid_t)syscall(SYS_fork);

	if (pid == 0) {
		verify("bare child", p, 4 * HUGE, 77, STEP);
		_exit(0);
	}
	reap(pid);
}

/* A child reads what its parent had. The bare one first: what has been shared with a child is not armed for a while. */
static void forks(char *p)
{
	pid_t pid;

	if (strcmp(mode, "libc") != 0)
		bare_fork(p);
	pid = fork();
	if (pid == 0) {
		verify("forked child", p, 4 * HUGE, 77, STEP);
		_exit(0);
	}
	reap(pid);
	fill(p, 4 * HUGE, 77);
}

static void changes(char *p)
{
	char *moved, *grown;
	size_t i;
	int fd;

	madvise(p + HUGE + 8192, HUGE / 2, MADV_DONTNEED);
	for (i = 0; i < HUGE / 2; i += 4096)
		if (p[HUGE + 8192 + i])
			fail("dropped", p + HUGE + 8192 + i, (uint64_t)p[HUGE + 8192 + i], 0);
	verify("beside dropped", p, HUGE + 8192, 77, 1);
	munmap(p + 3 * HUGE, HUGE / 2);
	verify("beside unmapped", p, HUGE, 77, STEP);
	moved = reserve(4);
	rest(p, 1); /* so that what moves is away */
	if (mremap(p, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, moved) != (void *)moved)
		exit(3);
	verify("moved", moved, HUGE, 77, 1);
	fd = open("/proc/self/exe", O_RDONLY);
	if (fd < 0 || pread(fd, moved + HUGE - 4096, 64, 0) != 64)
		fail("read", moved, 0, 64);
	close(fd);
	if (memcmp(moved + HUGE - 4096, "\177ELF", 4) != 0)
		fail("read", moved + HUGE - 4096, 0, 64);
	for (grown = moved + HUGE; grown < moved + 4 * HUGE; grown += 4096) { /* first touches */
		if (*(uint64_t *)(void *)grown)
			fail("grown", grown, *(uint64_t *)(void *)grown, 0);
		*(uint64_t *)(void *)grown = (uint64_t)(uintptr_t)grown;
	}
	for (grown = moved + HUGE; grown < moved + 4 * HUGE; grown += 4096)
		if (*(uint64_t *)(void *)grown != (uint64_t)(uintptr_t)grown)
			fail("grown", grown, *(uint64_t *)(void *)grown, (uint64_t)(uintptr_t)grown);
	munmap(moved, 4 * HUGE);
	munmap(p, 4 * HUGE);
}

/* Memory of its own: a page that could not be put into a read-only mapping is left alone for a while. */
static void protections(void)
{
	char *p = reserve(2);

	fill(p, 2 * HUGE, 77);
	rest(p, 2);
	mprotect(p, 2 * HUGE, PROT_READ);
	verify("read-only", p, 2 * HUGE, 77, STEP);
	mprotect(p, 2 * HUGE, PROT_READ | PROT_WRITE);
	fill(p, 2 * HUGE, 78);
	verify("writable again", p, 2 * HUGE, 78, STEP);
	munmap(p, 2 * HUGE);
}

static void round_of_changes(void)
{
	char *p = reserve(4), *q = reserve(4);

	fill(p, 4 * HUGE, 77);
	fill(q, 4 * HUGE, 77);
	protections();
	rest(p, 4);
	changes(p);
	rest(q, 4);
	forks(q);
	verify("after forks", q, 4 * HUGE, 77, STEP);
	munmap(q, 4 * HUGE);
}

/* ---- modes ---- */

static void *set_user(void *arg)
{
	pthread_barrier_wait(arg);
	if (seteuid(geteuid()))
		fail("seteuid", NULL, 0, 0);
	return NULL;
}

static void users(void)
{
	pthread_barrier_t both;
	pthread_t other;

	pthread_barrier_init(&both, NULL, 2);
	if (pthread_create(&other, NULL, set_user, &both))
		exit(3);
	set_user(&both);
	pthread_join(other, NULL);
	pthread_barrier_destroy(&both);
}

static void filter(char **argv)
{
	struct sock_filter all[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog prog = { 1, all };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		exit(3);
	execl(argv[0], argv[0], argv[1], (char *)NULL);
	exit(3);
}

/* What a child does not have at all must not be tried for long: its parent waits. */
static void keep_back(void)
{
	char *p = reserve(KEPT);
	pid_t pid;

	fill(p, KEPT * HUGE, 77);
	madvise(p, KEPT * HUGE, MADV_DONTFORK);
	rest(p, KEPT);
	pid = (pid_t)syscall(SYS_fork);
	while (pid == 0) /* who has ended is not given anything */
		pause();
	pause_ms(200);
	if (pid < 0 || kill(pid, SIGKILL) || waitpid(pid, NULL, 0) != pid)
		exit(3);
	verify("kept back", p, KEPT * HUGE, 77, STEP);
	munmap(p, KEPT * HUGE);
}

/*
 * A mapping that gets huge pages, and at once a hole in the middle, and new memory there. Who looked at it when it was whole, and
 * does something about it in the meantime, must not take the new memory for a part of it.
 */
static void beside(void)
{
	char *p = reserve(6), *middle = p + 2 * HUGE;

	fill(p, 2 * HUGE, 77);
	pause_ms(3);
	munmap(middle, 2 * HUGE);
	pause_ms(7);
	if (mmap(middle, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != middle)
		exit(3);
	madvise(middle, 2 * HUGE, MADV_HUGEPAGE);
	fill(middle, 2 * HUGE, 78);
	rest(middle, 1);
	verify("beside", middle, 2 * HUGE, 78, STEP);
	verify("beside", p, 2 * HUGE, 77, STEP);
	munmap(p, 6 * HUGE);
}

static volatile sig_atomic_t signals_seen;

static void count_signal(int sig)
{
	(void)sig;
	signals_seen++;
}

static void block_signals(void)
{
	sigset_t bus;

	signal(SIGBUS, count_signal);
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &bus, NULL);
}

/* Whoever of the process takes it meanwhile, it is still there, or comes back as soon as that one gets a processor. */
static void signals(void)
{
	int before = signals_seen, patience;
	sigset_t bus;

	kill(getpid(), SIGBUS);
	pause_ms(20);
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
	for (patience = 0; patience < 5000 && signals_seen == before; patience++)
		pause_ms(1);
	pthread_sigmask(SIG_BLOCK, &bus, NULL);
	if (signals_seen != before + 1)
		fail("signals", NULL, (uint64_t)(signals_seen - before), 1);
}

static sigjmp_buf out;

static void count_and_jump(int sig)
{
	(void)sig;
	signals_seen++;
	siglongjmp(out, 1);
}

/* Handlers that are called once. */
static void set_one_shot(void)
{
	struct sigaction a = { .sa_flags = (int)SA_RESETHAND };

	a.sa_handler = count_and_jump;
	sigaction(SIGSEGV, &a, NULL);
	sigaction(SIGBUS, &a, NULL);
	sigaction(SIGILL, &a, NULL);
}

/* Whatever faults others have had meanwhile, the program's handler is there for its first one. */
static void use_one_shot(void)
{
	struct sigaction now;

	sigaction(SIGSEGV, NULL, &now);
	if (now.sa_handler != count_and_jump || !(now.sa_flags & (int)SA_RESETHAND))
		fail("one shot", NULL, (uint64_t)(uintptr_t)now.sa_handler, (uint64_t)(uintptr_t)count_and_jump);
	if (!sigsetjmp(out, 1))
		__asm__ volatile("movb $1, 16" ::: "memory");
	sigaction(SIGSEGV, NULL, &now);
	if (signals_seen != 1 || now.sa_handler != SIG_DFL)
		fail("one shot", NULL, (uint64_t)signals_seen, 1);
}

static pid_t filler; /* the thread that fills what was lost, or makes a child; 0: none */

/* True: it was this thread's already, which loses what it fills. */
static bool begin_filling(void)
{
	pid_t self = (pid_t)syscall(SYS_gettid), none = 0;

	if (__atomic_load_n(&filler, __ATOMIC_SEQ_CST) == self)
		return true;
	while (!__atomic_compare_exchange_n(&filler, &none, self, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		none = 0;
		pause_ms(1);
	}
	return false;
}

static void end_filling(bool already)
{
	if (!already)
		__atomic_store_n(&filler, 0, __ATOMIC_SEQ_CST);
}

/*
 * What was lost is dropped and written again, unless another thread has done so; and the access goes on. In a child, too. A kernel
 * that knows of no such errors calls the mark an address error.
 */
static void fill_lost(int sig, siginfo_t *info, void *context)
{
	char *at = (char *)((uintptr_t)info->si_addr & ~(uintptr_t)4095);
	size_t off = (size_t)(at - arena) % HUGE, page = (size_t)(at - arena) / HUGE, i;
	uint64_t *w = (uint64_t *)(void *)at;
	bool already;

	(void)sig;
	(void)context;
	if ((info->si_code != BUS_MCEERR_AR && info->si_code != BUS_ADRERR) || at < arena || page >= PAGES || off != (size_t)5 * 4096)
		fail("signal", info->si_addr, (uint64_t)info->si_code, BUS_MCEERR_AR);
	already = begin_filling();
	if (madvise(at, 4096, MADV_POPULATE_READ)) {
		if (madvise(at, 4096, MADV_DONTNEED))
			fail("madvise", at, 1, 0);
		for (i = 0; i < 4096 / sizeof(*w); i++)
			w[i] = word(page % OWN, (off - 4096) / sizeof(*w) + i);
	}
	end_filling(already);
}

static void expect_losses(void)
{
	struct sigaction act = { .sa_flags = SA_SIGINFO | SA_NODEFER }; /* it may be lost again meanwhile */

	act.sa_sigaction = fill_lost;
	sigaction(SIGBUS, &act, NULL);
}

/*
 * The kernel gives a child what its parent has, and some of it is in staging. Not often: what has been shared with a child is not
 * armed for a while.
 */
static void round_of_losses(void)
{
	static unsigned int round;
	unsigned int page;
	bool already;
	pid_t pid;

	pause_ms(50);
	if (++round % 4)
		return;
	already = begin_filling(); /* not of a page that has been dropped and is not written again yet */
	pid = (pid_t)syscall(SYS_fork);
	end_filling(already);
	if (pid == 0) {
		for (page = 2 * OWN; page < PAGES; page++)
			verify("bare child", arena + page * HUGE + 4096, HUGE - 4096, page % OWN, STEP);
		_exit(0);
	}
	reap(pid);
}

int main(int argc, char **argv)
{
	unsigned int id[2] = { 0, 1 }, page;
	pthread_t thread[2];

	mode = argc > 2 ? argv[2] : "";
	alarm(120 * slow()); /* a hang is a failure, and ends */
	if (!strcmp(mode, "filter"))
		filter(argv);
	if (!strcmp(mode, "signals"))
		block_signals();
	if (!strcmp(mode, "one shot"))
		set_one_shot();
	if (!strcmp(mode, "lost"))
		expect_losses();
	end_ms = now_ms() + (argc > 1 ? (uint64_t)atoi(argv[1]) : 500);
	arena = reserve(PAGES);
	for (page = 0; page < PAGES; page++) {
		char *at = arena + page * HUGE;

		memset(at, 0, 4096);
		fill(at + 4096, HUGE - 4096, page % OWN);
	}
	while (!strcmp(mode, "still") && now_ms() < end_ms)
		pause_ms(100);
	for (page = 0; page < 2; page++)
		if (pthread_create(&thread[page], NULL, worker, &id[page]))
			exit(3);
	do {
		if (!strcmp(mode, "lost"))
			round_of_losses();
		else if (!strcmp(mode, "beside"))
			beside();
		else
			round_of_changes();
		if (!strcmp(mode, "users"))
			users();
		if (!strcmp(mode, "signals"))
			signals();
	} while (now_ms() < end_ms);
	done = 1;
	for (page = 0; page < 2; page++)
		pthread_join(thread[page], NULL);
	if (!strcmp(mode, "one shot"))
		use_one_shot();
	if (!strcmp(mode, "kept back"))
		keep_back();
	for (page = 0; page < PAGES; page++)
		verify("end", arena + page * HUGE + 4096, HUGE - 4096, page % OWN, 1);
	printf("victim: %u pages, all bytes as they should be\n", PAGES);
	return 7;
}
