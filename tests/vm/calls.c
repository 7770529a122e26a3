/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What system calls cost the program that makes them, in nanoseconds of its own processor time: `calls ROUNDS` prints
 * that of getppid, and that of a read or write of a small HTTP exchange over loopback, both ends in this thread.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWERS_AT 1 /* of the two connected sockets */

static const char request[] = "GET /of-known-length HTTP/1.1\r\nHost: firesteel.test\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double spent(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void connected(int ends[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (listener < 0 || bind(listener, (void *)&address, sizeof(address)) || listen(listener, 1) ||
	    getsockname(listener, (void *)&address, &length))
		die("listen");
	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (ends[0] < 0 || connect(ends[0], (void *)&address, sizeof(address)))
		die("connect");
	ends[ANSWERS_AT] = accept(listener, NULL, NULL);
	if (ends[ANSWERS_AT] < 0)
		die("accept");
	close(listener);
}

static void pass(int from, int to, const char *text, size_t length)
{
	char bytes[256];

	if (write(from, text, length) != (ssize_t)length || read(to, bytes, sizeof(bytes)) != (ssize_t)length)
		die("exchange");
}

static void exchange(const int ends[2], int rounds)
{
	for (int i = 0; i < rounds; i++) {
		pass(ends[0], ends[ANSWERS_AT], request, sizeof(request) - 1);
		pass(ends[ANSWERS_AT], ends[0], response, sizeof(response) - 1);
	}
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 0;
	int ends[2];
	double began;

	if (rounds < 1)
		return 2;
	connected(ends);
	/* The engine learns the protocol and says how much it wants of it. */
	exchange(ends, rounds / 4);
	sleep(2);
	began = spent();
	exchange(ends, rounds);
	printf("operation %.1f\n", (spent() - began) / (4.0 * rounds));
	began = spent();
	for (int i = 0; i < rounds; i++)
		getppid();
	printf("getppid %.2f\n", (spent() - began) / rounds);
	return 0;
}
