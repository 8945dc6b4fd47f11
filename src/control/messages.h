// SPDX-License-Identifier: MIT
/*
 * messages.h - what agents have to tell the user: each text is printed once, however many processes say it.
 */
#ifndef HN_CONTROL_MESSAGES_H
#define HN_CONTROL_MESSAGES_H

#include "agent/layout.h"

struct hn_message {
	char text[sizeof(((struct hn_slot *)0)->message)];
	uint64_t nr_times; /* how often it was said; a process says a thing once */
};

struct hn_messages {
	struct hn_message *list;
	size_t nr;
	size_t room;
	bool quiet;                      /* collect, print nothing */
	uint32_t seen_seq[HN_SHM_SLOTS]; /* message_seq of each slot when last read */
};

/* Read slot i's message if it is new; print it if nobody has said it before. A torn message is left for the next call. */
void hn_messages_read(struct hn_messages *m, const struct hn_slot *slot, unsigned i);

/* Slot i changes hands: its sequence starts again at 0. */
void hn_messages_forget_slot(struct hn_messages *m, unsigned i);

/* Print, for every text that more than one process said, how many did. */
void hn_messages_print_counts(const struct hn_messages *m);

void hn_messages_fini(struct hn_messages *m);

#endif
