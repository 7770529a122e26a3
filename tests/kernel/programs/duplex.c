// SPDX-License-Identifier: Apache-2.0
/*
 * duplex DESCRIPTOR ROUNDS: one thread writes ROUNDS numbered records of 64 digits to an inherited socket while another
 * reads as many.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD 64

static int descriptor, rounds;

static void *writer(void *unused)
{
	char record[RECORD + 1];

	for (int i = 0; i < rounds; i++) {
		snprintf(record, sizeof(record), "%0*d", RECORD, i);
		if (write(descriptor, record, RECORD) != RECORD)
			exit(1);
	}
	return unused;
}

int main(int arguments, char **argument)
{
	char record[RECORD];
	pthread_t thread;

	if (arguments != 3)
		return 1;
	descriptor = atoi(argument[1]);
	rounds = atoi(argument[2]);
	if (pthread_create(&thread, NULL, writer, NULL))
		return 1;
	for (int i = 0; i < rounds; i++)
		if (recv(descriptor, record, RECORD, MSG_WAITALL) != RECORD)
			return 1;
	pthread_join(thread, NULL);
	return 0;
}
