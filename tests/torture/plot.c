// SPDX-License-Identifier: MIT
#include "plot.h"

#include <stdlib.h>

static uint64_t state(uint64_t number, enum kind kind)
{
	return number << 2 | kind;
}

static enum kind kind_of(uint64_t s)
{
	return (enum kind)(s & 3);
}

static uint32_t number_of(uint64_t s)
{
	return (uint32_t)(s >> 2);
}

static uint64_t settled(const struct plot *plot, size_t base)
{
	return atomic_load_explicit(&plot->base[base].settled, memory_order_relaxed);
}

int plot_create(struct plot *plot, const char *name, size_t pages, unsigned int id)
{
	plot->pages = pages;
	plot->bases = pages * HUGE_BASES;
	plot->salt = (uint32_t)mix(id + 1000);
	plot->id = id;
	plot->base = calloc(plot->bases, sizeof(struct base_page));
	plot->history = calloc(pages, sizeof(struct history));
	pthread_mutex_init(&plot->gate, NULL);
	if (!plot->base || !plot->history)
		return -1;
	return area_map(&plot->area, name, pages);
}

void plot_begin(struct plot *plot, struct range range, enum kind kind)
{
	for (size_t b = range.first; b < range.first + range.n; b++) {
		uint64_t now = settled(plot, b);

		if (kind == KIND_FREED && kind_of(now) != KIND_FREED)
			plot->base[b].before_free = now;
		atomic_store_explicit(&plot->base[b].begun, state(number_of(now) + 1, kind), memory_order_relaxed);
	}
	/* A spectator that sees the effect must see "begun" too. */
	atomic_thread_fence(memory_order_seq_cst);
}

void plot_settle(struct plot *plot, struct range range)
{
	for (size_t b = range.first; b < range.first + range.n; b++)
		atomic_store_explicit(&plot->base[b].settled,
				      atomic_load_explicit(&plot->base[b].begun, memory_order_relaxed),
				      memory_order_release);
}

uint32_t plot_begun_number(const struct plot *plot, size_t b)
{
	return number_of(atomic_load_explicit(&plot->base[b].begun, memory_order_relaxed));
}

void plot_note(struct plot *plot, struct actor *a, struct range range, enum op op)
{
	size_t end = range.first + range.n;

	for (size_t page = range.first / HUGE_BASES; page * HUGE_BASES < end; page++) {
		size_t from = range.first > page * HUGE_BASES ? range.first - page * HUGE_BASES : 0;
		size_t to = end < (page + 1) * HUGE_BASES ? end - page * HUGE_BASES : HUGE_BASES;
		const struct event event = {
			.from = number_of(settled(plot, page * HUGE_BASES + from)),
			.to = plot_begun_number(plot, page * HUGE_BASES + from),
			.where = (uint16_t)from,
			.count = (uint16_t)(to - from),
			.op = (uint8_t)op,
			.thread = (uint8_t)a->id,
		};

		history_add(&plot->history[page], &event);
	}
}

void plot_write(struct plot *plot, struct actor *a, struct range range)
{
	plot_begin(plot, range, KIND_WRITTEN);
	plot_note(plot, a, range, OP_WRITE);
	for (size_t b = range.first; b < range.first + range.n; b++) {
		uint32_t number = plot_begun_number(plot, b);

		for (size_t w = b * BASE_WORDS; w < (b + 1) * BASE_WORDS; w++)
			store(&plot->area.words[w], stamp(plot->salt, w, number));
		step(a);
	}
	plot_settle(plot, range);
}

void plot_report(struct plot *plot, struct actor *a, size_t w, uint64_t expected, uint64_t found, const char *accepted)
{
	const struct wrong wrong = {
		.what = expected ? "stale or lost word" : "stale word",
		.area = plot->area.name,
		.address = &plot->area.words[w],
		.page = w / HUGE_WORDS,
		.word = w % HUGE_WORDS,
		.owner = (int)a->id,
		.where = (uint16_t)(w / BASE_WORDS % HUGE_BASES),
		.expected = expected,
		.found = found,
		.accepted = accepted,
		.doing = atomic_load(&a->doing),
		.history = &plot->history[w / HUGE_WORDS],
	};

	report_word(&wrong);
}

static uint64_t value_in(const struct plot *plot, uint64_t s, size_t w)
{
	return kind_of(s) == KIND_WRITTEN ? stamp(plot->salt, w, number_of(s)) : 0;
}

uint64_t plot_expected(const struct plot *plot, size_t w)
{
	return value_in(plot, settled(plot, w / BASE_WORDS), w);
}

/* After MADV_FREE a base page goes from old to zero as a whole, once: old content behind a zero word is wrong. */
static size_t verify_freed(struct plot *plot, struct actor *a, size_t b, const uint64_t *words)
{
	uint64_t old_state = plot->base[b].before_free;
	size_t errors = 0;
	bool gone = false;

	for (size_t i = 0; i < BASE_WORDS; i++) {
		size_t w = b * BASE_WORDS + i;
		uint64_t old = value_in(plot, old_state, w), found = load(&words[i]);

		if (found != 0 && (found != old || gone)) {
			plot_report(plot, a, w, gone ? 0 : old, found, gone ? "as before it in this page" : "or zero");
			errors++;
		}
		gone |= found == 0;
	}
	/* Seen empty: it stays so. */
	if (gone)
		atomic_store(&plot->base[b].settled, state(number_of(settled(plot, b)), KIND_ZERO));
	return errors;
}

