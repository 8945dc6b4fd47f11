// SPDX-License-Identifier: MIT
/*
 * Ways for a program to end while its pages are absent.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"

#define PAGES 8u
#define BYTES (PAGES * HUGE)
#define SEED 53u

static char *arena;

static void at_exit(void)
{
	live_verify(arena, BYTES, SEED);
	printf("at exit\n");
}

/* Absent twice: whoever takes pages away has made a note of the first time when it does so again. */
static void get_arena(void)
{
	arena = live_arena(PAGES, SEED);
	CHECK(atexit(at_exit) == 0);
	live_wait_absent(arena, BYTES);
	live_verify(arena, BYTES, SEED);
	live_wait_absent(arena, BYTES);
}

static void by_exit(void)
{
	get_arena();
	exit(21);
}

static void *exit_22(void *arg)
{
	(void)arg;
	exit(22);
}

static void by_other_thread(void)
{
	pthread_t t;

	get_arena();
	CHECK(pthread_create(&t, NULL, exit_22, NULL) == 0);
	for (;;)
		pause();
}

static void by_underscore_exit(void)
{
	get_arena();
	_exit(23);
}

static void *outlive(void *arg)
{
	(void)arg;
	live_sleep_ms(200);
	live_verify(arena, BYTES, SEED);
	return NULL;
}

/* The last of the program's threads to end is not the first one. */
static void by_last_thread(void)
{
	pthread_t t;

	get_arena();
	CHECK(pthread_create(&t, NULL, outlive, NULL) == 0);
	pthread_exit(NULL);
}

/* As threads that libc does not know end, or under strict seccomp. libc would have ended the process. */
static void by_system_call(void)
{
	get_arena();
	syscall(SYS_exit, 27);
}

static void no_core(void) { CHECK(setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }) == 0); }

/* Says on standard output, in hexadecimal, what the core should have and where: some bytes of each page. */
static void ready_for_core(void)
{
	const unsigned char *at;
	size_t i, k;

	CHECK(setrlimit(RLIMIT_CORE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY }) == 0);
	arena = live_arena(PAGES, SEED);
	for (i = 0; i < PAGES; i++) {
		uint64_t w[4];

		for (k = 0; k < 4; k++)
			w[k] = live_word(SEED, i * HUGE / 8 + 70000 + k);
		printf("%lx ", (unsigned long)(uintptr_t)arena + i * HUGE + 70000 * 8);
		for (at = (const unsigned char *)w; at < (const unsigned char *)(w + 4); at++)
			printf("%02x", *at);
		printf("\n");
	}
	fflush(stdout);
	live_wait_absent(arena, BYTES);
}

static void by_abort_with_core(void)
{
	ready_for_core();
	abort();
}

static void by_segv_with_core(void)
{
	volatile int *volatile nowhere = NULL;

	ready_for_core();
	*nowhere = 1;
}

static void by_quit_with_core(void)
{
	CHECK(signal(SIGQUIT, SIG_DFL) != SIG_ERR); /* a shell has its background jobs ignore it */
	ready_for_core();
	kill(getpid(), SIGQUIT);
	for (;;)
		pause();
}

static void abort_again(int sig)
{
	signal(sig, SIG_DFL);
	raise(sig);
}

/* Database servers say something first. */
static void by_own_handler_with_core(void)
{
	CHECK(signal(SIGABRT, abort_again) != SIG_ERR);
	ready_for_core();
	abort();
}

static void by_one_shot_with_core(void)
{
	struct sigaction a = { .sa_flags = (int)SA_RESETHAND | SA_NODEFER };

	a.sa_handler = abort_again;
	CHECK(sigaction(SIGABRT, &a, NULL) == 0);
	ready_for_core();
	CHECK(sigaction(SIGABRT, NULL, &a) == 0 && a.sa_handler == abort_again && (a.sa_flags & (int)SA_RESETHAND));
	abort();
}

static void by_abort(void)
{
	get_arena();
	no_core();
	abort();
}

static void by_kill(void)
{
	get_arena();
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

static void by_segv(void)
{
	get_arena();
	no_core();
	CHECK(mprotect(arena, BASE, PROT_NONE) == 0);
	*(volatile int *)(void *)arena = 1;
}

static void by_quick_exit(void)
{
	get_arena();
	quick_exit(24);
}

static void by_exec(void)
{
	const char *program = getenv("LIVE_EXEC");

	get_arena();
	if (program)
		execl(program, program, "malloc", NULL);
	else
		execl("/bin/sh", "sh", "-c", "exit 25", NULL);
}

static void *exec_sh(void *arg)
{
	(void)arg;
	execl("/bin/sh", "sh", "-c", "exit 26", NULL);
	return NULL;
}

static void by_exec_of_thread(void)
{
	pthread_t t;

	get_arena();
	CHECK(pthread_create(&t, NULL, exec_sh, NULL) == 0);
	for (;;)
		pause();
}

/* Runs for a while whatever happens outside, then writes "fine" to the file named in LIVE_FILE. LIVE_ORPHAN: from its parent's end. */
static void outlive_the_controller(void)
{
	const char *path = getenv("LIVE_FILE");
	pid_t parent = getenv("LIVE_ORPHAN") ? getppid() : 0;
	uint64_t end = live_now_ms() + 1200 * live_slow();
	unsigned int i = 0;
	int fd;

	arena = live_arena(PAGES, SEED);
	CHECK(path);
	for (; live_now_ms() < end; i++) {
		if (getppid() == parent)
			end = live_now_ms() + 1200 * live_slow();
		live_verify(arena, BYTES, SEED + i);
		live_fill(arena, BYTES, SEED + i + 1);
		live_sleep_ms(10);
		if (i % 32 == 31) /* not before it has been at work for a while: that is how it is noticed */
			live_wait_absent(arena, BYTES);
	}
	live_verify(arena, BYTES, SEED + i);
	live_wait_absent(arena, BYTES); /* still at work */
	live_verify(arena, BYTES, SEED + i);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && write(fd, "fine\n", 5) == 5);
	close(fd);
}

static void as_daemon(void)
{
	int fd;

	CHECK(daemon(1, 0) == 0);
	for (fd = 0; fd < 1024; fd++)
		close(fd);
	outlive_the_controller();
}

static const struct live_case cases[] = {
	{ "exit", by_exit },
	{ "exit by another thread", by_other_thread },
	{ "_exit", by_underscore_exit },
	{ "the last thread ends", by_last_thread },
	{ "the last thread ends by the system call", by_system_call },
	{ "abort", by_abort },
	{ "SIGKILL", by_kill },
	{ "SIGSEGV", by_segv },
	{ "quick_exit", by_quick_exit },
	{ "exec", by_exec },
	{ "exec by another thread", by_exec_of_thread },
	{ "outlive the controller", outlive_the_controller },
	{ "daemon", as_daemon },
	{ "core by abort", by_abort_with_core },
	{ "core by SIGSEGV", by_segv_with_core },
	{ "core by SIGQUIT from outside", by_quit_with_core },
	{ "core by a handler of its own", by_own_handler_with_core },
	{ "core by a handler that is called once", by_one_shot_with_core },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
