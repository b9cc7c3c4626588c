/* SPDX-License-Identifier: MIT */
/*
 * Every option of restanted.conf(5): one row each. Used by the master and `restante`;
 * trusts nothing.
 */
#include "conf/option.h"

#include <string.h>

static const char *check_address(const char *value)
{
	static const char unix_path[] = CONF_UNIX "/";
	const char *colon = strrchr(value, ':');
	if (strncmp(value, CONF_UNIX, sizeof CONF_UNIX - 1) == 0)
		return strncmp(value, unix_path, sizeof unix_path - 1) == 0 && value[sizeof unix_path - 1]
		           ? NULL
		           : "is not like unix:/run/restante/lmtp";
	return colon && colon > value && colon[1] ? NULL : "is not like 127.0.0.1:110, [::1]:110 or *:110";
}

static const char *check_mode(const char *value)
{
	size_t digits = strspn(value, "01234567");
	return digits >= 3 && digits <= 4 && !value[digits] && (digits == 3 || value[0] == '0')
	           ? NULL
	           : "is not a mode like 0660";
}

static const char *check_hostname(const char *value)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";
	return value[strspn(value, allowed)] ? "is not a host name" : NULL;
}

static const char *check_mechanisms(const char *value)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_ ";
	return value[strspn(value, allowed)] ? "is not a list of SASL mechanisms like \"PLAIN LOGIN\"" : NULL;
}

static const char *check_location(const char *value)
{
	if (strncmp(value, "maildir:/", strlen("maildir:/")) != 0 &&
	    strncmp(value, "mbox:/", strlen("mbox:/")) != 0)
		return "does not begin with maildir:/ or mbox:/";
	bool user = false, name = false, domain = false;
	for (const char *at = strchr(value, '%'); at; at = strchr(at + 2, '%')) {
		if (!at[1] || !strchr("und%", at[1]))
			return "has a % that is not one of %u, %n, %d and %%";
		user |= at[1] == 'u';
		name |= at[1] == 'n';
		domain |= at[1] == 'd';
	}
	return user || (name && domain) ? NULL
	                                : "has no %u, nor %n and %d: accounts would share one maildrop";
}

