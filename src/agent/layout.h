// SPDX-License-Identifier: MIT
/*
 * layout.h - the one shared-memory file between a controller (`hugenuma run`) and the agents of a run.
 *
 * The controller creates it (mode 0600, in a directory of mode 0700), fills the header, and names it in the environment
 * (HUGENUMA_SHM). Every process of the run maps it when the agent library is loaded, so that forked children need no
 * file access of their own; a process that becomes worth managing takes a free slot.
 * Readers never block writers: counters are plain words that only grow. They may map the file at any time, and find in it
 * what a process that has died had counted, until the controller has taken that over and frees the slot.
 *
 * Beside each of the first slots there is a record (core/record.h): decisions, and tables by node and region. The file is
 * sparse there: an agent takes the memory for its own when it starts, and does without when there is none; the controller
 * gives it back when it frees the slot. The other slots are sparse themselves, until an agent opens them, and have no record:
 * every process of the run maps all of this, and may have little address space (ulimit -v).
 */
#ifndef HN_AGENT_LAYOUT_H
#define HN_AGENT_LAYOUT_H

#include "core/record.h"
#include "core/stats.h"
#include "core/sync.h"
#include "core/types.h"

#define HN_SHM_ENV "HUGENUMA_SHM"
#define HN_SHM_MAGIC 0x0000000841554e48ULL /* "HNUA", then the layout version */
#define HN_SHM_SLOTS 512 /* processes managed at one time in a run at most */
#define HN_SHM_READY 128 /* the first of them: the controller has made sure of their memory, and they may have a record */
#define HN_MAX_CPUS 4096
#define HN_PLUGIN_PATH 256

/* How pages are armed: moved to staging, or protected in place, which takes Linux 7.3; auto: in place where possible. */
enum hn_arm_choice { HN_ARM_AUTO, HN_ARM_MOVE, HN_ARM_RWP, HN_NR_ARM_CHOICES };

enum hn_mover { HN_MOVER_COPY, HN_MOVER_KERNEL };

/* Where pages are supposed to lie when the machine is virtual and nobody has moved them yet. */
enum hn_initial_node { HN_INITIAL_FIRST /* all on node 0 */, HN_INITIAL_INTERLEAVE /* by address */ };

enum hn_shared { HN_SHARED_LEAVE, HN_SHARED_SPREAD };

/* Settings, fixed for the run. Ranges are enforced by the command line and again by the agent. */
struct hn_config {
	uint32_t period_ms;       /* time for a round over all managed memory at the start, 1..600000; default 1000 */
	uint32_t window_mib;      /* memory armed at one time by the scanner at most, 2..1048576; default 256 */
	uint32_t handlers;        /* handler threads, 1..16; default 2 */
	uint32_t mover;           /* enum hn_mover */
	uint32_t policy;          /* enum hn_policy_kind */
	uint32_t seed;            /* for HN_POLICY_RANDOM */
	uint32_t max_armed_mib;   /* memory armed at one time at most, 2..65536; default 1024 */
	uint32_t min_mib;         /* huge memory a process must have to be managed; default 16 */
	uint32_t start_now;       /* 1: start the agent at load time, do not wait for huge pages */
	uint32_t initial_node;    /* enum hn_initial_node, virtual machines only */
	uint32_t explicit_policy; /* 1: manage ranges with a memory policy of their own too */
	uint32_t arm;             /* enum hn_arm_choice */
	uint32_t shared;          /* enum hn_shared: what becomes of pages that several nodes use */
	uint32_t settle_ms;       /* between two migrations of such a page at least, 0..3600000; default 60000 */
	uint32_t period_min_ms;   /* shortest and ... 1..600000; default 250 */
	uint32_t period_max_ms;   /* ... longest time for a round; default 60000 */
	uint32_t cpu_percent;     /* of one CPU, for all threads of the agent; 0: no limit, else 1..1600; default 10 */
	uint32_t budget_mib_s;    /* migrated per second at most; 0: no limit; default 1024 */
	uint32_t max_stall_us;    /* a migration is given up when a thread has waited so long; 0: no limit; default 0 */
	char plugin[HN_PLUGIN_PATH]; /* policy to load, an absolute path; "": none. In force while policy is HN_POLICY_PLUGIN */
	uint32_t move_threads;    /* 1: threads are moved to their memory */
	uint32_t hot_ms;          /* a page of a slow node that is touched so soon is hot, 8..60000; default 1000 */
	uint32_t promote_mib_s;   /* promoted per second at most; 0: no limit; default 256 */
	uint32_t cold_rounds;     /* a page untouched through so many hints is cold; 0: none is; 0..15, default 3 */
	uint32_t low_permille;    /* a fast node with less free gives cold pages away, 1..500; default 40 */
	uint64_t slow_nodes;      /* bit n: node n is a slow tier, numbered as below; 0: as found; all bits: none is */
	uint64_t nodes;           /* bit n: pages may go to node n, by the kernel's number, or of virtual nodes; 0: to all */
};

