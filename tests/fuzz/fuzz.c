// SPDX-License-Identifier: MIT
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

static ssize_t swallow(void *cookie, const char *buf, size_t len)
{
	(void)cookie;
	(void)buf;
	return (ssize_t)len;
}

FILE *fuzz_sink(void)
{
	static FILE *sink;

	if (!sink)
		sink = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = swallow });
	hn_must(sink);
	return sink;
}

char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	hn_must(text);
	memcpy(text, data, size);
	text[size] = 0;
	return text;
}

static int file = -1;

int fuzz_file(const uint8_t *data, size_t size)
{
	if (file < 0)
		file = memfd_create("fuzz", 0);
	hn_must(file >= 0 && ftruncate(file, 0) == 0);
	hn_must(pwrite(file, data, size, 0) == (ssize_t)size && lseek(file, 0, SEEK_SET) == 0);
	return file;
}

const char *fuzz_file_path(void)
{
	static char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return path;
}

void fuzz_take(const uint8_t **data, size_t *size, void *to, size_t most)
{
	size_t n = *size < most ? *size : most;

	memset(to, 0, most);
	memcpy(to, *data, n);
	*data += n;
	*size -= n;
}

/* Anywhere: place, length, bytes. */
static void patch_anywhere(const uint8_t **data, size_t *size, uint8_t *at, size_t bytes)
{
	uint32_t place;
	uint8_t len;
	size_t n;

	fuzz_take(data, size, &place, sizeof(place));
	fuzz_take(data, size, &len, sizeof(len));
	place %= (uint32_t)bytes;
	n = len < *size ? len : *size;
	if (n > bytes - place)
		n = bytes - place;
	fuzz_take(data, size, at + place, n);
}

void fuzz_patch(const uint8_t *data, size_t size, void *at, size_t bytes, struct fuzz_places worth)
{
	uint8_t what;

	while (size) {
		fuzz_take(&data, &size, &what, 1);
		if (what >= 128 || !worth.nr)
			patch_anywhere(&data, &size, at, bytes);
		else
			fuzz_take(&data, &size, (uint8_t *)at + worth.at[what % 64 % worth.nr], what < 64 ? 4 : 8);
	}
}
