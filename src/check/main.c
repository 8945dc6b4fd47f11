// SPDX-License-Identifier: MIT
/*
 * main.c - the program behind `hugenuma check`: which scenarios, how, and what is printed of them.
 */
#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <jansson.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "check/report.h"

#define MAX_SCENARIOS 256u
#define MAX_THREADS 1024u
#define DEFAULT_COLUMNS 100u
#define JSON_SCHEMA_VERSION 1

enum {
	EXIT_HOLDS = 0,
	EXIT_USAGE = 1,
	EXIT_UNFINISHED = 2,
	EXIT_VIOLATED = 3,
};

enum { KEY_LIST = 0x100, KEY_THREADS, KEY_BOUND, KEY_REPLAY, KEY_ALL, KEY_JSON, KEY_SECONDS, KEY_LOCKS, KEY_QUIET = 'q' };

struct request {
	struct ck_options options;
	const struct ck_scenario *scenario[MAX_SCENARIOS];
	uint32_t nr;
	const char *replay;
	bool list, all, json, quiet;
};

static const struct argp_option option_table[] = {
	{ "list", KEY_LIST, NULL, 0, "list the scenarios: name, races of docs/checker.md in " HN_DOC_DIR ", what it is about", 0 },
	{ "threads", KEY_THREADS, "N", 0, "threads that search (default: one for each CPU); results do not depend on it", 0 },
	{ "bound", KEY_BOUND, "N", 0,
	  "only executions in which an actor that could go on is left at most N times (default: all executions)", 0 },
	{ "replay", KEY_REPLAY, "SCHEDULE", 0, "show one execution of one scenario, as a violation prints it", 0 },
	{ "locks", KEY_LOCKS, "shipped|steps", 0,
	  "explore the engine's locks operation by operation, or take and release them in one step each (default: as the "
	  "scenario says)", 0 },
	{ "all", KEY_ALL, NULL, 0, "show every step of an execution, as it is", 0 },
	{ "json", KEY_JSON, NULL, 0, "print JSON", 0 },
	{ "max-seconds", KEY_SECONDS, "N", 0, "give up on a scenario after so long (default: never)", 0 },
	{ "quiet", KEY_QUIET, NULL, 0, "print violations only", 0 },
	{ 0 },
};

static const char doc[] =
	"Run the engine's protocol in every order that matters, over a machine that behaves as the kernel does, and see "
	"whether the invariants of docs/protocol.md (in " HN_DOC_DIR ") hold. SCENARIO is a name or a shell pattern; none: all of them. A name that "
	"ends in @rwp: the same, with pages armed in their places (UFFDIO_RWPROTECT).\v"
	"A violation names the invariant and shows the execution, a column for each actor, time going down. Two "
	"executions that differ only in the order of steps that have nothing to do with one another count as one.\n\n"
	"Exit status: 0 all invariants hold; 1 wrong usage; 2 not everything was explored, because of --max-seconds or "
	"for want of memory; 3 an invariant is violated.";

/* ---- arguments ---- */

static uint64_t number(struct argp_state *state, const char *name, const char *arg, uint64_t min, uint64_t max)
{
	char *end = NULL;
	uint64_t v;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (!isdigit((unsigned char)arg[0]) || *end || errno || v < min || v > max)
		argp_error(state, "--%s: '%s': expected a whole number from %" PRIu64 " to %" PRIu64, name, arg, min, max);
	return v;
}

/* How many letters differ, roughly: the length of what one has and the other has not, in order. */
static uint32_t distance(const char *a, const char *b)
{
	uint32_t row[64], i, j, len = (uint32_t)strnlen(b, 63);

	for (j = 0; j <= len; j++)
		row[j] = j;
	for (i = 1; a[i - 1]; i++) {
		uint32_t diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= len; j++) {
			uint32_t change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (change > row[j] + 1)
				change = row[j] + 1;
			if (change > row[j - 1] + 1)
				change = row[j - 1] + 1;
			row[j] = change;
		}
	}
	return row[len];
}

