// SPDX-License-Identifier: MIT
#include "control/ended.h"

#include "control/trust.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct header {
	uint64_t magic;
	uint32_t process_bytes, record_bytes; /* 0: no record */
};

static bool write_all(int fd, const void *from, size_t bytes)
{
	const char *p = from;
	ssize_t n;

	for (; bytes; p += n, bytes -= (size_t)n) {
		n = write(fd, p, bytes);
		if (n <= 0)
			return false;
	}
	return true;
}

static bool read_all(int fd, void *to, size_t bytes)
{
	char *p = to;
	ssize_t n;

	for (; bytes; p += n, bytes -= (size_t)n) {
		n = read(fd, p, bytes);
		if (n <= 0)
			return false;
	}
	return true;
}

static bool ended_name(char *buf, size_t len, const char *dir, unsigned i, const char *suffix)
{
	int n = snprintf(buf, len, "%s/ended.%u%s", dir, i, suffix);

	return n > 0 && (size_t)n < len;
}

void hn_ended_write(const char *dir, unsigned n, const struct hn_process *p, const struct hn_record *record)
{
	struct header h = { HN_SHM_MAGIC, sizeof(*p), record ? sizeof(*record) : 0 };
	char name[600], temp[600];
	int fd;

	if (!ended_name(name, sizeof(name), dir, n % HN_ENDED_MAX, "") ||
	    !ended_name(temp, sizeof(temp), dir, n % HN_ENDED_MAX, ".tmp"))
		return;
	unlink(name); /* room for this one */
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	if (!write_all(fd, &h, sizeof(h)) || !write_all(fd, p, sizeof(*p)) ||
	    (record && !write_all(fd, record, sizeof(*record))) || rename(temp, name) != 0)
		unlink(temp);
	close(fd);
}

static bool ended_load_record(int fd, struct hn_process *p)
{
	p->record = aligned_alloc(4096, sizeof(*p->record));
	if (p->record && read_all(fd, p->record, sizeof(*p->record)))
		return true;
	free(p->record);
	p->record = NULL;
	return false;
}

/* Read as bytes: what is no bool, for one, must not be looked at as one. */
bool hn_ended_load(int fd, struct hn_process *p)
{
	struct header h;

	if (!read_all(fd, &h, sizeof(h)) || h.magic != HN_SHM_MAGIC || h.process_bytes != sizeof(*p) ||
	    (h.record_bytes && h.record_bytes != sizeof(*p->record)) || !read_all(fd, p, sizeof(*p)))
		return false;
	p->record = NULL;
	p->here = 0;
	memset(&p->running, 0, sizeof(p->running));
	if (h.record_bytes && !ended_load_record(fd, p))
		return false;
	hn_process_make_sane(p);
	return true;
}

bool hn_ended_read(int dir, unsigned i, struct hn_process *p)
{
	const char *why;
	struct stat st;
	char name[32];
	bool ok;
	int fd;

	snprintf(name, sizeof(name), "ended.%u", i);
	fd = hn_open_trusted(dir, name, O_RDONLY, &st, &why);
	if (fd < 0)
		return false;
	ok = hn_ended_load(fd, p);
	close(fd);
	return ok;
}

void hn_ended_remove(int dir)
{
	char name[32];

	for (unsigned i = 0; i < HN_ENDED_MAX; i++) {
		snprintf(name, sizeof(name), "ended.%u", i);
		unlinkat(dir, name, 0);
		snprintf(name, sizeof(name), "ended.%u.tmp", i);
		unlinkat(dir, name, 0);
	}
}
