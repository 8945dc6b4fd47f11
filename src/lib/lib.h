// SPDX-License-Identifier: MIT
/*
 * lib.h - the library: a controller and an agent in one process. It makes the shared memory that `hugenuma run` would have
 * made, starts the agent by a call, and then steers it as `hugenuma ctl` does; so list, top and report see it as any other.
 *
 * Everything here runs on the program's threads. The lock is held for reading while the agent is asked something, for
 * writing while it comes and goes; never while a function of the program is called.
 */
#ifndef HN_LIB_LIB_H
#define HN_LIB_LIB_H

#include "agent/door.h"
#include "hugenuma.h"

#define EXPORT __attribute__((visibility("default")))

void hn_lib_read_lock(void);
void hn_lib_write_lock(void);
void hn_lib_unlock(void);

/* The agent of this process: the one that is preloaded under `hugenuma run`, else our own. */
const struct hn_door *hn_lib_door(void);
/* The same if it manages the process now, else NULL. Lock held. */
const struct hn_door *hn_lib_running(void);
/* NULL: there is none. Lock held, agent running. */
struct hn_record *hn_lib_record(const struct hn_door *d);

/* settings.c: what was set, for a start. Lock held for writing. */
void hn_lib_take_config(struct hn_config *c);
/* The same laid over what files and environment say; 0 or -EINVAL with a line in err. */
int hn_lib_read_config(struct hn_config *c, char *err, size_t len);

/* nodes.c: describe the machine, or so many virtual nodes; 0, or -ENODEV: it has one node. */
int hn_lib_nodes(struct hn_machine *m, uint32_t virtual_nodes);

/* Copy the first `size` bytes of a struct whose caller may be older or newer; the size field stays his. False: no such size. */
bool hn_lib_hand_out(void *to, uint32_t least, const void *from, uint32_t bytes);
/* 0, or -ENOSPC. */
int hn_lib_text(char *to, size_t len, const char *text);
/* Sleep a millisecond. */
void hn_lib_nap(void);

#endif
