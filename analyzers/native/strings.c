/* SPDX-License-Identifier: Apache-2.0 */
/* Interned contents: each text once in the shared table, as long as a row or a request refers to it. */
#include "state.h"

#define EMPTY 0
#define OTHER 1

uint32_t fs_new_generation(struct fs_engine *e)
{
	if (++e->table->generation == 0)
		e->table->generation = 1;
	return e->table->generation;
}

static uint32_t hash_text(const char *text, uint32_t length)
{
	return fs_hash_end(fs_mix_bytes(FS_HASH_SEED, text, length));
}

static uint32_t clipped(const struct fs_label *label)
{
	const uint32_t most = sizeof(((struct fs_string *)0)->text) - 1;
	return label->length < most ? label->length : most;
}

static void write_string(struct fs_engine *e, uint32_t index, const char *text, uint32_t length)
{
	struct fs_string *s = &e->table->strings[index];
	memcpy(s->text, text, length);
	s->text[length] = 0;
	s->length = (uint16_t)length;
	__atomic_store_n(&s->generation, fs_new_generation(e), __ATOMIC_RELEASE);
}

static bool is_whole(const struct fs_string *s)
{
	return s->length < sizeof(s->text) && !s->text[s->length];
}

/* One of the two that are always there. */
static void restore_fixed(struct fs_engine *e, uint32_t index, const char *text, uint32_t length)
{
	struct fs_string *s = &e->table->strings[index];

	if (s->generation && (s->length != length || memcmp(s->text, text, length + 1) != 0))
		fs_entry_damaged(e, &s->generation);
	if (!s->generation)
		write_string(e, index, text, length);
}

void fs_strings_restore(struct fs_engine *e)
{
	struct fs_string *strings = e->table->strings;

	restore_fixed(e, EMPTY, "", 0);
	restore_fixed(e, OTHER, "other", 5);
	e->strings.highest = OTHER;
	e->strings.used = 1;
	e->table->strings_used = 2;
	for (uint32_t i = FS_STRINGS - 1; e->table->starts && i > OTHER; i--) {
		struct fs_string *s = &strings[i];
		if (s->generation && !is_whole(s))
			fs_entry_damaged(e, &s->generation);
		if (s->generation) {
			if (e->strings.highest == OTHER)
				e->strings.highest = i;
			e->strings.used++;
			e->table->strings_used++;
			e->string_hash[i] = hash_text(s->text, s->length);
			fs_index_add(&e->by_string, e->string_hash[i], i);
		} else if (e->strings.highest > OTHER) {
			e->strings.used++;
			fs_pool_give(&e->strings, i);
		}
	}
}

uint32_t fs_string_find(struct fs_engine *e, const char *text, uint32_t length, uint32_t hash)
{
	uint32_t probe;
	for (uint32_t i = fs_index_first(&e->by_string, hash, &probe); i;
	     i = fs_index_next(&e->by_string, hash, &probe)) {
		const struct fs_string *s = &e->table->strings[i];
		if (s->length == length && memcmp(s->text, text, length) == 0)
			return i;
	}
	return 0;
}

void fs_string_keep(struct fs_engine *e, uint32_t string)
{
	e->string_refs[string]++;
}

void fs_string_release(struct fs_engine *e, uint32_t string)
{
	if (string <= OTHER || --e->string_refs[string])
		return;
	fs_index_remove(&e->by_string, e->string_hash[string], string);
	fs_entry_end(&e->table->strings[string].generation);
	fs_pool_give(&e->strings, string);
	e->table->strings_used--;
}

static uint32_t hold(struct fs_engine *e, uint32_t string)
{
	if (string > OTHER)
		e->string_refs[string]++;
	return string;
}

static bool is_string(const struct fs_engine *e, uint32_t string, const char *text, uint32_t length)
{
	const struct fs_string *s = &e->table->strings[string];
	return string > OTHER && s->length == length && memcmp(s->text, text, length) == 0;
}

static uint32_t intern(struct fs_engine *e, const char *text, uint32_t length, uint32_t hash)
{
	uint32_t index = fs_pool_take(&e->strings);
	if (!index) {
		e->table->stats.strings_overflow++;
		return OTHER;
	}
	e->string_refs[index] = 0;
	e->string_hash[index] = hash;
	e->table->strings_used++;
	write_string(e, index, text, length);
	fs_index_add(&e->by_string, hash, index);
	return index;
}

/* With one more reference, which fs_string_release gives back. `hint` is a string that it probably is. */
uint32_t fs_string_hold(struct fs_engine *e, const struct fs_label *label, uint32_t hint)
{
	uint32_t length = clipped(label);

	if (!length)
		return EMPTY;
	if (is_string(e, hint, label->text, length))
		return hold(e, hint);
	uint32_t hash = hash_text(label->text, length);
	uint32_t string = fs_string_find(e, label->text, length, hash);
	return hold(e, string ? string : intern(e, label->text, length, hash));
}

static uint32_t hash_content(const struct fs_content *of)
{
	uint64_t owner = (uint64_t)of->ident << 16 | (uint32_t)of->side << 8 | of->protocol;
	return fs_hash_end(fs_mix(fs_mix(FS_HASH_SEED, owner), of->string));
}

static uint32_t find_content(struct fs_engine *e, const struct fs_content *of)
{
	uint32_t hash = hash_content(of), probe;
	for (uint32_t i = fs_index_first(&e->by_content, hash, &probe); i;
	     i = fs_index_next(&e->by_content, hash, &probe)) {
		const struct fs_content *content = fs_pool_at(&e->contents, i);
		if (content->ident == of->ident && content->protocol == of->protocol && content->side == of->side &&
		    content->string == of->string)
			return i;
	}
	return 0;
}

