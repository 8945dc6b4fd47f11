// SPDX-License-Identifier: MIT
#include "control/launch.h"

#include "agent/layout.h"
#include "control/run.h"
#include "control/say.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AGENT_NAME "libhugenuma-agent.so"

/* ---- the agent library ---- */

static bool agent_usable(const char *path, char *buf, size_t len)
{
	char resolved[PATH_MAX];

	if (access(path, R_OK) != 0 || !realpath(path, resolved) || strlen(resolved) >= len)
		return false;
	strcpy(buf, resolved);
	return true;
}

static bool agent_beside_us(char *buf, size_t len)
{
	char exe[PATH_MAX], path[PATH_MAX + sizeof(AGENT_NAME)];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (n <= 0)
		return false;
	exe[n] = 0;
	slash = strrchr(exe, '/');
	if (!slash)
		return false;
	*slash = 0;
	snprintf(path, sizeof(path), "%s/" AGENT_NAME, exe);
	return agent_usable(path, buf, len);
}

static bool agent_installed(char *buf, size_t len)
{
#ifdef HN_AGENT_PATH
	return agent_usable(HN_AGENT_PATH, buf, len);
#else
	(void)buf;
	(void)len;
	return false;
#endif
}

int hn_agent_find(char *buf, size_t len, char *err, size_t err_len)
{
	const char *wanted = getenv("HUGENUMA_AGENT");

	if (wanted && *wanted) {
		if (!agent_usable(wanted, buf, len)) {
			hn_set_error(err, err_len, "HUGENUMA_AGENT: cannot read %s: %s", wanted, strerror(errno));
			return -1;
		}
	} else if (!agent_beside_us(buf, len) && !agent_installed(buf, len)) {
		hn_set_error(err, err_len, "cannot find " AGENT_NAME
					   " beside this program or where it was installed; set HUGENUMA_AGENT");
		return -1;
	}
	/* LD_PRELOAD separates by these two and has no way to quote them. */
	if (strpbrk(buf, " :")) {
		hn_set_error(err, err_len, "%s: LD_PRELOAD cannot hold a path with a space or a colon", buf);
		return -1;
	}
	return 0;
}

/* ---- signals ---- */

/* What is done with a signal as long as we have something to clean up, or a child. */
enum taken {
	NOT_TAKEN,
	TAKEN_WAITED, /* blocked, for hn_child_wait */
	TAKEN_NOTED,  /* by a handler until there is a child, then blocked and waited for as well: see hn_child_start */
	TAKEN_IGNORED,
};

/* Those that somebody may send to a program with a meaning of the program's, and those that would end us half-way. */
static enum taken signal_taken(int sig)
{
	switch (sig) {
	case SIGCHLD:
	case SIGTERM:
	case SIGHUP:
	case SIGUSR1:
	case SIGUSR2:
	case SIGALRM:
	case SIGPWR:
	case SIGWINCH:
		return TAKEN_WAITED;
	case SIGINT:
	case SIGQUIT:
		return TAKEN_NOTED;
	case SIGPIPE:
	case SIGXFSZ:
		return TAKEN_IGNORED;
	default:
		return sig >= SIGRTMIN && sig <= SIGRTMAX ? TAKEN_WAITED : NOT_TAKEN;
	}
}

/* What the terminal sends, it sends to the whole foreground group, the program included. */
static bool signal_of_terminal(int sig)
{
	return sig == SIGINT || sig == SIGQUIT || sig == SIGHUP || sig == SIGWINCH;
}

#define NOTED_CAME 1
#define NOTED_SENT 2 /* by a process: perhaps to us alone */

/* Signal dispositions belong to the process, so does what they were. */
static struct sigaction saved_action[NSIG];
static sigset_t saved_mask, waited_mask, noted_mask;
static volatile sig_atomic_t noted[NSIG];

static void on_noted(int sig, siginfo_t *info, void *context)
{
	(void)context;
	noted[sig] |= info->si_code == SI_KERNEL ? NOTED_CAME : NOTED_CAME | NOTED_SENT;
}

/*
 * What was ignored stays so (nohup, a background job of a shell), but for SIGCHLD, where "ignore" would lose the exit
 * status. What is waited for is so all the same: the program may have changed its mind.
 */
static void signal_take(int sig, enum taken how)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN}, plain = {.sa_handler = SIG_DFL};
	struct sigaction note = {.sa_sigaction = on_noted, .sa_flags = SA_RESTART | SA_SIGINFO};

	sigaction(sig, NULL, &saved_action[sig]);
	if (how == TAKEN_WAITED)
		sigaddset(&waited_mask, sig);
	if (sig == SIGCHLD)
		sigaction(sig, &plain, NULL);
	if (how == TAKEN_IGNORED)
		sigaction(sig, &ignore, NULL);
	if (how == TAKEN_NOTED) {
		sigaddset(&noted_mask, sig);
		if (saved_action[sig].sa_handler != SIG_IGN)
			sigaction(sig, &note, NULL);
	}
}

