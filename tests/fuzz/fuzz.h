// SPDX-License-Identifier: MIT
/*
 * fuzz.h - what the harnesses have in common. A harness is one file with LLVMFuzzerTestOneInput, which calls the parser
 * that ships; what must hold afterwards is said by hn_must.
 */
#ifndef HN_TESTS_FUZZ_H
#define HN_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the run, with the input kept, when it does not hold. */
#define hn_must(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
			abort(); \
		} \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A stream that takes everything; the same one each time. */
FILE *fuzz_sink(void);
/* The input as a text, terminated; free() it. */
char *fuzz_text(const uint8_t *data, size_t size);
/* The input as a file: a descriptor at its beginning, always the same; its path is below. */
int fuzz_file(const uint8_t *data, size_t size);
const char *fuzz_file_path(void);
/* Up to `most` bytes of the input, taken from its beginning; fewer where it ends: the rest of `to` is zeros. */
void fuzz_take(const uint8_t **data, size_t *size, void *to, size_t most);

/*
 * The input as changes of something large, so that small inputs reach everything and the rest stays as it is. Each change
 * is a byte that says what: below 128 one of the places listed, which are worth it, gets the next 4 bytes (from 64 on: 8);
 * else a place anywhere (4 bytes, modulo `bytes`), a length (1 byte), and that many bytes.
 */
struct fuzz_places {
	const uint32_t *at; /* offsets, at least 8 bytes before the end */
	uint32_t nr;
};
void fuzz_patch(const uint8_t *data, size_t size, void *at, size_t bytes, struct fuzz_places worth);

#endif
