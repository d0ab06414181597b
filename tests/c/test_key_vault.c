/* Keys in a vault: signing in, what goes wrong, and what a key owner does meanwhile. */
#include <time.h>

#include "fake_vault.h"
#include "vault.h"

static struct fake_vault fake;
static char key[256] = "https://" VAULT_HOST "/keys/kek", first[256];

static time_t seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

/* A builder for the key, as whoever the caller adds. */
static cmk_key_vault_builder *vault_builder(void) {
  cmk_error *e = NULL;
  cmk_key_vault_builder *builder = NULL;
  OK(cmk_key_vault_builder_new(&builder, &e), e);
  OK(cmk_key_vault_builder_key(builder, key, &e), e);
  OK(cmk_key_vault_builder_ca_file(builder, fake.ca_file, &e), e);
  return builder;
}

static cmk_key_vault *finish(cmk_key_vault_builder *builder) {
  cmk_error *e = NULL;
  cmk_key_vault *vault = NULL;
  OK(cmk_key_vault_builder_build(builder, &vault, &e), e);
  cmk_key_vault_builder_free(builder);
  return vault;
}

static cmk_key_vault *by_secret(void) {
  cmk_error *e = NULL;
  cmk_key_vault_builder *builder = vault_builder();
  OK(cmk_key_vault_builder_client_secret(builder, fake.tenant_id, fake.client_id, fake.client_secret, &e), e);
  return finish(builder);
}

static cmk_keyring_builder *keyring_builder(const cmk_key_vault *vault) {
  cmk_error *e = NULL;
  cmk_keyring_builder *builder = NULL;
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_add_key_vault(builder, vault, &e), e);
  OK(cmk_keyring_builder_wrap_with(builder, key, &e), e);
  OK(cmk_keyring_builder_call_timeout_ms(builder, 20000, &e), e);
  return builder;
}

static cmk_keyring *finish_keyring(cmk_keyring_builder *builder) {
  cmk_error *e = NULL;
  cmk_keyring *keyring = NULL;
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  return keyring;
}

static cmk_keyring *keyring_of(cmk_key_vault *vault) {
  cmk_keyring *keyring = finish_keyring(keyring_builder(vault));
  cmk_key_vault_free(vault);
  return keyring;
}

/* Encrypts with one keyring, and decrypts with another one, which has to unwrap. */
static void round_trip(cmk_keyring *one, cmk_keyring *two) {
  cmk_error *e = NULL;
  uint8_t out[8];
  size_t sealed_len = 0, len = 0;
  uint8_t *sealed = seal(one, (const uint8_t *)"secret", 6, NULL, &sealed_len);
  OK(cmk_keyring_decrypt(two, sealed, sealed_len, NULL, out, sizeof out, &len, &e), e);
  CHECK(len == 6 && memcmp(out, "secret", 6) == 0);
  free(sealed);
  cmk_keyring_free(one);
  cmk_keyring_free(two);
}

static void begin(void) {
  fake_order(&fake, "reset", "{}");
  fake_key(&fake, "create_key", "kek", first, sizeof first);
}

