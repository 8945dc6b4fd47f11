// SPDX-License-Identifier: MIT
#include "control/recording_view.h"

#include "control/explain.h"
#include "control/report_view.h"
#include "control/say.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the file ---- */

struct bytes {
	unsigned char *at;
	size_t len;
};

static int read_whole(int fd, struct bytes *b)
{
	size_t got = 0;

	while (got < b->len) {
		ssize_t n = read(fd, b->at + got, b->len - got);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	b->len = got;
	return 0;
}

/* In memory and not mapped: somebody may be writing to it. */
static int file_load(int fd, struct bytes *b)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if ((uint64_t)st.st_size > HN_RECORDING_FILE_MAX)
		return -EFBIG;
	b->len = (size_t)st.st_size;
	b->at = malloc(b->len + 1);
	return b->at ? read_whole(fd, b) : -ENOMEM;
}

bool hn_is_recording(const char *path)
{
	unsigned char magic[8];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool is = fd >= 0 && read(fd, magic, sizeof(magic)) == sizeof(magic) && hn_recording_is_one(magic, sizeof(magic));

	if (fd >= 0)
		close(fd);
	return is;
}

static int recording_read(const char *path, const struct hn_recording_sink *sink, struct hn_recording *found, char *err,
			  size_t err_len)
{
	struct bytes b = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), res = fd < 0 ? -errno : file_load(fd, &b);
	enum hn_recording_error bad = HN_RECORDING_OK;
	const char *why = res ? strerror(-res) : NULL;

	if (fd >= 0)
		close(fd);
	if (!res)
		bad = hn_recording_parse(b.at, b.len, sink, found);
	free(b.at);
	if (bad == HN_RECORDING_NOT_ONE)
		why = "no recording of hugenuma";
	else if (bad == HN_RECORDING_NEWER)
		why = "a recording of another version of hugenuma (this one reads version 1)";
	else if (bad == HN_RECORDING_NO_MEMORY)
		why = strerror(ENOMEM);
	if (!why)
		return 0;
	hn_set_error(err, err_len, "%s: %s", path, why);
	return -1;
}

static void say_if_short(const char *path, const struct hn_recording *found)
{
	if (found->damaged)
		hn_say("%s: damaged after %zu bytes; read so far: %s decisions", path, found->read_bytes,
		       hn_text_count(found->decisions).s);
	else if (!found->ended)
		hn_say("%s: cut short, or still being written; read so far: %s decisions", path,
		       hn_text_count(found->decisions).s);
}

/* ---- the report ---- */

struct last_report {
	char *text; /* malloced */
	size_t len;
	bool no_memory;
};

static void take_report(void *arg, const char *json, size_t len)
{
	struct last_report *last = arg;
	char *text = realloc(last->text, len + 1);

	if (!text) {
		last->no_memory = true;
		return;
	}
	memcpy(text, json, len);
	last->text = text;
	last->len = len;
}

static json_t *report_parse(const char *path, const struct last_report *last, const struct hn_recording *found, char *err,
			    size_t err_len)
{
	json_t *report;

	if (last->no_memory) {
		hn_set_error(err, err_len, "%s: %s", path, strerror(ENOMEM));
		return NULL;
	}
	if (!found->reports) {
		hn_set_error(err, err_len, "%s: was cut short before the first report was in it (%s decisions are)", path,
			     hn_text_count(found->decisions).s);
		return NULL;
	}
	report = json_loadb(last->text, last->len, 0, NULL);
	if (hn_report_is_known(report))
		return report;
	hn_set_error(err, err_len, "%s: the report in it is none that this version can read", path);
	json_decref(report);
	return NULL;
}

json_t *hn_recording_report(const char *path, char *err, size_t err_len)
{
	struct last_report last = { 0 };
	struct hn_recording_sink sink = { .arg = &last, .report = take_report };
	struct hn_object about = hn_object_new();
	struct hn_recording found;
	json_t *report = NULL;

	if (recording_read(path, &sink, &found, err, err_len) == 0)
		report = report_parse(path, &last, &found, err, err_len);
	free(last.text);
	if (!report) {
		json_decref(about.json);
		return NULL;
	}
	say_if_short(path, &found);
	hn_put_count(&about, "decisions_count", found.decisions);
	hn_put_count(&about, "lost_count", found.lost);
	hn_put_count(&about, "dropped_count", found.dropped);
	hn_put_bool(&about, "complete", found.ended);
	json_object_set_new(report, "recording", about.json);
	return report;
}

