// SPDX-License-Identifier: MIT
#include "control/attach.h"

#include "control/ended.h"
#include "control/proc.h"
#include "control/say.h"
#include "control/settings.h"
#include "control/trust.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "hugenuma."
#define POLL_MS 10

/* ---- finding runs ---- */

static void attach_refuse(struct hn_attached *a, const char *parent, const char *name, const char *why)
{
	char *text = a->nr_refused < HN_REFUSALS_TOLD ? a->refused[a->nr_refused] : NULL;

	a->nr_refused++;
	if (!text)
		return;
	snprintf(text, sizeof(a->refused[0]), "%s/%s: not looked at: it %s", parent, name, why);
	hn_make_printable(text);
}

void hn_attach_say_refused(const struct hn_attached *a)
{
	for (size_t i = 0; i < a->nr_refused && i < HN_REFUSALS_TOLD; i++)
		hn_say("%s", a->refused[i]);
	if (a->nr_refused > HN_REFUSALS_TOLD)
		hn_say("... and %zu more", a->nr_refused - HN_REFUSALS_TOLD);
}

/* Our own files were written by us. Of others root believes about a process only that which has the file mapped. */
static bool attach_is_of(const struct hn_run_seen *r, uint32_t pid)
{
	return r->owner == geteuid() || hn_process_maps(pid, r->dev, r->ino);
}

/* What is needed of the header, copied; NULL, or what is wrong with it. */
const char *hn_run_copy_header(struct hn_run_seen *r)
{
	const struct hn_shm *s = r->shm;

	if (s->magic != HN_SHM_MAGIC || s->header_bytes != offsetof(struct hn_shm, slot) ||
	    s->slot_bytes != sizeof(struct hn_slot) || s->nr_slots != HN_SHM_SLOTS)
		return "is of another version of hugenuma";
	r->config = s->config;
	r->machine = s->machine;
	r->nr_loaded = hn_load_acquire(&s->loaded);
	r->nr_missed = hn_load_acquire(&s->slots_missed);
	r->controller_pid = __atomic_load_n(&s->controller_pid, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* from here on only the copies are looked at */
	if (!hn_machine_is_sane(&r->machine))
		return "describes no machine that can be";
	hn_config_make_sane(&r->config);
	if (!attach_is_of(r, r->controller_pid))
		r->controller_pid = 0;
	return NULL;
}

static void run_free(struct hn_run_seen *r)
{
	if (r->shm) {
		hn_unguard(r->shm);
		munmap(r->shm, sizeof(*r->shm));
	}
	close(r->dir);
	free(r);
}

/* Returns what is wrong with it, or NULL; also NULL, with nothing mapped, when there is no file. */
static const char *attach_map(struct hn_run_seen *r)
{
	const char *why;
	struct stat st;
	int fd = hn_open_trusted(r->dir, "run", O_RDWR, &st, &why);
	void *p;

	if (fd < 0)
		return why;
	p = st.st_size == sizeof(*r->shm) ?
		    mmap(NULL, sizeof(*r->shm), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	close(fd);
	if (p == MAP_FAILED)
		return st.st_size ? "has not the size of a run of this version of hugenuma" : NULL; /* 0: just being made */
	if (!hn_guard(p, sizeof(*r->shm))) {
		munmap(p, sizeof(*r->shm));
		return "is one of too many";
	}
	r->shm = p;
	r->owner = st.st_uid;
	r->dev = st.st_dev;
	r->ino = st.st_ino;
	return hn_run_copy_header(r);
}

static int attach_keep(struct hn_attached *a, struct hn_run_seen *r)
{
	struct hn_run_seen **run = realloc(a->run, (a->nr + 1) * sizeof(struct hn_run_seen *));

	if (!run)
		return -ENOMEM;
	a->run = run;
	a->run[a->nr++] = r;
	return 0;
}

/* Directories of other users are nothing to complain about; what bears our number, or all for root, ought to be in order. */
static bool attach_concerns_us(const char *name)
{
	return geteuid() == 0 || strtoul(name + strlen(PREFIX), NULL, 10) == geteuid();
}

static int attach_dir(struct hn_attached *a, int parent, const char *parent_name, const char *name, bool own)
{
	struct hn_run_seen *r;
	const char *why;
	struct stat st;
	int dir, err = 0;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || (st.st_uid == geteuid()) != own)
		return 0;
	dir = hn_open_trusted(parent, name, O_RDONLY | O_DIRECTORY, &st, &why);
	r = dir >= 0 ? calloc(1, sizeof(*r)) : NULL;
	if (r) {
		r->dir = dir;
		why = attach_map(r);
		if (!why && r->shm && (err = attach_keep(a, r)) == 0)
			return 0;
		run_free(r);
	} else if (dir >= 0) {
		close(dir);
		err = -ENOMEM;
	}
	if (why && attach_concerns_us(name))
		attach_refuse(a, parent_name, name, why);
	return err;
}

static int attach_in(struct hn_attached *a, const char *parent, bool own)
{
	DIR *d = opendir(parent);
	const struct dirent *e;
	int err = 0;

	if (!d)
		return 0;
	while (!err && (e = readdir(d)))
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0)
			err = attach_dir(a, dirfd(d), parent, e->d_name, own);
	closedir(d);
	return err;
}

