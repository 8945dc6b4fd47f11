// SPDX-License-Identifier: MIT
#include "control/doctor.h"

#include "control/launch.h"
#include "control/machine.h"
#include "control/probe.h"
#include "control/proc.h"
#include "control/settings.h"
#include "control/shm.h"
#include "uapi/uapi.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define THP "/sys/kernel/mm/transparent_hugepage/"
#define NODES "/sys/devices/system/node"
#define MAX_MAP_COUNT 65530 /* the kernel's default */

const char *const hn_verdict_names[3] = { "ok", "warn", "FAIL" };

static const char *const kernel_mend =
	"run Linux 6.8 or newer, built with CONFIG_USERFAULTFD and CONFIG_TRANSPARENT_HUGEPAGE";

static struct hn_check *add(struct hn_doctor *d, enum hn_verdict verdict, const char *name, const char *meaning,
			    const char *mend, const char *found_fmt, ...) __attribute__((format(printf, 6, 7)));

static struct hn_check *add(struct hn_doctor *d, enum hn_verdict verdict, const char *name, const char *meaning,
			    const char *mend, const char *found_fmt, ...)
{
	/* past the end the last entry is overwritten: only the number of nodes is not bounded by this file */
	struct hn_check *c = &d->check[d->nr < HN_DOCTOR_MAX ? d->nr++ : HN_DOCTOR_MAX - 1];
	va_list args;

	c->verdict = verdict;
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->meaning = meaning;
	c->mend = verdict == HN_VERDICT_OK ? NULL : mend;
	va_start(args, found_fmt);
	vsnprintf(c->found, sizeof(c->found), found_fmt, args);
	va_end(args);
	return c;
}

static const char *error_text(int error)
{
	return error ? strerror(error) : "yes";
}

/* ---- the kernel ---- */

static void examine_kernel(struct hn_doctor *d)
{
	unsigned major = 0, minor = 0;
	struct utsname u;
	bool new_enough;

	if (uname(&u) != 0)
		memset(&u, 0, sizeof(u));
	new_enough = sscanf(u.release, "%u.%u", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 8));
	add(d, new_enough ? HN_VERDICT_OK : HN_VERDICT_FAIL, "kernel", "UFFDIO_MOVE came with Linux 6.8", kernel_mend,
	    "%s %s, %s", u.sysname, u.release, u.machine);
}

static void examine_permission(struct hn_doctor *d, const struct hn_uffd_probe *p)
{
	bool may = !p->device || !p->syscall;

	add(d, may ? HN_VERDICT_OK : HN_VERDICT_FAIL, "permission",
	    "system calls that touch an armed page must wait for it; that takes a userfaultfd for kernel faults",
	    "as root, one of: put KERNEL==\"userfaultfd\", MODE=\"0666\" (or GROUP=\"somegroup\", MODE=\"0660\") into "
	    "/etc/udev/rules.d/99-userfaultfd.rules and run `udevadm control --reload && udevadm trigger "
	    "--name-match=userfaultfd'; or sysctl vm.unprivileged_userfaultfd=1; or grant CAP_SYS_PTRACE. In a "
	    "container: pass the device /dev/userfaultfd in",
	    "/dev/userfaultfd: %s; userfaultfd(2): %s; for user faults only: %s; CAP_SYS_PTRACE: %s",
	    error_text(p->device), error_text(p->syscall), error_text(p->user_mode),
	    hn_probe_capability(CAP_SYS_PTRACE) ? "yes" : "no");
}

static void features_text(char *buf, size_t len, uint64_t features)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} known[] = {
		{ HN_UFFD_FEATURE_MOVE, "MOVE" },
		{ HN_UFFD_FEATURE_EVENT_REMAP, "EVENT_REMAP" },
		{ HN_UFFD_FEATURE_EVENT_REMOVE, "EVENT_REMOVE" },
		{ HN_UFFD_FEATURE_EVENT_UNMAP, "EVENT_UNMAP" },
		{ HN_UFFD_FEATURE_THREAD_ID, "THREAD_ID" },
		{ HN_UFFD_FEATURE_PAGEFAULT_FLAG_WP, "WP" },
	};
	size_t at = 0;

	buf[0] = 0;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && at < len; i++)
		at += (size_t)snprintf(buf + at, len - at, "%s%s %s", i ? ", " : "", known[i].name,
				       features & known[i].bit ? "yes" : "NO");
}

