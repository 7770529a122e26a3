/* SPDX-License-Identifier: Apache-2.0 */
/* Names that users give to queues, exchanges and topics, made fit to be a label. */
#ifndef FIRESTEEL_NAMES_H
#define FIRESTEEL_NAMES_H

#include "../protocol.h"

/*
 * Appends `name` to `out`. Its segments, which end at '/', '.' or ':', are treated as those of a path: with `alphabet`
 * one with other than letters, '_' and '-', or longer than 25, becomes a star; `noparam` keeps them; `blank` writes
 * nothing. What is not printable ASCII becomes a star in any case.
 */
void fs_cluster_name(struct fs_text name, enum fs_clustering how, struct fs_label *out);

#endif
