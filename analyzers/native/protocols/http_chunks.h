/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FIRESTEEL_HTTP_CHUNKS_H
#define FIRESTEEL_HTTP_CHUNKS_H

#include "../protocol.h"

/* A chunked body follows: scratch[0] is not zero until it has ended. */
void fs_http_chunks_begin(struct fs_frame_input *in);

/*
 * Goes on with it: FS_FRAME_PART, FS_FRAME_END, FS_FRAME_MORE, or FS_FRAME_INVALID if this is not where the body left
 * off. Of `out` only the length is written.
 */
enum fs_framed fs_http_chunks(struct fs_frame_input *in, struct fs_message *out);

#endif
