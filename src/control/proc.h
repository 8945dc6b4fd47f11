// SPDX-License-Identifier: MIT
/*
 * proc.h - which processes still exist, and what time it is.
 */
#ifndef HN_CONTROL_PROC_H
#define HN_CONTROL_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * True when the process with this pid and start time (clock ticks after boot, field 22 of /proc/PID/stat) has ended;
 * zombies count as ended. start_ticks 0 means unknown: then only the pid is asked for.
 */
bool hn_process_is_gone(uint32_t pid, uint64_t start_ticks);
/*
 * The same for a process that may be in another PID namespace (inode pid_ns, 0: unknown) than this one and has its pid
 * there. Only namespaces below our own can be looked into; start times are the same in all. *here, if wanted: its number
 * in our own namespace, 0 when it is gone or cannot be told.
 */
bool hn_process_of_ns_is_gone(uint32_t pid, uint64_t start_ticks, uint32_t pid_ns, uint32_t *here);

/* Has the process (of our own namespace) this file mapped? False also when that cannot be told. */
bool hn_process_maps(uint32_t pid, dev_t dev, ino_t ino);

/* Is this line of /proc/PID/maps about that file? */
bool hn_maps_line_is_of(const char *line, dev_t dev, ino_t ino);

/*
 * Of /proc/PID/stat: fields 3 (state), 20 (threads) and 22 (start time); the name in field 2 may hold anything. Of
 * /proc/PID/status: what the process is called in the innermost of its PID namespaces; 0: does not say.
 */
bool hn_parse_stat(const char *text, char *state, long *threads, uint64_t *start_ticks);
uint32_t hn_parse_innermost_pid(const char *status);

/* CLOCK_MONOTONIC, ms. */
uint64_t hn_now_ms(void);

/* Read a small text file into buf, cut off at len - 1, trailing newline removed. Returns 0 or -errno. */
int hn_read_text(const char *path, char *buf, unsigned len);

#endif