static size_t verify_base(struct plot *plot, struct actor *a, size_t b, const uint64_t *words)
{
	uint64_t s = settled(plot, b);
	size_t errors = 0;

	if (kind_of(s) == KIND_FREED)
		return verify_freed(plot, a, b, words);
	for (size_t i = 0; i < BASE_WORDS; i++) {
		uint64_t expected = value_in(plot, s, b * BASE_WORDS + i), found = load(&words[i]);

		if (__builtin_expect(found == expected, 1))
			continue;
		plot_report(plot, a, b * BASE_WORDS + i, expected, found, NULL);
		errors++;
	}
	return errors;
}

size_t plot_verify_copy(struct plot *plot, struct actor *a, struct range range, const uint64_t *copy)
{
	size_t errors = 0;

	for (size_t i = 0; i < range.n; i++) {
		errors += verify_base(plot, a, range.first + i, copy + i * BASE_WORDS);
		step(a);
	}
	a->checked += range.n * BASE_WORDS;
	count_checked(a);
	return errors;
}

size_t plot_verify(struct plot *plot, struct actor *a, struct range range)
{
	size_t errors = plot_verify_copy(plot, a, range, plot->area.words + range.first * BASE_WORDS);

	/* Write the right content back, so that one loss is one report and not one per round. */
	if (errors)
		plot_write(plot, a, range);
	return errors;
}

bool plot_check_child(const struct plot *plot, struct wrong *bad)
{
	for (size_t w = 0; w < plot->bases * BASE_WORDS; w++) {
		uint64_t found = load(&plot->area.words[w]), expected = plot_expected(plot, w);

		if (found == expected)
			continue;
		bad->address = &plot->area.words[w];
		bad->page = w / HUGE_WORDS;
		bad->word = w % HUGE_WORDS;
		bad->expected = expected;
		bad->found = found;
		return false;
	}
	return true;
}

static bool plausible(const struct plot *plot, size_t w, uint64_t low, uint64_t high, uint64_t found)
{
	uint32_t number = stamp_number(found);

	if (low == high && kind_of(low) != KIND_FREED)
		return found == value_in(plot, low, w);
	if (found == 0)
		return kind_of(low) != KIND_WRITTEN || kind_of(high) != KIND_WRITTEN ||
		       number_of(high) - number_of(low) > 1;
	if (found != stamp(plot->salt, w, number) || number > number_of(high))
		return false;
	/* Freed pages may keep what they held before, whose number only the owner knows: any past one will do. */
	return number >= number_of(low) || kind_of(low) == KIND_FREED;
}

static void look(struct plot *plot, struct actor *a, size_t w)
{
	struct base_page *base = &plot->base[w / BASE_WORDS];
	uint64_t low = atomic_load_explicit(&base->settled, memory_order_acquire);
	uint64_t found = __atomic_load_n(&plot->area.words[w], __ATOMIC_ACQUIRE), high;

	atomic_thread_fence(memory_order_seq_cst);
	high = atomic_load_explicit(&base->begun, memory_order_relaxed);
	a->checked++;
	if (!plausible(plot, w, low, high, found))
		plot_report(plot, a, w, value_in(plot, low, w), found, low == high ? NULL : "or newer");
}

static void write_neighbours(struct plot *plot, struct actor *a)
{
	struct range range = { plot->neighbour_first + pick(a, plot->neighbours), 1 };

	plot_verify(plot, a, range);
	plot_write(plot, a, range);
}

void plot_spectate(struct plot *plot, struct actor *a)
{
	size_t page, base;

	pthread_mutex_lock(&plot->gate);
	if (plot->open) {
		page = pick(a, plot->pages);
		for (unsigned int i = 0; i < 32; i++) {
			base = page * HUGE_BASES + pick(a, HUGE_BASES);
			for (size_t w = base * BASE_WORDS; w < (base + 1) * BASE_WORDS; w += 1 + pick(a, 64))
				look(plot, a, w);
			if (plot->neighbours)
				write_neighbours(plot, a);
		}
	}
	pthread_mutex_unlock(&plot->gate);
	count_checked(a);
}

static bool overlaps_neighbours(const struct plot *plot, struct range range)
{
	return plot->neighbours && range.first < plot->neighbour_first + plot->neighbours &&
	       range.first + range.n > plot->neighbour_first;
}

struct range plot_pick_huge(struct plot *plot, struct actor *a)
{
	struct range range;

	do {
		size_t first = pick(a, plot->pages);

		range.first = first * HUGE_BASES;
		range.n = (pick(a, 2) ? 1 : 1 + pick(a, plot->pages - first)) * HUGE_BASES;
	} while (overlaps_neighbours(plot, range));
	return range;
}

struct range plot_pick_any(struct plot *plot, struct actor *a)
{
	struct range range;

	if (pick(a, 2))
		return plot_pick_huge(plot, a);
	do {
		size_t most;

		range.first = pick(a, plot->bases);
		most = plot->bases - range.first;
		range.n = 1 + pick(a, most > HUGE_BASES ? HUGE_BASES : most);
	} while (overlaps_neighbours(plot, range));
	return range;
}
