/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the user left out (scope.exclude_*): protocols, commands, paths, and the cgroups of namespaces and workloads. It is
 * not counted, and where a whole connection is left out the kernel is told to send nothing more of it.
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

static bool is_cgroup_aside(const struct fs_engine *e, uint64_t cgroup_id)
{
	uint32_t low = 0, high = e->config.cgroups_aside;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (e->config.cgroup_aside[middle] < cgroup_id)
			low = middle + 1;
		else
			high = middle;
	}
	return cgroup_id && low < e->config.cgroups_aside && e->config.cgroup_aside[low] == cgroup_id;
}

/* Asked once, when the owner is first seen or when the settings changed. */
void fs_ident_scope(const struct fs_engine *e, struct fs_ident *ident)
{
	ident->flags &= ~(uint32_t)(FS_IDENT_UNWANTED | FS_IDENT_ASIDE);
	if (fs_comm_is_unwanted(e, ident->comm))
		ident->flags |= FS_IDENT_UNWANTED;
	if (is_cgroup_aside(e, ident->cgroup_id))
		ident->flags |= FS_IDENT_ASIDE;
}

/* What was silent because it was left out goes on in the middle of whatever it is at now. */
static void follow_again(struct fs_engine *e, struct fs_connection *c)
{
	fs_place_forgotten(e, c);
	c->flags |= FS_C_MIDSTREAM;
	c->last_direction = FS_DIRECTION_UNKNOWN;
	fs_mode_set(e, c, FS_MODE_STREAM, e->config.parse_bytes);
	/* What is found again by its messages stays lost until one shows; the others have none to be found by. */
	if (c->protocol == FS_UNDECIDED || fs_is_opaque(c->protocol))
		fs_protocol_set(e, c, c->protocol);
	if (c->protocol == FS_PROTOCOL_TLS)
		fs_mode_set(e, c, FS_MODE_LENGTHS, 0);
	fs_closing_missed(c);
}

/* After the settings changed: they hold for what is open, too. */
void fs_scope_changed(struct fs_engine *e)
{
	for (uint32_t i = 1; i <= e->idents.highest; i++)
		fs_ident_scope(e, &e->table->idents[i]);
	for (uint32_t i = 1; i <= e->connections.highest; i++) {
		struct fs_connection *c = fs_connection_at(e, i);
		if (c->kind != FS_KIND_STREAM || c->flags & (FS_C_ANNOUNCED | FS_C_DYING) ||
		    c->authority == FS_AUTHORITY_THEIRS)
			continue;
		if (c->mode == FS_MODE_SILENT && !fs_connection_is_unwanted(e, c))
			follow_again(e, c);
		else
			fs_mode_leave_out(e, c);
	}
}

static bool is_protocol_unwanted(const struct fs_engine *e, uint8_t protocol)
{
	return protocol < FS_PROTOCOL_MAX && e->config.protocols_unwanted >> protocol & 1;
}

/*
 * Who was left out by namespace or workload asks nobody and serves nobody, but whoever is not left out at the other end
 * of it, on this node, is told by the same rows: then it is the agent that takes from them what is to be shown.
 */
static bool is_aside(const struct fs_engine *e, const struct fs_connection *c)
{
	const struct fs_ident *idents = e->table->idents;

	return idents[c->ident].flags & FS_IDENT_ASIDE &&
	       (!(c->flags & FS_C_BOTH_ENDS) || idents[c->peer_ident].flags & FS_IDENT_ASIDE);
}

/* A command that was left out is nobody's peer either, so one end of both is enough. */
static bool is_owner_unwanted(const struct fs_engine *e, const struct fs_connection *c)
{
	const struct fs_ident *idents = e->table->idents;
	uint32_t owners = idents[c->ident].flags | (c->flags & FS_C_BOTH_ENDS ? idents[c->peer_ident].flags : 0);

	return owners & FS_IDENT_UNWANTED;
}

/* Nothing of this connection will ever be counted, as far as anybody can tell now. */
bool fs_connection_is_unwanted(const struct fs_engine *e, const struct fs_connection *c)
{
	if (is_protocol_unwanted(e, c->protocol) || is_owner_unwanted(e, c))
		return true;
	/* The other end may be told yet, and then this one may be the only one that can be read. */
	return is_aside(e, c) && (c->flags & FS_C_BOTH_ENDS || !fs_may_have_other_end(e, c));
}

/* The same, for now. */
bool fs_connection_counts_nothing(const struct fs_engine *e, const struct fs_connection *c)
{
	return is_aside(e, c) || fs_connection_is_unwanted(e, c);
}

bool fs_request_is_unwanted(const struct fs_engine *e, const struct fs_connection *c, const struct fs_counted *counted,
			    uint8_t protocol)
{
	return is_protocol_unwanted(e, protocol) || is_owner_unwanted(e, c) || is_aside(e, c) ||
	       (counted->request && counted->request->message.flags & FS_MESSAGE_UNWANTED);
}
