// SPDX-License-Identifier: MIT
/*
 * calls_mremap.c - mremap(2), wrapped. The kernel moves one mapping in a call (before Linux 6.17, and one that is registered with a
 * userfaultfd still), and makes no mapping one with another that is registered. So what the program has put beside memory that
 * is managed is a mapping of its own, where without us the two would be one: the call fails with EFAULT. Then it is
 * made once more, mapping by mapping. That takes a while in which some have moved and some have not; but nobody may use memory
 * that is just being moved. Program side.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "agent/agent.h"
#include "linux/sys.h"

#define PIECES 64u
#define BUF_BYTES 8192u /* a line of /proc/self/maps, and more */

typedef void *(*mremap_fn)(void *, size_t, size_t, int, ...);

static mremap_fn real_mremap;

struct call {
	hn_addr old, to; /* to: where MREMAP_FIXED, or MREMAP_DONTUNMAP, says */
	size_t old_bytes, bytes; /* whole pages */
	int flags;
};

/* [at, end): what is to be moved, in mappings one beside the other. */
struct pieces {
	hn_addr at, end;
	uint32_t nr;
	hn_addr start[PIECES + 1]; /* the last one is the end */
};

static void *ptr(hn_addr a) { return (void *)(uintptr_t)a; }
static int fail(int err)
{
	errno = err;
	return -1;
}

/* False: that was all, or it is not for us. */
static bool take(void *arg, const struct hn_vma *vma)
{
	struct pieces *p = arg;

	if (vma->end <= p->at)
		return true;
	if (vma->start > p->at || p->nr == PIECES)
		return false;
	p->start[p->nr++] = p->at;
	p->at = vma->end;
	return p->at < p->end;
}

/* True: [start, end) is several mappings of private anonymous memory that can be read and written, without a hole. */
static bool find_pieces(struct pieces *p, int fd, hn_addr start, hn_addr end)
{
	char buf[BUF_BYTES];

	*p = (struct pieces){ .at = start, .end = end };
	hn_maps_walk_from(fd, start, buf, sizeof(buf), take, p);
	p->start[p->nr] = end;
	return p->at >= end && p->nr > 1;
}

static size_t bytes_of(const struct pieces *p, uint32_t i) { return p->start[i + 1] - p->start[i]; }

/* The last piece grows on its way. 0 or -1 with errno; then all is where it was. */
static int move_to(const struct pieces *p, hn_addr to, size_t grow, int flags)
{
	hn_addr by = to - p->start[0];
	uint32_t i;
	int err;

	for (i = 0; i < p->nr; i++) {
		size_t bytes = bytes_of(p, i), more = i + 1 == p->nr ? grow : 0;

		if (real_mremap(ptr(p->start[i]), bytes, bytes + more, flags, ptr(p->start[i] + by)) == MAP_FAILED)
			break;
	}
	if (i == p->nr)
		return 0;
	err = errno;
	while (i-- > 0)
		real_mremap(ptr(p->start[i] + by), bytes_of(p, i), bytes_of(p, i), MREMAP_MAYMOVE | MREMAP_FIXED, ptr(p->start[i]));
	return fail(err);
}

