// SPDX-License-Identifier: MIT
/*
 * uffd.c - the userfaultfd system calls, as functions that return 0 or -errno.
 */
#include <errno.h>
#include <fcntl.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

/*
 * The device first: it is how an administrator grants full kernel-fault mode to ordinary users. A descriptor that
 * serves user-mode faults only would make the program's own read(2) fail with EFAULT, so it is never accepted.
 */
static long open_any(void)
{
	long dev = hn_sys_open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd;

	if (dev >= 0) {
		fd = HN_SYS(SYS_ioctl, dev, HN_USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK, 0, 0, 0);
		hn_sys_close((int)dev);
		if (fd >= 0)
			return fd;
	}
	return HN_SYS(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0, 0);
}

int hn_uffd_open(uint64_t features, uint64_t *have)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	long fd = open_any(), err;

	if (fd < 0)
		return (int)fd;
	err = hn_sys_ioctl((int)fd, UFFDIO_API, &api);
	if (err) {
		hn_sys_close((int)fd);
		return (int)err;
	}
	*have = api.features;
	return (int)fd;
}

int hn_uffd_register(int fd, hn_addr start, uint64_t len, uint64_t mode)
{
	struct uffdio_register r = { .range = { start, len }, .mode = mode };

	return (int)hn_sys_ioctl(fd, UFFDIO_REGISTER, &r);
}

int hn_uffd_unregister(int fd, hn_addr start, uint64_t len)
{
	struct uffdio_range r = { start, len };

	return (int)hn_sys_ioctl(fd, UFFDIO_UNREGISTER, &r);
}

int hn_uffd_move_mode(int fd, hn_addr dst, hn_addr src, uint64_t len, uint64_t mode, uint64_t *moved)
{
	struct hn_uffdio_move m = { .dst = dst, .src = src, .len = len, .mode = mode };
	int err = (int)hn_sys_ioctl(fd, HN_UFFDIO_MOVE, &m);

	*moved = m.move > 0 ? (uint64_t)m.move : 0;
	if (err == 0 && *moved < len)
		return -EAGAIN;
	return err;
}

int hn_uffd_move(int fd, hn_addr dst, hn_addr src, uint64_t len, uint64_t *moved)
{
	return hn_uffd_move_mode(fd, dst, src, len, 0, moved);
}

/* Of nothing, to nowhere: an unread event is looked for before the arguments. */
bool hn_uffd_changing(int fd)
{
	uint64_t moved;

	return hn_uffd_move(fd, 0, 0, 0, &moved) == -EAGAIN;
}

int hn_uffd_rwprotect(int fd, hn_addr start, uint64_t len, uint64_t mode)
{
	struct hn_uffdio_rwprotect r = { .start = start, .len = len, .mode = mode };

	return (int)hn_sys_ioctl(fd, HN_UFFDIO_RWPROTECT, &r);
}

int hn_uffd_copy(int fd, hn_addr dst, hn_addr src, uint64_t len, uint64_t *copied)
{
	struct uffdio_copy c = { .dst = dst, .src = src, .len = len };
	int err = (int)hn_sys_ioctl(fd, UFFDIO_COPY, &c);

	*copied = c.copy > 0 ? (uint64_t)c.copy : 0;
	return err;
}

int hn_uffd_poison(int fd, hn_addr dst, uint64_t len)
{
	struct hn_uffdio_poison p = { .start = dst, .len = len };

	return (int)hn_sys_ioctl(fd, HN_UFFDIO_POISON, &p);
}

int hn_uffd_zero(int fd, hn_addr dst, uint64_t len)
{
	struct uffdio_zeropage z = { .range = { dst, len } };

	return (int)hn_sys_ioctl(fd, UFFDIO_ZEROPAGE, &z);
}

void hn_uffd_wake(int fd, hn_addr start, uint64_t len)
{
	struct uffdio_range r = { start & ~(HN_BASE_SIZE - 1), len };

	r.len = hn_base_up(start + len) - r.start;
	hn_sys_ioctl(fd, UFFDIO_WAKE, &r);
}
