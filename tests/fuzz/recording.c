// SPDX-License-Identifier: MIT
/*
 * Recordings, read by `report FILE' and `explain FILE'. A first byte of 0: the bytes as they are. Else frames are made of
 * the input, compressed and with checksums, so that what is in them gets read: kind, length (2 bytes), content; the bits of
 * a fourth byte say which number in the header is wrong.
 */
#include "fuzz.h"

#include "control/recording_view.h"

#include <zstd.h>

#define ROOM (1u << 16)

static size_t make_header(uint8_t *to)
{
	memset(to, 0, HN_RECORDING_HEADER);
	memcpy(to, HN_RECORDING_MAGIC, strlen(HN_RECORDING_MAGIC));
	to[8] = HN_RECORDING_VERSION;
	return HN_RECORDING_HEADER;
}

static size_t make_frame(uint8_t *to, const uint8_t **data, size_t *size)
{
	struct { uint8_t kind; uint8_t len[2]; uint8_t wrong; } head;
	struct hn_frame f = { 0 };
	static uint8_t raw[4096];
	uint32_t nr;
	size_t len;

	fuzz_take(data, size, &head, sizeof(head));
	len = (head.len[0] | (size_t)head.len[1] << 8) % sizeof(raw);
	if (len > *size)
		len = *size;
	fuzz_take(data, size, raw, len);
	f.kind = head.kind % 6;
	f.raw_bytes = (uint32_t)len;
	f.zstd_bytes = (uint32_t)ZSTD_compress(to + HN_RECORDING_FRAME, ZSTD_compressBound(len), raw, len, 1);
	/* a batch whose header agrees with the frame's is looked into */
	memcpy(&nr, raw + 4, sizeof(nr));
	f.decisions = f.kind == HN_FRAME_DECISIONS && len >= HN_RECORDING_BATCH ? nr : len ? raw[0] : 0;
	memcpy(&f.lost, raw + 16, sizeof(f.lost));
	len = HN_RECORDING_FRAME + f.zstd_bytes;
	f.raw_bytes += head.wrong & 1 ? 1 : head.wrong & 2 ? 1u << 31 : 0;
	f.zstd_bytes -= head.wrong & 4 && f.zstd_bytes ? 1 : 0;
	f.zstd_bytes += head.wrong & 8 ? 1u << 30 : 0;
	f.decisions ^= head.wrong & 16;
	hn_frame_encode(to, &f);
	return len;
}

static size_t compose(uint8_t *to, const uint8_t *data, size_t size)
{
	size_t at = make_header(to);

	while (size > 4 && at < ROOM - 3 * 4096)
		at += make_frame(to + at, &data, &size);
	return at;
}

static void take_batch(void *arg, const struct hn_batch *b)
{
	struct hn_decision d;

	for (uint32_t i = 0; i < b->nr; i++) {
		hn_batch_decision(b, i, &d);
		hn_must(d.thread_nid >= HN_NO_NODE && d.thread_nid < HN_MAX_NODES && d.from_nid < HN_MAX_NODES);
		++*(uint64_t *)arg;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t made[ROOM];
	char err[256] = "";
	struct hn_recording found;
	uint64_t nr = 0;
	struct hn_recording_sink sink = { .arg = &nr, .batch = take_batch };
	uint8_t how;
	json_t *report;

	fuzz_take(&data, &size, &how, 1);
	if (how) {
		size = compose(made, data, size);
		data = made;
	}
	if (hn_recording_parse(data, size, &sink, &found) == HN_RECORDING_OK)
		hn_must(found.read_bytes <= size && found.decisions == nr && !(found.damaged && found.ended));
	fuzz_file(data, size);
	hn_recording_explain(fuzz_sink(), fuzz_file_path(), 0, 64, err, sizeof(err));
	report = hn_recording_report(fuzz_file_path(), err, sizeof(err));
	json_decref(report);
	return 0;
}
