// SPDX-License-Identifier: MIT
/*
 * Absent memory in the eyes of others, and of the process itself from outside: another process's system calls, /proc, a debugger.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"

static void process_vm(pid_t pid)
{
	char *copy = live_reserve(BYTES);
	struct iovec l = { copy, BYTES }, r = { arena, BYTES };

	CHECK(process_vm_readv(pid, &l, 1, &r, 1, 0) == (ssize_t)BYTES);
	live_verify(copy, BYTES, SEED);
	live_fill(copy, BYTES, SEED + 1);
	l.iov_len = r.iov_len = HUGE / 2;
	CHECK(process_vm_writev(pid, &l, 1, &r, 1, 0) == (ssize_t)(HUGE / 2));
}

static void verify_half_written(void)
{
	live_verify(arena, HUGE / 2, SEED + 1);
	live_verify_from(arena + HUGE / 2, BYTES - HUGE / 2, SEED, HUGE / 2 / 8);
}

static void process_vm_self(void)
{
	get_arena();
	absent();
	process_vm(getpid());
	verify_half_written();
}

/* The child is older than the arena, so that it shares nothing of it. */
static void process_vm_child(void)
{
	int go[2];
	pid_t pid;

	CHECK(pipe(go) == 0);
	pid = fork();
	if (pid == 0) {
		CHECK(read(go[0], &arena, sizeof(arena)) == sizeof(arena));
		process_vm(getppid());
		_exit(0);
	}
	get_arena();
	absent();
	CHECK(write(go[1], &arena, sizeof(arena)) == sizeof(arena));
	live_reap(pid);
	verify_half_written();
}

/*
 * By ptrace or a file of /proc. No page for a debugger while it is absent, but never another one's; and no half of a write:
 * the kernel says EIO, and leaves everything as it was.
 */
struct eye {
	pid_t pid; /* 0: by the file */
	int mem;
};

/* False: the kernel did not wait for the page. */
static bool peek(const struct eye *eye, char *at, uint64_t wanted)
{
	uint64_t word = 0;
	ssize_t n = 8;

	errno = 0;
	if (!eye->pid)
		n = pread(eye->mem, &word, 8, (off_t)(uintptr_t)at);
	else
		word = (uint64_t)ptrace(PTRACE_PEEKDATA, eye->pid, at, NULL);
	if (n == 8 && !errno)
		CHECK(word == wanted);
	else
		CHECK((n < 0 || eye->pid) && (errno == EIO || errno == EFAULT));
	return n == 8 && !errno;
}

static bool poke(const struct eye *eye, char *at, uint64_t word)
{
	ssize_t n;

	if (!eye->pid)
		n = pwrite(eye->mem, &word, 8, (off_t)(uintptr_t)at);
	else
		n = ptrace(PTRACE_POKEDATA, eye->pid, at, (void *)(uintptr_t)word) ? -1 : 8;
	CHECK(n == 8 || (n == -1 && (errno == EIO || errno == EFAULT)));
	return n == 8;
}

/* What came of a word in each page. */
struct seen {
	bool read[PAGES], written[PAGES];
};

static size_t place(unsigned int page, unsigned int round) { return page * HUGE + 8 * (1 + 100 * round); }

static void look(const struct eye *eye, unsigned int round, struct seen *seen)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++) {
		char *at = arena + place(i, round);

		seen->read[i] = peek(eye, at, live_word(SEED, (size_t)(at - arena) / 8));
		seen->written[i] = poke(eye, at, ~live_word(SEED, (size_t)(at - arena) / 8));
		/* What has been written can be read, if it has not gone since. */
		if (seen->written[i])
			peek(eye, at, ~live_word(SEED, (size_t)(at - arena) / 8));
	}
}

static unsigned int absent_peeks, absent_pokes; /* found nothing to wait for */

/* By the process whose memory it is. */
static void check_seen(const struct seen *seen, unsigned int round)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++) {
		uint64_t *w = (uint64_t *)(void *)(arena + place(i, round)), word = live_word(SEED, place(i, round) / 8);

		CHECK(*w == (seen->written[i] ? ~word : word));
		*w = word;
		absent_peeks += !seen->read[i];
		absent_pokes += !seen->written[i];
	}
	live_verify(arena, BYTES, SEED);
}

/* Not each time: a page comes back by itself when whoever looks gets no processor for long. */
static void check_absent(void)
{
	CHECK(live_is_bare() ? !absent_peeks && !absent_pokes : absent_peeks && absent_pokes);
}

