/* SPDX-License-Identifier: Apache-2.0 */
/* AMQP 0-9-1, sections 1.4 to 1.8 of its reference, and RabbitMQ's extensions (https://www.rabbitmq.com/docs/extensions). */
#include "amqp_methods.h"

#include "names.h"

/*
 * arguments, one letter each, in their order:
 *   s two bytes, l eight bytes, o one byte: not read     x short string that is not read
 *   n short string: exchange or queue                     k routing key: the queue's name where the exchange has none
 *   r reply code                                          0 to 7: bits, of which that one means no-wait
 */
/* clang-format off */
static const struct fs_amqp_method methods[] = {
	{60, 40, FS_AMQP_CLIENT, FS_AMQP_PUBLISHES, "basic.publish", "snk"},
	{60, 60, FS_AMQP_SERVER, FS_AMQP_DELIVERS, "basic.deliver", "xlonk"},
	{60, 80, FS_AMQP_EITHER, FS_AMQP_TELLS, "basic.ack", ""},
	{60, 70, FS_AMQP_CLIENT, FS_AMQP_ASKS, "basic.get", "sn"},
	{60, 71, FS_AMQP_SERVER, FS_AMQP_BRINGS, "basic.get-ok", ""},
	{60, 72, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "basic.get-empty", ""},
	{60, 10, FS_AMQP_CLIENT, FS_AMQP_ASKS, "basic.qos", ""},
	{60, 11, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "basic.qos-ok", ""},
	{60, 20, FS_AMQP_CLIENT, FS_AMQP_ASKS, "basic.consume", "snx3"},
	{60, 21, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "basic.consume-ok", ""},
	{60, 30, FS_AMQP_CLIENT, FS_AMQP_ASKS, "basic.cancel", "x0"},
	{60, 31, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "basic.cancel-ok", ""},
	{60, 50, FS_AMQP_SERVER, FS_AMQP_DELIVERS, "basic.return", "rxnk"},
	{60, 90, FS_AMQP_CLIENT, FS_AMQP_TELLS, "basic.reject", ""},
	{60, 100, FS_AMQP_CLIENT, FS_AMQP_TELLS, "basic.recover-async", ""},
	{60, 110, FS_AMQP_CLIENT, FS_AMQP_ASKS, "basic.recover", ""},
	{60, 111, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "basic.recover-ok", ""},
	{60, 120, FS_AMQP_EITHER, FS_AMQP_TELLS, "basic.nack", ""},
	{10, 10, FS_AMQP_SERVER, FS_AMQP_QUIET, "connection.start", ""},
	{10, 11, FS_AMQP_CLIENT, FS_AMQP_QUIET, "connection.start-ok", ""},
	{10, 20, FS_AMQP_SERVER, FS_AMQP_QUIET, "connection.secure", ""},
	{10, 21, FS_AMQP_CLIENT, FS_AMQP_QUIET, "connection.secure-ok", ""},
	{10, 30, FS_AMQP_SERVER, FS_AMQP_QUIET, "connection.tune", ""},
	{10, 31, FS_AMQP_CLIENT, FS_AMQP_QUIET, "connection.tune-ok", ""},
	{10, 40, FS_AMQP_CLIENT, FS_AMQP_ASKS, "connection.open", ""},
	{10, 41, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "connection.open-ok", ""},
	{10, 50, FS_AMQP_EITHER, FS_AMQP_CLOSES, "connection.close", "r"},
	{10, 51, FS_AMQP_EITHER, FS_AMQP_ANSWERS, "connection.close-ok", ""},
	{10, 60, FS_AMQP_SERVER, FS_AMQP_QUIET, "connection.blocked", ""},
	{10, 61, FS_AMQP_SERVER, FS_AMQP_QUIET, "connection.unblocked", ""},
	{10, 70, FS_AMQP_CLIENT, FS_AMQP_QUIET, "connection.update-secret", ""},
	{10, 71, FS_AMQP_SERVER, FS_AMQP_QUIET, "connection.update-secret-ok", ""},
	{20, 10, FS_AMQP_CLIENT, FS_AMQP_ASKS, "channel.open", ""},
	{20, 11, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "channel.open-ok", ""},
	{20, 20, FS_AMQP_EITHER, FS_AMQP_QUIET, "channel.flow", ""},
	{20, 21, FS_AMQP_EITHER, FS_AMQP_QUIET, "channel.flow-ok", ""},
	{20, 40, FS_AMQP_EITHER, FS_AMQP_CLOSES, "channel.close", "r"},
	{20, 41, FS_AMQP_EITHER, FS_AMQP_ANSWERS, "channel.close-ok", ""},
	{40, 10, FS_AMQP_CLIENT, FS_AMQP_ASKS, "exchange.declare", "snx4"},
	{40, 11, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "exchange.declare-ok", ""},
	{40, 20, FS_AMQP_CLIENT, FS_AMQP_ASKS, "exchange.delete", "sn1"},
	{40, 21, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "exchange.delete-ok", ""},
	{40, 30, FS_AMQP_CLIENT, FS_AMQP_ASKS, "exchange.bind", "snxx0"},
	{40, 31, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "exchange.bind-ok", ""},
	{40, 40, FS_AMQP_CLIENT, FS_AMQP_ASKS, "exchange.unbind", "snxx0"},
	{40, 51, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "exchange.unbind-ok", ""},
	{50, 10, FS_AMQP_CLIENT, FS_AMQP_ASKS, "queue.declare", "sn4"},
	{50, 11, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "queue.declare-ok", ""},
	{50, 20, FS_AMQP_CLIENT, FS_AMQP_ASKS, "queue.bind", "snxx0"},
	{50, 21, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "queue.bind-ok", ""},
	{50, 30, FS_AMQP_CLIENT, FS_AMQP_ASKS, "queue.purge", "sn0"},
	{50, 31, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "queue.purge-ok", ""},
	{50, 40, FS_AMQP_CLIENT, FS_AMQP_ASKS, "queue.delete", "sn2"},
	{50, 41, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "queue.delete-ok", ""},
	{50, 50, FS_AMQP_CLIENT, FS_AMQP_ASKS, "queue.unbind", "sn"},
	{50, 51, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "queue.unbind-ok", ""},
	{85, 10, FS_AMQP_CLIENT, FS_AMQP_ASKS, "confirm.select", "0"},
	{85, 11, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "confirm.select-ok", ""},
	{90, 10, FS_AMQP_CLIENT, FS_AMQP_ASKS, "tx.select", ""},
	{90, 11, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "tx.select-ok", ""},
	{90, 20, FS_AMQP_CLIENT, FS_AMQP_ASKS, "tx.commit", ""},
	{90, 21, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "tx.commit-ok", ""},
	{90, 30, FS_AMQP_CLIENT, FS_AMQP_ASKS, "tx.rollback", ""},
	{90, 31, FS_AMQP_SERVER, FS_AMQP_ANSWERS, "tx.rollback-ok", ""},
};
/* clang-format on */

