// SPDX-License-Identifier: MIT
/*
 * uapi.h - kernel interfaces younger than the headers of the oldest supported distribution (Debian 12, Linux 6.1).
 *
 * Layouts and numbers only, with names of our own, so that nothing clashes where the system's headers have them too.
 * Shared by the live backend and the controller; includes nothing of the project.
 */
#ifndef HN_UAPI_H
#define HN_UAPI_H

#include <linux/userfaultfd.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* ---- userfaultfd ---- */

/* Feature bits of UFFDIO_API, as masks. */
#define HN_UFFD_FEATURE_PAGEFAULT_FLAG_WP ((uint64_t)1 << 0)
#define HN_UFFD_FEATURE_EVENT_FORK        ((uint64_t)1 << 1) /* asking for it needs CAP_SYS_PTRACE */
#define HN_UFFD_FEATURE_EVENT_REMAP       ((uint64_t)1 << 2)
#define HN_UFFD_FEATURE_EVENT_REMOVE      ((uint64_t)1 << 3)
#define HN_UFFD_FEATURE_EVENT_UNMAP       ((uint64_t)1 << 6)
#define HN_UFFD_FEATURE_THREAD_ID         ((uint64_t)1 << 8)
#define HN_UFFD_FEATURE_EXACT_ADDRESS     ((uint64_t)1 << 11)
#define HN_UFFD_FEATURE_WP_UNPOPULATED    ((uint64_t)1 << 13) /* Linux 6.4 */
#define HN_UFFD_FEATURE_WP_ASYNC          ((uint64_t)1 << 15) /* Linux 6.7 */
#define HN_UFFD_FEATURE_MOVE              ((uint64_t)1 << 16) /* Linux 6.8 */
#define HN_UFFD_FEATURE_RWP               ((uint64_t)1 << 17) /* Linux 7.3 */

/* ioctl of /dev/userfaultfd (Linux 6.1); the argument is the flags of userfaultfd(2) by value. */
#define HN_USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)

#define HN_UFFD_USER_MODE_ONLY 1

/* UFFDIO_MOVE: take pages away at src, put them at dst; one step, nothing is copied. */
struct hn_uffdio_move {
	uint64_t dst;
	uint64_t src;
	uint64_t len;  /* bytes */
	uint64_t mode; /* HN_UFFDIO_MOVE_MODE_* */
	int64_t move;  /* out: bytes moved, or a negative errno when none were */
};

#define HN_UFFDIO_MOVE _IOWR(0xAA, 0x05, struct hn_uffdio_move)
#define HN_UFFDIO_MOVE_MODE_DONTWAKE        ((uint64_t)1 << 0)
#define HN_UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES ((uint64_t)1 << 1)

_Static_assert(sizeof(struct hn_uffdio_move) == 40, "UFFDIO_MOVE argument");
_Static_assert(offsetof(struct hn_uffdio_move, move) == 32, "UFFDIO_MOVE argument");

/* UFFDIO_POISON (Linux 6.6): from now on an access is SIGBUS (BUS_MCEERR_AR), as of memory with a hardware error. */
struct hn_uffdio_poison {
	uint64_t start;
	uint64_t len;  /* bytes */
	uint64_t mode;
	int64_t updated; /* out: bytes marked, or a negative errno when none were */
};

#define HN_UFFDIO_POISON _IOWR(0xAA, 0x08, struct hn_uffdio_poison)

_Static_assert(sizeof(struct hn_uffdio_poison) == 32, "UFFDIO_POISON argument");

/*
 * UFFDIO_RWPROTECT (Linux 7.3): make what is present in a range inaccessible where it lies, or accessible again, which
 * wakes. The next access is a fault with HN_UFFD_PAGEFAULT_FLAG_RWP. Every mapping in the range must be registered with
 * HN_UFFDIO_REGISTER_MODE_RWP, which excludes the write-protect mode.
 */
struct hn_uffdio_rwprotect {
	uint64_t start;
	uint64_t len;  /* bytes */
	uint64_t mode; /* HN_UFFDIO_RWPROTECT_MODE_*; 0: accessible again */
};

#define HN_UFFDIO_RWPROTECT _IOWR(0xAA, 0x09, struct hn_uffdio_rwprotect)
#define HN_UFFDIO_RWPROTECT_MODE_RWP      ((uint64_t)1 << 0)
#define HN_UFFDIO_RWPROTECT_MODE_DONTWAKE ((uint64_t)1 << 1)
#define HN_UFFDIO_REGISTER_MODE_RWP       ((uint64_t)1 << 3)
#define HN_UFFD_PAGEFAULT_FLAG_RWP        ((uint64_t)1 << 3)

_Static_assert(sizeof(struct hn_uffdio_rwprotect) == 24, "UFFDIO_RWPROTECT argument");

