/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RESP: redis.io/docs/latest/develop/reference/protocol-spec, and github.com/redis/redis-specifications (RESP3).
 *
 *   + - : , ( # _     one line
 *   $ = !             a length, so many bytes, CRLF; "$-1" is null, "$?" is followed by chunks ";4\r\nabcd\r\n" to ";0"
 *   * ~ >             a count, so many values; "*-1" is null, "*?" is followed by values until "."
 *   % |               a count, twice as many values; | is no value itself but comes before one
 */
#include "resp.h"

#define COUNT_MAX 0x7fffffff
#define LENGTH_MAX (1ll << 40)

enum fs_resp fs_resp_line(struct fs_cursor *bytes, uint32_t limit, struct fs_text *line)
{
	struct fs_cursor inside;
	struct fs_text taken;
	if (!fs_take_until(bytes, '\n', limit, &taken))
		return fs_left(bytes) < limit ? FS_RESP_MORE : FS_RESP_INVALID;
	inside = fs_inside(taken);
	if (taken.length < 2 || fs_peek(&inside, taken.length - 1) != '\r')
		return FS_RESP_INVALID;
	return fs_take(&inside, taken.length - 1, line) ? FS_RESP_DONE : FS_RESP_INVALID;
}

bool fs_resp_count(struct fs_text line, int64_t *count)
{
	struct fs_cursor inside = fs_inside(line);
	struct fs_text digits;
	uint64_t value;
	if (!fs_skip(&inside, 1))
		return false;
	if (fs_left(&inside) == 2 && fs_accept(&inside, "-1")) {
		*count = -1;
		return true;
	}
	if (!fs_take(&inside, (uint32_t)fs_left(&inside), &digits) || !fs_decimal(digits, &value) || value > LENGTH_MAX)
		return false;
	*count = (int64_t)value;
	return true;
}

enum fs_resp fs_resp_string(struct fs_cursor *bytes, uint32_t limit, struct fs_text *text, uint64_t *passed)
{
	struct fs_cursor ahead = *bytes;
	struct fs_text line;
	int64_t length;
	enum fs_resp answer = fs_resp_line(&ahead, FS_RESP_NUMBER_MAX, &line);
	if (answer != FS_RESP_DONE)
		return fs_left(bytes) && fs_peek(bytes, 0) != '$' ? FS_RESP_INVALID : answer;
	if (fs_peek(bytes, 0) != '$' || !fs_resp_count(line, &length) || length < 0)
		return FS_RESP_INVALID;
	*passed += line.length + 2u + (uint64_t)length + 2u;
	text->length = 0;
	if (length > limit) {
		*bytes = ahead;
		if (!fs_skip(bytes, (uint64_t)length + 2))
			fs_skip(bytes, fs_left(bytes));
		return FS_RESP_DONE;
	}
	if (fs_left(&ahead) < (uint64_t)length + 2)
		return FS_RESP_MORE;
	fs_take(&ahead, (uint32_t)length, text);
	if (!fs_accept(&ahead, "\r\n"))
		return FS_RESP_INVALID;
	*bytes = ahead;
	return FS_RESP_DONE;
}

static bool add_due(struct fs_resp_walk *walk, uint64_t count)
{
	if (count > COUNT_MAX || walk->due > COUNT_MAX)
		return false;
	walk->due += (uint32_t)count;
	return true;
}

/* A streamed aggregate takes the place of one value; its own come until a mark. */
static bool open_stream(struct fs_resp_walk *walk)
{
	if (walk->streams == FS_RESP_STREAMS)
		return false;
	walk->outer[walk->streams++] = walk->due - 1;
	walk->due = 0;
	return true;
}

/* "." where a value of the innermost streamed aggregate could come. */
static bool close_stream(struct fs_resp_walk *walk)
{
	if (walk->due || !walk->streams)
		return false;
	walk->due = walk->outer[--walk->streams];
	return true;
}

static bool is_streamed(struct fs_text line)
{
	struct fs_cursor inside = fs_inside(line);
	return line.length == 2 && fs_peek(&inside, 1) == '?';
}

/* A string: its bytes and CRLF are passed over, here or not. */
static bool pass_string(struct fs_resp_walk *walk, struct fs_text line, uint64_t *extra)
{
	int64_t length;
	if (is_streamed(line)) {
		walk->in_string = true;
		return true;
	}
	if (!fs_resp_count(line, &length))
		return false;
	*extra = length < 0 ? 0 : (uint64_t)length + 2;
	walk->due--;
	return true;
}

static bool pass_chunk(struct fs_resp_walk *walk, struct fs_text line, uint64_t *extra)
{
	int64_t length;
	if (!fs_resp_count(line, &length) || length < 0)
		return false;
	if (length == 0) {
		walk->in_string = false;
		walk->due--;
	}
	*extra = length ? (uint64_t)length + 2 : 0;
	return true;
}

static bool pass_aggregate(struct fs_resp_walk *walk, int type, struct fs_text line)
{
	bool is_map = type == '%' || type == '|';
	int64_t count;
	if (is_streamed(line))
		return type != '|' && open_stream(walk);
	if (!fs_resp_count(line, &count) || (count < 0 && type != '*'))
		return false;
	if (type != '|')
		walk->due--;
	return count <= 0 || add_due(walk, (uint64_t)count << is_map);
}

/* One line and what it declares. `extra` bytes follow it. */
static bool pass_value(struct fs_resp_walk *walk, int type, struct fs_text line, uint64_t *extra)
{
	if (walk->in_string)
		return type == ';' && pass_chunk(walk, line, extra);
	if (type == '.')
		return line.length == 1 && close_stream(walk);
	if (walk->due == 0)
		walk->due = 1; /* one more value of a streamed aggregate */
	switch (type) {
	case '$':
	case '=':
	case '!': return pass_string(walk, line, extra);
	case '*':
	case '~':
	case '>':
	case '%':
	case '|': return pass_aggregate(walk, type, line);
	case '+':
	case '-':
	case ':':
	case ',':
	case '(':
	case '#':
	case '_': walk->due--; return true;
	default: return false;
	}
}

/* Types whose line is a number are short: what is longer is something else. */
static uint32_t line_limit(int type)
{
	return type == '+' || type == '-' || type == '(' ? FS_RESP_LINE_MAX : FS_RESP_NUMBER_MAX;
}

enum fs_resp fs_resp_walk(struct fs_cursor bytes, struct fs_resp_walk *walk, uint64_t *passed)
{
	while (walk->due || walk->streams) {
		struct fs_text line;
		uint64_t extra = 0;
		int type = fs_peek(&bytes, 0);
		if (type < 0)
			return FS_RESP_MORE;
		enum fs_resp answer = fs_resp_line(&bytes, line_limit(type), &line);
		if (answer != FS_RESP_DONE)
			return answer;
		if (!pass_value(walk, type, line, &extra))
			return FS_RESP_INVALID;
		*passed += line.length + 2u + extra;
		if (!fs_skip(&bytes, extra))
			return walk->due || walk->streams ? FS_RESP_MORE : FS_RESP_DONE;
	}
	return FS_RESP_DONE;
}
