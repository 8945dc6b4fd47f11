// SPDX-License-Identifier: MIT
/*
 * The kernel as the one who touches absent memory: system calls must neither fail nor fall short nor see other bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "arena.h"

#define PINNED_ROUNDS 2u /* who finds a page pinned leaves it alone for a second */

/* ---- files ---- */

static void file_rounds(int fd, unsigned int rounds)
{
	char *copy = live_reserve(BYTES);
	unsigned int i;

	for (i = 0; i < rounds; i++) {
		live_fill(arena, BYTES, SEED + i);
		absent();
		CHECK(pwrite(fd, arena, BYTES, 0) == (ssize_t)BYTES);
		CHECK(pread(fd, copy, BYTES, 0) == (ssize_t)BYTES);
		live_verify(copy, BYTES, SEED + i);
		live_fill(copy, BYTES, SEED + 100 + i);
		CHECK(pwrite(fd, copy, BYTES, 0) == (ssize_t)BYTES);
		absent();
		CHECK(pread(fd, arena, BYTES, 0) == (ssize_t)BYTES);
		live_verify(arena, BYTES, SEED + 100 + i);
	}
}

static void file_buffered(void)
{
	get_arena();
	file_rounds(live_temporary(0), ROUNDS);
}

static void file_direct(void)
{
	get_arena();
	file_rounds(live_temporary(O_DIRECT), PINNED_ROUNDS);
}

static void file_vectors(void)
{
	struct iovec v[7];
	size_t end;
	char *copy;
	int fd, i;

	get_arena();
	copy = live_reserve(BYTES);
	fd = live_temporary(0);
	/* Pieces of odd sizes, across all pages. */
	for (i = 0; i < 7; i++)
		v[i] = (struct iovec){ arena + (size_t)i * (BYTES / 8) + 24, BYTES / 8 + 8 * (size_t)i };
	absent();
	CHECK(writev(fd, v, 7) == (ssize_t)(7 * (BYTES / 8) + 8 * 21));
	for (i = 0; i < 7; i++) {
		CHECK(read(fd, copy, 0) == 0);
		CHECK(pread(fd, copy, v[i].iov_len, (off_t)i * (off_t)(BYTES / 8) + 8 * i * (i - 1) / 2) ==
		      (ssize_t)v[i].iov_len);
		live_verify_from(copy, v[i].iov_len, SEED, (size_t)((char *)v[i].iov_base - arena) / 8);
	}
	/* What comes back is something else than what is there, and nothing is touched beside it. */
	live_fill(arena, BYTES, SEED + 1);
	absent();
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
	CHECK(readv(fd, v, 7) == (ssize_t)(7 * (BYTES / 8) + 8 * 21));
	end = (size_t)((char *)v[6].iov_base - arena) + v[6].iov_len;
	live_verify(arena, 24, SEED + 1);
	live_verify_from(arena + 24, end - 24, SEED, 3);
	live_verify_from(arena + end, BYTES - end, SEED + 1, end / 8);
}

/* ---- small structures ---- */

static void futex_wait(void)
{
	struct timespec t = { 0, 20000000 };
	unsigned int i;
	uint32_t *w;

	get_arena();
	w = (uint32_t *)(void *)(arena + HUGE + 4096);
	for (i = 0; i < ROUNDS; i++) {
		*w = 5;
		absent();
		CHECK(syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, 6, &t) == -1 && errno == EAGAIN);
		absent();
		CHECK(syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, 5, &t) == -1 && errno == ETIMEDOUT);
		absent();
		CHECK(syscall(SYS_futex, w, FUTEX_WAKE_PRIVATE, 1) == 0);
		absent();
		CHECK(syscall(SYS_futex, w, FUTEX_WAIT, 6, &t) == -1 && errno == EAGAIN);
	}
}

static void *sleep_on(void *w)
{
	while (*(volatile uint32_t *)w == 0)
		syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, 0, NULL);
	return NULL;
}