static void proc_mem(void)
{
	struct eye eye = { 0, open("/proc/self/mem", O_RDWR | O_CLOEXEC) };
	struct seen seen;
	unsigned int i;

	get_arena();
	CHECK(eye.mem >= 0);
	for (i = 0; i < ROUNDS; i++) {
		absent();
		look(&eye, i, &seen);
		check_seen(&seen, i);
	}
	check_absent();
	/* And while they come and go. */
	for (i = 0; i < 20 * ROUNDS; i++) {
		size_t at = (i % PAGES) * HUGE + 8 * i;

		if (i % 5 == 0)
			absent();
		peek(&eye, arena + at, live_word(SEED, at / 8));
		if (i % 7 == 0)
			live_verify(arena, BYTES, SEED);
	}
}

static bool attach(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_ATTACH, pid, NULL, NULL))
		return false;
	CHECK(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
	return true;
}

/* The child of a parent that has memory it does not share. Each time it is asked to it looks, by the file or as a debugger. */
static void watch_parent(bool trace, int asked, int answer)
{
	struct eye eye = { 0, -1 };
	const pid_t parent = getppid();
	char path[64];
	struct seen seen;
	unsigned int round;

	CHECK(read(asked, &arena, sizeof(arena)) == sizeof(arena));
	snprintf(path, sizeof(path), "/proc/%d/mem", parent);
	eye.mem = open(path, O_RDWR | O_CLOEXEC);
	CHECK(eye.mem >= 0);
	while (read(asked, &round, sizeof(round)) == sizeof(round)) {
		if (trace && !attach(parent))
			_exit(EXIT_SKIPPED);
		eye.pid = trace ? parent : 0;
		look(&eye, round, &seen);
		if (trace)
			CHECK(ptrace(PTRACE_DETACH, parent, NULL, NULL) == 0);
		CHECK(write(answer, &seen, sizeof(seen)) == sizeof(seen));
	}
	_exit(0);
}

/* The child is older than the arena: what it shared would not be taken away until it is written. */
static void watched(bool trace)
{
	int ask[2], answer[2], status = 0;
	struct seen seen;
	unsigned int i;
	pid_t pid;

	CHECK(pipe(ask) == 0 && pipe(answer) == 0);
	pid = fork();
	if (pid == 0) {
		close(ask[1]);
		close(answer[0]);
		watch_parent(trace, ask[0], answer[1]);
	}
	close(ask[0]);
	close(answer[1]);
	get_arena();
	CHECK(write(ask[1], &arena, sizeof(arena)) == sizeof(arena));
	for (i = 0; i < ROUNDS; i++) {
		absent();
		CHECK(write(ask[1], &i, sizeof(i)) == sizeof(i));
		/* In here it is stopped, and touches nothing. */
		if (read(answer[0], &seen, sizeof(seen)) != sizeof(seen))
			break;
		check_seen(&seen, i);
	}
	close(ask[1]);
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
		live_skip("no ptrace here");
	CHECK(status == 0 && i == ROUNDS);
	check_absent();
}

static void proc_mem_of_another(void) { watched(false); }
static void traced(void) { watched(true); }

static void trace_parent(int started)
{
	const pid_t parent = getppid();
	unsigned int i;

	CHECK(read(started, &arena, sizeof(arena)) == sizeof(arena));
	for (i = 0; i < 10; i++) {
		size_t at = (i % PAGES) * HUGE + 8 * i;

		if (!attach(parent))
			_exit(EXIT_SKIPPED);
		peek(&(struct eye){ parent, -1 }, arena + at, live_word(SEED, at / 8));
		CHECK(ptrace(PTRACE_DETACH, parent, NULL, NULL) == 0);
		live_sleep_ms(10);
	}
	_exit(0);
}

static void traced_at_work(void)
{
	int status = 0, start[2];
	pid_t pid;

	CHECK(pipe(start) == 0);
	pid = fork();
	if (pid == 0)
		trace_parent(start[0]);
	get_arena();
	CHECK(write(start[1], &arena, sizeof(arena)) == sizeof(arena));
	while (waitpid(pid, &status, WNOHANG) == 0)
		live_verify(arena, BYTES, SEED);
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
		live_skip("no ptrace here");
	CHECK(status == 0);
}

static const struct live_case cases[] = {
	{ "process_vm_readv by itself", process_vm_self },
	{ "process_vm_readv by a child", process_vm_child },
	{ "/proc/self/mem", proc_mem },
	{ "/proc/PID/mem of another process", proc_mem_of_another },
	{ "a debugger looks and writes", traced },
	{ "a debugger looks while there is work", traced_at_work },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
