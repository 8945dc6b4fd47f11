// SPDX-License-Identifier: MIT
/*
 * decisions.c - asking libhugenuma what was decided about each page, and telling it where memory belongs.
 *
 *     cc decisions.c $(pkg-config --cflags --libs hugenuma) -pthread
 *
 * One range is bound to node 1, one is observed only, one is left alone. A thread works on all three; what was decided is
 * counted, as events come, and at the end a page of each is looked up.
 */
#include <hugenuma.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE ((size_t)2 << 20)
#define PAGES 8u /* of each range */

enum { BOUND, OBSERVED, LEFT, NR };

static const char *const names[NR] = { "bound to node 1", "observed", "left alone" };
static char *range[NR];

struct tally {
	unsigned seen[NR], moved[NR];
	unsigned printed;
};

static int on_event(const struct hugenuma_event *e, void *arg)
{
	struct tally *t = arg;

	for (int i = 0; i < NR; i++) {
		const char *p = e->page;

		if (p < range[i] || p >= range[i] + PAGES * PAGE)
			continue;
		t->seen[i]++;
		t->moved[i] += e->outcome == HUGENUMA_MIGRATED;
		if (e->outcome == HUGENUMA_MIGRATED && t->printed++ < 3)
			printf("decisions: thread %u touched %p, which went from node %d to %d (%s), in %.0f us\n", e->thread,
			       e->page, e->from_node, e->to_node, e->rule, e->service_ns / 1e3);
	}
	return 0;
}

/* The ranges are apart, so that each is a mapping of its own. */
static int make_ranges(void)
{
	char *p = mmap(NULL, NR * (PAGES + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -1;
	p = (char *)(((uintptr_t)p + PAGE - 1) & ~(PAGE - 1));
	for (int i = 0; i < NR; i++) {
		range[i] = p + (size_t)i * (PAGES + 1) * PAGE;
		if (mprotect(range[i], PAGES * PAGE, PROT_READ | PROT_WRITE) != 0)
			return -1;
		madvise(range[i], PAGES * PAGE, MADV_HUGEPAGE);
		memset(range[i], i + 1, PAGES * PAGE);
	}
	return 0;
}

static unsigned wrong_bytes(void)
{
	unsigned wrong = 0;

	for (int i = 0; i < NR; i++)
		for (size_t at = 0; at < PAGES * PAGE; at += 4096)
			wrong += range[i][at] != i + 1;
	return wrong;
}

static void tell(int i, const struct tally *t)
{
	struct hugenuma_page_info p = { .size = sizeof(p) };

	printf("decisions: %s: %u events, %u pages moved", names[i], t->seen[i], t->moved[i]);
	if (hugenuma_query_page(range[i], &p) == 0 && p.managed)
		printf("; its first page is on node %d%s%s", p.node, p.has_last && p.last.rule ? ", last rule: " : "",
		       p.has_last && p.last.rule ? p.last.rule : "");
	printf("\n");
}

int main(void)
{
	struct hugenuma_options o = { .size = sizeof(o), .virtual_nodes = hugenuma_can_manage(NULL, 0) ? 2 : 0 };
	const struct timespec nap = { .tv_nsec = 5000000 };
	struct tally t = { 0 };
	uint64_t cursor = 0;
	unsigned wrong = 0;
	int err;

	if (make_ranges() != 0) {
		fprintf(stderr, "decisions: no memory\n");
		return 1;
	}
	hugenuma_treat(range[BOUND], PAGES * PAGE, HUGENUMA_BIND, 1u << 1);
	hugenuma_treat(range[OBSERVED], PAGES * PAGE, HUGENUMA_OBSERVE, 0);
	hugenuma_set("scan.period_ms", "100");
	err = hugenuma_start(&o);
	if (err) {
		printf("decisions: not managed: %s\n", hugenuma_strerror(err));
		return 0;
	}
	for (int i = 0; i < 800 && t.moved[BOUND] < PAGES; i++) {
		wrong += wrong_bytes();
		hugenuma_poll_events(&cursor, on_event, &t);
		nanosleep(&nap, NULL);
	}
	for (int i = 0; i < NR; i++)
		tell(i, &t);
	err = hugenuma_stop();
	wrong += wrong_bytes();
	printf("decisions: %u wrong bytes\n", wrong);
	return wrong || err;
}
