// SPDX-License-Identifier: MIT
/*
 * What a managed program changes about itself: users, namespaces, its root, system call filters, limits.
 */
#include <errno.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#define PAGES 8u
#define BYTES (PAGES * HUGE)
#define SEED 71u
#define NOBODY 65534u

static char *arena;

static void absent_arena(void)
{
	arena = live_arena(PAGES, SEED);
	live_wait_absent(arena, BYTES);
}

static void need_root(void)
{
	if (geteuid() != 0)
		live_skip("needs root");
}

static void verify_and_write(uint64_t round)
{
	live_verify(arena, BYTES, SEED + round);
	live_fill(arena, BYTES, SEED + round + 1);
}

/* ---- threads of the process that we did not make ---- */

static unsigned int strangers(const char *field, const char *want)
{
	DIR *d = opendir("/proc/self/task");
	unsigned int n = 0;
	struct dirent *e;

	CHECK(d);
	while ((e = readdir(d))) {
		char path[300], line[256];
		bool ours = false;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f)) {
			if (!strncmp(line, "Name:\thugenuma", 14))
				ours = true;
			if (ours && !strncmp(line, field, strlen(field)) && !strstr(line, want))
				n++;
		}
		if (f)
			fclose(f);
	}
	closedir(d);
	return n;
}

static unsigned int agent_threads(void) { return strangers("Name:", "nothing of the kind"); }

/* ---- users ---- */

/* The threads that are not the program's are no way back to the user it was. */
static void change_user(void)
{
	need_root();
	absent_arena();
	CHECK(live_is_bare() || strangers("CapEff:", "0000000000000000") == 0);
	CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
	CHECK(setgroups(0, NULL) == 0);
	CHECK(setresgid(NOBODY, NOBODY, NOBODY) == 0);
	CHECK(setresuid(NOBODY, NOBODY, NOBODY) == 0);
	verify_and_write(0);
	live_sleep_ms(100);
	CHECK(prctl(PR_SET_DUMPABLE, 1) == 0); /* else /proc/self is root's */
	CHECK(strangers("Uid:", "65534\t65534\t65534\t65534") == 0);
	CHECK(strangers("Gid:", "65534\t65534\t65534\t65534") == 0);
	verify_and_write(1);
	CHECK(setuid(0) == -1 && errno == EPERM);
}

/* Before there is anything to manage. CPU time is what makes the agent look. */
static void change_user_first(void)
{
	unsigned int i;

	need_root();
	CHECK(setgroups(0, NULL) == 0);
	CHECK(setresgid(NOBODY, NOBODY, NOBODY) == 0);
	CHECK(setresuid(NOBODY, NOBODY, NOBODY) == 0);
	arena = live_arena_blind(PAGES, SEED);
	for (i = 0; i < 30; i++)
		verify_and_write(i);
}

static atomic_bool stop;

static void *writer(void *arg)
{
	uint64_t round = 0;

	for (; !atomic_load(&stop); round++) {
		live_verify(arg, 2 * HUGE, SEED + round);
		live_fill(arg, 2 * HUGE, SEED + round + 1);
	}
	live_verify(arg, 2 * HUGE, SEED + round);
	return NULL;
}

