// SPDX-License-Identifier: MIT
#include "control/shm.h"

#include "control/ended.h"
#include "control/proc.h"
#include "control/say.h"
#include "control/trust.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SWEEP_MIN_AGE_S 60

_Static_assert(sizeof(struct hn_slot) % sizeof(uint64_t) == 0, "slots are copied word by word");

/* A name nobody can have made before us: mkdir fails rather than follow or reuse what is there. */
static int shm_make_dir(struct hn_run_dir *d, const char *parent)
{
	uint64_t rnd;
	int n;

	for (int try = 0; try < 16; try++) {
		if (getrandom(&rnd, sizeof(rnd), 0) != sizeof(rnd))
			return -EIO;
		n = snprintf(d->dir, sizeof(d->dir), "%s/hugenuma.%u.%d.%016" PRIx64, parent, (unsigned)geteuid(),
			     (int)getpid(), rnd);
		if (n < 0 || (size_t)n >= sizeof(d->dir))
			return -ENAMETOOLONG;
		if (mkdir(d->dir, 0700) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

/*
 * The space is taken now: a full /dev/shm must be an error here, not a SIGBUS in somebody's database. That of the records
 * is taken by the agents, who can do without.
 */
static int shm_make_file(struct hn_run_dir *d)
{
	void *p;
	int fd, err;

	snprintf(d->file, sizeof(d->file), "%s/run", d->dir);
	fd = open(d->file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* against an odd umask */
	err = fchmod(fd, 0600) || flock(fd, LOCK_SH | LOCK_NB) ? -errno : 0;
	if (!err)
		err = ftruncate(fd, sizeof(struct hn_shm)) ? -errno : -posix_fallocate(fd, 0, offsetof(struct hn_shm, slot[HN_SHM_READY]));
	if (!err) {
		p = mmap(NULL, sizeof(struct hn_shm), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			err = -errno;
		else
			d->shm = p;
	}
	d->fd = fd;
	if (err) {
		close(fd);
		unlink(d->file);
	}
	return err;
}

/* Nobody else may put something of his in the place of what we make there. */
static bool shm_parent_is_safe(const char *parent)
{
	struct stat st;

	return stat(parent, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_uid == geteuid() || st.st_uid == 0) &&
	       (!(st.st_mode & 022) || (st.st_mode & S_ISVTX));
}

static int shm_make_in(struct hn_run_dir *d, const char *parent)
{
	int err = shm_parent_is_safe(parent) ? shm_make_dir(d, parent) : -EPERM;

	if (err)
		return err;
	err = shm_make_file(d);
	if (err)
		rmdir(d->dir);
	return err;
}

static void shm_fill_header(struct hn_shm *s, const struct hn_config *config, const struct hn_machine *machine)
{
	s->header_bytes = offsetof(struct hn_shm, slot);
	s->slot_bytes = sizeof(struct hn_slot);
	s->nr_slots = HN_SHM_SLOTS;
	s->controller_pid = (uint32_t)getpid();
	s->config = *config;
	s->machine = *machine;
	s->magic = HN_SHM_MAGIC;
}

int hn_run_dir_create(struct hn_run_dir *d, const struct hn_config *config, const struct hn_machine *machine, char *err,
		      size_t err_len)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int first, second = 0;

	memset(d, 0, sizeof(*d));
	first = shm_make_in(d, "/dev/shm");
	if (first && runtime && runtime[0] == '/')
		second = shm_make_in(d, runtime);
	if (!d->shm) {
		hn_set_error(err, err_len, "cannot make the run's shared memory (%zu KiB) in /dev/shm: %s%s%s%s%s",
			     offsetof(struct hn_shm, slot[HN_SHM_READY]) / 1024, strerror(-first), second ? "; nor in " : "",
			     second ? runtime : "", second ? ": " : "", second ? strerror(-second) : "");
		return second ? second : first;
	}
	shm_fill_header(d->shm, config, machine);
	return 0;
}

void hn_run_dir_close(struct hn_run_dir *d, bool remove)
{
	hn_unguard(d->shm);
	munmap(d->shm, sizeof(struct hn_shm));
	d->shm = NULL;
	if (remove) {
		int dir = open(d->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (dir >= 0)
			hn_ended_remove(dir);
		if (dir >= 0)
			close(dir);
		unlink(d->file);
		rmdir(d->dir);
	}
	close(d->fd);
}

/* ---- what others have left behind ---- */

static bool sweep_has_live_agent(const struct hn_shm *s)
{
	for (unsigned i = 0; i < hn_shm_opened(s); i++)
		if (hn_load_acquire(&s->slot[i].state) != HN_SLOT_FREE &&
		    !hn_process_of_ns_is_gone(s->slot[i].pid, s->slot[i].start_ticks, s->slot[i].pid_ns, NULL))
			return true;
	return false;
}

/* Does nobody need the run whose file this is? A file that we do not understand is somebody's. */
static bool sweep_is_stale(int fd)
{
	struct stat st;
	struct hn_shm *s;
	bool stale;

	/* a controller holds the lock shared, also where its pid means nothing to us (containers) */
	if (fstat(fd, &st) != 0 || st.st_size != sizeof(struct hn_shm) || flock(fd, LOCK_EX | LOCK_NB) != 0)
		return false;
	s = mmap(NULL, sizeof(*s), PROT_READ, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		return false;
	stale = s->magic == HN_SHM_MAGIC && s->slot_bytes == sizeof(struct hn_slot) && !sweep_has_live_agent(s);
	munmap(s, sizeof(*s));
	return stale;
}

static void sweep_dir(int parent, const char *name)
{
	int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int fd;

	if (dir < 0)
		return;
	/* a run that is just starting has not locked its file yet */
	if (fstat(dir, &st) == 0 && st.st_uid == geteuid() && time(NULL) - st.st_mtime > SWEEP_MIN_AGE_S) {
		fd = openat(dir, "run", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0) {
			if (sweep_is_stale(fd) && unlinkat(dir, "run", 0) == 0) {
				hn_ended_remove(dir);
				unlinkat(parent, name, AT_REMOVEDIR);
			}
			close(fd);
		}
	}
	close(dir);
}

static void sweep_in(const char *parent)
{
	DIR *d = opendir(parent);
	const struct dirent *e;
	char prefix[32];

	if (!d)
		return;
	snprintf(prefix, sizeof(prefix), "hugenuma.%u.", (unsigned)geteuid());
	while ((e = readdir(d)))
		if (strncmp(e->d_name, prefix, strlen(prefix)) == 0)
			sweep_dir(dirfd(d), e->d_name);
	closedir(d);
}

void hn_run_dir_sweep(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	sweep_in("/dev/shm");
	if (runtime && runtime[0] == '/')
		sweep_in(runtime);
}
