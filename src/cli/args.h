// SPDX-License-Identifier: MIT
/* args.h - values on the command line. A bad one ends the program with a usage error. */
#ifndef HN_CLI_ARGS_H
#define HN_CLI_ARGS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

/* A whole number, in decimal; false when it is none, or too large. */
bool hn_parse_number(const char *text, uint64_t *v);
/* An address in hexadecimal, with or without 0x, below 2^47. */
bool hn_parse_address(const char *text, uint64_t *v);

/* A whole number from min to max, given to --name. */
uint64_t hn_arg_number(struct argp_state *state, const char *name, const char *arg, uint64_t min, uint64_t max);
/* option: "--pid: ", or "" for an argument that is none's. */
uint32_t hn_arg_pid(struct argp_state *state, const char *option, const char *arg);
/* A parser for commands that take one PID and nothing else; state->input is a uint32_t for it. */
error_t hn_arg_one_pid(int key, char *arg, struct argp_state *state);

#endif