static void examine_features(struct hn_doctor *d, const struct hn_uffd_probe *p)
{
	char have[200];

	features_text(have, sizeof(have), p->features);
	if (p->api)
		add(d, HN_VERDICT_FAIL, "userfaultfd",
		    "without userfaultfd no page can be armed", "see `permission'; a seccomp filter may forbid it too",
		    "not available: %s", strerror(p->api));
	else
		add(d, p->needed ? HN_VERDICT_FAIL : HN_VERDICT_OK, "userfaultfd",
		    "pages are armed and migrated by MOVE, the events keep it right when the program changes its memory",
		    kernel_mend, "%s", have);
	add(d, p->fork ? HN_VERDICT_WARN : HN_VERDICT_OK, "fork event",
	    "without it, a program that forks behind the back of libc (a bare clone system call) is not safe to manage; "
	    "fork() is",
	    "grant CAP_SYS_PTRACE if the program does such a thing", "%s", p->fork ? strerror(p->fork) : "yes");
}

static void examine_arming(struct hn_doctor *d, const struct hn_uffd_probe *p)
{
	if (p->needed)
		return;
	if (p->rwp)
		add(d, HN_VERDICT_OK, "arming", "an armed page is moved aside; Linux 7.3 can protect it in place instead", NULL,
		    "move: UFFDIO_MOVE (UFFDIO_RWPROTECT: %s)",
		    p->rwp == EINVAL ? "not offered" : strerror(p->rwp));
	else
		add(d, HN_VERDICT_OK, "arming", "an armed page is protected in place, and moved only to migrate", NULL,
		    "rwp: UFFDIO_RWPROTECT");
}

static void move_text(const struct hn_move_probe *p, char *buf, size_t len)
{
	static const char *const step[] = {
		[HN_MOVE_DONE] = "one huge page moved out and back, content intact",
		[HN_MOVE_NO_CHILD] = "no process for the probe",
		[HN_MOVE_NO_ANSWER] = "the probe hung or died",
		[HN_MOVE_NO_UFFD] = "no userfaultfd with MOVE",
		[HN_MOVE_NO_MEMORY] = "no memory for the probe",
		[HN_MOVE_NO_SCAN] = "PAGEMAP_SCAN failed",
		[HN_MOVE_NOT_HUGE] = "the kernel gave no huge page to try it with",
		[HN_MOVE_REGISTER] = "UFFDIO_REGISTER failed",
		[HN_MOVE_OUT] = "UFFDIO_MOVE failed",
		[HN_MOVE_BACK] = "UFFDIO_MOVE back failed",
		[HN_MOVE_CONTENT] = "the page came back changed or split",
	};

	snprintf(buf, len, "%s%s%s", step[p->step], p->error ? ": " : "", p->error ? strerror(p->error) : "");
}

static void examine_move(struct hn_doctor *d)
{
	struct hn_move_probe p;
	char text[200];

	hn_probe_move(&p);
	move_text(&p, text, sizeof(text));
	add(d, p.step == HN_MOVE_DONE ? HN_VERDICT_OK : HN_VERDICT_FAIL, "move",
	    "tried for real, in the doctor's own memory",
	    p.step == HN_MOVE_NOT_HUGE ? "free memory or allow huge pages (see `huge pages'), then ask again" :
					 kernel_mend,
	    "%s", text);
}

static void examine_calls(struct hn_doctor *d)
{
	int scan = hn_probe_pagemap_scan(), range = hn_probe_close_range(), policy = hn_probe_mempolicy();

	add(d, scan ? HN_VERDICT_FAIL : HN_VERDICT_OK, "pagemap scan", "huge pages are found by PAGEMAP_SCAN (Linux 6.7)",
	    kernel_mend, "%s", error_text(scan));
	add(d, range ? HN_VERDICT_FAIL : HN_VERDICT_OK, "close_range",
	    "the agent keeps its descriptors in a table of its own, out of the program's reach",
	    "allow close_range(2) in the seccomp filter", "%s", error_text(range));
	add(d, policy ? HN_VERDICT_WARN : HN_VERDICT_OK, "memory policy",
	    "pages are put on real nodes by mbind(2); virtual nodes do without",
	    "in a container: grant CAP_SYS_NICE, or allow get_mempolicy, set_mempolicy and mbind in the seccomp filter",
	    "%s", error_text(policy));
}

