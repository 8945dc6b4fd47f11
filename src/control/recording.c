// SPDX-License-Identifier: MIT
#include "control/recording.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define FRAME_CHECK 0x4d415246u /* "FRAM" */

/* ---- numbers: little-endian, wherever this runs ---- */

static void put32(unsigned char *to, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		to[i] = (unsigned char)(v >> (8 * i));
}

static void put64(unsigned char *to, uint64_t v)
{
	put32(to, (uint32_t)v);
	put32(to + 4, (uint32_t)(v >> 32));
}

static uint32_t get32(const unsigned char *from)
{
	return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static uint64_t get64(const unsigned char *from)
{
	return get32(from) | (uint64_t)get32(from + 4) << 32;
}

/* ---- frames ---- */

static uint32_t frame_check(const struct hn_frame *f)
{
	return FRAME_CHECK ^ f->kind ^ f->raw_bytes ^ f->zstd_bytes ^ f->decisions ^ f->lost;
}

void hn_frame_encode(unsigned char *to, const struct hn_frame *f)
{
	put32(to, f->kind);
	put32(to + 4, f->raw_bytes);
	put32(to + 8, f->zstd_bytes);
	put32(to + 12, f->decisions);
	put32(to + 16, f->lost);
	put32(to + 20, frame_check(f));
}

bool hn_frame_decode(const unsigned char *from, struct hn_frame *f)
{
	f->kind = get32(from);
	f->raw_bytes = get32(from + 4);
	f->zstd_bytes = get32(from + 8);
	f->decisions = get32(from + 12);
	f->lost = get32(from + 16);
	return get32(from + 20) == frame_check(f) &&
	       f->raw_bytes <= (f->kind == HN_FRAME_REPORT ? HN_RECORDING_RAW_MAX : HN_RECORDING_BATCH_MAX) &&
	       f->zstd_bytes <= ZSTD_compressBound(f->raw_bytes);
}

/* ---- decisions ---- */

void hn_batch_encode(unsigned char *to, const struct hn_batch *b)
{
	put32(to, b->pid);
	put32(to + 4, b->nr);
	put64(to + 8, b->started_ms);
	put32(to + 16, b->lost);
	put32(to + 20, b->entry_bytes);
	memcpy(to + 24, b->comm, sizeof(b->comm));
}

static bool batch_decode(const unsigned char *raw, size_t len, struct hn_batch *b)
{
	if (len < HN_RECORDING_BATCH)
		return false;
	b->pid = get32(raw);
	b->nr = get32(raw + 4);
	b->started_ms = get64(raw + 8);
	b->lost = get32(raw + 16);
	b->entry_bytes = get32(raw + 20);
	memcpy(b->comm, raw + 24, sizeof(b->comm));
	b->comm[sizeof(b->comm) - 1] = 0;
	b->entry = raw + HN_RECORDING_BATCH;
	/* a later minor change may add to an entry, at its end */
	return b->entry_bytes >= HN_RECORDING_ENTRY && b->nr <= (len - HN_RECORDING_BATCH) / b->entry_bytes;
}

void hn_decision_encode(unsigned char *to, const struct hn_decision *d)
{
	put64(to, d->time_ns);
	put64(to + 8, d->haddr);
	put32(to + 16, d->tid);
	put32(to + 20, d->last_tid);
	put32(to + 24, d->service_ns);
	to[28] = (unsigned char)d->thread_nid;
	to[29] = (unsigned char)d->from_nid;
	to[30] = (unsigned char)d->target_nid;
	to[31] = (unsigned char)d->last_nid;
	to[32] = d->outcome;
	to[33] = d->reason;
	to[34] = d->policy;
	to[35] = d->rule < HN_MAX_RULES ? (unsigned char)(d->rule + 1) : 0;
}

static int8_t node_decode(unsigned char byte)
{
	return byte < HN_MAX_NODES ? (int8_t)byte : HN_NO_NODE;
}

void hn_batch_decision(const struct hn_batch *b, uint32_t i, struct hn_decision *d)
{
	const unsigned char *from = b->entry + (size_t)i * b->entry_bytes;

	*d = (struct hn_decision){
		.time_ns = get64(from),
		.haddr = get64(from + 8),
		.tid = get32(from + 16),
		.last_tid = get32(from + 20),
		.service_ns = get32(from + 24),
		.thread_nid = node_decode(from[28]),
		.from_nid = node_decode(from[29]),
		.target_nid = node_decode(from[30]),
		.last_nid = node_decode(from[31]),
		.outcome = from[32],
		.reason = from[33],
		.policy = from[34],
		.rule = from[35] >= 1 && from[35] <= HN_MAX_RULES ? (uint8_t)(from[35] - 1) : HN_NO_RULE,
	};
}

/* ---- reading ---- */

struct reading {
	const struct hn_recording_sink *sink;
	struct hn_recording *found;
	ZSTD_DCtx *zstd;
	unsigned char *raw; /* of the frame being read, with a NUL behind it */
	size_t room;
	bool no_memory;
};

/* A frame's content into r->raw. The checksum in it is checked by zstd. */
static bool frame_unpack(struct reading *r, const struct hn_frame *f, const unsigned char *packed)
{
	if (ZSTD_getFrameContentSize(packed, f->zstd_bytes) != f->raw_bytes)
		return false;
	if (f->raw_bytes >= r->room) {
		unsigned char *raw = realloc(r->raw, (size_t)f->raw_bytes + 1);

		if (!raw) {
			r->no_memory = true;
			return false;
		}
		r->raw = raw;
		r->room = (size_t)f->raw_bytes + 1;
	}
	if (ZSTD_decompressDCtx(r->zstd, r->raw, f->raw_bytes, packed, f->zstd_bytes) != f->raw_bytes)
		return false;
	r->raw[f->raw_bytes] = 0;
	return true;
}

static bool take_decisions(struct reading *r, const struct hn_frame *f)
{
	struct hn_batch b;

	if (!batch_decode(r->raw, f->raw_bytes, &b) || b.nr != f->decisions || b.lost != f->lost)
		return false;
	r->found->decisions += b.nr;
	r->found->lost += b.lost;
	if (r->sink->batch)
		r->sink->batch(r->sink->arg, &b);
	return true;
}

/* True: it was one, and a whole one. Kinds that are not known say nothing. */
static bool frame_take(struct reading *r, const struct hn_frame *f, const unsigned char *packed)
{
	r->found->ended = f->kind == HN_FRAME_END;
	if (f->kind == HN_FRAME_DROPPED) {
		r->found->dropped += f->decisions;
		r->found->lost += f->lost;
	}
	if (f->kind != HN_FRAME_DECISIONS && f->kind != HN_FRAME_REPORT)
		return true;
	if (!frame_unpack(r, f, packed))
		return false;
	if (f->kind == HN_FRAME_DECISIONS)
		return take_decisions(r, f);
	r->found->reports++;
	if (r->sink->report)
		r->sink->report(r->sink->arg, (const char *)r->raw, f->raw_bytes);
	return true;
}

static void frames_read(struct reading *r, const unsigned char *buf, size_t len)
{
	struct hn_recording *found = r->found;
	struct hn_frame f;

	while (!found->damaged && len - found->read_bytes >= HN_RECORDING_FRAME) {
		const unsigned char *at = buf + found->read_bytes;

		if (!hn_frame_decode(at, &f)) {
			found->damaged = true;
			break;
		}
		if (len - found->read_bytes - HN_RECORDING_FRAME < f.zstd_bytes)
			break;
		found->damaged = !frame_take(r, &f, at + HN_RECORDING_FRAME);
		if (!found->damaged)
			found->read_bytes += HN_RECORDING_FRAME + f.zstd_bytes;
	}
	if (found->damaged || found->read_bytes < len)
		found->ended = false;
}

bool hn_recording_is_one(const void *buf, size_t len)
{
	return len >= strlen(HN_RECORDING_MAGIC) && memcmp(buf, HN_RECORDING_MAGIC, strlen(HN_RECORDING_MAGIC)) == 0;
}

enum hn_recording_error hn_recording_parse(const void *buf, size_t len, const struct hn_recording_sink *sink,
					   struct hn_recording *found)
{
	struct reading r = { .sink = sink, .found = found };

	*found = (struct hn_recording){ 0 };
	if (!hn_recording_is_one(buf, len) || len < HN_RECORDING_HEADER)
		return HN_RECORDING_NOT_ONE;
	if (get32((const unsigned char *)buf + 8) != HN_RECORDING_VERSION)
		return HN_RECORDING_NEWER;
	found->read_bytes = HN_RECORDING_HEADER;
	r.zstd = ZSTD_createDCtx();
	if (r.zstd)
		frames_read(&r, buf, len);
	ZSTD_freeDCtx(r.zstd);
	free(r.raw);
	return !r.zstd || r.no_memory ? HN_RECORDING_NO_MEMORY : HN_RECORDING_OK;
}
