/* SPDX-License-Identifier: Apache-2.0 */
/* Enters the sandbox and then does what its argument names, to be killed for it or not. Descriptors 7 and 8 are kept. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sandbox.h"

int main(int count, char **values)
{
	char byte = 'x';
	struct timespec pause = {0, 1000}, now;
	struct fs_sandbox sandbox = {getppid(), 7, 8};
	const char *act = count == 2 ? values[1] : "";

	if (!strcmp(act, "orphan"))
		sandbox.parent = getpid();
	if (fs_sandbox_enter(&sandbox))
		_exit(3);
	if (!strcmp(act, "open"))
		syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
	else if (!strcmp(act, "socket"))
		syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
	else if (!strcmp(act, "execve"))
		execl("/bin/true", "true", (char *)0);
	else if (!strcmp(act, "fork"))
		fork();
	else if (!strcmp(act, "mmap"))
		mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	else if (!strcmp(act, "kill"))
		syscall(SYS_kill, getppid(), 0);
	else if (!strcmp(act, "ptrace"))
		ptrace(PTRACE_TRACEME, 0, 0, 0);
	else if (!strcmp(act, "bpf"))
		syscall(SYS_bpf, 0, 0, 0);
	else if (!strcmp(act, "write-elsewhere"))
		syscall(SYS_write, 7, &byte, 1);
	else if (!strcmp(act, "read-elsewhere"))
		syscall(SYS_read, 8, &byte, 1);
	else if (!strcmp(act, "hang"))
		for (;;)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, 0);
	else if (!strcmp(act, "allowed")) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, 0);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
		if (read(7, &byte, 1) != 1 || write(8, &byte, 1) != 1)
			_exit(4);
	}
	_exit(0);
}
