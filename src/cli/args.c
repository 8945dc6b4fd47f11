// SPDX-License-Identifier: MIT
#include "cli/args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

/* strtoull takes blanks and signs as well. */
static bool parse(const char *arg, uint64_t *v)
{
	char *end = NULL;

	errno = 0;
	*v = strtoull(arg, &end, 10);
	return arg[0] >= '0' && arg[0] <= '9' && !*end && !errno;
}

uint64_t hn_arg_number(struct argp_state *state, const char *name, const char *arg, uint64_t min, uint64_t max)
{
	uint64_t v;

	if (!parse(arg, &v) || v < min || v > max)
		argp_error(state, "--%s: '%s': expected a whole number from %" PRIu64 " to %" PRIu64, name, arg, min,
			   max);
	return v;
}

uint32_t hn_arg_pid(struct argp_state *state, const char *arg)
{
	uint64_t v;

	if (!parse(arg, &v) || v < 1 || v > INT32_MAX)
		argp_error(state, "'%s': expected a PID, a whole number from 1 to %d", arg, INT32_MAX);
	return (uint32_t)v;
}
