// SPDX-License-Identifier: MIT
/*
 * live.c - opening and closing the backend: descriptors, areas, registration of our own areas.
 */
#include "linux/block.h"
#include "linux/live.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "linux/sys.h"
#include "uapi/uapi.h"

#define GUARD HN_PAGE_SIZE

#define NEEDED                                                                                                     \
	(HN_UFFD_FEATURE_PAGEFAULT_FLAG_WP | HN_UFFD_FEATURE_EVENT_REMAP | HN_UFFD_FEATURE_EVENT_REMOVE |           \
	 HN_UFFD_FEATURE_EVENT_UNMAP | HN_UFFD_FEATURE_THREAD_ID | HN_UFFD_FEATURE_MOVE)

void hn_own(struct hn_live *live, const void *p, size_t bytes)
{
	hn_addr start = (hn_addr)(uintptr_t)p;

	if (live->nr_own < sizeof(live->own) / sizeof(live->own[0]))
		live->own[live->nr_own++] = (struct hn_range){ start, start + bytes };
}

/*
 * Areas are reserved first and made usable afterwards, unlocked in between: under mlockall(MCL_FUTURE) a plain mapping
 * would be filled with memory at once.
 */
static long open_area(hn_addr start, size_t bytes, bool huge)
{
	void *p = (void *)(uintptr_t)start;
	long err;

	HN_SYS(SYS_munlock, start, bytes, 0, 0, 0, 0);
	err = HN_SYS(SYS_mprotect, start, bytes, PROT_READ | PROT_WRITE, 0, 0, 0);
	if (!err)
		err = hn_sys_madvise(p, bytes, MADV_DONTFORK);
	if (!err)
		hn_sys_madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	/* What is huge is GiBs, nearly all of it nothing, and a core that goes through a pipe has that as zeros. */
	if (!err && huge)
		hn_sys_madvise(p, bytes, MADV_DONTDUMP);
	return err;
}

int hn_area_renew(void *p, size_t bytes, bool huge)
{
	long at = hn_sys_mmap(p, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED);

	return hn_is_error(at) ? (int)at : (int)open_area((hn_addr)at, bytes, huge);
}

/* Else the kernel's balancing, on a thread of the program, would hint and move what lies in staging. */
int hn_area_mode(const struct hn_live *live)
{
	return live->setup.nr_nodes > 1 && !live->setup.is_virtual ? MPOL_LOCAL : MPOL_DEFAULT;
}

void *hn_area(struct hn_live *live, size_t bytes, bool huge)
{
	size_t all = bytes + 2 * GUARD + HN_PAGE_SIZE;
	long at = hn_sys_mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	hn_addr start;

	if (hn_is_error(at))
		return NULL;
	start = hn_page_up((hn_addr)at + GUARD);
	hn_sys_madvise((void *)at, all, MADV_DONTFORK); /* the guards, too: each generation would add its own */
	HN_SYS(SYS_munlock, at, all, 0, 0, 0, 0);
	if (open_area(start, bytes, huge)) {
		hn_sys_munmap((void *)at, all);
		return NULL;
	}
	if (live)
		hn_own(live, (const void *)at, all);
	if (live && hn_area_mode(live) != MPOL_DEFAULT)
		HN_SYS(SYS_mbind, start, bytes, hn_area_mode(live), NULL, 0, 0);
	return (void *)(uintptr_t)start;
}

static int fail(struct hn_live_error *why, const char *what, long err)
{
	why->what = what;
	why->err = (int)-err;
	return -1;
}

/* Fork events take CAP_SYS_PTRACE; without them only forks through libc are safe (docs/protocol.md, "Fork"). */
static int open_program(struct hn_live *live, const struct hn_way *way)
{
	uint64_t have;
	int fd = hn_uffd_open(NEEDED | way->feature | HN_UFFD_FEATURE_EVENT_FORK, &have);

	live->fork_events = fd >= 0;
	return fd == -EPERM ? hn_uffd_open(NEEDED | way->feature, &have) : fd;
}

/* -EINVAL: the kernel does not have it; nor when it says that it has, but does not know the call (a filter). */
static int open_rwp(struct hn_live *live)
{
	int fd = open_program(live, &hn_way_rwp);

	/* Of memory that is not registered: ENOENT from a kernel that means it. */
	if (fd >= 0 && hn_uffd_rwprotect(fd, HN_PAGE_SIZE, HN_BASE_SIZE, 0) != -ENOENT) {
		hn_sys_close(fd);
		return -EINVAL;
	}
	return fd;
}

/* The userfaultfd of program and staging, and with it the way to arm. */
static int choose_way(struct hn_live *live)
{
	int fd = live->setup.arming == HN_ARMING_MOVE ? -EINVAL : open_rwp(live);

	live->way = &hn_way_rwp;
	if (fd == -EINVAL && live->setup.arming != HN_ARMING_RWP) {
		live->way = &hn_way_move;
		fd = open_program(live, live->way);
	}
	return fd;
}

