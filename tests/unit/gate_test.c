// SPDX-License-Identifier: MIT
/* The event gate: readers together, writers alone, writers first, and the word clean at rest. */
#include "fake.h"

#include <pthread.h>
#include <sched.h>

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
	assert_int_equal(hn_load_relaxed(&f->hn.core->gate) & READERS, 1);
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
		fake_test(test_storm),
	};

	return fake_run(tests);
}
