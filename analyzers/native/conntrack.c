/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink messages of conntrack into translations: what was dialled is the original tuple, what answered is the reply's
 * source. Attribute numbers are of linux/netfilter/nfnetlink_conntrack.h; every length is checked against what is there,
 * though it is the kernel that speaks.
 */
#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>

#include "nat.h"
#include "state.h"

struct span {
	const uint8_t *at;
	uint32_t bytes;
};

struct side {
	uint8_t source[16], destination[16];
	uint16_t source_port, destination_port;
	uint8_t l4;
};

/* The next attribute, its type without flags; false at the end and before what is cut. */
static bool next_attribute(struct span *rest, uint16_t *type, struct span *value)
{
	struct nlattr head;

	if (rest->bytes < sizeof(head))
		return false;
	memcpy(&head, rest->at, sizeof(head));
	if (head.nla_len < sizeof(head) || head.nla_len > rest->bytes)
		return false;
	*type = (uint16_t)(head.nla_type & NLA_TYPE_MASK);
	*value = (struct span){rest->at + sizeof(head), (uint32_t)(head.nla_len - sizeof(head))};
	uint32_t step = NLA_ALIGN(head.nla_len);
	step = step < rest->bytes ? step : rest->bytes;
	rest->at += step;
	rest->bytes -= step;
	return true;
}

static void address(struct span value, uint8_t out[16])
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	if (value.bytes == 16) {
		memcpy(out, value.at, 16);
	} else if (value.bytes == 4) {
		memcpy(out, mapped, 12);
		memcpy(out + 12, value.at, 4);
	}
}

static uint16_t port(struct span value)
{
	uint16_t number = 0;
	if (value.bytes == sizeof(number))
		memcpy(&number, value.at, sizeof(number));
	return ntohs(number);
}

static void addresses(struct span ip, struct side *out)
{
	struct span value;
	uint16_t type;

	while (next_attribute(&ip, &type, &value)) {
		if (type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC)
			address(value, out->source);
		else if (type == CTA_IP_V4_DST || type == CTA_IP_V6_DST)
			address(value, out->destination);
	}
}

static void ports(struct span proto, struct side *out)
{
	struct span value;
	uint16_t type;

	while (next_attribute(&proto, &type, &value)) {
		if (type == CTA_PROTO_NUM && value.bytes == 1)
			out->l4 = value.at[0];
		else if (type == CTA_PROTO_SRC_PORT)
			out->source_port = port(value);
		else if (type == CTA_PROTO_DST_PORT)
			out->destination_port = port(value);
	}
}

static void side(struct span tuple, struct side *out)
{
	struct span value;
	uint16_t type;

	while (next_attribute(&tuple, &type, &value)) {
		if (type == CTA_TUPLE_IP)
			addresses(value, out);
		else if (type == CTA_TUPLE_PROTO)
			ports(value, out);
	}
}

static void learn(struct fs_engine *e, const struct side *original, const struct side *reply)
{
	struct fs_nat nat = {
		.client_port = original->source_port,
		.dialled_port = original->destination_port,
		.server_port = reply->source_port,
		.shown_port = reply->destination_port,
		.l4 = original->l4,
	};

	memcpy(nat.client, original->source, 16);
	memcpy(nat.dialled, original->destination, 16);
	memcpy(nat.server, reply->source, 16);
	memcpy(nat.shown, reply->destination, 16);
	fs_nat_learn(e, &nat);
}

void fs_engine_conntrack(struct fs_engine *e, const void *message, uint32_t bytes)
{
	const uint32_t heads = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg));
	struct side original = {.l4 = 0}, reply = {.l4 = 0};
	struct nlmsghdr head;
	struct span value;
	uint16_t type;

	if (bytes < heads)
		return;
	memcpy(&head, message, sizeof(head));
	if (head.nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) || head.nlmsg_len > bytes ||
	    head.nlmsg_len < heads)
		return;
	struct span rest = {(const uint8_t *)message + heads, head.nlmsg_len - heads};
	while (next_attribute(&rest, &type, &value)) {
		if (type == CTA_TUPLE_ORIG)
			side(value, &original);
		else if (type == CTA_TUPLE_REPLY)
			side(value, &reply);
	}
	if (original.l4 == reply.l4 && (original.l4 == FS_TCP || original.l4 == FS_UDP) && original.source_port &&
	    original.destination_port && reply.source_port && reply.destination_port)
		learn(e, &original, &reply);
}
