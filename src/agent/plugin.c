// SPDX-License-Identifier: MIT
/*
 * plugin.c - loading a policy that is a shared object.
 *
 * Program side, while the agent is loaded itself: there is one thread then, and the dynamic loader is at work anyway; or when a program calls the library. It is
 * the only place where the agent calls the loader, whose memory is the program's heap; its bare threads never do. A child
 * made by fork has the object already, a program that is executed loads it again.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "core/policy.h"
#include "hugenuma/policy.h"
#include "linux/sys.h"

static size_t put(char *to, size_t at, size_t size, const char *text)
{
	while (*text && at + 1 < size)
		to[at++] = *text++;
	to[at] = '\0';
	return at;
}

/* "not managed: policy PATH: what" */
static void complain(const char *path, const char *what)
{
	char *to = hn_agent.plugin_error;
	size_t size = sizeof(hn_agent.plugin_error), at;

	at = put(to, 0, size, "not managed: policy ");
	at = put(to, at, size, path);
	at = put(to, at, size, ": ");
	put(to, at, size, what);
}

/* The command has looked at the file when the run started; it may be another by now, or another user's process. */
static const char *file_defect(const char *path)
{
	const char *defect = "it cannot be read here";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return defect;
	if (fstat(fd, &st) == 0)
		defect = hn_plugin_file_defect(st.st_mode, st.st_uid, (uint32_t)HN_SYS(SYS_geteuid, 0, 0, 0, 0, 0, 0));
	close(fd);
	return defect;
}

/*
 * The loader's first malloc sets libc's allocator up, and glibc (2.36) then compares what it has read of
 * /sys/kernel/mm/transparent_hugepage/enabled as a string, in a buffer on the stack that it has not ended: whether
 * glibc.malloc.hugetlb=1 works depends on what lay there before. It is zeros when the program is the first to allocate.
 */
__attribute__((noinline)) static void clean_the_stack(void)
{
	char below[16384];

	memset(below, 0, sizeof(below));
	__asm__ volatile("" : : "r"(below) : "memory");
}

void hn_plugin_load(void)
{
	const char *path = hn_agent.shm->config.plugin, *defect;
	const struct hugenuma_policy *p = NULL;
	void *object;

	if (!*path)
		return;
	defect = file_defect(path);
	if (!defect) {
		clean_the_stack();
		object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		p = object ? dlsym(object, HUGENUMA_POLICY_SYMBOL) : NULL;
		defect = !object ? "the dynamic loader does not take it here" :
			 !p      ? "it does not export " HUGENUMA_POLICY_SYMBOL :
				   hn_plugin_defect(p);
	}
	if (defect)
		complain(path, defect);
	else
		hn_agent.plugin = p;
}

/* What its rules are called, for who reads the counters. */
void hn_plugin_introduce(struct hn_slot *slot)
{
	const struct hugenuma_policy *p = hn_agent.plugin;
	uint32_t i;

	if (!p)
		return;
	put(slot->policy_name, 0, sizeof(slot->policy_name), p->name);
	for (i = 0; i < p->nr_rules && i < HN_MAX_RULES; i++) {
		put(slot->rule[i].name, 0, sizeof(slot->rule[i].name), p->rules[i].name);
		put(slot->rule[i].text, 0, sizeof(slot->rule[i].text), p->rules[i].text);
	}
	slot->nr_rules = i;
}
