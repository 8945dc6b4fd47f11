// SPDX-License-Identifier: MIT
/*
 * jail [kill,]RULE[,RULE...] PROGRAM...: run a program for which some system calls fail, or end it, by a seccomp filter.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"
#include "uapi/uapi.h"

#define NONE (-1l)

static const struct rule {
	const char *name;
	int call;
	long arg1; /* the call's second argument, or NONE: any */
	int err;
} rules[] = {
	{ "userfaultfd", SYS_userfaultfd, NONE, ENOSYS },
	{ "device", SYS_ioctl, HN_USERFAULTFD_IOC_NEW, EPERM },
	{ "api", SYS_ioctl, UFFDIO_API, EINVAL },
	{ "move", SYS_ioctl, (long)HN_UFFDIO_MOVE, EINVAL },
	{ "rwprotect", SYS_ioctl, (long)HN_UFFDIO_RWPROTECT, EINVAL },
	{ "register", SYS_ioctl, (long)UFFDIO_REGISTER, EPERM },
	{ "pagemap", SYS_ioctl, (long)HN_PAGEMAP_SCAN, ENOTTY },
	{ "close_range", SYS_close_range, NONE, ENOSYS },
	{ "timer", SYS_timer_create, NONE, EAGAIN },
	{ "robust", SYS_get_robust_list, NONE, ENOSYS },
	{ "queueinfo", SYS_rt_tgsigqueueinfo, NONE, EPERM },
	{ "mempolicy", SYS_set_mempolicy, NONE, EPERM },
	{ "move_pages", SYS_move_pages, NONE, EPERM },
	{ "mount", SYS_mount, NONE, EPERM },
};

static bool kills;

static const struct rule *find(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (strlen(rules[i].name) == len && !memcmp(rules[i].name, name, len))
			return &rules[i];
	return NULL;
}

/* What becomes of a call that is not allowed. */
static uint32_t verdict(const struct rule *r)
{
	return kills ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | (uint32_t)r->err;
}

static size_t emit(struct sock_filter *f, const struct rule *r)
{
	const struct sock_filter any[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)r->call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, verdict(r)),
	};
	const struct sock_filter one[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)r->call, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)r->arg1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, verdict(r)),
	};

	memcpy(f, r->arg1 == NONE ? any : one, r->arg1 == NONE ? sizeof(any) : sizeof(one));
	return r->arg1 == NONE ? 3 : 5;
}

int main(int argc, char **argv)
{
	struct sock_filter f[64];
	struct sock_fprog prog = { .filter = f };
	size_t n = 0;
	const char *p;

	CHECK(argc >= 3);
	for (p = argv[1]; *p; p += strcspn(p, ","), p += *p == ',') {
		const struct rule *r = find(p, strcspn(p, ","));

		if (!strncmp(p, "kill,", 5)) {
			kills = true;
			continue;
		}
		CHECK(r && n < 56);
		n += emit(f + n, r);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = (unsigned short)n;
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		live_skip("seccomp filters are not available");
	execvp(argv[2], argv + 2);
	CHECK(!"execvp");
	return 1;
}
