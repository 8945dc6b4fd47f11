// SPDX-License-Identifier: MIT
/*
 * Shared memory as another user may have written it: a run that is in order, with changes anywhere in its header, its first
 * slots and their records, looked at by every command. The first byte chooses the command and whether the process lives.
 */
#include "fuzz.h"
#include "views.h"

#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 2

static struct hn_shm *make_base(void)
{
	struct hn_shm *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	hn_must(s != MAP_FAILED);
	return s;
}

static void restore(struct hn_shm *s, const struct hn_shm *base)
{
	memcpy(s, base, offsetof(struct hn_shm, slot[SLOTS]));
	memcpy(s->record, base->record, sizeof(s->record[0]));
}

#define SLOT(field) offsetof(struct hn_shm, slot[0].field)
#define RECORD(field) offsetof(struct hn_record, field)
static const uint32_t in_header[] = { offsetof(struct hn_shm, machine.nr_nodes), offsetof(struct hn_shm, machine.nr_cpus),
				      offsetof(struct hn_shm, machine.os_nid), offsetof(struct hn_shm, machine.is_virtual),
				      offsetof(struct hn_shm, config.policy), offsetof(struct hn_shm, config.mover),
				      offsetof(struct hn_shm, controller_pid), offsetof(struct hn_shm, opened), FUZZ_SLOT_PLACES };
static const uint32_t in_record[] = { FUZZ_RECORD_PLACES };

/* Header and slots are one stretch of what can be changed, the record the other; half of the changes go to each. */
static void change(struct hn_shm *s, const uint8_t *data, size_t size)
{
	size_t half = size / 2;

	fuzz_patch(data, half, s, offsetof(struct hn_shm, slot[SLOTS]),
		   (struct fuzz_places){ in_header, sizeof(in_header) / sizeof(in_header[0]) });
	fuzz_patch(data + half, size - half, s->record, sizeof(s->record[0]),
		   (struct fuzz_places){ in_record, sizeof(in_record) / sizeof(in_record[0]) });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hn_shm *base, *s;
	struct hn_run_seen *run = calloc(1, sizeof(*run));
	struct hn_attached a = { .run = &run, .nr = 1 };
	struct hn_seen *seen = NULL;
	uint8_t how;
	size_t nr;

	if (!base) {
		base = make_base();
		s = make_base();
		fuzz_fill_run(base);
	}
	fuzz_take(&data, &size, &how, 1);
	restore(s, base);
	change(s, data, size);
	if (how & 0x80)
		s->slot[0].pid = 0x7ffffff0; /* no such process: what it left is finished by us */
	hn_must(run);
	run->shm = s;
	run->dir = -1;
	run->owner = geteuid();
	if (!hn_run_copy_header(run)) {
		nr = hn_seen_find(&a, 0, &seen);
		fuzz_view(&a, seen, nr, (how & 0x7f) % 9);
		hn_seen_free(seen, nr);
	}
	free(run);
	return 0;
}