/* ---- PAGEMAP_SCAN, an ioctl of /proc/PID/pagemap (Linux 6.7) ---- */

struct hn_page_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories; /* HN_PAGE_IS_* of every page in it, cut down to return_mask */
};

struct hn_pm_scan_arg {
	uint64_t size;  /* sizeof(struct hn_pm_scan_arg) */
	uint64_t flags; /* HN_PM_SCAN_* */
	uint64_t start;
	uint64_t end;
	uint64_t walk_end; /* out: where the walk ended, to go on from */
	uint64_t vec;      /* address of struct hn_page_region[vec_len] */
	uint64_t vec_len;
	uint64_t max_pages; /* base pages to report at most; 0 = no limit */
	uint64_t category_inverted; /* bits flipped before the two masks below are applied */
	uint64_t category_mask;     /* all of these must be set */
	uint64_t category_anyof_mask; /* one of these must be set, when not 0 */
	uint64_t return_mask;
};

/* Returns the number of regions written, or -1 with errno. */
#define HN_PAGEMAP_SCAN _IOWR('f', 16, struct hn_pm_scan_arg)

#define HN_PM_SCAN_WP_MATCHING   ((uint64_t)1 << 0)
#define HN_PM_SCAN_CHECK_WPASYNC ((uint64_t)1 << 1)

#define HN_PAGE_IS_WPALLOWED  ((uint64_t)1 << 0)
#define HN_PAGE_IS_WRITTEN    ((uint64_t)1 << 1)
#define HN_PAGE_IS_FILE       ((uint64_t)1 << 2)
#define HN_PAGE_IS_PRESENT    ((uint64_t)1 << 3)
#define HN_PAGE_IS_SWAPPED    ((uint64_t)1 << 4)
#define HN_PAGE_IS_PFNZERO    ((uint64_t)1 << 5)
#define HN_PAGE_IS_HUGE       ((uint64_t)1 << 6) /* mapped by a PMD; the huge zero page has it too */
#define HN_PAGE_IS_SOFT_DIRTY ((uint64_t)1 << 7)

_Static_assert(sizeof(struct hn_page_region) == 24, "PAGEMAP_SCAN region");
_Static_assert(sizeof(struct hn_pm_scan_arg) == 96, "PAGEMAP_SCAN argument");
_Static_assert(offsetof(struct hn_pm_scan_arg, return_mask) == 88, "PAGEMAP_SCAN argument");

/* ---- PROCMAP_QUERY, an ioctl of /proc/PID/maps (Linux 6.11) ---- */

struct hn_procmap_query {
	uint64_t size;        /* sizeof(struct hn_procmap_query) */
	uint64_t query_flags; /* HN_PROCMAP_QUERY_* */
	uint64_t query_addr;
	uint64_t vma_start; /* from here on: out */
	uint64_t vma_end;
	uint64_t vma_flags; /* HN_PROCMAP_QUERY_VMA_* */
	uint64_t vma_page_size;
	uint64_t vma_offset;
	uint64_t inode;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_name_size; /* in: room, out: bytes written with the NUL; 0 with vma_name_addr 0: not wanted */
	uint32_t build_id_size; /* the same for the build id */
	uint64_t vma_name_addr; /* in */
	uint64_t build_id_addr; /* in */
};

/* ENOENT: no such mapping. */
#define HN_PROCMAP_QUERY _IOWR('f', 17, struct hn_procmap_query)

#define HN_PROCMAP_QUERY_VMA_READABLE         0x01
#define HN_PROCMAP_QUERY_VMA_WRITABLE         0x02
#define HN_PROCMAP_QUERY_VMA_EXECUTABLE       0x04
#define HN_PROCMAP_QUERY_VMA_SHARED           0x08
#define HN_PROCMAP_QUERY_COVERING_OR_NEXT_VMA 0x10
#define HN_PROCMAP_QUERY_FILE_BACKED_VMA      0x20

_Static_assert(sizeof(struct hn_procmap_query) == 104, "PROCMAP_QUERY argument");
_Static_assert(offsetof(struct hn_procmap_query, vma_name_addr) == 88, "PROCMAP_QUERY argument");

/* ---- madvise(2), close_range(2) ---- */

#define HN_MADV_POPULATE_READ  22
#define HN_MADV_POPULATE_WRITE 23
#define HN_MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#define HN_MADV_COLLAPSE       25
#define HN_MADV_GUARD_INSTALL  102 /* Linux 6.13 */
#define HN_MADV_GUARD_REMOVE   103

#define HN_CLOSE_RANGE_UNSHARE (1U << 1)
#define HN_CLOSE_RANGE_CLOEXEC (1U << 2)

#endif
