// SPDX-License-Identifier: MIT
/*
 * events.h - decisions as the program sees them.
 */
#ifndef HN_LIB_EVENTS_H
#define HN_LIB_EVENTS_H

#include "core/record.h"
#include "hugenuma.h"

void hn_lib_event(struct hugenuma_event *ev, uint32_t number, const struct hn_decision *d);

#endif