/* The word migrates while somebody sleeps on it. */
static void futex_wake(void)
{
	unsigned int i, k;
	pthread_t t;
	uint32_t *w;

	get_arena();
	w = (uint32_t *)(void *)(arena + HUGE + 8192);
	for (i = 0; i < ROUNDS; i++) {
		*(volatile uint32_t *)w = 0;
		CHECK(pthread_create(&t, NULL, sleep_on, w) == 0);
		for (k = 0; k < 5; k++) {
			absent();
			CHECK(*(volatile uint32_t *)w == 0);
		}
		absent();
		*(volatile uint32_t *)w = 1;
		absent();
		CHECK(syscall(SYS_futex, w, FUTEX_WAKE_PRIVATE, 1) >= 0);
		CHECK(pthread_join(t, NULL) == 0);
	}
}

/* Two operations that the kernel gives up at once instead of waiting; they must not do half of their work. */
static void futex_gives_up(void)
{
	unsigned int i;
	uint32_t *w;

	get_arena();
	w = (uint32_t *)(void *)(arena + HUGE + 4096);
	for (i = 0; i < ROUNDS; i++) {
		long n;

		w[0] = 0;
		w[1] = 7;
		absent();
		n = syscall(SYS_futex, w, FUTEX_WAKE_OP_PRIVATE, 1, 1, w + 1, FUTEX_OP(FUTEX_OP_SET, 9, FUTEX_OP_CMP_EQ, 7));
		CHECK(n >= 0 ? w[1] == 9 : errno == EFAULT && w[1] == 7);
		absent();
		n = syscall(SYS_futex, w, FUTEX_LOCK_PI_PRIVATE, 0, NULL);
		CHECK(n == 0 ? (pid_t)(w[0] & FUTEX_TID_MASK) == gettid() : errno == EFAULT && w[0] == 0);
		if (n == 0)
			CHECK(syscall(SYS_futex, w, FUTEX_UNLOCK_PI_PRIVATE) == 0);
	}
}

/* What programs use that for: libc ends a program whose kernel says that a mutex cannot be read. */
struct pi_shared {
	pthread_mutex_t m;
	uint64_t count;
};

static void *pi_worker(void *arg)
{
	struct pi_shared *shared = arg;
	uint64_t end = live_now_ms() + 1500;

	while (live_now_ms() < end) {
		CHECK(pthread_mutex_lock(&shared->m) == 0);
		shared->count++;
		if (shared->count % 64 == 0)
			live_sleep_ms(1);
		CHECK(pthread_mutex_unlock(&shared->m) == 0);
	}
	return NULL;
}

static void pi_mutex(void)
{
	struct pi_shared *shared;
	pthread_mutexattr_t attr;
	pthread_t t[3];
	int i;

	get_arena();
	absent();
	shared = (void *)(arena + HUGE + 8192);
	CHECK(pthread_mutexattr_init(&attr) == 0);
	CHECK(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT) == 0);
	CHECK(pthread_mutex_init(&shared->m, &attr) == 0);
	shared->count = 0;
	/* From here on this page stays, though nobody touches it; its neighbours do not. */
	CHECK(!live_absent_within(arena + HUGE, HUGE, 300) || live_is_bare());
	live_wait_absent(arena, HUGE);
	live_wait_absent(arena + 2 * HUGE, 2 * HUGE);
	for (i = 0; i < 3; i++)
		CHECK(pthread_create(&t[i], NULL, pi_worker, shared) == 0);
	for (i = 0; i < 3; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	CHECK(pthread_mutex_destroy(&shared->m) == 0);
	live_verify(arena, HUGE, SEED);
	live_verify_from(arena + 2 * HUGE, 2 * HUGE, SEED, 2 * HUGE / 8);
}

static void *die_with_it(void *m)
{
	CHECK(pthread_mutex_lock(m) == 0);
	live_wait_absent(arena, HUGE); /* long enough for this page, too */
	live_sleep_ms(100);
	return NULL;
}

