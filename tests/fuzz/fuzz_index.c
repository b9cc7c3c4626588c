/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the reader of index files (src/drop/index.c). Each input is read as it is, and once more with its
 * sums made to fit, so that what lies behind them is reached.
 */
#include "drop/catalog.h"
#include "drop/index_layout.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS_TRIED = 64 };

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static void read_all(const struct index *index)
{
	uint64_t size = index_listing_size(index);
	char *listing = malloc(size);
	struct catalog catalog;
	demand(listing != NULL);
	bool listed = index_listing(index, false, listing) == ERR_NONE;
	for (uint32_t number = 1; number <= index->head.count && number <= ROWS_TRIED; number++) {
		struct index_row row;
		char path[INDEX_PATH_MAX];
		if (index_row(index, number, false, &row, path) != ERR_NONE)
			continue;
		demand(strlen(path) == 4u + row.name_len && !strchr(path + 4, '/') && path[4] != '.');
		demand(row.header <= row.raw && row.raw <= row.wire);
	}
	catalog_init(&catalog, 1);
	if (index_load(index, &catalog) == ERR_NONE) {
		demand(listed && catalog.count == index->head.count);
		for (uint32_t i = 0; i < catalog.count; i++)
			demand(name_is_message(catalog_name(&catalog, &catalog.messages[i])) &&
			       name_is_unique_id(catalog_uid(&catalog, &catalog.messages[i])));
	}
	catalog_finish(&catalog);
	free(listing);
}

static void read_image(const char *image, size_t size)
{
	struct index index;
	int fd = memfd_create("index", MFD_CLOEXEC);
	demand(fd >= 0 && write(fd, image, size) == (ssize_t)size);
	if (index_open_fd(fd, true, false, &index) == ERR_NONE)
		read_all(&index);
	(void)close(fd);
}

/* Makes every sum fit that can be reached. */
static void reseal(char *image, size_t size)
{
	struct index_head head;
	if (size < sizeof head)
		return;
	memcpy(&head, image, sizeof head);
	memcpy(head.magic, LAYOUT_MAGIC, sizeof head.magic);
	uint64_t listing = layout_listing_size(&head), names = layout_names_at(&head);
	for (uint32_t number = 1; number <= head.count && number <= ROWS_TRIED; number++) {
		struct index_row row;
		uint64_t at = layout_row_at(&head, number);
		if (at > size || size - at < sizeof row)
			break;
		memcpy(&row, image + at, sizeof row);
		if (names > size || row.name_at > size - names || row.name_len > size - names - row.name_at)
			continue;
		row.sum =
		    layout_row_sum(&head, number, &row, span_of(image + names + row.name_at, row.name_len));
		memcpy(image + at, &row, sizeof row);
	}
	if (listing <= size - sizeof head)
		head.listing_sum = sum_of(head.stamp, span_of(image + sizeof head, listing));
	head.sum = layout_head_sum(&head);
	memcpy(image, &head, sizeof head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *image = malloc(size + 1);
	demand(image != NULL);
	memcpy(image, data, size);
	read_image(image, size);
	reseal(image, size);
	read_image(image, size);
	free(image);
	return 0;
}