void hn_signals_take(void)
{
	sigemptyset(&waited_mask);
	sigemptyset(&noted_mask);
	for (int sig = 1; sig < NSIG; sig++)
		if (signal_taken(sig) != NOT_TAKEN)
			signal_take(sig, signal_taken(sig));
	sigprocmask(SIG_BLOCK, &waited_mask, &saved_mask);
}

static bool signal_ends_us(int sig)
{
	return signal_taken(sig) != NOT_TAKEN && sig != SIGCHLD && sig != SIGWINCH &&
	       saved_action[sig].sa_handler != SIG_IGN && !sigismember(&saved_mask, sig);
}

int hn_signals_early(void)
{
	sigset_t pending;

	sigemptyset(&pending);
	sigpending(&pending);
	for (int sig = 1; sig < NSIG; sig++)
		if (signal_ends_us(sig) && (noted[sig] || sigismember(&pending, sig)))
			return sig;
	return 0;
}

/*
 * In the child. What is sent to the group once there are two of us, the child gets itself; what we had noted by then is in
 * its memory, and what it notes itself up to here has had no effect either: both take it now. The kernel lets a fork be
 * before or after such a signal, never in the middle of it.
 */
static void signals_give_back(void)
{
	sigprocmask(SIG_BLOCK, &noted_mask, NULL);
	for (int sig = 1; sig < NSIG; sig++)
		if (signal_taken(sig) != NOT_TAKEN)
			sigaction(sig, &saved_action[sig], NULL);
	for (int sig = 1; sig < NSIG; sig++)
		if (noted[sig])
			kill(getpid(), sig);
	sigprocmask(SIG_SETMASK, &saved_mask, NULL);
}

/*
 * In the parent, right after the fork: from now on all are waited for. What a process has sent to us until here may have
 * come after the fork, and then the child does not know of it. The child is not the program yet and has blocked what is
 * pending here: where it has got it as well, the two are one, or the first ends it.
 */
static void signals_wait_for_all(pid_t child)
{
	struct timespec at_once = { 0 };
	int pending;

	for (int sig = 1; sig < NSIG; sig++)
		if (sigismember(&noted_mask, sig) == 1)
			sigaddset(&waited_mask, sig);
	sigprocmask(SIG_BLOCK, &noted_mask, NULL);
	for (int sig = 1; sig < NSIG; sig++)
		if (noted[sig] & NOTED_SENT)
			kill(child, sig);
	while ((pending = sigtimedwait(&waited_mask, NULL, &at_once)) > 0)
		if (pending != SIGCHLD)
			kill(child, pending);
}

/* As the leader of a session we alone are told by the kernel that the terminal has hung up. */
static bool signal_is_for_program(const siginfo_t *info, pid_t program)
{
	int sig = info->si_signo;

	if (sig == SIGCHLD)
		return false;
	if (info->si_code == SI_KERNEL)
		return !signal_of_terminal(sig) || (sig == SIGHUP && getsid(0) == getpid());
	return info->si_pid != program; /* it sends to its group: it has had it */
}

static void signal_pass_on(const siginfo_t *info, pid_t program)
{
	if (info->si_code == SI_QUEUE)
		sigqueue(program, info->si_signo, info->si_value);
	else
		kill(program, info->si_signo);
}

void hn_signal_die(int sig)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };
	sigset_t only;

	prctl(PR_SET_DUMPABLE, 0);
	sigaction(sig, &plain, NULL);
	sigemptyset(&only);
	sigaddset(&only, sig);
	kill(getpid(), sig);
	sigprocmask(SIG_UNBLOCK, &only, NULL);
}

