// SPDX-License-Identifier: MIT
/*
 * sys.h - raw system calls that return -errno and touch no thread-local storage.
 *
 * The agent's threads are bare: they share the program's address space but not libc's idea of a thread, so libc's
 * wrappers, which write the caller's errno, are out of bounds for them. x86-64 only so far; a port adds its own
 * call_native.c.
 */
#ifndef HN_LINUX_SYS_H
#define HN_LINUX_SYS_H

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#ifndef __x86_64__
#error "hugenuma's live backend is written for x86-64; other machines need their own hn_syscall6 and hn_bare_thread"
#endif

/*
 * The one door to the kernel, a function of its own (call_native.c): tests/inject binds another in its place at link
 * time, and so makes any call of the very objects that ship fail, be late, or end in a fault. What the jump costs cannot
 * be seen beside a system call. Any thread, also in a signal handler.
 */
long hn_syscall6(long nr, long a, long b, long c, long d, long e, long f);
/*
 * clone(2) for a thread that starts in fn(arg) on a stack of its own, whose fn never returns. The kernel clears *alive
 * and wakes it (shared futex) when the thread has ended. The thread's id, or -errno.
 */
long hn_sys_clone(unsigned long flags, void *stack, void *tls, uint32_t *alive, void (*fn)(void *arg), void *arg);

#define HN_SYS(nr, a, b, c, d, e, f) \
	hn_syscall6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline long hn_sys_ioctl(int fd, unsigned long req, void *arg)
{
	return HN_SYS(SYS_ioctl, fd, req, arg, 0, 0, 0);
}
static inline long hn_sys_futex(uint32_t *w, int op, uint32_t v, const void *timeout)
{
	return HN_SYS(SYS_futex, w, op, v, timeout, 0, 0);
}
/* Addresses come back as such; errors as -errno, which no mapping can be (see hn_is_error). */
static inline long hn_sys_mmap(void *at, size_t len, int prot, int flags)
{
	return HN_SYS(SYS_mmap, at, len, prot, flags, -1, 0);
}
static inline int hn_is_error(long ret) { return ret < 0 && ret > -4096; }
static inline long hn_sys_munmap(void *p, size_t len) { return HN_SYS(SYS_munmap, p, len, 0, 0, 0, 0); }
static inline long hn_sys_madvise(void *p, size_t len, int advice) { return HN_SYS(SYS_madvise, p, len, advice, 0, 0, 0); }
static inline long hn_sys_open(const char *path, int flags) { return HN_SYS(SYS_openat, -100, path, flags, 0, 0, 0); }
static inline long hn_sys_open_at(int dir, const char *path, int flags)
{
	return HN_SYS(SYS_openat, dir, path, flags, 0, 0, 0);
}
static inline long hn_sys_close(int fd) { return HN_SYS(SYS_close, fd, 0, 0, 0, 0, 0); }
static inline long hn_sys_read(int fd, void *buf, size_t len) { return HN_SYS(SYS_read, fd, buf, len, 0, 0, 0); }
static inline long hn_sys_pread(int fd, void *buf, size_t len, uint64_t off)
{
	return HN_SYS(SYS_pread64, fd, buf, len, off, 0, 0);
}
/*
 * What a small file of /proc or /sys says, at most len - 1 bytes and a NUL behind them. Returns how many; 0 also when it
 * cannot be read. The read is positioned: on the program's threads the descriptor's number could be another file's by then.
 */
static inline size_t hn_sys_read_file(const char *path, char *buf, size_t len)
{
	long fd = hn_sys_open(path, O_RDONLY | O_CLOEXEC), n = 0;

	if (fd >= 0) {
		n = hn_sys_pread((int)fd, buf, len - 1, 0);
		hn_sys_close((int)fd);
	}
	if (n < 0)
		n = 0;
	buf[n] = '\0';
	return (size_t)n;
}
static inline long hn_sys_gettid(void) { return HN_SYS(SYS_gettid, 0, 0, 0, 0, 0, 0); }
static inline long hn_sys_getpid(void) { return HN_SYS(SYS_getpid, 0, 0, 0, 0, 0, 0); }

/* All signals of this thread, libc's own too. Raw, as the program's own idea of its mask is none of our business. Returns what was. */
static inline uint64_t hn_block_signals(void)
{
	uint64_t all = ~0ull, old = 0;

	HN_SYS(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof(all), 0, 0);
	return old;
}
static inline void hn_restore_signals(uint64_t old)
{
	HN_SYS(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old), 0, 0);
}

#endif
