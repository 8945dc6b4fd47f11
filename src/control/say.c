// SPDX-License-Identifier: MIT
#include "control/say.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_LEN 1024

/* One write per line, so that lines of several programs on one terminal do not mix. */
void hn_say(const char *fmt, ...)
{
	char line[LINE_LEN];
	size_t len;
	va_list args;

	len = (size_t)snprintf(line, sizeof(line), "hugenuma: ");
	va_start(args, fmt);
	vsnprintf(line + len, sizeof(line) - len - 1, fmt, args);
	va_end(args);
	len = strlen(line);
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return; /* nobody left to tell */
}

void hn_set_error(char *buf, size_t len, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(buf, len, fmt, args);
	va_end(args);
}

struct hn_text hn_text_count(uint64_t n)
{
	struct hn_text out = { { 0 } };
	char plain[HN_TEXT_LEN];
	int digits = snprintf(plain, sizeof(plain), "%" PRIu64, n);
	size_t at = 0;

	for (int i = 0; i < digits; i++) {
		if (i > 0 && (digits - i) % 3 == 0)
			out.s[at++] = ',';
		out.s[at++] = plain[i];
	}
	return out;
}

struct hn_text hn_text_ns(uint64_t ns)
{
	static const struct {
		double unit_ns;
		const char *name;
	} units[] = { { 1e9, "s" }, { 1e6, "ms" }, { 1e3, "us" } };
	struct hn_text out;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		double v = (double)ns / units[i].unit_ns;

		if (v < 1)
			continue;
		snprintf(out.s, sizeof(out.s), "%.*f %s", v < 10 ? 2 : v < 100 ? 1 : 0, v, units[i].name);
		return out;
	}
	snprintf(out.s, sizeof(out.s), "%" PRIu64 " ns", ns);
	return out;
}

struct hn_text hn_text_share(uint64_t part, uint64_t whole)
{
	struct hn_text out;

	if (whole == 0)
		snprintf(out.s, sizeof(out.s), "-");
	else
		snprintf(out.s, sizeof(out.s), "%.1f %%", 100.0 * (double)part / (double)whole);
	return out;
}

void hn_make_printable(char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
}
