// SPDX-License-Identifier: MIT
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "uapi/uapi.h"

#define PATIENCE_MS 20000u

void live_fail(const char *file, int line, const char *what)
{
	dprintf(2, "%s:%d: not so: %s (errno: %s)\n", file, line, what, strerror(errno));
	_exit(1);
}

void live_skip(const char *why)
{
	dprintf(2, "%s\n", why);
	_exit(EXIT_SKIPPED);
}

bool live_is_bare(void) { return getenv("LIVE_BARE") != NULL; }

unsigned int live_slow(void)
{
	const char *text = getenv("LIVE_SLOW");
	int n = text ? atoi(text) : 1;

	return n > 1 ? (unsigned int)n : 1;
}

unsigned int live_rounds(unsigned int n)
{
	unsigned int few = n / live_slow();

	return few > 2 ? few : 2;
}

uint64_t live_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

void live_sleep_ms(unsigned int ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

/* ---- memory ---- */

char *live_reserve(size_t bytes)
{
	static _Atomic uintptr_t next = (uintptr_t)1 << 40;
	/* Room behind it to grow, and no neighbour to merge with. */
	void *at = (void *)atomic_fetch_add(&next, (bytes + 64 * HUGE) & ~(HUGE - 1)), *p;

	p = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(p == at);
	CHECK(madvise(p, bytes, MADV_HUGEPAGE) == 0);
	return p;
}

/* Filled before it looks like data to anybody: executable memory is left alone. So it appears all at once. */
static char *filled(size_t pages, uint64_t seed, bool look)
{
	char *p = live_reserve(pages * HUGE);

	(void)mprotect(p, pages * HUGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	live_fill(p, pages * HUGE, seed);
	if (look && live_huge(p, pages * HUGE) != pages * HUGE)
		live_skip("not enough huge pages to be had");
	CHECK(mprotect(p, pages * HUGE, PROT_READ | PROT_WRITE) == 0);
	return p;
}

char *live_arena(size_t pages, uint64_t seed) { return filled(pages, seed, true); }

char *live_arena_blind(size_t pages, uint64_t seed) { return filled(pages, seed, false); }

void live_fill_from(void *p, size_t bytes, uint64_t seed, size_t first)
{
	uint64_t *w = p;
	size_t i;

	for (i = 0; i < bytes / 8; i++)
		w[i] = live_word(seed, first + i);
}

void live_fill(void *p, size_t bytes, uint64_t seed) { live_fill_from(p, bytes, seed, 0); }

static bool is_word(const uint64_t *w, uint64_t want)
{
	if (*w == want)
		return true;
	dprintf(2, "%p holds %016llx instead of %016llx\n", (const void *)w, (unsigned long long)*w,
		(unsigned long long)want);
	return false;
}

bool live_matches(const void *p, size_t bytes, uint64_t seed, size_t first)
{
	const uint64_t *w = p;
	size_t i;

	for (i = 0; i < bytes / 8; i++)
		if (!is_word(&w[i], live_word(seed, first + i)))
			return false;
	return true;
}

void live_verify_from(const void *p, size_t bytes, uint64_t seed, size_t first)
{
	CHECK(live_matches(p, bytes, seed, first));
}

void live_verify(const void *p, size_t bytes, uint64_t seed) { live_verify_from(p, bytes, seed, 0); }

void live_verify_zero(const void *p, size_t bytes)
{
	const uint64_t *w = p;
	size_t i;

	for (i = 0; i < bytes / 8; i++)
		CHECK(is_word(&w[i], 0));
}

int live_temporary(int flags)
{
	const char *dir = getenv("TMPDIR");
	int fd = open(dir ? dir : "/tmp", O_TMPFILE | O_RDWR | flags, 0600);

	if (fd < 0 && (errno == EINVAL || errno == EOPNOTSUPP))
		live_skip("the file system does not take these flags");
	CHECK(fd >= 0);
	return fd;
}

/* ---- the page map ---- */

static size_t mapped(const void *p, size_t bytes, uint64_t kind)
{
	struct hn_page_region r[64];
	struct hn_pm_scan_arg arg = {
		.size = sizeof(arg), .start = (uintptr_t)p, .end = (uintptr_t)p + bytes,
		.vec = (uintptr_t)r, .vec_len = 64, .category_mask = kind,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), n, i;
	size_t sum = 0;

	/* A program that closes everything in a loop must not look meanwhile. */
	CHECK(fd >= 0);
	while (arg.start < arg.end) {
		n = ioctl(fd, HN_PAGEMAP_SCAN, &arg);
		CHECK(n >= 0);
		for (i = 0; i < n; i++)
			sum += r[i].end - r[i].start;
		arg.start = arg.walk_end;
	}
	close(fd);
	return sum;
}

#define PM_PRESENT ((uint64_t)1 << 63)
#define PM_UFFD ((uint64_t)1 << 57) /* protected by a userfaultfd, in place */

/* One word for each base page: PAGEMAP_SCAN does not tell memory protected in place from memory of nobody's. */
size_t live_present(const void *p, size_t bytes)
{
	uint64_t entry[HUGE / BASE];
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t at, i, sum = 0;

	CHECK(fd >= 0);
	for (at = 0; at < bytes; at += HUGE) {
		size_t nr = (bytes - at < HUGE ? bytes - at : HUGE) / BASE;

		CHECK(pread(fd, entry, nr * 8, (off_t)(((uintptr_t)p + at) / BASE * 8)) == (ssize_t)(nr * 8));
		for (i = 0; i < nr; i++)
			sum += (entry[i] & (PM_PRESENT | PM_UFFD)) == PM_PRESENT ? BASE : 0;
	}
	close(fd);
	return sum;
}

size_t live_huge(const void *p, size_t bytes) { return mapped(p, bytes, HN_PAGE_IS_HUGE); }

bool live_absent_within(const void *p, size_t bytes, unsigned int ms)
{
	uint64_t end = live_now_ms() + ms;

	if (live_is_bare())
		return true;
	while (live_present(p, bytes)) {
		if (live_now_ms() > end)
			return false;
		live_sleep_ms(1);
	}
	return true;
}

void live_wait_absent(const void *p, size_t bytes)
{
	if (live_absent_within(p, bytes, live_slow() * PATIENCE_MS))
		return;
	dprintf(2, "%p, %zu KiB: %zu KiB are mapped, %zu KiB by huge pages\n", p, bytes >> 10, live_present(p, bytes) >> 10,
		live_huge(p, bytes) >> 10);
	CHECK(!"absent");
}

/* ---- behind the scenes ---- */

static uint64_t frame_of(int fd, const char *at)
{
	uint64_t entry = 0;

	CHECK(pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)at / BASE * sizeof(entry))) == (ssize_t)sizeof(entry));
	return entry >> 63 ? entry & ((1ull << 55) - 1) : 0;
}

