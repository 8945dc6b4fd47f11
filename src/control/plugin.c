// SPDX-License-Identifier: MIT
#include "control/plugin.h"

#include "agent/layout.h"
#include "control/say.h"
#include "core/policy.h"
#include "hugenuma/policy.h"

#include <asm/prctl.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 5u /* for all questions together; an agent's threads would hang */

const char *hn_plugin_dir(void)
{
	const char *dir = getenv("HUGENUMA_POLICIES");

	return dir && *dir ? dir : HN_POLICY_DIR;
}

bool hn_plugin_path(const char *text, char *path, size_t len)
{
	char named[PATH_MAX], whole[PATH_MAX];
	int n;

	if (!*text)
		return false;
	if (strchr(text, '/'))
		n = snprintf(named, sizeof(named), "%s", text);
	else
		n = snprintf(named, sizeof(named), "%s/%s.so", hn_plugin_dir(), text);
	if (n < 0 || (size_t)n >= sizeof(named))
		return false;
	if (!realpath(named, whole)) {
		if (!strchr(text, '/'))
			return false;
		strcpy(whole, named);
	}
	if (strlen(whole) >= len)
		return false;
	strcpy(path, whole);
	return true;
}

/* ---- the trial; in a child ---- */

static long raw(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return ret;
}

static void ask(const struct hugenuma_policy *p, uint32_t i)
{
	struct hugenuma_answer answer = { HUGENUMA_NO_NODE, 0 };
	struct hugenuma_fault f = {
		.size = sizeof(f),
		.nr_nodes = 2,
		.address = (uint64_t)i << HN_PAGE_SHIFT,
		.allowed = 3,
		.page_node = (int32_t)(i & 1),
		.thread_node = (int32_t)(i >> 1 & 1),
		.nr_samples = (uint8_t)(i % (HUGENUMA_SAMPLES + 1)),
	};

	for (uint32_t k = 0; k < HUGENUMA_SAMPLES; k++)
		f.sample_node[k] = k < f.nr_samples ? (int8_t)(i >> 2 & 1) : HUGENUMA_NO_NODE;
	p->judge(&f, &answer);
}

/* Where the agent's threads have theirs: zeros, but for the pointer to itself. */
static uintptr_t thread_block[4096] __attribute__((aligned(64)));

/* From here on this thread has no libc, as those that will ask have none. */
__attribute__((noreturn)) static void ask_without_libc(const struct hugenuma_policy *p)
{
	uintptr_t *self = &thread_block[2048];

	self[0] = self[2] = (uintptr_t)self;
	raw(SYS_arch_prctl, ARCH_SET_FS, (long)self, 0);
	for (uint32_t i = 0; i < 64; i++)
		ask(p, i);
	for (;;)
		raw(SYS_exit_group, 0, 0, 0);
}

static void tell(int fd, const char *text)
{
	ssize_t n = write(fd, text, strlen(text));

	_exit(n < 0 ? 2 : 1);
}

static void trial(const char *path, int fd)
{
	const struct rlimit no_core = { 0, 0 };
	const struct hugenuma_policy *p;
	const char *why;
	sigset_t alarms;
	void *object;

	/* a crash is an answer */
	setrlimit(RLIMIT_CORE, &no_core);
	signal(SIGALRM, SIG_DFL);
	/* what else has been blocked is for who tries it: how that ends is not what the policy has done */
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarms, NULL);
	alarm(PATIENCE_S);
	object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!object) {
		why = dlerror();
		/* the loader begins with the path, which is there already */
		if (strncmp(why, path, strlen(path)) == 0 && strncmp(why + strlen(path), ": ", 2) == 0)
			why += strlen(path) + 2;
		tell(fd, why);
	}
	p = dlsym(object, HUGENUMA_POLICY_SYMBOL);
	if (!p)
		tell(fd, "it exports no " HUGENUMA_POLICY_SYMBOL ", expected the struct of hugenuma/policy.h");
	why = hn_plugin_defect(p);
	if (why)
		tell(fd, why);
	ask_without_libc(p);
}

/* ---- the trial; from outside ---- */

static int verdict(const char *path, const char *told, int status, char *err, size_t err_len)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (*told)
		hn_set_error(err, err_len, "policy %s: %s", path, told);
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		hn_set_error(err, err_len, "policy %s: it did not answer within %u s", path, PATIENCE_S);
	else if (WIFSIGNALED(status))
		hn_set_error(err, err_len,
			     "policy %s: it crashed when it was asked (%s), expected a judge that needs no libc and no "
			     "thread-local variables",
			     path, strsignal(WTERMSIG(status)));
	else
		hn_set_error(err, err_len, "policy %s: it ended the process that tried it (status %d)", path,
			     WEXITSTATUS(status));
	return -1;
}

static int look_at_file(const char *path, char *err, size_t err_len)
{
	const char *defect;
	struct stat st;

	if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
		hn_set_error(err, err_len, "policy %s: cannot be read: %s", path, strerror(errno));
		return -1;
	}
	defect = hn_plugin_file_defect(st.st_mode, st.st_uid, geteuid());
	if (defect)
		hn_set_error(err, err_len, "policy %s: %s", path, defect);
	return defect ? -1 : 0;
}

int hn_plugin_try(const char *path, char *err, size_t err_len)
{
	char told[512] = "";
	size_t at = 0;
	ssize_t n;
	pid_t pid;
	int fds[2], status = 0;

	if (look_at_file(path, err, err_len) != 0)
		return -1;
	if (pipe2(fds, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
		hn_set_error(err, err_len, "policy %s: cannot be tried: %s", path, strerror(errno));
		return -1;
	}
	if (pid == 0) {
		trial(path, fds[1]);
		_exit(2);
	}
	close(fds[1]);
	while (at + 1 < sizeof(told) && ((n = read(fds[0], told + at, sizeof(told) - 1 - at)) > 0 || (n < 0 && errno == EINTR)))
		at += n > 0 ? (size_t)n : 0;
	close(fds[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return verdict(path, told, status, err, err_len);
}
