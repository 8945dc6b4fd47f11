// SPDX-License-Identifier: MIT
/*
 * slot.c - the agent's side of the shared memory of a run: trust, slots, messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "linux/sys.h"
#include "uapi/uapi.h"

struct hn_agent hn_agent;

/* Ours, nobody else's to write, and under no other name. */
static bool trusted(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_uid == (uid_t)HN_SYS(SYS_geteuid, 0, 0, 0, 0, 0, 0) &&
	       (st->st_mode & 077) == 0 && st->st_nlink == 1 && st->st_size == (off_t)sizeof(struct hn_shm);
}

/* A setting out of range is nobody's wish: whoever wrote it was not one of ours. */
bool hn_config_is_sane(const struct hn_config *c)
{
	return memchr(c->plugin, 0, sizeof(c->plugin)) && (c->policy != HN_POLICY_PLUGIN || c->plugin[0] == '/') &&
	       !(c->period_ms < 1 || c->period_ms > 600000 || c->window_mib < 2 || c->window_mib > 1048576 || c->handlers < 1 ||
		 c->handlers > HN_MAX_HANDLERS || c->mover > HN_MOVER_KERNEL || c->policy >= HN_NR_POLICIES ||
		 c->max_armed_mib < 2 || c->max_armed_mib > 2 * HN_MAX_STAGED || c->min_mib < 1 || c->shared > HN_SHARED_SPREAD || c->settle_ms > 3600000 ||
		 c->period_min_ms < 1 || c->period_min_ms > 600000 || c->period_max_ms < 1 || c->period_max_ms > 600000 ||
		 c->hot_ms < 8 || c->hot_ms > 60000 || c->promote_mib_s > 1048576 || c->cold_rounds > HN_IDLE_MAX ||
		 c->low_permille < 1 || c->low_permille > 500 || c->cpu_percent > 1600 || c->budget_mib_s > 1048576 || c->max_stall_us > 10000000 || c->arm >= HN_NR_ARM_CHOICES);
}

/*
 * Settings are copied and looked at then: other processes of the run have this memory too, some may have given up
 * privileges that this one has, and what they can write must not be more than numbers here.
 */
static bool sane(const struct hn_shm *s)
{
	if (s->magic != HN_SHM_MAGIC || s->header_bytes != offsetof(struct hn_shm, slot) ||
	    s->slot_bytes != sizeof(struct hn_slot) || s->nr_slots != HN_SHM_SLOTS)
		return false;
	hn_agent.config = s->config;
	return hn_config_is_sane(&hn_agent.config);
}

void hn_shm_hide_records(struct hn_shm *shm)
{
	madvise(shm->record, sizeof(shm->record), MADV_DONTDUMP);
	mprotect(shm->record, sizeof(shm->record), PROT_NONE);
}

struct hn_shm *hn_shm_open(void)
{
	const char *path = getauxval(AT_SECURE) ? NULL : getenv(HN_SHM_ENV);
	void *p = MAP_FAILED;
	struct stat st;
	int fd;

	if (!path || (fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)) < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && trusted(&st))
		p = mmap(NULL, sizeof(struct hn_shm), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED && !sane(p)) {
		munmap(p, sizeof(struct hn_shm));
		p = MAP_FAILED;
	}
	if (p == MAP_FAILED)
		return NULL;
	hn_shm_hide_records(p);
	return p;
}

/* The kernel looks first, and says EFAULT where we would get a SIGBUS. Before Linux 5.14 it knows no such call. */
void hn_shm_count(struct hn_word *w)
{
	if (HN_SYS(SYS_madvise, (uintptr_t)w & ~(HN_BASE_SIZE - 1), HN_BASE_SIZE, HN_MADV_POPULATE_READ, 0, 0, 0) == 0)
		hn_add_acq_rel(w, 1);
}

static bool put_own_memory(uintptr_t start, size_t bytes)
{
	return !hn_is_error(hn_sys_mmap((void *)start, bytes, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED));
}

/* Counters begin at 0 again; nobody reads them. The record is replaced by itself: the others' are unreachable anyway. */
bool hn_shm_replace(uintptr_t at)
{
	uintptr_t shm = (uintptr_t)hn_agent.shm, first = shm + offsetof(struct hn_shm, record);
	bool done;

	if (!shm || at < shm || at >= shm + sizeof(struct hn_shm))
		return false;
	if (at < first)
		done = put_own_memory(shm, first - shm);
	else
		done = put_own_memory(at & ~(uintptr_t)(HN_BASE_SIZE - 1), HN_BASE_SIZE);
	hn_store_release(&hn_agent.shm_lost, 1);
	hn_control_kick();
	return done;
}

/* Populated by the kernel, which can say that there is no room; a store would be a SIGBUS. */
struct hn_record *hn_slot_open_record(struct hn_shm *shm, struct hn_slot *slot, uint32_t nr_nodes)
{
	struct hn_record *r = hn_slot_record_place(shm, slot);

