// SPDX-License-Identifier: Apache-2.0
/*
 * Makes one read or write on an inherited socket, by the system call that it is asked for, and says what came back.
 *
 *   io_calls CALL DESCRIPTOR [TEXT] [name=value]...
 *
 * `size` of the buffer read into, `flags`, `count` of messages, `parts` a text is scattered over, `port` of the peer on
 * loopback, `other` descriptor. Prints one line per result: a count of bytes, or a negative errno. What was read follows
 * in the same line. Ends with status 2 where the machine cannot make the call.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PARTS 40
#define BUFFER (8 << 20)

static int descriptor, flags, count = 1, parts = 3, port, other = -1;
static long size = 4096;
static char *text = "", *buffer;
static struct iovec vector[PARTS];
static struct mmsghdr messages[PARTS];
static struct sockaddr_storage names[PARTS];

static void say(long result)
{
	if (result < 0)
		printf("%ld\n", (long)-errno);
	else
		printf("%ld %.*s\n", result, (int)(result < 200 ? result : 200), buffer);
	fflush(stdout);
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(2);
}

/* The peer on loopback, in the socket's own family. */
static socklen_t peer_address(struct sockaddr_storage *address)
{
	struct sockaddr_storage own;
	socklen_t length = sizeof(own);

	memset(address, 0, sizeof(*address));
	if (!port)
		return 0;
	getsockname(descriptor, (struct sockaddr *)&own, &length);
	if (own.ss_family == AF_INET6) {
		struct sockaddr_in6 *to = (struct sockaddr_in6 *)address;
		to->sin6_family = AF_INET6;
		to->sin6_port = htons((unsigned short)port);
		to->sin6_addr = in6addr_loopback;
		return sizeof(*to);
	}
	struct sockaddr_in *to = (struct sockaddr_in *)address;
	to->sin_family = AF_INET;
	to->sin_port = htons((unsigned short)port);
	to->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(*to);
}

/* `length` bytes at `base` as an empty entry and then `parts - 1` of about the same length. */
static void scatter(char *base, long length)
{
	long pieces = parts > 1 ? parts - 1 : 1, done = 0;

	memset(vector, 0, sizeof(vector));
	for (long i = 0; i < pieces; i++) {
		long piece = length / pieces + (i < length % pieces);
		vector[i + parts - pieces] = (struct iovec){base + done, (size_t)piece};
		done += piece;
	}
}

static struct msghdr *message(bool named)
{
	static struct msghdr header;

	memset(&header, 0, sizeof(header));
	header.msg_iov = vector;
	header.msg_iovlen = (size_t)parts;
	if (named) {
		header.msg_name = &names[0];
		header.msg_namelen = peer_address(&names[0]);
		if (!header.msg_namelen)
			header.msg_name = NULL;
	}
	return &header;
}

/* `count` messages of equal parts of `length` bytes at `base`, each in one entry of the vector. */
static void fill_messages(char *base, long length, bool receiving)
{
	for (int i = 0; i < count; i++) {
		long from = length * i / count, to = length * (i + 1) / count;
		vector[i] = (struct iovec){base + from, (size_t)(to - from)};
		memset(&messages[i], 0, sizeof(messages[i]));
		messages[i].msg_hdr.msg_iov = &vector[i];
		messages[i].msg_hdr.msg_iovlen = 1;
		messages[i].msg_hdr.msg_namelen = receiving ? sizeof(names[i]) : peer_address(&names[i]);
		messages[i].msg_hdr.msg_name = messages[i].msg_hdr.msg_namelen ? &names[i] : NULL;
	}
}

static void say_messages(int done)
{
	if (done < 0)
		printf("%ld\n", (long)-errno);
	for (int i = 0; i < done; i++)
		printf("%u %.*s\n", messages[i].msg_len, (int)messages[i].msg_len,
		       (char *)messages[i].msg_hdr.msg_iov->iov_base);
	fflush(stdout);
}

