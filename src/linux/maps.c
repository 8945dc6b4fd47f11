// SPDX-License-Identifier: MIT
/*
 * maps.c - /proc/self/maps: asked mapping by mapping where the kernel can be (6.11), else parsed in place with a fixed buffer,
 * which takes several times as long: it is all text, and has the files of all libraries.
 *
 * A line: START-END PERMS OFFSET MAJ:MIN INODE [NAME]. Wanted: "rw-p" with inode 0 and no name, or the names "[heap]"
 * and "[anon:...]" (prctl). The main stack is "[stack]"; thread stacks are excluded elsewhere (who.c).
 *
 * /proc/self/smaps has the same lines and below each what the mapping is like, "VmFlags: " with pairs of letters last.
 */
#include <errno.h>
#include <sys/mman.h>

#include "linux/lines.h"
#include "linux/live.h"
#include "uapi/uapi.h"

#define LINE_BYTES 8192 /* one is as long as a path can be, at most */
#define NAME_BYTES 96 /* "[anon:" and 80 bytes */

static const char *hex(const char *p, const char *end, hn_addr *v)
{
	for (*v = 0; p < end; p++) {
		if (*p >= '0' && *p <= '9')
			*v = *v * 16 + (hn_addr)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			*v = *v * 16 + (hn_addr)(*p - 'a' + 10);
		else
			break;
	}
	return p;
}

static const char *skip_field(const char *p, const char *end)
{
	while (p < end && *p != ' ')
		p++;
	while (p < end && *p == ' ')
		p++;
	return p;
}

static bool starts(const char *p, const char *end, const char *with)
{
	while (*with && p < end && *p == *with) {
		p++;
		with++;
	}
	return *with == '\0';
}

/* True when the line describes memory we may manage. */
static bool parse_line(const char *p, const char *end, struct hn_vma *vma)
{
	p = hex(p, end, &vma->start);
	if (p == end || *p != '-')
		return false;
	p = hex(p + 1, end, &vma->end);
	p = skip_field(p, end);
	if (!starts(p, end, "rw-p"))
		return false;
	p = skip_field(p, end); /* offset */
	p = skip_field(p, end); /* device */
	p = skip_field(p, end); /* inode */
	if (!starts(p, end, "0"))
		return false;
	if (end - p > 1 && p[1] != ' ')
		return false;
	p = skip_field(p, end);
	return p >= end || starts(p, end, "[heap]") || starts(p, end, "[anon:");
}

/* Handle the complete lines of buf; returns how many bytes they were, or -1 to stop. */
static long parse_lines(const char *buf, size_t len, bool (*fn)(void *, const struct hn_vma *), void *arg)
{
	size_t used = 0, i;

	for (i = 0; i < len; i++) {
		struct hn_vma vma;

		if (buf[i] != '\n')
			continue;
		if (parse_line(buf + used, buf + i, &vma) && !fn(arg, &vma))
			return -1;
		used = i + 1;
	}
	return (long)used;
}

static int read_walk(int fd, char *buf, size_t buf_bytes, bool (*fn)(void *, const struct hn_vma *), void *arg)
{
	size_t have = 0;
	uint64_t off = 0;

	for (;;) {
		long n = hn_sys_pread(fd, buf + have, buf_bytes - have, off), used;

		if (n < 0)
			return (int)n;
		if (n == 0)
			return 0;
		off += (uint64_t)n;
		have += (size_t)n;
		used = parse_lines(buf, have, fn, arg);
		if (used < 0)
			return 0;
		if (used == 0 && have == buf_bytes)
			return -E2BIG; /* a line longer than the buffer: no such thing */
		have -= (size_t)used;
		for (size_t i = 0; i < have; i++)
			buf[i] = buf[(size_t)used + i];
	}
}

