// SPDX-License-Identifier: MIT
#include "cli/args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* strtoull takes blanks and signs as well. */
bool hn_parse_number(const char *arg, uint64_t *v)
{
	char *end = NULL;

	errno = 0;
	*v = strtoull(arg, &end, 10);
	return arg[0] >= '0' && arg[0] <= '9' && !*end && !errno;
}

bool hn_parse_address(const char *arg, uint64_t *v)
{
	const char *digits = arg[0] == '0' && (arg[1] == 'x' || arg[1] == 'X') ? arg + 2 : arg;
	char *end = NULL;

	errno = 0;
	*v = strtoull(digits, &end, 16);
	/* and a second 0x */
	return *digits && !*end && !errno && !(*v >> 47) && strspn(digits, "0123456789abcdefABCDEF") == strlen(digits);
}

uint64_t hn_arg_number(struct argp_state *state, const char *name, const char *arg, uint64_t min, uint64_t max)
{
	uint64_t v;

	if (!hn_parse_number(arg, &v) || v < min || v > max)
		argp_error(state, "--%s: '%s': expected a whole number from %" PRIu64 " to %" PRIu64, name, arg, min,
			   max);
	return v;
}

uint32_t hn_arg_pid(struct argp_state *state, const char *option, const char *arg)
{
	uint64_t v;

	if (!hn_parse_number(arg, &v) || v < 1 || v > INT32_MAX)
		argp_error(state, "%s'%s': expected a PID, a whole number from 1 to %d", option, arg, INT32_MAX);
	return (uint32_t)v;
}

error_t hn_arg_one_pid(int key, char *arg, struct argp_state *state)
{
	uint32_t *pid = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (state->arg_num > 0)
			argp_error(state, "'%s': expected one PID", arg);
		else
			*pid = hn_arg_pid(state, "", arg);
		return 0;
	case ARGP_KEY_NO_ARGS: argp_error(state, "expected a PID, as `hugenuma list' shows it"); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}
