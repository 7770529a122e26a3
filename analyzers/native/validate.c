/* SPDX-License-Identifier: Apache-2.0 */
/* An event is believed only if it fits the contract: what a bug of a driver, or a broken file, may write. */
#include "state.h"

static bool is_tuple(const struct fs_tuple *t, uint8_t l4)
{
	return (l4 == 0 ? t->l4 == FS_TCP || t->l4 == FS_UDP : t->l4 == l4) && t->role <= FS_ROLE_SERVER &&
	       (t->family == 4 || t->family == 6);
}

/* `bytes` moved of which `captured` follow, in a place that has `room`. */
static bool is_payload(uint64_t bytes, uint32_t captured, uint32_t room, uint8_t direction, uint8_t reason)
{
	return captured <= bytes && captured == room && captured <= FS_PAYLOAD_MAX && direction <= FS_OUT &&
	       reason < FS_REASON_COUNT && bytes < 1ull << 40;
}

static bool is_text(const char comm[16])
{
	return memchr(comm, 0, 16) != NULL;
}

static bool is_open(const struct fs_open *event)
{
	return event->head.conn_id && is_tuple(&event->tuple, 0) && is_text(event->comm);
}

static bool is_data(const struct fs_data *event, uint32_t size)
{
	return event->head.conn_id && is_payload(event->bytes, event->captured, size - (uint32_t)sizeof(*event),
						 event->direction, event->reason);
}

static bool is_exchange(const struct fs_exchange *event, uint32_t size)
{
	uint32_t room = size - (uint32_t)sizeof(*event);
	return event->head.conn_id && event->first_captured <= room && event->first_bytes &&
	       is_payload(event->first_bytes, event->first_captured, event->first_captured, event->direction,
			  event->first_reason) &&
	       is_payload(event->second_bytes, event->second_captured, room - event->first_captured, event->direction,
			  event->second_reason);
}

static bool is_datagram(const struct fs_datagram *event, uint32_t size)
{
	return event->head.conn_id && is_tuple(&event->tuple, FS_UDP) &&
	       is_payload(event->bytes, event->captured, size - (uint32_t)sizeof(*event), event->direction,
			  event->reason);
}

bool fs_event_is_valid(const void *event, uint32_t size)
{
	static const uint32_t sizes[FS_EV_COUNT] = {
#define FS_EVENT_BYTES(number, name, suffix, help) [number] = sizeof(struct fs_##suffix),
		FS_EVENTS(FS_EVENT_BYTES)
#undef FS_EVENT_BYTES
	};
	const struct fs_head *head = event;

	if (size < sizeof(*head) || head->size != size || head->type >= FS_EV_COUNT || size < sizes[head->type] ||
	    sizes[head->type] == 0 || size > FS_EVENT_BYTES_MAX || head->time_ns >= 1ull << 62)
		return false;
	switch (head->type) {
	case FS_EV_DATA: return is_data(event, size);
	case FS_EV_EXCHANGE: return is_exchange(event, size);
	case FS_EV_DATAGRAM: return is_datagram(event, size);
	case FS_EV_OPEN: return is_open(event);
	case FS_EV_CLOSE: return head->conn_id != 0;
	case FS_EV_CONNECT:
		return is_tuple(&((const struct fs_connect *)event)->tuple, FS_TCP) &&
		       is_text(((const struct fs_connect *)event)->comm);
	case FS_EV_LISTEN:
		return is_tuple(&((const struct fs_listen *)event)->tuple, 0) &&
		       is_text(((const struct fs_listen *)event)->comm);
	case FS_EV_TROUBLE: return is_tuple(&((const struct fs_trouble *)event)->tuple, 0);
	default: return is_text(((const struct fs_process *)event)->comm);
	}
}