/* ---- huge pages ---- */

/* "always [madvise] never" -> "madvise" */
static void selected_word(const char *path, char *buf, unsigned len)
{
	char text[128];
	char *start, *end;

	buf[0] = 0;
	if (hn_read_text(path, text, sizeof(text)) != 0)
		return;
	start = strchr(text, '[');
	end = start ? strchr(start, ']') : NULL;
	if (!end)
		return;
	*end = 0;
	snprintf(buf, len, "%s", start + 1);
}

/* The setting for 2 MiB pages; kernels that have one per size let it override the general one. */
static void thp_enabled(char *buf, unsigned len)
{
	selected_word(THP "hugepages-2048kB/enabled", buf, len);
	if (!buf[0] || strcmp(buf, "inherit") == 0)
		selected_word(THP "enabled", buf, len);
}

static void examine_thp(struct hn_doctor *d)
{
	char enabled[16], defrag[16], size[32];
	const char *meaning = "programs get huge pages without asking";
	enum hn_verdict verdict = HN_VERDICT_OK;

	thp_enabled(enabled, sizeof(enabled));
	selected_word(THP "defrag", defrag, sizeof(defrag));
	hn_read_text(THP "hpage_pmd_size", size, sizeof(size));
	if (strcmp(enabled, "madvise") == 0) {
		verdict = HN_VERDICT_WARN;
		meaning = "a program gets huge pages only where it asks for them with madvise(MADV_HUGEPAGE)";
	} else if (strcmp(enabled, "always") != 0) {
		verdict = HN_VERDICT_FAIL;
		meaning = "no program gets huge pages, and only huge pages are managed";
	}
	add(d, verdict, "huge pages", meaning,
	    "as root: echo always > " THP "enabled. Or make the program ask: GLIBC_TUNABLES=glibc.malloc.hugetlb=1 "
	    "(malloc of glibc 2.35 or newer), MALLOC_CONF=thp:always (jemalloc); redis also needs `disable-thp no'",
	    "enabled: %s, defrag: %s", enabled[0] ? enabled : "not there", defrag[0] ? defrag : "not there");
	if (strtoull(size, NULL, 10) != HN_PAGE_SIZE)
		add(d, HN_VERDICT_FAIL, "huge page size", "only huge pages of 2 MiB are managed",
		    "a kernel with 4 KiB base pages", "%s bytes", size[0] ? size : "unknown");
	add(d, hn_probe_thp_disabled() ? HN_VERDICT_FAIL : HN_VERDICT_OK, "thp disable",
	    "a process can switch huge pages off for itself and its children (PR_SET_THP_DISABLE)",
	    "start from a shell whose parents have not done so (systemd: not with a service that disables them)", "%s",
	    hn_probe_thp_disabled() ? "huge pages are switched off for this process" : "not set");
}

/* ---- nodes ---- */

/* "Node 0 MemTotal:  8000 kB" -> MiB */
static uint64_t meminfo_mib(const char *text, const char *key)
{
	const char *at = strstr(text, key);
	uint64_t kib;

	return at && sscanf(at + strlen(key), ": %" SCNu64, &kib) == 1 ? kib / 1024 : 0;
}

static void examine_node(struct hn_doctor *d, unsigned node)
{
	char path[96], text[2048], cpus[128], name[24];

	snprintf(path, sizeof(path), NODES "/node%u/meminfo", node);
	if (hn_read_text(path, text, sizeof(text)) != 0)
		return;
	snprintf(path, sizeof(path), NODES "/node%u/cpulist", node);
	hn_read_text(path, cpus, sizeof(cpus));
	snprintf(name, sizeof(name), "node %u", node);
	add(d, HN_VERDICT_OK, name, NULL, NULL, "CPUs %s, %" PRIu64 " of %" PRIu64 " MiB free", cpus[0] ? cpus : "none",
	    meminfo_mib(text, "MemFree"), meminfo_mib(text, "MemTotal"));
}