const struct fs_amqp_method *fs_amqp_method(uint16_t class_id, uint16_t method_id)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (methods[i].class_id == class_id && methods[i].method_id == method_id)
			return &methods[i];
	return NULL;
}

static bool take_short_string(struct fs_cursor *bytes, struct fs_text *text)
{
	uint8_t length;
	return fs_u8(bytes, &length) && fs_take(bytes, length, text);
}

static void write_place(struct fs_text name, const struct fs_parser_options *options, struct fs_label *out)
{
	if (name.length == 0 || options->url_clustering == FS_CLUSTER_BLANK)
		return;
	fs_label_byte(out, ' ');
	fs_cluster_name(name, (enum fs_clustering)options->url_clustering, out);
}

/* False where an argument is not all here. */
static bool read_argument(char what, struct fs_cursor *bytes, const struct fs_parser_options *options,
			  struct fs_message *out, bool *named)
{
	struct fs_text text;
	uint8_t bits;
	switch (what) {
	case 's': return fs_skip(bytes, 2);
	case 'l': return fs_skip(bytes, 8);
	case 'o': return fs_skip(bytes, 1);
	case 'x': return take_short_string(bytes, &text);
	case 'r': return fs_u16be(bytes, &out->status);
	case 'n':
	case 'k':
		if (!take_short_string(bytes, &text))
			return false;
		if (what == 'n' || !*named)
			write_place(text, options, &out->content);
		*named = text.length > 0;
		return true;
	default:
		if (!fs_u8(bytes, &bits))
			return false;
		if (bits >> (what - '0') & 1)
			out->flags |= FS_MESSAGE_NO_ANSWER;
		return true;
	}
}

void fs_amqp_arguments(const struct fs_amqp_method *method, struct fs_cursor bytes,
		       const struct fs_parser_options *options, struct fs_message *out)
{
	bool named = false;
	fs_label_literal(&out->content, method->name);
	for (const char *what = method->arguments; *what; what++)
		if (!read_argument(*what, &bytes, options, out, &named))
			return;
}