/* clang-format off */
#define IN(struct_, member) .at = offsetof(struct struct_, member), .size = sizeof(((struct struct_ *)0)->member)
#define DAY 86400
const struct conf_row conf_rows[] = {
    {"listen.address", CONF_STRING, IN(conf_listen, address), .check = check_address,
     .doc = "address and port to listen at, * being every address; or unix:/path of a socket"},
    {"listen.protocol", CONF_WORD, IN(conf_listen, protocol), .initial = "pop3", .words = "pop3 lmtp",
     .doc = "what is spoken there"},
    {"listen.tls", CONF_BOOL, IN(conf_listen, tls), .initial = "no",
     .doc = "TLS from the first octet (POP3S)"},
    {"listen.mode", CONF_STRING, IN(conf_listen, mode), .initial = "0660", .check = check_mode,
     .doc = "permissions of a Unix socket"},
    {"listen.group", CONF_STRING, IN(conf_listen, group), .initial = "",
     .doc = "group of a Unix socket, when started as root"},

    {"certificate.chain", CONF_PATH, IN(conf_cert, chain),
     .doc = "PEM file: the certificate, then its intermediates"},
    {"certificate.key", CONF_PATH, IN(conf_cert, key),
     .doc = "PEM file: its private key"},

    {"worker.user", CONF_STRING, IN(conf, worker_user), .initial = "restante-worker",
     .doc = "user the workers run as, when started as root"},
    {"worker.processes", CONF_NUMBER, IN(conf, workers), .initial = "0", .max = 256,
     .doc = "number of workers; 0: one for each processor"},
    {"worker.max_sessions", CONF_NUMBER, IN(conf, worker_max_sessions), .initial = "10000", .min = 1, .max = 1000000,
     .doc = "sessions of one worker at once; more are refused"},
    {"worker.memory", CONF_OCTETS, IN(conf, worker_memory), .initial = "2G", .max = INT64_MAX,
     .doc = "memory of one worker from which on it takes no further sessions; 0 for no limit"},
    {"worker.empty_root", CONF_PATH, IN(conf, empty_root), .initial = "",
     .doc = "empty folder the workers have as root directory, when started as root"},

    {"limits.login_timeout", CONF_DURATION, IN(conf, login_timeout_s), .initial = "1min", .min = 1, .max = DAY,
     .doc = "time for a client to log in"},
    {"limits.autologout", CONF_DURATION, IN(conf, autologout_s), .initial = "10min", .min = 1, .max = DAY,
     .advised = 600, .advice = "RFC 1939 section 3 asks for at least 10min; shorter ones are for tests",
     .doc = "time without a command after which a session ends"},
    {"limits.bad_commands", CONF_NUMBER, IN(conf, bad_commands_max), .initial = "10", .min = 1, .max = 1000,
     .doc = "commands in a row that are none, before the connection is closed"},
    {"limits.sessions_before_login", CONF_NUMBER, IN(conf, strangers_max), .initial = "2500", .min = 1, .max = 1000000,
     .doc = "connections of one worker that have not logged in; more are refused"},
    {"limits.before_login_per_address", CONF_NUMBER, IN(conf, strangers_of_max), .initial = "100", .max = 1000000,
     .doc = "of these, those from one address; 0 for no limit"},
    {"limits.sessions_per_address", CONF_NUMBER, IN(conf, per_address), .initial = "1000", .max = 1000000,
     .doc = "sessions from one address at once; 0 for no limit"},
    {"limits.dead_peer", CONF_DURATION, IN(conf, dead_peer_s), .initial = "2min", .min = 8, .max = DAY,
     .doc = "time without a sign of life from a client's machine, after which it is given up"},
    {"limits.sessions_per_account", CONF_NUMBER, IN(conf, per_account), .initial = "10", .min = 1, .max = 1000000,
     .doc = "sessions of one account at once that have its maildrop or wait for it"},

    {"auth.user", CONF_STRING, IN(conf, auth_user), .initial = "restante-auth",
     .doc = "user the auth process runs as, when started as root"},
    {"auth.accounts", CONF_PATH, IN(conf, accounts), .initial = "/var/lib/restante/accounts/accounts.sqlite",
     .doc = "SQLite file of the accounts"},
    {"auth.mechanisms", CONF_STRING, IN(conf, mechanisms), .initial = "PLAIN LOGIN", .check = check_mechanisms,
     .doc = "SASL mechanisms offered, best first"},
    {"auth.allow_cleartext", CONF_BOOL, IN(conf, cleartext_always), .initial = "no",
     .doc = "take passwords without TLS from other machines too"},
    {"auth.cache", CONF_DURATION, IN(conf, auth_cache_s), .initial = "5min", .max = DAY,
     .doc = "time for which a verified login is remembered; 0 for never"},
    {"auth.hash_threads", CONF_NUMBER, IN(conf, hash_threads), .initial = "2", .min = 1, .max = 64,
     .doc = "password hashes computed at once"},
    {"auth.hash_queue", CONF_NUMBER, IN(conf, hash_queue_max), .initial = "1000", .min = 1, .max = 100000,
     .doc = "logins waiting for a hash; more are told to try later"},

    {"keeper.user", CONF_STRING, IN(conf, keeper_user), .initial = "restante-mail",
     .doc = "user the keeper runs as, when started as root; owns the maildrops"},
    {"keeper.threads", CONF_NUMBER, IN(conf, keeper_threads), .initial = "4", .min = 1, .max = 256,
     .doc = "disk operations at once"},
    {"keeper.max_open", CONF_NUMBER, IN(conf, max_open), .initial = "20000", .min = 1, .max = 1000000,
     .doc = "maildrops open at once"},
    {"keeper.max_deliveries", CONF_NUMBER, IN(conf, max_deliveries), .initial = "1000", .min = 1, .max = 100000,
     .doc = "messages on their way in at once"},

    {"lmtp.hostname", CONF_STRING, IN(conf, lmtp_hostname), .initial = "", .check = check_hostname,
     .doc = "name in the greeting and in Received lines; the system's if empty"},
    {"lmtp.allow_remote", CONF_BOOL, IN(conf, lmtp_remote), .initial = "no",
     .doc = "take mail from other machines too"},
    {"lmtp.max_message", CONF_OCTETS, IN(conf, message_max), .initial = "50M", .max = INT64_MAX / 2,
     .doc = "octets of a message; larger ones are refused; 0 for no limit"},
    {"lmtp.over_quota", CONF_WORD, IN(conf, over_quota), .initial = "reject", .words = "reject defer",
     .doc = "what becomes of mail for a full maildrop: back to its sender, or tried again"},
    {"lmtp.timeout", CONF_DURATION, IN(conf, lmtp_idle_s), .initial = "5min", .min = 1, .max = DAY,
     .doc = "time without a command or data after which a session ends"},
    {"lmtp.delimiter", CONF_STRING, IN(conf, delimiter), .initial = "+",
     .doc = "what separates a detail from a name in an address; empty for none"},
    {"lmtp.domains", CONF_STRING, IN(conf, lmtp_domains), .initial = "",
     .doc = "domains whose accounts are named without the domain, separated by spaces; * for all"},

    {"mail.root", CONF_PATH, IN(conf, mail_root), .initial = "/var/lib/restante/mail",
     .doc = "folder below which every maildrop lies"},
    {"mail.location", CONF_STRING, IN(conf, mail_location), .initial = "maildir:/var/lib/restante/mail/%u",
     .check = check_location,
     .doc = "maildrop of an account that has none of its own; %u is its name, %n and %d what is before and after @"},
    {"mail.mbox_quoting", CONF_WORD, IN(conf, mbox_quoting), .initial = "mboxrd", .words = "mboxrd mboxo",
     .doc = "how lines that begin with \"From \" are kept apart from the From_ lines of an mbox"},
    {"mail.mbox_content_length", CONF_BOOL, IN(conf, mbox_content_length), .initial = "no",
     .doc = "believe the Content-Length of messages in an mbox, where it fits"},
    {"mail.quota_octets", CONF_OCTETS, IN(conf, quota_octets), .initial = "0", .max = INT64_MAX,
     .doc = "octets an account may have in its maildrop, unless its own quota says otherwise; 0 for no limit"},
    {"mail.quota_messages", CONF_NUMBER, IN(conf, quota_messages), .initial = "0", .max = INT64_MAX,
     .doc = "messages it may have there; 0 for no limit"},

    {"maildrop.takeover", CONF_DURATION, IN(conf, takeover_s), .initial = "1min", .max = DAY,
     .doc = "idle time after which a session loses its maildrop to a new login; 0 for never"},
    {"maildrop.sharing", CONF_WORD, IN(conf, sharing), .initial = "exclusive", .words = "exclusive snapshot",
     .doc = "one session at a time, or several that each see the messages there were when they began"},

    {"log.file", CONF_STRING, IN(conf, log_file), .initial = "-",
     .doc = "file the log is appended to; - is standard error"},
    {"log.level", CONF_WORD, IN(conf, log_level), .initial = "info", .words = "error warning info debug",
     .doc = "least urgent lines that are logged"},
};
const size_t conf_row_count = sizeof conf_rows / sizeof conf_rows[0];
_Static_assert(sizeof conf_rows / sizeof conf_rows[0] <= CONF_OPTIONS_MAX, "struct conf has a line for each row");

#define REPEATED(struct_, array, count, max_) .at = offsetof(struct conf, array), .size = sizeof(struct struct_), \
	.count_at = offsetof(struct conf, count), .line_at = offsetof(struct struct_, line), .max = (max_)
const struct conf_section conf_sections[] = {
    {"listen", REPEATED(conf_listen, listen, listen_count, CONF_LISTEN_MAX)},
    {"certificate", REPEATED(conf_cert, cert, cert_count, CONF_CERT_MAX)},
    {"worker"}, {"limits"}, {"auth"}, {"keeper"}, {"lmtp"}, {"mail"}, {"maildrop"}, {"log"},
};
const size_t conf_section_count = sizeof conf_sections / sizeof conf_sections[0];
/* clang-format on */

const char *conf_option_name(const struct conf_row *row)
{
	return strchr(row->name, '.') + 1;
}

bool conf_row_in(const struct conf_row *row, const char *section)
{
	size_t len = strlen(section);
	return strncmp(row->name, section, len) == 0 && row->name[len] == '.';
}
