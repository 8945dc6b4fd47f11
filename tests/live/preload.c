// SPDX-License-Identifier: MIT
/* A library that a user preloads for reasons of his own: it is seen to work by its answer to getlogin(3). */
#include <unistd.h>

char *getlogin(void)
{
	static char name[] = "preloaded";

	return name;
}
