// SPDX-License-Identifier: Apache-2.0
/*
 * An HTTP server and client that read and write through io_uring only, for the kernel tests.
 *
 *   uring-http server PORT inline|async
 *   uring-http client PORT inline|async CONNECTIONS REQUESTS_EACH
 *
 * "inline" lets the kernel try each operation within io_uring_enter, "async" sends it to a worker thread
 * (IOSQE_ASYNC). Requests are "GET /ring", one at a time on each connection; the client prints the number of
 * responses, the bytes that it sent, and the bytes that it received.
 */
#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64
#define ROOM 4096

static const char request_text[] = "GET /ring HTTP/1.1\r\nHost: ring\r\n\r\n";
static const char response_text[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

enum doing { ACCEPT, RECEIVE, SEND };

struct connection {
	int fd;
	enum doing doing;
	unsigned int left; /* requests that the client still has to send */
	size_t done; /* bytes of the current message */
	char text[ROOM];
};

static struct io_uring ring;
static unsigned int flags;
static struct connection connections[MAX_CONNECTIONS];
static unsigned long long sent, received, responses;

static void fail(const char *what, int error)
{
	fprintf(stderr, "uring-http: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static struct io_uring_sqe *next(struct connection *c, enum doing doing)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (!sqe)
		fail("queue", ENOBUFS);
	c->doing = doing;
	return sqe;
}

static void submitted_as(struct io_uring_sqe *sqe, struct connection *c)
{
	sqe->flags |= (unsigned char)flags;
	io_uring_sqe_set_data(sqe, c);
}

static void receive(struct connection *c)
{
	struct io_uring_sqe *sqe = next(c, RECEIVE);

	io_uring_prep_recv(sqe, c->fd, c->text + c->done, sizeof(c->text) - 1 - c->done, 0);
	submitted_as(sqe, c);
}

static void send_text(struct connection *c, const char *text)
{
	struct io_uring_sqe *sqe = next(c, SEND);

	io_uring_prep_send(sqe, c->fd, text + c->done, strlen(text) - c->done, 0);
	submitted_as(sqe, c);
}

static void accept_one(struct connection *listener)
{
	struct io_uring_sqe *sqe = next(listener, ACCEPT);

	io_uring_prep_accept(sqe, listener->fd, NULL, NULL, 0);
	submitted_as(sqe, listener);
}

static struct connection *connection_for(int fd)
{
	unsigned int i;
	int one = 1;

	for (i = 0; i < MAX_CONNECTIONS; i++) {
		if (connections[i].fd)
			continue;
		memset(&connections[i], 0, sizeof(connections[i]));
		connections[i].fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		return &connections[i];
	}
	fail("too many connections", EMFILE);
	return NULL;
}

static void finish(struct connection *c)
{
	close(c->fd);
	c->fd = 0;
}

/* Whether a whole message of the kind that we read has come. */
static int complete(const struct connection *c, const char *end)
{
	return strstr(c->text, end) != NULL;
}

static void serve(struct connection *c, int result)
{
	if (c->doing == ACCEPT) {
		receive(connection_for(result));
		accept_one(c);
		return;
	}
	if (result <= 0) {
		finish(c);
		return;
	}
	c->done += (size_t)result;
	if (c->doing == SEND) {
		if (c->done < strlen(response_text)) {
			send_text(c, response_text);
			return;
		}
		c->done = 0;
		receive(c);
		return;
	}
	c->text[c->done] = 0;
	if (!complete(c, "\r\n\r\n")) {
		receive(c);
		return;
	}
	c->done = 0;
	send_text(c, response_text);
}

static unsigned int ask(struct connection *c, int result)
{
	if (result <= 0)
		fail("connection", result ? result : EPIPE);
	c->done += (size_t)result;
	if (c->doing == SEND) {
		sent += (unsigned int)result;
		if (c->done < strlen(request_text)) {
			send_text(c, request_text);
			return 0;
		}
		c->done = 0;
		receive(c);
		return 0;
	}
	received += (unsigned int)result;
	c->text[c->done] = 0;
	if (!complete(c, "hello\n")) {
		receive(c);
		return 0;
	}
	responses++;
	c->done = 0;
	if (--c->left) {
		send_text(c, request_text);
		return 0;
	}
	finish(c);
	return 1;
}

static struct connection *completed(int *result)
{
	struct io_uring_cqe *cqe;
	struct connection *c;
	int error = io_uring_submit_and_wait(&ring, 1);

	if (error < 0)
		fail("submit", error);
	error = io_uring_wait_cqe(&ring, &cqe);
	if (error < 0)
		fail("wait", error);
	c = io_uring_cqe_get_data(cqe);
	*result = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return c;
}

static int socket_at(const char *port, int listening)
{
	struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1, error;

	where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listening)
		error = bind(fd, (struct sockaddr *)&where, sizeof(where)) || listen(fd, MAX_CONNECTIONS);
	else
		error = connect(fd, (struct sockaddr *)&where, sizeof(where));
	if (error)
		fail(listening ? "listen" : "connect", errno);
	return fd;
}

static void run_server(const char *port)
{
	static struct connection listener;
	struct connection *c;
	int result;

	listener.fd = socket_at(port, 1);
	accept_one(&listener);
	for (;;) {
		c = completed(&result);
		serve(c, result);
	}
}

static void run_client(const char *port, unsigned int count, unsigned int each)
{
	struct connection *c;
	unsigned int i, ended = 0;
	int result;

	for (i = 0; i < count; i++) {
		c = connection_for(socket_at(port, 0));
		c->left = each;
		send_text(c, request_text);
	}
	while (ended < count) {
		c = completed(&result);
		ended += ask(c, result);
	}
	printf("%llu %llu %llu\n", responses, sent, received);
}

int main(int argc, char **argv)
{
	int error = io_uring_queue_init(2 * MAX_CONNECTIONS, &ring, 0);

	if (error)
		fail("io_uring", error);
	if (argc < 4)
		fail("arguments", EINVAL);
	flags = strcmp(argv[3], "async") ? 0 : IOSQE_ASYNC;
	if (!strcmp(argv[1], "server"))
		run_server(argv[2]);
	if (argc < 6)
		fail("arguments", EINVAL);
	run_client(argv[2], (unsigned int)atoi(argv[4]), (unsigned int)atoi(argv[5]));
	return 0;
}