/* A thread ends with a mutex in its hands: the kernel tells the next one, and does not wait for the word to say it in. */
static void robust_mutex(void)
{
	pthread_mutexattr_t attr;
	struct timespec end;
	pthread_mutex_t *m;
	pthread_t t;

	get_arena();
	absent();
	m = (void *)(arena + HUGE + 8192);
	CHECK(pthread_mutexattr_init(&attr) == 0);
	CHECK(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0);
	CHECK(pthread_mutex_init(m, &attr) == 0);
	CHECK(!live_absent_within(arena + HUGE, HUGE, 300) || live_is_bare());
	CHECK(pthread_create(&t, NULL, die_with_it, m) == 0);
	CHECK(pthread_join(t, NULL) == 0);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 20;
	CHECK(pthread_mutex_timedlock(m, &end) == EOWNERDEAD);
	CHECK(pthread_mutex_consistent(m) == 0 && pthread_mutex_unlock(m) == 0);
	CHECK(pthread_mutex_destroy(m) == 0);
	live_verify(arena, HUGE, SEED);
}

static void paths(void)
{
	char *path, *buf;
	struct stat *st;
	unsigned int i;
	int fd;

	get_arena();
	path = arena + HUGE - 6; /* across two pages */
	buf = arena + 2 * HUGE - 8;
	st = (struct stat *)(void *)(arena + 3 * HUGE - 64);
	for (i = 0; i < ROUNDS; i++) {
		strcpy(path, "/proc/self/status");
		absent();
		fd = open(path, O_RDONLY);
		CHECK(fd >= 0);
		absent();
		CHECK(stat(path, st) == 0 && S_ISREG(st->st_mode));
		absent();
		CHECK(fstat(fd, st) == 0 && S_ISREG(st->st_mode));
		close(fd);
		absent();
		CHECK(getcwd(buf, 4096) == buf && buf[0] == '/');
		absent();
		CHECK(access(path, R_OK) == 0);
		absent();
		CHECK(readlink("/proc/self/exe", buf, 4096) > 0 && buf[0] == '/');
	}
}

static void structures(void)
{
	struct timespec *ts;
	struct epoll_event *ev;
	struct timeval *tv;
	struct utsname *un;
	struct pollfd *pfd;
	unsigned int i;
	fd_set *set;
	int p[2], ep;

	get_arena();
	ts = (struct timespec *)(void *)(arena + HUGE - 8);
	ev = (struct epoll_event *)(void *)(arena + 2 * HUGE - 6);
	pfd = (struct pollfd *)(void *)(arena + 3 * HUGE - 4);
	set = (fd_set *)(void *)(arena + 64);
	tv = (struct timeval *)(void *)(arena + HUGE + 64);
	un = (struct utsname *)(void *)(arena + 2 * HUGE + 64);
	CHECK(pipe(p) == 0 && write(p[1], "x", 1) == 1);
	ep = epoll_create1(0);
	for (i = 0; i < ROUNDS; i++) {
		*ts = (struct timespec){ 0, 1000 };
		absent();
		CHECK(nanosleep(ts, NULL) == 0);
		absent();
		CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, ts) == 0 && ts->tv_sec > 0);
		memcpy(ev, &(struct epoll_event){ .events = EPOLLIN, .data.u64 = i }, sizeof(*ev));
		absent();
		CHECK(epoll_ctl(ep, i ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, p[0], ev) == 0);
		absent();
		CHECK(epoll_wait(ep, ev, 1, 1000) == 1);
		memcpy(pfd, &(struct pollfd){ .fd = p[0], .events = POLLIN }, sizeof(*pfd));
		absent();
		CHECK(poll(pfd, 1, 1000) == 1);
		FD_ZERO(set);
		FD_SET(p[0], set);
		*tv = (struct timeval){ 1, 0 };
		absent();
		CHECK(select(p[0] + 1, set, NULL, NULL, tv) == 1 && FD_ISSET(p[0], set));
		absent();
		CHECK(uname(un) == 0 && un->sysname[0]);
		absent();
		CHECK(syscall(SYS_getrandom, arena + 3 * HUGE - 100, 200, 0) == 200);
		absent();
		CHECK(ioctl(p[0], FIONREAD, arena + HUGE + 512) == 0 && *(int *)(void *)(arena + HUGE + 512) == 1);
	}
}

