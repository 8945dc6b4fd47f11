// SPDX-License-Identifier: MIT
#include "control/messages.h"

#include "control/say.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* More different texts than this are somebody's bug; the rest is printed but not counted. */
#define MESSAGES_MAX 256

static struct hn_message *messages_find(const struct hn_messages *m, const char *text)
{
	for (size_t i = 0; i < m->nr; i++)
		if (strcmp(m->list[i].text, text) == 0)
			return &m->list[i];
	return NULL;
}

static void messages_add(struct hn_messages *m, const char *text)
{
	struct hn_message *list;

	if (m->nr == m->room) {
		if (m->nr >= MESSAGES_MAX)
			return;
		list = realloc(m->list, (m->room + 16) * sizeof(*list));
		if (!list)
			return;
		m->list = list;
		m->room += 16;
	}
	memset(&m->list[m->nr], 0, sizeof(m->list[m->nr]));
	strcpy(m->list[m->nr].text, text);
	m->list[m->nr++].nr_times = 1;
}

void hn_messages_read(struct hn_messages *m, const struct hn_slot *slot, unsigned i)
{
	char text[sizeof(slot->message)], comm[sizeof(slot->comm)];
	uint32_t seq = hn_load_acquire(&slot->message_seq);
	struct hn_message *known;

	if (seq == 0 || seq == m->seen_seq[i])
		return;
	memcpy(text, slot->message, sizeof(text));
	memcpy(comm, slot->comm, sizeof(comm));
	__atomic_thread_fence(__ATOMIC_ACQUIRE); /* the copy is done before the sequence is looked at again */
	if (hn_load_relaxed(&slot->message_seq) != seq)
		return;
	m->seen_seq[i] = seq;
	text[sizeof(text) - 1] = comm[sizeof(comm) - 1] = 0;
	hn_make_printable(text);
	hn_make_printable(comm);
	known = messages_find(m, text);
	if (known) {
		known->nr_times++;
		return;
	}
	messages_add(m, text);
	if (!m->quiet)
		hn_say("%" PRIu32 " (%s): %s", slot->pid, comm, text);
}

void hn_messages_forget_slot(struct hn_messages *m, unsigned i)
{
	m->seen_seq[i] = 0;
}

void hn_messages_print_counts(const struct hn_messages *m)
{
	for (size_t i = 0; i < m->nr; i++)
		if (m->list[i].nr_times > 1 && !m->quiet)
			hn_say("%" PRIu64 " processes: %s", m->list[i].nr_times, m->list[i].text);
}

void hn_messages_fini(struct hn_messages *m)
{
	free(m->list);
	m->list = NULL;
	m->nr = m->room = 0;
}