static int open_files(struct hn_live *live, struct hn_live_error *why)
{
	uint64_t have;
	long fd;

	live->fd = live->fd_trash = live->fd_pagemap = live->fd_maps = live->fd_statm = live->fd_task = live->fd_stop = live->fd_probe = -1;
	fd = live->fd = choose_way(live);
	if (fd == -EINVAL && live->way == &hn_way_rwp)
		return fail(why, "this kernel's userfaultfd has no UFFDIO_RWPROTECT (--arm rwp needs Linux 7.3 or later)",
			    fd);
	if (fd == -EINVAL)
		return fail(why, "this kernel's userfaultfd has no UFFDIO_MOVE (Linux 6.8 or later is needed)", fd);
	if (fd < 0)
		return fail(why, "no permission for userfaultfd (see hugenuma doctor)", fd);
	fd = live->fd_trash = hn_uffd_open(HN_UFFD_FEATURE_PAGEFAULT_FLAG_WP | HN_UFFD_FEATURE_MOVE, &have);
	if (fd < 0)
		return fail(why, "cannot open a second userfaultfd", fd);
	fd = live->fd_pagemap = (int)hn_sys_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(why, "cannot open /proc/self/pagemap", fd);
	fd = live->fd_maps = (int)hn_sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(why, "cannot open /proc/self/maps", fd);
	fd = live->fd_statm = (int)hn_sys_open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(why, "cannot open /proc/self/statm", fd);
	fd = live->fd_task = (int)hn_sys_open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(why, "cannot open /proc/self/task", fd);
	/* Threads are named by the numbers of their own namespace; where /proc shows those of another we know nothing. */
	if (!hn_is_own_task(live, (uint32_t)hn_sys_gettid()))
		return fail(why, "not managed: /proc is that of another PID namespace", 0);
	fd = live->fd_stop = (int)HN_SYS(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0, 0, 0, 0);
	if (fd >= 0)
		fd = live->fd_probe = (int)HN_SYS(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0, 0, 0, 0);
	return fd < 0 ? fail(why, "cannot make an eventfd", fd) : 0;
}

/* Chunks for twice the machine's memory: address space comes and goes, memory does not. */
struct hn_geometry hn_live_geometry(const struct hn_setup *s)
{
	uint32_t pages = (uint32_t)(s->ram_bytes >> HN_PAGE_SHIFT);

	return (struct hn_geometry){ .chunk_shift = 6, .nr_chunks = pages / 64 * 2 + 256, .nr_pages = s->nr_pages,
				     .nr_threads = HN_KNOWN_ROWS };
}

/* What we take is missing to the program: where there is a limit we may only ask for a small part of it. */
static bool fits_limit(int resource, uint64_t bytes)
{
	struct {
		uint64_t cur, max;
	} r;

	if (HN_SYS(SYS_prlimit64, 0, resource, NULL, &r, 0, 0))
		return true;
	return bytes <= r.cur / 8;
}

/* Everything but the first `keep` of our areas; nothing of the program is in them. */
static void give_up_areas(struct hn_live *live, uint32_t keep)
{
	while (live->nr_own > keep) {
		const struct hn_range *r = &live->own[--live->nr_own];

		hn_sys_munmap((void *)(uintptr_t)r->start, r->end - r->start);
	}
	live->core = NULL;
	live->staging = live->trash = live->pool = NULL;
}

static uint64_t pool_bytes(const struct hn_live *live)
{
	return (uint64_t)(live->setup.is_virtual ? 1 : live->setup.nr_nodes) * HN_POOL_PER_NODE * HN_PAGE_SIZE;
}

static int make_areas(struct hn_live *live, struct hn_live_error *why)
{
	struct hn_geometry geo;
	uint64_t staging, any;

	live->setup.nr_pages = hn_commit_room(live->setup.nr_pages);
	if (!live->setup.nr_pages)
		return fail(why, "not managed: with vm.overcommit_memory=2 too little is left of the commit limit", 0);
	staging = (uint64_t)live->setup.nr_pages * HN_PAGE_SIZE;
	geo = hn_live_geometry(&live->setup);
	if (!fits_limit(RLIMIT_AS, 2 * staging) || !fits_limit(RLIMIT_DATA, 2 * staging))
		return fail(why, "the limit on address space (ulimit -v) leaves little room; try --max-armed-mib", 0);
	live->core = hn_area(live, hn_core_bytes(&geo), false);
	live->staging = hn_area(live, staging, true);
	live->trash = hn_area(live, staging, true);
	live->pool = hn_area(live, pool_bytes(live), true);
	if (!live->core || !live->staging || !live->trash || !live->pool)
		return fail(why, "no address space for the agent's own areas", -ENOMEM);
	hn_live_dump_staging(live, true);
	/* The first MOVE tells whether the kernel means it: an empty source says ENOENT, no such ioctl says EINVAL. */
	if (hn_uffd_register(live->fd, (hn_addr)(uintptr_t)live->staging, staging, UFFDIO_REGISTER_MODE_WP) ||
	    hn_uffd_register(live->fd_trash, (hn_addr)(uintptr_t)live->trash, staging, UFFDIO_REGISTER_MODE_WP))
		return fail(why, "cannot register staging with userfaultfd", -EINVAL);
	if (hn_uffd_move(live->fd, (hn_addr)(uintptr_t)live->staging, (hn_addr)(uintptr_t)live->pool, HN_PAGE_SIZE, &any) !=
	    -ENOENT)
		return fail(why, "UFFDIO_MOVE does not work here", -EINVAL);
	if (hn_pool_bind(live))
		return fail(why, "cannot bind the page pool to its nodes", -EPERM);
	return 0;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		hn_sys_close(*fd);
	*fd = -1;
}

