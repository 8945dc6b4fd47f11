// SPDX-License-Identifier: MIT
/*
 * Sockets and pipes with absent memory at their ends, or with references to pages that come and go: every byte arrives as it was
 * sent.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arena.h"

static void *send_all(void *arg)
{
	size_t off = 0;
	ssize_t n;

	for (; off < BYTES; off += (size_t)n) {
		n = send(*(int *)arg, arena + off, BYTES - off, 0);
		CHECK(n > 0);
	}
	return NULL;
}

static void sockets(void)
{
	pthread_t t;
	unsigned int i;
	size_t off;
	ssize_t n;
	char *to;
	int s[2];

	get_arena();
	to = live_arena(PAGES, 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	for (i = 0; i < ROUNDS; i++) {
		live_fill(arena, BYTES, SEED + i);
		absent();
		live_wait_absent(to, BYTES);
		CHECK(pthread_create(&t, NULL, send_all, &s[0]) == 0);
		for (off = 0; off < BYTES; off += (size_t)n) {
			n = recv(s[1], to + off, BYTES - off, 0);
			CHECK(n > 0);
		}
		CHECK(pthread_join(t, NULL) == 0);
		live_verify(to, BYTES, SEED + i);
	}
}

static void loopback(int s[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0), size = 8 << 20;

	CHECK(l >= 0);
	if (bind(l, (struct sockaddr *)&a, len) || listen(l, 1))
		live_skip("no loopback device");
	CHECK(getsockname(l, (struct sockaddr *)&a, &len) == 0);
	s[0] = socket(AF_INET, SOCK_STREAM, 0);
	(void)setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (connect(s[0], (struct sockaddr *)&a, len))
		live_skip("no loopback device");
	s[1] = accept(l, NULL, NULL);
	CHECK(s[1] >= 0);
	close(l);
}

#define SPLICED (16 * BASE) /* as much as a pipe takes */

/* Whatever refers to pages by now: they are taken away and given back, to other frames, and are what they were. */
static void come_and_go(uint64_t seed)
{
	unsigned int k;

	for (k = 0; k < 4; k++) {
		(void)live_absent_within(arena, BYTES, 200);
		live_verify(arena, BYTES, seed);
	}
}

/* Hands a piece of absent memory to a pipe by reference; the number of its first word. */
static size_t hand_over(const int p[2], unsigned int i)
{
	struct iovec v = { arena + (i % PAGES) * HUGE + i * 3 * BASE, SPLICED };

	live_fill(arena, BYTES, SEED + i);
	absent();
	CHECK(vmsplice(p[1], &v, 1, 0) == (ssize_t)SPLICED);
	come_and_go(SEED + i);
	return (size_t)((char *)v.iov_base - arena) / 8;
}

static void verify_arrived(int fd, char *copy, unsigned int i, size_t first)
{
	size_t off = 0;

	memset(copy, 0, SPLICED);
	while (off < SPLICED) {
		ssize_t n = read(fd, copy + off, SPLICED - off);

		CHECK(n > 0);
		off += (size_t)n;
	}
	live_verify_from(copy, SPLICED, SEED + i, first);
}

static void splice_on(int from, int to, loff_t *at)
{
	size_t off = 0;

	while (off < SPLICED) {
		ssize_t n = splice(from, NULL, to, at, SPLICED - off, 0);

		CHECK(n > 0);
		off += (size_t)n;
	}
}

/* What was handed to a pipe by reference must arrive as it was, whatever happens to the pages meanwhile. */
static void splice_pages(void)
{
	char *copy;
	unsigned int i;
	int p[2];

	get_arena();
	copy = live_reserve(HUGE);
	CHECK(pipe(p) == 0);
	for (i = 0; i < ROUNDS; i++)
		verify_arrived(p[0], copy, i, hand_over(p, i));
}

static void splice_to_file(void)
{
	char *copy;
	unsigned int i;
	int p[2], fd;

	get_arena();
	copy = live_reserve(HUGE);
	fd = live_temporary(0);
	CHECK(pipe(p) == 0);
	for (i = 0; i < ROUNDS; i++) {
		size_t first = hand_over(p, i);
		loff_t at = (loff_t)(i * SPLICED);

		splice_on(p[0], fd, &at);
		verify_arrived(fd, copy, i, first);
	}
}

