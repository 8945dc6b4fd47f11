// SPDX-License-Identifier: MIT
/*
 * machine.h - the machine description handed to the agents, made with hwloc.
 */
#ifndef HN_CONTROL_MACHINE_H
#define HN_CONTROL_MACHINE_H

#include "agent/layout.h"

#include <stddef.h>

#define HN_DEFAULT_TOPOLOGY "node:4 pu:2"

/*
 * Describe the machine to balance over.
 * topology NULL: this machine's NUMA nodes, or HN_DEFAULT_TOPOLOGY as virtual nodes when it has only one.
 * Otherwise an hwloc synthetic description, or the path of an hwloc XML file (it has a '/' or ends in ".xml"): always
 * virtual. This machine's CPUs are dealt to virtual nodes in blocks, in proportion to the CPUs each node is said to have.
 * *real_nodes (may be NULL) gets the number of real nodes. Returns 0, or -1 with a line in err.
 */
int hn_machine_build(struct hn_machine *m, const char *topology, unsigned *real_nodes, char *err, size_t err_len);

/*
 * The same without the child process that hn_machine_build has descriptions from outside read by: on some hwloc falls, and
 * others ask for more than there is.
 */
int hn_machine_build_here(struct hn_machine *m, const char *topology, unsigned *real_nodes, char *err, size_t err_len);

/* NULL where threads can be moved to a node's CPUs, else why not. */
const char *hn_machine_pins_nothing(const struct hn_machine *m);

#endif
