// SPDX-License-Identifier: MIT
/*
 * text.c - version, errors in words, and what the machine can do.
 */
#include <errno.h>
#include <string.h>

#include "control/probe.h"
#include "control/proc.h"
#include "control/version.h"
#include "lib/lib.h"

int hn_lib_text(char *to, size_t len, const char *text)
{
	size_t n = strnlen(text, 1024);

	if (to && len) {
		size_t some = n < len ? n : len - 1;

		memcpy(to, text, some);
		to[some] = '\0';
	}
	return to && n < len ? 0 : -ENOSPC;
}

EXPORT const char *hugenuma_version(void) { return HN_VERSION; }

EXPORT const char *hugenuma_strerror(int err)
{
	switch (err < 0 ? -err : err) {
	case 0: return "no error";
	case EALREADY: return "this process is being managed already";
	case EBUSY: return "this setting cannot be changed while the process is managed";
	case ECANCELED: return "somebody has ordered otherwise meanwhile";
	case EINVAL: return "an argument is out of range, or a struct's size field is not set";
	case EIO: return "the agent cannot manage this process; hugenuma_message() tells why";
	case ENODATA: return "there is no record of decisions: no room for one in /dev/shm";
	case ENODEV: return "this machine has one NUMA node";
	case ENOENT: return "there is no setting of this name";
	case ENOMEM: return "out of memory";
	case ENOSPC: return "no room: in /dev/shm, in the table of ranges, or in the caller's buffer";
	case ENOTSUP: return "this kernel lacks something, or huge pages are switched off";
	case EPERM:
	case EACCES: return "no permission, for userfaultfd as a rule; `hugenuma doctor' tells how to grant it";
	case EPROTO: return "this process was started by hugenuma of another version";
	case ESRCH: return "nothing is managed in this process";
	case ETIMEDOUT: return "the agent has not answered in time";
	default: return "unexpected error of the system";
	}
}

static int verdict(const struct hn_uffd_probe *p, const char **why)
{
	struct hn_machine m;
	char text[128];

	*why = "";
	if (p->device && p->syscall) {
		*why = p->syscall == ENOSYS ? "this kernel has no userfaultfd" :
					      "no permission for a userfaultfd that serves the kernel's own faults";
		return p->syscall == ENOSYS ? -ENOTSUP : -EPERM;
	}
	if (p->needed) {
		*why = "this kernel's userfaultfd lacks UFFDIO_MOVE or its events (Linux 6.8 or later is needed)";
		return -ENOTSUP;
	}
	if (hn_probe_pagemap_scan()) {
		*why = "this kernel lacks PAGEMAP_SCAN (Linux 6.7 or later is needed), or /proc is not mounted";
		return -ENOTSUP;
	}
	if (hn_read_text("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text)) || strstr(text, "[never]")) {
		*why = "transparent huge pages are switched off (/sys/kernel/mm/transparent_hugepage/enabled)";
		return -ENOTSUP;
	}
	if (hn_lib_nodes(&m, 0)) {
		*why = "this machine has one NUMA node";
		return -ENODEV;
	}
	return 0;
}

EXPORT int hugenuma_can_manage(char *why, size_t len)
{
	struct hn_uffd_probe p;
	const char *text;
	int err;

	hn_probe_uffd(&p);
	err = verdict(&p, &text);
	hn_lib_text(why, len, text);
	return err;
}
