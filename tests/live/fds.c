// SPDX-License-Identifier: MIT
/*
 * What a program does to its descriptors is its own business, and nobody else keeps them open.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"

#define PAGES 8u
#define BYTES (PAGES * HUGE)
#define SEED 17u

static void close_each(unsigned int round)
{
	int fd;

	if (round % 2) {
		CHECK(syscall(SYS_close_range, 0, ~0u, 0) == 0);
		return;
	}
	for (fd = 0; fd < 1024; fd++)
		close(fd);
}

/* Standard error is gone afterwards; only the exit status speaks. */
static void close_all(void)
{
	char *p = live_arena(PAGES, SEED);
	unsigned int i;

	live_wait_absent(p, BYTES);
	for (i = 0; i < live_rounds(50); i++) {
		close_each(i);
		live_verify(p, BYTES, SEED + i);
		live_fill(p, BYTES, SEED + i + 1);
		if (i % 10 == 0)
			live_wait_absent(p, BYTES);
	}
	live_verify(p, BYTES, SEED + i);
}

static atomic_bool stop;

static void *closer(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop))
		close_each(1);
	return NULL;
}

/* Also while everything only starts. */
static void close_all_meanwhile(void)
{
	uint64_t end = live_now_ms() + 400;
	unsigned int i = 0;
	pthread_t t;
	char *p;

	CHECK(pthread_create(&t, NULL, closer, NULL) == 0);
	p = live_arena_blind(PAGES, SEED); /* no descriptor lives long enough to look */
	for (; live_now_ms() < end; i++) {
		live_verify(p, BYTES, SEED + i);
		live_fill(p, BYTES, SEED + i + 1);
		live_sleep_ms(5);
	}
	atomic_store(&stop, true);
	CHECK(pthread_join(t, NULL) == 0);
	live_verify(p, BYTES, SEED + i);
}

/* The reader must see the end as soon as the last writer here has closed. */
static void pipe_ends(void)
{
	char *arena = live_arena(PAGES, SEED), c;
	int before[2], after[2];

	CHECK(pipe(before) == 0);
	live_wait_absent(arena, BYTES);
	CHECK(pipe(after) == 0);
	close(before[1]);
	close(after[1]);
	CHECK(fcntl(before[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(after[0], F_SETFL, O_NONBLOCK) == 0);
	CHECK(read(before[0], &c, 1) == 0);
	CHECK(read(after[0], &c, 1) == 0);
	live_verify(arena, BYTES, SEED);
}

static int count_open(void)
{
	int fd, n = 0;

	for (fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Nothing of anybody else's shows among this process's descriptors. */
static void no_strangers(void)
{
	int low = dup(2), n;
	char *arena;

	CHECK(low >= 0);
	close(low);
	n = count_open();
	arena = live_arena(PAGES, SEED);
	live_wait_absent(arena, BYTES);
	CHECK(count_open() == n);
	CHECK(dup(2) == low);
	live_verify(arena, BYTES, SEED);
}

/* Output to a pipe, which stays open by nobody when this ends it; the reader is outside. */
static void close_stdout(void)
{
	char *arena = live_arena(PAGES, SEED);

	live_wait_absent(arena, BYTES);
	CHECK(write(1, "done\n", 5) == 5);
	close(1);
	close(2);
	live_sleep_ms(4000);
	live_verify(arena, BYTES, SEED);
}

/* mq_notify(3) ends when its process closes a copy of the descriptor, whoever in it does so, and in whatever table. */
static void message_queue(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct mq_attr attr = { .mq_maxmsg = 1, .mq_msgsize = 1 };
	const struct timespec patience = { 10, 0 };
	char name[32], *arena;
	sigset_t usr1;
	mqd_t q;

	snprintf(name, sizeof(name), "/live-fds-%d", (int)getpid());
	q = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attr);
	if (q == (mqd_t)-1)
		live_skip("no message queue to be had");
	CHECK(mq_unlink(name) == 0);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	CHECK(sigprocmask(SIG_BLOCK, &usr1, NULL) == 0);
	CHECK(mq_notify(q, &event) == 0);
	arena = live_arena(PAGES, SEED);
	live_wait_absent(arena, BYTES);
	CHECK(mq_send(q, "x", 1, 0) == 0);
	CHECK(sigtimedwait(&usr1, NULL, &patience) == SIGUSR1);
	live_verify(arena, BYTES, SEED);
}

static const struct live_case cases[] = {
	{ "closes all descriptors again and again", close_all },
	{ "closes all descriptors all the time, from before", close_all_meanwhile },
	{ "pipes end when closed", pipe_ends },
	{ "no foreign descriptors", no_strangers },
	{ "closes standard output and lives on", close_stdout },
	{ "a message queue's notification", message_queue },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