/* Somewhere where huge pages stay huge. */
static int move_anywhere(const struct pieces *p, size_t grow, int flags, hn_addr *to)
{
	size_t bytes = p->end - p->start[0] + grow, before;
	char *at = MAP_FAILED;
	int err;

	if (bytes + HN_PAGE_SIZE > grow)
		at = mmap(NULL, bytes + HN_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return fail(ENOMEM);
	before = (p->start[0] - (hn_addr)(uintptr_t)at) & (HN_PAGE_SIZE - 1);
	if (before)
		munmap(at, before);
	munmap(at + before + bytes, HN_PAGE_SIZE - before);
	*to = (hn_addr)(uintptr_t)at + before;
	if (move_to(p, *to, grow, flags | MREMAP_MAYMOVE | MREMAP_FIXED) == 0)
		return 0;
	err = errno;
	munmap(ptr(*to), bytes);
	return fail(err);
}

static int grow_in_place(const struct pieces *p, size_t grow)
{
	hn_addr last = p->start[p->nr - 1];

	return real_mremap(ptr(last), p->end - last, p->end - last + grow, 0) == MAP_FAILED ? -1 : 0;
}

/* The real call has failed with EFAULT: it has found nothing wrong with its arguments before that. */
static int move_pieces(const struct call *c, int fd, hn_addr *to)
{
	size_t kept = c->old_bytes < c->bytes ? c->old_bytes : c->bytes, grow = c->bytes - kept;
	struct pieces p;

	if (!find_pieces(&p, fd, c->old, c->old + kept))
		return fail(EFAULT);
	if (c->flags & MREMAP_FIXED) {
		if (kept < c->old_bytes && munmap(ptr(c->old + kept), c->old_bytes - kept))
			return -1;
		*to = c->to;
		return move_to(&p, c->to, grow, c->flags);
	}
	*to = c->old;
	if (!(c->flags & MREMAP_DONTUNMAP) && grow_in_place(&p, grow) == 0)
		return 0;
	return c->flags & MREMAP_MAYMOVE ? move_anywhere(&p, grow, c->flags, to) : fail(ENOMEM);
}

/* The same of any kind. */
static bool find_any(struct pieces *p, int fd, hn_addr start, hn_addr end)
{
	struct hn_vma vma;

	*p = (struct pieces){ .at = start, .end = end };
	while (p->at < end && hn_maps_next(fd, p->at, &vma) == 0 && take(p, &vma))
		;
	p->start[p->nr] = end;
	return p->at >= end && p->nr > 1;
}

/*
 * From Linux 6.17 on a call like this moves several mappings, whatever they are, until it comes to one that is registered; then it
 * fails, with those before that one moved. So it must be known before. False: the real call is right.
 */
static bool moves_several(const struct call *c, int fd, struct pieces *p)
{
	if (c->old < c->to + c->bytes && c->to < c->old + c->bytes)
		return false; /* which is an error */
	return find_any(p, fd, c->old, c->old + c->bytes);
}

/* Program's descriptors are used, for a moment. A system call filter may not have what is asked here. */
static int open_maps(void)
{
	if (!hn_load_relaxed(&hn_agent.began) || hn_load_relaxed(&hn_agent.filtered))
		return -1;
	return (int)hn_sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
}

/* True: done, with what is in *err. */
static bool several_first(const struct call *c, int *err)
{
	struct pieces p;
	int fd = c->flags & MREMAP_FIXED && c->old_bytes == c->bytes ? open_maps() : -1;
	bool several;

	if (fd < 0)
		return false;
	several = moves_several(c, fd, &p);
	hn_sys_close(fd);
	if (several)
		*err = move_to(&p, c->to, 0, c->flags) ? errno : 0;
	return several;
}

/* The same where the real call has failed. */
static bool several_then(const struct call *c, hn_addr *to, int *err)
{
	int fd = errno == EFAULT ? open_maps() : -1;

	if (fd < 0)
		return false;
	*err = move_pieces(c, fd, to) ? errno : 0;
	hn_sys_close(fd);
	return true;
}

__attribute__((visibility("default"))) void *mremap(void *old, size_t old_bytes, size_t bytes, int flags, ...)
{
	struct call c = { (hn_addr)(uintptr_t)old, 0, hn_base_up(old_bytes), hn_base_up(bytes), flags };
	int was = errno, err = 0;
	hn_addr to;
	va_list more;
	void *ret;

	va_start(more, flags);
	to = c.to = (hn_addr)(uintptr_t)va_arg(more, void *);
	va_end(more);
	if (!real_mremap)
		hn_mremap_load();
	if (!several_first(&c, &err)) {
		ret = real_mremap(old, old_bytes, bytes, flags, ptr(c.to));
		if (ret != MAP_FAILED || !several_then(&c, &to, &err))
			return ret;
	}
	errno = err ? err : was;
	return err ? MAP_FAILED : ptr(to);
}

void hn_mremap_load(void) { real_mremap = (mremap_fn)dlsym(RTLD_NEXT, "mremap"); }
