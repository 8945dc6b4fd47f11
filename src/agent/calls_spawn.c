// SPDX-License-Identifier: MIT
/*
 * calls_spawn.c - ways to make a process or to become another program, wrapped: a thread that is kept on a node's CPUs is let
 * go first, as what it makes inherits them. Program side.
 */
#include <dlfcn.h>
#include <spawn.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/agent.h"

#define EXPORTED __attribute__((visibility("default")))

typedef int (*spawn_fn)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[],
			char *const[]);

static spawn_fn real_spawn, real_spawnp;
static int (*real_system)(const char *);
static void *(*real_popen)(const char *, const char *);
static int (*real_execve)(const char *, char *const[], char *const[]);
static int (*real_execv)(const char *, char *const[]), (*real_execvp)(const char *, char *const[]);

void hn_spawn_load(void)
{
	real_spawn = (spawn_fn)dlsym(RTLD_NEXT, "posix_spawn");
	real_spawnp = (spawn_fn)dlsym(RTLD_NEXT, "posix_spawnp");
	real_system = (int (*)(const char *))dlsym(RTLD_NEXT, "system");
	real_popen = (void *(*)(const char *, const char *))dlsym(RTLD_NEXT, "popen");
	real_execve = (int (*)(const char *, char *const[], char *const[]))dlsym(RTLD_NEXT, "execve");
	real_execv = (int (*)(const char *, char *const[]))dlsym(RTLD_NEXT, "execv");
	real_execvp = (int (*)(const char *, char *const[]))dlsym(RTLD_NEXT, "execvp");
}

#define LET_GO_AND(real) \
	if (!(real)) \
		hn_spawn_load(); \
	hn_affinity_release_self(); \
	return (real)

EXPORTED int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
			 const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
	LET_GO_AND(real_spawn)(pid, path, actions, attr, argv, env);
}

EXPORTED int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
			  const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
	LET_GO_AND(real_spawnp)(pid, file, actions, attr, argv, env);
}

EXPORTED int system(const char *command) { LET_GO_AND(real_system)(command); }
void *popen(const char *command, const char *type); /* as this file sees it: no stdio here */
EXPORTED void *popen(const char *command, const char *type) { LET_GO_AND(real_popen)(command, type); }
EXPORTED int execve(const char *path, char *const argv[], char *const env[]) { LET_GO_AND(real_execve)(path, argv, env); }
EXPORTED int execv(const char *path, char *const argv[]) { LET_GO_AND(real_execv)(path, argv); }
EXPORTED int execvp(const char *file, char *const argv[]) { LET_GO_AND(real_execvp)(file, argv); }