/* Our own first: whoever makes many keeps nobody from his own, and of two that claim a process ours is asked. */
int hn_attach(struct hn_attached *a)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int err = 0;

	*a = (struct hn_attached){ 0 };
	for (int own = 1; own >= 0 && !err; own--) {
		err = attach_in(a, "/dev/shm", own);
		if (!err && runtime && runtime[0] == '/')
			err = attach_in(a, runtime, own);
	}
	return err;
}

void hn_attach_close(struct hn_attached *a)
{
	for (size_t i = 0; i < a->nr; i++)
		run_free(a->run[i]);
	free(a->run);
	*a = (struct hn_attached){ 0 };
}

/* ---- finding processes ---- */

/* A copy of the slot, if it is in use by a process (which lives, or does not any more) that may be in it. */
static bool attach_read(const struct hn_run_seen *r, const struct hn_slot *slot, bool alive, struct hn_process *p)
{
	if (!hn_slot_is_used(slot) || hn_slot_is_alive(r->shm, slot) != alive)
		return false;
	hn_process_read(p, slot, alive);
	return p->pid && (!alive || (hn_process_locate(p) && attach_is_of(r, p->here)));
}

size_t hn_attach_find(const struct hn_attached *a, uint32_t pid, struct hn_target *t, size_t room)
{
	struct hn_process p;
	size_t found = 0;

	for (size_t i = 0; i < a->nr; i++) {
		struct hn_run_seen *r = a->run[i];

		for (unsigned k = 0; k < hn_shm_opened(r->shm); k++) {
			struct hn_slot *slot = &r->shm->slot[k];

			if (!attach_read(r, slot, true, &p) || (pid && p.pid != pid && r->controller_pid != pid))
				continue;
			if (found < room)
				t[found] = (struct hn_target){ r, slot, p.pid };
			found++;
		}
	}
	return found;
}

/* ---- giving orders ---- */

static int attach_wait(const struct hn_target *t, const struct hn_word *w, uint32_t wanted, unsigned ms)
{
	const struct timespec step = { .tv_nsec = POLL_MS * 1000000l };
	uint64_t end = hn_now_ms() + ms;

	while (hn_load_acquire(w) != wanted) {
		if (!hn_slot_is_alive(t->run->shm, t->slot))
			return -ESRCH;
		if (hn_now_ms() >= end)
			return -ETIMEDOUT;
		nanosleep(&step, NULL);
	}
	return 0;
}

int hn_attach_order(const struct hn_target *t, uint32_t mode, unsigned ms)
{
	hn_store_release(&t->slot->wanted_mode, mode);
	return attach_wait(t, &t->slot->mode, mode, ms);
}

/* The sequence is odd while the settings are written, and the agent copies none then: a ^C must not leave it so. */
int hn_attach_configure(const struct hn_target *t, const struct hn_config *c, unsigned ms)
{
	struct hn_slot *s = t->slot;
	uint64_t end = hn_now_ms() + ms;
	sigset_t all, mask;
	uint32_t seq;

	sigfillset(&all);
	for (;;) {
		seq = hn_load_acquire(&s->config_seq);
		if (hn_now_ms() > end)
			return -ETIMEDOUT;
		if (seq & 1)
			continue;
		sigprocmask(SIG_BLOCK, &all, &mask);
		if (hn_cas_acquire(&s->config_seq, seq, seq + 1))
			break;
		sigprocmask(SIG_SETMASK, &mask, NULL);
	}
	s->config = *c;
	hn_store_release(&s->config_seq, seq + 2);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return attach_wait(t, &s->config_seen, seq + 2, ms);
}

