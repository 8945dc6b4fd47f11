// SPDX-License-Identifier: MIT
/*
 * edit.c - from raw steps to what a reader wants: operations on words become "lock entry 0", what nobody else takes part
 * in is hidden, and what one actor does to get at something stands on the line of what it then does.
 */
#include <stdlib.h>
#include <string.h>

#include "check/report.h"

#define GATE_FLAGS 0xe0000000u
#define GATE_SLEEPERS (1u << 30)
#define GATE_WRITER (1u << 31)
#define MERGED_MAX 36u /* lines that are longer are not joined */

enum meaning {
	PLAIN,   /* not an operation on a lock */
	TAKE,    /* got the lock */
	RELEASE, /* let it go */
	WAIT,    /* sleeps because of it, or finds it taken */
	DETAIL,  /* of no interest in itself */
};

/* A step as far as it is an operation on one of the engine's locks. */
struct op {
	enum meaning meaning;
	char lock[40];
};

/* "verb word; 0xold -> 0xnew rest"; or without values, where locks.c takes locks in one step */
struct raw {
	char verb[8], word[40], shown[48]; /* `shown`: as it is printed */
	uint32_t from, to;
	bool values;
	const char *rest; /* from the end of what was parsed */
};

static bool starts(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

static bool is_lock(const char *word)
{
	return !strcmp(word, "gate") || !strcmp(word, "lead") || !strcmp(word, "displaced parts") || starts(word, "entry ") ||
	       starts(word, "page lock ");
}

static bool parse(const char *text, struct raw *r)
{
	static const char *const verbs[] = { "cas",    "swap",  "add",     "and",   "wait on", "wake",
					     "unlock", "share", "unshare", "close", "open",    "lock" };
	size_t v, n = 0, len;

	memset(r, 0, sizeof(*r));
	for (v = 0; v < sizeof(verbs) / sizeof(verbs[0]); v++) {
		n = strlen(verbs[v]);
		if (!strncmp(text, verbs[v], n) && text[n] == ' ')
			break;
	}
	if (v == sizeof(verbs) / sizeof(verbs[0]))
		return false;
	len = strcspn(text + n + 1, ";");
	if (len >= sizeof(r->word))
		return false;
	memcpy(r->verb, verbs[v], n);
	memcpy(r->word, text + n + 1, len);
	if (!is_lock(r->word))
		return false;
	snprintf(r->shown, sizeof(r->shown), "%s%s", starts(r->word, "page lock") ? "page" : "",
		 starts(r->word, "page lock") ? r->word + strlen("page lock") : r->word);
	r->rest = text + n + 1 + len;
	r->values = sscanf(r->rest, "; 0x%x -> 0x%x", &r->from, &r->to) == 2;
	return true;
}

/* The "wakes handler 1" of a step, NULL: woke nobody. */
static const char *whom_it_wakes(const char *text)
{
	const char *p = strstr(text, "wakes ");

	return p && strcmp(p, "wakes up") ? p : NULL;
}

static enum meaning set(struct ck_trace_line *l, enum meaning m, const char *format, const char *what)
{
	char text[CK_TEXT_BYTES];

	snprintf(text, sizeof(text), format, what);
	memcpy(l->text, text, sizeof(text));
	l->minor = m == DETAIL;
	return m;
}

static enum meaning detail(struct ck_trace_line *l)
{
	l->minor = true;
	return DETAIL;
}

/* A wake-up that reaches somebody says who let go of what; the release before it need not. */
static enum meaning edit_wake(struct ck_trace_line *l, const struct raw *r)
{
	const char *whom = whom_it_wakes(r->rest);
	char text[CK_TEXT_BYTES];

	if (!whom)
		return detail(l);
	snprintf(text, sizeof(text), "%s %s, %s", strcmp(r->word, "gate") ? "unlock" : "leave", r->shown, whom);
	memcpy(l->text, text, sizeof(text));
	return WAIT;
}

static bool is(const struct raw *r, const char *verb) { return !strcmp(r->verb, verb); }

static enum meaning edit_lock(struct ck_trace_line *l, const struct raw *r)
{
	bool done = strstr(r->rest, "done");

	if (is(r, "lock") || (is(r, "cas") && r->from == 0 && done) || (is(r, "swap") && r->to && r->from == 0))
		return set(l, TAKE, "lock %s", r->shown);
	if (is(r, "unlock") || (is(r, "swap") && r->to == 0))
		return set(l, RELEASE, "unlock %s", r->shown);
	if (is(r, "cas") && r->from == 0 && starts(r->word, "page lock")) /* the others go on to wait for it */
		return set(l, WAIT, "%s is locked", r->shown);
	if (is(r, "wait on") && strstr(r->rest, "sleeps"))
		return set(l, WAIT, "%s is locked: sleeps", r->shown);
	return is(r, "wake") ? edit_wake(l, r) : detail(l);
}

static enum meaning edit_gate(struct ck_trace_line *l, const struct raw *r)
{
	bool in = is(r, "add") && r->to == r->from + 1;

	if (is(r, "share") || (in && !(r->from & GATE_FLAGS & ~GATE_SLEEPERS)))
		return set(l, TAKE, "%s shared", r->shown);
	if (is(r, "unshare") || (is(r, "add") && !in))
		return set(l, RELEASE, "leave %s", r->shown);
	if (is(r, "close") || (is(r, "cas") && (r->to & ~r->from & GATE_WRITER) && strstr(r->rest, "done")))
		return set(l, TAKE, "%s", r->shown);
	if (is(r, "open") || is(r, "and"))
		return set(l, RELEASE, "open %s", r->shown);
	if (is(r, "wait on") && strstr(r->rest, "sleeps"))
		return set(l, WAIT, "waits at the %s", r->shown);
	return is(r, "wake") ? edit_wake(l, r) : detail(l);
}

/* Operations on words that are no locks: references, the directory. Flags are the scenario's own. */
static bool is_bookkeeping(const char *text)
{
	static const char *const words[] = { "references of page", "place of page", "directory" };
	const char *word = strchr(text, ' ');
	uint32_t i;

	for (i = 0; word && i < sizeof(words) / sizeof(words[0]); i++)
		if (starts(word + 1, words[i]))
			return true;
	return false;
}

static enum meaning edit_line(struct ck_trace_line *l, struct op *op)
{
	struct raw r;

	op->lock[0] = 0;
	if (l->minor || !l->text[0] || !strcmp(l->text, "wakes up") || !strcmp(l->text, "nothing to read") ||
	    is_bookkeeping(l->text))
		return detail(l);
	if (!parse(l->text, &r))
		return PLAIN;
	memcpy(op->lock, r.word, sizeof(op->lock));
	return strcmp(r.word, "gate") ? edit_lock(l, &r) : edit_gate(l, &r);
}

/* ---- what is left out ---- */

/* Does anybody but `actor` have to do with the lock? */
static bool shared(const struct ck *k, const struct op *op, const char *lock, uint8_t actor)
{
	uint32_t i;

	for (i = 0; i < k->nr_lines; i++)
		if (k->line[i].actor != actor && op[i].meaning != DETAIL && !strcmp(op[i].lock, lock))
			return true;
	return false;
}

/* A release matters when the next to have to do with the lock is somebody else. */
static bool handed_over(const struct ck *k, const struct op *op, uint32_t i)
{
	uint32_t n;

	for (n = i + 1; n < k->nr_lines; n++)
		if (op[n].meaning != DETAIL && op[n].meaning != PLAIN && !strcmp(op[n].lock, op[i].lock))
			return k->line[n].actor != k->line[i].actor;
	return false;
}

/* Where the lock taken in line i is let go without anything of interest having been done; 0: something was. */
static uint32_t for_nothing(const struct ck *k, const struct op *op, uint32_t i)
{
	uint32_t n;

	for (n = i + 1; n < k->nr_lines; n++) {
		if (k->line[n].actor != k->line[i].actor)
			continue;
		if (op[n].meaning == RELEASE && !strcmp(op[n].lock, op[i].lock))
			return n;
		if (!k->line[n].minor)
			return 0;
	}
	return 0;
}

static void hide(struct ck *k, struct op *op)
{
	uint32_t i, end;

	for (i = 0; i < k->nr_lines; i++) {
		struct ck_trace_line *l = &k->line[i];

		if ((op[i].meaning == TAKE && !shared(k, op, op[i].lock, l->actor)) ||
		    (op[i].meaning == RELEASE && !handed_over(k, op, i)))
			l->minor = true;
	}
	for (i = k->nr_lines; i-- > 0;) { /* inner ones first */
		end = op[i].meaning == TAKE ? for_nothing(k, op, i) : 0;
		if (end)
			k->line[i].minor = k->line[end].minor = true;
	}
}

/* ---- what stands on one line ---- */

/* Join line i to the next shown one if that is the same actor's. */
static bool join_next(struct ck *k, struct op *op, uint32_t i)
{
	struct ck_trace_line *l = &k->line[i], *next;
	char text[CK_TEXT_BYTES];
	uint32_t n;

	for (n = i + 1; n < k->nr_lines && k->line[n].minor; n++)
		;
	if (n == k->nr_lines)
		return false;
	next = &k->line[n];
	if (next->actor != l->actor || (op[i].meaning == RELEASE && op[n].meaning != RELEASE))
		return false;
	if (op[i].meaning == TAKE && op[n].meaning == RELEASE)
		return false;
	if (strlen(l->text) + strlen(next->text) + 2 > MERGED_MAX)
		return false;
	snprintf(text, sizeof(text), "%.*s, %.*s", (int)MERGED_MAX, l->text, (int)MERGED_MAX, next->text);
	memcpy(next->text, text, sizeof(text));
	l->minor = true;
	return true;
}

/* "fault; sleeps" reads better with commas. */
static void punctuate(char *text)
{
	char *p;

	for (p = strstr(text, "; "); p; p = strstr(p, "; "))
		*p = ',';
}

void ck_edit_trace(struct ck *k)
{
	struct op *op = calloc(k->nr_lines ? k->nr_lines : 1, sizeof(*op));
	uint32_t i;

	if (!op)
		return; /* the raw one is right too */
	for (i = 0; i < k->nr_lines; i++)
		op[i].meaning = edit_line(&k->line[i], &op[i]);
	hide(k, op);
	for (i = 0; i < k->nr_lines; i++)
		if (!k->line[i].minor && (op[i].meaning == TAKE || op[i].meaning == RELEASE))
			join_next(k, op, i);
	for (i = 0; i < k->nr_lines; i++)
		punctuate(k->line[i].text);
	free(op);
}
