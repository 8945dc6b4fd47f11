// SPDX-License-Identifier: MIT
/*
 * Sleeps in every system call that a signal would end early, with heavy use of the CPU before each, inside and outside
 * the kernel. None may end with EINTR, none too early. Prints how many calls there were.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define SLEEP_MS 8
#define RUN_MS 2000u
#define MIN_CALLS 60u /* on a machine with no time left they take longer */

static int ep, sock[2], queue;
static sem_t sem;
static char noise[1 << 20];

static struct timespec soon(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += SLEEP_MS * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static int by_nanosleep(void) { return nanosleep(&(struct timespec){ 0, SLEEP_MS * 1000000 }, NULL); }
static int by_clock(void)
{
	errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 0, SLEEP_MS * 1000000 }, NULL);
	return errno ? -1 : 0;
}
static int by_usleep(void) { return usleep(SLEEP_MS * 1000); }
static int by_poll(void) { return poll(&(struct pollfd){ sock[0], POLLIN, 0 }, 1, SLEEP_MS); }
static int by_epoll(void) { return epoll_wait(ep, &(struct epoll_event){ 0 }, 1, SLEEP_MS); }
static int by_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(sock[0], &set);
	return select(sock[0] + 1, &set, NULL, NULL, &(struct timeval){ 0, SLEEP_MS * 1000 });
}
/* EAGAIN is how these say "time is up". */
static int timed(long result) { return result == -1 && (errno == EAGAIN || errno == ETIMEDOUT) ? 0 : -1; }
static int by_recv(void)
{
	char c;

	return timed(recv(sock[0], &c, 1, 0));
}
static int by_semaphore(void)
{
	struct timespec t = soon();

	return timed(sem_timedwait(&sem, &t));
}
static int by_sigwait(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return timed(sigtimedwait(&set, NULL, &(struct timespec){ 0, SLEEP_MS * 1000000 }));
}

static void *send_later(void *arg)
{
	struct {
		long type;
		char c;
	} m = { 1, 'x' };

	live_sleep_ms(SLEEP_MS);
	CHECK(*(char *)arg == 'q' ? msgsnd(queue, &m, 1, 0) == 0 : write(sock[1], "x", 1) == 1);
	return NULL;
}

static long with_sender(char kind)
{
	struct {
		long type;
		char c;
	} m;
	pthread_t t;
	char c;
	long n;

	CHECK(pthread_create(&t, NULL, send_later, &kind) == 0);
	n = kind == 'q' ? msgrcv(queue, &m, 1, 0, 0) : read(sock[0], &c, 1);
	CHECK(pthread_join(t, NULL) == 0);
	return n;
}

static void limit_recv(int ms)
{
	struct timeval t = { 0, ms * 1000 };

	CHECK(setsockopt(sock[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) == 0);
}
static int by_read(void)
{
	long n;

	limit_recv(0);
	n = with_sender('s');
	limit_recv(SLEEP_MS);
	return n == 1 ? 0 : -1;
}
static int by_msgrcv(void) { return queue < 0 || with_sender('q') == 1 ? 0 : -1; }

static const struct {
	const char *name;
	int (*sleep)(void);
} way[] = {
	{ "nanosleep", by_nanosleep },
	{ "clock_nanosleep", by_clock },
	{ "usleep", by_usleep },
	{ "poll", by_poll },
	{ "epoll_wait", by_epoll },
	{ "select", by_select },
	{ "recv", by_recv },
	{ "sem_timedwait", by_semaphore },
	{ "sigtimedwait", by_sigwait },
	{ "read", by_read },
	{ "msgrcv", by_msgrcv },
};

#define WAYS (sizeof(way) / sizeof(way[0]))

/* Some in user mode, some in the kernel right before the sleep. */
static void work(unsigned int i)
{
	struct timespec a, b;
	volatile uint64_t x = i;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	do {
		for (int k = 0; k < 2000; k++)
			x = live_word(x, 1);
		if (i & 1)
			CHECK(getrandom(noise, sizeof(noise), 0) > 0);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	} while ((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec < 3000000 + (long)(i * 7919 % 3000) * 1000);
}

/*
 * A socket's time limit is counted in timer ticks, so by the clock it is over early if the tick it began with came late,
 * which is often in a guest. The coarse clock goes by the same ticks.
 */
static clockid_t clock_of(int (*sleep)(void)) { return sleep == by_recv ? CLOCK_MONOTONIC_COARSE : CLOCK_MONOTONIC; }

static void *sleeper(void *arg)
{
	uint64_t end = live_now_ms() + RUN_MS;
	unsigned int i = 0, n = 0, broken = 0;

	(void)arg;
	for (; live_now_ms() < end || n < MIN_CALLS; i++) {
		clockid_t clock = clock_of(way[i % WAYS].sleep);
		struct timespec a, b;
		int ret;

		work(i);
		errno = 0;
		clock_gettime(clock, &a);
		ret = way[i % WAYS].sleep();
		n++;
		if (ret == 0) {
			clock_gettime(clock, &b);
			if ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= SLEEP_MS - 2)
				continue;
		}
		dprintf(2, "%s: returned %d before %d ms were over (%s)\n", way[i % WAYS].name, ret, SLEEP_MS,
			strerror(errno));
		broken++;
	}
	printf("calls %u disturbed %u\n", n, broken);
	fflush(stdout);
	CHECK(broken == 0);
	return NULL;
}

static void set_up(void)
{
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sock) == 0);
	limit_recv(SLEEP_MS);
	ep = epoll_create1(0);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, sock[0], &(struct epoll_event){ .events = EPOLLIN }) == 0);
	CHECK(sem_init(&sem, 0, 0) == 0);
	queue = msgget(IPC_PRIVATE, 0600); /* -1 where there is no System V IPC */
}

static void finish(void)
{
	if (queue >= 0)
		msgctl(queue, IPC_RMID, NULL);
}

static void main_thread(void)
{
	set_up();
	sleeper(NULL);
	finish();
}

static void other_thread(void)
{
	pthread_t t;

	set_up();
	CHECK(pthread_create(&t, NULL, sleeper, NULL) == 0);
	CHECK(pthread_join(t, NULL) == 0);
	finish();
}

static const struct live_case cases[] = {
	{ "main thread", main_thread },
	{ "other thread", other_thread },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