/* ---- looking ---- */

struct seen_list {
	struct hn_seen *list;
	size_t nr, room;
};

static struct hn_seen *seen_add(struct seen_list *l, const struct hn_run_seen *run, struct hn_slot *slot)
{
	struct hn_seen *list;

	if (l->nr == l->room) {
		list = realloc(l->list, (l->room + 16) * sizeof(*list));
		if (!list)
			return NULL;
		l->list = list;
		l->room += 16;
	}
	l->list[l->nr] = (struct hn_seen){ .run = run, .slot = slot };
	return &l->list[l->nr++];
}

static bool seen_has(const struct seen_list *l, const struct hn_run_seen *run, uint32_t pid)
{
	for (size_t i = 0; i < l->nr; i++)
		if (l->list[i].run == run && l->list[i].p.pid == pid)
			return true;
	return false;
}

/* Living processes, or those that have ended and not been harvested. */
static void seen_slots(struct seen_list *l, const struct hn_run_seen *run, uint32_t pid, bool alive)
{
	struct hn_process p;

	for (unsigned k = 0; k < hn_shm_opened(run->shm); k++) {
		struct hn_slot *slot = &run->shm->slot[k];
		struct hn_seen *s;

		if (!attach_read(run, slot, alive, &p) || (pid && p.pid != pid && run->controller_pid != pid) ||
		    seen_has(l, run, p.pid))
			continue;
		s = seen_add(l, run, alive ? slot : NULL);
		if (!s)
			return;
		s->p = p;
		s->p.record = hn_record_copy(run->shm, slot, !alive);
	}
}

/* Those that have been; the latest first. */
static void seen_ended(struct seen_list *l, const struct hn_run_seen *run, uint32_t pid)
{
	struct hn_process p;
	struct hn_seen *s;

	for (unsigned i = 0; i < HN_ENDED_MAX; i++) {
		if (!hn_ended_read(run->dir, i, &p))
			continue;
		s = NULL;
		if ((!pid || p.pid == pid || run->controller_pid == pid) && !seen_has(l, run, p.pid))
			s = seen_add(l, run, NULL);
		if (s)
			s->p = p;
		else
			free(p.record);
	}
}

size_t hn_seen_find(const struct hn_attached *a, uint32_t pid, struct hn_seen **list)
{
	struct seen_list l = { 0 };

	for (size_t i = 0; i < a->nr; i++)
		seen_slots(&l, a->run[i], pid, true);
	for (size_t i = 0; i < a->nr; i++) {
		seen_slots(&l, a->run[i], pid, false);
		seen_ended(&l, a->run[i], pid);
	}
	*list = l.list;
	return l.nr;
}

void hn_seen_free(struct hn_seen *list, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		free(list[i].p.record);
	free(list);
}

/* ---- asking ---- */

int hn_attach_ask(const struct hn_seen *s, hn_addr addr, unsigned ms, struct hn_answer *answer)
{
	const struct timespec step = { .tv_nsec = POLL_MS * 1000000l };
	uint64_t end = hn_now_ms() + ms;
	struct hn_record *record;
	struct hn_query *q;
	uint32_t number;

	if (!s->slot || !hn_slot_is_alive(s->run->shm, s->slot))
		return -ESRCH;
	record = hn_slot_record(s->run->shm, s->slot);
	if (!record)
		return -ENOENT;
	q = &record->query;
	number = hn_query_ask(q, addr);
	while (!hn_query_read(q, number, addr, answer)) {
		if (!hn_slot_is_alive(s->run->shm, s->slot))
			return -ESRCH;
		if (hn_now_ms() >= end)
			return -ETIMEDOUT;
		/* somebody else's question may have taken ours away */
		if ((int32_t)(hn_load_acquire(&q->answered) - number) >= 0)
			number = hn_query_ask(q, addr);
		nanosleep(&step, NULL);
	}
	return 0;
}
