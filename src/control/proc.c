// SPDX-License-Identifier: MIT
#include "control/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

int hn_read_text(const char *path, char *buf, unsigned len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	int err;

	buf[0] = 0;
	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	err = n < 0 ? -errno : 0;
	close(fd);
	if (n <= 0)
		return err;
	buf[n] = 0;
	if (buf[n - 1] == '\n')
		buf[n - 1] = 0;
	return 0;
}

/* Fields 3 (state), 20 (threads) and 22 (start time) of /proc/PID/stat; the name in field 2 may hold anything. */
bool hn_parse_stat(const char *text, char *state, long *threads, uint64_t *start_ticks)
{
	const char *rest = strrchr(text, ')');

	if (!rest)
		return false;
	return sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d %" SCNu64,
		      state, threads, start_ticks) == 3;
}

bool hn_process_is_gone(uint32_t pid, uint64_t start_ticks)
{
	char path[64], text[1024], state;
	uint64_t ticks;
	long threads;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
	/* /proc may be hidden from us: then the pid alone has to do */
	if (hn_read_text(path, text, sizeof(text)) || !hn_parse_stat(text, &state, &threads, &ticks))
		return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
	if (start_ticks && ticks != start_ticks)
		return true;
	/* A zombie with more than one thread is a process whose first thread left early. */
	return (state == 'Z' || state == 'X') && threads <= 1;
}

static uint32_t own_pid_ns(void)
{
	static uint32_t ns;
	struct stat st;

	if (!ns && stat("/proc/self/ns/pid", &st) == 0)
		ns = (uint32_t)st.st_ino;
	return ns;
}

/* The last number of "NSpid:". */
uint32_t hn_parse_innermost_pid(const char *status)
{
	const char *p = strstr(status, "\nNSpid:"), *end;

	if (!p)
		return 0;
	end = p + 1 + strcspn(p + 1, "\n");
	while (end > p && end[-1] >= '0' && end[-1] <= '9')
		end--;
	return (uint32_t)strtoul(end, NULL, 10);
}

static uint32_t innermost_pid(const char *name)
{
	char path[300], text[4096];

	snprintf(path, sizeof(path), "/proc/%s/status", name);
	return hn_read_text(path, text, sizeof(text)) ? 0 : hn_parse_innermost_pid(text);
}

bool hn_process_of_ns_is_gone(uint32_t pid, uint64_t start_ticks, uint32_t pid_ns, uint32_t *here)
{
	const struct dirent *e;
	uint32_t number = pid;
	bool gone = true;
	DIR *d = NULL;

	if (!pid_ns || !own_pid_ns() || pid_ns == own_pid_ns()) {
		gone = hn_process_is_gone(pid, start_ticks);
	} else if ((d = opendir("/proc"))) {
		while (gone && (e = readdir(d)))
			if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && innermost_pid(e->d_name) == pid) {
				number = (uint32_t)strtoul(e->d_name, NULL, 10);
				gone = hn_process_is_gone(number, start_ticks);
			}
		closedir(d);
	} else {
		gone = false;
		number = 0;
	}
	if (here)
		*here = gone ? 0 : number;
	return gone;
}

/* A line: START-END PERMS OFFSET MAJOR:MINOR INODE NAME. */
bool hn_maps_line_is_of(const char *line, dev_t dev, ino_t ino)
{
	unsigned major_nr, minor_nr;
	uint64_t inode;

	return sscanf(line, "%*x-%*x %*s %*x %x:%x %" SCNu64, &major_nr, &minor_nr, &inode) == 3 && inode == ino &&
	       major_nr == major(dev) && minor_nr == minor(dev);
}

bool hn_process_maps(uint32_t pid, dev_t dev, ino_t ino)
{
	char path[64], *line = NULL;
	bool found = false;
	size_t room = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/maps", pid);
	f = pid ? fopen(path, "re") : NULL;
	while (f && !found && getline(&line, &room, f) > 0)
		found = hn_maps_line_is_of(line, dev, ino);
	if (f)
		fclose(f);
	free(line);
	return found;
}

uint64_t hn_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}
