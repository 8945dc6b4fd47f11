// SPDX-License-Identifier: MIT
/*
 * forked.c - a fork that went behind libc, so that nobody put the pages back first: the child has holes where pages lay
 * in staging, and gets copies of them.
 *
 * The kernel stops the forking thread until the event is read and hands over a userfaultfd for the child, whose faults on
 * holes sleep until it is closed. Between the fork and the read nothing can have been armed or put back (EAGAIN), and the
 * gate is held exclusively while the copies are made, so staging is what it was when the child's memory was made. The
 * child gets base pages: a MOVE between processes is not possible.
 *
 * Pages that were armed in place are in the child as well, still armed; closing its descriptor ends that.
 *
 * The child runs meanwhile. What it does to its own address space before it is served comes as events on its descriptor;
 * they are kept and applied to the addresses that are still to come. Children that it has by then have its holes, and are
 * served after it in the same way, each from what its parent had done until then. Memory that a child is to find zeroed
 * (MADV_WIPEONFORK) is registered in it like all the rest, and only smaps tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "linux/block.h"
#include "linux/live.h"
#include "linux/nofile.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define PATIENCE_S 10 /* with each child that does not get on ... */
#define LONGEST_S 60  /* ... and with one that does */
#define TRIES 8u      /* of a base page that the kernel will not have */
#define SURE 2u       /* ... when the one before was not in the child at all */
#define HEIRS 256u    /* children of a child at a time; each waits for its event to be read in its fork */

/* Somebody who was made by a child that had holes still. nr: how many changes there were then. */
struct heir {
	int fd;
	uint32_t nr;
};

struct child {
	struct hn_live *live;
	int fd;
	uint64_t patience_ns, waited_ns; /* what is left of it, and when that was counted */
	uint64_t more_ns;                /* what it may be made longer by */
	uint32_t nr, nr_wiped;
	bool wiped_known; /* nr_wiped is */
	bool gone;   /* it has ended already: the gate must not be held for it, page by page */
	bool absent; /* the base page before, of the same page, was not in the child at all */
	/* A stack: who comes later has at least as many changes, so what it adds does not touch those of who is below. */
	uint32_t nr_heirs;
	struct heir heir[HEIRS];
};

/* Memory is most often dropped piece by piece, upwards: that is one change, unless an heir has the first part only. */
static void note(struct child *c, hn_addr from, hn_addr end, hn_addr to)
{
	uint32_t inherited = c->nr_heirs ? c->heir[c->nr_heirs - 1].nr : 0;
	struct hn_change *last = c->nr > inherited ? &c->live->fork_change[c->nr - 1] : NULL;

	if (last && to == 0 && last->to == 0 && from <= last->end && end >= last->from) {
		last->from = from < last->from ? from : last->from;
		last->end = end > last->end ? end : last->end;
	} else if (c->nr < HN_FORK_CHANGES) {
		c->live->fork_change[c->nr++] = (struct hn_change){ from, end, to };
	}
}

static void inherit(struct child *c, int fd)
{
	if (c->nr_heirs < HEIRS)
		c->heir[c->nr_heirs++] = (struct heir){ fd, c->nr };
	else
		hn_sys_close(fd); /* it sees zeros */
}

/* It has been on a CPU since the last time, so it is not stopped, however slow it is, and we are: full patience again. */
static void gets_on(struct child *c)
{
	uint64_t used = PATIENCE_S * 1000000000ull - c->patience_ns, more = used < c->more_ns ? used : c->more_ns;

	c->patience_ns += more;
	c->more_ns -= more;
}

static void read_events(struct child *c)
{
	struct uffd_msg m;

	while (hn_uffd_read(c->fd, &m) == (long)sizeof(m)) {
		gets_on(c);
		if (m.event == UFFD_EVENT_REMOVE || m.event == UFFD_EVENT_UNMAP)
			note(c, m.arg.remove.start, m.arg.remove.end, 0);
		else if (m.event == UFFD_EVENT_REMAP)
			note(c, m.arg.remap.from, m.arg.remap.from + m.arg.remap.len, m.arg.remap.to);
		else if (m.event == UFFD_EVENT_FORK)
			inherit(c, (int)m.arg.fork.ufd);
	}
}

/* Where the base page at `a` is in the child by now; 0: nowhere. */
static hn_addr now_at(const struct child *c, hn_addr a)
{
	const struct hn_change *change = c->live->fork_change;
	uint32_t i;

	for (i = 0; i < c->nr_wiped; i++)
		if (a >= c->live->fork_wiped[i].start && a < c->live->fork_wiped[i].end)
			return 0;
	for (i = 0; i < c->nr; i++) {
		if (a < change[i].from || a >= change[i].end)
			continue;
		if (change[i].to == 0)
			return 0;
		a += change[i].to - change[i].from;
	}
	return a;
}

