// SPDX-License-Identifier: MIT
/*
 * disturb: threads that change mappings, one plot each, and verify what must be there afterwards
 */
#ifndef TORTURE_DISTURB_H
#define TORTURE_DISTURB_H

#include "plot.h"

/* One round: do something to the plot, verify. The plot is fully written or zero before and after. */
typedef void (*disturb_step)(struct plot *plot, struct actor *a);

void step_map(struct plot *plot, struct actor *a);
void step_dontneed(struct plot *plot, struct actor *a);
void step_free(struct plot *plot, struct actor *a);
void step_protect(struct plot *plot, struct actor *a);
void step_mremap(struct plot *plot, struct actor *a);
void step_fork(struct plot *plot, struct actor *a);
void step_rawfork(struct plot *plot, struct actor *a);
void step_exec(struct plot *plot, struct actor *a);
void step_spawn(struct plot *plot, struct actor *a);
void step_sys(struct plot *plot, struct actor *a);
void step_churn(struct plot *plot, struct actor *a);

int create_disturbers(void);
int start_disturbers(void);
void join_disturbers(void);
/* After the join: every plot once more, in full. */
void check_plots(struct actor *a);
/* How often each disturber came round: what a clean run is worth. */
void print_rounds(void);
/* Any plot at all, for the self test; NULL if none is active. */
struct plot *some_plot(void);

/* Verify a random part, and rewrite it now and then: what every step ends with. */
void tend(struct plot *plot, struct actor *a);

/* Make it whole huge pages again, as far as the kernel will. */
void collapse(struct plot *plot, struct actor *a);

#endif
