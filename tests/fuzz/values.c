// SPDX-License-Identifier: MIT
/* Other values on the command line: numbers, addresses in memory, addresses to listen on, policies of others. */
#include "fuzz.h"

#include "cli/args.h"
#include "control/plugin.h"
#include "control/serve.h"

#include <netinet/in.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), again[32], path[64];
	struct sockaddr_storage to;
	uint64_t v;

	if (hn_parse_number(text, &v)) {
		const char *digits = text + strspn(text, "0");

		snprintf(again, sizeof(again), "%llu", (unsigned long long)v);
		hn_must(strcmp(again, *digits ? digits : "0") == 0);
	}
	if (hn_parse_address(text, &v))
		hn_must(v < (uint64_t)1 << 47);
	if (hn_serve_address(&to, text))
		hn_must(to.ss_family == AF_INET || to.ss_family == AF_INET6);
	if (hn_plugin_path(text, path, sizeof(path)))
		hn_must(*path && strlen(path) < sizeof(path));
	free(text);
	return 0;
}