/* A part of the name, or nearly the name. */
static bool resembles(const char *name, const char *arg)
{
	return strstr(name, arg) || distance(arg, name) <= strlen(arg) / 3;
}

static void no_such_scenario(struct argp_state *state, const char *arg)
{
	char near[400] = "";
	const struct ck_scenario *s;
	size_t at = 0;

	for (s = ck_scenario_next(NULL); s && at < sizeof(near) / 2; s = ck_scenario_next(s))
		if (resembles(s->name, arg))
			at += (size_t)snprintf(near + at, sizeof(near) - at, "%s%s", at ? ", " : "", s->name);
	if (at)
		argp_error(state, "'%s': no such scenario; near: %s", arg, near);
	else
		argp_error(state, "'%s': no such scenario; --list names them all", arg);
}

static void add_scenario(struct request *q, const struct ck_scenario *s)
{
	uint32_t i;

	for (i = 0; i < q->nr; i++)
		if (q->scenario[i] == s)
			return;
	if (q->nr < MAX_SCENARIOS)
		q->scenario[q->nr++] = s;
}

static void add_matching(struct argp_state *state, struct request *q, const char *arg)
{
	const struct ck_scenario *s;
	bool found = false;

	for (s = ck_scenario_next(NULL); s; s = ck_scenario_next(s)) {
		if (arg && fnmatch(arg, s->name, 0) != 0)
			continue;
		add_scenario(q, s);
		found = true;
	}
	if (!found)
		no_such_scenario(state, arg);
}

static enum ck_locks locks(struct argp_state *state, const char *arg)
{
	if (!strcmp(arg, "shipped"))
		return CK_LOCKS_SHIPPED;
	if (strcmp(arg, "steps"))
		argp_error(state, "--locks: '%s': expected shipped or steps", arg);
	return CK_LOCKS_AS_STEPS;
}

static error_t at_end(struct argp_state *state, struct request *q)
{
	if (q->nr == 0)
		add_matching(state, q, NULL);
	if (q->replay && q->nr != 1)
		argp_error(state, "--replay: expected one scenario");
	if (q->all && q->json)
		argp_error(state, "--all: JSON has every step anyway");
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct request *q = state->input;

	switch (key) {
	case KEY_LIST: q->list = true; return 0;
	case KEY_THREADS: q->options.threads = (uint32_t)number(state, "threads", arg, 1, MAX_THREADS); return 0;
	case KEY_BOUND: q->options.bound = (int)number(state, "bound", arg, 0, 200); return 0;
	case KEY_REPLAY: q->replay = arg; return 0;
	case KEY_ALL: q->all = true; return 0;
	case KEY_JSON: q->json = true; return 0;
	case KEY_SECONDS: q->options.seconds = (double)number(state, "max-seconds", arg, 1, 1000000); return 0;
	case KEY_LOCKS: ck_locks = locks(state, arg); return 0;
	case KEY_QUIET: q->quiet = true; return 0;
	case ARGP_KEY_ARG: add_matching(state, q, arg); return 0;
	case ARGP_KEY_END: return at_end(state, q);
	default: return ARGP_ERR_UNKNOWN;
	}
}

/* ---- printing ---- */

static uint32_t columns(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
		return size.ws_col;
	return DEFAULT_COLUMNS;
}

static const char *grouped(uint64_t n, char *text, size_t bytes)
{
	char plain[24];
	int len = snprintf(plain, sizeof(plain), "%" PRIu64, n), i;
	size_t at = 0;

	for (i = 0; i < len && at + 2 < bytes; i++) {
		if (i && (len - i) % 3 == 0)
			text[at++] = ',';
		text[at++] = plain[i];
	}
	text[at] = 0;
	return text;
}

static void print_row(const char *name, const struct ck_count *c, double seconds, const char *verdict)
{
	char explored[32], blocked[32];

	printf("%-30s %13s %11s %7u %9.2f  %s\n", name, grouped(c->explored, explored, sizeof(explored)),
	       grouped(c->blocked, blocked, sizeof(blocked)), c->longest, seconds, verdict);
	fflush(stdout);
}

