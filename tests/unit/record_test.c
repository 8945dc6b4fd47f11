// SPDX-License-Identifier: MIT
/* The ring of decisions, also with writers and a reader at it; what follows from it by region, by time and place. */
#include "fake.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((hn_addr)1 << 20)
#define WRITES 1000000u /* by each of two threads */
#define KILLS 300u

static struct hn_record *rec;
static struct hn_record_cursor *cur;

static int setup(void **state)
{
	(void)state;
	rec = aligned_alloc(4096, sizeof(*rec));
	cur = calloc(1, sizeof(*cur));
	if (!rec || !cur)
		return -1;
	hn_record_init(rec, 4);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(rec);
	free(cur);
	return 0;
}

static struct hn_decision decision(uint64_t n)
{
	return (struct hn_decision){
		.time_ns = n,
		.haddr = n * 3,
		.tid = (uint32_t)n * 5,
		.last_tid = (uint32_t)n * 7,
		.service_ns = (uint32_t)n * 11,
		.thread_nid = 1,
		.from_nid = 2,
		.target_nid = HN_NO_NODE,
		.last_nid = 1,
		.outcome = HN_FAULT_REFUSED,
	};
}

static bool is_whole(const struct hn_decision *d)
{
	struct hn_decision want = decision(d->time_ns);

	return memcmp(d, &want, sizeof(want)) == 0;
}

static void test_ring_keeps_the_latest(void **state)
{
	struct hn_decision d;
	uint32_t n, next;

	(void)state;
	assert_int_equal(hn_record_first(rec, &next), 0);
	assert_int_equal(next, 0);
	assert_false(hn_record_read(rec, 0, &d));
	for (n = 0; n < HN_RING_MAX + 10; n++) {
		d = decision(n);
		hn_record_decision(rec, &d);
	}
	assert_int_equal(hn_record_first(rec, &next), 10);
	assert_int_equal(next, HN_RING_MAX + 10);
	for (n = 0; n < next; n++) {
		assert_true(hn_record_read(rec, n, &d) == (n >= 10));
		if (n >= 10)
			assert_true(d.time_ns == n && is_whole(&d));
	}
	assert_int_equal(rec->ring.dropped.v, 0);
	assert_int_equal(rec->node[1].samples, HN_RING_MAX + 10);
}

/* A writer that sleeps in the middle: its place is unreadable, and whoever comes to it a ring later goes on. */
static void test_overtaken_writer(void **state)
{
	struct hn_decision d = decision(1);
	uint32_t n;

	(void)state;
	rec->ring.next.v = 1;
	rec->ring.place[0].seq.v = 1; /* number 0 is being written */
	assert_false(hn_record_read(rec, 0, &d));
	for (n = 1; n <= HN_RING_MAX; n++) {
		d = decision(n);
		hn_record_decision(rec, &d);
	}
	assert_int_equal(rec->ring.dropped.v, 1);
	assert_false(hn_record_read(rec, HN_RING_MAX, &d));
	assert_true(hn_record_read(rec, HN_RING_MAX - 1, &d) && is_whole(&d));
	rec->ring.place[0].seq.v = 2; /* done at last */
	assert_true(hn_record_read(rec, 0, &d));
	assert_false(hn_record_read(rec, HN_RING_MAX, &d));
}

static void *writer(void *arg)
{
	uint64_t i, base = (uint64_t)(uintptr_t)arg << 32;

	for (i = 0; i < WRITES; i++) {
		struct hn_decision d = decision(base + i);

		hn_record_decision(rec, &d);
	}
	return NULL;
}

static void test_reader_takes_none_but_whole_ones(void **state)
{
	uint32_t next = 0, n, torn = 0, got = 0;
	pthread_t t[2];
	uintptr_t i;

	(void)state;
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, writer, (void *)(i + 1)), 0);
	while (next < 2 * WRITES) {
		struct hn_decision d;

		/* the oldest ones: they are the next to be overwritten */
		for (n = hn_record_first(rec, &next); n < next; n = hn_record_first(rec, &next)) {
			if (!hn_record_read(rec, n, &d))
				continue;
			got++;
			torn += !is_whole(&d);
			if (next >= 2 * WRITES)
				break;
		}
	}
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(torn, 0);
	assert_true(got > 0);
	assert_int_equal(rec->node[1].samples, 2 * WRITES);
}

/* ---- regions ---- */

static void sample(hn_addr addr, int thread_nid, int nid, enum hn_outcome outcome, uint64_t ms)
{
	struct hn_decision d = { .time_ns = ms * 1000000,
				 .haddr = addr,
				 .thread_nid = (int8_t)thread_nid,
				 .from_nid = (int8_t)nid,
				 .target_nid = (int8_t)thread_nid,
				 .outcome = (uint8_t)outcome };

	hn_record_decision(rec, &d);
}

