/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine gives up before it reads the first byte that a stranger sent. */
#ifndef FIRESTEEL_SANDBOX_H
#define FIRESTEEL_SANDBOX_H

#include <sys/types.h>

#define FS_SANDBOX_UID 65532 /* taken only when started as root */

struct fs_sandbox {
	pid_t parent; /* the process must not outlive it; 0: no matter */
	int read_fd; /* may be read, or -1 */
	int write_fd; /* may be written, or -1 */
};

/*
 * Drops identity and capabilities, closes every descriptor but the two, and allows a handful of system calls from
 * here on; any other kills the process with SIGSYS. The two descriptors keep their numbers. NULL when done, else what
 * could not be done (errno says why), and then the caller must not go on.
 */
const char *fs_sandbox_enter(const struct fs_sandbox *sandbox);

#endif