/* By its name, as in a line. A mapping that has changed meanwhile is seen by the next walk. */
static bool is_named_as_wanted(int fd, hn_addr start)
{
	char name[NAME_BYTES];
	struct hn_procmap_query q = { .size = sizeof(q), .query_addr = start, .vma_name_size = sizeof(name),
				      .vma_name_addr = (uint64_t)(uintptr_t)name };

	if (hn_sys_ioctl(fd, HN_PROCMAP_QUERY, &q) != 0)
		return false;
	return !q.vma_name_size || starts(name, name + q.vma_name_size, "[heap]") ||
	       starts(name, name + q.vma_name_size, "[anon:");
}

static bool is_plain(const struct hn_procmap_query *q)
{
	return !(q->vma_flags & (HN_PROCMAP_QUERY_VMA_EXECUTABLE | HN_PROCMAP_QUERY_VMA_SHARED)) && !q->inode &&
	       !q->dev_major && !q->dev_minor;
}

/* -ENOTTY: this kernel cannot be asked. */
static int query_walk(int fd, hn_addr from, bool (*fn)(void *, const struct hn_vma *), void *arg)
{
	struct hn_procmap_query q = { .vma_end = from };

	for (;;) {
		hn_addr at = q.vma_end;
		int err;

		q = (struct hn_procmap_query){ .size = sizeof(q), .query_addr = at,
					       .query_flags = HN_PROCMAP_QUERY_COVERING_OR_NEXT_VMA |
							      HN_PROCMAP_QUERY_VMA_READABLE | HN_PROCMAP_QUERY_VMA_WRITABLE };
		err = (int)hn_sys_ioctl(fd, HN_PROCMAP_QUERY, &q);
		if (err)
			return err == -ENOENT ? 0 : at > from ? err : -ENOTTY;
		if (is_plain(&q) && is_named_as_wanted(fd, q.vma_start) &&
		    !fn(arg, &(struct hn_vma){ q.vma_start, q.vma_end }))
			return 0;
	}
}

int hn_maps_walk_from(int fd, hn_addr from, char *buf, size_t buf_bytes, bool (*fn)(void *arg, const struct hn_vma *vma), void *arg)
{
	int err = query_walk(fd, from, fn, arg);

	return err == -ENOTTY ? read_walk(fd, buf, buf_bytes, fn, arg) : err;
}

int hn_maps_walk(int fd, char *buf, size_t buf_bytes, bool (*fn)(void *arg, const struct hn_vma *vma), void *arg)
{
	return hn_maps_walk_from(fd, 0, buf, buf_bytes, fn, arg);
}

bool hn_maps_has_no_hole(hn_addr start, hn_addr end)
{
	return HN_SYS(SYS_msync, start, end - start, MS_ASYNC, 0, 0, 0) == 0;
}

bool hn_maps_is_whole(int fd, hn_addr start, hn_addr end)
{
	struct hn_procmap_query q = { .size = sizeof(q), .query_addr = start };
	long err = hn_sys_ioctl(fd, HN_PROCMAP_QUERY, &q);

	if (err == -ENOTTY)
		return hn_maps_has_no_hole(start, end);
	return err == 0 && q.vma_start <= start && q.vma_end >= end && is_plain(&q) &&
	       (q.vma_flags & HN_PROCMAP_QUERY_VMA_WRITABLE);
}

static int query(int fd, hn_addr addr, uint64_t flags, struct hn_vma *vma)
{
	struct hn_procmap_query q = { .size = sizeof(q), .query_addr = addr, .query_flags = flags };
	long err = hn_sys_ioctl(fd, HN_PROCMAP_QUERY, &q);

	if (!err)
		*vma = (struct hn_vma){ q.vma_start, q.vma_end };
	return (int)err;
}

int hn_maps_at(int fd, hn_addr addr, struct hn_vma *vma) { return query(fd, addr, 0, vma); }

int hn_maps_next(int fd, hn_addr addr, struct hn_vma *vma)
{
	return query(fd, addr, HN_PROCMAP_QUERY_COVERING_OR_NEXT_VMA, vma);
}

bool hn_maps_is_as_seen(int fd, const struct hn_vma *vma)
{
	struct hn_vma now = { 0, 0 };
	int err = hn_maps_at(fd, vma->start, &now);

	return err == -ENOTTY || (err == 0 && now.start == vma->start && now.end == vma->end);
}

