// SPDX-License-Identifier: MIT
#include "control/recfile.h"

#include "control/say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

/* ---- opening ---- */

/* Nobody's letters are to be overwritten by a slip of the keyboard. */
static const char *why_not(int fd)
{
	char magic[8];
	struct stat st;

	if (fstat(fd, &st) != 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "expected the name of a regular file";
	if (st.st_size && (pread(fd, magic, sizeof(magic), 0) != sizeof(magic) || !hn_recording_is_one(magic, sizeof(magic))))
		return "is there and is no recording: it is not overwritten";
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? "another hugenuma records to it" : strerror(errno);
	return NULL;
}

static int open_path(struct hn_recfile *f, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 && errno == ENOENT) {
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		f->created = fd >= 0;
	}
	return fd;
}

int hn_recfile_open(struct hn_recfile *f, const char *path, uint64_t max_bytes, char *err, size_t err_len)
{
	const char *why = NULL;

	*f = (struct hn_recfile){ .max_bytes = max_bytes };
	f->fd = open_path(f, path);
	if (f->fd < 0 && errno == EISDIR)
		why = "expected the name of a regular file";
	else if (f->fd < 0 || !realpath(path, f->path))
		why = strerror(errno);
	else
		why = why_not(f->fd);
	if (!why) {
		f->zstd = ZSTD_createCCtx();
		if (!f->zstd)
			why = strerror(ENOMEM);
	}
	if (!why)
		return 0;
	hn_set_error(err, err_len, "cannot record to %s: %s", path, why);
	hn_recfile_close(f);
	return -1;
}

void hn_recfile_close(struct hn_recfile *f)
{
	if (f->created && !f->size && f->path[0])
		unlink(f->path);
	if (f->fd >= 0)
		close(f->fd);
	ZSTD_freeCCtx(f->zstd);
	free(f->packed);
	f->zstd = f->packed = NULL;
	f->room = 0;
	f->fd = -1;
}

/* ---- writing ---- */

