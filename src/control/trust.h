// SPDX-License-Identifier: MIT
/*
 * trust.h - files that somebody else may have prepared: which are opened, and what happens when one shrinks while it is
 * mapped. docs/security.md has the rules.
 */
#ifndef HN_CONTROL_TRUST_H
#define HN_CONTROL_TRUST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/*
 * Open `name` in the directory `dir`: a directory with O_DIRECTORY in flags, else a regular file. Symbolic links are not
 * followed, and nothing is waited for. It must belong to us (root: to anybody), be closed to everybody else, and a file
 * must have one name only. Returns a descriptor with *st filled in, or -errno with a line in *why, "is a symbolic link"
 * for instance; *why is NULL where it simply is not there or not to be seen.
 */
int hn_open_trusted(int dir, const char *name, int flags, struct stat *st, const char **why);

/*
 * A file whose owner truncates it while we have it mapped would end us by SIGBUS. From now on memory of zeros takes the
 * place of [at, at + bytes) then, whole. False: there are too many such mappings. One thread at a time calls these two.
 */
bool hn_guard(void *at, size_t bytes);
void hn_unguard(void *at);

#endif
