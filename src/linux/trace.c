// SPDX-License-Identifier: MIT
/*
 * trace.c - the probes of provider "hugenuma": a nop each until a tracer puts a breakpoint there, and a note in the file
 * that says where its arguments are (docs/tracing.md). Without <sys/sdt.h> at build time there are none.
 *
 * Arguments are numbers that are at hand anyway, six at most, because bpftrace reads no more.
 */
#include "linux/live.h"

#if HN_TRACING
#include <sys/sdt.h>
#else
#define STAP_PROBE2(provider, name, ...) ((void)0)
#define STAP_PROBE4 STAP_PROBE2
#define STAP_PROBE5 STAP_PROBE2
#define STAP_PROBE6 STAP_PROBE2
#endif

/* HN_NR_ARM_ERRORS: none. */
void hn_trace_arm(hn_addr haddr, uint32_t wanted, uint32_t armed, enum hn_arm_error why)
{
	uint32_t error = armed < wanted ? why : HN_NR_ARM_ERRORS;

	(void)haddr;
	(void)error;
	STAP_PROBE4(hugenuma, arm, haddr, wanted, armed, error);
}

void hn_trace_fault(hn_addr addr, uint32_t tid)
{
	(void)addr;
	(void)tid;
	STAP_PROBE2(hugenuma, fault, addr, tid);
}

void hn_trace_disarm(void *be, hn_addr haddr, enum hn_disarm_cause cause)
{
	(void)be;
	(void)haddr;
	(void)cause;
	STAP_PROBE2(hugenuma, disarm, haddr, (uint32_t)cause);
}

void hn_trace_migrate_start(void *be, hn_addr haddr, uint32_t tid, const struct hn_verdict *v)
{
	(void)be;
	(void)haddr;
	(void)tid;
	(void)v;
	STAP_PROBE5(hugenuma, migrate_start, haddr, tid, v->from_nid, v->target_nid, (uint32_t)v->reason);
}

void hn_trace_migrate_end(void *be, hn_addr haddr, uint32_t tid, const struct hn_verdict *v, enum hn_outcome out)
{
	(void)be;
	(void)haddr;
	(void)tid;
	(void)v;
	(void)out;
	STAP_PROBE6(hugenuma, migrate_end, haddr, tid, v->from_nid, v->target_nid, (uint32_t)out, (uint32_t)v->failure);
}

void hn_trace_verdict(void *be, const struct hn_decision *d)
{
	(void)be;
	(void)d;
	STAP_PROBE6(hugenuma, verdict, d->haddr, d->tid, (int)d->thread_nid, (int)d->from_nid, (uint32_t)d->outcome,
		    (uint32_t)d->reason);
	STAP_PROBE4(hugenuma, served, d->haddr, d->tid, (uint32_t)d->outcome, d->service_ns);
}
