// SPDX-License-Identifier: MIT
#include "field.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static size_t slot(size_t page, size_t thread, size_t stripe)
{
	return (page * opt.threads + thread) * STRIPES + stripe;
}

static struct stripe *stripe_of(const struct field *field, size_t page, size_t thread, size_t stripe)
{
	return &field->stripes[slot(page, thread, stripe)];
}

static uint64_t *tally(const struct field *field, size_t page, size_t thread, size_t counter)
{
	return &field->tallies[(page * opt.threads + thread) * COUNTERS + counter];
}

static bool is_counter(size_t word)
{
	return word % COUNTER_STEP == 0;
}

/* The owner's first word at or after @word; the next ones follow opt.threads apart. */
static size_t own_word(size_t word, size_t thread)
{
	return word + (thread + opt.threads - word % opt.threads) % opt.threads;
}

/* Main touches every page first. */
static void fill(struct field *field)
{
	for (size_t i = 0; i < field->pages * opt.threads * STRIPES; i++)
		atomic_init(&field->stripes[i].number, 1);
	for (size_t w = 0; w < field->pages * HUGE_WORDS; w++)
		field->area.words[w] = is_counter(w) ? 0 : stamp(field->salt, w, 1);
}

int field_create(struct field *field, const char *name, size_t pages, uint32_t salt, bool forked)
{
	field->pages = pages;
	field->salt = salt;
	field->forked = forked;
	field->stripes = calloc(pages * opt.threads * STRIPES, sizeof(struct stripe));
	field->tallies = calloc(pages * opt.threads * COUNTERS, sizeof(uint64_t));
	field->history = calloc(pages, sizeof(struct history));
	if (!field->stripes || !field->tallies || !field->history || area_map(&field->area, name, pages))
		return -1;
	/* Every page written while a forked child lives is split for good; most of the torture wants whole pages. */
	if (!forked && madvise(field->area.words, field->area.bytes, MADV_DONTFORK))
		return -1;
	fill(field);
	return 0;
}

static void wrong_word(struct field *field, const struct actor *a, size_t page, size_t word, uint64_t expected,
		       uint64_t found)
{
	size_t owner = word % opt.threads, stripe = word / LINE_WORDS % STRIPES;
	const struct wrong w = {
		.what = "stale or lost word",
		.area = field->area.name,
		.address = &field->area.words[page * HUGE_WORDS + word],
		.page = page,
		.word = word,
		.owner = (int)owner,
		.where = (uint16_t)stripe,
		.expected = expected,
		.found = found,
		.doing = atomic_load(&a->doing),
		.history = &field->history[page],
		.written_us = stripe_of(field, page, owner, stripe)->written_us,
	};

	report_word(&w);
}

static void visit_line(struct field *field, struct actor *a, size_t page, size_t line, uint32_t number,
		       unsigned int burst)
{
	uint64_t *words = field->area.words + page * HUGE_WORDS;
	size_t first = own_word(line * LINE_WORDS, a->id), end = (line + 1) * LINE_WORDS;

	for (uint32_t n = number; n < number + burst; n++) {
		for (size_t w = first; w < end; w += opt.threads) {
			uint64_t expected = stamp(field->salt, page * HUGE_WORDS + w, n), found;

			if (is_counter(w))
				continue;
			found = load(&words[w]);
			if (__builtin_expect(found != expected, 0))
				wrong_word(field, a, page, w, expected, found);
			store(&words[w], stamp(field->salt, page * HUGE_WORDS + w, n + 1));
			a->checked++;
		}
	}
}

static void count(struct field *field, struct actor *a, size_t page)
{
	size_t counter = pick(a, COUNTERS);

	__atomic_fetch_add(&field->area.words[page * HUGE_WORDS + counter * COUNTER_STEP], 1, __ATOMIC_RELAXED);
	++*tally(field, page, a->id, counter);
}