static void set_regions(unsigned nr, const hn_addr (*range)[2])
{
	static struct hn_region_row in[8];
	unsigned i;

	memset(in, 0, sizeof(in));
	for (i = 0; i < nr; i++) {
		in[i].start = range[i][0] * MIB;
		in[i].end = range[i][1] * MIB;
		in[i].pages = (uint32_t)((range[i][1] - range[i][0]) / 2);
	}
	hn_record_set_regions(cur, in, nr);
}

static void test_regions_count_what_is_in_them(void **state)
{
	static const hn_addr two[][2] = { { 100, 110 }, { 200, 210 } };
	static struct hn_region_row row[HN_RECORD_REGIONS];

	(void)state;
	set_regions(2, two);
	sample(100 * MIB, 1, 1, HN_FAULT_LOCAL, 1000);
	sample(108 * MIB, 2, 1, HN_FAULT_MIGRATED, 1000);
	sample(200 * MIB, 2, 1, HN_FAULT_REFUSED, 1000);
	sample(110 * MIB, 2, 1, HN_FAULT_REFUSED, 1000); /* between the two */
	sample(200 * MIB, 2, 1, HN_FAULT_WAITED, 1000);  /* no sample */
	hn_record_follow(rec, cur, 500, 1250);
	assert_int_equal(hn_record_copy_regions(rec, row), 2);
	assert_true(row[0].local == 1 && row[0].remote == 1 && row[0].migrated == 1 && row[0].pages == 5);
	assert_true(row[0].from[1] == 1 && row[0].from[2] == 1);
	assert_true(row[1].local == 0 && row[1].remote == 1 && row[1].migrated == 0 && row[1].recent_remote == 1);
	assert_true(rec->node[1].samples == 1 && rec->node[1].local == 1 && rec->node[2].samples == 3);
	assert_true(rec->node[2].migrated_to == 1 && rec->node[1].migrated_from == 1);
	rec->table_seq.v++;
	assert_true(hn_record_copy_regions(rec, row) == UINT32_MAX);
}

static void test_counters_follow_the_memory(void **state)
{
	static const hn_addr one[][2] = { { 100, 110 } }, grown[][2] = { { 100, 120 } };
	static const hn_addr cut[][2] = { { 100, 104 }, { 106, 120 } }, merged[][2] = { { 90, 130 } };

	(void)state;
	set_regions(1, one);
	sample(100 * MIB, 1, 1, HN_FAULT_LOCAL, 1000);
	hn_record_follow(rec, cur, 500, 1250);
	set_regions(1, grown);
	assert_int_equal(cur->now.row[0].local, 1);
	set_regions(2, cut); /* to the first part, once */
	assert_true(cur->now.row[0].local == 1 && cur->now.row[1].local == 0);
	sample(106 * MIB, 1, 1, HN_FAULT_LOCAL, 1000);
	hn_record_follow(rec, cur, 500, 1250);
	set_regions(1, merged);
	assert_true(cur->now.row[0].local == 2 && cur->now.young[0][0] == 2);
	set_regions(0, merged);
	assert_int_equal(cur->now.nr, 0);
}

static void test_lately_forgets(void **state)
{
	static const hn_addr one[][2] = { { 100, 110 } };

	(void)state;
	set_regions(1, one);
	hn_record_follow(rec, cur, 0, 1000);
	sample(100 * MIB, 1, 1, HN_FAULT_LOCAL, 1000);
	hn_record_follow(rec, cur, 0, 2000);
	assert_int_equal(rec->region[0].recent_local, 1);
	hn_record_follow(rec, cur, 0, 1000 + HN_RECENT_MS);
	assert_int_equal(rec->region[0].recent_local, 1);
	hn_record_follow(rec, cur, 0, 1000 + 2 * HN_RECENT_MS);
	assert_int_equal(rec->region[0].recent_local, 0);
	assert_int_equal(rec->region[0].local, 1);
}

static void test_what_comes_and_goes_is_counted_missed(void **state)
{
	uint32_t i;

	(void)state;
	for (i = 0; i < HN_RING_MAX + 7; i++)
		sample(100 * MIB, 1, 1, HN_FAULT_LOCAL, 1000);
	hn_record_follow(rec, cur, 0, 1250);
	assert_int_equal(rec->missed, 7);
	hn_record_follow(rec, cur, 0, 1500);
	assert_int_equal(rec->missed, 7);
}

