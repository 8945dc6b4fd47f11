// SPDX-License-Identifier: MIT
/*
 * messages.c - the userfaultfd's messages, for the handlers of core/serve.c.
 */
#include <errno.h>
#include <poll.h>

#include "linux/block.h"
#include "linux/live.h"
#include "linux/nofile.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

#define STOP_TRIES 100u

_Static_assert(sizeof(struct uffd_msg) == 32, "the kernel's message size is part of its interface");

static void translate(const struct uffd_msg *from, struct hn_message *m)
{
	*m = (struct hn_message){ .kind = HN_MSG_OTHER, .fd = -1 };
	switch (from->event) {
	case UFFD_EVENT_PAGEFAULT:
		m->kind = HN_MSG_FAULT;
		m->start = from->arg.pagefault.address;
		m->tid = from->arg.pagefault.feat.ptid;
		hn_trace_fault(m->start, m->tid);
		break;
	case UFFD_EVENT_REMAP:
		m->kind = HN_MSG_REMAP;
		m->start = from->arg.remap.from;
		m->end = from->arg.remap.from + from->arg.remap.len;
		m->to = from->arg.remap.to;
		break;
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		m->kind = from->event == UFFD_EVENT_REMOVE ? HN_MSG_REMOVE : HN_MSG_UNMAP;
		m->start = from->arg.remove.start;
		m->end = from->arg.remove.end;
		break;
	case UFFD_EVENT_FORK:
		m->kind = HN_MSG_FORK;
		m->fd = (int)from->arg.fork.ufd;
		break;
	default: break;
	}
}

long hn_uffd_read(int fd, struct uffd_msg *m)
{
	struct hn_nofile was, now;
	long n = hn_sys_read(fd, m, sizeof(*m));

	if (n != -EMFILE || !hn_nofile_raise(&was, &now))
		return n;
	n = hn_sys_read(fd, m, sizeof(*m));
	hn_nofile_restore(&was, &now);
	return n;
}

bool hn_live_read_message(void *be, struct hn_message *m)
{
	struct hn_worker *w = be;

	if (hn_uffd_read(w->live->fd, &w->in_hand) != (long)sizeof(w->in_hand))
		return false;
	hn_own_beat(); /* where events follow one another none may go to sleep for long */
	translate(&w->in_hand, m);
	if (m->kind == HN_MSG_FAULT)
		w->in_hand.event = 0; /* to forget it costs a wake-up, no more */
	return true;
}

bool hn_live_in_hand(const struct hn_worker *w, struct hn_message *m)
{
	if (!w->in_hand.event || w->in_hand.event == UFFD_EVENT_PAGEFAULT)
		return false;
	translate(&w->in_hand, m);
	return true;
}

bool hn_live_wait_message(void *be, bool chores)
{
	struct hn_live *live = hn_live_of(be);
	struct pollfd p[2] = { { .fd = live->fd, .events = POLLIN }, { .fd = live->fd_stop, .events = POLLIN } };

	HN_SYS_BLOCK(SYS_poll, p, 2, chores ? 1 : -1, 0, 0, 0);
	return !(p[1].revents & POLLIN);
}

/* There is no other way to end their poll, so one that fails is made again. */
void hn_live_stop_handlers(struct hn_live *live)
{
	uint64_t one = 1;
	uint32_t tries;

	for (tries = 0; tries < STOP_TRIES; tries++)
		if (HN_SYS(SYS_write, live->fd_stop, &one, sizeof(one), 0, 0, 0) == (long)sizeof(one))
			return;
}

/*
 * The kernel does not say whose a mapping is, but refuses to give one userfaultfd what another has. Where it is nobody's, it is
 * the trash's for a moment, in a mode that makes no difference to anybody. Where the call fails for another reason we go by
 * what is mapped: nothing, or such memory as is registered; better to keep what is gone than to lose what is there.
 */
enum hn_registered hn_live_is_registered(void *be, hn_addr start, hn_addr end)
{
	struct hn_live *live = hn_live_of(be);
	enum hn_mapped mapped = hn_maps_look(live->fd_maps, start, end);
	int err;

	if (mapped == HN_MAPPED_OTHER)
		return HN_REGISTERED_NONE;
	err = hn_uffd_register(live->fd_trash, start, end - start, UFFDIO_REGISTER_MODE_WP);
	if (!err)
		hn_uffd_unregister(live->fd_trash, start, end - start);
	if (!err || (err != -EBUSY && (mapped == HN_MAPPED_UNKNOWN || mapped == HN_MAPPED_NOTHING)))
		return HN_REGISTERED_NONE;
	if (mapped == HN_MAPPED_PLAIN || end - start <= HN_BASE_SIZE || (mapped != HN_MAPPED_SOME && hn_maps_has_no_hole(start, end)))
		return HN_REGISTERED_ALL;
	return HN_REGISTERED_SOME;
}

void hn_live_note_event(void *be, const struct hn_message *m)
{
	struct hn_worker *w = be;

	hn_stat_add(w->live->cnt.events, 1);
	switch (m->kind) {
	case HN_MSG_REMAP: hn_region_remap(w->live, m->start, m->to, m->end - m->start); break;
	case HN_MSG_UNMAP: hn_region_unmap(w->live, m->start, m->end); break;
	case HN_MSG_FORK: hn_fork_serve(w, m->fd); break;
	case HN_MSG_REMOVE:
	case HN_MSG_FAULT:
	case HN_MSG_OTHER: break;
	}
	w->in_hand.event = 0;
}
