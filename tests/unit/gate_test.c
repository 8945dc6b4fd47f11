// SPDX-License-Identifier: MIT
/* The event gate: readers together, writers alone, writers first, and the word clean at rest. */
#include "fake.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define READERS 0x00ffffffu
#define WANTED (1u << 29)
#define SLEEPERS (1u << 30)
#define WRITER (1u << 31)

static void test_word_is_clean_at_rest(void **state)
{
	struct fake *f = *state;
	struct hn_word *w = &f->hn.core->gate;

	hn_gate_read_lock(&f->hn);
	assert_int_equal(w->v, 1);
	hn_gate_read_lock(&f->hn);
	assert_int_equal(w->v & READERS, 2);
	hn_gate_read_unlock(&f->hn);
	hn_gate_read_unlock(&f->hn);
	assert_int_equal(w->v, 0);
	hn_gate_write_lock(&f->hn);
	assert_true(w->v & WRITER);
	hn_gate_write_unlock(&f->hn);
	assert_int_equal(w->v, 0);
}

static void *write_once(void *arg)
{
	struct fake *f = arg;

	hn_gate_write_lock(&f->hn);
	f->wakes++;
	hn_gate_write_unlock(&f->hn);
	return NULL;
}

static void *read_once(void *arg)
{
	struct fake *f = arg;

	hn_gate_read_lock(&f->hn);
	f->version = f->wakes; /* did the writer come before us? */
	hn_gate_read_unlock(&f->hn);
	return NULL;
}

static void wait_for_bits(struct fake *f, uint32_t bits)
{
	while ((hn_load_relaxed(&f->hn.core->gate) & bits) != bits)
		sched_yield();
}

/* A writer that wants in keeps new readers out, and is let in first. */
static void test_writer_goes_first(void **state)
{
	struct fake *f = *state;
	pthread_t writer, reader;

	hn_gate_read_lock(&f->hn);
	assert_int_equal(pthread_create(&writer, NULL, write_once, f), 0);
	wait_for_bits(f, WANTED | SLEEPERS);
	assert_int_equal(pthread_create(&reader, NULL, read_once, f), 0);
	usleep(20000); /* time to come in vain */
	hn_gate_read_unlock(&f->hn);
	pthread_join(writer, NULL);
	pthread_join(reader, NULL);
	assert_int_equal(f->version, 1);
	assert_int_equal(f->hn.core->gate.v, 0);
}

/* The note of a writer survives the last reader: no reader may slip in before the writer has woken up. */
static void test_wanting_writer_is_not_forgotten(void **state)
{
	struct fake *f = *state;
	struct hn_word *w = &f->hn.core->gate;

	hn_gate_read_lock(&f->hn);
	w->v |= WANTED | SLEEPERS; /* as a writer leaves it before it sleeps */
	hn_gate_read_unlock(&f->hn);
	assert_int_equal(w->v, WANTED | SLEEPERS);
	hn_gate_write_lock(&f->hn);
	assert_true(w->v & WRITER);
	hn_gate_write_unlock(&f->hn);
	assert_int_equal(w->v, 0);
}

/* ---- readers that come in vain ---- */

struct party {
	struct fake *f;
	struct hn_word left, visits;
};

static void *write_and_leave(void *arg)
{
	struct party *p = arg;

	hn_gate_write_lock(&p->f->hn);
	hn_gate_write_unlock(&p->f->hn);
	hn_add_acq_rel(&p->left, 1);
	return NULL;
}

static void *read_and_leave(void *arg)
{
	struct party *p = arg;

	hn_gate_read_lock(&p->f->hn);
	hn_gate_read_unlock(&p->f->hn);
	hn_add_acq_rel(&p->left, 1);
	return NULL;
}

