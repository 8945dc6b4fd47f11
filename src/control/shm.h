// SPDX-License-Identifier: MIT
/*
 * shm.h - the run directory and the shared-memory file in it (agent/layout.h).
 */
#ifndef HN_CONTROL_SHM_H
#define HN_CONTROL_SHM_H

#include "agent/layout.h"

#include <stddef.h>

struct hn_run_dir {
	char dir[512];  /* mode 0700, owned by us */
	char file[520]; /* dir + "/run", mode 0600 */
	int fd;         /* of the file, locked (flock, shared) as long as this controller lives */
	struct hn_shm *shm;
};

/*
 * Make the directory and the file, map it, fill in the header with *config and *machine.
 * In /dev/shm, or in $XDG_RUNTIME_DIR when that fails. Returns 0 or -errno with a line in err; nothing is left behind
 * on failure.
 */
int hn_run_dir_create(struct hn_run_dir *d, const struct hn_config *config, const struct hn_machine *machine, char *err,
		      size_t err_len);

/*
 * Remove run directories of this user that nobody needs any more: their controller has ended without doing so (killed,
 * or its program had left daemons behind), and none of their agents is alive.
 */
void hn_run_dir_sweep(void);

/* Unmap; with `remove` also delete file and directory. */
void hn_run_dir_close(struct hn_run_dir *d, bool remove);

#endif
