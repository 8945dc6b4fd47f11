// SPDX-License-Identifier: MIT
/*
 * tenure.h - does a page change hands, or do several nodes use it at the same time? Four bytes a page, from the times of its
 * samples. Pure.
 *
 * The samples alone do not tell: A, B, A, B are two users at random, or four phases of which one sample each was taken. How
 * long each node kept the page does. A tenure is seen from the first sample of a node to the first one of another; it may
 * have begun any time after the last sample of the user before. Seen and unseen together were too short: it was brief for
 * certain. It ended as soon as it was seen: it was brief in all likelihood, as the end of a long one falls into the few moments
 * after its first sample only by a rare coincidence. A brief tenure is reason to doubt that the page is anybody's; time takes
 * some of that doubt away, and so does each sample of a node that has it alone. With enough of it the page is shared, until
 * all doubt is gone.
 *
 * So a page that each user has for HN_TENURE_BRIEF_MS or longer is never taken for a shared one because its samples are few,
 * or come late, which would make them fewer and later still.
 */
#ifndef HN_CORE_TENURE_H
#define HN_CORE_TENURE_H

#include "core/history.h"

#define HN_TENURE_BRIEF_MS 3500u /* one that is longer is worth a migration */
#define HN_TENURE_ONCE_MS 512u   /* ended as soon as it was seen */
#define HN_DOUBT_BRIEF 4u        /* a brief tenure adds so much, */
#define HN_DOUBT_SHARED 12u      /* ... with so much the page is shared, until there is none, */
#define HN_DOUBT_ASK 8u          /* ... and with less it is asked about as others are, to know soon */
#define HN_DOUBT_MOST 15u
#define HN_DOUBT_EBBS 8          /* one less every 2^8 times 64 ms */
#define HN_UNSEEN_MOST 7u

/* All zero: no sample yet. Times are in 64 ms, and wrap after 262 s: one long tenure in a hundred seems brief. */
struct hn_tenure {
	uint32_t since : 12; /* first sample of the node that has it now */
	uint32_t last : 12;  /* last sample */
	uint32_t doubt : 4;  /* HN_DOUBT_MOST at most */
	uint32_t unseen : 3; /* how long before `since` it may have begun, in 512 ms; HN_UNSEEN_MOST: or longer */
	uint32_t shared : 1; /* several nodes use the page */
};

static inline uint32_t hn_tenure_since_ms(uint32_t then, uint32_t now_ms) { return (((now_ms >> 6) - then) & 0xfff) << 6; }

/* How long the node of the last sample has been seen to have the page, ms; up to 64 more or less. */
static inline uint32_t hn_tenure_ms(struct hn_tenure t, uint32_t now_ms)
{
	return hn_tenure_since_ms(t.since, now_ms);
}

/* How old the last sample is, ms; up to 64 more or less. */
static inline uint32_t hn_tenure_age_ms(struct hn_tenure t, uint32_t now_ms) { return hn_tenure_since_ms(t.last, now_ms); }

static inline bool hn_tenure_was_brief(struct hn_tenure t, uint32_t now_ms)
{
	uint32_t ms = hn_tenure_ms(t, now_ms);

	return ms < HN_TENURE_ONCE_MS || (t.unseen < HN_UNSEEN_MOST && ms + (t.unseen << 9) < HN_TENURE_BRIEF_MS);
}

/* Does it tell anything soon to ask about the page again? It is known to be shared, and will be for some time. */
static inline bool hn_tenure_is_known(struct hn_tenure t) { return t.shared && t.doubt >= HN_DOUBT_ASK; }

static inline unsigned hn_doubt_less(unsigned doubt, unsigned by) { return doubt > by ? doubt - by : 0; }

/* With one more sample: the newest one in h. */
static inline struct hn_tenure hn_tenure_sample(struct hn_tenure t, uint64_t h, uint32_t now_ms)
{
	int nid = hn_history_node(h, 0), last_nid = hn_history_node(h, 1);
	uint32_t now = now_ms >> 6 & 0xfff, gap = hn_tenure_age_ms(t, now_ms) >> 9;
	bool first = last_nid == HN_NO_NODE, turn = nid != last_nid;
	unsigned doubt = hn_doubt_less(t.doubt, ((now >> HN_DOUBT_EBBS) - (t.last >> HN_DOUBT_EBBS)) & (0xfff >> HN_DOUBT_EBBS));

	if (nid == HN_NO_NODE)
		return t;
	if (turn && !first && hn_tenure_was_brief(t, now_ms))
		doubt += HN_DOUBT_BRIEF;
	else if (hn_history_all_same(h) && hn_tenure_ms(t, now_ms) >= HN_TENURE_BRIEF_MS)
		doubt = hn_doubt_less(doubt, 1);
	if (turn) {
		t.unseen = first || gap > HN_UNSEEN_MOST ? HN_UNSEEN_MOST : gap & 7;
		t.since = now;
	}
	t.last = now;
	t.doubt = doubt < HN_DOUBT_MOST ? doubt & HN_DOUBT_MOST : HN_DOUBT_MOST;
	t.shared = t.doubt >= (t.shared ? 1 : HN_DOUBT_SHARED);
	return t;
}

#endif
