// SPDX-License-Identifier: MIT
/*
 * common.h - what the programs of tests/live share. They are plain programs: nothing in them knows who runs them.
 *
 * Each program is a table of cases; one case runs per process, named on the command line, and the exit status says how
 * it went. Data is verified word by word. "Absent" is all a program can see of a page that somebody has taken away for
 * a moment: its own page map shows a hole where it has written before; or, from Linux 7.3, the mark of a userfaultfd's
 * protection on a page that is still there.
 */
#ifndef LIVE_COMMON_H
#define LIVE_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define HUGE ((size_t)2 << 20)
#define BASE ((size_t)4096)
#define EXIT_SKIPPED 77

struct live_case {
	const char *name;
	void (*run)(void);
};

/* PROGRAM --list | PROGRAM CASE; `cases` ends with a NULL name. LIVE_BARE in the environment: nobody takes pages. */
int live_main(int argc, char **argv, const struct live_case *cases);

/* End the process with status 1, from any thread. */
#define CHECK(cond) \
	do { \
		if (!(cond)) \
			live_fail(__FILE__, __LINE__, #cond); \
	} while (0)
void live_fail(const char *file, int line, const char *what) __attribute__((noreturn));
void live_skip(const char *why) __attribute__((noreturn));

/* Huge pages at an address of their own, far from stacks and libraries, filled with live_word(seed). */
char *live_arena(size_t pages, uint64_t seed);
/* The same without a look at the page tables, for where no descriptor can be held. */
char *live_arena_blind(size_t pages, uint64_t seed);
/* The same, nothing written yet. */
char *live_reserve(size_t bytes);

/* What word number i of a filled range holds; it depends on nothing else, so it may move. */
static inline uint64_t live_word(uint64_t seed, size_t i)
{
	uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ull + seed;

	return (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull;
}
void live_fill(void *p, size_t bytes, uint64_t seed);
/* Word `first` of the range with this seed is at p. */
void live_fill_from(void *p, size_t bytes, uint64_t seed, size_t first);
void live_verify(const void *p, size_t bytes, uint64_t seed);
void live_verify_from(const void *p, size_t bytes, uint64_t seed, size_t first);
bool live_matches(const void *p, size_t bytes, uint64_t seed, size_t first);
void live_verify_zero(const void *p, size_t bytes);

/* Sleep until nothing of [p, p + bytes) is mapped; fails after some seconds. */
void live_wait_absent(const void *p, size_t bytes);
/* The same, but gives up after ms. */
bool live_absent_within(const void *p, size_t bytes, unsigned int ms);
/* Bytes of [p, p + bytes) that are mapped and not absent, and that are mapped by huge pages. */
size_t live_present(const void *p, size_t bytes);
size_t live_huge(const void *p, size_t bytes);

/*
 * Where an armed page lies meanwhile, found by its frame, which takes CAP_SYS_ADMIN: waits until the page is armed. NULL: at its own
 * place.
 */
char *live_staged(char *page);

/* A file without a name, opened for reading and writing with these flags besides; skips where they are not taken. */
int live_temporary(int flags);

bool live_is_bare(void);
/* LIVE_SLOW in the environment: the machine is so many times slower than most, and things take so much longer. 1 else. */
unsigned int live_slow(void);
/* Of n rounds that are all alike, so many as a slow machine has time for; two at least. */
unsigned int live_rounds(unsigned int n);
uint64_t live_now_ms(void);
void live_sleep_ms(unsigned int ms);
/* Field of /proc/self/status in KiB, such as "VmRSS:". */
size_t live_status_kib(const char *field);
/* Status of a child that must have ended by exit(0). */
void live_reap(int pid);

#endif