static void print_heading(void)
{
	printf("%-30s %13s %11s %7s %9s\n", "scenario", "explored", "blocked", "longest", "seconds");
}

static int list(const struct request *q)
{
	json_t *all = json_array();
	uint32_t i;

	for (i = 0; i < q->nr; i++) {
		const struct ck_scenario *s = q->scenario[i];

		if (q->json)
			json_array_append_new(all, json_pack("{s:s, s:s, s:s}", "name", s->name, "races", s->races, "about",
							     s->about));
		else
			printf("%-30s %-12s %s\n", s->name, s->races, s->about);
	}
	if (q->json) {
		json_dumpf(all, stdout, JSON_INDENT(1));
		putchar('\n');
	}
	json_decref(all);
	return EXIT_HOLDS;
}

/* ---- replaying ---- */

/* The execution in k, in columns; raw with --all. */
static void show(const struct request *q, struct ck *k)
{
	if (!q->all)
		ck_edit_trace(k);
	ck_print_trace(stdout, k, columns(), q->all);
}

static int replayed(const struct request *q, struct ck *k, struct ck_result *r)
{
	r->verdict = k->violation.invariant ? CK_VIOLATED : CK_HOLDS;
	r->violation = k->violation;
	r->preemptions = ck_preemptions(k);
	r->count.longest = k->nr_steps;
	r->count.steps = k->nr_steps;
	if (q->json) {
		json_t *j;

		ck_edit_trace(k);
		j = ck_json_result(k->scenario, r, -1, k);
		json_dumpf(j, stdout, JSON_INDENT(1));
		putchar('\n');
		json_decref(j);
	} else {
		show(q, k);
		if (r->verdict == CK_VIOLATED)
			ck_print_violation(stdout, k, &r->violation, r->preemptions);
		else
			printf("\nnothing is violated in these %u steps\n", k->nr_steps);
	}
	return r->verdict == CK_VIOLATED ? EXIT_VIOLATED : EXIT_HOLDS;
}

static int replay(const struct request *q, const char *program)
{
	static struct ck k;
	struct ck_result r = { 0 };
	uint8_t schedule[CK_MAX_STEPS];
	uint32_t nr = 0;
	int status = EXIT_USAGE;

	if (ck_init(&k, q->scenario[0])) {
		fprintf(stderr, "%s: out of memory\n", program);
		return EXIT_UNFINISHED;
	}
	if (ck_schedule_parse(q->replay, k.nr_actors, schedule, &nr))
		fprintf(stderr, "%s: --replay: expected letters a to %c with counts, such as a12b3, not '%s'\n", program,
			'a' + (int)k.nr_actors - 1, q->replay + nr);
	else if (!ck_replay(&k, schedule, nr) && k.violation.invariant < 0)
		fprintf(stderr, "%s: --replay: no schedule of %s: %s cannot go on at step %u\n", program,
			q->scenario[0]->name, k.actor[schedule[k.nr_steps]].name, k.nr_steps + 1);
	else
		status = replayed(q, &k, &r);
	ck_free(&k);
	return status;
}

/* ---- searching ---- */

struct total {
	struct ck_count count;
	uint32_t violated, unfinished;
	json_t *results;
	bool heading; /* was printed */
};

/* Run the violating execution once more, for its trace. */
static bool trace_of(const struct ck_scenario *s, const struct ck_result *r, struct ck *k)
{
	if (ck_init(k, s))
		return false;
	return !ck_replay(k, r->violation.schedule, r->violation.nr_steps) && k->violation.invariant > 0;
}

