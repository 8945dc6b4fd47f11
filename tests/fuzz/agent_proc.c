// SPDX-License-Identifier: MIT
/* The agent's readers of /proc: maps, smaps, a thread's stat and numa_maps, in pieces as they come. */
#include "fuzz.h"

#include "linux/live.h"

#include <unistd.h>

static bool count(void *arg, const struct hn_vma *vma)
{
	(void)vma;
	++*(unsigned *)arg;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = fuzz_file(data, size);
	char *text = malloc(size ? size : 1);
	struct hn_range range[4];
	char small[256], large[4096];
	unsigned few = 0, many = 0;
	struct hn_mempolicy bound;

	/* a line that does not fit ends the walk; what fits a small buffer fits a large one */
	if (hn_maps_walk(fd, small, sizeof(small), count, &few) == 0)
		hn_must(hn_maps_walk(fd, large, sizeof(large), count, &many) == 0 && few == many);
	hn_must(lseek(fd, 0, SEEK_SET) == 0 && hn_smaps_wiped(fd, range, 4) <= 4);
	hn_must(text);
	memcpy(text, data, size);
	hn_must(hn_stat_cpu(text, size) < 1000000);
	hn_parse_task_policy(text, text + size, &bound);
	free(text);
	return 0;
}
