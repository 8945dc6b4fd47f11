/* SPDX-License-Identifier: MIT */
/*
 * hugenuma.h - the public header. For now it names the version and the exit statuses of `hugenuma run`; the library for
 * programs that do not want a preload comes with it later.
 */
#ifndef HUGENUMA_H
#define HUGENUMA_H

#define HUGENUMA_VERSION_MAJOR 0
#define HUGENUMA_VERSION_MINOR 1
#define HUGENUMA_VERSION_PATCH 0

/* `hugenuma run` itself failed and the program was not started. */
#define HUGENUMA_EXIT_FAILED 125
/* The program was found but cannot be executed. */
#define HUGENUMA_EXIT_CANNOT_EXECUTE 126
/* The program was not found. */
#define HUGENUMA_EXIT_NOT_FOUND 127

#endif