static void signing_in(void) {
  cmk_error *e = NULL;
  begin();
  cmk_key_vault *vault = by_secret();
  CHECK(strstr(cmk_key_vault_identity(vault), fake.client_secret) == NULL && strlen(cmk_key_vault_identity(vault)) > 3);
  round_trip(finish_keyring(keyring_builder(vault)), finish_keyring(keyring_builder(vault)));
  cmk_key_vault_free(vault);
  CHECK(fake_count(&fake, "wrap") >= 1 && fake_count(&fake, "unwrap") >= 1 && fake_count(&fake, "entra") >= 1);

  /* From the environment, as it is when the provider is built. */
  cmk_key_vault_builder *builder = vault_builder();
  cmk_key_vault *none = (cmk_key_vault *)&fake;
  OK(cmk_key_vault_builder_identity(builder, CMK_IDENTITY_CLIENT_SECRET, &e), e);
  FAILS(cmk_key_vault_builder_build(builder, &none, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(none == NULL);
  setenv("AZURE_TENANT_ID", fake.tenant_id, 1);
  setenv("AZURE_CLIENT_ID", fake.client_id, 1);
  setenv("AZURE_CLIENT_SECRET", fake.client_secret, 1);
  cmk_keyring *one = keyring_of(finish(builder));
  builder = vault_builder();
  round_trip(one, keyring_of(finish(builder))); /* by default what the environment has */
  unsetenv("AZURE_TENANT_ID"), unsetenv("AZURE_CLIENT_ID"), unsetenv("AZURE_CLIENT_SECRET");

  FAILS(cmk_key_vault_builder_new(NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  OK(cmk_key_vault_builder_new(&builder, &e), e);
  FAILS(cmk_key_vault_builder_build(builder, &none, &e), CMK_ERR_INVALID_ARGUMENT, e); /* neither key nor host */
  FAILS(cmk_key_vault_builder_identity(builder, 8, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_key_vault_builder_client_secret(builder, "", "x", "y", &e), CMK_ERR_INVALID_ARGUMENT, e);
  OK(cmk_key_vault_builder_allow_host(builder, "kv.example.net", &e), e);
  FAILS(cmk_key_vault_builder_build(builder, &none, &e), CMK_ERR_INVALID_ARGUMENT, e); /* whose audience isn't known */
  OK(cmk_key_vault_builder_audience(builder, "example.net", "https://vault.example.net", &e), e);
  OK(cmk_key_vault_builder_identity(builder, CMK_IDENTITY_IMDS, &e), e);
  OK(cmk_key_vault_builder_client_id(builder, "00000000-0000-0000-0000-000000000000", &e), e);
  OK(cmk_key_vault_builder_allow_rsa_2048(builder, &e), e);
  OK(cmk_key_vault_builder_no_get(builder, &e), e);
  OK(cmk_key_vault_builder_timeout_ms(builder, 5000, &e), e);
  cmk_key_vault_free(finish(builder));
  cmk_key_vault_free(NULL);
  CHECK(cmk_key_vault_identity(NULL) == NULL);
}

struct token_source {
  int calls, destroyed;
  bool fails;
};

static cmk_result token(void *userdata, const char *resource, const char *scope, const char *claims, cmk_sink *sink) {
  struct token_source *source = userdata;
  char text[4096], head[256];
  source->calls++;
  CHECK(strcmp(resource, "https://vault.azure.net") == 0 && strcmp(scope, "https://vault.azure.net/.default") == 0 && claims == NULL);
  CHECK(cmk_sink_put(sink, (const uint8_t *)"x", 1) == CMK_ERR_INVALID_STATE);
  if (source->fails) {
    cmk_failure failure = {.struct_size = sizeof failure, .message = "the badge reader is closed"};
    CHECK(cmk_sink_fail(sink, &failure) == CMK_OK);
    return CMK_ERR_IDENTITY;
  }
  snprintf(head, sizeof head, "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=%s", "https%3A%2F%2Fvault.azure.net");
  json_string(fake_http(&fake, head, ""), "access_token", text, sizeof text);
  CHECK(cmk_sink_put_token(sink, text, (uint64_t)time(NULL) + 3600) == CMK_OK);
  return CMK_OK;
}

static void token_destroy(void *userdata) { ((struct token_source *)userdata)->destroyed++; }

static void tokens_from_a_callback(void) {
  cmk_error *e = NULL;
  begin();
  struct token_source source = {0};
  cmk_token_source callbacks = {.struct_size = sizeof callbacks, .userdata = &source, .name = "badge", .destroy = token_destroy};
  cmk_key_vault_builder *builder = vault_builder();
  FAILS(cmk_key_vault_builder_token_source(builder, &callbacks, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(source.destroyed == 0);
  callbacks.token = token;
  OK(cmk_key_vault_builder_token_source(builder, &callbacks, &e), e);
  cmk_key_vault *vault = finish(builder);
  CHECK(strstr(cmk_key_vault_identity(vault), "badge") != NULL);
  cmk_keyring *one = finish_keyring(keyring_builder(vault)), *two = finish_keyring(keyring_builder(vault));
  cmk_key_vault_free(vault);
  CHECK(source.destroyed == 0 && source.calls == 0);
  round_trip(one, two);
  CHECK(source.destroyed == 1 && source.calls == 1);

  source = (struct token_source){.fails = true};
  builder = vault_builder();
  OK(cmk_key_vault_builder_token_source(builder, &callbacks, &e), e);
  one = keyring_of(finish(builder));
  size_t len = 0;
  CHECK(cmk_keyring_encrypted_len(one, 1, &len, &e) == CMK_ERR_IDENTITY);
  CHECK(strstr(cmk_error_message(e), "the badge reader is closed") != NULL && cmk_error_retryable(e));
  cmk_error_free(e);
  cmk_keyring_free(one);
  CHECK(source.destroyed == 1);
}

/* What decrypting comes to, for a keyring that has to unwrap. */
static cmk_error *refused(const cmk_key_vault *vault, const uint8_t *sealed, size_t sealed_len, cmk_result code, uint64_t timeout_ms) {
  cmk_error *e = NULL;
  uint8_t out[8];
  size_t len = 0;
  cmk_keyring_builder *builder = keyring_builder(vault);
  OK(cmk_keyring_builder_call_timeout_ms(builder, timeout_ms, &e), e);
  cmk_keyring *keyring = finish_keyring(builder);
  cmk_result result = cmk_keyring_decrypt(keyring, sealed, sealed_len, NULL, out, sizeof out, &len, &e);
  if (result != code) fprintf(stderr, "%s instead of %s: %s\n", cmk_result_name(result), cmk_result_name(code), cmk_error_message(e));
  CHECK(result == code && cmk_error_code(e) == code && len == 0 && all_zero(out, sizeof out));
  CHECK(strcmp(cmk_error_key_id(e), first) == 0);
  CHECK(cmk_error_client_request_id(e) != NULL && strlen(cmk_error_client_request_id(e)) == 36);
  cmk_keyring_free(keyring);
  return e;
}

static void errors_have_their_fields(void) {
  begin();
  cmk_key_vault *vault = by_secret();
  cmk_keyring *keyring = finish_keyring(keyring_builder(vault));
  size_t sealed_len = 0;
  uint8_t *sealed = seal(keyring, (const uint8_t *)"x", 1, NULL, &sealed_len);

  fake_order(&fake, "deny", "{\"op\":\"unwrap\"}");
  cmk_error *e = refused(vault, sealed, sealed_len, CMK_ERR_ACCESS_DENIED, 20000);
  CHECK(cmk_error_http_status(e) == 403 && strcmp(cmk_error_provider_code(e), "ForbiddenByRbac") == 0);
  CHECK(strlen(cmk_error_request_id(e)) == 36 && cmk_error_region(e) != NULL && !cmk_error_retryable(e));
  CHECK(strcmp(cmk_error_request_id(e), cmk_error_client_request_id(e)) != 0);
  cmk_error_free(e);
  fake_order(&fake, "allow", "{\"op\":\"unwrap\"}");

  fake_enable(&fake, "kek", first, false);
  e = refused(vault, sealed, sealed_len, CMK_ERR_KEY_DISABLED, 20000);
  CHECK(cmk_error_http_status(e) == 403 && strcmp(cmk_error_provider_code(e), "KeyDisabled") == 0 && !cmk_error_retryable(e));
  cmk_error_free(e);
  fake_enable(&fake, "kek", first, true);

  fake_order(&fake, "rule", "{\"op\":\"unwrap\",\"status\":429,\"retry_after\":300}");
  e = refused(vault, sealed, sealed_len, CMK_ERR_THROTTLED, 5000);
  CHECK(cmk_error_http_status(e) == 429 && cmk_error_retryable(e));
  CHECK(cmk_error_retry_after_ms(e) > 60000 && cmk_error_retry_after_ms(e) <= 300000);
  cmk_error_free(e);
  fake_order(&fake, "clear_rules", "{}");

  fake_order(&fake, "rule", "{\"op\":\"unwrap\",\"status\":503}");
  e = refused(vault, sealed, sealed_len, CMK_ERR_UNAVAILABLE, 1500);
  CHECK(cmk_error_retryable(e));
  cmk_error_free(e);
  fake_order(&fake, "clear_rules", "{}");

  /* A deadline ends what doesn't answer, long before the provider's own limit. */
  time_t start = seconds();
  fake_order(&fake, "rule", "{\"op\":\"unwrap\",\"stall_ms\":120000}");
  e = refused(vault, sealed, sealed_len, CMK_ERR_UNAVAILABLE, 1500);
  CHECK(cmk_error_retryable(e) && seconds() - start < 25);
  cmk_error_free(e);
  fake_order(&fake, "clear_rules", "{}");

  fake_order(&fake, "delete", "{\"host\":\"" VAULT_HOST "\",\"key\":\"kek\"}");
  cmk_error_free(refused(vault, sealed, sealed_len, CMK_ERR_KEY_NOT_FOUND, 20000));
  free(sealed);
  cmk_keyring_free(keyring);
  cmk_key_vault_free(vault);
}

static int32_t swallow(void *userdata, const uint8_t *data, size_t len) {
  (void)userdata, (void)data, (void)len;
  return 0;
}

/* A key that is taken away stops a stream that is under way, for which nobody but maintenance asked. */
static void maintenance_stops_a_stream(void) {
  cmk_error *e = NULL;
  begin();
  cmk_key_vault *vault = by_secret();
  cmk_keyring_builder *builder = keyring_builder(vault);
  OK(cmk_keyring_builder_soft_ms(builder, 10000, &e), e);
  OK(cmk_keyring_builder_hard_ms(builder, 7200000, &e), e);
  OK(cmk_keyring_builder_failover_ms(builder, 7200000, &e), e);
  OK(cmk_keyring_builder_poll_ms(builder, 86400000, &e), e);
  cmk_keyring *keyring = finish_keyring(builder);
  cmk_encryptor *encryptor = NULL;
  uint8_t block[65536] = {0};
  OK(cmk_encryptor_new(keyring, NULL, swallow, NULL, NULL, &encryptor, &e), e);
  OK(cmk_encryptor_write(encryptor, block, sizeof block, &e), e);
  uint64_t next = 0;
  cmk_problems *problems = NULL;
  OK(cmk_keyring_maintain(keyring, &next, &problems, &e), e);
  CHECK(next >= 1000 && next <= 30000 && cmk_problems_len(problems) == 0 && cmk_problems_error(problems, 0) == NULL);
  cmk_problems_free(problems);
  OK(cmk_keyring_maintain(keyring, NULL, NULL, &e), e);

  fake_enable(&fake, "kek", first, false);
  time_t start = seconds();
  for (size_t found = 0; found == 0;) {
    CHECK(seconds() - start < 120);
    sleep(1);
    OK(cmk_keyring_maintain(keyring, &next, &problems, &e), e);
    found = cmk_problems_len(problems);
    if (found > 0) CHECK(cmk_error_code(cmk_problems_error(problems, 0)) == CMK_ERR_KEY_DISABLED);
    cmk_problems_free(problems);
  }
  FAILS(cmk_encryptor_write(encryptor, block, sizeof block, &e), CMK_ERR_KEY_DISABLED, e);
  cmk_encryptor_free(encryptor);

  /* The thread does the same by itself, and ends with its handle. */
  cmk_maintenance *maintenance = NULL;
  fake_enable(&fake, "kek", first, true);
  OK(cmk_keyring_maintenance_start(keyring, &maintenance, &e), e);
  cmk_maintenance_free(maintenance);
  cmk_maintenance_free(NULL);
  cmk_keyring_free(keyring);
  cmk_key_vault_free(vault);
}

struct seen {
  int events, wraps, failures, destroyed;
  bool with_workspace;
  char call_id[64], code[64];
};

static void record(void *userdata, const cmk_audit_event *event) {
  struct seen *seen = userdata;
  CHECK(event->struct_size >= sizeof *event && event->time_ms > 1600000000000u && event->operation >= 1 && event->operation <= 7);
  CHECK(strcmp(event->provider, "azure-key-vault") == 0 && strncmp(event->key_id, key, strlen(key)) == 0);
  CHECK(strlen(event->operation_name) > 3);
  seen->events++;
  if (event->workspace != NULL) seen->with_workspace = true;
  if (event->operation == CMK_AUDIT_WRAP && event->outcome == CMK_OK) {
    seen->wraps++;
    CHECK(strcmp(event->operation_name, "wrap") == 0 && strcmp(event->key_id, first) == 0 && event->attempts > 0);
    CHECK(event->code == NULL && event->http_status == 200 && event->request_id != NULL && event->region != NULL);
  }
  if (event->outcome == CMK_ERR_ACCESS_DENIED && event->operation == CMK_AUDIT_UNWRAP) {
    seen->failures++;
    snprintf(seen->call_id, sizeof seen->call_id, "%s", event->call_id);
    snprintf(seen->code, sizeof seen->code, "%s", event->code);
  }
}

static void seen_destroy(void *userdata) { ((struct seen *)userdata)->destroyed++; }

static long lines_of(const char *path) {
  FILE *file = fopen(path, "r");
  CHECK(file != NULL);
  long lines = 0;
  for (int c; (c = getc(file)) != EOF;) lines += c == '\n';
  fclose(file);
  return lines;
}

static void audit_and_high_business_impact(void) {
  cmk_error *e = NULL;
  begin();
  cmk_key_vault *vault = by_secret();
  for (int hbi = 0; hbi < 2; hbi++) {
    struct seen seen = {0};
    const char *log = scratch(hbi ? "audit-hbi.jsonl" : "audit.jsonl");
    cmk_audit_sink sink = {.struct_size = sizeof sink, .userdata = &seen, .destroy = seen_destroy};
    cmk_keyring_builder *builder = keyring_builder(vault);
    FAILS(cmk_keyring_builder_audit(builder, &sink, &e), CMK_ERR_INVALID_ARGUMENT, e);
    CHECK(seen.destroyed == 0);
    sink.record = record;
    OK(cmk_keyring_builder_audit(builder, &sink, &e), e);
    OK(cmk_keyring_builder_audit_file(builder, log, &e), e);
    OK(cmk_keyring_builder_workspace(builder, "patients", &e), e);
    OK(cmk_keyring_builder_max_entries(builder, 0, &e), e); /* so that each call asks the vault */
    if (hbi) OK(cmk_keyring_builder_high_business_impact(builder, &e), e);
    cmk_keyring *keyring = finish_keyring(builder);
    size_t sealed_len = 0, len = 0;
    uint8_t out[8];
    uint8_t *sealed = seal(keyring, (const uint8_t *)"x", 1, NULL, &sealed_len);
    CHECK(seen.wraps >= 1 && seen.with_workspace == !hbi);
    fake_order(&fake, "deny", "{\"op\":\"unwrap\"}");
    CHECK(cmk_keyring_decrypt(keyring, sealed, sealed_len, NULL, out, sizeof out, &len, &e) == CMK_ERR_ACCESS_DENIED);
    fake_order(&fake, "allow", "{\"op\":\"unwrap\"}");
    CHECK(seen.failures == 1 && strcmp(seen.call_id, cmk_error_client_request_id(e)) == 0);
    CHECK(strcmp(seen.code, "ForbiddenByRbac") == 0);
    cmk_error_free(e);
    e = NULL;
    CHECK(cmk_keyring_decrypt_file(keyring, scratch("patient-7.cmk"), scratch("out"), NULL, NULL, NULL, &e) == CMK_ERR_IO);
    CHECK((strstr(cmk_error_message(e), "patient-7") == NULL) == (hbi == 1));
    cmk_error_free(e);
    e = NULL;
    CHECK(lines_of(log) == seen.events);
    free(sealed);
    cmk_keyring_free(keyring);
    CHECK(seen.destroyed == 1);
  }
  cmk_key_vault_free(vault);
}

static void doctor(void) {
  cmk_error *e = NULL;
  begin();
  cmk_key_vault *vault = by_secret();
  cmk_doctor_report *report = NULL;
  OK(cmk_key_vault_doctor(vault, key, &report, &e), e);
  if (!cmk_doctor_report_verified(report)) fprintf(stderr, "%s\n", cmk_doctor_report_text(report));
  CHECK(cmk_doctor_report_healthy(report) && cmk_doctor_report_verified(report));
  size_t rows = cmk_doctor_report_len(report);
  CHECK(rows == 11 && strcmp(cmk_doctor_report_name(report, 0), "sign-in") == 0);
  CHECK(strcmp(cmk_doctor_report_key(report), first) == 0 && cmk_doctor_report_identity(report) != NULL);
  CHECK(cmk_doctor_report_name(report, rows) == NULL && cmk_doctor_report_detail(report, rows) == NULL);
  cmk_doctor_report_free(report);

  fake_enable(&fake, "kek", first, false);
  OK(cmk_key_vault_doctor(vault, key, &report, &e), e);
  CHECK(!cmk_doctor_report_healthy(report) && !cmk_doctor_report_verified(report));
  bool found = false;
  for (size_t i = 0; i < cmk_doctor_report_len(report); i++) {
    if (strcmp(cmk_doctor_report_name(report, i), "enabled and dates") != 0) continue;
    found = cmk_doctor_report_outcome(report, i) == CMK_DOCTOR_FAIL && strstr(cmk_doctor_report_detail(report, i), "enable") != NULL;
  }
  CHECK(found);
  cmk_doctor_report_free(report);
  FAILS(cmk_key_vault_doctor(vault, "nonsense", &report, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(report == NULL && !cmk_doctor_report_healthy(NULL) && cmk_doctor_report_len(NULL) == 0);
  cmk_key_vault_free(vault);
}

static void a_rotation_of_the_vault(void) {
  cmk_error *e = NULL;
  char second[256];
  begin();
  cmk_keyring *keyring = keyring_of(by_secret());
  size_t sealed_len = 0;
  uint8_t *sealed = seal(keyring, (const uint8_t *)"x", 1, NULL, &sealed_len);
  fake_key(&fake, "rotate", "kek", second, sizeof second);
  cmk_rotation *rotation = NULL;
  OK(cmk_rotation_new(keyring, NULL, &rotation, &e), e);
  CHECK(cmk_rotation_newest_len(rotation) == 1 && strcmp(cmk_rotation_newest_id(rotation, 0), second) == 0);
  CHECK(cmk_rotation_newest_created(rotation, 0) > 1600000000);
  cmk_buffer *rotated = NULL;
  uint32_t outcome = 0;
  uint64_t until = 0;
  OK(cmk_rotation_rotate(rotation, sealed, sealed_len, &rotated, &outcome, &until, &e), e);
  CHECK(outcome == CMK_ROTATE_ADDED && until > (uint64_t)time(NULL) && rotated != NULL);
  cmk_buffer_free(rotated);

  /* To a key that isn't in that vault it goes only when that is meant. */
  cmk_local_provider *keys = NULL;
  cmk_key_vault *vault = by_secret();
  cmk_keyring_builder *builder = keyring_builder(vault);
  cmk_key_vault_free(vault);
  OK(cmk_local_provider_open_or_create(scratch("keys"), &keys, &e), e);
  OK(cmk_local_provider_create_key(keys, "other", CMK_KEY_TYPE_OCT_256, NULL, 0, &e), e);
  OK(cmk_keyring_builder_add_local(builder, keys, &e), e);
  cmk_local_provider_free(keys);
  cmk_keyring *both = finish_keyring(builder);
  FAILS(cmk_keyring_rewrap(both, sealed, sealed_len, "local:other", CMK_RECIPIENTS_ONLY, &rotated, &e), CMK_ERR_WRONG_VAULT, e);
  CHECK(rotated == NULL);
  OK(cmk_keyring_rewrap(both, sealed, sealed_len, "local:other", CMK_RECIPIENTS_ONLY + CMK_RECIPIENTS_OTHER_VAULT, &rotated, &e), e);
  cmk_buffer_free(rotated);
  FAILS(cmk_keyring_rewrap(both, sealed, sealed_len, "local:other", 2, &rotated, &e), CMK_ERR_INVALID_ARGUMENT, e);
  cmk_keyring_free(both);
  free(sealed);
  cmk_rotation_free(rotation);
  cmk_keyring_free(keyring);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  fake_start(&fake);
  signing_in();
  tokens_from_a_callback();
  errors_have_their_fields();
  audit_and_high_business_impact();
  doctor();
  a_rotation_of_the_vault();
  maintenance_stops_a_stream();
  fake_stop(&fake);
  return 0;
}
