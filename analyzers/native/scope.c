/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the user left out (scope.exclude_*): protocols, commands, paths. It is not counted, and where a whole connection is
 * left out the kernel is told to send nothing more of it, which it keeps to until the connection ends.
 */
#include "state.h"

/* A command is compared once, when it is first seen or when the settings changed. */
bool fs_comm_is_unwanted(const struct fs_engine *e, const char comm[16])
{
	for (uint32_t i = 0; i < FS_UNWANTED_COMMS && e->config.unwanted_comm[i][0]; i++)
		if (strncmp(e->config.unwanted_comm[i], comm, 15) == 0)
			return true;
	return false;
}

/* After the settings changed. */
void fs_scope_changed(struct fs_engine *e)
{
	for (uint32_t i = 1; i <= e->idents.highest; i++) {
		struct fs_ident *ident = &e->table->idents[i];
		ident->flags &= ~(uint32_t)FS_IDENT_UNWANTED;
		if (ident->generation && fs_comm_is_unwanted(e, ident->comm))
			ident->flags |= FS_IDENT_UNWANTED;
	}
}

static bool is_protocol_unwanted(const struct fs_engine *e, uint8_t protocol)
{
	return protocol < FS_PROTOCOL_MAX && e->config.protocols_unwanted >> protocol & 1;
}

/* Nothing of this connection will ever be counted, as far as anybody can tell now. */
bool fs_connection_is_unwanted(const struct fs_engine *e, const struct fs_connection *c)
{
	return is_protocol_unwanted(e, c->protocol) || e->table->idents[c->ident].flags & FS_IDENT_UNWANTED;
}

bool fs_request_is_unwanted(const struct fs_engine *e, const struct fs_connection *c, const struct fs_counted *counted,
			    uint8_t protocol)
{
	const struct fs_ident *idents = e->table->idents;
	uint32_t owners = idents[c->ident].flags | (c->flags & FS_C_BOTH_ENDS ? idents[c->peer_ident].flags : 0);

	return is_protocol_unwanted(e, protocol) || owners & FS_IDENT_UNWANTED ||
	       (counted->request && counted->request->message.flags & FS_MESSAGE_UNWANTED);
}
