// SPDX-License-Identifier: MIT
#include "control/attach.h"

#include "control/ended.h"
#include "control/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "hugenuma."
#define POLL_MS 10

static bool attach_is_ours(const struct stat *st)
{
	return (st->st_uid == geteuid() || geteuid() == 0) && (st->st_mode & 077) == 0;
}

/* Another version's file is not for us. */
static bool attach_is_known(const struct hn_shm *s)
{
	return s->magic == HN_SHM_MAGIC && s->header_bytes == offsetof(struct hn_shm, slot) &&
	       s->slot_bytes == sizeof(struct hn_slot) && s->nr_slots == HN_SHM_SLOTS &&
	       s->machine.nr_nodes >= 1 && s->machine.nr_nodes <= HN_MAX_NODES;
}

static struct hn_shm *attach_map(int dir)
{
	struct stat st;
	struct hn_shm *s = MAP_FAILED;
	int fd = openat(dir, "run", O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && attach_is_ours(&st) && st.st_size == sizeof(*s))
		s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (s == MAP_FAILED)
		return NULL;
	if (attach_is_known(s))
		return s;
	munmap(s, sizeof(*s));
	return NULL;
}

static int attach_keep(struct hn_attached *a, struct hn_shm *s, char *dir)
{
	struct hn_shm **run = realloc(a->run, (a->nr + 1) * sizeof(struct hn_shm *));
	char **dirs = realloc(a->dir, (a->nr + 1) * sizeof(char *));

	a->run = run ? run : a->run;
	a->dir = dirs ? dirs : a->dir;
	if (!run || !dirs || !dir) {
		free(dir);
		munmap(s, sizeof(*s));
		return -ENOMEM;
	}
	a->dir[a->nr] = dir;
	a->run[a->nr++] = s;
	return 0;
}

static char *attach_path(const char *parent, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", parent, name) < 0 ? NULL : path;
}

static int attach_dir(struct hn_attached *a, int parent, const char *parent_name, const char *name)
{
	int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct hn_shm *s = NULL;
	struct stat st;

	if (dir < 0)
		return 0;
	if (fstat(dir, &st) == 0 && attach_is_ours(&st))
		s = attach_map(dir);
	close(dir);
	return s ? attach_keep(a, s, attach_path(parent_name, name)) : 0;
}

static int attach_in(struct hn_attached *a, const char *parent)
{
	DIR *d = opendir(parent);
	const struct dirent *e;
	int err = 0;

	if (!d)
		return 0;
	while (!err && (e = readdir(d)))
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0)
			err = attach_dir(a, dirfd(d), parent, e->d_name);
	closedir(d);
	return err;
}

int hn_attach(struct hn_attached *a)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int err;

	*a = (struct hn_attached){ 0 };
	err = attach_in(a, "/dev/shm");
	if (!err && runtime && runtime[0] == '/')
		err = attach_in(a, runtime);
	return err;
}

void hn_attach_close(struct hn_attached *a)
{
	for (size_t i = 0; i < a->nr; i++) {
		munmap(a->run[i], sizeof(*a->run[i]));
		free(a->dir[i]);
	}
	free(a->run);
	free(a->dir);
	*a = (struct hn_attached){ 0 };
}

size_t hn_attach_find(const struct hn_attached *a, uint32_t pid, struct hn_target *t, size_t room)
{
	size_t found = 0;

	for (size_t i = 0; i < a->nr; i++) {
		struct hn_shm *s = a->run[i];

		for (unsigned k = 0; k < HN_SHM_SLOTS; k++) {
			struct hn_slot *slot = &s->slot[k];

			if (!hn_slot_is_alive(s, slot) || (pid && slot->pid != pid && s->controller_pid != pid))
				continue;
			if (found < room)
				t[found] = (struct hn_target){ s, slot };
			found++;
		}
	}
	return found;
}

static int attach_wait(const struct hn_target *t, const struct hn_word *w, uint32_t wanted, unsigned ms)
{
	const struct timespec step = { .tv_nsec = POLL_MS * 1000000l };
	uint64_t end = hn_now_ms() + ms;

	while (hn_load_acquire(w) != wanted) {
		if (!hn_slot_is_alive(t->shm, t->slot))
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

/* The sequence is odd while the settings are written, and the agent copies none then. */
int hn_attach_configure(const struct hn_target *t, const struct hn_config *c, unsigned ms)
{
	struct hn_slot *s = t->slot;
	uint64_t end = hn_now_ms() + ms;
	uint32_t seq;

	do {
		seq = hn_load_acquire(&s->config_seq);
		if (hn_now_ms() > end)
			return -ETIMEDOUT;
	} while ((seq & 1) || !hn_cas_acquire(&s->config_seq, seq, seq + 1));
	s->config = *c;
	hn_store_release(&s->config_seq, seq + 2);
	return attach_wait(t, &s->config_seen, seq + 2, ms);
}

/* ---- looking ---- */

struct seen_list {
	struct hn_seen *list;
	size_t nr, room;
};

static struct hn_seen *seen_add(struct seen_list *l, struct hn_shm *shm, struct hn_slot *slot)
{
	struct hn_seen *list;

	if (l->nr == l->room) {
		list = realloc(l->list, (l->room + 16) * sizeof(*list));
		if (!list)
			return NULL;
		l->list = list;
		l->room += 16;
	}
	l->list[l->nr] = (struct hn_seen){ .shm = shm, .slot = slot };
	return &l->list[l->nr++];
}

static bool seen_has(const struct seen_list *l, const struct hn_shm *shm, uint32_t pid)
{
	for (size_t i = 0; i < l->nr; i++)
		if (l->list[i].shm == shm && l->list[i].p.pid == pid)
			return true;
	return false;
}

/* Living processes, or those that have ended and not been harvested. */
static void seen_slots(struct seen_list *l, struct hn_shm *shm, uint32_t pid, bool alive)
{
	for (unsigned k = 0; k < HN_SHM_SLOTS; k++) {
		struct hn_slot *slot = &shm->slot[k];
		struct hn_seen *s;

		if (!hn_slot_is_used(slot) || hn_slot_is_alive(shm, slot) != alive ||
		    (pid && slot->pid != pid && shm->controller_pid != pid) || seen_has(l, shm, slot->pid))
			continue;
		s = seen_add(l, shm, alive ? slot : NULL);
		if (!s)
			return;
		hn_process_read(&s->p, slot, alive);
		s->p.record = hn_record_copy(shm, slot, !alive);
	}
}

/* Those that have been; the latest first. */
static void seen_ended(struct seen_list *l, struct hn_shm *shm, const char *dir, uint32_t pid)
{
	struct hn_process p;
	struct hn_seen *s;

	for (unsigned i = 0; i < HN_ENDED_MAX; i++) {
		if (!hn_ended_read(dir, i, &p))
			continue;
		s = NULL;
		if ((!pid || p.pid == pid || shm->controller_pid == pid) && !seen_has(l, shm, p.pid))
			s = seen_add(l, shm, NULL);
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
		seen_ended(&l, a->run[i], a->dir[i], pid);
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
	struct hn_query *q;
	uint32_t number;

	if (!s->slot || !hn_slot_is_alive(s->shm, s->slot))
		return -ESRCH;
	if (!hn_load_acquire(&s->slot->has_record))
		return -ENOENT;
	q = &hn_slot_record(s->shm, s->slot)->query;
	number = hn_query_ask(q, addr);
	while (!hn_query_read(q, number, addr, answer)) {
		if (!hn_slot_is_alive(s->shm, s->slot))
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
