// SPDX-License-Identifier: MIT
/*
 * calls_user.c - calls that change the user or the namespaces of a process, wrapped: the agent is away for their time.
 * Program side.
 */
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <unistd.h>

#include "agent/agent.h"
#include "linux/sys.h"

/* ---- users ---- */

#define TYPES(...) __VA_ARGS__
#define EXPORTED __attribute__((visibility("default")))

/* Found at load: a program may come here in a signal handler, or in a child between fork and exec. */
static int (*real_setuid)(uid_t), (*real_setgid)(gid_t), (*real_seteuid)(uid_t), (*real_setegid)(gid_t);
static int (*real_setreuid)(uid_t, uid_t), (*real_setregid)(gid_t, gid_t);
static int (*real_setresuid)(uid_t, uid_t, uid_t), (*real_setresgid)(gid_t, gid_t, gid_t);
static int (*real_setgroups)(size_t, const gid_t *), (*real_initgroups)(const char *, gid_t);
static int (*real_setns)(int, int);

#define FIND(name, type) (real_##name = (int (*)(type))dlsym(RTLD_NEXT, #name))

void hn_user_load(void)
{
	FIND(setuid, uid_t);
	FIND(setgid, gid_t);
	FIND(seteuid, uid_t);
	FIND(setegid, gid_t);
	FIND(setreuid, TYPES(uid_t, uid_t));
	FIND(setregid, TYPES(gid_t, gid_t));
	FIND(setresuid, TYPES(uid_t, uid_t, uid_t));
	FIND(setresgid, TYPES(gid_t, gid_t, gid_t));
	FIND(setgroups, TYPES(size_t, const gid_t *));
	FIND(initgroups, TYPES(const char *, gid_t));
	FIND(setns, TYPES(int, int));
}

#define CHANGE(name, ...) \
	bool left = hn_agent_leave(); \
	int ret; \
	if (!real_##name) \
		hn_user_load(); \
	ret = real_##name(__VA_ARGS__); \
	hn_agent_come_back(left); \
	return ret

EXPORTED int setuid(uid_t uid) { CHANGE(setuid, uid); }
EXPORTED int setgid(gid_t gid) { CHANGE(setgid, gid); }
EXPORTED int seteuid(uid_t uid) { CHANGE(seteuid, uid); }
EXPORTED int setegid(gid_t gid) { CHANGE(setegid, gid); }
EXPORTED int setreuid(uid_t r, uid_t e) { CHANGE(setreuid, r, e); }
EXPORTED int setregid(gid_t r, gid_t e) { CHANGE(setregid, r, e); }
EXPORTED int setresuid(uid_t r, uid_t e, uid_t s) { CHANGE(setresuid, r, e, s); }
EXPORTED int setresgid(gid_t r, gid_t e, gid_t s) { CHANGE(setresgid, r, e, s); }
EXPORTED int setgroups(size_t n, const gid_t *g) { CHANGE(setgroups, n, g); }
EXPORTED int initgroups(const char *user, gid_t g) { CHANGE(initgroups, user, g); }

/* ---- namespaces ---- */

static int plain_unshare(int flags)
{
	long ret = HN_SYS(SYS_unshare, flags, 0, 0, 0, 0, 0);

	if (ret == 0)
		return 0;
	errno = (int)-ret;
	return -1;
}

EXPORTED int unshare(int flags)
{
	bool left = (flags & (CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)) && hn_agent_leave();
	int ret = plain_unshare(flags);

	hn_agent_come_back(left);
	return ret;
}

EXPORTED int setns(int fd, int type) { CHANGE(setns, fd, type); }
