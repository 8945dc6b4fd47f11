// SPDX-License-Identifier: MIT
/*
 * vm-rwp-facts: what docs/protocol.md ("Two ways to arm") says of the kernel and UFFDIO_RWPROTECT, one TAP line a fact.
 * Whether memory is protected is asked of the page map, so nobody has to answer faults.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "uapi/uapi.h"

#define HUGE ((size_t)2 << 20)
#define BASE ((size_t)4096)
#define EVENTS \
	(HN_UFFD_FEATURE_EVENT_REMAP | HN_UFFD_FEATURE_EVENT_REMOVE | HN_UFFD_FEATURE_EVENT_UNMAP | \
	 HN_UFFD_FEATURE_EVENT_FORK)
#define PM_PRESENT ((uint64_t)1 << 63)
#define PM_SWAPPED ((uint64_t)1 << 62)
#define PM_UFFD ((uint64_t)1 << 57)

static int uffd, count, failed;

static void fact(bool so, const char *what)
{
	count++;
	failed += !so;
	printf("%s %d - %s\n", so ? "ok" : "not ok", count, what);
}

static uint64_t entry(const char *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t e = 0;

	if (fd < 0 || pread(fd, &e, sizeof(e), (off_t)((uintptr_t)p / BASE * 8)) != sizeof(e))
		exit(2);
	close(fd);
	return e;
}

static bool is_protected(const char *p) { return (entry(p) & (PM_PRESENT | PM_UFFD)) == (PM_PRESENT | PM_UFFD); }
static bool is_open(const char *p) { return (entry(p) & (PM_PRESENT | PM_UFFD)) == PM_PRESENT; }
static bool is_gone(const char *p) { return (entry(p) & (PM_PRESENT | PM_SWAPPED)) == 0; }

static bool is_huge(char *p)
{
	struct hn_page_region r;
	struct hn_pm_scan_arg arg = {
		.size = sizeof(arg), .start = (uintptr_t)p, .end = (uintptr_t)p + HUGE,
		.vec = (uintptr_t)&r, .vec_len = 1, .category_mask = HN_PAGE_IS_HUGE,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY), n = ioctl(fd, HN_PAGEMAP_SCAN, &arg);

	close(fd);
	return n == 1 && r.end - r.start == HUGE;
}

static char *map_huge(size_t pages)
{
	char *p = mmap(NULL, (pages + 2) * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	p = (char *)(((uintptr_t)p + HUGE) & ~(HUGE - 1));
	if (mprotect(p, pages * HUGE, PROT_READ | PROT_WRITE) || madvise(p, pages * HUGE, MADV_HUGEPAGE))
		exit(2);
	memset(p, 7, pages * HUGE);
	return p;
}

static int reg(int fd, char *p, size_t bytes, uint64_t mode)
{
	struct uffdio_register r = { .range = { (uintptr_t)p, bytes }, .mode = mode };

	return ioctl(fd, UFFDIO_REGISTER, &r) ? errno : 0;
}

/* Huge pages as the backend has them. */
static char *arena(size_t pages)
{
	char *p = map_huge(pages);

	if (reg(uffd, p, pages * HUGE, UFFDIO_REGISTER_MODE_MISSING | HN_UFFDIO_REGISTER_MODE_RWP))
		exit(2);
	return p;
}

static int rwp(int fd, const char *p, size_t bytes, uint64_t mode)
{
	struct hn_uffdio_rwprotect r = { .start = (uintptr_t)p, .len = bytes, .mode = mode };

	return ioctl(fd, HN_UFFDIO_RWPROTECT, &r) ? errno : 0;
}

static char *protected_arena(size_t pages)
{
	char *p = arena(pages);

	if (rwp(uffd, p, pages * HUGE, HN_UFFDIO_RWPROTECT_MODE_RWP))
		exit(2);
	return p;
}

static int move(char *to, char *from, size_t bytes)
{
	struct hn_uffdio_move m = { .dst = (uintptr_t)to, .src = (uintptr_t)from, .len = bytes };

	return ioctl(uffd, HN_UFFDIO_MOVE, &m) ? errno : 0;
}

static int open_uffd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		exit(2);
	return fd;
}

/* ---- an event's causer sleeps until it is read ---- */

static struct uffd_msg next_event(void)
{
	struct pollfd p = { .fd = uffd, .events = POLLIN };
	struct uffd_msg m = { 0 };

	if (poll(&p, 1, 10000) != 1 || read(uffd, &m, sizeof(m)) != sizeof(m))
		exit(2);
	return m;
}

static void *read_events(void *arg)
{
	for (int *left = arg; *left > 0; --*left)
		next_event();
	return NULL;
}