static uint16_t *contents_of(struct fs_engine *e, const struct fs_content *of)
{
	return &e->contents_of[(of->ident * FS_PROTOCOL_MAX + of->protocol % FS_PROTOCOL_MAX) * 2 + of->side];
}

/* How many different contents an owner may have; 0: as many as there are. */
static uint32_t contents_limit(const struct fs_engine *e, uint8_t side)
{
	uint32_t limit = e->config.contents_per_workload;
	return limit && side == FS_SIDE_RESPONSE ? (uint32_t)fs_max(limit, FS_ANSWERS_AT_LEAST) : limit;
}

/* Whether an owner may have this content in a row: he has it already, or has not as many as he may. */
static bool may_have(struct fs_engine *e, const struct fs_content *of)
{
	uint32_t limit = contents_limit(e, of->side);
	return !limit || *contents_of(e, of) < limit || (of->string && find_content(e, of));
}

/* Who serves: his address and port, whichever end tells. */
static uint64_t service_of(const struct fs_connection *c)
{
	bool is_client = c->role == FS_ROLE_CLIENT;
	if (c->dialled_port)
		return fs_mix(fs_mix_bytes(FS_HASH_SEED, c->dialled, 16), c->dialled_port);
	uint64_t key = fs_mix_bytes(FS_HASH_SEED, is_client ? c->tuple.remote : c->tuple.local, 16);
	return fs_mix(key, is_client ? c->tuple.remote_port : c->tuple.local_port);
}

static bool is_path(uint8_t protocol, const struct fs_label *label)
{
	return label->text[0] == '/' && (protocol == FS_PROTOCOL_HTTP || protocol == FS_PROTOCOL_HTTP2);
}

/* The same for a request's content, of which every owner has a limited number: then "other". */
uint32_t fs_string_hold_content(struct fs_engine *e, struct fs_connection *c, uint8_t protocol,
				const struct fs_label *label, uint32_t hint)
{
	FS_UNSET struct fs_label learned;

	if (e->config.url_clustering == FS_CLUSTER_LEARN && is_path(protocol, label)) {
		fs_learn_path(&e->learn, service_of(c), e->now_ns, label, &learned);
		label = &learned;
	}
	uint32_t length = clipped(label);
	if (!length)
		return EMPTY;
	if (is_string(e, hint, label->text, length))
		return hold(e, hint);
	uint32_t hash = hash_text(label->text, length);
	uint32_t string = fs_string_find(e, label->text, length, hash);
	struct fs_content asked = {.ident = c->ident, .string = string, .protocol = protocol, .side = FS_SIDE_REQUEST};
	if (!may_have(e, &asked)) {
		e->table->stats.contents_overflow++;
		return OTHER;
	}
	return hold(e, string ? string : intern(e, label->text, length, hash));
}

/* One more row with this content. 0 if its owner may not have it. */
static uint32_t take_content(struct fs_engine *e, struct fs_content of)
{
	uint32_t index = find_content(e, &of), limit = contents_limit(e, of.side);

	if (!index && limit && *contents_of(e, &of) >= limit)
		return 0;
	if (!index) {
		index = fs_pool_take(&e->contents);
		if (!index)
			return 0;
		struct fs_content *content = fs_pool_at(&e->contents, index);
		of.hash = hash_content(&of);
		*content = of;
		fs_index_add(&e->by_content, content->hash, index);
		++*contents_of(e, content);
	}
	((struct fs_content *)fs_pool_at(&e->contents, index))->rows++;
	return index;
}

/* Of a row, the numbers of its contents, by side. False if its owner may not have one of them: that one is 0. */
bool fs_contents_take(struct fs_engine *e, const struct fs_row *row, uint32_t *contents)
{
	const uint32_t strings[2] = {row->request_content, row->response_content};
	bool has_all = true;

	for (uint8_t side = FS_SIDE_REQUEST; side <= FS_SIDE_RESPONSE; side++) {
		struct fs_content of = {
			.ident = row->ident, .string = strings[side], .protocol = row->protocol, .side = side};
		contents[side] = strings[side] > OTHER ? take_content(e, of) : 0;
		has_all &= strings[side] <= OTHER || contents[side];
	}
	return has_all;
}

/* The same for a row that is to be: what its owner may not have becomes "other", a response's without a status. */
bool fs_contents_admit(struct fs_engine *e, struct fs_row *row, uint32_t *contents)
{
	if (fs_contents_take(e, row, contents))
		return true;
	if (!contents[FS_SIDE_REQUEST] && row->request_content)
		row->request_content = OTHER;
	if (!contents[FS_SIDE_RESPONSE] && row->response_content) {
		row->response_content = OTHER;
		row->status = 0;
	}
	e->table->stats.contents_overflow++;
	return false;
}

static void content_gone(struct fs_engine *e, uint32_t index)
{
	struct fs_content *content = fs_pool_at(&e->contents, index);

	if (!index || --content->rows)
		return;
	fs_index_remove(&e->by_content, content->hash, index);
	--*contents_of(e, content);
	fs_pool_give(&e->contents, index);
}

void fs_contents_gone(struct fs_engine *e, const uint32_t *contents)
{
	content_gone(e, contents[FS_SIDE_REQUEST]);
	content_gone(e, contents[FS_SIDE_RESPONSE]);
}