/* execve reads its strings from absent pages; its image goes and everything with it. */
static void exec_strings(void)
{
	char **argv, *text, buf[64] = "";
	unsigned int i;
	int p[2];
	pid_t pid;

	get_arena();
	argv = (char **)(void *)(arena + HUGE - 16);
	text = arena + 2 * HUGE - 3;
	for (i = 0; i < ROUNDS; i++) {
		CHECK(pipe(p) == 0);
		strcpy(text, "/bin/echo");
		strcpy(text + 100, "hello");
		argv[0] = text;
		argv[1] = text + 100;
		argv[2] = text + 100;
		argv[3] = NULL;
		absent();
		pid = vfork();
		if (pid == 0) {
			dup2(p[1], 1);
			execve(text, argv, environ);
			_exit(9);
		}
		close(p[1]);
		live_reap(pid);
		CHECK(read(p[0], buf, sizeof(buf)) == 12 && !memcmp(buf, "hello hello\n", 12));
		close(p[0]);
	}
}

/* ---- signals ---- */

static volatile sig_atomic_t handled;

static void on_signal(int sig)
{
	char here;

	(void)sig;
	handled += &here >= arena && &here < arena + BYTES;
}

static void alternate_stack(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	stack_t ss = { .ss_size = 65536 };
	volatile double kept = 1.5;
	int i;

	get_arena();
	ss.ss_sp = arena + HUGE - 32768;
	CHECK(sigaltstack(&ss, NULL) == 0);
	CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
	for (i = 0; i < 10; i++) {
		absent();
		CHECK(raise(SIGUSR1) == 0);
		CHECK(handled == i + 1);
		kept = kept * 2;
	}
	CHECK(kept == 1.5 * 1024);
	live_verify(arena, HUGE - 32768, SEED);
}

static void on_tick(int sig) { (void)sig; }

/* System calls that wait for a page while signals arrive; nothing may be cut short by that. */
static void signals_meanwhile(void)
{
	struct sigaction sa = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	struct itimerval it = { { 0, 500 }, { 0, 500 } };
	char *copy;
	unsigned int i;
	int fd;

	get_arena();
	copy = live_reserve(BYTES);
	fd = live_temporary(0);
	CHECK(sigaction(SIGALRM, &sa, NULL) == 0 && setitimer(ITIMER_REAL, &it, NULL) == 0);
	for (i = 0; i < 4 * ROUNDS; i++) {
		live_fill(arena, BYTES, SEED + i);
		(void)live_absent_within(arena, BYTES, 500);
		CHECK(pwrite(fd, arena, BYTES, 0) == (ssize_t)BYTES);
		(void)live_absent_within(arena, BYTES, 500);
		CHECK(pread(fd, arena, BYTES, 0) == (ssize_t)BYTES);
		live_verify(arena, BYTES, SEED + i);
	}
	CHECK(pread(fd, copy, BYTES, 0) == (ssize_t)BYTES);
	live_verify(copy, BYTES, SEED + i - 1);
}

/* ---- io_uring, by hand ---- */

struct ring {
	int fd;
	_Atomic unsigned int *sq_tail, *cq_head, *cq_tail;
	unsigned int sq_mask, cq_mask, *array;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
};

static void ring_open(struct ring *r)
{
	struct io_uring_params p = { 0 };
	char *sq, *cq;

	r->fd = (int)syscall(SYS_io_uring_setup, 8, &p);
	if (r->fd < 0)
		live_skip("io_uring is not available");
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		  IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(*r->cqe), PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		  IORING_OFF_CQ_RING);
	r->sqe = mmap(NULL, p.sq_entries * sizeof(*r->sqe), PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
	CHECK(sq != MAP_FAILED && cq != MAP_FAILED && r->sqe != MAP_FAILED);
	r->sq_tail = (void *)(sq + p.sq_off.tail);
	r->sq_mask = *(unsigned int *)(void *)(sq + p.sq_off.ring_mask);
	r->array = (void *)(sq + p.sq_off.array);
	r->cq_head = (void *)(cq + p.cq_off.head);
	r->cq_tail = (void *)(cq + p.cq_off.tail);
	r->cq_mask = *(unsigned int *)(void *)(cq + p.cq_off.ring_mask);
	r->cqe = (void *)(cq + p.cq_off.cqes);
}