/* Run fn while somebody reads `events` events. */
#define WITH_EVENTS(events, action) \
	do { \
		pthread_t reader; \
		int left = (events); \
		pthread_create(&reader, NULL, read_events, &left); \
		action; \
		pthread_join(reader, NULL); \
	} while (0)

static void *drop(void *arg)
{
	madvise(arg, HUGE, MADV_DONTNEED);
	return NULL;
}

static void unread_event(void)
{
	char *p = protected_arena(1), *q = protected_arena(1);
	struct pollfd poll_fd = { .fd = uffd, .events = POLLIN };
	pthread_t t;

	pthread_create(&t, NULL, drop, q);
	poll(&poll_fd, 1, 10000);
	fact(rwp(uffd, p, HUGE, 0) == EAGAIN && rwp(uffd, p, HUGE, HN_UFFDIO_RWPROTECT_MODE_RWP) == EAGAIN &&
		     is_protected(p),
	     "while an event is unread RWPROTECT is refused with EAGAIN, both ways");
	next_event();
	pthread_join(t, NULL);
	fact(rwp(uffd, p, HUGE, 0) == 0 && is_open(p), "afterwards it is not");
	fact(is_gone(q), "MADV_DONTNEED drops a protected page, and nothing is left of the protection");
}

/* ---- where the mark goes ---- */

