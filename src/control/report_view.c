// SPDX-License-Identifier: MIT
#include "control/report_view.h"

#include "control/proc.h"
#include "control/recording_view.h"
#include "control/report_json.h"
#include "control/say.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* ---- reading ---- */

uint64_t hn_get_count(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v > 0 ? (uint64_t)v : 0;
}

uint64_t hn_get_at(const json_t *array, size_t i)
{
	json_int_t v = json_integer_value(json_array_get(array, i));

	return v > 0 ? (uint64_t)v : 0;
}

double hn_get_percent(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? json_number_value(v) : -1;
}

const char *hn_get_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

const json_t *hn_get_array(const json_t *o, const char *key)
{
	const json_t *a = json_object_get(o, key);

	return json_is_array(a) ? a : NULL;
}

size_t hn_get_nr_nodes(const json_t *report)
{
	size_t nr = json_array_size(hn_get_array(json_object_get(report, "machine"), "nodes"));

	return nr < HN_MAX_NODES ? nr : HN_MAX_NODES;
}

uint64_t hn_get_node_name(const json_t *report, size_t i)
{
	const json_t *m = json_object_get(report, "machine");

	if (json_is_true(json_object_get(m, "virtual")))
		return i;
	return hn_get_count(json_array_get(hn_get_array(m, "nodes"), i), "os_node");
}

const char *hn_get_printable(const json_t *o, const char *key, char *buf, size_t len)
{
	snprintf(buf, len, "%s", hn_get_text(o, key));
	hn_make_printable(buf);
	return buf;
}

bool hn_report_is_known(const json_t *report)
{
	return hn_get_count(report, "schema_version") == HN_REPORT_SCHEMA_VERSION && hn_get_array(report, "processes") &&
	       hn_get_nr_nodes(report) > 0;
}

/* NULL with a line in err. */
static json_t *load_json(const char *path, char *err, size_t err_len)
{
	FILE *f = fopen(path, "re");
	json_t *report = NULL;
	struct stat st;

	if (!f || fstat(fileno(f), &st) != 0) {
		hn_set_error(err, err_len, "%s: cannot be read: %s", path, strerror(errno));
	} else if (S_ISDIR(st.st_mode)) {
		hn_set_error(err, err_len, "%s: is a directory: expected a report or a recording", path);
	} else {
		errno = 0;
		report = json_loadf(f, 0, NULL);
		if (!report && ferror(f))
			hn_set_error(err, err_len, "%s: cannot be read: %s", path, strerror(errno ? errno : EIO));
		else if (!report)
			hn_set_error(err, err_len, "%s: no JSON and no recording", path);
	}
	if (f)
		fclose(f);
	return report;
}

json_t *hn_report_load(const char *path, char *err, size_t err_len)
{
	json_t *report;

	if (hn_is_recording(path))
		return hn_recording_report(path, err, err_len);
	report = load_json(path, err, err_len);
	if (!report)
		return NULL;
	if (hn_report_is_known(report))
		return report;
	hn_set_error(err, err_len, "%s: no report of hugenuma that this version can read (schema_version %d)", path,
		     HN_REPORT_SCHEMA_VERSION);
	json_decref(report);
	return NULL;
}

/* ---- what runs now ---- */

json_t *hn_report_of(struct hn_seen *seen, size_t nr)
{
	char *argv[] = { nr ? seen[0].p.comm : NULL, NULL };
	const struct hn_run_seen *from = seen[0].run;
	struct hn_run_options options = { .config = from->config, .argv = argv };
	struct hn_ledger ledger = { 0 };
	struct hn_run_result run = {
		.options = &options,
		.machine = &from->machine,
		.ledger = &ledger,
		.status = -1,
		.nr_loaded = from->nr_loaded,
		.nr_missed = from->nr_missed,
	};
	struct hn_object o;
	struct timespec t;

	for (size_t i = 0; i < nr; i++) {
		hn_ledger_take(&ledger, &seen[i].p);
		seen[i].p.record = NULL;
		if (seen[i].p.elapsed_ms > run.elapsed_ms)
			run.elapsed_ms = seen[i].p.elapsed_ms;
	}
	clock_gettime(CLOCK_REALTIME, &t);
	run.start_unix_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 - run.elapsed_ms;
	ledger.total.elapsed_ms = run.elapsed_ms;
	o = hn_report_json(&run);
	hn_ledger_fini(&ledger);
	if (o.ok)
		return o.json;
	json_decref(o.json);
	return NULL;
}