static int write_at(int fd, const void *from, size_t bytes, uint64_t at)
{
	const char *p = from;

	while (bytes) {
		ssize_t n = pwrite(fd, p, bytes, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		at += (uint64_t)n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* What is there already is worth keeping; a part of a frame is not. */
static int give_up(struct hn_recfile *f, int err)
{
	int res = ftruncate(f->fd, (off_t)f->size);

	(void)res; /* readers stop at a part of a frame as well */
	close(f->fd);
	f->fd = -1;
	return err;
}

static void make_header(unsigned char *header)
{
	memset(header, 0, HN_RECORDING_HEADER);
	memcpy(header, HN_RECORDING_MAGIC, strlen(HN_RECORDING_MAGIC));
	header[8] = HN_RECORDING_VERSION;
}

int hn_recfile_begin(struct hn_recfile *f)
{
	unsigned char header[HN_RECORDING_HEADER];
	int err = ftruncate(f->fd, 0) != 0 ? -errno : 0;

	make_header(header);
	if (!err)
		err = write_at(f->fd, header, sizeof(header), 0);
	if (err)
		return give_up(f, err);
	f->size = sizeof(header);
	return 0;
}

/* ---- making room ---- */

static void add_up(uint32_t *to, uint32_t more)
{
	*to = *to > UINT32_MAX - more ? UINT32_MAX : *to + more;
}

/* Where the frames begin that stay, at most half of what there may be; what is before them is counted. */
static int find_rest(struct hn_recfile *f, uint64_t *at)
{
	unsigned char bytes[HN_RECORDING_FRAME];
	struct hn_frame frame;

	for (*at = HN_RECORDING_HEADER; f->size - *at > f->max_bytes / 2; *at += sizeof(bytes) + frame.zstd_bytes) {
		if (pread(f->fd, bytes, sizeof(bytes), (off_t)*at) != sizeof(bytes) || !hn_frame_decode(bytes, &frame))
			return -EIO;
		f->dropped_report |= frame.kind == HN_FRAME_REPORT;
		if (frame.kind == HN_FRAME_DECISIONS) {
			add_up(&f->dropped_decisions, frame.decisions);
			add_up(&f->dropped_lost, frame.lost);
		}
	}
	return 0;
}

static int copy_rest(const struct hn_recfile *f, int to, uint64_t from, uint64_t at)
{
	char buf[65536];
	ssize_t n = 1;
	int err = 0;

	while (!err && from < f->size && n > 0) {
		n = pread(f->fd, buf, sizeof(buf), (off_t)from);
		if (n > 0)
			err = write_at(to, buf, (size_t)n, at);
		from += n > 0 ? (uint64_t)n : 0;
		at += n > 0 ? (uint64_t)n : 0;
	}
	return n < 0 ? -errno : err ? err : from < f->size ? -EIO : 0;
}

static int fill_new(struct hn_recfile *f, int to, uint64_t from, uint64_t *size)
{
	unsigned char head[HN_RECORDING_HEADER + HN_RECORDING_FRAME];
	const struct hn_frame dropped = { HN_FRAME_DROPPED, 0, 0, f->dropped_decisions, f->dropped_lost };
	int err;

	make_header(head);
	hn_frame_encode(head + HN_RECORDING_HEADER, &dropped);
	err = write_at(to, head, sizeof(head), 0);
	*size = sizeof(head) + f->size - from;
	return err ? err : copy_rest(f, to, from, sizeof(head));
}

/*
 * The older half goes. A new file takes the place of the old one, so that a reader, and whoever looks after a crash, finds
 * one or the other whole.
 */
static int make_room(struct hn_recfile *f)
{
	char temp[PATH_MAX + 32];
	uint64_t from, size;
	int fd, err = find_rest(f, &from);

	if (err)
		return err;
	snprintf(temp, sizeof(temp), "%s.tmp.%d", f->path, (int)getpid());
	fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = fill_new(f, fd, from, &size);
	if (!err && (flock(fd, LOCK_EX | LOCK_NB) != 0 || rename(temp, f->path) != 0))
		err = -errno;
	if (err) {
		unlink(temp);
		close(fd);
		return err;
	}
	close(f->fd);
	f->fd = fd;
	f->size = size;
	return 0;
}

/* ---- frames ---- */

static int pack(struct hn_recfile *f, const void *raw, size_t bytes, size_t *packed)
{
	size_t most = HN_RECORDING_FRAME + ZSTD_compressBound(bytes);

	if (most > f->room) {
		unsigned char *more = realloc(f->packed, most);

		if (!more)
			return -ENOMEM;
		f->packed = more;
		f->room = most;
	}
	*packed = 0;
	if (!bytes)
		return 0;
	ZSTD_CCtx_setParameter(f->zstd, ZSTD_c_checksumFlag, 1);
	*packed = ZSTD_compress2(f->zstd, f->packed + HN_RECORDING_FRAME, f->room - HN_RECORDING_FRAME, raw, bytes);
	return ZSTD_isError(*packed) ? -ENOMEM : 0;
}

int hn_recfile_add(struct hn_recfile *f, enum hn_frame_kind kind, const void *raw, size_t bytes, uint32_t decisions,
		   uint32_t lost)
{
	struct hn_frame frame = { kind, (uint32_t)bytes, 0, decisions, lost };
	size_t packed;
	int err;

	if (f->fd < 0)
		return -EBADF;
	if (bytes > HN_RECORDING_RAW_MAX)
		return -EFBIG;
	err = pack(f, raw, bytes, &packed);
	if (err)
		return give_up(f, err);
	if (HN_RECORDING_FRAME + packed > f->max_bytes / 4)
		return -EFBIG;
	frame.zstd_bytes = (uint32_t)packed;
	hn_frame_encode(f->packed, &frame);
	if (f->size + HN_RECORDING_FRAME + packed > f->max_bytes)
		err = make_room(f);
	if (!err)
		err = write_at(f->fd, f->packed, HN_RECORDING_FRAME + packed, f->size);
	if (err)
		return give_up(f, err);
	f->size += HN_RECORDING_FRAME + packed;
	f->decisions += decisions;
	f->lost += lost;
	return 0;
}
