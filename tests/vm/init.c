/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of a test's virtual machine, alone in its initramfs: loads the modules that /modules names, lays a
 * writable layer over the host's file system (and the kernel's own package over that), runs one command there, hands
 * its output to the second serial port and its exit status to the host, and switches the machine off.
 *
 * Words of the kernel's command line that the kernel does not know arrive as environment: FS_CWD is where the command
 * starts, FS_CGROUP=hybrid asks for version 1 controllers beside version 2.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define SHARE "trans=virtio,version=9p2000.L,msize=512000,cache=loose"

static void end(void)
{
	sync();
	reboot(RB_AUTOBOOT); /* qemu runs with -no-reboot */
	for (;;)
		pause();
}

static void die(const char *what, const char *name)
{
	fprintf(stderr, "firesteel-vm: cannot %s %s: %s\n", what, name, strerror(errno));
	end();
}

static void put(const char *kind, const char *source, const char *place, unsigned long flags, const char *options)
{
	mkdir(place, 0755);
	if (mount(source, place, kind, flags, options))
		die("mount", place);
}

/* What an older or smaller kernel may lack, and most tests do not need. */
static void try_to_put(const char *kind, const char *place, const char *options)
{
	mkdir(place, 0755);
	mount(kind, place, kind, 0, options);
}

static void load_modules(void)
{
	char name[256];
	FILE *list = fopen("/modules", "r");

	while (list && fgets(name, sizeof(name), list)) {
		name[strcspn(name, "\n")] = 0;
		int fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			die("load", name);
		close(fd);
	}
	if (list)
		fclose(list);
}

static void enter_root(void)
{
	put("9p", "host", "/lower", MS_RDONLY, SHARE);
	put("9p", "kernel", "/kernel", MS_RDONLY, SHARE);
	put("tmpfs", "tmpfs", "/layer", 0, "size=75%");
	mkdir("/layer/upper", 0755);
	mkdir("/layer/work", 0755);
	put("overlay", "overlay", "/root", 0, "lowerdir=/kernel:/lower,upperdir=/layer/upper,workdir=/layer/work");
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		die("enter", "the root");
}

static void mount_cgroups(void)
{
	static const char *const controllers[] = {"memory", "cpu", "pids", "freezer"};
	const char *wanted = getenv("FS_CGROUP");
	char place[64];

	if (!wanted || strcmp(wanted, "hybrid") != 0) {
		try_to_put("cgroup2", "/sys/fs/cgroup", NULL);
		return;
	}
	put("tmpfs", "tmpfs", "/sys/fs/cgroup", 0, "mode=755");
	for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++) {
		snprintf(place, sizeof(place), "/sys/fs/cgroup/%s", controllers[i]);
		try_to_put("cgroup", place, controllers[i]);
	}
	try_to_put("cgroup2", "/sys/fs/cgroup/unified", NULL);
}

static void mount_rest(void)
{
	put("devtmpfs", "devtmpfs", "/dev", 0, NULL);
	put("proc", "proc", "/proc", 0, NULL);
	put("sysfs", "sysfs", "/sys", 0, NULL);
	put("tmpfs", "tmpfs", "/tmp", 0, "mode=1777");
	put("tmpfs", "tmpfs", "/run", 0, "mode=755");
	put("9p", "exchange", "/run/exchange", 0, "trans=virtio,version=9p2000.L,msize=512000,cache=none");
	try_to_put("devpts", "/dev/pts", NULL);
	try_to_put("tmpfs", "/dev/shm", "mode=1777");
	try_to_put("debugfs", "/sys/kernel/debug", NULL);
	try_to_put("tracefs", "/sys/kernel/tracing", NULL);
	try_to_put("bpf", "/sys/fs/bpf", NULL);
	mount_cgroups();
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

static void raise_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		die("raise", "the loopback interface");
	close(fd);
}

static pid_t start(int output)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	const char *folder = getenv("FS_CWD");
	int input = open("/dev/null", O_RDONLY);
	dup2(input, 0);
	dup2(output, 1);
	dup2(output, 2);
	setsid();
	if (folder && chdir(folder))
		fprintf(stderr, "firesteel-vm: no folder %s: %s\n", folder, strerror(errno));
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LANG", "C.UTF-8", 1);
	setenv("FIRESTEEL_VM", "1", 1);
	execl("/bin/bash", "bash", "/run/exchange/command", (char *)NULL);
	fprintf(stderr, "firesteel-vm: no /bin/bash: %s\n", strerror(errno));
	_exit(127);
}

static void pass_on(int from, int to)
{
	char bytes[4096];
	ssize_t count;

	while ((count = read(from, bytes, sizeof(bytes))) > 0)
		for (ssize_t done = 0, wrote; done < count; done += wrote)
			if ((wrote = write(to, bytes + done, (size_t)(count - done))) <= 0)
				return;
}

/* Until the command ends; what it left running does not keep the machine up. */
static int watch(pid_t command, int output, int serial)
{
	struct pollfd ready = {.fd = output, .events = POLLIN};
	int status = -1;

	fcntl(output, F_SETFL, O_NONBLOCK);
	while (status < 0) {
		int ended;
		pid_t pid;
		poll(&ready, 1, 50);
		pass_on(output, serial);
		while ((pid = waitpid(-1, &ended, WNOHANG)) > 0)
			if (pid == command)
				status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
	}
	pass_on(output, serial);
	return status;
}

int main(void)
{
	struct termios raw;
	int ends[2];

	put("devtmpfs", "devtmpfs", "/dev", 0, NULL);
	load_modules();
	enter_root();
	mount_rest();
	raise_loopback();
	sethostname("firesteel-vm", 12);
	int serial = open("/dev/ttyS1", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (serial < 0 || tcgetattr(serial, &raw))
		die("open", "/dev/ttyS1");
	cfmakeraw(&raw);
	cfsetspeed(&raw, B115200);
	tcsetattr(serial, TCSANOW, &raw);
	if (pipe2(ends, O_CLOEXEC))
		die("make", "a pipe");
	pid_t command = start(ends[1]);
	close(ends[1]);
	int status = watch(command, ends[0], serial);
	tcdrain(serial);
	FILE *told = fopen("/run/exchange/status", "w");
	if (told) {
		fprintf(told, "%d\n", status);
		fclose(told);
	}
	end();
	return 0;
}
