// SPDX-License-Identifier: MIT
/*
 * plugin.h - policies that are shared objects: where they are found, and whether they can be used.
 */
#ifndef HN_CONTROL_PLUGIN_H
#define HN_CONTROL_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>

/* Where a NAME without a slash is looked for, as NAME.so: $HUGENUMA_POLICIES, else where policies are installed. */
const char *hn_plugin_dir(void);
/*
 * The absolute path that `text` means: a path when it has a slash in it, else a NAME. False when it does not fit in len, or
 * when there is no object of that name. A path need not be that of a file yet: hn_plugin_try() says what is wrong.
 */
bool hn_plugin_path(const char *text, char *path, size_t len);
/*
 * Load the object in a child process and ask it a few things there, as the agent will: on a thread without libc. 0; -1
 * with a line in err when it cannot be used, and why.
 */
int hn_plugin_try(const char *path, char *err, size_t err_len);

#endif
