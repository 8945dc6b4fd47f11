// SPDX-License-Identifier: MIT
/* Histograms against a brute-force model, the decimated series, and the conservation equations. */
#include "fake.h"

#include <stdlib.h>
#include <string.h>

static unsigned bucket_by_search(uint64_t v)
{
	unsigned i;

	for (i = HN_HIST_BUCKETS - 1; hn_hist_bucket_floor(i) > v; i--)
		;
	return i;
}

static void check_bucket(uint64_t v)
{
	struct hn_hist h;
	unsigned i, want = bucket_by_search(v);

	memset(&h, 0, sizeof(h));
	hn_hist_add(&h, v);
	assert_true(h.count == 1 && h.sum == v && h.max == v);
	for (i = 0; i < HN_HIST_BUCKETS; i++)
		if (h.bucket[i] != (i == want))
			fail_msg("value %llu: bucket %u has %llu", (unsigned long long)v, i,
				 (unsigned long long)h.bucket[i]);
}

static void test_buckets_tile_the_range(void **state)
{
	unsigned i;

	(void)state;
	assert_int_equal(hn_hist_bucket_floor(0), 0);
	for (i = 0; i + 1 < HN_HIST_BUCKETS; i++) {
		uint64_t lo = hn_hist_bucket_floor(i), hi = hn_hist_bucket_floor(i + 1);

		assert_true(hi > lo);
		assert_true(lo < 8 || (hi - lo) * 8 <= lo); /* relative error <= 12.5 % */
		check_bucket(lo);
		check_bucket(hi - 1);
	}
	assert_true(hn_hist_bucket_floor(HN_HIST_BUCKETS) == (uint64_t)1 << 40);
	check_bucket(((uint64_t)1 << 40) - 1);
	check_bucket((uint64_t)1 << 40);
	check_bucket(UINT64_MAX);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The value that permille/1000 of the sorted samples do not exceed. */
static uint64_t exact(const uint64_t *sorted, unsigned n, unsigned permille)
{
	unsigned rank = (n * permille + 999) / 1000;

	return sorted[rank ? rank - 1 : 0];
}

static void check_percentiles(const uint64_t *v, unsigned n)
{
	static const unsigned permilles[] = { 0, 1, 250, 500, 900, 990, 999, 1000 };
	uint64_t *sorted = malloc(n * sizeof(*v));
	struct hn_hist h;
	unsigned i;

	memset(&h, 0, sizeof(h));
	memcpy(sorted, v, n * sizeof(*v));
	qsort(sorted, n, sizeof(*v), by_value);
	for (i = 0; i < n; i++)
		hn_hist_add(&h, v[i]);
	for (i = 0; i < sizeof(permilles) / sizeof(permilles[0]); i++) {
		uint64_t want = exact(sorted, n, permilles[i]), got = hn_hist_percentile(&h, permilles[i]);

		if (got < want || got - want > want / 8 || got > sorted[n - 1])
			fail_msg("%u permille of %u: %llu, should be %llu", permilles[i], n, (unsigned long long)got,
				 (unsigned long long)want);
	}
	assert_true(hn_hist_percentile(&h, 1000) == sorted[n - 1]);
	free(sorted);
}

static void test_percentiles(void **state)
{
	uint64_t v[1000], x = 88172645463325252ULL;
	unsigned n, i;

	(void)state;
	for (n = 1; n <= 1000; n = n < 10 ? n + 1 : n * 3) {
		for (i = 0; i < n; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			v[i] = x >> (24 + x % 40);
		}
		check_percentiles(v, n);
	}
	for (i = 0; i < 100; i++)
		v[i] = 5000;
	check_percentiles(v, 100);
}

static void test_empty_histogram(void **state)
{
	struct hn_hist h;

	(void)state;
	memset(&h, 0, sizeof(h));
	assert_int_equal(hn_hist_percentile(&h, 500), 0);
	hn_hist_add(&h, 0);
	assert_int_equal(hn_hist_percentile(&h, 1000), 0);
}

/* However long it runs: it covers all of it, evenly, first point kept, never more than HN_SERIES_MAX points. */
static void test_series_is_even(void **state)
{
	struct hn_stats *s = calloc(1, sizeof(*s));
	uint64_t t;
	uint32_t i;

	(void)state;
	for (t = 0; t < 10000; t++) {
		s->samples = t * 3;
		s->local = t;
		s->migrated = t / 2;
		s->armed = t * 4;
		hn_series_offer(s, t);
		assert_in_range(s->series.nr, 1, HN_SERIES_MAX);
		if (t % 97 && t > 600)
			continue;
		for (i = 0; i < s->series.nr; i++) {
			const struct hn_series_point *p = &s->series.point[i];

			assert_int_equal(p->time_ms, (uint64_t)i * s->series.every);
			assert_int_equal(p->samples, p->time_ms * 3);
			assert_int_equal(p->local, p->time_ms);
			assert_int_equal(p->migrated, p->time_ms / 2);
			assert_int_equal(p->armed, p->time_ms * 4);
		}
		assert_true(t - s->series.point[s->series.nr - 1].time_ms < s->series.every);
		assert_true(t < HN_SERIES_MAX || s->series.nr > HN_SERIES_MAX / 2);
	}
	free(s);
}

/* Every counter that is part of an equation must be able to break it. */
static void test_equations_notice_each_counter(void **state)
{
	struct fake *f = *state;
	struct hn_stats *s = &f->stats;
	uint64_t *const counters[] = {
		&s->armed, &s->disarmed_total, &s->disarmed[HN_DISARM_FAULT], &s->disarmed[HN_DISARM_EXPIRY],
		&s->disarmed[HN_DISARM_EVENT], &s->disarmed[HN_DISARM_DRAIN], &s->messages, &s->samples, &s->local,
		&s->refused[HN_REFUSE_FILTER], &s->refused[HN_REFUSE_NO_NODE], &s->refused[HN_REFUSE_OBSERVE],
		&s->refused[HN_REFUSE_HELD], &s->migrated, &s->failed[HN_FAIL_TARGET], &s->failed[HN_FAIL_ISOLATE], &s->failed[HN_FAIL_COPY],
		&s->failed[HN_FAIL_COMMIT], &s->raced, &s->stale, &s->waited, &s->deferred, &s->unmanaged,
		&s->armed_now,
	};
	unsigned i;

	fake_manage(f, 0, 2, 0);
	fake_sample(f, 0, 1);
	fake_sample(f, 0, 1);
	fake_arm(f, 1);
	assert_true(hn_stats_balanced(s));
	for (i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		++*counters[i];
		if (hn_stats_balanced(s))
			fail_msg("counter %u is in no equation", i);
		--*counters[i];
	}
	assert_true(hn_stats_balanced(s));
}

static void test_times_are_recorded(void **state)
{
	struct fake *f = *state;
	struct hn_verdict v;

	fake_manage(f, 0, 1, 0);
	fake_arm(f, 0);
	assert_int_equal(hn_fault(&f->hn, fake_at(0), 1, f->now_ns - 700, &v), HN_FAULT_REFUSED);
	fake_arm(f, 0);
	assert_int_equal(hn_fault(&f->hn, fake_at(0), 1, f->now_ns - 9000, &v), HN_FAULT_MIGRATED);
	assert_int_equal(hn_fault(&f->hn, fake_at(0), 1, f->now_ns - 9999, &v), HN_FAULT_STALE); /* not accounted */
	assert_int_equal(f->stats.fault_service_ns.count, 2);
	assert_int_equal(f->stats.fault_service_ns.sum, 9700);
	assert_int_equal(f->stats.migration_stall_ns.count, 1);
	assert_int_equal(f->stats.migration_stall_ns.max, 9000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets_tile_the_range),
		cmocka_unit_test(test_percentiles),
		cmocka_unit_test(test_empty_histogram),
		cmocka_unit_test(test_series_is_even),
		fake_test(test_equations_notice_each_counter),
		fake_test(test_times_are_recorded),
	};

	return fake_run(tests);
}
