// SPDX-License-Identifier: MIT
/*
 * roam.c - threads that nobody has bound, each with memory of its own; to see what becomes of their CPUs
 *
 *   live-roam [THREADS]   sweep until SIGTERM
 *   live-roam inherit     one thread sweeps until its CPUs have become fewer, then makes a child, a process and a thread, and
 *                         binds itself
 *
 * "inherit" ends with status 0 when all of these may run wherever the program might at first, and when the CPUs that a thread
 * chose itself stay as they are.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BYTES ((size_t)64 << 20)
#define HUGE ((size_t)2 << 20)
#define PATIENCE_S 60
#define STAY_S 4

extern char **environ;
static cpu_set_t all;
static atomic_bool stop;

static void __attribute__((noreturn)) die(const char *what)
{
	printf("%s\n", what);
	exit(1);
}

static void on_term(int sig)
{
	(void)sig;
	stop = true;
}

static char *map(void)
{
	char *p = mmap(NULL, BYTES + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	madvise(p, BYTES, MADV_HUGEPAGE);
	memset(p, 1, BYTES);
	return p;
}

static void sweep(char *p)
{
	struct timespec t = { .tv_nsec = 5000000 };

	for (size_t i = 0; i < BYTES; i += 4096)
		p[i]++;
	nanosleep(&t, NULL);
}

static void *roam(void *p)
{
	while (!stop)
		sweep(p);
	return NULL;
}

static bool is_free(void)
{
	cpu_set_t now;

	return sched_getaffinity(0, sizeof(now), &now) == 0 && CPU_EQUAL(&now, &all);
}

static void sweep_until_kept(char *p)
{
	time_t end = time(NULL) + PATIENCE_S;

	while (is_free()) {
		sweep(p);
		if (time(NULL) > end)
			die("never kept on a node");
	}
}

static void *look(void *arg)
{
	*(bool *)arg = is_free();
	return NULL;
}

static void expect_status(pid_t pid, const char *what)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		die(what);
}

static void inherit(char *p)
{
	char *argv[] = { "live-roam", "look", NULL }, cpus[32];
	bool free_thread = false;
	cpu_set_t one, now;
	pthread_t t;
	pid_t pid;

	sweep_until_kept(p);
	pid = fork();
	if (pid == 0)
		_exit(!is_free());
	expect_status(pid, "a child inherits the node's CPUs");
	sweep_until_kept(p);
	snprintf(cpus, sizeof(cpus), "%d", CPU_COUNT(&all));
	setenv("LIVE_ROAM_CPUS", cpus, 1);
	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ))
		die("posix_spawn");
	expect_status(pid, "a process inherits the node's CPUs");
	sweep_until_kept(p);
	if (pthread_create(&t, NULL, look, &free_thread) || pthread_join(t, NULL) || !free_thread)
		die("a thread inherits the node's CPUs");
	/* Kept again, then bound by itself to another CPU than that: nobody has a say in that. */
	do {
		sweep_until_kept(p);
		sched_getaffinity(0, sizeof(now), &now);
	} while (CPU_EQUAL(&now, &all));
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && !CPU_ISSET(cpu, &now) && !CPU_COUNT(&one))
			CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		die("sched_setaffinity");
	for (time_t end = time(NULL) + STAY_S; time(NULL) < end;)
		sweep(p);
	if (sched_getaffinity(0, sizeof(now), &now) || !CPU_EQUAL(&now, &one))
		die("the program's own choice of CPUs is not respected");
	printf("nothing inherited, own choice respected\n");
}

int main(int argc, char **argv)
{
	int nr = argc > 1 ? atoi(argv[1]) : 2;
	pthread_t thread[64];

	if (sched_getaffinity(0, sizeof(all), &all))
		die("sched_getaffinity");
	if (argc > 1 && !strcmp(argv[1], "look"))
		return CPU_COUNT(&all) != atoi(getenv("LIVE_ROAM_CPUS"));
	if (argc > 1 && !strcmp(argv[1], "inherit")) {
		inherit(map());
		return 0;
	}
	if (nr < 1 || nr > 64)
		die("expected 1 to 64 threads");
	signal(SIGTERM, on_term);
	for (int i = 0; i < nr; i++)
		if (pthread_create(&thread[i], NULL, roam, map()))
			die("pthread_create");
	for (int i = 0; i < nr; i++)
		pthread_join(thread[i], NULL);
	return 0;
}
