// SPDX-License-Identifier: MIT
/*
 * Processes made while pages are absent: a child must see what its parent saw, and each its own from then on.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#define PAGES 6u
#define BYTES (PAGES * HUGE)
#define SEED 31u

static char *arena;

static void absent_arena(void)
{
	arena = live_arena(PAGES, SEED);
	live_wait_absent(arena, BYTES);
}

static void child_reads(void)
{
	pid_t pid;

	absent_arena();
	pid = fork();
	if (pid == 0) {
		live_verify(arena, BYTES, SEED);
		_exit(0);
	}
	live_verify(arena, BYTES, SEED);
	live_reap(pid);
	live_verify(arena, BYTES, SEED);
}

/* Each writes over its own copy, both at once, and is let be armed meanwhile. */
static void both_write(void)
{
	unsigned int i;
	pid_t pid;

	absent_arena();
	pid = fork();
	for (i = 1; i < 6; i++) {
		uint64_t mine = SEED + i + (pid ? 1000 : 2000), last = i == 1 ? SEED : mine - 1;

		live_verify(arena, BYTES, last);
		live_fill(arena, BYTES, mine);
		live_sleep_ms(20);
		live_verify(arena, BYTES, mine);
	}
	if (pid == 0)
		_exit(0);
	live_reap(pid);
	live_verify(arena, BYTES, SEED + 5 + 1000);
}

/* ---- many forks, threads at work ---- */

static atomic_bool stop;

/* A page per writer; every word of its first base page holds the round, so that a child can tell a torn copy. */
static void *writer(void *arg)
{
	volatile uint64_t *w = arg;
	uint64_t round = 0;
	size_t i;

	while (!atomic_load(&stop)) {
		for (i = 0; i < 512; i++)
			CHECK(w[i] == round);
		round++;
		for (i = 0; i < 512; i++)
			w[i] = round;
	}
	return NULL;
}

/* A snapshot in the middle of a round: a prefix is one ahead of the rest, or behind by nothing. */
static void check_snapshot(const uint64_t *w)
{
	size_t i;

	CHECK(w[511] == w[0] || w[511] + 1 == w[0]);
	for (i = 1; i < 512; i++)
		CHECK(w[i] == w[i - 1] || w[i] == w[511]);
}

static void forks_with_writers(void)
{
	pthread_t t[2];
	int i, k;

	absent_arena();
	for (i = 0; i < 2; i++) {
		memset(arena + (size_t)i * HUGE, 0, 4096);
		CHECK(pthread_create(&t[i], NULL, writer, arena + (size_t)i * HUGE) == 0);
	}
	for (k = 0; k < (int)live_rounds(50); k++) {
		pid_t pid = fork();

		if (pid == 0) {
			for (i = 0; i < 2; i++)
				check_snapshot((const uint64_t *)(const void *)(arena + (size_t)i * HUGE));
			live_verify_from(arena + 2 * HUGE, BYTES - 2 * HUGE, SEED, 2 * HUGE / 8);
			_exit(0);
		}
		live_reap(pid);
		/* Written pages can be taken away again. */
		if (k % 10 == 0)
			live_fill_from(arena + 2 * HUGE, BYTES - 2 * HUGE, SEED, 2 * HUGE / 8);
	}
	atomic_store(&stop, true);
	for (i = 0; i < 2; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	live_verify_from(arena + 2 * HUGE, BYTES - 2 * HUGE, SEED, 2 * HUGE / 8);
}

static void *forker(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < (int)live_rounds(10); i++) {
		pid_t pid = fork();

		if (pid == 0) {
			live_verify(arena, BYTES, SEED);
			_exit(0);
		}
		live_reap(pid);
	}
	return NULL;
}

