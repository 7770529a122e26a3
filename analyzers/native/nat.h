/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address translation as conntrack tells it: a client dials one address (a Service, a node's port), another one answers,
 * and the answering side may see a third one for the client. Both ends are shown as they are; what was dialled is kept.
 */
#ifndef FIRESTEEL_NAT_H
#define FIRESTEEL_NAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs_engine;
struct fs_connection;
struct fs_nat;

/* What a translation says, of both directions. Port numbers in the host's byte order. */
void fs_nat_learn(struct fs_engine *e, const struct fs_nat *nat);

/* Puts the ends of a connection that has just been told where they really are. `is_fresh`: it began just now. */
void fs_nat_apply(struct fs_engine *e, struct fs_connection *c, bool is_fresh);

void fs_nat_restore(struct fs_engine *e);

#endif
