// SPDX-License-Identifier: MIT
/*
 * Take away access and give it back. While it is taken away, the content stays and nobody gets more access than the
 * program allowed: asked by system calls, which answer EFAULT where an instruction would end the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "disturb.h"

static void protect(struct plot *plot, struct actor *a, struct range range, int prot, enum op op)
{
	plot_note(plot, a, range, op);
	if (mprotect(plot_address(plot, range), range_bytes(range), prot))
		report_other(a->name, "mprotect(%d): %s", prot, strerror(errno));
}

static void expect_efault(struct actor *a, const char *call, ssize_t result, int error)
{
	if (result == -1 && error == EFAULT)
		return;
	report_other(a->name, "%s on memory protected against it returned %ld (%s), not EFAULT", call, (long)result,
		     result < 0 ? strerror(error) : "success");
}

/* A word in the range, by system call: writing out of PROT_NONE, reading into what else must not be written. */
static void probe(struct plot *plot, struct actor *a, struct range range, int prot)
{
	uint64_t *word = (uint64_t *)plot_address(plot, range) + pick(a, range.n * BASE_WORDS), value = 0;
	ssize_t result;
	int fd[2];

	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK)) {
		report_other(a->name, "pipe: %s", strerror(errno));
		return;
	}
	if (prot == PROT_NONE) {
		result = write(fd[1], word, sizeof(*word));
		expect_efault(a, "write(2)", result, errno);
	} else if (write(fd[1], &value, sizeof(value)) == sizeof(value)) {
		result = read(fd[0], word, sizeof(*word));
		expect_efault(a, "read(2)", result, errno);
	}
	close(fd[0]);
	close(fd[1]);
}

/* Nobody is shut out while it is like that: the content must be there all the time. */
static void still_readable(struct plot *plot, struct actor *a, struct range range, int prot, enum op op)
{
	protect(plot, a, range, prot, op);
	for (unsigned int i = 0; i < 2; i++) {
		/* Not plot_verify(): it would repair a wrong word by writing. */
		if (plot_verify_copy(plot, a, range, plot_address(plot, range)))
			break;
		nap_us((unsigned int)pick(a, 500));
	}
	if (prot & PROT_WRITE)
		plot_write(plot, a, range);
	else
		probe(plot, a, range, prot);
	protect(plot, a, range, PROT_READ | PROT_WRITE, OP_UNPROTECT);
}

/* Nor may execute-only memory be read where the processor has protection keys. */
static void no_access(struct plot *plot, struct actor *a, struct range range, int prot, enum op op)
{
	pthread_mutex_lock(&plot->gate);
	protect(plot, a, range, prot, op);
	probe(plot, a, range, prot);
	nap_us((unsigned int)pick(a, 500));
	/* Back directly, or by way of read-only. */
	if (pick(a, 2))
		protect(plot, a, range, PROT_READ, OP_PROTECT_READ);
	else
		protect(plot, a, range, PROT_READ | PROT_WRITE, OP_UNPROTECT);
	pthread_mutex_unlock(&plot->gate);
	plot_verify_copy(plot, a, range, plot_address(plot, range));
	protect(plot, a, range, PROT_READ | PROT_WRITE, OP_UNPROTECT);
}

static void protect_somehow(struct plot *plot, struct actor *a, struct range range)
{
	switch (pick(a, 8)) {
	case 0:
		doing(a, "mprotect READ|EXEC");
		return still_readable(plot, a, range, PROT_READ | PROT_EXEC, OP_PROTECT_READ_EXEC);
	case 1:
		doing(a, "mprotect WRITE");
		return still_readable(plot, a, range, PROT_WRITE, OP_PROTECT_WRITE);
	case 2:
		doing(a, "mprotect EXEC");
		return no_access(plot, a, range, PROT_EXEC, OP_PROTECT_EXEC);
	case 3:
	case 4:
		doing(a, "mprotect NONE");
		return no_access(plot, a, range, PROT_NONE, OP_PROTECT_NONE);
	default:
		doing(a, "mprotect READ");
		return still_readable(plot, a, range, PROT_READ, OP_PROTECT_READ);
	}
}

void step_protect(struct plot *plot, struct actor *a)
{
	/* Sub-ranges split huge pages: mostly whole ones, so that there is something to balance. */
	struct range range = pick(a, 4) ? plot_pick_huge(plot, a) : plot_pick_any(plot, a);

	protect_somehow(plot, a, range);
	doing(a, "after mprotect");
	plot_verify(plot, a, range);
	plot_write(plot, a, range);
	tend(plot, a);
	if (pick(a, 8) == 0)
		collapse(plot, a);
}