void hn_signals_hold(const int *sig, size_t nr, sigset_t *held)
{
	struct sigaction now;

	sigemptyset(held);
	for (size_t i = 0; i < nr; i++)
		if (sigaction(sig[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			sigaddset(held, sig[i]);
	sigprocmask(SIG_BLOCK, held, NULL);
}

/* ---- the child ---- */

static bool preload_has(const char *list, const char *agent)
{
	size_t len = strlen(agent);

	for (const char *p = list; *p; p += strcspn(p, " :")) {
		p += strspn(p, " :");
		if (strcspn(p, " :") == len && strncmp(p, agent, len) == 0)
			return true;
	}
	return false;
}

/* Where it says that something is for the process `us`, let it be for this one. Returns whether it did, or -errno. */
static int child_inherits(const char *name, pid_t us)
{
	const char *value = getenv(name);
	char number[16], ours[16];

	snprintf(ours, sizeof(ours), "%d", (int)us);
	if (!value || strcmp(value, ours) != 0)
		return 0;
	snprintf(number, sizeof(number), "%d", (int)getpid());
	return setenv(name, number, 1) ? -errno : 1;
}

/* What a service manager meant for the process that it started: sd_watchdog_enabled(3), sd_listen_fds(3). */
static int child_service_environment(pid_t us)
{
	int watchdog = child_inherits("WATCHDOG_PID", us), sockets = child_inherits("LISTEN_PID", us);

	if (sockets > 0)
		unsetenv("LISTEN_PIDFDID"); /* ours by another name; it may be left out */
	return watchdog < 0 ? watchdog : sockets < 0 ? sockets : 0;
}

/* Returns 0 or -errno. */
static int child_environment(const struct hn_launch *l, pid_t us)
{
	const char *preload = getenv("LD_PRELOAD");
	char *value;
	int err = child_service_environment(us);

	if (err)
		return err;
	if (setenv(HN_SHM_ENV, l->shm_path, 1) != 0)
		return -errno;
	if (!preload || !*preload)
		return setenv("LD_PRELOAD", l->agent, 1) ? -errno : 0;
	if (preload_has(preload, l->agent))
		return 0;
	if (asprintf(&value, "%s:%s", l->agent, preload) < 0)
		return -ENOMEM;
	err = setenv("LD_PRELOAD", value, 1) ? -errno : 0;
	free(value);
	return err;
}

/* The pipes between us and the child. All are closed by exec. */
struct pipes {
	int error[2]; /* from the child: why there was no exec */
	int go[2];    /* to the child: closed by us when it has got what signals had come */
};

static int pipes_open(struct pipes *p)
{
	int err;

	if (pipe2(p->error, O_CLOEXEC) != 0)
		return -errno;
	if (pipe2(p->go, O_CLOEXEC) == 0)
		return 0;
	err = -errno;
	close(p->error[0]);
	close(p->error[1]);
	return err;
}

static void child_main(const struct hn_launch *l, pid_t us, const struct pipes *p) __attribute__((noreturn));

static void child_main(const struct hn_launch *l, pid_t us, const struct pipes *p)
{
	int err = -child_environment(l, us);
	char nothing;

	close(p->go[1]);
	while (read(p->go[0], &nothing, 1) < 0 && errno == EINTR)
		;
	if (!err) {
		signals_give_back();
		execvp(l->argv[0], l->argv);
		err = errno;
	}
	/* what the parent reads decides, not this status */
	_exit(write(p->error[1], &err, sizeof(err)) == sizeof(err) ? HUGENUMA_EXIT_CANNOT_EXECUTE : HUGENUMA_EXIT_FAILED);
}

static int read_exec_errno(int fd)
{
	int err = 0;
	ssize_t n;

	do
		n = read(fd, &err, sizeof(err));
	while (n < 0 && errno == EINTR);
	return n == sizeof(err) ? err : 0; /* end of file: closed by a successful exec */
}

int hn_child_start(struct hn_child *c, const struct hn_launch *l)
{
	pid_t us = getpid();
	struct pipes p;
	int err;

	memset(c, 0, sizeof(*c));
	err = pipes_open(&p);
	if (err)
		return err;
	c->pid = fork();
	err = c->pid < 0 ? -errno : 0;
	if (c->pid == 0)
		child_main(l, us, &p);
	if (!err)
		signals_wait_for_all(c->pid);
	close(p.go[0]);
	close(p.go[1]);
	close(p.error[1]);
	if (!err)
		c->exec_errno = read_exec_errno(p.error[0]);
	close(p.error[0]);
	return err;
}

/* As the first process of a container we get the orphans of all others, and nobody else would take them away. */
static void child_reap(struct hn_child *c)
{
	pid_t which = getpid() == 1 ? -1 : c->pid, pid;
	int status;

	while ((pid = waitpid(which, &status, WNOHANG)) > 0) {
		if (pid != c->pid)
			continue;
		c->ended = true;
		c->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
		c->status = WIFSIGNALED(status) ? HN_EXIT_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
	}
}

void hn_child_wait(struct hn_child *c, int timeout_ms)
{
	struct timespec timeout = { timeout_ms / 1000, (timeout_ms % 1000) * 1000000L };
	siginfo_t info;

	if (sigtimedwait(&waited_mask, &info, &timeout) > 0 && signal_is_for_program(&info, c->pid))
		signal_pass_on(&info, c->pid);
	child_reap(c);
}
