// SPDX-License-Identifier: MIT
#include "report.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#define MAX_REPORTS 20
#define HISTORY_PRINTED 16
/* Of the operations on other stripes of the page, only the newest few tell something. */
#define HISTORY_OTHERS 6

static _Atomic uint64_t checked, wrong_words, others;
static const uint64_t *reported[MAX_REPORTS];
static pthread_mutex_t print_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const op_names[] = {
	[OP_NONE] = "-",
	[OP_VISIT] = "visit",
	[OP_CHECK] = "check",
	[OP_WRITE] = "write",
	[OP_SPECTATE] = "spectate",
	[OP_MAP] = "mmap",
	[OP_UNMAP] = "munmap",
	[OP_DONTNEED] = "MADV_DONTNEED",
	[OP_FREE] = "MADV_FREE",
	[OP_PROTECT_READ] = "mprotect READ",
	[OP_PROTECT_NONE] = "mprotect NONE",
	[OP_PROTECT_READ_EXEC] = "mprotect READ|EXEC",
	[OP_PROTECT_WRITE] = "mprotect WRITE",
	[OP_PROTECT_EXEC] = "mprotect EXEC",
	[OP_UNPROTECT] = "mprotect READ|WRITE",
	[OP_MREMAP] = "mremap",
	[OP_GROW] = "mremap grow",
	[OP_FORK] = "fork",
	[OP_READ_CALL] = "read(2) into it",
	[OP_WRITE_CALL] = "write(2) from it",
	[OP_COLLAPSE] = "MADV_COLLAPSE",
	[OP_SPLIT] = "MADV_COLD or MADV_PAGEOUT of a part",
};

void history_add(struct history *history, const struct event *event)
{
	uint32_t n = atomic_fetch_add_explicit(&history->next, 1, memory_order_relaxed);

	history->events[n % HISTORY_EVENTS] = *event;
	history->events[n % HISTORY_EVENTS].time_ns = now_ns();
}

static void print_event(const struct event *e, uint64_t now)
{
	printf("    %9.6f s ago: thread %u, %s", (double)(int64_t)(now - e->time_ns) / 1e9, e->thread, op_names[e->op]);
	if (e->op == OP_VISIT)
		printf(" stripe %u", e->where);
	else if (e->count)
		printf(" base pages %u-%u", e->where, e->where + e->count - 1);
	if (e->to)
		printf(", number %u -> %u", e->from, e->to);
	putchar('\n');
}

static bool concerns(const struct event *e, const struct wrong *w)
{
	if (e->op == OP_VISIT)
		return (int)e->thread == w->owner && e->where == w->where;
	return !e->count || (w->where >= e->where && w->where < e->where + e->count);
}

static void print_history(const struct wrong *w)
{
	uint32_t next = atomic_load(&w->history->next), printed = 0;
	uint64_t now = now_ns();

	printf("  last operations on this page, newest first:\n");
	for (uint32_t i = 0; i < HISTORY_EVENTS && i < next && printed < HISTORY_PRINTED; i++) {
		const struct event *e = &w->history->events[(next - 1 - i) % HISTORY_EVENTS];

		if (e->op == OP_NONE || (i >= HISTORY_OTHERS && !concerns(e, w)))
			continue;
		print_event(e, now);
		printed++;
	}
}

static const char *diagnosis(const struct wrong *w)
{
	int32_t behind = (int32_t)(stamp_number(w->expected) - stamp_number(w->found));

	if (w->found == 0)
		return "zero: content lost";
	if (w->expected == 0)
		return "not zero: dropped content came back";
	if ((uint32_t)w->found != (uint32_t)w->expected)
		return "value of another place, or garbage";
	return behind > 0 ? "stale: an earlier value of this word" : "from the future";
}

static void print_word(const struct wrong *w)
{
	printf("FAIL: %s at %p: %s page %zu word %zu (base page %zu)", w->what, (const void *)w->address, w->area,
	       w->page, w->word, w->word / BASE_WORDS);
	if (w->owner >= 0)
		printf(", thread %d", w->owner);
	printf("\n  at %.6f s, %s: expected %#" PRIx64 " (number %u)", (double)(now_ns() - start_ns) / 1e9,
	       w->doing ? w->doing : "checking", w->expected, stamp_number(w->expected));
	if (w->accepted)
		printf(" %s", w->accepted);
	printf(", found %#" PRIx64 " (number %u): %s\n", w->found, stamp_number(w->found), diagnosis(w));
	if (w->written_us)
		printf("  written last at %.6f s\n", (double)w->written_us / 1e6);
	if (w->history)
		print_history(w);
	fflush(stdout);
}

void report_word(const struct wrong *wrong)
{
	uint64_t n = atomic_fetch_add(&wrong_words, 1);

	if (n >= MAX_REPORTS)
		return;
	pthread_mutex_lock(&print_lock);
	reported[n] = wrong->address;
	print_word(wrong);
	pthread_mutex_unlock(&print_lock);
}

void report_other(const char *actor, const char *format, ...)
{
	va_list args;

	if (atomic_fetch_add(&others, 1) >= MAX_REPORTS)
		return;
	va_start(args, format);
	pthread_mutex_lock(&print_lock);
	printf("FAIL: at %.6f s, %s: ", (double)(now_ns() - start_ns) / 1e9, actor);
	vprintf(format, args);
	putchar('\n');
	fflush(stdout);
	pthread_mutex_unlock(&print_lock);
	va_end(args);
}

void count_checked(struct actor *a)
{
	atomic_fetch_add_explicit(&checked, a->checked, memory_order_relaxed);
	a->checked = 0;
}

uint64_t words_checked(void)
{
	return atomic_load(&checked);
}

uint64_t words_wrong(void)
{
	return atomic_load(&wrong_words);
}

uint64_t other_errors(void)
{
	return atomic_load(&others);
}

bool word_reported(const uint64_t *address)
{
	for (unsigned int i = 0; i < MAX_REPORTS; i++)
		if (reported[i] == address)
			return true;
	return false;
}

void report_summary(void)
{
	if (words_wrong())
		printf("FAIL: %" PRIu64 " stale or lost words\n", words_wrong());
	if (other_errors())
		printf("FAIL: %" PRIu64 " other errors\n", other_errors());
	printf("torture: %" PRIu64 " words checked, %" PRIu64 " errors\n", words_checked(),
	       words_wrong() + other_errors());
}
