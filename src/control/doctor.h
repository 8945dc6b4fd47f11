// SPDX-License-Identifier: MIT
/*
 * doctor.h - what this machine and this user can do, in words.
 */
#ifndef HN_CONTROL_DOCTOR_H
#define HN_CONTROL_DOCTOR_H

#include <stdbool.h>

enum hn_verdict {
	HN_VERDICT_OK,
	HN_VERDICT_WARN, /* `run` works, less well than it could */
	HN_VERDICT_FAIL, /* `run` would run programs unmanaged */
};

struct hn_check {
	enum hn_verdict verdict;
	char name[24];
	char found[320];
	const char *meaning;
	const char *mend; /* NULL when there is nothing to mend */
};

#define HN_DOCTOR_MAX 96

struct hn_doctor {
	struct hn_check check[HN_DOCTOR_MAX];
	unsigned nr;
};

/* "ok", "warn", "FAIL" */
extern const char *const hn_verdict_names[3];

/* Look at everything. Takes a second or so at worst; changes nothing outside this process. */
void hn_doctor_examine(struct hn_doctor *d);

/* True when no check failed: `run` would manage a program here. */
bool hn_doctor_would_manage(const struct hn_doctor *d);

#endif