/* ---- one page ---- */

#define MOST 64u
#define PROCESSES 32u

/* What is known of the page in one process; the latest decisions, as a ring. */
struct page_of {
	uint32_t pid;
	char comm[16];
	uint64_t started_ms, nr;
	struct hn_decision d[MOST];
};

struct page {
	hn_addr haddr;
	struct last_report last;
	struct page_of *process; /* PROCESSES of them */
	unsigned nr;
	bool more; /* processes than there is room for */
};

static struct page_of *page_process(struct page *page, const struct hn_batch *b)
{
	struct page_of *p;

	for (unsigned i = 0; i < page->nr; i++)
		if (page->process[i].pid == b->pid && page->process[i].started_ms == b->started_ms)
			return &page->process[i];
	if (page->nr == PROCESSES) {
		page->more = true;
		return NULL;
	}
	p = &page->process[page->nr++];
	p->pid = b->pid;
	p->started_ms = b->started_ms;
	memcpy(p->comm, b->comm, sizeof(p->comm));
	hn_make_printable(p->comm);
	return p;
}

static void page_batch(void *arg, const struct hn_batch *b)
{
	struct page *page = arg;
	struct page_of *p;
	struct hn_decision d;

	for (uint32_t i = 0; i < b->nr; i++) {
		hn_batch_decision(b, i, &d);
		if (d.haddr != page->haddr)
			continue;
		p = page_process(page, b);
		if (p)
			p->d[p->nr++ % MOST] = d;
	}
}

static void page_report(void *arg, const char *json, size_t len) { take_report(&((struct page *)arg)->last, json, len); }

/* Names of nodes are all that sentences need of it. Without a report: as the engine counts them. */
static void machine_of(const json_t *report, struct hn_machine *m)
{
	*m = (struct hn_machine){ .nr_nodes = HN_MAX_NODES, .is_virtual = 1 };
	if (!report || json_is_true(json_object_get(json_object_get(report, "machine"), "virtual")))
		return;
	m->is_virtual = 0;
	for (size_t i = 0; i < HN_MAX_NODES; i++)
		m->os_nid[i] = (int16_t)(i < hn_get_nr_nodes(report) ? hn_get_node_name(report, i) : i);
}

static uint64_t addr_of(const json_t *o, const char *key) { return strtoull(hn_get_text(o, key), NULL, 0); }

static void print_region(FILE *out, const json_t *report, const struct page_of *p, hn_addr haddr)
{
	const json_t *processes = hn_get_array(report, "processes"), *process, *row;
	size_t i, k;

	json_array_foreach(processes, i, process)
	{
		if (hn_get_count(process, "pid") != p->pid || strcmp(hn_get_text(process, "command"), p->comm) != 0)
			continue;
		json_array_foreach(hn_get_array(process, "regions"), k, row)
		{
			uint64_t start = addr_of(row, "start"), end = addr_of(row, "end");
			uint64_t local = hn_get_count(row, "local_count"), remote = hn_get_count(row, "remote_count");

			if (haddr >= start && haddr < end)
				fprintf(out,
					"Its region 0x%" PRIx64 "-0x%" PRIx64 ": %" PRIu64 " pages managed, %" PRIu64
					" samples, %s of them local.\n",
					start, end, hn_get_count(row, "managed_pages"), local + remote,
					hn_text_share(local, local + remote).s);
		}
	}
}

static void copy_text(char *to, size_t room, const char *from)
{
	snprintf(to, room, "%s", from);
	hn_make_printable(to);
}