/* The machine as the agent sees it; made by the controller from hwloc. */
struct hn_machine {
	uint32_t nr_nodes;            /* 1..HN_MAX_NODES */
	uint32_t is_virtual;          /* 1: nodes are made up, frames only carry a tag */
	uint32_t deal_threads;        /* 1: fewer CPUs than nodes: threads are dealt to nodes by first fault */
	uint32_t nr_cpus;             /* valid entries of cpu_node */
	int16_t os_nid[HN_MAX_NODES]; /* the kernel's number of each node; 0 for all when virtual */
	int16_t cpu_node[HN_MAX_CPUS];/* OS cpu -> node index, or HN_NO_NODE */
	uint8_t distance[HN_MAX_NODES][HN_MAX_NODES]; /* as in ACPI SLIT: 10 = local */
	uint64_t slow_nodes;          /* bit n: node n is a slow tier */
	uint64_t node_bytes[HN_MAX_NODES]; /* memory of each node; 0: not known */
};

enum hn_slot_state {
	HN_SLOT_FREE = 0,
	HN_SLOT_LIVE = 1,      /* an agent is running, or ran until its process ended: see pid and start_ticks */
	HN_SLOT_UNMANAGED = 2, /* the process wanted managing but could not be: see message */
};

/* What an agent does with its process; see hugenuma pause, resume, stop. */
enum hn_mode {
	HN_MODE_RUNNING = 0,
	HN_MODE_PAUSED = 1,  /* every page is in place, nothing is armed; memory stays registered */
	HN_MODE_STOPPED = 2, /* and nothing is registered: the memory is the kernel's */
	HN_NR_MODES,
};

/* What the agent has loaded says about itself. NUL-terminated; sizes as in hugenuma/policy.h. */
struct hn_rule {
	char name[24];
	char text[72];
};

struct hn_slot {
	struct hn_word state;     /* enum hn_slot_state; taken by compare-and-swap, freed by the controller only */
	uint32_t pid;
	uint64_t start_ticks;     /* field 22 of /proc/PID/stat, tells a reused pid */
	char comm[16];
	char message[200];        /* one line for the user: why unmanaged, or what was unusual; NUL-terminated */
	struct hn_word message_seq; /* raised after each new message */
	uint32_t mover_used;
	struct hn_word has_record;/* 1: the record beside this slot is in use */
	uint32_t pid_ns;          /* inode of the PID namespace that pid is a number of; 0: unknown */
	char policy_name[24];     /* of the plug-in policy that was loaded, and its rules; "": none */
	uint32_t nr_rules;
	struct hn_rule rule[HN_MAX_RULES];
	uint32_t arm_used;        /* HN_ARM_MOVE or HN_ARM_RWP; HN_ARM_AUTO: none, it came to nothing */
	struct hn_word wanted_mode; /* enum hn_mode, set by whoever steers the process ... */
	struct hn_word mode;      /* ... and by its agent, when it is so; within a second */
	struct hn_word config_seq;  /* raised twice for new settings; odd while they are written ... */
	struct hn_word config_seen; /* ... and the agent has those of this number */
	struct hn_config config;    /* of this process; at first those of the run */
	uint64_t started_ms;      /* CLOCK_MONOTONIC, ms */
	uint64_t agent_cpu_ns;    /* CPU time of all agent threads */
	uint64_t registered_bytes;/* program memory registered with userfaultfd now */
	uint64_t regions;
	uint64_t holes_served;    /* first touches answered by the agent */
	uint64_t events;          /* address-space events read */
	uint64_t fixups;          /* putbacks that needed more than one MOVE */
	uint64_t collapses;       /* pages made huge again */
	uint64_t unbound_mappings;/* now: bound with MPOL_F_NUMA_BALANCING, and left alone for want of room */
	uint64_t scans;           /* scan passes */
	uint64_t threads_moved;   /* threads kept on a node's CPUs because their memory is there, so far ... */
	uint64_t threads_kept;    /* ... and now */
	uint32_t claim[HN_MAX_NODES]; /* what these want of the CPUs of each node, in permille of a CPU; for the agents of the run */
	uint64_t hot_ms;          /* with slow nodes: the threshold now */
	uint64_t agent_bytes;     /* memory the agent itself holds: state, stacks, pool */
	struct hn_stats stats;
};