enum hn_mapped hn_maps_look(int fd, hn_addr start, hn_addr end)
{
	struct hn_procmap_query q = { .size = sizeof(q), .query_flags = HN_PROCMAP_QUERY_COVERING_OR_NEXT_VMA, .query_addr = start };
	long err = hn_sys_ioctl(fd, HN_PROCMAP_QUERY, &q);

	if (err == -ENOENT || (err == 0 && q.vma_start >= end))
		return HN_MAPPED_NOTHING;
	if (err)
		return HN_MAPPED_UNKNOWN;
	if (q.vma_start > start || q.vma_end < end)
		return HN_MAPPED_SOME;
	return is_plain(&q) ? HN_MAPPED_PLAIN : HN_MAPPED_OTHER;
}

/* ---- all mappings of a range, and smaps ---- */

/* "START-END ...": *vma stays what it was where the line is another. */
static bool is_mapping(const char *p, const char *end, struct hn_vma *vma)
{
	hn_addr start;
	const char *rest = hex(p, end, &start);

	if (rest == p || rest == end || *rest != '-')
		return false;
	vma->start = start;
	hex(rest + 1, end, &vma->end);
	return true;
}

struct within {
	hn_addr at, end; /* what is left of the range */
	void (*fn)(void *arg, const struct hn_vma *piece);
	void *arg;
};

/* False: there is nothing more. What fn does to a mapping may make it one with its neighbours: never a place twice. */
static bool take_piece(struct within *w, struct hn_vma vma)
{
	if (vma.start >= w->end)
		return false;
	vma.start = vma.start > w->at ? vma.start : w->at;
	vma.end = vma.end < w->end ? vma.end : w->end;
	if (vma.start < vma.end) {
		w->at = vma.end;
		w->fn(w->arg, &vma);
	}
	return w->at < w->end;
}

static bool maps_line(void *arg, const char *p, const char *end)
{
	struct hn_vma vma;

	return !is_mapping(p, end, &vma) || take_piece(arg, vma);
}

/*
 * By text through a descriptor of its own: whoever walks with fd_maps may be in the middle. From /proc/self/task, for there may be
 * another /proc by now.
 */
void hn_maps_within(const struct hn_live *live, hn_addr start, hn_addr end, void (*fn)(void *arg, const struct hn_vma *piece),
		    void *arg)
{
	struct within w = { start, end, fn, arg };
	char buf[LINE_BYTES];
	struct hn_procmap_query q;
	long err, fd;

	do {
		q = (struct hn_procmap_query){ .size = sizeof(q), .query_addr = w.at,
					       .query_flags = HN_PROCMAP_QUERY_COVERING_OR_NEXT_VMA };
		err = hn_sys_ioctl(live->fd_maps, HN_PROCMAP_QUERY, &q);
	} while (!err && take_piece(&w, (struct hn_vma){ q.vma_start, q.vma_end }));
	if (!err || err == -ENOENT)
		return;
	fd = hn_sys_open_at(live->fd_task, "../maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	hn_each_line((int)fd, buf, sizeof(buf), maps_line, &w);
	hn_sys_close((int)fd);
}

struct wiped {
	struct hn_vma at; /* of the last mapping seen */
	struct hn_range *out;
	uint32_t nr, max;
};

static bool smaps_line(void *arg, const char *p, const char *end)
{
	struct wiped *w = arg;

	if (is_mapping(p, end, &w->at) || !starts(p, end, "VmFlags: "))
		return true;
	for (p = skip_field(p, end); p < end; p = skip_field(p, end))
		if (starts(p, end, "wf") && w->nr < w->max)
			w->out[w->nr++] = (struct hn_range){ w->at.start, w->at.end };
	return true;
}

uint32_t hn_smaps_wiped(int fd, struct hn_range *out, uint32_t nr)
{
	struct wiped w = { .out = out, .max = nr };
	char buf[LINE_BYTES];

	hn_each_line(fd, buf, sizeof(buf), smaps_line, &w);
	return w.nr;
}
