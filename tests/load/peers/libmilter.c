/*
 * The same work on libmilter, in C: refuses recipients that are not in a file of addresses, one a line.
 * Usage: libmilter SOCKET FILE. Only xxfi_envrcpt is there, so that libmilter asks the MTA for nothing else.
 */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <libmilter/mfapi.h>

/* The addresses, each ended by a NUL, and a table of where they begin in `text` (0: free), at most half full. */
static char *text;
static uint32_t *table;
static uint32_t mask;

static uint32_t hash(const char *address)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	while (*address != '\0')
		h = (h ^ (unsigned char) *address++) * 16777619u;
	return h ^ h >> 15;
}

/* Where the address is in the table, or the free place where it belongs. */
static uint32_t *place(const char *address)
{
	uint32_t at = hash(address) & mask;

	while (table[at] != 0 && strcmp(text + table[at], address) != 0)
		at = (at + 1) & mask;
	return &table[at];
}

static int load(const char *path)
{
	FILE *file = fopen(path, "r");
	long size, at = 1, count = 0;

	if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0 || size >= UINT32_MAX - 2)
		return -1;
	rewind(file);
	text = malloc((size_t) size + 2);
	if (text == NULL || fread(text + 1, 1, (size_t) size, file) != (size_t) size)
		return -1;
	fclose(file);
	text[0] = text[size + 1] = '\0';
	for (long i = 1; i <= size; i++)
		if (text[i] == '\n') {
			text[i] = '\0';
			count++;
		}
	for (mask = 1; mask < 2 * (uint64_t) count; mask <<= 1)
		;
	table = calloc(mask, sizeof *table);
	if (table == NULL)
		return -1;
	mask--;
	for (; at <= size; at += (long) strlen(text + at) + 1)
		if (text[at] != '\0')
			*place(text + at) = (uint32_t) at;
	return 0;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv)
{
	char address[512];
	const char *from = argv[0] + (argv[0][0] == '<');
	size_t length = 0;

	for (; *from != '\0' && *from != '>' && length < sizeof address - 1; from++)
		address[length++] = (char) tolower((unsigned char) *from);
	address[length] = '\0';
	if (*place(address) != 0)
		return SMFIS_CONTINUE;
	smfi_setreply(ctx, "550", "5.1.1", "No such user here");
	return SMFIS_REJECT;
}

int main(int argc, char **argv)
{
	struct smfiDesc filter = { .xxfi_name = "peer", .xxfi_version = SMFI_VERSION, .xxfi_envrcpt = on_rcpt };

	if (argc != 3) {
		fprintf(stderr, "usage: libmilter SOCKET FILE\n");
		return EX_USAGE;
	}
	if (load(argv[2]) != 0) {
		perror(argv[2]);
		return EX_NOINPUT;
	}
	if (smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS ||
	    smfi_setbacklog(4096) != MI_SUCCESS)
		return EX_UNAVAILABLE;
	return smfi_main() == MI_SUCCESS ? EX_OK : EX_OSERR;
}