/* All of them are through the gate. If nobody is for so long, open it by force, so that they leave it alone, and fail. */
static void all_leave(struct party *p, uint32_t nr, int seconds)
{
	struct hn_word *w = &p->f->hn.core->gate;
	uint32_t visits = 0;
	int ms;

	for (ms = 0; hn_load_acquire(&p->left) < nr && ms < 1000 * seconds; ms++) {
		usleep(1000);
		if (hn_load_relaxed(&p->visits) != visits)
			ms = 0;
		visits = hn_load_relaxed(&p->visits);
	}
	if (hn_load_acquire(&p->left) == nr)
		return;
	while (hn_load_acquire(&p->left) < nr) {
		hn_store_relaxed(w, 0);
		hn_wake(w, INT32_MAX);
		usleep(1000);
	}
	hn_store_relaxed(w, 0);
	fail_msg("somebody sleeps at the gate for ever");
}

/* A reader looks at the flags only: it goes in beside any number of others, and backs out of a gate that is closed. */
static void test_reader_that_backs_out_leaves_no_trace(void **state)
{
	struct party p = { .f = *state };
	struct hn_word *w = &p.f->hn.core->gate;
	pthread_t reader[3];
	int i;

	hn_gate_write_lock(&p.f->hn);
	for (i = 0; i < 3; i++)
		pthread_create(&reader[i], NULL, read_and_leave, &p);
	while (hn_load_relaxed(w) != (WRITER | SLEEPERS))
		sched_yield();
	hn_gate_write_unlock(&p.f->hn);
	all_leave(&p, 3, 5);
	for (i = 0; i < 3; i++)
		pthread_join(reader[i], NULL);
	assert_int_equal(w->v, 0);
}

/* The writer leaves while a reader's addition stands that will be taken back: the flags go, the addition stays. */
static void test_writer_leaves_before_a_reader_backs_out(void **state)
{
	struct fake *f = *state;
	struct hn_word *w = &f->hn.core->gate;

	hn_gate_write_lock(&f->hn);
	assert_int_equal(hn_add_masked(w, 1, WRITER | WANTED | SLEEPERS), WRITER);
	hn_gate_write_unlock(&f->hn);
	assert_int_equal(w->v, 1);
	hn_gate_read_unlock(&f->hn); /* backing out */
	assert_int_equal(w->v, 0);
}

/*
 * The last reader leaves while another one is on its way in, and so does not wake the writer: the other will back out,
 * and has to do it.
 */
static void test_reader_that_backs_out_wakes_the_writer(void **state)
{
	struct party p = { .f = *state };
	struct hn_word *w = &p.f->hn.core->gate;
	pthread_t writer, reader;

	hn_gate_read_lock(&p.f->hn);
	pthread_create(&writer, NULL, write_and_leave, &p);
	wait_for_bits(p.f, WANTED | SLEEPERS);
	usleep(20000); /* so that it does sleep; if not, the test sees less, but does not fail */
	hn_add_masked(w, 1, 0);
	hn_gate_read_unlock(&p.f->hn);
	hn_add_masked(w, (uint32_t)-1, 0); /* the word as it is while the reader's wake-up is outstanding ... */
	pthread_create(&reader, NULL, read_and_leave, &p); /* ... and that wake-up, by the real thing */
	all_leave(&p, 2, 5);
	pthread_join(writer, NULL);
	pthread_join(reader, NULL);
	assert_int_equal(w->v, 0);
}

/* One reader inside, one that backs out meanwhile: whoever of them is last wakes the writer. */
static void test_last_reader_wakes_the_writer(void **state)
{
	struct party p = { .f = *state };
	pthread_t writer, reader;

	hn_gate_read_lock(&p.f->hn);
	pthread_create(&writer, NULL, write_and_leave, &p);
	wait_for_bits(p.f, WANTED | SLEEPERS);
	pthread_create(&reader, NULL, read_and_leave, &p);
	usleep(20000);
	assert_int_equal(hn_load_acquire(&p.left), 0);
	hn_gate_read_unlock(&p.f->hn);
	all_leave(&p, 2, 5);
	pthread_join(writer, NULL);
	pthread_join(reader, NULL);
	assert_int_equal(p.f->hn.core->gate.v, 0);
}

