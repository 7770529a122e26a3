/* SPDX-License-Identifier: Apache-2.0 */
/* The words that sql.c knows: what a statement starts with, what it may be about, what stands before a table's name. */
#ifndef FIRESTEEL_SQL_WORDS_H
#define FIRESTEEL_SQL_WORDS_H

enum shape {
	BARE, /* COMMIT */
	REST, /* SET * */
	FROM, /* what stands after FROM */
	TARGET, /* what stands after modifiers */
	COPY, /* the same, or in parentheses what stands after FROM */
	OBJECT, /* a kind of object comes first */
	WITH, /* a list of queries comes first */
	EXPLAIN, /* a statement follows */
	LOAD /* what stands after INTO TABLE */
};

struct verb {
	const char *word, *shown;
	enum shape shape;
};

/* Those that may follow WITH and EXPLAIN come first, then the frequent ones. */
static const struct verb verbs[] = {
	{"select", "SELECT", FROM},
	{"insert", "INSERT", TARGET},
	{"update", "UPDATE", TARGET},
	{"delete", "DELETE", FROM},
	{"replace", "REPLACE", TARGET},
	{"merge", "MERGE", TARGET},
	{"begin", "BEGIN", BARE},
	{"commit", "COMMIT", BARE},
	{"set", "SET", REST},
	{"rollback", "ROLLBACK", BARE},
	{"end", "END", BARE},
	{"with", "WITH", WITH},
	{"show", "SHOW", REST},
	{"start", "START", OBJECT},
	{"call", "CALL", TARGET},
	{"copy", "COPY", COPY},
	{"explain", "EXPLAIN", EXPLAIN},
	{"describe", "DESCRIBE", EXPLAIN},
	{"desc", "DESCRIBE", EXPLAIN},
	{"use", "USE", REST},
	{"create", "CREATE", OBJECT},
	{"drop", "DROP", OBJECT},
	{"alter", "ALTER", OBJECT},
	{"truncate", "TRUNCATE TABLE", TARGET},
	{"rename", "RENAME", OBJECT},
	{"abort", "ABORT", BARE},
	{"analyze", "ANALYZE", TARGET},
	{"cache", "CACHE", REST},
	{"change", "CHANGE", REST},
	{"check", "CHECK TABLE", TARGET},
	{"checkpoint", "CHECKPOINT", BARE},
	{"checksum", "CHECKSUM TABLE", TARGET},
	{"close", "CLOSE", REST},
	{"cluster", "CLUSTER", TARGET},
	{"comment", "COMMENT", REST},
	{"deallocate", "DEALLOCATE", REST},
	{"declare", "DECLARE", FROM},
	{"discard", "DISCARD", REST},
	{"do", "DO", REST},
	{"execute", "EXECUTE", REST},
	{"fetch", "FETCH", REST},
	{"flush", "FLUSH", REST},
	{"grant", "GRANT", REST},
	{"handler", "HANDLER", TARGET},
	{"import", "IMPORT", REST},
	{"install", "INSTALL", REST},
	{"kill", "KILL", REST},
	{"listen", "LISTEN", REST},
	{"load", "LOAD", LOAD},
	{"lock", "LOCK TABLE", TARGET},
	{"move", "MOVE", REST},
	{"notify", "NOTIFY", REST},
	{"optimize", "OPTIMIZE TABLE", TARGET},
	{"prepare", "PREPARE", REST},
	{"purge", "PURGE", REST},
	{"reassign", "REASSIGN", REST},
	{"refresh", "REFRESH", OBJECT},
	{"reindex", "REINDEX", OBJECT},
	{"release", "RELEASE", BARE},
	{"repair", "REPAIR TABLE", TARGET},
	{"reset", "RESET", REST},
	{"resignal", "RESIGNAL", REST},
	{"revoke", "REVOKE", REST},
	{"savepoint", "SAVEPOINT", BARE},
	{"security", "SECURITY", REST},
	{"shutdown", "SHUTDOWN", BARE},
	{"signal", "SIGNAL", REST},
	{"stop", "STOP", REST},
	{"table", "TABLE", TARGET},
	{"uninstall", "UNINSTALL", REST},
	{"unlisten", "UNLISTEN", REST},
	{"unlock", "UNLOCK TABLES", BARE},
	{"vacuum", "VACUUM", TARGET},
	{"values", "VALUES", REST},
	{"xa", "XA", REST},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))
#define QUERIES 6

/* What CREATE, DROP and ALTER are about; names of others than these are not shown. */
enum naming { NAMELESS, NAMED, NAMED_AFTER_ON, NOTHING_FOLLOWS };
static const struct {
	const char *word, *shown;
	enum naming naming;
} objects[] = {
	{"table", "TABLE", NAMED},
	{"tables", "TABLE", NAMED},
	{"index", "INDEX", NAMED_AFTER_ON},
	{"view", "VIEW", NAMED},
	{"sequence", "SEQUENCE", NAMED},
	{"trigger", "TRIGGER", NAMED_AFTER_ON},
	{"policy", "POLICY", NAMED_AFTER_ON},
	{"rule", "RULE", NAMED_AFTER_ON},
	{"transaction", "TRANSACTION", NOTHING_FOLLOWS},
	{"aggregate", "AGGREGATE", NAMELESS},
	{"collation", "COLLATION", NAMELESS},
	{"database", "DATABASE", NAMELESS},
	{"domain", "DOMAIN", NAMELESS},
	{"event", "EVENT", NAMELESS},
	{"extension", "EXTENSION", NAMELESS},
	{"function", "FUNCTION", NAMELESS},
	{"group", "GROUP", NAMELESS},
	{"instance", "INSTANCE", NAMELESS},
	{"operator", "OPERATOR", NAMELESS},
	{"package", "PACKAGE", NAMELESS},
	{"procedure", "PROCEDURE", NAMELESS},
	{"publication", "PUBLICATION", NAMELESS},
	{"role", "ROLE", NAMELESS},
	{"schema", "SCHEMA", NAMELESS},
	{"server", "SERVER", NAMELESS},
	{"statistics", "STATISTICS", NAMELESS},
	{"subscription", "SUBSCRIPTION", NAMELESS},
	{"system", "SYSTEM", NAMELESS},
	{"tablespace", "TABLESPACE", NAMELESS},
	{"type", "TYPE", NAMELESS},
	{"user", "USER", NAMELESS},
};

/* Words that may stand in front of a table's name and are none themselves. */
static const char *const modifiers[] = {"into",	   "only",   "ignore",	 "low_priority", "high_priority",
					"delayed", "quick",  "if",	 "not",		 "exists",
					"from",	   "table",  "tables",	 "concurrently", "lateral",
					"full",	   "freeze", "verbose",	 "local",	 "no_write_to_binlog",
					"analyze", "nowait", "overwrite"};

#endif