static void print_result(const struct request *q, const struct ck_scenario *s, const struct ck_result *r, struct ck *k,
			 struct total *t)
{
	if (q->quiet && r->verdict != CK_VIOLATED)
		return;
	if (!t->heading)
		print_heading();
	t->heading = true;
	print_row(s->name, &r->count, r->seconds, ck_verdict_name(r, &q->options));
	if (!k)
		return;
	printf("\n%s: %s\n\n", s->name, s->about);
	show(q, k);
	ck_print_violation(stdout, k, &r->violation, r->preemptions);
	putchar('\n');
	fflush(stdout);
}

static void add_result(struct total *t, const struct ck_result *r)
{
	t->count.explored += r->count.explored;
	t->count.blocked += r->count.blocked;
	if (t->count.longest < r->count.longest)
		t->count.longest = r->count.longest;
	t->violated += r->verdict == CK_VIOLATED;
	t->unfinished += r->verdict == CK_UNFINISHED || r->verdict == CK_FAILED;
}

static void check_one(const struct request *q, const struct ck_scenario *s, struct total *t)
{
	static struct ck k;
	struct ck *trace = NULL;
	struct ck_result r;

	ck_search(s, &q->options, &r);
	add_result(t, &r);
	if (r.verdict == CK_VIOLATED && trace_of(s, &r, &k))
		trace = &k;
	if (q->json) {
		if (trace)
			ck_edit_trace(trace);
		json_array_append_new(t->results, ck_json_result(s, &r, q->options.bound, trace));
	} else {
		print_result(q, s, &r, trace, t);
	}
	ck_free(&k);
}

static void print_total(const struct request *q, const struct total *t, double seconds)
{
	char verdict[80];

	if (t->violated)
		snprintf(verdict, sizeof(verdict), "%u of %u VIOLATED", t->violated, q->nr);
	else if (t->unfinished)
		snprintf(verdict, sizeof(verdict), "%u of %u unfinished", t->unfinished, q->nr);
	else
		snprintf(verdict, sizeof(verdict), "all hold%s", q->options.bound >= 0 ? " within the bound" : "");
	if (!q->quiet && q->nr > 1)
		print_row("total", &t->count, seconds, verdict);
}

static int check(const struct request *q)
{
	double start = ck_seconds();
	struct total t = { .results = json_array() };
	uint32_t i;

	for (i = 0; i < q->nr; i++)
		check_one(q, q->scenario[i], &t);
	if (q->json) {
		json_t *j = json_pack("{s:i, s:i, s:f, s:O}", "schema_version", JSON_SCHEMA_VERSION, "bound", q->options.bound,
				      "seconds", ck_seconds() - start, "scenarios", t.results);

		json_dumpf(j, stdout, JSON_INDENT(1));
		putchar('\n');
		json_decref(j);
	} else {
		print_total(q, &t, ck_seconds() - start);
	}
	json_decref(t.results);
	return t.violated ? EXIT_VIOLATED : t.unfinished ? EXIT_UNFINISHED : EXIT_HOLDS;
}

static uint32_t usable_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 1;
	return (uint32_t)CPU_COUNT(&set);
}

/* As the other commands have it (cli/main.c); also after --help, which argp ends. */
static void close_output(void)
{
	bool failed = ferror(stdout) != 0;

	errno = 0;
	if (fclose(stdout) == 0 && !failed)
		return;
	fprintf(stderr, "hugenuma: cannot write the result%s%s\n", errno ? ": " : "", errno ? strerror(errno) : "");
	_exit(EXIT_UNFINISHED);
}

int main(int argc, char **argv)
{
	static struct request q;
	static const struct argp argp = { option_table, parse, "[SCENARIO...]", doc, NULL, NULL, NULL };

	atexit(close_output);
	argp_err_exit_status = EXIT_USAGE;
	q.options = (struct ck_options){ .threads = usable_cpus(), .bound = -1 };
	if (argp_parse(&argp, argc, argv, 0, NULL, &q) != 0)
		return EXIT_USAGE;
	q.options.progress = isatty(STDERR_FILENO) && !q.quiet;
	if (q.list)
		return list(&q);
	return q.replay ? replay(&q, argv[0]) : check(&q);
}
