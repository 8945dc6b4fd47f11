// SPDX-License-Identifier: MIT
/*
 * The kernel as reader and writer: system calls that copy out of and into the plot, at any offset. They must neither
 * fail nor fall short because a page is somewhere else for a moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "disturb.h"

#define PIPE_BASES 15 /* base pages in one go, so that any offset still fits the usual pipe of 16 buffers */

enum channel { CHANNEL_PIPE, CHANNEL_FILE, CHANNELS };

static struct {
	int pipe[2];
	int file;
	uint64_t *copy;
} io = { .file = -1 };

static bool ready(struct actor *a)
{
	if (io.copy)
		return true;
	io.copy = aligned_alloc(BASE_BYTES, PIPE_BASES * BASE_BYTES);
	io.file = memfd_create("torture", MFD_CLOEXEC);
	if (io.copy && io.file >= 0 && !pipe2(io.pipe, O_CLOEXEC))
		return true;
	report_other(a->name, "pipe or memory: %s", strerror(errno));
	return false;
}

static bool moved_all(struct actor *a, const char *call, ssize_t result, size_t bytes)
{
	int error = errno;

	if (result == (ssize_t)bytes)
		return true;
	report_other(a->name, "%s returned %ld of %zu bytes (%s)", call, (long)result, bytes,
		     result < 0 ? strerror(error) : "short");
	return false;
}

static bool send(struct actor *a, enum channel channel, const void *from, size_t bytes)
{
	if (channel == CHANNEL_PIPE)
		return moved_all(a, "write(2)", write(io.pipe[1], from, bytes), bytes);
	return moved_all(a, "pwrite(2)", pwrite(io.file, from, bytes, 0), bytes);
}

/* In two pieces with a seam anywhere, so that one call touches two places. */
static bool receive(struct actor *a, enum channel channel, void *to, size_t bytes)
{
	size_t seam = pick(a, bytes);
	const struct iovec iov[2] = { { to, seam }, { (char *)to + seam, bytes - seam } };

	if (channel == CHANNEL_PIPE)
		return moved_all(a, "readv(2)", readv(io.pipe[0], iov, 2), bytes);
	return moved_all(a, "preadv(2)", preadv(io.file, iov, 2, 0), bytes);
}

/* After a failed call the pipe's content is unknown. */
static void reset_pipe(void)
{
	close(io.pipe[0]);
	close(io.pipe[1]);
	if (pipe2(io.pipe, O_CLOEXEC))
		abort();
}

/* Out of the plot by one system call, and compared in private memory. */
static void plot_to_copy(struct plot *plot, struct actor *a, struct range range, enum channel channel)
{
	doing(a, "write(2) from the plot");
	plot_note(plot, a, range, OP_WRITE_CALL);
	if (send(a, channel, plot_address(plot, range), range_bytes(range)) &&
	    receive(a, channel, io.copy, range_bytes(range)))
		plot_verify_copy(plot, a, range, io.copy);
	else
		reset_pipe();
}

/* Stamps written into the plot by a system call, and read back by instructions. */
static void copy_to_plot(struct plot *plot, struct actor *a, struct range range, enum channel channel)
{
	bool done;

	doing(a, "read(2) into the plot");
	plot_begin(plot, range, KIND_WRITTEN);
	plot_note(plot, a, range, OP_READ_CALL);
	for (size_t i = 0; i < range.n * BASE_WORDS; i++) {
		size_t w = range.first * BASE_WORDS + i;

		io.copy[i] = stamp(plot->salt, w, plot_begun_number(plot, w / BASE_WORDS));
	}
	done = send(a, channel, io.copy, range_bytes(range)) &&
	       receive(a, channel, plot_address(plot, range), range_bytes(range));
	plot_settle(plot, range);
	if (done) {
		plot_verify(plot, a, range);
		return;
	}
	reset_pipe();
	plot_write(plot, a, range);
}

void step_sys(struct plot *plot, struct actor *a)
{
	if (!ready(a))
		return;
	for (unsigned int i = 0; i < 16; i++) {
		enum channel channel = (enum channel)pick(a, CHANNELS);
		struct range range = { pick(a, plot->bases - PIPE_BASES + 1), 1 + pick(a, PIPE_BASES) };

		/* Every other time across the border of two huge pages. */
		if (pick(a, 2))
			range.first = (1 + pick(a, plot->pages - 1)) * HUGE_BASES - 1 - pick(a, range.n);
		if (pick(a, 2))
			plot_to_copy(plot, a, range, channel);
		else
			copy_to_plot(plot, a, range, channel);
	}
	if (pick(a, 16) == 0)
		tend(plot, a);
}
