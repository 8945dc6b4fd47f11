// SPDX-License-Identifier: MIT
#include "control/serve.h"

#include "control/launch.h"
#include "control/metrics.h"
#include "control/say.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTIONS 16u
#define TIMEOUT_S 10u
#define OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"

static bool parse_port(in_port_t *port, const char *text)
{
	char *end = NULL;
	unsigned long v = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || v > 65535)
		return false;
	*port = htons((uint16_t)v);
	return true;
}

bool hn_serve_address(struct sockaddr_storage *to, const char *text)
{
	const char *colon = strrchr(text, ':');
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
	struct sockaddr_in *in = (struct sockaddr_in *)to;
	size_t len = colon ? (size_t)(colon - text) : 0;
	char host[64];

	memset(to, 0, sizeof(*to));
	if (!colon || len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = 0;
	if (host[0] == '[' && len > 2 && host[len - 1] == ']') {
		host[len - 1] = 0;
		in6->sin6_family = AF_INET6;
		return inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1 && parse_port(&in6->sin6_port, colon + 1);
	}
	in->sin_family = AF_INET;
	return inet_pton(AF_INET, host, &in->sin_addr) == 1 && parse_port(&in->sin_port, colon + 1);
}

/* ---- answering ---- */

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, void *body, size_t len,
			      enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(len, body, mode);
	enum MHD_Result res;

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	res = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return res;
}

static enum MHD_Result answer_text(struct MHD_Connection *c, unsigned status, const char *text)
{
	return answer(c, status, "text/plain; charset=utf-8", (void *)text, strlen(text), MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result answer_metrics(struct MHD_Connection *c)
{
	const char *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	bool open = accept && strstr(accept, "application/openmetrics-text");
	char *body = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&body, &len);
	bool ok = f && hn_metrics_print(f, open ? HN_METRICS_OPENMETRICS : HN_METRICS_PROMETHEUS);

	if (f && fclose(f) != 0)
		ok = false;
	if (ok)
		return answer(c, MHD_HTTP_OK, open ? OPENMETRICS : PROMETHEUS, body, len, MHD_RESPMEM_MUST_FREE);
	free(body);
	return answer_text(c, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
				  const char *version, const char *upload, size_t *upload_len, void **state)
{
	(void)arg;
	(void)version;
	(void)upload;
	(void)state;
	/* what a client sends along is of no interest */
	if (*upload_len) {
		*upload_len = 0;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET only\n");
	if (strcmp(url, "/metrics") == 0)
		return answer_metrics(c);
	if (strcmp(url, "/") == 0)
		return answer_text(c, MHD_HTTP_OK, "hugenuma: see /metrics\n");
	return answer_text(c, MHD_HTTP_NOT_FOUND, "not found: see /metrics\n");
}

/* ---- life ---- */

/* "[::1]:9177", as it would be given. */
static void address_text(const struct sockaddr_storage *at, unsigned port, char *text, size_t len)
{
	const void *addr = at->ss_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)at)->sin6_addr
						     : (const void *)&((const struct sockaddr_in *)at)->sin_addr;
	bool six = at->ss_family == AF_INET6;
	char host[64];

	inet_ntop(at->ss_family, addr, host, sizeof(host));
	snprintf(text, len, "%s%s%s:%u", six ? "[" : "", host, six ? "]" : "", port);
}

static void say_where(struct MHD_Daemon *d, const struct sockaddr_storage *at)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT);
	char text[80];

	address_text(at, info ? info->port : 0u, text, sizeof(text));
	hn_say("answering on http://%s/metrics", text);
}

static void say_why_not(const struct sockaddr_storage *at, int err)
{
	in_port_t port = at->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)at)->sin6_port
						   : ((const struct sockaddr_in *)at)->sin_port;
	char text[80];

	address_text(at, ntohs(port), text, sizeof(text));
	hn_say("cannot listen on %s: %s; --listen=ADDRESS:PORT names another address", text, err ? strerror(err) : "unknown error");
}

bool hn_serve_http(const struct sockaddr_storage *at)
{
	const int ending[] = { SIGTERM, SIGINT };
	struct MHD_Daemon *d;
	sigset_t set;

	/* before there are threads, so that none of them is interrupted */
	hn_signals_hold(ending, 2, &set);
	errno = 0;
	d = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | (at->ss_family == AF_INET6 ? MHD_USE_IPv6 : 0), 0, NULL,
			     NULL, on_request, NULL, MHD_OPTION_SOCK_ADDR, at, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
			     MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S, MHD_OPTION_END);
	if (!d) {
		say_why_not(at, errno);
		return false;
	}
	say_where(d, at);
	while (sigwaitinfo(&set, NULL) < 0)
		;
	MHD_stop_daemon(d);
	return true;
}
