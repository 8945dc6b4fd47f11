// SPDX-License-Identifier: MIT
/*
 * hostile.c - a run's shared memory as somebody would make it who wants the commands that look at it to fall.
 *
 *     hostile FILE KIND [PID]     make FILE; print "ready"; KINDs that are alive stay until they are killed
 *     hostile FILE loaded         print how many processes have counted themselves in FILE
 *
 * valid    what an agent would write, about PID (this process itself if none is given)
 * wild     the same, with everything that nobody checks to let it in random: texts without end, counts, indices
 * flicker  valid, and while it lives changed at random everywhere, the header too, between valid moments
 * shrink   valid, and while it lives cut off and grown again
 * magic, short, long, machine   valid but for that; not alive
 */
#include "agent/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t dice = 88172645463325252u;

static uint64_t roll(void)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice;
}

static uint64_t start_ticks(const char *pid)
{
	char path[64], text[1024] = "", *p;
	unsigned long long ticks = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	f = fopen(path, "re");
	if (f && fread(text, 1, sizeof(text) - 1, f) && (p = strrchr(text, ')')))
		sscanf(p + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &ticks);
	if (f)
		fclose(f);
	return ticks;
}

static void fill(struct hn_shm *s, const char *pid)
{
	struct hn_slot *slot = &s->slot[0];
	struct stat st = { 0 };

	s->header_bytes = offsetof(struct hn_shm, slot);
	s->slot_bytes = sizeof(struct hn_slot);
	s->nr_slots = HN_SHM_SLOTS;
	s->opened.v = 1;
	s->controller_pid = (uint32_t)atoi(pid);
	s->config = (struct hn_config){ .period_ms = 1000, .window_mib = 256, .handlers = 2, .max_armed_mib = 1024, .min_mib = 16, .hot_ms = 1000, .low_permille = 40,
					.period_min_ms = 250, .period_max_ms = 60000 };
	s->machine = (struct hn_machine){ .nr_nodes = 2, .is_virtual = 1, .nr_cpus = 2, .cpu_node = { 0, 1 } };
	s->magic = HN_SHM_MAGIC;
	stat("/proc/self/ns/pid", &st);
	slot->state.v = HN_SLOT_LIVE;
	slot->pid = (uint32_t)atoi(pid);
	slot->start_ticks = start_ticks(pid);
	slot->pid_ns = (uint32_t)st.st_ino;
	slot->started_ms = 1;
	slot->stats.managed_pages = slot->stats.samples = 10;
	memcpy(slot->comm, "claims", 7);
	hn_record_init(&s->record[0], 2);
	slot->has_record.v = 1;
}

static void scribble(void *at, size_t bytes)
{
	for (uint64_t *p = at; bytes >= 8; bytes -= 8)
		*p++ = roll() >> (roll() % 64);
}

/* Everything but what lets it in: state, pid and start time. */
static void run_wild(struct hn_shm *s)
{
	struct hn_slot was = s->slot[0];

	scribble(&s->slot[0], sizeof(s->slot[0]));
	memset(s->slot[0].comm, '\033', sizeof(was.comm));
	memset(s->slot[0].message, '\007', sizeof(was.message));
	s->slot[0].state.v = HN_SLOT_LIVE + (uint32_t)(roll() % 2);
	s->slot[0].pid = was.pid;
	s->slot[0].start_ticks = was.start_ticks;
	s->slot[0].pid_ns = was.pid_ns;
	s->slot[0].has_record.v = roll() % 4 != 0;
	s->opened.v = 1 + (uint32_t)(roll() >> (roll() % 64));
	scribble(&s->record[0], sizeof(s->record[0]));
	s->record[0].table_seq.v = 0;
	s->record[0].nr_regions = roll() % 2 ? HN_RECORD_REGIONS : (uint32_t)roll();
	for (unsigned i = 0; i < HN_RING_MAX; i++)
		s->record[0].ring.place[i].seq.v = (i + 1) * 2;
	s->record[0].ring.next.v = HN_RING_MAX;
	/* dimensions that pass, with contents that do not fit */
	if (roll() % 2) {
		s->record[0].heat.nodes = 2;
		s->record[0].heat.rows = s->record[0].heat.nr_rows = HN_HEAT_ROWS;
		s->record[0].heat.points = s->record[0].heat.nr_points = HN_HEAT_POINTS;
		s->record[0].heat.shift = (uint32_t)(roll() % 48);
		s->record[0].heat.step_ms = 1 + (uint32_t)(roll() % 3);
	}
}

static void run_flicker(struct hn_shm *s, const char *pid)
{
	const struct timespec moment = { .tv_nsec = 300000 };

	for (;;) {
		run_wild(s);
		nanosleep(&moment, NULL);
		s->machine.nr_nodes = (uint32_t)roll();
		s->config.policy = (uint32_t)roll();
		s->slot[0].config.policy = (uint32_t)roll();
		s->slot[0].pid = (uint32_t)(roll() % 3);
		nanosleep(&moment, NULL);
		memset(&s->slot[0], 0, sizeof(s->slot[0]));
		fill(s, pid);
		nanosleep(&moment, NULL);
	}
}

static void run_shrink(const char *file, const char *pid)
{
	const struct timespec moment = { .tv_nsec = 500000 };
	struct hn_shm *s;
	int fd = open(file, O_RDWR | O_CLOEXEC);

	for (;;) {
		if (ftruncate(fd, (off_t)(roll() % sizeof(*s))) != 0)
			exit(1);
		nanosleep(&moment, NULL);
		if (ftruncate(fd, sizeof(*s)) != 0)
			exit(1);
		s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (s == MAP_FAILED)
			exit(1);
		fill(s, pid);
		nanosleep(&moment, NULL);
		munmap(s, sizeof(*s));
	}
}

static int make(const char *file, const char *kind, const char *pid)
{
	int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	size_t bytes = sizeof(struct hn_shm);
	struct hn_shm *s;

	if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
		return 1;
	s = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		return 1;
	fill(s, pid);
	if (strcmp(kind, "magic") == 0)
		s->magic++;
	if (strcmp(kind, "machine") == 0)
		s->machine.cpu_node[1] = 2;
	if (strcmp(kind, "short") == 0 && ftruncate(fd, (off_t)bytes - 1) != 0)
		return 1;
	if (strcmp(kind, "long") == 0 && ftruncate(fd, (off_t)bytes + 1) != 0)
		return 1;
	if (strcmp(kind, "wild") == 0)
		run_wild(s);
	printf("ready\n");
	fflush(stdout);
	if (strcmp(kind, "flicker") == 0)
		run_flicker(s, pid);
	if (strcmp(kind, "shrink") == 0)
		run_shrink(file, pid);
	if (strcmp(kind, "valid") == 0 || strcmp(kind, "wild") == 0)
		pause();
	return 0;
}

int main(int argc, char **argv)
{
	char own[16];

	if (argc < 3)
		return 2;
	if (strcmp(argv[2], "loaded") == 0) {
		struct hn_word loaded = { 0 };
		int fd = open(argv[1], O_RDONLY | O_CLOEXEC);

		if (pread(fd, &loaded, sizeof(loaded), offsetof(struct hn_shm, loaded)) != sizeof(loaded))
			return 1;
		printf("%u\n", loaded.v);
		return 0;
	}
	if (argc > 4)
		dice += strtoull(argv[4], NULL, 10) * 2654435761u;
	snprintf(own, sizeof(own), "%d", (int)getpid());
	return make(argv[1], argv[2], argc > 3 && *argv[3] ? argv[3] : own);
}
