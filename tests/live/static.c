// SPDX-License-Identifier: MIT
/*
 * A program that nothing can be loaded into: linked statically, where there is a libc for it.
 */
#include <stdio.h>

int main(void)
{
	puts("static");
	return 5;
}
