// SPDX-License-Identifier: MIT
#include "control/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUARDED_MAX 512

/* ---- opening ---- */

static const char *trust_fault(const struct stat *st, bool directory)
{
	if (directory ? !S_ISDIR(st->st_mode) : !S_ISREG(st->st_mode))
		return directory ? "is no directory" : "is no regular file";
	if (st->st_uid != geteuid() && geteuid() != 0)
		return "belongs to another user";
	if (st->st_mode & 077)
		return "is open to other users (expected mode 0600, of directories 0700)";
	if (!directory && st->st_nlink != 1)
		return "has more than one name (a hard link)";
	return NULL;
}

/* O_NONBLOCK: a FIFO, or a file with a lease on it, would keep us waiting for its owner. */
int hn_open_trusted(int dir, const char *name, int flags, struct stat *st, const char **why)
{
	int fd = openat(dir, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), err = errno;

	*why = NULL;
	if (fd < 0) {
		if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st->st_mode))
			*why = "is a symbolic link";
		else if (err == ENOTDIR || err == EISDIR || err == ENXIO)
			*why = flags & O_DIRECTORY ? "is no directory" : "is no regular file";
		return -err;
	}
	if (fstat(fd, st) != 0)
		err = errno;
	else
		err = (*why = trust_fault(st, flags & O_DIRECTORY)) ? EPERM : 0;
	if (!err)
		return fd;
	close(fd);
	return -err;
}

/* ---- what shrinks ---- */

static struct {
	uintptr_t start, end; /* start 0: free */
} guarded[GUARDED_MAX];

/* The access comes again on return, and finds zeros; what is no mapping of ours ends us as before. */
static void on_bus_error(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	int kept = errno;

	(void)context;
	for (unsigned i = 0; i < GUARDED_MAX; i++) {
		uintptr_t start = __atomic_load_n(&guarded[i].start, __ATOMIC_ACQUIRE), end = guarded[i].end;

		if (!start || at < start || at >= end)
			continue;
		if (mmap((void *)start, end - start, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
			break;
		errno = kept;
		return;
	}
	signal(sig, SIG_DFL);
}

bool hn_guard(void *at, size_t bytes)
{
	struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };

	for (unsigned i = 0; i < GUARDED_MAX; i++) {
		if (guarded[i].start)
			continue;
		guarded[i].end = (uintptr_t)at + bytes;
		__atomic_store_n(&guarded[i].start, (uintptr_t)at, __ATOMIC_RELEASE);
		return sigaction(SIGBUS, &action, NULL) == 0;
	}
	return false;
}

void hn_unguard(void *at)
{
	for (unsigned i = 0; i < GUARDED_MAX; i++)
		if (guarded[i].start == (uintptr_t)at)
			__atomic_store_n(&guarded[i].start, 0, __ATOMIC_RELEASE);
}