static void remap(void)
{
	char *p = protected_arena(2), *to = map_huge(4);
	bool moved, odd;

	munmap(to, 4 * HUGE);
	WITH_EVENTS(2, moved = mremap(p, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	fact(moved && is_protected(to) && is_huge(to), "mremap to an aligned place: protected there, huge");
	to += 2 * HUGE + BASE;
	WITH_EVENTS(2, odd = mremap(p + HUGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	fact(odd && is_protected(to) && is_protected(to + HUGE - BASE), "to another: protected, in pieces");
	fact(rwp(uffd, to, HUGE, 0) == 0 && is_open(to) && is_open(to + HUGE - BASE), "and opened piece by piece");
}

static void protections(void)
{
	char *p = protected_arena(1);
	bool kept;

	mprotect(p, HUGE, PROT_READ);
	kept = is_protected(p);
	mprotect(p, HUGE, PROT_NONE);
	kept = kept && (entry(p) & PM_UFFD);
	mprotect(p, HUGE, PROT_READ | PROT_WRITE);
	fact(kept && is_protected(p) && is_huge(p), "mprotect to read-only, to nothing and back: still protected, huge");
	mprotect(p + BASE, BASE, PROT_READ);
	fact(is_protected(p) && is_protected(p + BASE) && is_protected(p + HUGE - BASE) && !is_huge(p),
	     "mprotect of a part splits it: every piece is protected");
	fact(rwp(uffd, p, HUGE, 0) == 0 && is_open(p) && is_open(p + BASE), "and opened over several mappings in one call");
	p = arena(1);
	mprotect(p, HUGE, PROT_NONE);
	fact(rwp(uffd, p, HUGE, HN_UFFDIO_RWPROTECT_MODE_RWP) == 0 && rwp(uffd, p, HUGE, 0) == 0,
	     "memory without access rights can be protected and opened");
}

static void drops(void)
{
	char *p = protected_arena(1);

	WITH_EVENTS(1, madvise(p + BASE, BASE, MADV_DONTNEED));
	fact(is_protected(p) && is_gone(p + BASE) && is_protected(p + 2 * BASE),
	     "MADV_DONTNEED of a part: the rest is protected");
	p = protected_arena(1);
	WITH_EVENTS(1, madvise(p, HUGE, MADV_FREE));
	fact(is_protected(p), "MADV_FREE keeps page and protection");
	p = protected_arena(1);
	WITH_EVENTS(1, munmap(p + BASE, BASE));
	fact(is_protected(p) && is_protected(p + 2 * BASE), "munmap of a part: the rest is protected");
	fact(rwp(uffd, p, HUGE, 0) == 0 && is_open(p) && is_open(p + 2 * BASE), "and opened in one call over the gap");
	WITH_EVENTS(0, mmap(p + BASE, BASE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	fact(rwp(uffd, p, HUGE, 0) == ENOENT && rwp(uffd, p, BASE, 0) == 0,
	     "with a mapping in the gap that is not registered: ENOENT, but not for the rest alone");
}

static void arrivals(void)
{
	char *p = protected_arena(1), *staging = map_huge(1);
	struct uffdio_zeropage z = { .range = { (uintptr_t)p + BASE, BASE } };
	struct uffdio_copy c = { .dst = (uintptr_t)p + BASE, .src = (uintptr_t)staging, .len = BASE };

	munmap(staging, HUGE);
	mmap(staging, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	madvise(staging, HUGE, MADV_HUGEPAGE);
	reg(uffd, staging, HUGE, UFFDIO_REGISTER_MODE_WP);
	fact(move(staging, p, HUGE) == 0 && is_gone(p) && is_huge(staging) && !(entry(staging) & PM_UFFD) && *staging == 7,
	     "MOVE takes a protected page out, whole and open");
	fact(move(p, staging, HUGE) == 0 && is_huge(p) && is_protected(p), "and in: it arrives protected");
	rwp(uffd, p, HUGE, 0);
	fact(*p == 7 && is_huge(p), "opened, it has its content");
	WITH_EVENTS(1, madvise(p, HUGE, MADV_DONTNEED));
	fact(ioctl(uffd, UFFDIO_ZEROPAGE, &z) == 0 && is_open(p + BASE), "ZEROPAGE arrives open");
	WITH_EVENTS(1, madvise(p, HUGE, MADV_DONTNEED));
	staging = map_huge(1);
	c.src = (uintptr_t)staging;
	fact(ioctl(uffd, UFFDIO_COPY, &c) == 0 && is_open(p + BASE), "COPY arrives open");
	fact(rwp(uffd, p, HUGE, HN_UFFDIO_RWPROTECT_MODE_RWP) == 0 && is_gone(p) && is_protected(p + BASE),
	     "only what is present is protected");
}

static void others(void)
{
	char *p = map_huge(1), *q;

	fact(rwp(uffd, p, HUGE, HN_UFFDIO_RWPROTECT_MODE_RWP) == ENOENT, "memory that is not registered: ENOENT");
	q = arena(1);
	fact(msync(q, HUGE, MS_INVALIDATE) == 0 && *q == 7, "MS_INVALIDATE does nothing to anonymous memory");
	fact(mlock(q, BASE) == 0 && msync(q, HUGE, MS_INVALIDATE) == -1 && errno == EBUSY,
	     "and is refused where it is locked");
}

/* ---- children ---- */

/* Does a child of fork read 7 at p? */
static bool child_reads(const volatile char *p)
{
	int status = -1;
	pid_t pid = (pid_t)syscall(SYS_fork);

	if (pid == 0)
		_exit(*p == 7 ? 0 : 1);
	return waitpid(pid, &status, 0) == pid && status == 0;
}

/* Closes the child's userfaultfd when it has had time to get stuck. */
static void *close_child(void *arg)
{
	struct uffd_msg m = next_event();

	usleep(300000);
	*(bool *)arg = m.event == UFFD_EVENT_FORK;
	close((int)m.arg.fork.ufd);
	return NULL;
}

/* A counter of /proc/vmstat. */
static uint64_t vmstat(const char *name)
{
	FILE *f = fopen("/proc/vmstat", "r");
	unsigned long long v = 0;
	char key[64];

	while (f && fscanf(f, "%63s %llu", key, &v) == 2 && strcmp(key, name) != 0)
		v = 0;
	if (f)
		fclose(f);
	return v;
}

/* Nobody balances while this runs: harness.kernel_balancing(False). */
static void counted(void)
{
	enum { PAGES = 16 };
	char *p = arena(PAGES);
	uint64_t before = vmstat("numa_huge_pte_updates");
	bool right = rwp(uffd, p, PAGES * HUGE, HN_UFFDIO_RWPROTECT_MODE_RWP) == 0 && rwp(uffd, p, PAGES * HUGE, 0) == 0;

	fact(right && vmstat("numa_huge_pte_updates") == before + 2 * PAGES,
	     "numa_huge_pte_updates counts each protection of a huge page, and each end of one");
}

static void children(void)
{
	char *p = protected_arena(1), *q;
	bool was_fork = false, right;
	pthread_t t;

	pthread_create(&t, NULL, close_child, &was_fork);
	right = child_reads(p);
	pthread_join(t, NULL);
	fact(was_fork && right && is_protected(p), "a child of a fork with its event: free when its descriptor is closed");
	close(uffd);
	fact(is_open(p) && *p == 7, "closing the descriptor opens everything");
	uffd = open_uffd(HN_UFFD_FEATURE_RWP | HN_UFFD_FEATURE_MOVE);
	q = protected_arena(1);
	fact(child_reads(q) && is_protected(q), "a child of a fork without: free at once");
	fact(rwp(uffd, q, HUGE, 0) == 0 && *q == 7, "and the parent goes on");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(300);
	uffd = open_uffd(HN_UFFD_FEATURE_RWP | HN_UFFD_FEATURE_MOVE | HN_UFFD_FEATURE_PAGEFAULT_FLAG_WP | EVENTS);
	others();
	unread_event();
	protections();
	drops();
	arrivals();
	remap();
	counted();
	children(); /* the descriptor is another one afterwards */
	printf("1..%d\n", count);
	return failed ? 1 : 0;
}
