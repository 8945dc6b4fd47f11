// SPDX-License-Identifier: MIT
/* Files of processes that have ended: a good one with changes anywhere, cut off anywhere, looked at by every command. */
#include "fuzz.h"
#include "views.h"

#include "control/ended.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static uint8_t *base;
static size_t base_bytes;

/* As the controller writes it, in a directory that is removed at once. */
static void make_base(void)
{
	struct hn_shm *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char dir[] = "/tmp/hugenuma-fuzz-XXXXXX", file[64];
	struct hn_process p;
	struct stat st;
	int fd;

	hn_must(s != MAP_FAILED && mkdtemp(dir));
	fuzz_fill_run(s);
	hn_process_read(&p, &s->slot[0], false);
	hn_ended_write(dir, 0, &p, &s->record[0]);
	snprintf(file, sizeof(file), "%s/ended.0", dir);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	hn_must(fd >= 0 && fstat(fd, &st) == 0);
	base_bytes = (size_t)st.st_size;
	base = malloc(base_bytes);
	hn_must(base && read(fd, base, base_bytes) == (ssize_t)base_bytes);
	close(fd);
	unlink(file);
	rmdir(dir);
	munmap(s, sizeof(*s));
}

/* A header, the process, its record. */
#define HEAD 16
#define SLOT(field) (HEAD + offsetof(struct hn_process, slot.field))
#define RECORD(field) (HEAD + sizeof(struct hn_process) + offsetof(struct hn_record, field))
static const uint32_t worth[] = { 8, 12, HEAD + offsetof(struct hn_process, running), HEAD + offsetof(struct hn_process, comm[12]),
				  HEAD + offsetof(struct hn_process, elapsed_ms), HEAD + offsetof(struct hn_process, shares.end_samples),
				  FUZZ_RECORD_PLACES, FUZZ_SLOT_PLACES };

static void look(struct hn_process *p, unsigned which)
{
	static struct hn_run_seen run = { .machine = { .nr_nodes = 4, .is_virtual = 1, .nr_cpus = 2 } };
	struct hn_seen *seen = calloc(1, sizeof(*seen));
	struct hn_attached none = { 0 };

	hn_must(seen);
	*seen = (struct hn_seen){ .run = &run, .p = *p };
	fuzz_view(&none, seen, 1, 4 + which % 5);
	hn_seen_free(seen, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *copy;
	struct { uint8_t how; uint8_t cut; } head;
	struct hn_process p;
	size_t bytes;

	if (!base)
		make_base();
	if (!copy)
		copy = malloc(base_bytes);
	hn_must(copy);
	fuzz_take(&data, &size, &head, sizeof(head));
	memcpy(copy, base, base_bytes);
	fuzz_patch(data, size, copy, base_bytes, (struct fuzz_places){ worth, sizeof(worth) / sizeof(worth[0]) });
	bytes = head.cut ? base_bytes * head.cut / 256 : base_bytes;
	if (hn_ended_load(fuzz_file(copy, bytes), &p))
		look(&p, head.how);
	return 0;
}
