// SPDX-License-Identifier: MIT
#include "control/probe.h"

#include "control/proc.h"
#include "uapi/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HUGE_BYTES ((size_t)2 << 20)
#define BASE_BYTES ((size_t)4096)
#define MOVE_TIMEOUT_MS 5000

/* ---- userfaultfd ---- */

/* Descriptors, or -errno. */
static int uffd_from_device(void)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd;

	if (dev < 0)
		return -errno;
	fd = ioctl(dev, HN_USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = -errno;
	close(dev);
	return fd;
}

static int uffd_from_syscall(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd, flags | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* One that can answer faults of the kernel too, if at all possible. */
static int uffd_best(void)
{
	int fd = uffd_from_device();

	if (fd < 0)
		fd = uffd_from_syscall(0);
	return fd;
}

static int uffd_any(void)
{
	int fd = uffd_best();

	return fd < 0 ? uffd_from_syscall(HN_UFFD_USER_MODE_ONLY) : fd;
}

/* The handshake can be made once per descriptor. Returns 0 or a positive errno; *features gets what the kernel has. */
static int uffd_handshake(int fd, uint64_t wanted, uint64_t *features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = wanted };

	if (fd < 0)
		return -fd;
	if (ioctl(fd, UFFDIO_API, &api) != 0)
		return errno;
	if (features)
		*features = api.features;
	return 0;
}

static int uffd_try(uint64_t wanted, uint64_t *features)
{
	int fd = uffd_any();
	int err = uffd_handshake(fd, wanted, features);

	if (fd >= 0)
		close(fd);
	return err;
}

/* Of memory that is not registered: a kernel that knows the call says ENOENT. */
static int rwp_try(void)
{
	struct hn_uffdio_rwprotect r = { .start = HUGE_BYTES, .len = BASE_BYTES };
	int fd = uffd_any();
	int err = uffd_handshake(fd, HN_UFFD_NEEDED | HN_UFFD_FEATURE_RWP, NULL);

	if (!err && (ioctl(fd, HN_UFFDIO_RWPROTECT, &r) == 0 || errno != ENOENT))
		err = ENOSYS;
	if (fd >= 0)
		close(fd);
	return err;
}

static int close_result(int fd)
{
	if (fd < 0)
		return -fd;
	close(fd);
	return 0;
}

void hn_probe_uffd(struct hn_uffd_probe *p)
{
	memset(p, 0, sizeof(*p));
	p->device = close_result(uffd_from_device());
	p->syscall = close_result(uffd_from_syscall(0));
	p->user_mode = close_result(uffd_from_syscall(HN_UFFD_USER_MODE_ONLY));
	p->api = uffd_try(0, &p->features);
	p->needed = uffd_try(HN_UFFD_NEEDED, NULL);
	p->fork = uffd_try(HN_UFFD_NEEDED | HN_UFFD_FEATURE_EVENT_FORK, NULL);
	p->rwp = rwp_try();
}

/* ---- PAGEMAP_SCAN ---- */

/* Does [start, start + len) hold pages with all categories of `mask`, as one stretch? 1, 0, or -errno. */
static int scan_is(const void *start, size_t len, uint64_t mask)
{
	struct hn_page_region region = { 0 };
	struct hn_pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)start,
		.end = (uintptr_t)start + len,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = mask,
		.return_mask = mask,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int res;

	if (fd < 0)
		return -errno;
	res = ioctl(fd, HN_PAGEMAP_SCAN, &arg);
	if (res < 0)
		res = -errno;
	close(fd);
	if (res < 0)
		return res;
	return res == 1 && region.start == arg.start && region.end == arg.end;
}

