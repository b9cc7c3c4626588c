/* SPDX-License-Identifier: MIT */
/* The profiles: what a session does once it is logged in. A row is all there is to one. */
#include "bench/client.h"

#include <string.h>

/* clang-format off */
const struct profile profiles[] = {
    {"sessions", "login, QUIT: what a login costs",
     {STEP_QUIT}},
    {"poll", "login, STAT, QUIT: a robot that looks for mail",
     {STEP_STAT, STEP_QUIT}},
    {"uidl", "login, CAPA, UIDL, QUIT: a mail program that looks for new mail",
     {STEP_CAPA, STEP_UIDL, STEP_QUIT}},
    {"fetch", "login, STAT, LIST, RETR of every message, QUIT",
     {STEP_STAT, STEP_LIST, STEP_RETR, STEP_QUIT}},
    {"drain", "login, STAT, LIST, RETR and DELE of every message, QUIT: deletes all mail",
     {STEP_STAT, STEP_LIST, STEP_RETR, STEP_DELE, STEP_QUIT}},
    {"idle", "login, STAT, silence, QUIT: sessions that are held",
     {STEP_STAT, STEP_HOLD, STEP_QUIT}},
};
/* clang-format on */
const unsigned profiles_count = sizeof(profiles) / sizeof(profiles[0]);

const struct profile *profile_find(const char *name)
{
	for (unsigned i = 0; i < profiles_count; i++)
		if (strcmp(profiles[i].name, name) == 0)
			return &profiles[i];
	return NULL;
}

bool profile_has(const struct profile *profile, enum step step)
{
	return memchr(profile->steps, (int)step, sizeof(profile->steps)) != NULL;
}
