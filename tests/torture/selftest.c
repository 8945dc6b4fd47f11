// SPDX-License-Identifier: MIT
/*
 * Can the oracle fail? Do by hand what a broken migration would do, and demand that all of it is reported and no more.
 */
#include <inttypes.h>
#include <stdio.h>

#include "disturb.h"
#include "field.h"

static const uint64_t *planted[4];
static unsigned int n_planted, n_counters;

static void plant(uint64_t *word, uint64_t value)
{
	printf("torture: self test: %p from %#" PRIx64 " to %#" PRIx64 "\n", (void *)word, load(word), value);
	store(word, value);
	planted[n_planted++] = word;
}

/* Called by worker 0 while all workers are at rest. */
void self_test_corrupt_field(void)
{
	struct field *field = &fields[0];
	uint64_t *page = field->area.words + (field->pages - 1) * HUGE_WORDS;
	/* The first word of a line that is the last worker's: not the one that does this. */
	uint64_t *stale = page + 70000 - 70000 % opt.threads + opt.threads - 1, *lost = page + 200001;
	uint64_t *counter = page + COUNTER_STEP;

	plant(stale, load(stale) - (1ull << 32));
	plant(lost, 0);
	store(counter, load(counter) - 1);
	n_counters++;
}

/* Called by main when all disturbers have ended. */
void self_test_corrupt_plot(void)
{
	struct plot *plot = some_plot();
	size_t w;

	if (!plot)
		return;
	for (w = 12345; !plot_expected(plot, w) && w < plot->bases * BASE_WORDS; w += BASE_WORDS)
		;
	if (w < plot->bases * BASE_WORDS)
		plant(&plot->area.words[w], load(&plot->area.words[w]) - (1ull << 32));
}

int self_test_verdict(void)
{
	bool good = n_planted + n_counters > 0 && words_wrong() == n_planted && other_errors() == n_counters;

	for (unsigned int i = 0; i < n_planted; i++)
		good = good && word_reported(planted[i]);
	printf("torture: self test %s: %u words and %u counters planted, %" PRIu64 " and %" PRIu64 " reported\n",
	       good ? "passed" : "FAILED", n_planted, n_counters, words_wrong(), other_errors());
	return good ? EXIT_OK : EXIT_FAIL;
}
