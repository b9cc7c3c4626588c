/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzzer's entry point once over each file given, or each file of each folder given,
 * without libFuzzer: the corpus as an ordinary test, under any compiler.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long ran;

static void run_octets(FILE *file, size_t size)
{
	/* Exactly `size` octets, so that a sanitizer sees a read of one more. */
	uint8_t *data = malloc(size ? size : 1);
	if (data && fread(data, 1, size, file) == size) {
		(void)LLVMFuzzerTestOneInput(data, size);
		ran++;
	}
	free(data);
}

static int run_path(const char *path)
{
	struct stat what;
	if (stat(path, &what) != 0) {
		perror(path);
		return 1;
	}
	if (!S_ISDIR(what.st_mode)) {
		FILE *file = fopen(path, "rb");
		if (!file) {
			perror(path);
			return 1;
		}
		run_octets(file, (size_t)what.st_size);
		(void)fclose(file);
		return 0;
	}
	DIR *dir = opendir(path);
	if (!dir) {
		perror(path);
		return 1;
	}
	int failed = 0;
	for (struct dirent *entry; (entry = readdir(dir));) {
		char inner[4096];
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
		failed |= run_path(inner);
	}
	(void)closedir(dir);
	return failed;
}

int main(int argc, char **argv)
{
	int failed = 0;
	for (int i = 1; i < argc; i++)
		failed |= run_path(argv[i]);
	if (ran == 0) {
		fprintf(stderr, "%s: no input was run: give files or folders\n", argv[0]);
		return 1;
	}
	printf("%lu inputs\n", ran);
	return failed;
}
