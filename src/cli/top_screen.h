// SPDX-License-Identifier: MIT
/* top_screen.h - `hugenuma top` on a terminal: keys and drawing. What is drawn is control/top.h's. */
#ifndef HN_CLI_TOP_SCREEN_H
#define HN_CLI_TOP_SCREEN_H

#include "control/top.h"

struct hn_top_wish {
	bool batch;
	unsigned iterations; /* 0: without end */
	unsigned delay_ms;
	uint32_t pid; /* 0: none named */
	enum hn_top_screen screen;
	unsigned sort;
	const char *sort_name;
};

/* Until the user has enough. Returns the exit status; -1: this terminal cannot do it. */
int hn_top_screen_run(const struct hn_top_wish *w);

/* The process with most huge pages; 0: there is none. */
uint32_t hn_top_biggest(const struct hn_top *t);

/* True, and it was said, when what is to be shown is not there: the process that was named, or any. */
bool hn_top_say_missing(const struct hn_top *t, const struct hn_top_wish *w);

#endif