void field_visit(struct field *field, struct actor *a, size_t page, size_t stripe, unsigned int burst)
{
	struct stripe *s = stripe_of(field, page, a->id, stripe);
	uint32_t number = atomic_load_explicit(&s->number, memory_order_relaxed);
	size_t start = pick(a, HUGE_BASES);
	const struct event event = {
		.from = number,
		.to = number + burst,
		.where = (uint16_t)stripe,
		.op = OP_VISIT,
		.thread = (uint8_t)a->id,
	};

	history_add(&field->history[page], &event);
	for (size_t i = 0; i < HUGE_BASES; i++) {
		visit_line(field, a, page, (start + i) % HUGE_BASES * STRIPES + stripe, number, burst);
		step(a);
	}
	count(field, a, page);
	atomic_store_explicit(&s->number, number + burst, memory_order_release);
	s->written_us = (uint32_t)((now_ns() - start_ns) / 1000);
	count_checked(a);
}

static void check_counters(struct field *field, struct actor *a, size_t page)
{
	for (size_t counter = 0; counter < COUNTERS; counter++) {
		uint64_t *word = &field->area.words[page * HUGE_WORDS + counter * COUNTER_STEP];
		uint64_t sum = 0, found = load(word);

		for (size_t t = 0; t < opt.threads; t++)
			sum += *tally(field, page, t, counter);
		a->checked++;
		if (found == sum)
			continue;
		report_other(field->area.name, "counter %zu of page %zu at %p: %lu increments, holds %lu: %ld lost",
			     counter, page, (void *)word, (unsigned long)sum, (unsigned long)found,
			     (long)(sum - found));
		store(word, sum);
	}
}

void field_check_page(struct field *field, struct actor *a, size_t page)
{
	uint64_t *words = field->area.words + page * HUGE_WORDS;

	for (size_t w = 0; w < HUGE_WORDS; w++) {
		struct stripe *s = stripe_of(field, page, w % opt.threads, w / LINE_WORDS % STRIPES);
		uint64_t expected = stamp(field->salt, page * HUGE_WORDS + w,
					  atomic_load_explicit(&s->number, memory_order_relaxed));
		uint64_t found;

		if (is_counter(w))
			continue;
		found = load(&words[w]);
		step(a);
		if (found != expected) {
			wrong_word(field, a, page, w, expected, found);
			store(&words[w], expected);
		}
	}
	check_counters(field, a, page);
	a->checked += HUGE_WORDS - COUNTERS;
	count_checked(a);
}

size_t field_floor_bytes(const struct field *field)
{
	return field->pages * opt.threads * STRIPES * sizeof(uint32_t);
}

uint32_t *field_floor(const struct field *field, uint32_t *floor)
{
	for (size_t i = 0; i < field->pages * opt.threads * STRIPES; i++)
		floor[i] = atomic_load_explicit(&field->stripes[i].number, memory_order_acquire);
	return floor;
}

bool field_check_child(const struct field *field, const uint32_t *floor, uint64_t random, struct wrong *bad)
{
	/* One word of every 64, at an offset that changes: a child must not take longer than its parent's patience. */
	for (size_t w = random % 64; w < field->pages * HUGE_WORDS; w += 64 + (w & 1)) {
		size_t stripe = w % HUGE_WORDS / LINE_WORDS % STRIPES;
		uint32_t least = floor[slot(w / HUGE_WORDS, w % HUGE_WORDS % opt.threads, stripe)];
		uint64_t expected = stamp(field->salt, w, least), found = load(&field->area.words[w]);

		if (is_counter(w % HUGE_WORDS))
			continue;
		if ((uint32_t)found == (uint32_t)expected && stamp_number(found) >= least)
			continue;
		bad->address = &field->area.words[w];
		bad->page = w / HUGE_WORDS;
		bad->word = w % HUGE_WORDS;
		bad->expected = expected;
		bad->found = found;
		return false;
	}
	return true;
}
