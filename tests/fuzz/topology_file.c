// SPDX-License-Identifier: MIT
/*
 * XML files that describe a machine: what is made of them is sane, or there is an error in a line. hwloc's own parser falls on
 * some, which is why hugenuma reads them in a child process; so each is read in one here, too, and a fall counts when it is in
 * our code. (The child that ships has a limit on address space, which is nothing for the address sanitizer.)
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"

#include "agent/layout.h"
#include "control/machine.h"

#define BAD 3 /* status of a child that has found something; ASan's is 1 */
#define REPORT_BYTES 65536

int LLVMFuzzerInitialize(int *argc, char ***argv);
void __sanitizer_set_death_callback(void (*fn)(void));

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	setenv("HWLOC_HIDE_ERRORS", "2", 1);
	setenv("HWLOC_COMPONENTS", "no_os,stop", 1); /* the real machine need not be read from /sys each time */
	return 0;
}

__attribute__((noreturn)) static void child(int report)
{
	struct rlimit cpu = { 2, 2 };
	char err[2048] = "";
	struct hn_machine m;
	unsigned real = 0;
	bool good;

	setrlimit(RLIMIT_CPU, &cpu);
	__sanitizer_set_death_callback(NULL); /* libFuzzer's: what the child falls on is the parent's to judge */
	dup2(report, STDERR_FILENO);
	if (hn_machine_build_here(&m, fuzz_file_path(), &real, err, sizeof(err)) == 0)
		good = hn_machine_is_sane(&m) && m.is_virtual;
	else
		good = err[0] && !strchr(err, '\n');
	_exit(good ? 0 : BAD);
}

/* Whose code is the first in the report's stack that is anybody's? */
static bool is_ours(const char *report)
{
	const char *ours = strstr(report, "src/control/"), *theirs = strstr(report, "libhwloc"), *xml = strstr(report, "libxml2");

	return ours && (!theirs || ours < theirs) && (!xml || ours < xml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int report = -1;
	static char text[REPORT_BYTES];
	int status = 0;
	ssize_t n;
	pid_t pid;

	if (report < 0)
		report = memfd_create("report", 0);
	fuzz_file(data, size);
	hn_must(report >= 0 && ftruncate(report, 0) == 0 && lseek(report, 0, SEEK_SET) == 0);
	pid = fork();
	hn_must(pid >= 0);
	if (pid == 0)
		child(report);
	while (waitpid(pid, &status, 0) != pid) /* libFuzzer's clock interrupts */
		hn_must(errno == EINTR);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	n = pread(report, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	if ((WIFEXITED(status) && WEXITSTATUS(status) == BAD) || is_ours(text)) {
		fputs(text, stderr);
		hn_must(!"a description that is not sane, or a fall in our code");
	}
	return 0;
}