static void forks_at_once(void)
{
	pthread_t t[4];
	int i;

	absent_arena();
	for (i = 0; i < 4; i++)
		CHECK(pthread_create(&t[i], NULL, forker, NULL) == 0);
	for (i = 0; i < 4; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	live_verify(arena, BYTES, SEED);
}

/* Children of children, each of them forking at once and living long enough to be noticed. */
static void generations(void)
{
	int depth = 0;
	pid_t pid = 0;

	absent_arena();
	while (depth < 4 && (pid = fork()) == 0) {
		depth++;
		live_verify(arena, BYTES, SEED + (uint64_t)depth - 1);
		live_fill(arena, BYTES, SEED + (uint64_t)depth);
		live_sleep_ms(100);
		live_verify(arena, BYTES, SEED + (uint64_t)depth);
	}
	if (pid)
		live_reap(pid);
	live_verify(arena, BYTES, SEED + (uint64_t)depth);
	if (depth)
		_exit(0);
}

/* Mappings of which nothing can be accessed. */
static size_t out_of_bounds(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	char line[512], prot[8];
	size_t sum = 0;

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %7s", &start, &end, prot) == 3 && !strncmp(prot, "---", 3))
			sum += end - start;
	fclose(f);
	return sum;
}

/* What others have put around memory of theirs goes no further than the process it was meant for. */
static void address_space(void)
{
	size_t first = 0;
	int depth = 0;
	pid_t pid = 0;

	do {
		alarm(20 * live_slow());
		arena = live_arena(PAGES, SEED);
		while (!live_is_bare() && live_present(arena, BYTES) == BYTES)
			live_verify(arena, BYTES, SEED); /* computing, until it is managed */
		if (!first)
			first = out_of_bounds();
		CHECK(out_of_bounds() < first + ((size_t)16 << 20));
		live_verify(arena, BYTES, SEED);
		CHECK(munmap(arena, BYTES) == 0);
	} while (++depth < 4 && (pid = fork()) == 0);
	if (pid)
		live_reap(pid);
}

/* ---- other ways to make processes ---- */

static void vfork_exec(void)
{
	unsigned int i;

	absent_arena();
	for (i = 0; i < live_rounds(20); i++) {
		pid_t pid = vfork();

		if (pid == 0) {
			size_t off = (i % PAGES) * HUGE;

			/* Still the parent's memory. */
			if (*(volatile uint64_t *)(void *)(arena + off) != live_word(SEED, off / 8))
				_exit(1);
			execl("/bin/true", "true", NULL);
			_exit(2);
		}
		live_reap(pid);
	}
	live_verify(arena, BYTES, SEED);
}

static void spawn(void)
{
	static char name[] = "true";
	char *argv[] = { name, NULL };
	unsigned int i;
	pid_t pid;

	absent_arena();
	for (i = 0; i < live_rounds(20); i++) {
		CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0);
		live_reap(pid);
	}
	live_verify(arena, BYTES, SEED);
}

static void shells(void)
{
	char line[64] = "";
	unsigned int i;
	FILE *f;

	absent_arena();
	for (i = 0; i < live_rounds(10); i++) {
		CHECK(system("exit 3") == 3 << 8);
		f = popen("echo from the shell", "r");
		CHECK(f && fgets(line, sizeof(line), f) && !strcmp(line, "from the shell\n"));
		CHECK(pclose(f) == 0);
	}
	live_verify(arena, BYTES, SEED);
}

/* A child made without libc's knowledge has no business with the memory here, but it may fork in its turn. */
static void fork_behind_libc(void)
{
	uint64_t start;
	pid_t pid;

	live_sleep_ms(100);
	pid = (pid_t)syscall(SYS_fork);
	if (pid == 0) {
		start = live_now_ms();
		pid = fork();
		if (pid == 0)
			_exit(0);
		live_reap(pid);
		CHECK(live_now_ms() - start < 10000 * live_slow()); /* not the 20 s of a fork that asks who is not there */
		_exit(0);
	}
	live_reap(pid);
}

/* Nobody is told before such a fork. */
static void bare_fork(void)
{
	unsigned int i;
	pid_t pid;

	if (geteuid() != 0)
		live_skip("only root can be told about bare forks");
	absent_arena();
	for (i = 0; i < live_rounds(10); i++) {
		pid = (pid_t)syscall(SYS_fork);
		if (pid == 0) {
			live_verify(arena, BYTES, SEED + i);
			live_fill(arena, BYTES, SEED + 100);
			live_verify(arena, BYTES, SEED + 100);
			_exit(0);
		}
		live_reap(pid);
		live_verify(arena, BYTES, SEED + i);
		live_fill(arena, BYTES, SEED + i + 1);
		if (i % 5 == 0)
			live_wait_absent(arena, BYTES);
	}
}

/* The child's memory comes with a descriptor, for which there must be a number below the limit. */
static void bare_fork_under(const struct rlimit *limit)
{
	struct rlimit after;
	pid_t pid;

	if (geteuid() != 0)
		live_skip("only root can be told about bare forks");
	absent_arena();
	CHECK(setrlimit(RLIMIT_NOFILE, limit) == 0);
	pid = (pid_t)syscall(SYS_fork);
	if (pid == 0) {
		live_verify(arena, BYTES, SEED);
		CHECK(getrlimit(RLIMIT_NOFILE, &after) == 0 && after.rlim_cur == limit->rlim_cur);
		_exit(0);
	}
	live_reap(pid);
	live_verify(arena, BYTES, SEED);
	CHECK(getrlimit(RLIMIT_NOFILE, &after) == 0);
	CHECK(after.rlim_cur == limit->rlim_cur && after.rlim_max == limit->rlim_max);
}

