// SPDX-License-Identifier: MIT
/*
 * say.h - lines for the user on standard error, and numbers written for people.
 */
#ifndef HN_CONTROL_SAY_H
#define HN_CONTROL_SAY_H

#include <stddef.h>
#include <stdint.h>

#define HN_TEXT_LEN 32

/* A short piece of text returned by value, so that several fit in one printf. */
struct hn_text {
	char s[HN_TEXT_LEN];
};

/* Print "hugenuma: " + text + newline on stderr as one write. */
void hn_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Like hn_say, into buf as "text" without prefix or newline; for errors that a caller prints. Always NUL-terminated. */
void hn_set_error(char *buf, size_t len, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* "1,234,567" */
struct hn_text hn_text_count(uint64_t n);
/* A duration, three digits or so: "850 ns", "12.3 us", "1.20 ms", "2.10 s". */
struct hn_text hn_text_ns(uint64_t ns);
/* "73.1 %", or "-" when whole is 0. */
struct hn_text hn_text_share(uint64_t part, uint64_t whole);

/* Replace everything that is not printable ASCII by '?', in place: what programs call themselves goes to a terminal. */
void hn_make_printable(char *s);

#endif
