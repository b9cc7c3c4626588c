/* SPDX-License-Identifier: MIT */
/*
 * The account store: one table in one SQLite file. Runs in auth and administrator's commands, which read it,
 * and in `restante user`, which changes it, all at once. Rollback journal, every change durable.
 */
#include "acct/acct.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	SCHEMA = 2,     /* PRAGMA user_version */
	BUSY_MS = 2000, /* how long somebody else's change is waited for */
};

#define SCHEMA_SQL                                                                                           \
	"CREATE TABLE account ("                                                                             \
	"name TEXT PRIMARY KEY COLLATE NOCASE, "                                                             \
	"hash TEXT NOT NULL, "                                                                               \
	"location TEXT NOT NULL DEFAULT '', "                                                                \
	"disabled INTEGER NOT NULL DEFAULT 0, "                                                              \
	"quota_octets INTEGER, "                                                                             \
	"quota_messages INTEGER"                                                                             \
	") WITHOUT ROWID; "                                                                                  \
	"PRAGMA user_version = 2"

#define FROM_1_SQL                                                                                           \
	"ALTER TABLE account ADD COLUMN quota_octets INTEGER; "                                              \
	"ALTER TABLE account ADD COLUMN quota_messages INTEGER; "                                            \
	"PRAGMA user_version = 2"

#define COLUMNS "name, hash, location, disabled, quota_octets, quota_messages"

enum statement { FIND, LIST, ADD, SET_HASH, SET_DISABLED, SET_QUOTA, DEL, DATA_VERSION, STATEMENTS };
static const char *const statement_sql[STATEMENTS] = {
    [FIND] = "SELECT " COLUMNS " FROM account WHERE name = ?1",
    [LIST] = "SELECT " COLUMNS " FROM account ORDER BY name",
    [ADD] = "INSERT INTO account (name, hash, location) VALUES (?1, ?2, ?3)",
    [SET_HASH] = "UPDATE account SET hash = ?2 WHERE name = ?1",
    [SET_DISABLED] = "UPDATE account SET disabled = ?2 WHERE name = ?1",
    [SET_QUOTA] = "UPDATE account SET quota_octets = ?2, quota_messages = ?3 WHERE name = ?1",
    [DEL] = "DELETE FROM account WHERE name = ?1",
    [DATA_VERSION] = "PRAGMA data_version",
};

struct acct {
	sqlite3 *db;
	char *path;
	enum acct_mode reopen_mode;
	sqlite3_stmt *statements[STATEMENTS];
	uint64_t version; /* grows with every change noticed */
	int64_t data_version;
	bool settled;      /* `seen` proves that nothing was changed */
	bool rollback;     /* the journal mode is one that writes changes into the file itself */
	struct statx seen; /* the file when data_version was last asked for */
};

static int err_from_sqlite(sqlite3 *db, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return ERR_NONE;
	case SQLITE_NOMEM:
		return ERR_NOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ERR_BUSY;
	case SQLITE_READONLY:
		return ERR_READONLY;
	case SQLITE_FULL:
		return ERR_NOSPACE;
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
		return ERR_CORRUPT;
	case SQLITE_CONSTRAINT:
		return ERR_EXISTS;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return ERR_DENIED;
	case SQLITE_CANTOPEN: {
		int errnum = db ? sqlite3_system_errno(db) : 0;
		return errnum ? err_from_errno(errnum) : ERR_IO;
	}
	default:
		return ERR_IO;
	}
}

/* --- opening --- */

/* The number a one-valued query gives. */
static int query_number(sqlite3 *db, const char *sql, int64_t *ret)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(statement, 0);
	(void)sqlite3_finalize(statement);
	return rc == SQLITE_ROW ? ERR_NONE : rc == SQLITE_DONE ? ERR_CORRUPT : err_from_sqlite(db, rc);
}

