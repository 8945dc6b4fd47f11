// SPDX-License-Identifier: MIT
/*
 * The kernel as the one who touches absent memory: system calls must neither fail nor fall short nor see other bytes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
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
#include <sys/ptrace.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#define PAGES 4u
#define BYTES (PAGES * HUGE)
#define ROUNDS live_rounds(5)
#define PINNED_ROUNDS 2u /* who finds a page pinned leaves it alone for a second */
#define SEED 11u

static char *arena;

static void get_arena(void) { arena = live_arena(PAGES, SEED); }

static void absent(void) { live_wait_absent(arena, BYTES); }

static int temporary(int flags)
{
	const char *dir = getenv("TMPDIR");
	int fd = open(dir ? dir : "/tmp", O_TMPFILE | O_RDWR | flags, 0600);

	if (fd < 0 && (errno == EINVAL || errno == EOPNOTSUPP))
		live_skip("the file system does not take these flags");
	CHECK(fd >= 0);
	return fd;
}

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
	file_rounds(temporary(0), ROUNDS);
}

static void file_direct(void)
{
	get_arena();
	file_rounds(temporary(O_DIRECT), PINNED_ROUNDS);
}

static void file_vectors(void)
{
	struct iovec v[7];
	char *copy;
	int fd, i;

	get_arena();
	copy = live_reserve(BYTES);
	fd = temporary(0);
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
	absent();
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
	CHECK(readv(fd, v, 7) == (ssize_t)(7 * (BYTES / 8) + 8 * 21));
	live_verify(arena, 24 + BYTES / 8, SEED);
}

/* ---- sockets and pipes ---- */

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

/* What was handed to a pipe by reference must arrive as it was, whatever happens to the pages meanwhile. */
static void splice_pages(void)
{
	char *copy;
	unsigned int i, k;
	int p[2];

	get_arena();
	copy = live_reserve(HUGE);
	CHECK(pipe(p) == 0);
	for (i = 0; i < ROUNDS; i++) {
		size_t size = 16 * BASE, off = 0;
		struct iovec v = { arena + (i % PAGES) * HUGE + i * 3 * BASE, size };

		live_fill(arena, BYTES, SEED + i);
		absent();
		CHECK(vmsplice(p[1], &v, 1, 0) == (ssize_t)size);
		/* Taken away and given back, to other frames, while the pipe holds the old ones. */
		for (k = 0; k < 4; k++) {
			(void)live_absent_within(arena, BYTES, 200);
			live_verify(arena, BYTES, SEED + i);
		}
		while (off < size) {
			ssize_t n = read(p[0], copy + off, size - off);

			CHECK(n > 0);
			off += (size_t)n;
		}
		live_verify_from(copy, size, SEED + i, (size_t)((char *)v.iov_base - arena) / 8);
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

/* ---- other processes' eyes ---- */

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

/* No page for a debugger while it is absent, but never another one's. */
static bool is_right_or_eio(ssize_t n, uint64_t got, uint64_t wanted)
{
	if (n < 0)
		return errno == EIO || errno == EFAULT;
	return n == 8 && got == wanted;
}

static void proc_mem(void)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	unsigned int i, failed = 0;
	uint64_t word;

	get_arena();
	CHECK(fd >= 0);
	for (i = 0; i < 20 * ROUNDS; i++) {
		size_t at = (i % PAGES) * HUGE + 8 * i;
		ssize_t n;

		if (i % 5 == 0)
			absent();
		n = pread(fd, &word, 8, (off_t)(uintptr_t)(arena + at));
		CHECK(is_right_or_eio(n, word, live_word(SEED, at / 8)));
		failed += n < 0;
		if (i % 7 == 0)
			live_verify(arena, BYTES, SEED);
	}
	CHECK(live_is_bare() || failed);
}

static void trace_parent(void)
{
	const pid_t parent = getppid();
	unsigned int i;
	int status;

	for (i = 0; i < 10; i++) {
		size_t at = (i % PAGES) * HUGE + 8 * i;
		uint64_t word;

		if (ptrace(PTRACE_ATTACH, parent, NULL, NULL))
			_exit(EXIT_SKIPPED);
		CHECK(waitpid(parent, &status, __WALL) == parent && WIFSTOPPED(status));
		errno = 0;
		word = (uint64_t)ptrace(PTRACE_PEEKDATA, parent, arena + at, NULL);
		CHECK(is_right_or_eio(errno ? -1 : 8, word, live_word(SEED, at / 8)));
		CHECK(ptrace(PTRACE_DETACH, parent, NULL, NULL) == 0);
		live_sleep_ms(10);
	}
	_exit(0);
}

static void traced(void)
{
	int status = 0;
	pid_t pid;

	get_arena();
	pid = fork();
	if (pid == 0)
		trace_parent();
	while (waitpid(pid, &status, WNOHANG) == 0)
		live_verify(arena, BYTES, SEED);
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
		live_skip("no ptrace here");
	CHECK(status == 0);
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
	fd = temporary(0);
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
	fd = temporary(0);
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
	{ "send and recv", sockets },
	{ "vmsplice", splice_pages },
	{ "MSG_ZEROCOPY over loopback", zero_copy },
	{ "futex WAIT on a word", futex_wait },
	{ "futex WAKE of a sleeper", futex_wake },
	{ "futex WAKE_OP and LOCK_PI", futex_gives_up },
	{ "priority-inheriting mutexes", pi_mutex },
	{ "path arguments and getcwd", paths },
	{ "structures of poll, select, epoll, clock, ioctl", structures },
	{ "execve strings", exec_strings },
	{ "process_vm_readv by itself", process_vm_self },
	{ "process_vm_readv by a child", process_vm_child },
	{ "/proc/self/mem", proc_mem },
	{ "a debugger looks", traced },
	{ "alternate signal stack", alternate_stack },
	{ "signals while system calls wait for pages", signals_meanwhile },
	{ "io_uring read and write", ring_plain },
	{ "io_uring with registered buffers", ring_fixed },
	{ NULL, NULL },
};

int main(int argc, char **argv) { return live_main(argc, argv, cases); }