int hn_probe_pagemap_scan(void)
{
	char *p = mmap(NULL, BASE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int res;

	if (p == MAP_FAILED)
		return errno;
	*(volatile char *)p = 1;
	res = scan_is(p, BASE_BYTES, HN_PAGE_IS_PRESENT);
	munmap(p, BASE_BYTES);
	/* present and not seen: something answered that is not the kernel's scan */
	return res < 0 ? -res : res == 1 ? 0 : ENOSYS;
}

/* ---- a real move ---- */

struct move_area {
	char *src;
	char *dst;
};

static struct hn_move_probe move_result(enum hn_move_step step, int error)
{
	struct hn_move_probe p = { step, error };

	return p;
}

/* Two huge-page-aligned areas with room between and around, so that they are mappings of their own. */
static bool move_map(struct move_area *a)
{
	char *p = mmap(NULL, 6 * HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return false;
	p = (char *)(((uintptr_t)p + HUGE_BYTES) & ~(HUGE_BYTES - 1));
	a->src = p;
	a->dst = p + 2 * HUGE_BYTES;
	return mprotect(a->src, HUGE_BYTES, PROT_READ | PROT_WRITE) == 0 &&
	       mprotect(a->dst, HUGE_BYTES, PROT_READ | PROT_WRITE) == 0 &&
	       madvise(a->src, HUGE_BYTES, MADV_HUGEPAGE) == 0 && madvise(a->dst, HUGE_BYTES, MADV_HUGEPAGE) == 0;
}

static uint64_t move_word(size_t i)
{
	return i * 0x9e3779b97f4a7c15u + 1;
}

static void move_fill(char *area)
{
	for (size_t i = 0; i < HUGE_BYTES / sizeof(uint64_t); i++)
		((volatile uint64_t *)area)[i] = move_word(i);
}

static bool move_verify(const char *area)
{
	for (size_t i = 0; i < HUGE_BYTES / sizeof(uint64_t); i++)
		if (((const volatile uint64_t *)area)[i] != move_word(i))
			return false;
	return true;
}

static int move_register(int fd, const char *area)
{
	struct uffdio_register r = {
		.range = { (uintptr_t)area, HUGE_BYTES },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(fd, UFFDIO_REGISTER, &r) ? errno : 0;
}

static int move_page(int fd, const char *dst, const char *src)
{
	struct hn_uffdio_move m = { .dst = (uintptr_t)dst, .src = (uintptr_t)src, .len = HUGE_BYTES };

	if (ioctl(fd, HN_UFFDIO_MOVE, &m) != 0)
		return errno;
	return m.move == (int64_t)HUGE_BYTES ? 0 : EIO;
}

/* Nothing here may touch an area while its page is away: nobody would answer the fault. */
static struct hn_move_probe move_there_and_back(int fd, const struct move_area *a)
{
	int res = scan_is(a->src, HUGE_BYTES, HN_PAGE_IS_HUGE);

	if (res < 0)
		return move_result(HN_MOVE_NO_SCAN, -res);
	if (res == 0)
		return move_result(HN_MOVE_NOT_HUGE, 0);
	res = move_register(fd, a->dst);
	if (!res)
		res = move_register(fd, a->src);
	if (res)
		return move_result(HN_MOVE_REGISTER, res);
	res = move_page(fd, a->dst, a->src);
	if (res)
		return move_result(HN_MOVE_OUT, res);
	if (!move_verify(a->dst))
		return move_result(HN_MOVE_CONTENT, 0);
	res = move_page(fd, a->src, a->dst);
	if (res)
		return move_result(HN_MOVE_BACK, res);
	if (scan_is(a->src, HUGE_BYTES, HN_PAGE_IS_HUGE) != 1 || !move_verify(a->src))
		return move_result(HN_MOVE_CONTENT, 0);
	return move_result(HN_MOVE_DONE, 0);
}

static struct hn_move_probe move_in_child(void)
{
	struct move_area area;
	int fd = uffd_any();
	int err = uffd_handshake(fd, HN_UFFD_FEATURE_MOVE, NULL);

	if (err)
		return move_result(HN_MOVE_NO_UFFD, err);
	if (!move_map(&area))
		return move_result(HN_MOVE_NO_MEMORY, errno);
	move_fill(area.src);
	return move_there_and_back(fd, &area);
}

static void move_wait(int fd, struct hn_move_probe *p)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	int nr;

	do
		nr = poll(&poll_fd, 1, MOVE_TIMEOUT_MS);
	while (nr < 0 && errno == EINTR);
	if (nr != 1 || read(fd, p, sizeof(*p)) != sizeof(*p))
		*p = move_result(HN_MOVE_NO_ANSWER, 0);
}

void hn_probe_move(struct hn_move_probe *p)
{
	int fds[2];
	pid_t pid;

	*p = move_result(HN_MOVE_NO_CHILD, 0);
	if (pipe2(fds, O_CLOEXEC) != 0) {
		p->error = errno;
		return;
	}
	pid = fork();
	if (pid == 0) {
		struct hn_move_probe result = move_in_child();
		ssize_t written = write(fds[1], &result, sizeof(result));

		_exit(written == sizeof(result) ? 0 : 1);
	}
	p->error = errno;
	close(fds[1]);
	if (pid > 0) {
		move_wait(fds[0], p);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	close(fds[0]);
}

/* ---- the rest ---- */

int hn_probe_close_range(void)
{
	/* there is no such descriptor: only the table becomes ours, as it was before */
	return syscall(SYS_close_range, UINT_MAX, UINT_MAX, HN_CLOSE_RANGE_UNSHARE) == 0 ? 0 : errno;
}

int hn_probe_mempolicy(void)
{
	int mode;

	return syscall(SYS_get_mempolicy, &mode, NULL, 0UL, NULL, 0UL) == 0 ? 0 : errno;
}

bool hn_probe_thp_disabled(void)
{
	return prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0;
}

bool hn_probe_capability(unsigned cap)
{
	char text[4096];
	const char *line;
	uint64_t set;

	if (hn_read_text("/proc/self/status", text, sizeof(text)) != 0)
		return false;
	line = strstr(text, "\nCapEff:");
	return line && sscanf(line, "\nCapEff: %" SCNx64, &set) == 1 && (set >> cap & 1);
}