/* Where in this process the frame is mapped, other than at its own place; NULL: nowhere. */
static char *find_frame(int fd, uint64_t frame, const char *own)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], *found = NULL;
	unsigned long start, end, at;

	CHECK(maps);
	while (!found && fgets(line, sizeof(line), maps)) {
		CHECK(sscanf(line, "%lx-%lx", &start, &end) == 2);
		/* Where it would be: at the beginning of a huge page, and not too far on. */
		for (at = (start + HUGE - 1) & ~(HUGE - 1); at + HUGE <= end && at < start + 2048 * HUGE && !found; at += HUGE)
			if (at != (uintptr_t)own && frame_of(fd, (char *)at) == frame)
				found = (char *)at;
	}
	fclose(maps);
	return found;
}

/* Of the page at its own place; a page in staging is brought back for that, as often as it goes away meanwhile. */
static uint64_t frame_in_place(int fd, const char *page)
{
	uint64_t frame = 0;

	while (!frame) {
		(void)*(const volatile char *)page;
		frame = frame_of(fd, page);
	}
	return frame;
}

/* Looked for again, should it migrate meanwhile, or come back: a hint runs out after a second, and looking may take as long. */
char *live_staged(char *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), tries = 10;
	char *staged = NULL;
	uint64_t frame;

	CHECK(fd >= 0);
	if (geteuid() != 0)
		live_skip("only root is told of frames");
	while (!staged && tries--) {
		frame = frame_in_place(fd, page);
		live_wait_absent(page, HUGE);
		staged = find_frame(fd, frame, page);
		if (staged && frame_of(fd, staged) != frame)
			staged = NULL;
	}
	close(fd);
	return staged;
}

/* ---- the process ---- */

size_t live_status_kib(const char *field)
{
	FILE *f = fopen("/proc/self/status", "re");
	size_t len = strlen(field), kib = 0;
	char line[256];

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, field, len))
			kib = strtoul(line + len, NULL, 10);
	fclose(f);
	return kib;
}

void live_reap(int pid)
{
	int status = -1;

	CHECK(pid > 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		dprintf(2, "child's wait status: %#x\n", (unsigned int)status);
	CHECK(status == 0);
}

int live_main(int argc, char **argv, const struct live_case *cases)
{
	const struct live_case *c;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (c = cases; c->name; c++)
			puts(c->name);
		return 0;
	}
	for (c = cases; argc >= 2 && c->name; c++)
		if (!strcmp(argv[1], c->name)) {
			c->run();
			return 0;
		}
	fprintf(stderr, "usage: %s --list | CASE\n", argv[0]);
	return 2;
}