/* A process ends between two looks of its scanner: who has the copy takes in the rest, once, and believes nothing. */
static void test_the_rest_is_taken_in(void **state)
{
	static const hn_addr one[][2] = { { 100, 110 } };
	uint32_t *heat = rec->heat.cell;

	(void)state;
	set_regions(1, one);
	sample(100 * MIB, 1, 1, HN_FAULT_LOCAL, 1000);
	hn_record_follow(rec, cur, 1000, 1250);
	sample(102 * MIB, 2, 1, HN_FAULT_MIGRATED, 1000);
	sample(102 * MIB, 2, 1, HN_FAULT_LOCAL, 500); /* before the beginning: at it */
	hn_record_finish(rec, 1000);
	hn_record_finish(rec, 1000);
	assert_true(rec->region[0].local == 2 && rec->region[0].remote == 1 && rec->region[0].migrated == 1);
	assert_true(rec->region[0].recent_local == 2 && rec->region[0].recent_remote == 1 &&
		    rec->region[0].from[2] == 2);
	assert_true(heat[1] == 1 && heat[rec->heat.nodes + 2] == 2);
	assert_true(hn_heat_is_sane(&rec->heat));
	sample(102 * MIB, 1, 1, HN_FAULT_REFUSED, UINT64_MAX / 1000000);
	rec->ring.place[3].d.thread_nid = 100;
	rec->heat.rows = HN_HEAT_ROWS + 1;
	assert_false(hn_heat_is_sane(&rec->heat));
	rec->followed = 0;
	hn_record_finish(rec, 0);
	assert_true(heat[rec->heat.nodes + 2] == 2);
}

/* Of what a reader looks at. */
static uint64_t heat_sum(const struct hn_heat *h, uint64_t *local)
{
	uint32_t p, i, n;
	uint64_t sum = 0;

	*local = 0;
	for (p = 0; p < h->nr_points; p++)
		for (i = 0; i < h->nr_rows; i++) {
			*local += h->local[p * h->rows + i];
			for (n = 0; n < h->nodes; n++)
				sum += h->cell[(p * h->rows + i) * h->nodes + n];
		}
	return sum;
}

static uint64_t samples(void)
{
	uint64_t sum = 0;

	for (uint32_t n = 0; n < 4; n++)
		sum += rec->node[n].samples;
	return sum;
}

static void check_rows(const struct hn_heat *h)
{
	uint32_t i;

	assert_true(h->nr_rows <= h->rows && h->nr_points <= h->points);
	for (i = 0; i + 1 < h->nr_rows; i++)
		assert_true(h->key[i] < h->key[i + 1]);
}

static uint64_t on_the_map(void)
{
	uint64_t local;

	return heat_sum(&rec->heat, &local);
}

/* Every sample is on the map or missed, also of those that went after the last look, or were never whole. */
static void test_what_is_gone_at_the_end_is_counted_missed(void **state)
{
	uint32_t i;

	(void)state;
	for (i = 0; i < 30; i++)
		sample(100 * MIB, 1, 1, HN_FAULT_LOCAL, 1000);
	hn_record_follow(rec, cur, 0, 1250);
	for (i = 0; i < HN_RING_MAX + 182; i++)
		sample(100 * MIB, 1, 1, HN_FAULT_LOCAL, 1500);
	rec->ring.place[500].seq.v++; /* killed while it wrote it */
	hn_record_finish(rec, 0);
	assert_int_equal(rec->missed, 183);
	assert_int_equal(on_the_map() + rec->missed, rec->node[1].samples);
}

/* Places and times that have the map coarsened, halved and its rows moved all the time. */
static void roam(uint64_t ms)
{
	static uint64_t x = 88172645463325252ull;

	for (unsigned i = 0; i < 50; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sample((100 + x % 4000 * (1 + ms / 10000)) * MIB, (int)(x >> 60) & 3, 1, i % 3 ? HN_FAULT_LOCAL : HN_FAULT_MIGRATED, ms);
	}
}

/* Killed with all published but the numbers; and with a map that was just to be written anew. */
static void test_killed_at_the_end_of_publishing(void **state)
{
	uint32_t followed;

	(void)state;
	roam(0);
	hn_record_follow(rec, cur, 0, 250);
	followed = rec->followed;
	roam(1000);
	hn_record_follow(rec, cur, 0, 500);
	rec->followed = followed;
	rec->table_seq.v++;
	hn_record_finish(rec, 0);
	assert_true(on_the_map() == samples() && !rec->missed);
	roam(2000);
	rec->taking = rec->followed;
	rec->heat.nr_rows = rec->heat.nr_points = 0;
	rec->table_seq.v++;
	hn_record_finish(rec, 0);
	assert_true(on_the_map() == 50 && rec->missed == 100);
}

struct victim {
	struct hn_record record;
	int renewed; /* odd: it is being made new, and nothing in it counts */
};

