// SPDX-License-Identifier: MIT
#include "control/nodes.h"

#include "control/say.h"
#include "control/settings.h"

static unsigned number_of(const struct hn_machine *m, uint32_t i) { return m->is_virtual ? i : (unsigned)m->os_nid[i]; }

static int index_of(const struct hn_machine *m, unsigned number)
{
	for (uint32_t i = 0; i < m->nr_nodes; i++)
		if (number_of(m, i) == number)
			return (int)i;
	return HN_NO_NODE;
}

static void say_none(const struct hn_machine *m, unsigned n, const char *setting, char *err, size_t err_len)
{
	uint64_t there = 0;
	char text[256];

	for (uint32_t i = 0; i < m->nr_nodes; i++)
		if (number_of(m, i) < 64)
			there |= (uint64_t)1 << number_of(m, i);
	hn_nodes_text(there, text, sizeof(text));
	hn_set_error(err, err_len, "%s: there is no node %u%s; there are %s", setting, n, m->is_virtual ? "" : " with memory", text);
}

int hn_nodes_check(const struct hn_machine *m, uint64_t set, const char *setting, char *err, size_t err_len)
{
	for (unsigned n = 0; n < 64; n++)
		if ((set >> n & 1) && index_of(m, n) == HN_NO_NODE) {
			say_none(m, n, setting, err, err_len);
			return -1;
		}
	return 0;
}

int hn_nodes_set_slow(struct hn_machine *m, uint64_t wanted, const char *setting, char *err, size_t err_len)
{
	uint64_t slow = 0;

	if (wanted == 0)
		return 0;
	if (wanted == UINT64_MAX) { /* none is */
		m->slow_nodes = 0;
		return 0;
	}
	if (hn_nodes_check(m, wanted, setting, err, err_len) != 0)
		return -1;
	for (uint32_t i = 0; i < m->nr_nodes; i++)
		if (number_of(m, i) < 64 && (wanted >> number_of(m, i) & 1))
			slow |= (uint64_t)1 << i;
	if (__builtin_popcountll(slow) == (int)m->nr_nodes) {
		hn_set_error(err, err_len, "%s: expected one node at least that is not slow, or none", setting);
		return -1;
	}
	m->slow_nodes = slow;
	return 0;
}
