// SPDX-License-Identifier: MIT
/*
 * The library's reader of nodes, CPUs and distances as the kernel shows them in /sys. The input is what is read one file after
 * another, a line each; the first letter is how many virtual nodes are wanted (0: the real ones). Whatever is said, the machine is
 * sane.
 */
#include <errno.h>

#include "fuzz.h"

#include "agent/layout.h"
#include "control/proc.h"
#include "lib/lib.h"

static const uint8_t *text;
static size_t left;

int __wrap_hn_read_text(const char *path, char *buf, unsigned len);

int __wrap_hn_read_text(const char *path, char *buf, unsigned len)
{
	const uint8_t *end = left ? memchr(text, '\n', left) : NULL;
	size_t n = end ? (size_t)(end - text) : left, taken = n < len ? n : len - 1;

	hn_must(len && strncmp(path, "/sys/", 5) == 0);
	buf[0] = '\0';
	if (!left)
		return -ENOENT;
	memcpy(buf, text, taken);
	buf[taken] = '\0';
	n += end ? 1 : 0;
	text += n;
	left -= n;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hn_machine m;
	uint8_t wanted;
	int err;

	fuzz_take(&data, &size, &wanted, 1);
	text = data;
	left = size;
	wanted = wanted >= '0' ? (uint8_t)(wanted - '0') % (HN_MAX_NODES + 1) : 0;
	err = hn_lib_nodes(&m, wanted);
	if (err) {
		hn_must(err == -ENODEV && !wanted);
		return 0;
	}
	hn_must(hn_machine_is_sane(&m) && (wanted ? m.nr_nodes == wanted : m.nr_nodes >= 2));
	return 0;
}