static int file_of(const char *content)
{
	int file = memfd_create("text", 0);
	if (file < 0 || write(file, content, strlen(content)) < 0 || lseek(file, 0, SEEK_SET) < 0)
		fail("memfd");
	return file;
}

/* The 32-bit entry of a 64-bit kernel: numbers and pointers of the 32-bit table. */
static long call32(long number, long first, long second, long third)
{
	long result;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(third)
			 : "memory", "r8", "r9", "r10", "r11");
	if (result < 0) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

static struct io_uring ring;

static struct io_uring_sqe *submission(unsigned int sqe_flags)
{
	struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
	io_uring_sqe_set_flags(entry, sqe_flags);
	return entry;
}

static long completed(void)
{
	struct io_uring_cqe *entry;
	int error = io_uring_wait_cqe(&ring, &entry);
	long result = error < 0 ? error : entry->res;

	if (!error)
		io_uring_cqe_seen(&ring, entry);
	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}

/* uring_send, uring_sendmsg, uring_recv, uring_recvmsg; with "_async" by a worker of the kernel. */
static long by_ring(const char *call)
{
	struct io_uring_sqe *entry;
	bool sending = strncmp(call, "uring_send", 10) == 0;

	if (io_uring_queue_init(8, &ring, 0) < 0)
		fail("io_uring");
	scatter(buffer, sending ? (long)strlen(text) : size);
	entry = io_uring_get_sqe(&ring);
	if (strncmp(call, "uring_sendmsg", 13) == 0)
		io_uring_prep_sendmsg(entry, descriptor, message(true), (unsigned int)flags);
	else if (strncmp(call, "uring_recvmsg", 13) == 0) {
		struct msghdr *header = message(false);
		header->msg_name = &names[0];
		header->msg_namelen = sizeof(names[0]);
		io_uring_prep_recvmsg(entry, descriptor, header, (unsigned int)flags);
	} else if (sending)
		io_uring_prep_send(entry, descriptor, buffer, strlen(text), flags);
	else
		io_uring_prep_recv(entry, descriptor, buffer, (size_t)size, flags);
	io_uring_sqe_set_flags(entry, strstr(call, "_async") ? IOSQE_ASYNC : 0);
	io_uring_submit(&ring);
	return completed();
}

/*
 * A receive waits in a ring; meanwhile the thread itself waits in a call of `other` (which may be the same socket), and
 * the kernel completes the receive at the end of that call.
 */
static void ring_inside(bool writing)
{
	static char elsewhere[BUFFER];
	struct io_uring_sqe *entry;

	if (io_uring_queue_init(8, &ring, 0) < 0)
		fail("io_uring");
	entry = submission(0);
	io_uring_prep_recv(entry, descriptor, buffer, (size_t)size, 0);
	io_uring_submit(&ring);
	memset(elsewhere, 'x', sizeof(elsewhere));
	printf("waiting\n");
	fflush(stdout);
	long result = writing ? write(other, elsewhere, sizeof(elsewhere)) : read(other, elsewhere, sizeof(elsewhere));
	fprintf(stderr, "inner %ld\n", result);
	say(completed());
}

static long spliced(bool sending)
{
	int ends[2];

	if (pipe(ends))
		fail("pipe");
	if (sending) {
		if (write(ends[1], text, strlen(text)) < 0)
			fail("pipe");
		return splice(ends[0], NULL, descriptor, NULL, strlen(text), 0);
	}
	long result = splice(descriptor, NULL, ends[1], NULL, (size_t)size, 0);
	if (result > 0 && read(ends[0], buffer, (size_t)result) != result)
		fail("pipe");
	return result;
}

