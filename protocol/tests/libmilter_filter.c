/*
 * The filter of tests/libmilter.rs, on libmilter: what it answers is written there, too, for a Session.
 * Usage: filter SOCKET ACTIONS STEPS (both words in hexadecimal, as they are wanted in the negotiation)
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

#include <libmilter/mfapi.h>

static unsigned long actions, steps;

static sfsistat silent_or_continue(unsigned long no_reply_bit)
{
	return (steps & no_reply_bit) ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3,
			     unsigned long *pf0, unsigned long *pf1, unsigned long *pf2, unsigned long *pf3)
{
	(void) ctx, (void) f0, (void) f1, (void) f2, (void) f3;
	*pf0 = actions;
	*pf1 = steps;
	*pf2 = *pf3 = 0;
	return SMFIS_CONTINUE;
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
	char text[128] = "unknown", ip[INET6_ADDRSTRLEN];

	if (strcmp(host, "show") != 0)
		return silent_or_continue(SMFIP_NR_CONN);
	if (address != NULL && address->sa_family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *) address;
		inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
		snprintf(text, sizeof text, "%s %d", ip, ntohs(in->sin_port));
	} else if (address != NULL && address->sa_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) address;
		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
		snprintf(text, sizeof text, "%s %d", ip, ntohs(in6->sin6_port));
	} else if (address != NULL && address->sa_family == AF_UNIX) {
		snprintf(text, sizeof text, "%s", ((struct sockaddr_un *) address)->sun_path);
	}
	smfi_setreply(ctx, "554", "5.7.1", text);
	return SMFIS_REJECT;
}

static sfsistat on_helo(SMFICTX *ctx, char *name)
{
	if (strcmp(name, "reject") == 0) {
		smfi_setreply(ctx, "550", "5.7.1", "No");
		return SMFIS_REJECT;
	}
	return silent_or_continue(SMFIP_NR_HELO);
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
	if (strcmp(argv[0], "<reject>") == 0) {
		smfi_setreply(ctx, "550", "5.7.1", "No");
		return SMFIS_REJECT;
	}
	if (strcmp(argv[0], "<accept>") == 0)
		return SMFIS_ACCEPT;
	if (strcmp(argv[0], "<discard>") == 0)
		return SMFIS_DISCARD;
	return silent_or_continue(SMFIP_NR_MAIL);
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv)
{
	const char *to = argv[0];

	if (strcmp(to, "<reject>") == 0) {
		smfi_setreply(ctx, "550", "5.1.1", "No such user");
		return SMFIS_REJECT;
	}
	if (strcmp(to, "<defer>") == 0) {
		smfi_setreply(ctx, "451", "4.4.3", "Try again");
		return SMFIS_TEMPFAIL;
	}
	if (strcmp(to, "<percent>") == 0) {
		smfi_setreply(ctx, "550", "5.1.1", "100%% unknown");
		return SMFIS_REJECT;
	}
	if (strcmp(to, "<lines>") == 0) {
		smfi_setmlreply(ctx, "550", "5.1.1", "one", "two", "three", (char *) NULL);
		return SMFIS_REJECT;
	}
	if (strncmp(to, "macro ", 6) == 0) {
		const char *value = smfi_getsymval(ctx, (char *) to + 6);
		char text[256];

		snprintf(text, sizeof text, "value %s", value != NULL ? value : "none");
		smfi_setreply(ctx, "550", "5.7.1", text);
		return SMFIS_REJECT;
	}
	if (strcmp(to, "parameters") == 0) {
		char text[256] = "with";

		for (argv++; *argv != NULL; argv++) {
			strncat(text, " ", sizeof text - strlen(text) - 1);
			strncat(text, *argv, sizeof text - strlen(text) - 1);
		}
		smfi_setreply(ctx, "550", "5.7.1", text);
		return SMFIS_REJECT;
	}
	return SMFIS_CONTINUE;
}

static sfsistat on_data(SMFICTX *ctx)
{
	(void) ctx;
	return silent_or_continue(SMFIP_NR_DATA);
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	(void) ctx;
	if (strcmp(name, "X-Reject") == 0) {
		smfi_setreply(ctx, "550", "5.7.1", value);
		return SMFIS_REJECT;
	}
	return silent_or_continue(SMFIP_NR_HDR);
}

static sfsistat on_eoh(SMFICTX *ctx)
{
	(void) ctx;
	return silent_or_continue(SMFIP_NR_EOH);
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *chunk, size_t length)
{
	(void) ctx;
	if (length == 4 && memcmp(chunk, "skip", 4) == 0)
		return SMFIS_SKIP;
	if (length == 7 && memcmp(chunk, "discard", 7) == 0)
		return SMFIS_DISCARD;
	return silent_or_continue(SMFIP_NR_BODY);
}

static sfsistat on_eom(SMFICTX *ctx)
{
	if (actions == 0)
		return SMFIS_CONTINUE;
	smfi_addheader(ctx, "X-Added", "a");
	smfi_insheader(ctx, 1, "X-Inserted", "b");
	smfi_chgheader(ctx, "X-Changed", 2, "c");
	smfi_addrcpt(ctx, "<more>");
	smfi_addrcpt_par(ctx, "<more>", "NOTIFY=NEVER");
	smfi_delrcpt(ctx, "<less>");
	smfi_chgfrom(ctx, "<from>", "SIZE=1");
	smfi_replacebody(ctx, (unsigned char *) "body\r\n", 6);
	smfi_progress(ctx);
	smfi_quarantine(ctx, "held");
	return SMFIS_ACCEPT;
}

static sfsistat on_unknown(SMFICTX *ctx, const char *line)
{
	if (strcmp(line, "REJECT") == 0) {
		smfi_setreply(ctx, "500", "5.5.1", "No");
		return SMFIS_REJECT;
	}
	return silent_or_continue(SMFIP_NR_UNKN);
}

int main(int argc, char **argv)
{
	struct smfiDesc filter = {
		.xxfi_name = "filter",
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = SMFIF_NONE,
		.xxfi_connect = on_connect,
		.xxfi_helo = on_helo,
		.xxfi_envfrom = on_mail,
		.xxfi_envrcpt = on_rcpt,
		.xxfi_header = on_header,
		.xxfi_eoh = on_eoh,
		.xxfi_body = on_body,
		.xxfi_eom = on_eom,
		.xxfi_unknown = on_unknown,
		.xxfi_data = on_data,
		.xxfi_negotiate = on_negotiate,
	};

	if (argc != 4)
		return 64;
	actions = strtoul(argv[2], NULL, 16);
	steps = strtoul(argv[3], NULL, 16);
	if (smfi_register(filter) != MI_SUCCESS || smfi_setconn(argv[1]) != MI_SUCCESS)
		return 70;
	return smfi_main() == MI_SUCCESS ? 0 : 70;
}
