// SPDX-License-Identifier: MIT
/*
 * nofile.h - a descriptor in spite of the program's limit on them. Any thread of the agent's.
 */
#ifndef HN_LINUX_NOFILE_H
#define HN_LINUX_NOFILE_H

#include <stdbool.h>
#include <stdint.h>

struct hn_nofile {
	uint64_t cur, max;
};

/* After EMFILE: raise the soft limit for one call that makes a descriptor. True: it has to be restored then. */
bool hn_nofile_raise(struct hn_nofile *was, struct hn_nofile *now);
void hn_nofile_restore(const struct hn_nofile *was, const struct hn_nofile *now);

#endif
