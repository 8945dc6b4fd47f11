// SPDX-License-Identifier: MIT
#include "control/json.h"

#include "control/say.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A NULL value (out of memory) is refused by jansson; the missing key is found when the file is written. */
static void put(json_t *o, const char *key, json_t *value, bool *ok)
{
	if (json_object_set_new(o, key, value) != 0)
		*ok = false;
}

void hn_put_count(struct hn_object *o, const char *key, uint64_t n)
{
	put(o->json, key, json_integer((json_int_t)n), &o->ok);
}

void hn_put_bool(struct hn_object *o, const char *key, bool b) { put(o->json, key, json_boolean(b), &o->ok); }

/* Command lines and names may hold any bytes, JSON only UTF-8. */
json_t *hn_text_json(const char *s)
{
	json_t *j = json_string(s);
	char *copy;

	if (j)
		return j;
	copy = strdup(s);
	if (!copy)
		return NULL;
	hn_make_printable(copy);
	j = json_string(copy);
	free(copy);
	return j;
}

void hn_put_text(struct hn_object *o, const char *key, const char *s)
{
	put(o->json, key, s ? hn_text_json(s) : json_null(), &o->ok);
}

void hn_put_percent(struct hn_object *o, const char *key, uint64_t part, uint64_t whole)
{
	put(o->json, key, whole ? json_real(100.0 * (double)part / (double)whole) : json_null(), &o->ok);
}

struct hn_object hn_object_new(void)
{
	struct hn_object o = { json_object(), true };

	return o;
}

void hn_put_object(struct hn_object *o, const char *key, struct hn_object child)
{
	o->ok = o->ok && child.ok;
	put(o->json, key, child.json, &o->ok);
}

void hn_put_array(struct hn_object *o, const char *key, json_t *array) { put(o->json, key, array, &o->ok); }

void hn_append(struct hn_object *o, json_t *array, json_t *value)
{
	if (json_array_append_new(array, value) != 0)
		o->ok = false;
}

void hn_append_object(struct hn_object *o, json_t *array, struct hn_object child)
{
	o->ok = o->ok && child.ok;
	hn_append(o, array, child.json);
}

void hn_put_words(struct hn_object *o, const char *key, const uint32_t *v, uint32_t nr)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < nr; i++)
		hn_append(o, array, json_integer(v[i]));
	hn_put_array(o, key, array);
}

void hn_put_addr(struct hn_object *o, const char *key, uint64_t addr)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, addr);
	hn_put_text(o, key, text);
}