/*
 * After an event has been read the kernel goes on saying EAGAIN until its causer has been on a CPU. That may take a while
 * on a busy machine, but not for ever: a child that has been stopped must not stop its parent.
 */
static bool wait_a_moment(struct child *c)
{
	struct timespec t = { 0, 50000 };

	HN_SYS_BLOCK(SYS_nanosleep, &t, NULL, 0, 0, 0, 0);
	return hn_patience_left(&c->patience_ns, &c->waited_ns);
}

/*
 * What is there already is newer. Anything else that is not for a moment is asked again: the child would read zeros. Where
 * there is nothing mapped in the child (MADV_DONTFORK, or its parent unmapped it just before) that must not take long, as the
 * gate is held all the while. Twice is enough: from a change of the child's address space on, until its event has been read,
 * a copy says EAGAIN before it looks at anything, so ENOENT can come from a change only once. What is lost in staging (a
 * hardware memory error) is lost in the child, too.
 */
static void give_base_page(struct child *c, hn_addr addr, hn_addr src)
{
	uint32_t tries = 0;
	uint64_t done;
	hn_addr at;
	int err;

	do {
		at = now_at(c, addr);
		if (at == 0)
			return;
		err = hn_uffd_copy(c->fd, at, src, HN_BASE_SIZE, &done);
		if (err == -EFAULT && hn_is_lost(src))
			err = hn_uffd_poison(c->fd, at, HN_BASE_SIZE);
		if (err == 0 || err == -EEXIST)
			break;
		if (err == -EAGAIN)
			read_events(c);
		if ((err == -EAGAIN || err == -ENOMEM) && !wait_a_moment(c))
			return;
	} while (err == -EAGAIN || err == -ENOMEM || ++tries < (c->absent ? SURE : TRIES));
	c->absent = err == -ENOENT;
	c->gone = err == -ESRCH;
}

static void give(struct child *c, hn_addr addr, hn_addr src, uint64_t len)
{
	uint64_t off = 0, done = 0;

	c->absent = false;
	while (off < len && !c->gone) {
		/* The short way, as long as the child has changed nothing; past a base page that stops it. */
		if (c->nr == 0 && c->nr_wiped == 0 && !c->absent) {
			int err = hn_uffd_copy(c->fd, addr + off, src + off, len - off, &done);

			off += done;
			if (!err || done)
				continue;
		}
		give_base_page(c, addr + off, src + off);
		off += HN_BASE_SIZE;
	}
}

static long open_smaps(const struct hn_live *live)
{
	long fd = hn_sys_open_at(live->fd_task, "../smaps", O_RDONLY | O_CLOEXEC);
	struct hn_nofile was, now;

	if (fd != -EMFILE || !hn_nofile_raise(&was, &now))
		return fd;
	fd = hn_sys_open_at(live->fd_task, "../smaps", O_RDONLY | O_CLOEXEC);
	hn_nofile_restore(&was, &now);
	return fd;
}

/* What the child is to find zeroed is not given. Asking takes long, and hardly a program has such memory, or no child misses it. */
static void find_wiped(struct child *c)
{
	const struct hn_word *wipes = c->live->setup.wipes;
	long fd = -1;

	if (!c->wiped_known && wipes && hn_load_relaxed(wipes))
		fd = open_smaps(c->live);
	c->wiped_known = true;
	if (fd < 0)
		return;
	c->nr_wiped = hn_smaps_wiped((int)fd, c->live->fork_wiped, HN_FORK_WIPED);
	hn_sys_close((int)fd);
}

static void give_part(void *arg, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	struct child *c = arg;

	if (c->gone || !hn_is_staged(c->live, page))
		return;
	find_wiped(c);
	give(c, addr, (hn_addr)(uintptr_t)hn_staging(c->live, page) + from, to - from);
}

/* The child's memory is its own afterwards: no more faults to us, sleepers wake. */
static void serve(struct hn_worker *w, struct child *c)
{
	c->gone = false;
	c->patience_ns = PATIENCE_S * 1000000000ull;
	c->more_ns = (LONGEST_S - PATIENCE_S) * 1000000000ull;
	c->waited_ns = hn_live_now_ns(w);
	HN_SYS(SYS_fcntl, c->fd, F_SETFL, O_NONBLOCK, 0, 0, 0);
	hn_for_each_armed(&w->hn, give_part, c);
	hn_sys_close(c->fd);
}

void hn_fork_serve(struct hn_worker *w, int fd)
{
	struct child c = { .live = w->live, .fd = fd };

	serve(w, &c);
	while (c.nr_heirs) {
		const struct heir *h = &c.heir[--c.nr_heirs];

		c.fd = h->fd;
		c.nr = h->nr;
		serve(w, &c);
	}
}
