// SPDX-License-Identifier: MIT
/*
 * maps.c - preloaded into a program: says which thread made which large mapping, and does nothing else
 *
 * Where a program's threads each map memory of their own (`perf bench numa mem -T`), nothing outside can tell whose is
 * whose. A line "pid tid address bytes shared" for each mapping of SMALLEST bytes and more is appended to the file
 * $BENCH_MAPS. Loaded in every mode alike.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SMALLEST ((size_t)6 << 20)

typedef void *(*mmap_fn)(void *, size_t, int, int, int, off_t);

static void note(const void *at, size_t bytes, int prot, int flags)
{
	const char *path = getenv("BENCH_MAPS");
	char line[128];
	int fd, length;

	if (at == MAP_FAILED || bytes < SMALLEST || !(flags & MAP_ANONYMOUS) || !(prot & PROT_WRITE) ||
	    (flags & (MAP_STACK | MAP_NORESERVE)) || !path)
		return;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	length = snprintf(line, sizeof(line), "%d %ld %lu %zu %d\n", getpid(), syscall(SYS_gettid), (unsigned long)at,
			  bytes, (flags & MAP_SHARED) != 0);
	if (write(fd, line, (size_t)length) != length)
		perror("BENCH_MAPS");
	close(fd);
}

static void *pass_on(const char *name, void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	mmap_fn next;
	void *found;

	*(void **)&next = dlsym(RTLD_NEXT, name);
	found = next(at, bytes, prot, flags, fd, offset);
	note(found, bytes, prot, flags);
	return found;
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	return pass_on("mmap", at, bytes, prot, flags, fd, offset);
}

void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	return pass_on("mmap64", at, bytes, prot, flags, fd, offset);
}
