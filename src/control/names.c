// SPDX-License-Identifier: MIT
#include "control/names.h"

#include "agent/layout.h"

const struct hn_name hn_refusal_names[HN_NR_REFUSALS] = {
	[HN_REFUSE_FILTER] = { "filter", "second sample wanted" },
	[HN_REFUSE_NO_NODE] = { "no_node", "node unknown" },
	[HN_REFUSE_OBSERVE] = { "observe", "only observing" },
	[HN_REFUSE_HELD] = { "held", "failed a moment ago" },
	[HN_REFUSE_SHARED] = { "shared", "used by several nodes" },
	[HN_REFUSE_SETTLING] = { "settling", "moved a moment ago" },
	[HN_REFUSE_NODES] = { "nodes", "node not allowed" },
	[HN_REFUSE_BUDGET] = { "budget", "migration budget used up" },
	[HN_REFUSE_STALL] = { "stall", "would take too long" },
	[HN_REFUSE_THREAD] = { "thread", "the thread is to come to it" },
	[HN_REFUSE_ROOM] = { "room", "node below its high watermark" },
	[HN_REFUSE_ONCE] = { "once", "only the first sample moves" },
	[HN_REFUSE_PLUGIN] = { "policy", "the plug-in policy said so" },
	[HN_REFUSE_COLD] = { "cold", "not hot enough to be promoted" },
	[HN_REFUSE_RATE] = { "rate", "as much as may be was promoted" },
	[HN_REFUSE_TIER] = { "tier", "the thread's node is a slow one" },
	[HN_REFUSE_LOW] = { "low", "no promotion to a node low on memory" },
	[HN_REFUSE_VERDICT] = { "policy_invalid", "the plug-in policy made no sense" },
};

const struct hn_name hn_failure_names[HN_NR_FAILURES] = {
	[HN_FAIL_TARGET] = { "target", "no huge page free there" },
	[HN_FAIL_ISOLATE] = { "isolate", "in use by a device or a child, split, or read-only" },
	[HN_FAIL_COPY] = { "copy", "could not be copied" },
	[HN_FAIL_COMMIT] = { "commit", "could not be put in place" },
	[HN_FAIL_STALL] = { "stall", "given up, kept a thread waiting too long" },
};

const struct hn_name hn_arm_error_names[HN_NR_ARM_ERRORS] = {
	[HN_ARM_BUSY] = { "busy", "in use by the kernel or a child" },
	[HN_ARM_INVALID] = { "invalid", "unlike other memory" },
	[HN_ARM_ABSENT] = { "absent", "gone or not huge" },
	[HN_ARM_EVENT] = { "event", "address space changing" },
	[HN_ARM_OTHER] = { "other", "other" },
};

const struct hn_name hn_disarm_names[HN_NR_DISARM_CAUSES] = {
	[HN_DISARM_FAULT] = { "fault", "touched" },
	[HN_DISARM_EXPIRY] = { "expiry", "not touched in time" },
	[HN_DISARM_EVENT] = { "event", "unmapped, dropped or moved" },
	[HN_DISARM_DRAIN] = { "drain", "fork, pause or stop" },
};

const struct hn_name hn_reason_names[HN_NR_REASONS] = {
	[HN_REASON_FIRST] = { "first", "first sample" },
	[HN_REASON_THREAD] = { "thread", "same thread twice" },
	[HN_REASON_NODE] = { "node", "same node twice" },
	[HN_REASON_MAJORITY] = { "majority", "shared, but not by its own node" },
	[HN_REASON_GROUP] = { "group", "its group of threads moved on" },
	[HN_REASON_SPREAD] = { "spread", "shared, spread" },
	[HN_REASON_HOT] = { "hot", "hot, on a slow node" },
	[HN_REASON_ROOM] = { "room", "on a slow node, room on the fast one" },
	[HN_REASON_BOUND] = { "bound", "the program wants it there" },
	[HN_REASON_TEST] = { "test", "a policy for tests" },
	[HN_REASON_PLUGIN] = { "policy", "the plug-in policy said so" },
};

const char *const hn_mover_names[2] = { [HN_MOVER_COPY] = "copy", [HN_MOVER_KERNEL] = "kernel" };

const char *const hn_shared_names[2] = { [HN_SHARED_LEAVE] = "leave", [HN_SHARED_SPREAD] = "spread" };
const char *const hn_arm_names[HN_NR_ARM_CHOICES] = {
	[HN_ARM_AUTO] = "auto",
	[HN_ARM_MOVE] = "move",
	[HN_ARM_RWP] = "rwp",
};

const char *const hn_initial_node_names[2] = {
	[HN_INITIAL_FIRST] = "first",
	[HN_INITIAL_INTERLEAVE] = "interleave",
};

static const struct hn_name mode_names[HN_NR_MODES] = {
	[HN_MODE_RUNNING] = { "running", "balancing" },
	[HN_MODE_PAUSED] = { "paused", "paused, every page is in place" },
	[HN_MODE_STOPPED] = { "stopped", "stopped, every page is in place and the kernel's again" },
};

const char *hn_mode_name(uint32_t mode) { return mode < HN_NR_MODES ? mode_names[mode].key : "?"; }

const char *hn_mode_done_text(uint32_t mode) { return mode < HN_NR_MODES ? mode_names[mode].text : "?"; }

const char *hn_outcome_name(uint32_t outcome)
{
	static const char *const name[HN_NR_OUTCOMES] = {
		[HN_FAULT_UNMANAGED] = "unmanaged", [HN_FAULT_STALE] = "stale",   [HN_FAULT_WAITED] = "waited",
		[HN_FAULT_DEFERRED] = "deferred",   [HN_FAULT_LOCAL] = "local",   [HN_FAULT_REFUSED] = "refused",
		[HN_FAULT_MIGRATED] = "migrated",   [HN_FAULT_FAILED] = "failed", [HN_FAULT_RACED] = "raced",
		[HN_FAULT_DEMOTED] = "demoted",
	};

	return outcome < HN_NR_OUTCOMES ? name[outcome] : "?";
}

const char *hn_reason_name(const struct hn_decision *d)
{
	if (d->outcome == HN_FAULT_REFUSED)
		return d->reason < HN_NR_REFUSALS ? hn_refusal_names[d->reason].key : "?";
	if (d->outcome == HN_FAULT_FAILED)
		return d->reason < HN_NR_FAILURES ? hn_failure_names[d->reason].key : "?";
	if (d->outcome == HN_FAULT_MIGRATED)
		return d->reason < HN_NR_REASONS ? hn_reason_names[d->reason].key : "?";
	return d->outcome == HN_FAULT_DEMOTED ? "cold" : NULL;
}