struct hn_shm {
	uint64_t magic;           /* HN_SHM_MAGIC */
	uint32_t header_bytes;    /* sizeof(struct hn_shm) without slots */
	uint32_t slot_bytes;      /* sizeof(struct hn_slot) */
	uint32_t nr_slots;
	uint32_t controller_pid;
	struct hn_word loaded;    /* processes (exec images) the agent library was loaded into */
	struct hn_word slots_missed; /* processes that found no free slot and ran unmanaged */
	/* slots that are to be looked at: raised by who takes one behind, once there is memory for it and all before it */
	struct hn_word opened;
	struct hn_word filtered;  /* processes not looked at any more because of a system call filter of theirs */
	struct hn_word unreadable; /* processes of a size to be looked at, that may not read their own /proc/self/pagemap */
	struct hn_word deaf;      /* 1: a process has said that the kernel does not tell of forks */
	struct hn_config config;
	struct hn_machine machine;
	struct hn_slot slot[HN_SHM_SLOTS];
	struct hn_record record[HN_SHM_READY]; /* slot i's */
};

/* A machine that is none was not described by a controller of ours. */
static inline bool hn_machine_is_sane(const struct hn_machine *m)
{
	uint32_t i;

	if (m->nr_nodes < 1 || m->nr_nodes > HN_MAX_NODES || m->nr_cpus > HN_MAX_CPUS)
		return false;
	for (i = 0; i < m->nr_cpus; i++)
		if (m->cpu_node[i] < HN_NO_NODE || m->cpu_node[i] >= (int)m->nr_nodes)
			return false;
	for (i = 0; i < m->nr_nodes; i++)
		if (m->os_nid[i] < 0 || m->os_nid[i] >= 1024)
			return false;
	return true;
}

/* How many slots there are to look at, whatever is written there. */
static inline uint32_t hn_shm_opened(const struct hn_shm *shm)
{
	uint32_t nr = __atomic_load_n(&shm->opened.v, __ATOMIC_ACQUIRE);

	return nr < HN_SHM_SLOTS ? nr : HN_SHM_SLOTS;
}

/* How many rules there are to look at, whatever is written there. */
static inline uint32_t hn_slot_rules(const struct hn_slot *slot)
{
	return slot->nr_rules < HN_MAX_RULES ? slot->nr_rules : HN_MAX_RULES;
}

/* Where the record of a slot is to be; NULL: it is one of those that have none. */
static inline struct hn_record *hn_slot_record_place(struct hn_shm *shm, const struct hn_slot *slot)
{
	return slot - shm->slot < HN_SHM_READY ? &shm->record[slot - shm->slot] : NULL;
}

/* The record that is in use; NULL: there is none. */
static inline struct hn_record *hn_slot_record(struct hn_shm *shm, const struct hn_slot *slot)
{
	return __atomic_load_n(&slot->has_record.v, __ATOMIC_ACQUIRE) ? hn_slot_record_place(shm, slot) : NULL;
}

#endif
