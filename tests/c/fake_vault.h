/* The fake vault for C and C++ tests: a process of its own, steered over plain HTTP. What it can be told is in
 * crates/cmkit-testkit/src/control/command.rs and rule.rs. Its program is what CMKIT_FAKE_VAULT names. */
#ifndef FAKE_VAULT_H
#define FAKE_VAULT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define VAULT_HOST "customer.vault.azure.net"

struct fake_vault {
  pid_t pid;
  int in;
  int port;
  char proxy[128], ca_file[4096], tenant_id[64], client_id[64], client_secret[64];
};

/* The string behind "name": in a text of JSON; the first one. */
static UNUSED void json_string(const char *json, const char *name, char *out, size_t capacity) {
  char pattern[64];
  snprintf(pattern, sizeof pattern, "\"%s\":\"", name);
  const char *start = strstr(json, pattern);
  CHECK(start != NULL);
  start += strlen(pattern);
  size_t len = strcspn(start, "\"");
  CHECK(len < capacity);
  memcpy(out, start, len);
  out[len] = 0;
}

/* Whatever of these is set outside would lead a client elsewhere. */
static UNUSED void forget_environment(void) {
  static const char *const names[] = {
      "ALL_PROXY",        "all_proxy",         "HTTP_PROXY",          "http_proxy",          "HTTPS_PROXY",
      "https_proxy",      "NO_PROXY",          "no_proxy",            "AZURE_AUTHORITY_HOST", "AZURE_CLIENT_ID",
      "AZURE_TENANT_ID",  "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "IDENTITY_HEADER",
      "IMDS_ENDPOINT",    "MSI_ENDPOINT",      "MSI_SECRET",          "SSL_CERT_FILE",       "SSL_CERT_DIR",
      "DEFAULT_IDENTITY_CLIENT_ID", "AZURE_POD_IDENTITY_AUTHORITY_HOST"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
}

/* Starts it, and leads this process's clients to it. It ends when its standard input does, with this process at the latest. */
static UNUSED void fake_start(struct fake_vault *fake) {
  const char *program = getenv("CMKIT_FAKE_VAULT");
  int in[2], out[2];
  char line[16384];
  size_t len = 0;
  CHECK(program != NULL && pipe(in) == 0 && pipe(out) == 0);
  fake->pid = fork();
  CHECK(fake->pid >= 0);
  if (fake->pid == 0) {
    dup2(in[0], 0);
    dup2(out[1], 1);
    close(in[0]), close(in[1]), close(out[0]), close(out[1]);
    execl(program, program, (char *)NULL);
    _exit(127);
  }
  close(in[0]), close(out[1]);
  fake->in = in[1];
  while (len + 1 < sizeof line) {
    ssize_t n = read(out[0], line + len, sizeof line - 1 - len);
    CHECK(n > 0);
    len += (size_t)n;
    if (line[len - 1] == '\n') break;
  }
  line[len] = 0;
  close(out[0]);
  json_string(line, "proxy", fake->proxy, sizeof fake->proxy);
  json_string(line, "ca_file", fake->ca_file, sizeof fake->ca_file);
  json_string(line, "tenant_id", fake->tenant_id, sizeof fake->tenant_id);
  json_string(line, "client_id", fake->client_id, sizeof fake->client_id);
  json_string(line, "client_secret", fake->client_secret, sizeof fake->client_secret);
  fake->port = atoi(strrchr(fake->proxy, ':') + 1);
  CHECK(fake->port > 0);
  forget_environment();
  setenv("HTTPS_PROXY", fake->proxy, 1);
}

static UNUSED void fake_stop(struct fake_vault *fake) {
  int status = 0;
  close(fake->in);
  CHECK(waitpid(fake->pid, &status, 0) == fake->pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* One request; the body of the answer, which must be a 200. Good until the next call. */
static UNUSED const char *fake_http(struct fake_vault *fake, const char *head, const char *body) {
  static char answer[65536];
  char request[8192];
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((uint16_t)fake->port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int len = snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\nMetadata: true\r\n"
                     "Content-Length: %zu\r\n\r\n%s", head, fake->port, strlen(body), body);
  CHECK(len > 0 && (size_t)len < sizeof request);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
  CHECK(write(fd, request, (size_t)len) == len);
  size_t got = 0;
  for (ssize_t n; got + 1 < sizeof answer && (n = read(fd, answer + got, sizeof answer - 1 - got)) > 0;) got += (size_t)n;
  answer[got] = 0;
  close(fd);
  const char *end = strstr(answer, "\r\n\r\n");
  if (end == NULL || strncmp(answer, "HTTP/1.1 200", 12) != 0) fprintf(stderr, "%s: %s\n", head, answer);
  CHECK(end != NULL && strncmp(answer, "HTTP/1.1 200", 12) == 0);
  return end + 4;
}

static UNUSED const char *fake_order(struct fake_vault *fake, const char *command, const char *body) {
  char head[128];
  snprintf(head, sizeof head, "POST /control/%s", command);
  return fake_http(fake, head, body);
}

/* Makes a key, or its next version, and gives its full id. */
static UNUSED void fake_key(struct fake_vault *fake, const char *command, const char *name, char *id, size_t capacity) {
  char body[256];
  snprintf(body, sizeof body, "{\"host\":\"" VAULT_HOST "\",\"key\":\"%s\"}", name);
  json_string(fake_order(fake, command, body), "kid", id, capacity);
}

/* Enables or disables every use of a key's version, by its name and the version at the end of its id. */
static UNUSED void fake_enable(struct fake_vault *fake, const char *name, const char *id, bool enabled) {
  char body[512];
  snprintf(body, sizeof body, "{\"host\":\"" VAULT_HOST "\",\"key\":\"%s\",\"version\":\"%s\",\"attributes\":{\"enabled\":%s}}", name,
           strrchr(id, '/') + 1, enabled ? "true" : "false");
  fake_order(fake, "set", body);
}

/* How many requests of a kind there were since the last reset. */
static UNUSED long fake_count(struct fake_vault *fake, const char *op) {
  char pattern[64];
  snprintf(pattern, sizeof pattern, "\"%s\":", op);
  const char *found = strstr(fake_order(fake, "counts", "{}"), pattern);
  return found == NULL ? 0 : strtol(found + strlen(pattern), NULL, 10);
}

#endif