#define CROWD 6
#define VISITS 4000

struct visitor {
	struct party *p;
	bool writes;
};

static void *visit(void *arg)
{
	struct visitor *v = arg;
	struct hn *hn = &v->p->f->hn;
	int i;

	for (i = 0; i < VISITS; i++) {
		if (v->writes) {
			hn_gate_write_lock(hn);
			if (i % 8 == 0)
				sched_yield();
			hn_gate_write_unlock(hn);
		} else {
			hn_gate_read_lock(hn);
			if (i % 8 == 0)
				sched_yield();
			hn_gate_read_unlock(hn);
		}
		hn_add_acq_rel(&v->p->visits, 1);
		if (i % 64 == 0)
			usleep(50);
	}
	hn_add_acq_rel(&v->p->left, 1);
	return NULL;
}

/* Nobody comes for ever, so nobody's lost wake-up is made good by the next. */
static void test_no_wake_up_is_lost(void **state)
{
	struct party p = { .f = *state };
	struct visitor v[CROWD];
	pthread_t t[CROWD];
	int i, writers;

	for (writers = 1; writers < CROWD; writers += 2) {
		p.left.v = 0;
		for (i = 0; i < CROWD; i++) {
			v[i] = (struct visitor){ &p, i < writers };
			pthread_create(&t[i], NULL, visit, &v[i]);
		}
		all_leave(&p, CROWD, 20);
		for (i = 0; i < CROWD; i++)
			pthread_join(t[i], NULL);
		assert_int_equal(p.f->hn.core->gate.v, 0);
	}
}

struct storm {
	struct fake *f;
	struct hn_word stop;
	uint64_t inside; /* plain on purpose: the thread sanitizer looks at it */
	unsigned readers_saw;
};

static void *storm_reader(void *arg)
{
	struct storm *s = arg;
	uint64_t sum = 0;

	while (!hn_load_relaxed(&s->stop)) {
		hn_gate_read_lock(&s->f->hn);
		sum += s->inside & 1; /* odd only while a writer is inside */
		hn_gate_read_unlock(&s->f->hn);
	}
	return (void *)(uintptr_t)sum;
}

static void *storm_writer(void *arg)
{
	struct storm *s = arg;
	int i;

	for (i = 0; i < 2000; i++) {
		hn_gate_write_lock(&s->f->hn);
		s->inside++;
		s->inside++;
		hn_gate_write_unlock(&s->f->hn);
	}
	return NULL;
}

/* Readers without a pause, two writers: it ends, and nobody sees another's middle. */
static void test_storm(void **state)
{
	struct storm s = { .f = *state };
	pthread_t r[3], w[2];
	void *saw;
	int i;

	for (i = 0; i < 3; i++)
		pthread_create(&r[i], NULL, storm_reader, &s);
	for (i = 0; i < 2; i++)
		pthread_create(&w[i], NULL, storm_writer, &s);
	for (i = 0; i < 2; i++)
		pthread_join(w[i], NULL);
	hn_store_relaxed(&s.stop, 1);
	for (i = 0; i < 3; i++) {
		pthread_join(r[i], &saw);
		assert_null(saw);
	}
	assert_int_equal(s.inside, 8000);
	assert_int_equal(s.f->hn.core->gate.v, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fake_test(test_word_is_clean_at_rest),
		fake_test(test_writer_goes_first),
		fake_test(test_wanting_writer_is_not_forgotten),
		fake_test(test_reader_that_backs_out_leaves_no_trace),
		fake_test(test_writer_leaves_before_a_reader_backs_out),
		fake_test(test_reader_that_backs_out_wakes_the_writer),
		fake_test(test_last_reader_wakes_the_writer),
		fake_test(test_no_wake_up_is_lost),
		fake_test(test_storm),
	};

	return fake_run(tests);
}