/* The socket may refer to the pages themselves until the other end has read them. */
static void splice_to_socket(void)
{
	char *copy;
	unsigned int i;
	int p[2], s[2];

	get_arena();
	copy = live_reserve(HUGE);
	loopback(s);
	CHECK(pipe(p) == 0);
	for (i = 0; i < ROUNDS; i++) {
		size_t first = hand_over(p, i);

		splice_on(p[0], s[0], NULL);
		come_and_go(SEED + i);
		verify_arrived(s[1], copy, i, first);
	}
}

static void tee_pages(void)
{
	char *copy;
	unsigned int i;
	int p[2], q[2];

	get_arena();
	copy = live_reserve(HUGE);
	CHECK(pipe(p) == 0 && pipe(q) == 0);
	for (i = 0; i < ROUNDS; i++) {
		size_t first = hand_over(p, i);

		CHECK(tee(p[0], q[1], SPLICED, 0) == (ssize_t)SPLICED);
		verify_arrived(p[0], copy, i, first);
		come_and_go(SEED + i);
		verify_arrived(q[0], copy, i, first);
	}
}

/* The other way round: out of a pipe into absent memory, across two pages. */
static void splice_into_memory(void)
{
	char *copy, *to;
	unsigned int i;
	int p[2];

	get_arena();
	copy = live_reserve(HUGE);
	CHECK(pipe(p) == 0);
	for (i = 0; i < ROUNDS; i++) {
		size_t off = (i % (PAGES - 1) + 1) * HUGE - SPLICED / 2 + 8 * i, done = 0;

		to = arena + off;
		live_fill(arena, BYTES, SEED + i);
		live_fill(copy, SPLICED, SEED + 100 + i);
		CHECK(write(p[1], copy, SPLICED) == (ssize_t)SPLICED);
		absent();
		while (done < SPLICED) {
			struct iovec v = { to + done, SPLICED - done };
			ssize_t n = vmsplice(p[0], &v, 1, 0);

			CHECK(n > 0);
			done += (size_t)n;
		}
		live_verify(arena, off, SEED + i);
		live_verify(to, SPLICED, SEED + 100 + i);
		live_verify_from(to + SPLICED, BYTES - off - SPLICED, SEED + i, (off + SPLICED) / 8);
	}
}

static void zero_copy(void)
{
	int s[2], one = 1;
	unsigned int i, k;
	char *to;

	get_arena();
	to = live_reserve(BYTES);
	loopback(s);
	if (setsockopt(s[0], SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		live_skip("no SO_ZEROCOPY");
	for (i = 0; i < ROUNDS; i++) {
		size_t sent = 0, got = 0;
		ssize_t n;

		live_fill(arena, BYTES, SEED + i);
		absent();
		while (sent < HUGE) {
			n = send(s[0], arena + HUGE / 2 + sent, HUGE - sent, MSG_ZEROCOPY | MSG_DONTWAIT);
			if (n < 0)
				break;
			sent += (size_t)n;
		}
		CHECK(sent > 0);
		for (k = 0; k < 4; k++) {
			(void)live_absent_within(arena, BYTES, 200);
			live_verify(arena, BYTES, SEED + i);
		}
		while (got < sent) {
			n = recv(s[1], to + got, sent - got, 0);
			CHECK(n > 0);
			got += (size_t)n;
		}
		live_verify_from(to, sent & ~(size_t)7, SEED + i, HUGE / 2 / 8);
	}
}

static const struct live_case cases[] = {
	{ "send and recv", sockets },
	{ "vmsplice", splice_pages },
	{ "vmsplice, and splice to a file", splice_to_file },
	{ "vmsplice, and splice to a socket", splice_to_socket },
	{ "vmsplice and tee", tee_pages },
	{ "vmsplice into memory", splice_into_memory },
	{ "MSG_ZEROCOPY over loopback", zero_copy },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