/* What the report says of the plug-in policy that the process had loaded; nothing where it says nothing. */
static void plugin_of(const json_t *report, const struct page_of *p, struct hn_slot *slot)
{
	const json_t *processes = hn_get_array(report, "processes"), *process, *plugin, *rule;
	size_t i, k;

	json_array_foreach(processes, i, process)
	{
		plugin = json_object_get(process, "plugin");
		if (hn_get_count(process, "pid") != p->pid || hn_get_count(process, "start_monotonic_ms") != p->started_ms || !plugin)
			continue;
		copy_text(slot->policy_name, sizeof(slot->policy_name), hn_get_text(plugin, "name"));
		json_array_foreach(hn_get_array(plugin, "rules"), k, rule)
		{
			if (k >= HN_MAX_RULES)
				break;
			copy_text(slot->rule[k].name, sizeof(slot->rule[k].name), hn_get_text(rule, "name"));
			copy_text(slot->rule[k].text, sizeof(slot->rule[k].text), hn_get_text(rule, "text"));
			slot->nr_rules = (uint32_t)k + 1;
		}
	}
}

/* `who` stands for the process in sentences: its threads have no names here, it may be another machine. */
static void print_process(FILE *out, const struct page_of *p, const struct hn_machine *m, const struct hn_process *who,
			  unsigned most)
{
	uint64_t from = p->nr > most ? p->nr - most : 0;

	fprintf(out, "Decided about it, the latest last (%" PRIu64 " recorded):\n", p->nr);
	for (; from < p->nr; from++) {
		const struct hn_decision *d = &p->d[from % MOST];
		uint64_t ms = d->time_ns / 1000000;

		fprintf(out, "  after %8.1f s  ", ms > p->started_ms ? (double)(ms - p->started_ms) / 1e3 : 0.0);
		hn_decision_sentence(out, d, m, who);
		fprintf(out, ".\n");
	}
}

static void page_print(FILE *out, const struct page *page, hn_addr addr, unsigned most)
{
	json_t *report = page->last.text ? json_loadb(page->last.text, page->last.len, 0, NULL) : NULL;
	struct hn_machine *m = malloc(sizeof(*m));
	struct hn_process *who = malloc(sizeof(*who));
	bool known = hn_report_is_known(report);

	if (m)
		machine_of(known ? report : NULL, m);
	for (unsigned i = 0; m && who && i < page->nr; i++) {
		memset(who, 0, sizeof(*who));
		fprintf(out, "0x%" PRIx64 ": in the 2 MiB page at 0x%" PRIx64 " of %s (pid %" PRIu32 "), recorded.\n", addr,
			page->haddr, page->process[i].comm, page->process[i].pid);
		if (known) {
			print_region(out, report, &page->process[i], page->haddr);
			plugin_of(report, &page->process[i], &who->slot);
		}
		print_process(out, &page->process[i], m, who, most < MOST ? most : MOST);
	}
	if (!page->nr)
		fprintf(out, "0x%" PRIx64 ": no decision about the 2 MiB page at 0x%" PRIx64 " is in this recording.\n", addr,
			page->haddr);
	if (page->more)
		fprintf(out, "More than %u processes have decisions about it; these are the first.\n", PROCESSES);
	free(m);
	free(who);
	json_decref(report);
}

int hn_recording_explain(FILE *out, const char *path, hn_addr addr, unsigned most, char *err, size_t err_len)
{
	struct page page = { .haddr = hn_page_down(addr), .process = calloc(PROCESSES, sizeof(*page.process)) };
	struct hn_recording_sink sink = { &page, page_batch, page_report };
	struct hn_recording found;
	int res = -1;

	if (!page.process)
		hn_set_error(err, err_len, "%s: %s", path, strerror(ENOMEM));
	else
		res = recording_read(path, &sink, &found, err, err_len);
	if (res == 0) {
		say_if_short(path, &found);
		page_print(out, &page, addr, most);
		if (found.dropped)
			fprintf(out, "The first %s decisions had made room for later ones.\n", hn_text_count(found.dropped).s);
		if (found.lost)
			fprintf(out, "%s decisions were lost: the process was faster than the recording.\n",
				hn_text_count(found.lost).s);
	}
	free(page.process);
	free(page.last.text);
	return res;
}