/* Makes the table, only in an empty file (somebody else's tables stay alone), or brings it up to date. */
static int make_schema(sqlite3 *db, bool create)
{
	int64_t version = 0, tables = 0;
	const char *sql = NULL;
	int err = err_from_sqlite(db, sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
	if (err)
		return err;
	err = query_number(db, "PRAGMA user_version", &version);
	if (!err)
		err = query_number(db, "SELECT count(*) FROM sqlite_schema", &tables);
	if (version == 0 && tables == 0 && create)
		sql = SCHEMA_SQL;
	else if (version == 1)
		sql = FROM_1_SQL;
	if (!err && sql)
		err = err_from_sqlite(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
	if (!err)
		err = err_from_sqlite(db, sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
	if (err)
		(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return err;
}

static int check_schema(sqlite3 *db, const char *path, enum acct_mode mode, struct error *error)
{
	int64_t version = 0;
	int err = query_number(db, "PRAGMA user_version", &version);
	if (!err && version < SCHEMA && mode != ACCT_READ) {
		err = make_schema(db, mode == ACCT_CREATE);
		if (!err)
			err = query_number(db, "PRAGMA user_version", &version);
	}
	if (err)
		error_set(error, "accounts file %s: %s", path, sqlite3_errmsg(db));
	else if (version == SCHEMA)
		return ERR_NONE;
	else if (version > SCHEMA)
		error_set(error, "accounts file %s: made by a newer version of Restante (schema %lld)", path,
		          (long long)version);
	else if (version == 1)
		error_set(error,
		          "accounts file %s: made by an older version of Restante; start restanted to bring "
		          "it up to date",
		          path);
	else
		error_set(error, "accounts file %s: holds no accounts; `restante user add` makes one", path);
	return err ? err : ERR_CORRUPT;
}

static int prepare_statements(struct acct *acct, struct error *error)
{
	for (unsigned i = 0; i < STATEMENTS; i++) {
		int rc = sqlite3_prepare_v3(acct->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
		                            &acct->statements[i], NULL);
		if (rc != SQLITE_OK) {
			error_set(error, "accounts file %s: %s", acct->path, sqlite3_errmsg(acct->db));
			return (rc & 0xff) == SQLITE_ERROR ? ERR_CORRUPT : err_from_sqlite(acct->db, rc);
		}
	}
	return ERR_NONE;
}

static void close_db(struct acct *acct)
{
	for (unsigned i = 0; i < STATEMENTS; i++) {
		(void)sqlite3_finalize(acct->statements[i]);
		acct->statements[i] = NULL;
	}
	(void)sqlite3_close(acct->db);
	acct->db = NULL;
}

/* SQLite would make the file by the umask. */
static int make_file(const char *path, struct error *error)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return ERR_NONE;
	if (fd < 0) {
		int err = err_from_errno(errno);
		error_set(error, "accounts file %s: cannot be made: %s", path, strerror(errno));
		return err;
	}
	(void)close(fd);
	return ERR_NONE;
}

static int open_db(struct acct *acct, enum acct_mode mode, struct error *error)
{
	int access = mode == ACCT_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	int err = mode == ACCT_CREATE ? make_file(acct->path, error) : ERR_NONE;
	if (err)
		return err;
	int rc = sqlite3_open_v2(acct->path, &acct->db, access | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
	                         NULL);
	if (rc != SQLITE_OK) {
		err = err_from_sqlite(acct->db, rc);
		error_set(error, "accounts file %s: %s", acct->path,
		          err == ERR_NOTFOUND ? "does not exist; `restante user add` makes it"
		                              : err_text(err));
		close_db(acct);
		return err;
	}
	(void)sqlite3_busy_timeout(acct->db, BUSY_MS);
	rc =
	    sqlite3_exec(acct->db, "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY", NULL, NULL, NULL);
	err = err_from_sqlite(acct->db, rc);
	if (err)
		error_set(error, "accounts file %s: %s", acct->path, sqlite3_errmsg(acct->db));
	if (!err)
		err = check_schema(acct->db, acct->path, mode, error);
	if (!err)
		err = prepare_statements(acct, error);
	if (err)
		close_db(acct);
	return err;
}

int acct_open(const char *path, enum acct_mode mode, struct acct **ret, struct error *error)
{
	struct acct *acct = calloc(1, sizeof *acct);
	if (acct) {
		acct->path = strdup(path);
		acct->reopen_mode = mode == ACCT_READ ? ACCT_READ : ACCT_CHANGE;
	}
	int err = acct && acct->path ? open_db(acct, mode, error) : ERR_NOMEM;
	if (err) {
		if (err == ERR_NOMEM)
			error_set(error, "accounts file %s: no memory", path);
		acct_close(acct);
		return err;
	}
	*ret = acct;
	return ERR_NONE;
}

void acct_close(struct acct *acct)
{
	if (!acct)
		return;
	close_db(acct);
	free(acct->path);
	free(acct);
}

/* --- noticing changes --- */

static int look(const char *path, struct statx *ret)
{
	return statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, ret) == 0 ? ERR_NONE : err_from_errno(errno);
}

static bool same_file(const struct statx *a, const struct statx *b)
{
	return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major &&
	       a->stx_dev_minor == b->stx_dev_minor;
}

static bool same_time(struct statx_timestamp a, struct statx_timestamp b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool unchanged(const struct statx *a, const struct statx *b)
{
	return same_file(a, b) && a->stx_size == b->stx_size && same_time(a->stx_mtime, b->stx_mtime) &&
	       same_time(a->stx_ctime, b->stx_ctime);
}

/* Two changes may carry the same time stamp, as stamps are as coarse as the kernel's tick. A stamp that was a
 * second old when it was seen belongs to no later change. */
static bool is_settled(const struct statx *seen)
{
	struct timespec now;
	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return false;
	return now.tv_sec - seen->stx_mtime.tv_sec > 1;
}

/* In WAL mode, should somebody choose it, changes go to another file first: its time says nothing. */
static bool is_rollback(sqlite3 *db)
{
	sqlite3_stmt *statement = NULL;
	bool rollback = false;
	if (sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW) {
		const char *mode = (const char *)sqlite3_column_text(statement, 0);
		rollback = mode && strcmp(mode, "wal") != 0;
	}
	(void)sqlite3_finalize(statement);
	return rollback;
}

/* Our own changes do not show in it; they count themselves. */
static int ask_data_version(struct acct *acct, int64_t *ret)
{
	sqlite3_stmt *statement = acct->statements[DATA_VERSION];
	int rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(statement, 0);
	(void)sqlite3_reset(statement);
	return rc == SQLITE_ROW ? ERR_NONE : err_from_sqlite(acct->db, rc);
}

static int reopen(struct acct *acct)
{
	close_db(acct);
	int err = open_db(acct, acct->reopen_mode, NULL);
	acct->version++;
	acct->data_version = 0;
	return err;
}

int acct_version(struct acct *acct, uint64_t *ret_version)
{
	struct statx now;
	int64_t data_version = 0;
	int err = look(acct->path, &now);
	if (err)
		return err;
	if (acct->db && acct->settled && unchanged(&now, &acct->seen)) {
		*ret_version = acct->version;
		return ERR_NONE;
	}
	acct->settled = false;
	if (!acct->db || (acct->seen.stx_ino && !same_file(&now, &acct->seen)))
		err = reopen(acct);
	/* The file was looked at before this question: a change in between shows next time. */
	if (!err)
		err = ask_data_version(acct, &data_version);
	if (err)
		return err;
	if (data_version != acct->data_version) {
		acct->version++;
		acct->data_version = data_version;
		acct->rollback = is_rollback(acct->db);
	}
	acct->seen = now;
	acct->settled = acct->rollback && is_settled(&now);
	*ret_version = acct->version;
	return ERR_NONE;
}

/* --- rows --- */

static bool column(sqlite3_stmt *statement, int index, char *to, size_t size)
{
	const char *text = (const char *)sqlite3_column_text(statement, index);
	return text && span_to_text(span_of(text, (size_t)sqlite3_column_bytes(statement, index)), to, size);
}

static uint64_t column_quota(sqlite3_stmt *statement, int index)
{
	int64_t value = sqlite3_column_int64(statement, index);
	return sqlite3_column_type(statement, index) == SQLITE_NULL || value < 0 ? ACCT_QUOTA_DEFAULT
	                                                                         : (uint64_t)value;
}

static int read_row(sqlite3_stmt *statement, struct acct_row *ret)
{
	if (!column(statement, 0, ret->name, sizeof ret->name) ||
	    !column(statement, 1, ret->hash, sizeof ret->hash) ||
	    !column(statement, 2, ret->location, sizeof ret->location))
		return ERR_CORRUPT;
	ret->disabled = sqlite3_column_int(statement, 3) != 0;
	ret->quota_octets = column_quota(statement, 4);
	ret->quota_messages = column_quota(statement, 5);
	return ERR_NONE;
}

static void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
	(void)sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

/* The statement with this name bound, as every statement but two takes it. */
static int begin(struct acct *acct, enum statement which, const char *name, sqlite3_stmt **ret)
{
	if (!acct->db) {
		int err = reopen(acct); /* the file was replaced by one that could not be read */
		if (err)
			return err;
	}
	*ret = acct->statements[which];
	bind_text(*ret, 1, name);
	return ERR_NONE;
}

/* What was bound may be gone when the statement is used again. */
static void end(sqlite3_stmt *statement)
{
	(void)sqlite3_reset(statement);
	(void)sqlite3_clear_bindings(statement);
}

/* Runs a change of one account. */
static int change(struct acct *acct, sqlite3_stmt *statement)
{
	int rc = sqlite3_step(statement);
	int err = err_from_sqlite(acct->db, rc);
	if (!err && sqlite3_changes(acct->db) == 0)
		err = ERR_NOTFOUND;
	if (!err)
		acct->version++;
	end(statement);
	return err;
}

int acct_find(struct acct *acct, struct span name, struct acct_row *ret)
{
	char folded[ACCT_NAME_MAX + 1];
	sqlite3_stmt *statement;
	int err = acct_name_fold(name, folded);
	if (err)
		return err == ERR_SYNTAX ? ERR_NOTFOUND : err;
	err = begin(acct, FIND, folded, &statement);
	if (err)
		return err;
	int rc = sqlite3_step(statement);
	err = rc == SQLITE_ROW    ? read_row(statement, ret)
	      : rc == SQLITE_DONE ? ERR_NOTFOUND
	                          : err_from_sqlite(acct->db, rc);
	end(statement);
	return err;
}

int acct_add(struct acct *acct, struct span name, const char *hash, const char *location)
{
	char prepared[ACCT_NAME_MAX + 1];
	sqlite3_stmt *statement;
	int err = acct_name_prepare(name, prepared);
	if (err)
		return err;
	if (strlen(hash) >= ACCT_HASH_MAX || strlen(location) >= ACCT_LOCATION_MAX)
		return ERR_SYNTAX;
	if (location[0] && acct_location_check(location))
		return ERR_SYNTAX;
	err = begin(acct, ADD, prepared, &statement);
	if (err)
		return err;
	bind_text(statement, 2, hash);
	bind_text(statement, 3, location);
	return change(acct, statement);
}

/* A change of an account that has to be there. */
static int begin_change(struct acct *acct, enum statement which, struct span name,
                        char folded[ACCT_NAME_MAX + 1], sqlite3_stmt **ret)
{
	int err = acct_name_fold(name, folded);
	if (err)
		return err == ERR_SYNTAX ? ERR_NOTFOUND : err;
	return begin(acct, which, folded, ret);
}

int acct_set_hash(struct acct *acct, struct span name, const char *hash)
{
	char folded[ACCT_NAME_MAX + 1];
	sqlite3_stmt *statement;
	if (strlen(hash) >= ACCT_HASH_MAX)
		return ERR_SYNTAX;
	int err = begin_change(acct, SET_HASH, name, folded, &statement);
	if (err)
		return err;
	bind_text(statement, 2, hash);
	return change(acct, statement);
}

int acct_set_disabled(struct acct *acct, struct span name, bool disabled)
{
	char folded[ACCT_NAME_MAX + 1];
	sqlite3_stmt *statement;
	int err = begin_change(acct, SET_DISABLED, name, folded, &statement);
	if (err)
		return err;
	(void)sqlite3_bind_int(statement, 2, disabled);
	return change(acct, statement);
}

static void bind_quota(sqlite3_stmt *statement, int index, uint64_t limit)
{
	if (limit == ACCT_QUOTA_DEFAULT)
		(void)sqlite3_bind_null(statement, index);
	else
		(void)sqlite3_bind_int64(statement, index, (int64_t)limit);
}

int acct_set_quota(struct acct *acct, struct span name, uint64_t octets, uint64_t messages)
{
	char folded[ACCT_NAME_MAX + 1];
	sqlite3_stmt *statement;
	if ((octets > ACCT_QUOTA_MAX && octets != ACCT_QUOTA_DEFAULT) ||
	    (messages > ACCT_QUOTA_MAX && messages != ACCT_QUOTA_DEFAULT))
		return ERR_RANGE;
	int err = begin_change(acct, SET_QUOTA, name, folded, &statement);
	if (err)
		return err;
	bind_quota(statement, 2, octets);
	bind_quota(statement, 3, messages);
	return change(acct, statement);
}

int acct_del(struct acct *acct, struct span name)
{
	char folded[ACCT_NAME_MAX + 1];
	sqlite3_stmt *statement;
	int err = begin_change(acct, DEL, name, folded, &statement);
	return err ? err : change(acct, statement);
}

int acct_list(struct acct *acct, int (*each)(void *user, const struct acct_row *row), void *user)
{
	struct acct_row row = {0};
	int rc = SQLITE_DONE, err = acct->db ? ERR_NONE : reopen(acct);
	if (err)
		return err;
	sqlite3_stmt *statement = acct->statements[LIST];
	while (!err && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		err = read_row(statement, &row);
		if (!err)
			err = each(user, &row);
	}
	if (!err)
		err = err_from_sqlite(acct->db, rc);
	(void)sqlite3_reset(statement);
	secret_wipe(&row, sizeof row);
	return err;
}
