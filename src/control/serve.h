// SPDX-License-Identifier: MIT
/*
 * serve.h - metrics over HTTP.
 */
#ifndef HN_CONTROL_SERVE_H
#define HN_CONTROL_SERVE_H

#include <stdbool.h>
#include <sys/socket.h>

/* "127.0.0.1:9177", "[::1]:9177"; names are not looked up. */
bool hn_serve_address(struct sockaddr_storage *to, const char *text);
/* Answer until a signal says to end. False with a line for the user when the address cannot be listened on. */
bool hn_serve_http(const struct sockaddr_storage *at);

#endif