	if (!r)
		return NULL;
	if (HN_SYS(SYS_mprotect, r, sizeof(*r), PROT_READ | PROT_WRITE, 0, 0, 0) ||
	    HN_SYS(SYS_madvise, r, sizeof(*r), HN_MADV_POPULATE_WRITE, 0, 0, 0)) {
		HN_SYS(SYS_madvise, r, sizeof(*r), MADV_REMOVE, 0, 0, 0);
		HN_SYS(SYS_mprotect, r, sizeof(*r), PROT_NONE, 0, 0, 0);
		return NULL;
	}
	hn_record_init(r, nr_nodes);
	hn_store_release(&slot->has_record, 1);
	return r;
}

/* Field 22 of /proc/self/stat, to tell this process from a later one with its number. */
static uint64_t start_ticks(void)
{
	char buf[1024], *p;
	uint64_t v = 0;
	int field = 2;

	for (p = buf + hn_sys_read_file("/proc/self/stat", buf, sizeof(buf)); p > buf && *p != ')'; p--)
		;
	for (; *p && field < 22; p++)
		field += *p == ' ';
	for (; *p >= '0' && *p <= '9'; p++)
		v = v * 10 + (uint64_t)(*p - '0');
	return v;
}

/* The number in "pid:[4026531836]"; 0 when it cannot be read. */
static uint32_t pid_ns(void)
{
	char buf[64];
	long n = HN_SYS(SYS_readlink, "/proc/self/ns/pid", buf, sizeof(buf), 0, 0, 0), i;
	uint32_t v = 0;

	for (i = 0; i < n; i++)
		if (buf[i] >= '0' && buf[i] <= '9')
			v = v * 10 + (uint32_t)(buf[i] - '0');
	return v;
}

static void read_comm(char *comm, size_t size)
{
	size_t n = hn_sys_read_file("/proc/self/comm", comm, size);

	if (n)
		comm[n - 1] = '\0'; /* without the newline */
}

/* Is there memory for slot i? The kernel is asked for it, who says no where a store would be a SIGBUS. */
static bool has_memory(struct hn_shm *shm, uint32_t i)
{
	uintptr_t start = (uintptr_t)&shm->slot[i] & ~(uintptr_t)(HN_BASE_SIZE - 1), end = (uintptr_t)&shm->slot[i + 1];

	return i < HN_SHM_READY || HN_SYS(SYS_madvise, start, end - start, HN_MADV_POPULATE_WRITE, 0, 0, 0) == 0;
}

/* From now on slot i is looked at by others: before it is anybody's. */
static void open_slot(struct hn_shm *shm, uint32_t i)
{
	uint32_t was = hn_load_acquire(&shm->opened);

	while (was <= i && !hn_cas_acquire(&shm->opened, was, i + 1))
		was = hn_load_acquire(&shm->opened);
}

/*
 * The controller frees slots of dead processes, zeroed; until `pid` is set it leaves a taken one alone. Who takes one has
 * looked at all before it, so that these have memory, too.
 */
struct hn_slot *hn_slot_take(struct hn_shm *shm, enum hn_slot_state state)
{
	uint32_t i;

	for (i = 0; i < HN_SHM_SLOTS && has_memory(shm, i); i++) {
		struct hn_slot *s = &shm->slot[i];

		if (!hn_cas_acquire(&s->state, HN_SLOT_FREE, state))
			continue;
		open_slot(shm, i);
		memset((char *)s + sizeof(s->state), 0, sizeof(*s) - sizeof(s->state));
		s->config = hn_agent.config;
		s->start_ticks = start_ticks();
		s->pid_ns = pid_ns();
		read_comm(s->comm, sizeof(s->comm));
		s->started_ms = hn_live_now_ns(NULL) / 1000000;
		__atomic_store_n(&s->pid, (uint32_t)hn_sys_getpid(), __ATOMIC_RELEASE);
		return s;
	}
	hn_add_acq_rel(&shm->slots_missed, 1);
	return NULL;
}

/* "what (errno 12)": the agent has no stdio; the controller prints it. */
void hn_slot_say(struct hn_slot *slot, const char *what, int err)
{
	char *p = slot->message, *end = slot->message + sizeof(slot->message) - 16;

	while (*what && p < end)
		*p++ = *what++;
	if (err > 0 && err < 1000) {
		memcpy(p, " (errno ", 8);
		p += 8;
		if (err >= 100)
			*p++ = (char)('0' + err / 100);
		if (err >= 10)
			*p++ = (char)('0' + err / 10 % 10);
		*p++ = (char)('0' + err % 10);
		*p++ = ')';
	}
	*p = '\0';
	hn_add_acq_rel(&slot->message_seq, 1);
}
