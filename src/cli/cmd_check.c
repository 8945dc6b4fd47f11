// SPDX-License-Identifier: MIT
/* cmd_check.c - `hugenuma check` is a program of its own: it binds the engine to a machine that is not this one. */
#include "cli/cli.h"
#include "control/run.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK_NAME "hugenuma-check"

/* Beside this program, as in the build tree. */
static const char *check_beside_us(char *path, size_t len)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (n <= 0)
		return NULL;
	exe[n] = 0;
	slash = strrchr(exe, '/');
	if (!slash)
		return NULL;
	*slash = 0;
	snprintf(path, len, "%s/" CHECK_NAME, exe);
	return access(path, X_OK) == 0 ? path : NULL;
}

/* $HUGENUMA_CHECK, else beside us, else where it was installed. */
static const char *check_find(char *path, size_t len)
{
	const char *wanted = getenv("HUGENUMA_CHECK");

	if (wanted && *wanted)
		return wanted;
	return check_beside_us(path, len) ? path : HN_CHECK_PATH;
}

int hn_cmd_check(int argc, char **argv)
{
	char path[PATH_MAX + sizeof(CHECK_NAME)];
	const char *program = check_find(path, sizeof(path));

	(void)argc;
	execv(program, argv);
	fprintf(stderr, "%s: cannot run %s: %s; HUGENUMA_CHECK may name it\n", argv[0], program, strerror(errno));
	return HUGENUMA_EXIT_FAILED;
}