static int ring_do(struct ring *r, int op, int file, void *buf, unsigned int len, uint64_t off)
{
	unsigned int tail = *r->sq_tail, head = *r->cq_head;
	struct io_uring_sqe *sqe = &r->sqe[tail & r->sq_mask];
	int res;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = (uint8_t)op;
	sqe->fd = file;
	sqe->addr = (uintptr_t)buf;
	sqe->len = len;
	sqe->off = off;
	r->array[tail & r->sq_mask] = tail & r->sq_mask;
	atomic_store(r->sq_tail, tail + 1);
	while (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		CHECK(errno == EINTR);
	CHECK(atomic_load(r->cq_tail) != head);
	res = r->cqe[head & r->cq_mask].res;
	atomic_store(r->cq_head, head + 1);
	return res;
}

static void ring_rounds(int write_op, int read_op, unsigned int rounds)
{
	struct iovec all = { NULL, BYTES };
	struct ring r;
	char *copy;
	unsigned int i;
	int fd;

	get_arena();
	all.iov_base = arena;
	copy = live_reserve(BYTES);
	ring_open(&r);
	fd = live_temporary(0);
	for (i = 0; i < rounds; i++) {
		live_fill(arena, BYTES, SEED + i);
		absent();
		if (write_op == IORING_OP_WRITE_FIXED &&
		    syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &all, 1))
			live_skip("no registered buffers");
		CHECK(ring_do(&r, write_op, fd, arena, BYTES, 0) == (int)BYTES);
		CHECK(pread(fd, copy, BYTES, 0) == (ssize_t)BYTES);
		live_verify(copy, BYTES, SEED + i);
		live_fill(copy, BYTES, SEED + 50 + i);
		CHECK(pwrite(fd, copy, BYTES, 0) == (ssize_t)BYTES);
		/* Pinned pages cannot be taken away. */
		if (read_op == IORING_OP_READ_FIXED)
			live_sleep_ms(10);
		else
			absent();
		CHECK(ring_do(&r, read_op, fd, arena, BYTES, 0) == (int)BYTES);
		live_verify(arena, BYTES, SEED + 50 + i);
		if (write_op == IORING_OP_WRITE_FIXED)
			CHECK(syscall(SYS_io_uring_register, r.fd, IORING_UNREGISTER_BUFFERS, NULL, 0) == 0);
	}
}

static void ring_plain(void) { ring_rounds(IORING_OP_WRITE, IORING_OP_READ, ROUNDS); }
static void ring_fixed(void) { ring_rounds(IORING_OP_WRITE_FIXED, IORING_OP_READ_FIXED, PINNED_ROUNDS); }

static const struct live_case cases[] = {
	{ "pread and pwrite of a file", file_buffered },
	{ "pread and pwrite with O_DIRECT", file_direct },
	{ "readv and writev", file_vectors },
	{ "futex WAIT on a word", futex_wait },
	{ "futex WAKE of a sleeper", futex_wake },
	{ "futex WAKE_OP and LOCK_PI", futex_gives_up },
	{ "priority-inheriting mutexes", pi_mutex },
	{ "robust mutexes", robust_mutex },
	{ "path arguments and getcwd", paths },
	{ "structures of poll, select, epoll, clock, ioctl", structures },
	{ "execve strings", exec_strings },
	{ "alternate signal stack", alternate_stack },
	{ "signals while system calls wait for pages", signals_meanwhile },
	{ "io_uring read and write", ring_plain },
	{ "io_uring with registered buffers", ring_fixed },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
