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
 * they are kept and applied to the addresses that are still to come.
 */
#include <errno.h>
#include <fcntl.h>

#include "linux/live.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define MAX_CHANGES 32

/* Something the child did already: a range dropped (to = 0) or moved. */
struct change {
	hn_addr from, end, to;
};

struct child {
	struct hn_live *live;
	int fd;
	uint32_t nr;
	struct change change[MAX_CHANGES];
};

static void note(struct child *c, hn_addr from, hn_addr end, hn_addr to)
{
	if (c->nr < MAX_CHANGES)
		c->change[c->nr++] = (struct change){ from, end, to };
}

static void read_events(struct child *c)
{
	struct uffd_msg m;

	while (hn_sys_read(c->fd, &m, sizeof(m)) == (long)sizeof(m)) {
		if (m.event == UFFD_EVENT_REMOVE || m.event == UFFD_EVENT_UNMAP)
			note(c, m.arg.remove.start, m.arg.remove.end, 0);
		else if (m.event == UFFD_EVENT_REMAP)
			note(c, m.arg.remap.from, m.arg.remap.from + m.arg.remap.len, m.arg.remap.to);
		else if (m.event == UFFD_EVENT_FORK)
			hn_sys_close((int)m.arg.fork.ufd); /* a grandchild this early sees zeros; nothing better is left */
	}
}

/* Where the base page at `a` is in the child by now; 0: nowhere. */
static hn_addr now_at(const struct child *c, hn_addr a)
{
	uint32_t i;

	for (i = 0; i < c->nr; i++) {
		if (a < c->change[i].from || a >= c->change[i].end)
			continue;
		if (c->change[i].to == 0)
			return 0;
		a += c->change[i].to - c->change[i].from;
	}
	return a;
}

static void give_base_page(struct child *c, hn_addr addr, hn_addr src)
{
	int tries, err = -EAGAIN;
	uint64_t done;

	for (tries = 0; tries < 1000 && (err == -EAGAIN || err == -ENOMEM); tries++) {
		hn_addr at = now_at(c, addr);

		if (at == 0)
			return;
		err = hn_uffd_copy(c->fd, at, src, HN_BASE_SIZE, &done);
		if (err == -EAGAIN)
			read_events(c);
	}
}

static void give(struct child *c, hn_addr addr, hn_addr src, uint64_t len)
{
	uint64_t off = 0, done;

	/* The short way, as long as the child has changed nothing. */
	while (off < len && c->nr == 0) {
		int err = hn_uffd_copy(c->fd, addr + off, src + off, len - off, &done);

		off += done;
		if (err && done == 0) {
			if (err == -EAGAIN)
				read_events(c);
			break;
		}
	}
	for (; off < len; off += HN_BASE_SIZE)
		give_base_page(c, addr + off, src + off);
}

static void give_part(void *arg, hn_addr addr, uint32_t page, uint32_t from, uint32_t to)
{
	struct child *c = arg;

	if (hn_is_staged(c->live, page))
		give(c, addr, (hn_addr)(uintptr_t)hn_staging(c->live, page) + from, to - from);
}

void hn_fork_serve(struct hn_worker *w, int fd)
{
	struct child c = { .live = w->live, .fd = fd };

	HN_SYS(SYS_fcntl, fd, F_SETFL, O_NONBLOCK, 0, 0, 0);
	hn_for_each_armed(&w->hn, give_part, &c);
	hn_sys_close(fd); /* the child's memory is its own now: no more faults to us, sleepers wake */
}