/* Back and forth while threads write; after the fourth time the agent stays away. */
static void change_user_often(void)
{
	pthread_t t[2];
	int i;

	need_root();
	absent_arena();
	for (i = 0; i < 2; i++) {
		live_fill(arena + (size_t)(2 * i) * HUGE, 2 * HUGE, SEED);
		CHECK(pthread_create(&t[i], NULL, writer, arena + (size_t)(2 * i) * HUGE) == 0);
	}
	for (i = 0; i < 12; i++) {
		CHECK(seteuid(i % 2 ? 0 : NOBODY) == 0);
		live_sleep_ms(60);
	}
	CHECK(agent_threads() == 0);
	atomic_store(&stop, true);
	for (i = 0; i < 2; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	live_verify_from(arena + 4 * HUGE, BYTES - 4 * HUGE, SEED, 4 * HUGE / 8);
}

/* ---- roots and namespaces ---- */

static void change_root(void)
{
	const char *dir = getenv("TMPDIR");
	char place[4096];
	unsigned int i;
	pid_t pid;

	need_root();
	absent_arena();
	snprintf(place, sizeof(place), "%s/root", dir ? dir : "/tmp");
	CHECK(mkdir(place, 0700) == 0 || errno == EEXIST);
	CHECK(chroot(place) == 0 && chdir("/") == 0);
	for (i = 0; i < 5; i++) {
		pthread_t t;

		verify_and_write(i);
		/* New threads must be seen although there is no /proc. */
		atomic_store(&stop, false);
		live_fill(arena, 2 * HUGE, SEED);
		CHECK(pthread_create(&t, NULL, writer, arena) == 0);
		live_sleep_ms(30);
		atomic_store(&stop, true);
		CHECK(pthread_join(t, NULL) == 0);
		live_fill(arena, 2 * HUGE, SEED + i + 1);
	}
	pid = fork();
	if (pid == 0) {
		live_verify(arena, BYTES, SEED + 5);
		_exit(0);
	}
	live_reap(pid);
	live_verify(arena, BYTES, SEED + 5);
}

static void use_other_namespaces(int flags)
{
	if (unshare(flags)) {
		CHECK(errno == EPERM || errno == EINVAL || errno == ENOSPC);
		/* EINVAL is what a process with threads is told; it has none of its own making. */
		CHECK(errno != EINVAL);
		live_skip("no permission for namespaces");
	}
	verify_and_write(0);
	live_sleep_ms(100);
	verify_and_write(1);
	live_verify(arena, BYTES, SEED + 2);
}

static void with_other_namespaces(int flags)
{
	absent_arena();
	use_other_namespaces(flags);
}

static volatile sig_atomic_t requested;

static void on_request(int sig) { requested = sig; }

static void user_namespace_on_request(void)
{
	absent_arena();
	CHECK(signal(SIGUSR1, on_request) != SIG_ERR);
	printf("absent\n");
	fflush(stdout);
	while (!requested)
		live_sleep_ms(5);
	use_other_namespaces(CLONE_NEWUSER);
}

static void user_namespace(void) { with_other_namespaces(CLONE_NEWUSER); }
static void mount_namespace(void) { with_other_namespaces(CLONE_NEWNS); }

/* Children only are in it; their numbers are small. */
static void pid_namespace(void)
{
	pid_t pid;

	need_root();
	absent_arena();
	CHECK(unshare(CLONE_NEWPID) == 0);
	verify_and_write(0);
	pid = fork();
	if (pid == 0) {
		CHECK(getpid() == 1);
		live_verify(arena, BYTES, SEED + 1);
		live_sleep_ms(300);
		verify_and_write(1);
		_exit(0);
	}
	live_sleep_ms(100);
	verify_and_write(1);
	live_reap(pid);
	live_verify(arena, BYTES, SEED + 2);
}

static void join_mount_namespace(void)
{
	int fd;

	need_root();
	absent_arena();
	fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK(setns(fd, CLONE_NEWNS) == 0); /* EINVAL for whoever shares his root with other threads */
	verify_and_write(0);
	live_sleep_ms(100);
	live_verify(arena, BYTES, SEED + 1);
}

/* ---- system call filters ---- */

/* What this program needs from here on; anything else ends the process. */
static const int known[] = {
	SYS_read, SYS_write, SYS_exit, SYS_exit_group, SYS_nanosleep, SYS_clock_nanosleep, SYS_munmap, SYS_rt_sigreturn,
	SYS_rt_sigprocmask, SYS_clone, SYS_futex, SYS_wait4, SYS_getpid, SYS_brk, SYS_newfstatat, SYS_set_robust_list,
	SYS_gettid, SYS_rseq, SYS_mmap, SYS_madvise, SYS_mprotect,
};

static int install(unsigned int flags, bool by_prctl)
{
	enum { N = sizeof(known) / sizeof(known[0]) };
	struct sock_filter f[2 * N + 2];
	struct sock_fprog prog = { .filter = f };
	size_t n = 0, i;

	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (i = 0; i < N; i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)known[i], 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	prog.len = (unsigned short)n;
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (by_prctl)
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static void work_filtered(void)
{
	unsigned int i;

	for (i = 0; i < 5; i++) {
		verify_and_write(i);
		live_sleep_ms(60);
	}
	live_verify(arena, BYTES, SEED + 5);
}

/* Of this thread only: the pages go on being taken and given. */
static void filter_thread(void)
{
	absent_arena();
	CHECK(install(0, true) == 0);
	work_filtered();
}

static void filter_all(void)
{
	absent_arena();
	CHECK(install(SECCOMP_FILTER_FLAG_TSYNC, false) == 0);
	work_filtered();
}

static void filter_and_fork(void)
{
	pid_t pid;

	absent_arena();
	CHECK(install(0, false) == 0);
	pid = fork();
	if (pid == 0) {
		work_filtered();
		_exit(0);
	}
	live_reap(pid);
	work_filtered();
}

/* Nothing huge yet; what comes later must not wake anybody. */
static void filter_first(void)
{
	unsigned int i;

	CHECK(install(0, true) == 0);
	arena = live_reserve(BYTES);
	live_fill(arena, BYTES, SEED);
	for (i = 0; i < 100; i++)
		verify_and_write(i);
}

/* ---- limits ---- */

static void limits(void)
{
	const struct rlimit none = { 0, 0 }, few = { 3, 3 };

	absent_arena();
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
	CHECK(setrlimit(RLIMIT_NPROC, &none) == 0);
	CHECK(setrlimit(RLIMIT_FSIZE, &none) == 0);
	CHECK(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
	CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
	CHECK(setrlimit(RLIMIT_STACK, &none) == 0);
	CHECK(setrlimit(RLIMIT_AS, &none) == 0);
	CHECK(setrlimit(RLIMIT_DATA, &none) == 0);
	work_filtered();
}

/* For a late start. */
#define FIRST "a system call filter first"

static void close_libraries(void)
{
	const char *agent = getenv("HUGENUMA_AGENT");
	void *lib;
	int i;

	absent_arena();
	for (i = 0; i < 3; i++) {
		lib = dlopen(agent ? agent : "libm.so.6", RTLD_NOW);
		CHECK(lib && dlclose(lib) == 0);
		verify_and_write((uint64_t)i);
		live_wait_absent(arena, BYTES);
	}
	live_verify(arena, BYTES, SEED + 3);
}

static const struct live_case cases[] = {
	{ "a change of user", change_user },
	{ "a change of user first", change_user_first },
	{ "changes of user, often", change_user_often },
	{ "chroot", change_root },
	{ "a user namespace", user_namespace },
	{ "a mount namespace", mount_namespace },
	{ "joining a mount namespace", join_mount_namespace },
	{ "a PID namespace", pid_namespace },
	{ "a system call filter of one thread", filter_thread },
	{ "a system call filter of all threads", filter_all },
	{ "a filtered thread forks", filter_and_fork },
	{ "no limits left", limits },
	{ "dlclose", close_libraries },
	{ FIRST, filter_first },
	{ NULL, NULL },
};

/* Not to be run by itself. */
#define ON_REQUEST "a user namespace on request"

static const struct live_case requests[] = {
	{ ON_REQUEST, user_namespace_on_request },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return live_main(argc, argv, argc == 2 && !strcmp(argv[1], ON_REQUEST) ? requests : cases);
}