static bool sent(const char *call)
{
	struct sockaddr_storage to;
	size_t length = strlen(text);

	if (!strcmp(call, "write"))
		say(write(descriptor, buffer, length));
	else if (!strcmp(call, "write_twice")) {
		say(write(descriptor, buffer, length));
		say(write(descriptor, buffer, length));
	} else if (!strcmp(call, "writev")) {
		scatter(buffer, (long)length);
		say(writev(descriptor, vector, parts));
	} else if (!strcmp(call, "send"))
		say(send(descriptor, buffer, length, flags));
	else if (!strcmp(call, "sendto")) {
		socklen_t bytes = peer_address(&to);
		say(sendto(descriptor, buffer, length, flags, bytes ? (struct sockaddr *)&to : NULL, bytes));
	} else if (!strcmp(call, "sendmsg")) {
		scatter(buffer, (long)length);
		say(sendmsg(descriptor, message(true), flags));
	} else if (!strcmp(call, "sendmmsg")) {
		fill_messages(buffer, (long)length, false);
		say_messages(sendmmsg(descriptor, messages, (unsigned int)count, flags));
	} else if (!strcmp(call, "sendfile"))
		say(sendfile(descriptor, file_of(text), NULL, length));
	else if (!strcmp(call, "splice"))
		say(spliced(true));
	else if (!strcmp(call, "write32"))
		say(call32(4, descriptor, (long)buffer, (long)length));
	else
		return false;
	return true;
}

static bool received(const char *call)
{
	struct sockaddr_storage from;
	socklen_t bytes = sizeof(from);

	if (!strcmp(call, "read"))
		say(read(descriptor, buffer, (size_t)size));
	else if (!strcmp(call, "readv")) {
		scatter(buffer, size);
		say(readv(descriptor, vector, parts));
	} else if (!strcmp(call, "recv"))
		say(recv(descriptor, buffer, (size_t)size, flags));
	else if (!strcmp(call, "recvfrom"))
		say(recvfrom(descriptor, buffer, (size_t)size, flags, (struct sockaddr *)&from, &bytes));
	else if (!strcmp(call, "recvmsg")) {
		scatter(buffer, size);
		struct msghdr *header = message(false);
		header->msg_name = &names[0];
		header->msg_namelen = sizeof(names[0]);
		say(recvmsg(descriptor, header, flags));
	} else if (!strcmp(call, "recvmmsg") || !strcmp(call, "recvmmsg_timeout")) {
		struct timespec limit = {.tv_sec = 5};
		fill_messages(buffer, size, true);
		say_messages(recvmmsg(descriptor, messages, (unsigned int)count, flags, call[8] ? &limit : NULL));
	} else if (!strcmp(call, "splice_in"))
		say(spliced(false));
	else if (!strcmp(call, "read32"))
		say(call32(3, descriptor, (long)buffer, size));
	else
		return false;
	return true;
}

int main(int arguments, char **argument)
{
	const char *call;

	if (arguments < 3)
		return 1;
	call = argument[1];
	descriptor = atoi(argument[2]);
	for (int i = 3; i < arguments; i++)
		if (sscanf(argument[i], "size=%ld", &size) != 1 && sscanf(argument[i], "flags=%d", &flags) != 1 &&
		    sscanf(argument[i], "count=%d", &count) != 1 && sscanf(argument[i], "parts=%d", &parts) != 1 &&
		    sscanf(argument[i], "port=%d", &port) != 1 && sscanf(argument[i], "other=%d", &other) != 1)
			text = argument[i];
	if (count > PARTS || parts > PARTS || size > BUFFER)
		return 1;
	buffer = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (buffer == MAP_FAILED)
		fail("mmap");
	memset(buffer, 0, BUFFER);
	memcpy(buffer, text, strlen(text));
	if (!strcmp(call, "ring_inside_read") || !strcmp(call, "ring_inside_write"))
		ring_inside(call[12] == 'w');
	else if (!strncmp(call, "uring_", 6))
		say(by_ring(call));
	else if (!sent(call) && !received(call))
		return 1;
	if (!isatty(0) && getenv("IO_CALLS_WAIT"))
		(void)!read(0, buffer, 1);
	return 0;
}
