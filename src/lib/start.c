// SPDX-License-Identifier: MIT
/*
 * start.c - the agent comes and goes.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "control/nodes.h"
#include "control/proc.h"
#include "control/shm.h"
#include "lib/lib.h"

#define START_MS 20000
#define ORDER_MS 10000

/* Who only asks must not keep off who wants to stop. */
#define FREE_LOCK PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP

static pthread_rwlock_t lock = FREE_LOCK;
static const struct hn_door own = HN_DOOR;

/* Under the lock. */
static struct {
	struct hn_run_dir run; /* run.shm: we made it */
	pid_t made_by;
	bool fork_handled;
	struct hn_machine machine;
	char message[256];
} lib;

void hn_lib_read_lock(void) { pthread_rwlock_rdlock(&lock); }
void hn_lib_write_lock(void) { pthread_rwlock_wrlock(&lock); }
void hn_lib_unlock(void) { pthread_rwlock_unlock(&lock); }

void hn_lib_nap(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

/* ---- whose agent ---- */

static const struct hn_door *preloaded(void)
{
	static const struct hn_door *door;
	static bool looked;

	if (!__atomic_load_n(&looked, __ATOMIC_ACQUIRE)) {
		door = dlsym(RTLD_DEFAULT, HN_DOOR_SYMBOL);
		__atomic_store_n(&looked, true, __ATOMIC_RELEASE);
	}
	return door;
}

static bool same_version(const struct hn_door *d)
{
	return d->magic == own.magic && d->door_bytes == own.door_bytes && d->agent_bytes == own.agent_bytes &&
	       d->slot_bytes == own.slot_bytes && d->record_bytes == own.record_bytes;
}

/* One that was preloaded without `hugenuma run` does nothing. */
const struct hn_door *hn_lib_door(void)
{
	const struct hn_door *d = preloaded();

	return d && same_version(d) && d->agent->shm ? d : &own;
}

const struct hn_door *hn_lib_running(void)
{
	const struct hn_door *d = hn_lib_door();

	return hn_load_acquire(&d->agent->state) == HN_AGENT_RUNNING && d->agent->slot ? d : NULL;
}

struct hn_record *hn_lib_record(const struct hn_door *d)
{
	return hn_slot_record(d->agent->shm, d->agent->slot);
}

/* ---- the run ---- */

/* At exit the agent is still at work: what is mapped stays. */
static void remove_files(void)
{
	if (!lib.run.shm || lib.made_by != getpid())
		return;
	unlink(lib.run.file);
	rmdir(lib.run.dir);
}

__attribute__((destructor)) static void at_exit(void) { remove_files(); }

static void drop_run(void)
{
	remove_files();
	if (lib.run.shm)
		munmap(lib.run.shm, sizeof(*lib.run.shm));
	lib.run.shm = NULL;
	hn_agent.shm = NULL;
	hn_agent.slot = NULL;
}

/* Another thread of the parent may have held it. */
static void free_lock(void)
{
	pthread_rwlock_t fresh = FREE_LOCK;

	lock = fresh;
}

__attribute__((constructor)) static void at_load(void) { pthread_atfork(NULL, NULL, free_lock); }

/* No thread of the agent is here, and its memory neither. The run is the parent's. */
static void forked(void)
{
	munmap(hn_agent.shm, sizeof(*hn_agent.shm));
	lib.run.shm = NULL;
	hn_agent.shm = NULL;
}

/*
 * The descriptor is closed at once: a program may close all it has, and then the number would be another file's. The lock
 * on the file goes with it; that the process lives keeps the run from being swept away.
 */
static int make_run(const struct hn_config *c, const struct hn_machine *m)
{
	int err;

	hn_run_dir_sweep();
	err = hn_run_dir_create(&lib.run, c, m, lib.message, sizeof(lib.message));
	if (err)
		return err;
	close(lib.run.fd);
	lib.made_by = getpid();
	hn_shm_hide_records(lib.run.shm);
	return 0;
}

/* ---- starting ---- */

static int wait_started(const struct hn_door *d)
{
	uint64_t end = hn_now_ms() + START_MS;
	uint32_t state;

	while ((state = hn_load_acquire(&d->agent->state)) == HN_AGENT_STARTING && hn_now_ms() < end)
		hn_lib_nap();
	if (state == HN_AGENT_RUNNING)
		return 0;
	if (state == HN_AGENT_STARTING)
		return -ETIMEDOUT;
	if (d->agent->slot)
		hn_lib_text(lib.message, sizeof(lib.message), d->agent->slot->message);
	if (d->agent->failed_errno == EINVAL)
		return -ENOTSUP;
	return d->agent->failed_errno ? -d->agent->failed_errno : -EIO;
}

static int begin(const struct hn_door *d)
{
	d->agent->returns = 0;
	hn_cas_acquire(&d->agent->state, HN_AGENT_LEFT, HN_AGENT_IDLE);
	if (hn_load_acquire(&d->agent->state) == HN_AGENT_FAILED)
		return -EIO;
	d->start();
	return wait_started(d);
}

static void prepare_agent(const struct hn_config *c, uint32_t flags)
{
	hn_agent.shm = lib.run.shm;
	hn_add_acq_rel(&lib.run.shm->loaded, 1);
	hn_agent.config = *c;
	hn_agent.pid = (uint32_t)getpid();
	hn_agent.forked = forked;
	hn_agent.failed_errno = 0;
	hn_agent.ranges.only = !(flags & HUGENUMA_WHOLE_PROCESS);
	hn_store_relaxed(&hn_agent.wipes, 1); /* MADV_WIPEONFORK is not seen from here: a child behind libc's back is asked */
	hn_who_learn(&hn_agent.rseq_from_robust, &hn_agent.tp_from_robust);
	hn_plugin_load();
	if (!lib.fork_handled)
		hn_fork_handle();
	lib.fork_handled = true;
}

static int start_own(const struct hugenuma_options *o)
{
	struct hn_config c;
	int err = hn_lib_nodes(&lib.machine, o->virtual_nodes);

	if (err) {
		hn_lib_text(lib.message, sizeof(lib.message), "this machine has one NUMA node, and no virtual ones were asked for");
		return err;
	}
	hn_lib_take_config(&c);
	if ((o->flags & HUGENUMA_READ_CONFIG) && hn_lib_read_config(&c, lib.message, sizeof(lib.message)) != 0)
		return -EINVAL;
	if (hn_nodes_check(&lib.machine, c.nodes, "node.allowed", lib.message, sizeof(lib.message)) != 0 ||
	    hn_nodes_set_slow(&lib.machine, c.slow_nodes, "tier.slow", lib.message, sizeof(lib.message)) != 0)
		return -EINVAL;
	err = make_run(&c, &lib.machine);
	if (err)
		return err;
	prepare_agent(&c, o->flags);
	err = begin(&own);
	if (err == -ETIMEDOUT)
		return err; /* it may still come */
	if (err) {
		hn_agent_clear_up();
		drop_run();
		hn_cas_acquire(&hn_agent.state, HN_AGENT_FAILED, HN_AGENT_IDLE);
	}
	return err;
}

static int check_options(const struct hugenuma_options *in, struct hugenuma_options *o)
{
	*o = (struct hugenuma_options){ .size = sizeof(*o) };
	if (!in)
		return 0;
	if (in->size < sizeof(*o))
		return -EINVAL;
	*o = *in;
	if ((o->flags & ~(HUGENUMA_WHOLE_PROCESS | HUGENUMA_READ_CONFIG)) || o->virtual_nodes == 1 ||
	    o->virtual_nodes > HN_MAX_NODES || o->reserved)
		return -EINVAL;
	return 0;
}

static int start_locked(const struct hugenuma_options *o)
{
	const struct hn_door *d = hn_lib_door(), *p = preloaded();

	lib.message[0] = '\0';
	if (p && !same_version(p) && p->magic != 0) {
		hn_lib_text(lib.message, sizeof(lib.message), "this process was started by hugenuma of another version");
		return -EPROTO;
	}
	if (hn_lib_running())
		return d == &own ? -EALREADY : 0;
	return d == &own ? start_own(o) : begin(d);
}

EXPORT int hugenuma_start(const struct hugenuma_options *options)
{
	struct hugenuma_options o;
	int err = check_options(options, &o);

	if (err)
		return err;
	hn_lib_write_lock();
	err = start_locked(&o);
	hn_lib_unlock();
	return err;
}

static int stop_locked(void)
{
	const struct hn_door *d = hn_lib_door();
	uint32_t state = hn_load_acquire(&d->agent->state);
	struct hn_slot *s = d->agent->slot;

	if (state != HN_AGENT_RUNNING && state != HN_AGENT_STARTING)
		return 0;
	if (!d->leave())
		return -ETIMEDOUT;
	if (d == &own) {
		drop_run();
		hn_cas_acquire(&hn_agent.state, HN_AGENT_LEFT, HN_AGENT_IDLE);
	} else {
		hn_store_release(&s->wanted_mode, HN_MODE_STOPPED);
		hn_store_release(&s->mode, HN_MODE_STOPPED);
	}
	return 0;
}

EXPORT int hugenuma_stop(void)
{
	int err;

	hn_lib_write_lock();
	err = stop_locked();
	hn_lib_unlock();
	return err;
}

/* ---- orders ---- */

static int order(uint32_t mode)
{
	const struct hn_door *d;
	int err = -ESRCH;

	hn_lib_read_lock();
	d = hn_lib_running();
	if (d) {
		struct hn_slot *s = d->agent->slot;
		uint64_t end = hn_now_ms() + ORDER_MS;

		hn_store_release(&s->wanted_mode, mode);
		d->kick();
		for (err = 0; !err && hn_load_acquire(&s->mode) != mode; hn_lib_nap())
			err = hn_load_acquire(&s->wanted_mode) != mode ? -ECANCELED : hn_now_ms() > end ? -ETIMEDOUT : 0;
	}
	hn_lib_unlock();
	return err;
}

EXPORT int hugenuma_pause(void) { return order(HN_MODE_PAUSED); }

EXPORT int hugenuma_resume(void) { return order(HN_MODE_RUNNING); }

EXPORT enum hugenuma_state hugenuma_state(void)
{
	enum hugenuma_state state = HUGENUMA_IDLE;
	const struct hn_door *d;

	hn_lib_read_lock();
	d = hn_lib_running();
	if (d)
		state = hn_load_acquire(&d->agent->slot->wanted_mode) == HN_MODE_RUNNING ? HUGENUMA_RUNNING : HUGENUMA_PAUSED;
	hn_lib_unlock();
	return state;
}

EXPORT int hugenuma_message(char *text, size_t len)
{
	const struct hn_door *d;
	int err;

	hn_lib_read_lock();
	d = hn_lib_running();
	err = hn_lib_text(text, len, d ? d->agent->slot->message : lib.message);
	hn_lib_unlock();
	return err;
}

EXPORT uint32_t hugenuma_nodes(void)
{
	const struct hn_door *d;
	uint32_t n;

	hn_lib_read_lock();
	d = hn_lib_running();
	n = d ? d->agent->live->setup.nr_nodes : 0;
	hn_lib_unlock();
	return n;
}
