// SPDX-License-Identifier: MIT
/*
 * Children. A child must find the memory as it was at the fork; the parent must not notice it.
 *
 * After fork() in a program with threads the child may only do what a signal handler may: it reads and writes memory,
 * leaves its verdict in a shared page and exits.
 */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disturb.h"
#include "field.h"

#define CHILD_NUMBER 0x7fffffffu

extern char **environ;

/* Written by the child, read by the parent. */
struct verdict {
	struct wrong bad;
	const char *where;
};

struct family {
	struct verdict *verdict;
	const struct field *field; /* one that goes on being written, or NULL */
	uint32_t *floor;
	uint64_t random;
	bool grandchild;
};

/* The one thing parent and child share. */
static struct verdict *new_verdict(void)
{
	void *p = mmap(NULL, sizeof(struct verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool child_writes(const struct plot *plot, struct wrong *bad)
{
	uint64_t *words = plot->area.words;

	for (size_t w = 0; w < plot->bases * BASE_WORDS; w++)
		store(&words[w], stamp(plot->salt, w, CHILD_NUMBER));
	for (size_t w = 0; w < plot->bases * BASE_WORDS; w++) {
		bad->expected = stamp(plot->salt, w, CHILD_NUMBER);
		bad->found = load(&words[w]);
		bad->address = &words[w];
		bad->page = w / HUGE_WORDS;
		bad->word = w % HUGE_WORDS;
		if (bad->found != bad->expected)
			return false;
	}
	return true;
}

static const char *child_finds_fault(const struct plot *plot, const struct family *family)
{
	if (!plot_check_child(plot, &family->verdict->bad))
		return "in a child: snapshot of the fork";
	if (family->field && !field_check_child(family->field, family->floor, family->random, &family->verdict->bad)) {
		family->verdict->bad.area = family->field->area.name;
		return "in a child: memory that others wrote during the fork";
	}
	if (!child_writes(plot, &family->verdict->bad))
		return "in a child: its own copy";
	return NULL;
}

static void child(const struct plot *plot, const struct family *family)
{
	/* The parent's watchdog may end the parent while we hang. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	family->verdict->where = child_finds_fault(plot, family);
	syscall(SYS_exit_group, family->verdict->where ? 1 : 0);
}

static void grandchild(const struct plot *plot, const struct family *family)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		child(plot, family);
	if (pid > 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	if (status)
		syscall(SYS_exit_group, WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static void report_child(struct plot *plot, struct actor *a, const struct family *family, int status)
{
	struct wrong *bad = &family->verdict->bad;

	if (!family->verdict->where) {
		report_other(a->name, "a child ended with wait status %#x", status);
		return;
	}
	bad->what = "stale or lost word";
	if (!bad->area) {
		bad->area = plot->area.name;
		bad->history = &plot->history[bad->page];
	}
	bad->owner = -1;
	bad->where = (uint16_t)(bad->word / BASE_WORDS);
	bad->doing = family->verdict->where;
	report_word(bad);
}

static int wait_for(struct actor *a, pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR) {
			report_other(a->name, "waitpid: %s", strerror(errno));
			return 0;
		}
	return status;
}

/* What the parent does while the child lives: nothing, or write, which splits the shared huge pages. */
static void live_beside_child(struct plot *plot, struct actor *a)
{
	struct range range;

	if (pick(a, 2))
		return;
	doing(a, "writing beside a child");
	range = plot_pick_any(plot, a);
	plot_write(plot, a, range);
	plot_verify(plot, a, range);
}

/* A field whose pages children inherit, picked anew each time. */
static void pick_field(struct family *family, struct actor *a)
{
	const struct field *field = n_fields ? &fields[pick(a, n_fields)] : NULL;

	if (!field || !field->forked)
		return;
	family->floor = malloc(field_floor_bytes(field));
	if (!family->floor)
		return;
	family->field = field;
	field_floor(field, family->floor);
}

static void fork_with(struct plot *plot, struct actor *a, bool raw)
{
	struct family family = { .verdict = new_verdict(), .random = next_random(a), .grandchild = pick(a, 4) == 0 };
	pid_t pid;
	int status;

	if (!family.verdict)
		return;
	pick_field(&family, a);
	plot_note(plot, a, whole(plot), OP_FORK);
	doing(a, raw ? "clone(2) behind libc" : "fork");
	pid = raw ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
	if (pid == 0) {
		/* fork() is out of the question for a child libc knows nothing of. */
		if (family.grandchild && !raw)
			grandchild(plot, &family);
		child(plot, &family);
	}
	if (pid < 0) {
		report_other(a->name, "fork: %s", strerror(errno));
	} else {
		live_beside_child(plot, a);
		doing(a, "waiting for a child");
		status = wait_for(a, pid);
		if (status)
			report_child(plot, a, &family, status);
	}
	free(family.floor);
	munmap(family.verdict, sizeof(*family.verdict));
}

static void after_child(struct plot *plot, struct actor *a)
{
	doing(a, "after a child");
	plot_verify(plot, a, whole(plot));
	/* Pages shared with a child stay unmovable until written; written here, or left so now and then. */
	if (pick(a, 4))
		plot_write(plot, a, whole(plot));
	if (pick(a, 2))
		collapse(plot, a);
	tend(plot, a);
}

void step_fork(struct plot *plot, struct actor *a)
{
	fork_with(plot, a, false);
	after_child(plot, a);
}

void step_rawfork(struct plot *plot, struct actor *a)
{
	fork_with(plot, a, true);
	after_child(plot, a);
}

static char *const true_argv[] = { (char *)"true", NULL };

void step_exec(struct plot *plot, struct actor *a)
{
	pid_t pid;
	int status;

	doing(a, "fork and exec");
	plot_note(plot, a, whole(plot), OP_FORK);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv("/bin/true", true_argv);
		_exit(127);
	}
	status = pid < 0 ? -1 : wait_for(a, pid);
	if (status)
		report_other(a->name, "fork and exec of /bin/true: wait status %#x", status);
	after_child(plot, a);
}

void step_spawn(struct plot *plot, struct actor *a)
{
	int error, status;
	pid_t pid;

	doing(a, "posix_spawn");
	plot_note(plot, a, whole(plot), OP_FORK);
	error = posix_spawn(&pid, "/bin/true", NULL, NULL, true_argv, environ);
	status = error ? 0 : wait_for(a, pid);
	if (error || status)
		report_other(a->name, "posix_spawn of /bin/true: error %d, wait status %#x", error, status);
	after_child(plot, a);
}
