// SPDX-License-Identifier: MIT
/*
 * library.c - libhugenuma from a program: one case per run, named by the argument; --list names them. Memory is stamped and
 * verified throughout. Exit status 0: right; 1: wrong, and a line says what.
 */
#include <hugenuma.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE ((size_t)2 << 20)
#define PAGES 16u
#define WORDS (PAGE / sizeof(uint64_t))
#define STEP 512u /* words between two that are used: one in each base page */
#define HANDLERS 2u /* each may have let a page go, and not come to count that yet */

#define want(cond, ...)                                                                                                \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s:%d: ", __func__, __LINE__);                                                \
			fprintf(stderr, __VA_ARGS__);                                                                  \
			fprintf(stderr, "\n");                                                                         \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

#define ok(call)                                                                                                       \
	do {                                                                                                           \
		int err_ = (call);                                                                                     \
		char text_[256] = "";                                                                                  \
		hugenuma_message(text_, sizeof(text_));                                                                \
		want(err_ == 0, "%s: %s (%d); %s", #call, hugenuma_strerror(err_), err_, text_);                       \
	} while (0)

#define fails(call, wanted)                                                                                            \
	do {                                                                                                           \
		long err_ = (call);                                                                                    \
		want(err_ == (wanted), "%s: got %ld, wanted %d", #call, err_, wanted);                                 \
	} while (0)

/* A mapping of its own, huge, on node 0 as far as anybody knows. */
static uint64_t *make(unsigned pages)
{
	char *p = mmap(NULL, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t *a = (uint64_t *)(void *)(((uintptr_t)p + 2 * PAGE - 1) & ~(PAGE - 1));

	want(p != MAP_FAILED && mprotect(a, pages * PAGE, PROT_READ | PROT_WRITE) == 0, "no memory");
	madvise(a, pages * PAGE, MADV_HUGEPAGE);
	for (size_t i = 0; i < pages * WORDS; i += STEP)
		a[i] = i;
	return a;
}

/* The same anew. After a fork the kernel splits huge pages that are written. */
static void refill(uint64_t *a, unsigned pages)
{
	want(madvise(a, pages * PAGE, MADV_DONTNEED) == 0, "cannot be dropped");
	for (size_t i = 0; i < pages * WORDS; i += STEP)
		a[i] = i;
}

/* Verify and raise every word in use. */
static void touch(uint64_t *a, unsigned pages, uint64_t round)
{
	for (size_t i = 0; i < pages * WORDS; i += STEP) {
		want(a[i] == (round << 32 | i), "word %zu is %#lx, expected %#lx", i, (unsigned long)a[i],
		     (unsigned long)(round << 32 | i));
		a[i] = (round + 1) << 32 | i;
	}
}

static void nap_ms(unsigned ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000000l };

	nanosleep(&t, NULL);
}

static const struct hugenuma_options two = { .size = sizeof(two), .virtual_nodes = 2 };

/* Pages go to the next node at every sample, and are armed all the time. */
static void start_busy(void)
{
	ok(hugenuma_set("scan.period_ms", "5"));
	ok(hugenuma_set("scan.cpu_percent", "0"));
	ok(hugenuma_set("policy.name", "always"));
	ok(hugenuma_start(&two));
}

static struct hugenuma_statistics statistics(void)
{
	struct hugenuma_statistics s = { .size = sizeof(s) };

	ok(hugenuma_statistics(&s));
	return s;
}

static struct hugenuma_range_info info(const void *a, unsigned pages)
{
	struct hugenuma_range_info r = { .size = sizeof(r) };

	ok(hugenuma_query_range(a, pages * PAGE, &r));
	return r;
}

/* Work until so many pages were migrated in all; how many rounds were made. */
static uint64_t until_migrated(uint64_t *a, unsigned pages, uint64_t round, uint64_t migrated)
{
	for (int i = 0; i < 20000 && statistics().migrated < migrated; i++, nap_ms(1))
		touch(a, pages, round++);
	want(statistics().migrated >= migrated, "%lu pages migrated, expected %lu", (unsigned long)statistics().migrated,
	     (unsigned long)migrated);
	return round;
}

static unsigned entries(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	want(d, "%s cannot be read", dir);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned threads(void) { return entries("/proc/self/task"); }

static unsigned mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned n = 0;
	int c;

	while (f && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

/* ---- cases ---- */

static void case_a_range_moves(void)
{
	uint64_t *a = make(PAGES), *other = make(PAGES), round;

	start_busy();
	ok(hugenuma_manage(a, PAGES * PAGE));
	round = until_migrated(a, PAGES, 0, 3 * PAGES);
	touch(other, PAGES, 0);
	want(info(a, PAGES).pages == PAGES, "%u of %u pages managed", info(a, PAGES).pages, PAGES);
	want(info(other, PAGES).pages == 0, "memory that nobody named is managed");
	want(statistics().managed_pages == PAGES, "%lu pages managed in all", (unsigned long)statistics().managed_pages);
	ok(hugenuma_stop());
	touch(a, PAGES, round);
}

static void case_part_of_a_mapping(void)
{
	uint64_t *a = make(PAGES), round;

	start_busy();
	/* the first and the last page are cut: not managed */
	ok(hugenuma_manage((char *)a + 4096, (PAGES - 4) * PAGE));
	round = until_migrated(a, PAGES, 0, PAGES);
	want(info(a, PAGES).pages == PAGES - 5, "%u pages managed, expected %u", info(a, PAGES).pages, PAGES - 5);
	want(info(a, 1).pages == 0 && info(a + (PAGES - 4) * WORDS, 4).pages == 0, "pages that hang over are managed");
	ok(hugenuma_stop());
	touch(a, PAGES, round);
}

static void case_unmanage(void)
{
	uint64_t *a = make(PAGES), round;
	struct hugenuma_range_info r;
	uint64_t before;

	start_busy();
	ok(hugenuma_manage(a, PAGES * PAGE));
	round = until_migrated(a, PAGES, 0, PAGES);
	ok(hugenuma_unmanage(a, PAGES / 2 * PAGE));
	nap_ms(300);
	r = info(a, PAGES / 2);
	want(r.pages == 0 && r.armed == 0, "%u pages of the range are still managed, %u armed", r.pages, r.armed);
	want(info(a, PAGES).pages == PAGES / 2, "%u pages managed, expected the other half", info(a, PAGES).pages);
	before = statistics().samples;
	for (int i = 0; i < 50; i++, nap_ms(2))
		touch(a, PAGES / 2, round + (unsigned)i);
	want(statistics().samples <= before + HANDLERS, "touches of memory that is left alone are sampled");
	touch(a + PAGES / 2 * WORDS, 0, round);
	ok(hugenuma_stop());
}

static void case_whole_process(void)
{
	struct hugenuma_options o = two;
	uint64_t *a = make(PAGES), *b = make(PAGES), round;

	o.flags = HUGENUMA_WHOLE_PROCESS;
	ok(hugenuma_set("scan.period_ms", "5"));
	ok(hugenuma_set("policy.name", "always"));
	ok(hugenuma_unmanage(b, PAGES * PAGE));
	ok(hugenuma_start(&o));
	round = until_migrated(a, PAGES, 0, 2 * PAGES);
	touch(b, PAGES, 0);
	want(info(a, PAGES).pages == PAGES && info(b, PAGES).pages == 0, "%u and %u pages managed, expected all and none",
	     info(a, PAGES).pages, info(b, PAGES).pages);
	ok(hugenuma_stop());
	touch(a, PAGES, round);
}

static void case_bind_and_observe(void)
{
	uint64_t *a = make(PAGES), *b = make(PAGES), round = 0;
	struct hugenuma_range_info r;

	ok(hugenuma_set("scan.period_ms", "5"));
	ok(hugenuma_start(&two));
	ok(hugenuma_treat(a, PAGES * PAGE, HUGENUMA_BIND, 2));
	ok(hugenuma_treat(b, PAGES * PAGE, HUGENUMA_OBSERVE, 0));
	do {
		touch(a, PAGES, round);
		touch(b, PAGES, round++);
		nap_ms(1);
		r = info(a, PAGES);
	} while (round < 5000 && r.pages_on[1] < PAGES);
	want(r.pages_on[1] == PAGES, "%u of %u bound pages are on their node", r.pages_on[1], PAGES);
	r = info(b, PAGES);
	want(r.pages == PAGES && r.pages_on[0] == PAGES && r.samples, "observed pages have moved");
	ok(hugenuma_treat(a, PAGES * PAGE, HUGENUMA_BIND, 1));
	do {
		touch(a, PAGES, round);
		touch(b, PAGES, round++);
		nap_ms(1);
		r = info(a, PAGES);
	} while (round < 10000 && r.pages_on[0] < PAGES);
	want(r.pages_on[0] == PAGES, "%u of %u pages have come back", r.pages_on[0], PAGES);
	ok(hugenuma_stop());
}

static void case_pause(void)
{
	uint64_t *a = make(PAGES), round, before;

	start_busy();
	ok(hugenuma_manage(a, PAGES * PAGE));
	round = until_migrated(a, PAGES, 0, PAGES);
	for (int i = 0; i < 5; i++) {
		ok(hugenuma_pause());
		want(hugenuma_state() == HUGENUMA_PAUSED, "state %d", hugenuma_state());
		want(statistics().armed_pages == 0 && info(a, PAGES).armed == 0, "armed while paused");
		before = statistics().samples;
		for (int k = 0; k < 20; k++, nap_ms(2))
			touch(a, PAGES, round++);
		want(statistics().samples <= before + HANDLERS, "sampled while paused");
		ok(hugenuma_resume());
		want(hugenuma_state() == HUGENUMA_RUNNING, "state %d", hugenuma_state());
		round = until_migrated(a, PAGES, round, statistics().migrated + PAGES);
	}
	ok(hugenuma_stop());
	touch(a, PAGES, round);
}

static void child_of_fork(uint64_t *a, uint64_t round)
{
	want(hugenuma_state() == HUGENUMA_IDLE && hugenuma_nodes() == 0, "a child is managed");
	touch(a, PAGES, round++);
	refill(a, PAGES);
	ok(hugenuma_start(&two));
	round = until_migrated(a, PAGES, 0, PAGES); /* ranges and settings are its parent's */
	ok(hugenuma_stop());
	touch(a, PAGES, round);
	_exit(0);
}

static void case_fork(void)
{
	uint64_t *a = make(PAGES), round;
	int status;

	start_busy();
	ok(hugenuma_manage(a, PAGES * PAGE));
	round = until_migrated(a, PAGES, 0, PAGES);
	for (int i = 0; i < 6; i++) {
		pid_t pid = fork();

		want(pid >= 0, "no fork");
		if (pid == 0)
			child_of_fork(a, round);
		for (int k = 0; k < 10; k++, nap_ms(1))
			touch(a, PAGES, round++);
		want(waitpid(pid, &status, 0) == pid && status == 0, "the child ended with status %#x", status);
	}
	touch(a, PAGES, round);
	refill(a, PAGES);
	until_migrated(a, PAGES, 0, statistics().migrated + PAGES);
	ok(hugenuma_stop());
}

static void case_start_and_stop(void)
{
	unsigned nr_threads = threads(), nr_fds, nr_maps = 0;
	uint64_t *a = make(PAGES), round = 0;

	ok(hugenuma_manage(a, PAGES * PAGE));
	nr_fds = entries("/proc/self/fd");
	for (int i = 0; i < 6; i++) {
		start_busy();
		fails(hugenuma_start(&two), -EALREADY);
		want(threads() >= nr_threads + 3, "%u threads", threads());
		round = until_migrated(a, PAGES, round, PAGES);
		want(entries("/proc/self/fd") == nr_fds, "descriptors were left in the program's table");
		ok(hugenuma_stop());
		ok(hugenuma_stop());
		want(threads() == nr_threads, "%u threads are left", threads() - nr_threads);
		if (i == 1)
			nr_maps = mappings();
		/* of the program's own a few may be split or merged by where its pages came to lie */
		want(i < 1 || mappings() <= nr_maps + 4, "%u mappings, %u after the first time", mappings(), nr_maps);
		touch(a, PAGES, round++);
	}
}

static int stop_at_third(const struct hugenuma_event *e, void *arg)
{
	uint64_t *last = arg;
	struct hugenuma_statistics s = { .size = sizeof(s) };

	want(*last == UINT64_MAX || e->number > *last, "event %lu after %lu", (unsigned long)e->number, (unsigned long)*last);
	*last = e->number;
	ok(hugenuma_statistics(&s)); /* may be called from here */
	return e->number % 3 == 2;
}

struct seen {
	const char *start, *end;
	unsigned long nr, migrated, local_or_refused;
};

static int look(const struct hugenuma_event *e, void *arg)
{
	struct seen *s = arg;

	want((const char *)e->page >= s->start && (const char *)e->page < s->end, "event about %p", e->page);
	want(e->outcome != HUGENUMA_MIGRATED || (e->rule && e->to_node >= 0 && e->to_node != e->from_node), "migrated to nowhere");
	want(e->outcome == HUGENUMA_WAITED || e->service_ns, "served in no time");
	s->nr++;
	s->migrated += e->outcome == HUGENUMA_MIGRATED;
	return 0;
}

static void case_events(void)
{
	uint64_t *a = make(PAGES), cursor = 0, other = 0, last = UINT64_MAX;
	struct seen s = { (char *)a, (char *)a + PAGES * PAGE, 0, 0, 0 };
	struct hugenuma_page_info p = { .size = sizeof(p) };
	unsigned long nr;

	fails(hugenuma_poll_events(&cursor, look, &s), -ESRCH);
	start_busy();
	ok(hugenuma_manage(a, PAGES * PAGE));
	until_migrated(a, PAGES, 0, 4 * PAGES);
	ok(hugenuma_pause());
	want(hugenuma_poll_events(&cursor, look, &s) == (long)s.nr && s.nr, "%lu events", s.nr);
	for (int i = 0; i < 10000 && s.migrated != statistics().migrated && s.nr < 4000; i++, nap_ms(1))
		hugenuma_poll_events(&cursor, look, &s); /* a handler is about to write its last */
	want(s.migrated == statistics().migrated || s.nr >= 4000, "%lu migrations seen, %lu counted", s.migrated,
	     (unsigned long)statistics().migrated);
	nr = s.nr;
	for (int i = 0; i < 20; i++, nap_ms(1)) {
		hugenuma_poll_events(&cursor, look, &s);
		while (hugenuma_poll_events(&other, stop_at_third, &last) > 0)
			;
	}
	want(s.nr <= nr + HANDLERS, "events while paused");
	hugenuma_poll_events(&cursor, look, &s);
	want(other == cursor, "two readers end at %lu and %lu", (unsigned long)cursor, (unsigned long)other);
	fails(hugenuma_poll_events(NULL, look, &s), -EINVAL);
	ok(hugenuma_query_page(a, &p));
	want(p.managed && p.has_last && p.last.page == a && p.node >= 0, "page: managed %u, node %d", p.managed, p.node);
	ok(hugenuma_query_page(&cursor, &p));
	want(!p.managed, "a stack is managed");
	ok(hugenuma_stop());
}

static void case_settings(void)
{
	char value[64];

	fails(hugenuma_set("no.such", "1"), -ENOENT);
	fails(hugenuma_set(NULL, "1"), -ENOENT);
	fails(hugenuma_set("scan.period_ms", "0"), -EINVAL);
	fails(hugenuma_set("scan.period_ms", NULL), -EINVAL);
	ok(hugenuma_set("scan.period_ms", "300"));
	ok(hugenuma_set("agent.handlers", "3"));
	ok(hugenuma_get("scan.period_ms", value, sizeof(value)));
	want(strcmp(value, "300") == 0, "'%s'", value);
	fails(hugenuma_get("scan.period_ms", value, 3), -ENOSPC);
	fails(hugenuma_get("no.such", value, sizeof(value)), -ENOENT);
	/* nodes are looked for when there is a machine: two nodes here */
	ok(hugenuma_set("node.allowed", "2"));
	fails(hugenuma_start(&two), -EINVAL);
	ok(hugenuma_message(value, sizeof(value)));
	want(strcmp(value, "node.allowed: there is no node 2; there are 0-1") == 0, "'%s'", value);
	ok(hugenuma_set("node.allowed", "0-1"));
	ok(hugenuma_set("tier.slow", "0-1"));
	fails(hugenuma_start(&two), -EINVAL);
	ok(hugenuma_set("tier.slow", "auto"));
	ok(hugenuma_start(&two));
	fails(hugenuma_set("node.allowed", "1-2"), -EINVAL);
	ok(hugenuma_get("node.allowed", value, sizeof(value)));
	want(strcmp(value, "0-1") == 0, "'%s'", value);
	ok(hugenuma_set("node.allowed", "1"));
	fails(hugenuma_set("agent.handlers", "2"), -EBUSY);
	ok(hugenuma_set("policy.name", "observe"));
	ok(hugenuma_get("policy.name", value, sizeof(value)));
	want(strcmp(value, "observe") == 0, "'%s'", value);
	ok(hugenuma_stop());
	ok(hugenuma_get("policy.name", value, sizeof(value)));
	want(strcmp(value, "observe") == 0, "'%s' after the stop", value);
}

static void case_errors(void)
{
	struct hugenuma_range_info r = { .size = sizeof(r) };
	struct hugenuma_page_info p = { .size = sizeof(p) };
	struct hugenuma_statistics s = { .size = sizeof(s) };
	struct hugenuma_options o = two;
	int x = 0;

	fails(hugenuma_pause(), -ESRCH);
	fails(hugenuma_resume(), -ESRCH);
	fails(hugenuma_query_range(&x, 4, &r), -ESRCH);
	fails(hugenuma_query_page(&x, &p), -ESRCH);
	fails(hugenuma_statistics(&s), -ESRCH);
	fails(hugenuma_stop(), 0);
	fails(hugenuma_treat(&x, 0, HUGENUMA_BALANCE, 0), -EINVAL);
	fails(hugenuma_treat(&x, SIZE_MAX, HUGENUMA_BALANCE, 0), -EINVAL);
	fails(hugenuma_treat(&x, 4, HUGENUMA_BIND, 0), -EINVAL);
	fails(hugenuma_treat(&x, 4, HUGENUMA_BALANCE, 1), -EINVAL);
	fails(hugenuma_treat(&x, 4, (enum hugenuma_treatment)9, 0), -EINVAL);
	o.size = 4;
	fails(hugenuma_start(&o), -EINVAL);
	o = two;
	o.virtual_nodes = 65;
	fails(hugenuma_start(&o), -EINVAL);
	o.virtual_nodes = 2;
	o.flags = 1u << 31;
	fails(hugenuma_start(&o), -EINVAL);
	r.size = 3;
	fails(hugenuma_query_range(&x, 4, &r), -EINVAL);
	for (uintptr_t i = 0; i < 256; i++)
		ok(hugenuma_manage((void *)(i * 4 * PAGE + PAGE), PAGE));
	fails(hugenuma_manage((void *)(1000 * 4 * PAGE), PAGE), -ENOSPC);
	ok(hugenuma_manage((void *)PAGE, 2000 * PAGE)); /* one range takes the place of all */
	for (unsigned i = 0; i < 15; i++)
		ok(hugenuma_treat((void *)((i * 4 + 1) * PAGE), PAGE, HUGENUMA_BIND, 1u << i));
	fails(hugenuma_treat((void *)(99 * PAGE), PAGE, HUGENUMA_BIND, 1u << 15), -ENOSPC);
	for (int e = -200; e < 200; e++)
		want(hugenuma_strerror(e) && hugenuma_strerror(e)[0], "no text for %d", e);
}

/* Whoever may not: the program is as it was. */
static void case_no_permission(void)
{
	unsigned nr_threads = threads(), nr_fds = entries("/proc/self/fd");
	uint64_t *a = make(PAGES);
	char why[256];
	int err;

	if (setgid(65534) || setuid(65534)) {
		printf("not root\n");
		exit(77);
	}
	err = hugenuma_can_manage(why, sizeof(why));
	if (err == 0 || err == -ENODEV) {
		printf("everybody may use userfaultfd here\n");
		exit(77);
	}
	want(why[0], "no reason");
	ok(hugenuma_manage(a, PAGES * PAGE));
	err = hugenuma_start(&two);
	want(err == -EPERM || err == -EACCES, "start: %d", err);
	hugenuma_message(why, sizeof(why));
	want(why[0], "no message");
	want(hugenuma_state() == HUGENUMA_IDLE && threads() == nr_threads && entries("/proc/self/fd") == nr_fds,
	     "something is left: %u threads, %u descriptors", threads() - nr_threads, entries("/proc/self/fd") - nr_fds);
	fails(hugenuma_start(&two), err); /* and can be tried again */
	touch(a, PAGES, 0);
}

static void case_close_all(void)
{
	uint64_t *a = make(PAGES), round;

	start_busy();
	ok(hugenuma_manage(a, PAGES * PAGE));
	round = until_migrated(a, PAGES, 0, PAGES);
	close_range(3, ~0u, 0);
	round = until_migrated(a, PAGES, round, statistics().migrated + 2 * PAGES);
	ok(hugenuma_stop());
	touch(a, PAGES, round);
}

static atomic_bool over;

static int pass_by(const struct hugenuma_event *event, void *arg)
{
	(void)event;
	(void)arg;
	return 0;
}

static void *caller(void *arg)
{
	uint64_t *a = arg, cursor = 0;
	struct hugenuma_range_info r = { .size = sizeof(r) };
	struct hugenuma_page_info p = { .size = sizeof(p) };
	struct hugenuma_statistics s = { .size = sizeof(s) };
	char text[64];

	while (!over) {
		hugenuma_query_range(a, PAGES * PAGE, &r);
		hugenuma_query_page(a, &p);
		hugenuma_statistics(&s);
		hugenuma_pause();
		hugenuma_resume();
		hugenuma_unmanage(a, PAGE);
		hugenuma_manage(a, PAGE);
		hugenuma_set("scan.period_max_ms", "1000");
		hugenuma_get("scan.period_max_ms", text, sizeof(text));
		hugenuma_message(text, sizeof(text));
		hugenuma_poll_events(&cursor, pass_by, NULL);
		hugenuma_state();
		hugenuma_nodes();
	}
	return NULL;
}

static void case_many_callers(void)
{
	uint64_t *a = make(PAGES), round = 0;
	pthread_t t[3];

	ok(hugenuma_manage(a, PAGES * PAGE));
	start_busy();
	for (int i = 0; i < 3; i++)
		want(pthread_create(&t[i], NULL, caller, a) == 0, "no thread");
	for (int i = 0; i < 10; i++) {
		for (int k = 0; k < 40; k++, nap_ms(2))
			touch(a, PAGES, round++);
		ok(hugenuma_stop());
		touch(a, PAGES, round++);
		ok(hugenuma_start(&two));
	}
	over = true;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	ok(hugenuma_stop());
	touch(a, PAGES, round);
}

/* Under `hugenuma run`: the calls are about the agent that is there. */
static void case_preloaded(void)
{
	uint64_t *a = make(PAGES), *b = make(PAGES), round = 0;
	unsigned before;

	want(getenv("HUGENUMA_SHM"), "not under hugenuma run");
	ok(hugenuma_unmanage(b, PAGES * PAGE));
	ok(hugenuma_start(NULL));
	before = threads();
	ok(hugenuma_start(NULL));
	want(threads() == before, "a second agent");
	fails(hugenuma_set("agent.handlers", "4"), -EBUSY);
	round = until_migrated(a, PAGES, round, 2 * PAGES);
	touch(b, PAGES, 0);
	want(info(a, PAGES).pages == PAGES && info(b, PAGES).pages == 0, "%u and %u pages managed", info(a, PAGES).pages,
	     info(b, PAGES).pages);
	ok(hugenuma_pause());
	want(statistics().armed_pages == 0, "armed while paused");
	ok(hugenuma_resume());
	ok(hugenuma_stop());
	want(hugenuma_state() == HUGENUMA_IDLE && threads() < before, "not stopped");
	touch(a, PAGES, round++);
	ok(hugenuma_start(NULL));
	round = until_migrated(a, PAGES, round, PAGES);
}

struct demoted {
	const char *start, *end;
	unsigned long nr;
};

static int look_for_demoted(const struct hugenuma_event *e, void *arg)
{
	struct demoted *d = arg;

	if (e->outcome != HUGENUMA_DEMOTED)
		return 0;
	want((const char *)e->page >= d->start && (const char *)e->page < d->end, "demoted %p", e->page);
	want(e->thread == 0 && e->thread_node == -1 && e->service_ns == 0, "by thread %u on node %d in %u ns", e->thread,
	     e->thread_node, e->service_ns);
	want(e->from_node == 0 && e->to_node == 1, "demoted from %d to %d", e->from_node, e->to_node);
	want(e->rule && strcmp(e->rule, "cold") == 0, "rule %s", e->rule ? e->rule : "none");
	d->nr++;
	return 0;
}

/* Under `hugenuma run` with node 1 slow, and node 0 as full as it can be: what nobody touches leaves it. */
static void case_demoted(void)
{
	uint64_t *a = make(PAGES), cursor = 0;
	struct demoted d = { (char *)a, (char *)a + PAGES * PAGE, 0 };

	ok(hugenuma_start(NULL));
	for (int i = 0; i < 3000 && !d.nr; i++, nap_ms(10))
		want(hugenuma_poll_events(&cursor, look_for_demoted, &d) >= 0, "no events");
	want(d.nr, "nothing was demoted");
	touch(a, PAGES, 0);
}

/* Stays until it is killed, or told to go by its standard input. */
static void case_stay(void)
{
	uint64_t *a = make(PAGES), round = 0;
	pthread_t t;

	(void)t;
	ok(hugenuma_set("scan.period_ms", "50"));
	ok(hugenuma_start(&two));
	ok(hugenuma_manage(a, PAGES * PAGE));
	printf("%p\n", (void *)a);
	fflush(stdout);
	for (; round < 60000; nap_ms(1)) {
		fd_set in;
		struct timeval now = { 0, 0 };

		touch(a, PAGES, round++);
		FD_ZERO(&in);
		FD_SET(0, &in);
		if (select(1, &in, NULL, NULL, &now) > 0)
			break;
	}
}

static const struct {
	const char *name;
	void (*fn)(void);
} cases[] = {
	{ "a range moves, others do not", case_a_range_moves },
	{ "part of a mapping", case_part_of_a_mapping },
	{ "unmanage", case_unmanage },
	{ "whole process", case_whole_process },
	{ "bind and observe", case_bind_and_observe },
	{ "pause", case_pause },
	{ "fork", case_fork },
	{ "start and stop", case_start_and_stop },
	{ "events", case_events },
	{ "settings", case_settings },
	{ "errors", case_errors },
	{ "no permission", case_no_permission },
	{ "all descriptors closed", case_close_all },
	{ "many callers", case_many_callers },
	{ "preloaded", case_preloaded },
	{ "demoted", case_demoted },
	{ "stay", case_stay },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (argc == 2 && strcmp(argv[1], "--list") == 0)
			puts(cases[i].name);
		else if (argc == 2 && strcmp(argv[1], cases[i].name) == 0)
			return cases[i].fn(), 0;
	}
	return argc == 2 && strcmp(argv[1], "--list") == 0 ? 0 : 2;
}