/* Decides and publishes, until it is killed. */
static void publish_for_ever(struct victim *v)
{
	rec = &v->record;
	for (;;) {
		__atomic_add_fetch(&v->renewed, 1, __ATOMIC_SEQ_CST);
		hn_record_init(rec, 4);
		memset(cur, 0, sizeof(*cur));
		__atomic_add_fetch(&v->renewed, 1, __ATOMIC_SEQ_CST);
		for (uint64_t ms = 0; ms < 1 << 30; ms += ms / 2 + 10000) {
			roam(ms);
			hn_record_follow(rec, cur, 0, ms);
		}
	}
}

/* Killed at whatever store: a sample counts once, but for the one that was just being counted. */
static void test_killed_while_publishing(void **state)
{
	struct victim *v = mmap(NULL, sizeof(*v), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned nr_torn = 0, nr_lacking = 0;

	(void)state;
	assert_true(v != MAP_FAILED);
	for (unsigned i = 0; i < KILLS; i++) {
		uint64_t sum;
		pid_t pid;

		v->renewed = 0;
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			publish_for_ever(v);
		for (unsigned n = 0; n < 200000 && !__atomic_load_n(&v->renewed, __ATOMIC_SEQ_CST); n++)
			usleep(100); /* until it has got a processor */
		usleep(i * 7919 % 3000);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		if (v->renewed && !(v->renewed & 1)) {
			memcpy(rec, &v->record, sizeof(*rec));
			nr_torn += rec->table_seq.v & 1;
			hn_record_finish(rec, 0);
			nr_lacking += rec->missed != 0;
			sum = on_the_map() + rec->missed;
			if (sum != samples() && sum != samples() + 1)
				fail_msg("%u: %lu on the map and missed, of %lu", i, (unsigned long)sum, (unsigned long)samples());
			assert_int_equal(rec->table_seq.v, 0);
			check_rows(&rec->heat);
		}
	}
	assert_true(nr_torn && nr_lacking);
	munmap(v, sizeof(*v));
}

/* ---- heat ---- */

static void test_heat_loses_nothing_when_it_coarsens(void **state)
{
	struct hn_heat *h = &rec->heat;
	uint64_t i, local, x = 12345;

	(void)state;
	for (i = 0; i < 20000; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		hn_heat_add(h, (x >> 20) % (64 << 20) * 4096, (int)(i % 4), i % 2, i * 7);
	}
	check_rows(h);
	assert_int_equal(heat_sum(h, &local), 20000);
	assert_int_equal(local, 10000);
	assert_true(h->shift > HN_PAGE_SHIFT && h->step_ms > 250);
	hn_heat_add(h, 0, 4, true, 0); /* no such node */
	hn_heat_add(h, 0, HN_NO_NODE, true, 0);
	assert_int_equal(heat_sum(h, &local), 20000);
}

static void test_heat_knows_when_and_where(void **state)
{
	struct hn_heat *h = &rec->heat;

	(void)state;
	hn_heat_add(h, 10 * MIB, 3, true, 0);
	hn_heat_add(h, 6 * MIB, 2, false, 600); /* a row before the other: that one makes room */
	assert_int_equal(h->nr_rows, 2);
	assert_int_equal(h->nr_points, 3);
	assert_true(h->key[0] == 3 && h->key[1] == 5);
	assert_int_equal(h->cell[(2 * h->rows + 0) * h->nodes + 2], 1);
	assert_int_equal(h->cell[(0 * h->rows + 1) * h->nodes + 3], 1);
	assert_true(h->local[1] == 1 && h->local[2 * h->rows] == 0);
}

/* ---- questions ---- */

static void test_question_and_answer(void **state)
{
	struct hn_answer a = { .place = HN_PLACE_SMALL }, got;
	uint32_t number, asked;
	hn_addr addr;

	(void)state;
	assert_false(hn_query_pending(&rec->query, &number, &addr));
	asked = hn_query_ask(&rec->query, 4711);
	assert_true(hn_query_pending(&rec->query, &number, &addr));
	assert_true(number == asked && addr == 4711);
	assert_false(hn_query_read(&rec->query, asked, 4711, &got));
	a.addr = addr;
	hn_query_answer(&rec->query, number, &a);
	assert_true(hn_query_read(&rec->query, asked, 4711, &got));
	assert_int_equal(got.place, HN_PLACE_SMALL);
	assert_false(hn_query_read(&rec->query, asked, 4712, &got)); /* the answer to somebody else */
	assert_false(hn_query_pending(&rec->query, &number, &addr));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ring_keeps_the_latest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overtaken_writer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reader_takes_none_but_whole_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(test_regions_count_what_is_in_them, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counters_follow_the_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lately_forgets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_comes_and_goes_is_counted_missed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_rest_is_taken_in, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_gone_at_the_end_is_counted_missed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_at_the_end_of_publishing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_while_publishing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heat_loses_nothing_when_it_coarsens, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heat_knows_when_and_where, setup, teardown),
		cmocka_unit_test_setup_teardown(test_question_and_answer, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
