// SPDX-License-Identifier: MIT
/*
 * nodes.h - sets of nodes that a user has named, against the machine there is. Numbers are the kernel's, of virtual nodes
 * their place.
 */
#ifndef HN_CONTROL_NODES_H
#define HN_CONTROL_NODES_H

#include "agent/layout.h"

#include <stddef.h>

/*
 * Are all nodes of this set there, with memory? 0; -1 with a line in err that begins with `setting`. A set is as in struct
 * hn_config: 0, all there are, is always right.
 */
int hn_nodes_check(const struct hn_machine *m, uint64_t set, const char *setting, char *err, size_t err_len);

/*
 * Which nodes are slow: `wanted` as in struct hn_config. 0; -1 with a line in err, as above, when a node is named that there
 * is not, or when none is left.
 */
int hn_nodes_set_slow(struct hn_machine *m, uint64_t wanted, const char *setting, char *err, size_t err_len);

#endif
