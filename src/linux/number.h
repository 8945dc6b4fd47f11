// SPDX-License-Identifier: MIT
/* number.h - decimal numbers in what the kernel prints. Without libc's conversions: the agent's threads have no locale. */
#ifndef HN_LINUX_NUMBER_H
#define HN_LINUX_NUMBER_H

#include <stdint.h>
#include <string.h>

/* The digits at p, none of which make 0; returns what is behind them. Wraps beyond 64 bits. */
static inline const char *hn_read_number(const char *p, uint64_t *to)
{
	for (*to = 0; *p >= '0' && *p <= '9'; p++)
		*to = *to * 10 + (uint64_t)(*p - '0');
	return p;
}

/* The number behind `key` and any blanks; 0 when there is none. */
static inline uint64_t hn_number_behind(const char *text, const char *key)
{
	const char *p = strstr(text, key);
	uint64_t v;

	for (p = p ? p + strlen(key) : ""; *p == ' '; p++)
		;
	hn_read_number(p, &v);
	return v;
}

#endif
