// SPDX-License-Identifier: MIT
/*
 * door.h - what the library needs of an agent, be it its own copy of these objects or the one that is preloaded. All of it
 * is for program threads.
 */
#ifndef HN_AGENT_DOOR_H
#define HN_AGENT_DOOR_H

#include "agent/agent.h"

#define HN_DOOR_SYMBOL "hugenuma_agent_door"

struct hn_door {
	uint64_t magic;       /* HN_SHM_MAGIC */
	uint32_t door_bytes, agent_bytes, slot_bytes, record_bytes; /* all the same, or it is another version */
	struct hn_agent *agent;
	void (*start)(void);
	bool (*leave)(void);
	bool (*pause)(void);
	void (*resume)(void);
	void (*kick)(void);
	int (*set_range)(hn_addr start, hn_addr end, bool leave, const struct hn_wish *wish);
	int (*survey)(struct hn_survey *s, uint32_t ms);
};

#define HN_DOOR                                                                                                        \
	{                                                                                                              \
		HN_SHM_MAGIC, sizeof(struct hn_door), sizeof(struct hn_agent), sizeof(struct hn_slot),                 \
			sizeof(struct hn_record), &hn_agent, hn_agent_start, hn_agent_leave, hn_agent_pause,           \
			hn_agent_resume, hn_control_kick, hn_ranges_set, hn_survey_ask,                                \
	}

#endif