static void bare_fork_few_descriptors(void) { bare_fork_under(&(struct rlimit){ 1, 1 }); }

static void bare_fork_no_descriptors(void) { bare_fork_under(&(struct rlimit){ 0, 50 }); }

/* libc's own ways to make a process without its handlers. */
static void fork_without_handlers(void)
{
	pid_t pid;

	absent_arena();
	pid = _Fork();
	if (pid == 0) {
		live_verify(arena, BYTES, SEED);
		_exit(0);
	}
	live_reap(pid);
	live_verify(arena, BYTES, SEED);
}

static int clone_main(void *arg)
{
	(void)arg;
	return live_matches(arena, BYTES, SEED, 0) ? 0 : 1;
}

static void clone_process(void)
{
	static char stack[65536];

	absent_arena();
	live_reap(clone(clone_main, stack + sizeof(stack), SIGCHLD, NULL));
	live_verify(arena, BYTES, SEED);
}

/* Nothing is there in a child, and what it maps there is new. */
static void verify_kept_back(char *p)
{
	unsigned char there[HUGE / BASE];

	CHECK(mincore(p, HUGE, there) == -1 && errno == ENOMEM);
	CHECK(mmap(p, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
	live_verify_zero(p, HUGE);
}

/* Two pages that children find wiped, one that they do not get. */
static void advise_for_children(void)
{
	CHECK(madvise(arena + HUGE, 2 * HUGE, MADV_WIPEONFORK) == 0);
	CHECK(madvise(arena + 4 * HUGE, HUGE, MADV_DONTFORK) == 0);
}

static void check_children(pid_t (*make)(void))
{
	pid_t pid = make();

	if (pid == 0) {
		verify_kept_back(arena + 4 * HUGE);
		live_verify(arena, HUGE, SEED);
		live_verify_zero(arena + HUGE, 2 * HUGE);
		live_verify_from(arena + 3 * HUGE, HUGE, SEED, 3 * HUGE / 8);
		live_verify_from(arena + 5 * HUGE, BYTES - 5 * HUGE, SEED, 5 * HUGE / 8);
		_exit(0);
	}
	live_reap(pid);
	live_verify(arena, BYTES, SEED);
}

static pid_t make_bare(void) { return (pid_t)syscall(SYS_fork); }

static void wipe_on_fork(void)
{
	absent_arena();
	advise_for_children();
	check_children(fork);
}

static void wipe_on_bare_fork(void)
{
	if (geteuid() != 0)
		live_skip("only root can be told about bare forks");
	arena = live_arena(PAGES, SEED);
	advise_for_children();
	live_wait_absent(arena, BYTES);
	check_children(make_bare);
}

/* The child takes its memory to pieces at once, faster than it can be served; every other base page of two pages. */
static void bare_fork_and_change(void)
{
	size_t off;
	pid_t pid;

	if (geteuid() != 0)
		live_skip("only root can be told about bare forks");
	absent_arena();
	pid = (pid_t)syscall(SYS_fork);
	if (pid == 0) {
		char *to = live_reserve(HUGE);

		CHECK(mremap(arena + 5 * HUGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		for (off = 2 * HUGE; off < 4 * HUGE; off += 2 * BASE)
			CHECK(madvise(arena + off, BASE, MADV_DONTNEED) == 0);
		CHECK(munmap(arena, HUGE) == 0);
		live_verify_from(to, HUGE, SEED, 5 * HUGE / 8);
		for (off = 2 * HUGE; off < 4 * HUGE; off += 2 * BASE) {
			live_verify_zero(arena + off, BASE);
			live_verify_from(arena + off + BASE, BASE, SEED, (off + BASE) / 8);
		}
		live_verify_from(arena + HUGE, HUGE, SEED, HUGE / 8);
		live_verify_from(arena + 4 * HUGE, HUGE, SEED, 4 * HUGE / 8);
		_exit(0);
	}
	live_reap(pid);
	live_verify(arena, BYTES, SEED);
}

#define LINE 24u /* pages: while they are given to one, the next is made */

/* What the child of this depth finds: the first moved page 5, those after it dropped a page each. */
static void verify_line(unsigned int depth, const char *moved)
{
	unsigned int i;

	if (depth == 1) /* after its fork, so page 6 is there for those after it */
		CHECK(madvise(arena + 6 * HUGE, HUGE, MADV_DONTNEED) == 0);
	for (i = LINE - 1; i > 0; i--) {
		if (i >= 2 && i <= depth)
			live_verify_zero(arena + i * HUGE, HUGE);
		else if (i != 5 && !(i == 6 && depth == 1))
			live_verify_from(arena + i * HUGE, HUGE, SEED, i * HUGE / 8);
	}
	live_verify_from(moved, HUGE, SEED, 5 * HUGE / 8);
}

/* Each changes something and has a child before it has been given anything. */
static void bare_line(void)
{
	char *to = live_reserve(HUGE);
	unsigned int depth = 0;
	pid_t pid = 0;

	while (depth < 3 && (pid = (pid_t)syscall(SYS_fork)) == 0) {
		if (++depth == 1)
			CHECK(mremap(arena + 5 * HUGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		else
			CHECK(madvise(arena + depth * HUGE, HUGE, MADV_DONTNEED) == 0);
	}
	if (depth)
		verify_line(depth, to);
	if (pid)
		live_reap(pid);
	if (depth)
		_exit(0);
}

static void bare_forks_in_a_line(void)
{
	unsigned int i;

	if (geteuid() != 0)
		live_skip("only root can be told about bare forks");
	for (i = 0; i < live_rounds(4); i++) {
		arena = live_arena(LINE, SEED);
		live_wait_absent(arena, LINE * HUGE);
		bare_line();
		live_verify(arena, LINE * HUGE, SEED);
		CHECK(munmap(arena, LINE * HUGE) == 0);
	}
}

/* mlockall in one thread, fork in another: the child must be able to lock its memory too. */
static void *lock_and_unlock(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		CHECK(mlockall(MCL_CURRENT) == 0);
		CHECK(munlockall() == 0);
	}
	return NULL;
}

static void forks_beside_mlockall(void)
{
	pthread_t t;
	int i;

	if (geteuid() != 0)
		live_skip("needs root, to lock memory");
	arena = live_arena(2, SEED);
	CHECK(pthread_create(&t, NULL, lock_and_unlock, NULL) == 0);
	for (i = 0; i < 6; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			char *mine = live_arena(2, SEED);

			alarm(20 * live_slow());
			/* Until it is managed too. */
			while (!live_is_bare() && live_present(mine, 2 * HUGE) == 2 * HUGE)
				live_verify(mine, 2 * HUGE, SEED);
			CHECK(mlockall(MCL_CURRENT) == 0 && munlockall() == 0);
			live_verify(arena, 2 * HUGE, SEED);
			_exit(0);
		}
		live_reap(pid);
	}
	atomic_store(&stop, true);
	CHECK(pthread_join(t, NULL) == 0);
	live_verify(arena, 2 * HUGE, SEED);
}

static volatile sig_atomic_t requested;

static void on_request(int sig) { requested = sig; }

/* Says "absent", forks when told to by a signal, and says how long that took (ms) and how the child ended. */
static void fork_on_request(void)
{
	uint64_t start;
	int status = -1;
	pid_t pid;

	arena = live_arena(PAGES, SEED);
	if (signal(SIGUSR1, on_request) == SIG_ERR)
		CHECK(!"signal");
	live_wait_absent(arena, BYTES);
	printf("absent\n");
	fflush(stdout);
	while (!requested)
		live_sleep_ms(5);
	start = live_now_ms();
	pid = fork();
	if (pid == 0) {
		live_verify(arena, BYTES, SEED);
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	printf("%llu %d\n", (unsigned long long)(live_now_ms() - start), status);
	fflush(stdout);
	live_verify(arena, BYTES, SEED);
}

/* Not to be run by itself. */
#define ON_REQUEST "a fork on request"

static const struct live_case cases[] = {
	{ "a child reads", child_reads },
	{ "parent and child write", both_write },
	{ "50 forks beside writing threads", forks_with_writers },
	{ "forks from four threads at once", forks_at_once },
	{ "children of children", generations },
	{ "address space of children of children", address_space },
	{ "vfork and exec", vfork_exec },
	{ "posix_spawn", spawn },
	{ "system and popen", shells },
	{ "bare fork", bare_fork },
	{ "bare fork with one descriptor allowed", bare_fork_few_descriptors },
	{ "bare fork with no descriptor allowed", bare_fork_no_descriptors },
	{ "a child of a bare fork forks at once", fork_behind_libc },
	{ "_Fork", fork_without_handlers },
	{ "clone without shared memory", clone_process },
	{ "MADV_WIPEONFORK and MADV_DONTFORK", wipe_on_fork },
	{ "MADV_WIPEONFORK and a bare fork", wipe_on_bare_fork },
	{ "a child of a bare fork changes its memory at once", bare_fork_and_change },
	{ "bare forks of children that have holes still", bare_forks_in_a_line },
	{ "forks beside mlockall", forks_beside_mlockall },
	{ NULL, NULL },
};

static const struct live_case requests[] = {
	{ ON_REQUEST, fork_on_request },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return live_main(argc, argv, argc == 2 && !strcmp(argv[1], ON_REQUEST) ? requests : cases);
}
