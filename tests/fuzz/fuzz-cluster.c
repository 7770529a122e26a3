/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and authorities as labels. The input is the way to cluster (a byte) and the target of a request. */
#include <stdlib.h>
#include <string.h>

#include "../../analyzers/native/protocol.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_label label;
	if (size < 1)
		return 0;
	enum fs_clustering how = (enum fs_clustering)(data[0] & 3);
	uint8_t *target = malloc(size);
	memcpy(target, data + 1, size - 1);
	/* Not more than it may read, and not less than malloc can give. */
	uint8_t *exact = realloc(target, size > 1 ? size - 1 : 1);
	fs_cluster_path((struct fs_text){exact, (uint32_t)(size - 1)}, how, &label);
	must(label.length < sizeof(label.text) && label.text[label.length] == 0 && strlen(label.text) == label.length);
	for (uint32_t i = 0; i < label.length; i++) {
		char byte = label.text[i];
		must(byte > ' ' && byte < 0x7f && byte != '?' && byte != '#');
		if (how == FS_CLUSTER_ALPHABET || how == FS_CLUSTER_LEARN)
			must(byte == '/' || byte == '*' || byte == '_' || byte == '-' ||
			     (fs_lower((uint8_t)byte) >= 'a' && fs_lower((uint8_t)byte) <= 'z'));
	}
	must(label.length == 0 || label.text[0] == '/' ||
	     fs_text_is((struct fs_text){(uint8_t *)label.text, label.length}, "*"));
	must(how != FS_CLUSTER_BLANK || label.length == 0);
	fs_cluster_authority((struct fs_text){exact, (uint32_t)(size - 1)}, how, &label);
	must(label.length < sizeof(label.text) && label.text[label.length] == 0 && strlen(label.text) == label.length);
	for (uint32_t i = 0; i < label.length; i++) {
		char byte = label.text[i];
		must(byte > ' ' && byte < 0x7f && byte != '@' && byte != '/' && byte != '?' && byte != '#');
	}
	must(how != FS_CLUSTER_BLANK || label.length == 0);
	free(exact);
	return 0;
}
