// SPDX-License-Identifier: MIT
/*
 * nofile.c - a descriptor where the program has set itself a limit that leaves none (RLIMIT_NOFILE).
 *
 * The limit is the process's, not a thread's, so the program could see it raised: for a few microseconds, when it forks behind
 * libc or uses MADV_WIPEONFORK as well. Without that its fork would never return. Not beyond the hard limit, which takes a
 * capability that our threads do not have.
 */
#include <errno.h>
#include <sys/resource.h>

#include "linux/nofile.h"
#include "linux/sys.h"

#define ROOM 256u /* more than the agent ever has open, and what it is to get */

static bool same(const struct hn_nofile *a, const struct hn_nofile *b) { return a->cur == b->cur && a->max == b->max; }

bool hn_nofile_raise(struct hn_nofile *was, struct hn_nofile *now)
{
	if (HN_SYS(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, was, 0, 0))
		return false;
	*now = *was;
	now->cur = was->max < ROOM ? was->max : ROOM;
	return now->cur > was->cur && HN_SYS(SYS_prlimit64, 0, RLIMIT_NOFILE, now, NULL, 0, 0) == 0;
}

/* What the program has set in between stands. */
void hn_nofile_restore(const struct hn_nofile *was, const struct hn_nofile *now)
{
	struct hn_nofile found = *now;

	HN_SYS(SYS_prlimit64, 0, RLIMIT_NOFILE, was, &found, 0, 0);
	if (!same(&found, now))
		HN_SYS(SYS_prlimit64, 0, RLIMIT_NOFILE, &found, NULL, 0, 0);
}
