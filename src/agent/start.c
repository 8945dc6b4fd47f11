// SPDX-License-Identifier: MIT
/*
 * start.c - loading: one shared file is mapped and one timer armed; nothing else runs until spark.c sees a reason.
 */
#include "agent/agent.h"
#include "linux/sys.h"

static void forking(bool begins)
{
	if (begins)
		hn_spark_hold();
	else
		hn_spark_go_on();
}

/* The child is watched as its parent was; another thread may have held what is reset. */
static void forked(void)
{
	hn_threads_reset();
	hn_spark_reset();
	hn_spark_arm((uint32_t)hn_sys_gettid());
}

__attribute__((constructor)) static void load(void)
{
	hn_threads_load();
	hn_fork_load();
	hn_memory_load();
	hn_mremap_load();
	hn_user_load();
	hn_spawn_load();
	hn_crash_load();
	hn_lockall_load();
	hn_spark_load();
	hn_agent.shm = hn_shm_open();
	if (!hn_agent.shm)
		return;
	hn_add_acq_rel(&hn_agent.shm->loaded, 1);
	if (!hn_filter_allows_us()) {
		hn_add_acq_rel(&hn_agent.shm->filtered, 1);
		hn_agent.shm = NULL;
		return;
	}
	hn_agent.forking = forking;
	hn_agent.forked = forked;
	hn_who_learn(&hn_agent.rseq_from_robust, &hn_agent.tp_from_robust);
	hn_plugin_load();
	hn_agent.pid = (uint32_t)hn_sys_getpid();
	hn_fork_handle();
	if (hn_agent.config.start_now)
		hn_agent_start();
	else
		hn_spark_arm((uint32_t)hn_sys_gettid());
}
