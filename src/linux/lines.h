// SPDX-License-Identifier: MIT
/* lines.h - what the kernel prints, line by line, through a buffer that may be shorter than the text. */
#ifndef HN_LINUX_LINES_H
#define HN_LINUX_LINES_H

#include <stdbool.h>
#include <string.h>

#include "linux/sys.h"

/*
 * Read fd from where it is and call fn for each line, [line, end) with a NUL in the place of the newline, until it returns false.
 * Never a read from elsewhere than where the last one ended: the kernel would make all the text before that place again. True:
 * told to stop, or there was no more; false: a read failed, or a line is longer than the buffer or has no end.
 */
static inline bool hn_each_line(int fd, char *buf, size_t size, bool (*fn)(void *arg, const char *line, const char *end), void *arg)
{
	size_t have = 0;
	long n = 0;

	while (have < size && (n = hn_sys_read(fd, buf + have, size - have)) > 0) {
		char *line = buf, *end;

		have += (size_t)n;
		while ((end = memchr(line, '\n', have - (size_t)(line - buf))) != NULL) {
			*end = '\0';
			if (!fn(arg, line, end))
				return true;
			line = end + 1;
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
	}
	return n == 0 && !have;
}

#endif