/*
 * A fork is told with a descriptor for the child's memory, and the kernel takes no number at or above the process's limit,
 * whoever reads. So the lowest one of the agent's own table stays free: whatever limit the program sets itself, as long as
 * it allows any, its bare forks go on.
 */
int hn_live_open(struct hn_live *live, struct hn_live_error *why)
{
	uint32_t owned = live->nr_own;
	int lowest = (int)hn_sys_open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = open_files(live, why);

	close_one(&lowest);

	if (ret == 0)
		ret = make_areas(live, why);
	if (ret) {
		hn_live_close(live);
		give_up_areas(live, owned);
	}
	return ret;
}

/* Unlocked first: where a locked range becomes writable the kernel fills it. */
static void protect(void *at, uint64_t bytes, int prot)
{
	HN_SYS(SYS_munlock, at, bytes, 0, 0, 0, 0);
	HN_SYS(SYS_mprotect, at, bytes, prot, 0, 0, 0);
}

static void protect_areas(struct hn_live *live, int prot)
{
	uint64_t bytes = (uint64_t)live->setup.nr_pages * HN_PAGE_SIZE;

	protect(live->staging, bytes, prot);
	protect(live->trash, bytes, prot);
	protect(live->pool, pool_bytes(live), prot);
}

bool hn_live_hide(struct hn_live *live)
{
	struct hn hn = { .core = live->core };
	int tries;

	/* A migrator may still have an old frame to get rid of. */
	for (tries = 0; tries < 10000 && !hn_page_all_free(&hn); tries++)
		HN_SYS_BLOCK(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	if (!hn_page_all_free(&hn))
		return false;
	hn_store_release(&live->pool_hidden, 1);
	protect_areas(live, PROT_NONE);
	return true;
}

void hn_live_dump_staging(const struct hn_live *live, bool dump)
{
	hn_sys_madvise(live->staging, live->setup.nr_pages * HN_PAGE_SIZE, dump ? MADV_DODUMP : MADV_DONTDUMP);
}

void hn_live_show(struct hn_live *live)
{
	protect_areas(live, PROT_READ | PROT_WRITE);
	hn_store_release(&live->pool_hidden, 0);
}

/* Only with nothing left in staging: closing the descriptor drops what is there. */
void hn_live_close(struct hn_live *live)
{
	close_one(&live->fd);
	close_one(&live->fd_trash);
	close_one(&live->fd_pagemap);
	close_one(&live->fd_maps);
	close_one(&live->fd_statm);
	close_one(&live->fd_task);
	close_one(&live->fd_stop);
	close_one(&live->fd_probe);
}

void hn_live_take_stock(struct hn_worker *w)
{
	struct hn_live *live = w->live;
	uint32_t page;

	hn_store_relaxed(&live->mover_lock, 0);
	if (!live->way->in_place) {
		hn_recover_run(&w->hn, live->arming_at, live->arming_first, live->arming_nr);
		return;
	}
	/* Taken out for a migration, or just put back: staging itself tells. */
	for (page = 0; page < live->setup.nr_pages; page++) {
		hn_addr at = (hn_addr)(uintptr_t)hn_staging(live, page);

		live->lifted[page] = !hn_is_empty(live, at, at + HN_PAGE_SIZE);
		if (live->lifted[page])
			hn_recover_lifted(&w->hn, page);
	}
}

/* Closing the descriptor unregisters what the table of regions may have forgotten, and wakes whoever sleeps. */
void hn_live_abandon(struct hn_live *live)
{
	uint32_t i;

	for (i = 0; i < live->nr_regions; i++) {
		const struct hn_region *r = &live->region[i];

		hn_policy_unfence(live, r->start, r->end);
		hn_uffd_unregister(live->fd, r->start, r->end - r->start);
		hn_uffd_wake(live->fd, r->start, r->end - r->start);
	}
	live->nr_regions = 0;
	*live->cnt.registered_bytes = *live->cnt.regions = 0;
	hn_live_close(live);
}

uint64_t hn_live_own_bytes(const struct hn_live *live)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < live->nr_own; i++) {
		const struct hn_range *r = &live->own[i];
		hn_addr staging = (hn_addr)(uintptr_t)live->staging, trash = (hn_addr)(uintptr_t)live->trash;

		if ((staging >= r->start && staging < r->end) || (trash >= r->start && trash < r->end))
			continue;
		sum += hn_pagemap_present_bytes(live->fd_pagemap, r->start, r->end, UINT64_MAX);
	}
	return sum;
}
