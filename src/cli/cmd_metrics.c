// SPDX-License-Identifier: MIT
/* cmd_metrics.c - `hugenuma metrics`: counters for Prometheus, once; `hugenuma serve`: over HTTP. */
#include "cli/args.h"
#include "cli/cli.h"
#include "control/metrics.h"
#include "control/run.h"
#include "control/say.h"
#include "control/serve.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_FORMAT = 1000, KEY_LISTEN };

/* ---- metrics ---- */

static const struct argp_option metrics_options[] = {
	{ "format", KEY_FORMAT, "openmetrics|prometheus", 0,
	  "OpenMetrics 1.0 text, or Prometheus' older text format (default openmetrics)", 0 },
	{ 0 },
};

static error_t metrics_parse(int key, char *arg, struct argp_state *state)
{
	enum hn_metrics_format *format = state->input;

	switch (key) {
	case KEY_FORMAT:
		if (strcmp(arg, "openmetrics") == 0)
			*format = HN_METRICS_OPENMETRICS;
		else if (strcmp(arg, "prometheus") == 0)
			*format = HN_METRICS_PROMETHEUS;
		else
			argp_error(state, "--format: '%s': expected openmetrics or prometheus", arg);
		return 0;
	case ARGP_KEY_ARG: argp_error(state, "'%s': expected no argument", arg); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

int hn_cmd_metrics(int argc, char **argv)
{
	static const struct argp argp = {
		.options = metrics_options,
		.parser = metrics_parse,
		.doc = "Print the counters of all managed processes of this user (everybody's for root) as OpenMetrics "
		       "text.\v"
		       "Fit for the textfile collector of Prometheus' node exporter; `hugenuma serve' answers over "
		       "HTTP.\n\n"
		       "Exit status: 0, also when there is no process; 125 when it could not be done.",
	};
	enum hn_metrics_format format = HN_METRICS_OPENMETRICS;

	if (argp_parse(&argp, argc, argv, 0, NULL, &format) != 0)
		return HUGENUMA_EXIT_FAILED;
	if (hn_metrics_print(stdout, format))
		return 0;
	hn_say("out of memory");
	return HUGENUMA_EXIT_FAILED;
}

/* ---- serve ---- */

static const struct argp_option serve_options[] = {
	{ "listen", KEY_LISTEN, "ADDRESS:PORT", 0,
	  "IPv4 address, or [IPv6 address], and TCP port, 0..65535, to answer on (default 127.0.0.1:9177); 0: any free "
	  "port",
	  0 },
	{ 0 },
};

static error_t serve_parse(int key, char *arg, struct argp_state *state)
{
	struct sockaddr_storage *to = state->input;

	switch (key) {
	case KEY_LISTEN:
		if (!hn_serve_address(to, arg))
			argp_error(state, "--listen: '%s': expected ADDRESS:PORT, such as 127.0.0.1:9177 or [::1]:9177",
				   arg);
		return 0;
	case ARGP_KEY_ARG: argp_error(state, "'%s': expected no argument", arg); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

int hn_cmd_serve(int argc, char **argv)
{
	static const struct argp argp = {
		.options = serve_options,
		.parser = serve_parse,
		.doc = "Answer GET /metrics over HTTP with what `hugenuma metrics' prints, until SIGTERM or SIGINT.\v"
		       "On the loopback interface unless told otherwise: there is no encryption and nobody is asked "
		       "who he is. A client "
		       "that accepts application/openmetrics-text gets that, others Prometheus' older format.\n\n"
		       "Exit status: 0 after a signal; 125 when the address cannot be listened on, or for bad usage.",
	};
	struct sockaddr_storage to;

	hn_serve_address(&to, "127.0.0.1:9177");
	if (argp_parse(&argp, argc, argv, 0, NULL, &to) != 0)
		return HUGENUMA_EXIT_FAILED;
	return hn_serve_http(&to) ? 0 : HUGENUMA_EXIT_FAILED;
}
