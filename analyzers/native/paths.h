/* SPDX-License-Identifier: Apache-2.0 */
/* Paths whose requests the user does not want to see. The agent writes them, parsers ask. */
#ifndef FIRESTEEL_PATHS_H
#define FIRESTEEL_PATHS_H

#include <stdint.h>

#define FS_PATH_RULES 32
#define FS_PATH_BYTES 126

struct fs_path_rule {
	uint8_t length;
	uint8_t is_prefix; /* whatever follows */
	char text[FS_PATH_BYTES]; /* without query; of gRPC "/package.Service/Method" */
};

struct fs_path_rules {
	uint32_t count;
	struct fs_path_rule rule[FS_PATH_RULES];
};

#endif