static unsigned examine_nodes(struct hn_doctor *d)
{
	struct hn_machine *m = malloc(sizeof(*m));
	unsigned real = 0;
	char err[512] = "out of memory";

	if (!m || hn_machine_build(m, NULL, &real, err, sizeof(err)) != 0)
		add(d, HN_VERDICT_FAIL, "nodes", "the NUMA nodes must be known", "see the message", "%s", err);
	else if (real > 1)
		add(d, HN_VERDICT_OK, "nodes", "pages are balanced over these", NULL, "%u real NUMA nodes", real);
	else
		add(d, HN_VERDICT_OK, "nodes",
		    "nothing is far away here: `run' balances over virtual nodes, to try things out (--topology)", NULL,
		    "1 real NUMA node, %" PRIu32 " virtual nodes", m->nr_nodes);
	free(m);
	for (unsigned node = 0; node < HN_MAX_NODES; node++)
		examine_node(d, node);
	return real;
}

static void examine_kernel_balancing(struct hn_doctor *d, unsigned real_nodes)
{
	char text[16];
	bool on = hn_read_text("/proc/sys/kernel/numa_balancing", text, sizeof(text)) == 0 && atoi(text) != 0;
	const char *meaning = "nothing else moves pages";

	if (on && real_nodes > 1)
		meaning = "`run' gives what it manages the policy MPOL_LOCAL, which keeps the kernel's balancing off it; the rest of a "
			  "program is the kernel's";
	else if (on)
		meaning = "the kernel's balancing costs faults and, with one node, has nothing to gain";
	add(d, HN_VERDICT_OK, "kernel balancing", meaning, NULL, "kernel.numa_balancing = %s",
	    text[0] ? text : "not there");
}

/* ---- around the program ---- */

static void examine_map_count(struct hn_doctor *d)
{
	char text[32];
	unsigned long long count;

	hn_read_text("/proc/sys/vm/max_map_count", text, sizeof(text));
	count = strtoull(text, NULL, 10);
	add(d, count < MAX_MAP_COUNT ? HN_VERDICT_WARN : HN_VERDICT_OK, "map count",
	    "registering memory can split mappings; a program near the limit is left alone",
	    "sysctl vm.max_map_count=65530",
	    "vm.max_map_count = %s", text[0] ? text : "unknown");
}

static void examine_agent(struct hn_doctor *d)
{
	char path[PATH_MAX], err[PATH_MAX + 128];
	int res = hn_agent_find(path, sizeof(path), err, sizeof(err));

	add(d, res ? HN_VERDICT_FAIL : HN_VERDICT_OK, "agent library", "loaded into the program by LD_PRELOAD",
	    "install hugenuma, or let HUGENUMA_AGENT name libhugenuma-agent.so", "%s", res ? err : path);
}

static void examine_run_dir(struct hn_doctor *d, const struct hn_machine *m)
{
	struct hn_config config;
	struct hn_run_dir dir;
	char err[1024];
	int res;

	hn_config_defaults(&config);
	res = hn_run_dir_create(&dir, &config, m, err, sizeof(err));
	add(d, res ? HN_VERDICT_FAIL : HN_VERDICT_OK, "shared memory", "where the agents put what they count",
	    "make /dev/shm writable and free some of it, or set XDG_RUNTIME_DIR", "%s",
	    res ? err : "a run's directory can be made");
	if (!res)
		hn_run_dir_close(&dir, true);
}

void hn_doctor_examine(struct hn_doctor *d)
{
	static const struct hn_machine no_machine;
	struct hn_uffd_probe uffd;

	memset(d, 0, sizeof(*d));
	hn_probe_uffd(&uffd);
	examine_kernel(d);
	examine_permission(d, &uffd);
	examine_features(d, &uffd);
	examine_arming(d, &uffd);
	examine_move(d);
	examine_calls(d);
	examine_thp(d);
	examine_kernel_balancing(d, examine_nodes(d));
	examine_map_count(d);
	examine_agent(d);
	examine_run_dir(d, &no_machine);
}

bool hn_doctor_would_manage(const struct hn_doctor *d)
{
	for (unsigned i = 0; i < d->nr; i++)
		if (d->check[i].verdict == HN_VERDICT_FAIL)
			return false;
	return true;
}
