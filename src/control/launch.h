// SPDX-License-Identifier: MIT
/*
 * launch.h - start the program with the agent preloaded, pass signals on, collect its exit status.
 */
#ifndef HN_CONTROL_LAUNCH_H
#define HN_CONTROL_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Find the agent library: $HUGENUMA_AGENT, else beside this executable, else where it was installed (HN_AGENT_PATH).
 * Returns 0 with an absolute path in buf, or -1 with a line in err.
 */
int hn_agent_find(char *buf, size_t len, char *err, size_t err_len);

struct hn_child {
	pid_t pid;
	int exec_errno; /* why the program could not be executed; 0 when it was */
	bool ended;
	int status;     /* for the shell: exit status, or 128 + signal; valid once ended */
	int signal;     /* that has ended it, or 0 */
};

struct hn_launch {
	char **argv;
	const char *agent;    /* to put in front of LD_PRELOAD */
	const char *shm_path; /* for HUGENUMA_SHM */
};

/*
 * Take over the signals that people and service managers send (waited for in hn_child_wait) and SIGPIPE and SIGXFSZ
 * (ignored). Once, before anything that has to be cleaned up; the program gets everything back as it was.
 */
void hn_signals_take(void);

/*
 * The signal that should have ended us since hn_signals_take, or 0: then there is no need to start the program. One that
 * comes later reaches the program, however soon.
 */
int hn_signals_early(void);

/*
 * End as the program did, without a core of our own: who looks (a service manager, a shell's loop) is to see a signal. Returns
 * where that does not end us, as the first process of a container.
 */
void hn_signal_die(int sig);

/*
 * For commands that wait for signals: block those of `sig` that are not ignored, and say which. A blocked signal is kept for
 * who waits for it even where it is ignored (nohup, a background job of a shell): those must be left alone.
 */
void hn_signals_hold(const int *sig, size_t nr, sigset_t *held);

/*
 * Fork and exec; returns once exec has succeeded or failed (c->exec_errno). Returns 0, or -errno when there is no child.
 */
int hn_child_start(struct hn_child *c, const struct hn_launch *l);

/*
 * Wait up to timeout_ms for the child to end or a signal; both are handled here. Passed on is what the child has not got
 * itself: not what the terminal sends to the whole group, and not what the child has sent.
 */
void hn_child_wait(struct hn_child *c, int timeout_ms);

#endif
