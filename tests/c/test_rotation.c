/* Following rotations, counting what is left, and a provider whose keys may be taken away. */
#include <time.h>
#include <unistd.h>

#include "vault.h"

/* A keyring of the key "team" in keys/, with a key store beside it. */
static cmk_keyring *keyring_with_store(void) {
  cmk_error *e = NULL;
  cmk_local_provider *keys = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  OK(cmk_local_provider_open_or_create(scratch("keys"), &keys, &e), e);
  OK(cmk_local_provider_create_key_if_absent(keys, "team", CMK_KEY_TYPE_OCT_256, NULL, NULL, 0, &e), e);
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_add_local(builder, keys, &e), e);
  OK(cmk_keyring_builder_wrap_with(builder, "local:team", &e), e);
  OK(cmk_keyring_builder_key_store_directory(builder, scratch("data/store"), &e), e);
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  cmk_local_provider_free(keys);
  return keyring;
}

static void rotate_key(char id[CMK_KEY_ID_CAPACITY]) {
  cmk_error *e = NULL;
  cmk_local_provider *keys = NULL;
  OK(cmk_local_provider_open(scratch("keys"), &keys, &e), e);
  OK(cmk_local_provider_rotate(keys, "team", id, CMK_KEY_ID_CAPACITY, &e), e);
  cmk_local_provider_free(keys);
}

static void write_file(const char *path, const uint8_t *bytes, size_t len) {
  FILE *file = fopen(path, "wb");
  CHECK(file != NULL && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
}

/* What the callbacks saw. */
struct seen {
  int files, rows, errors, by_outcome[7];
  cmk_result code;
  int stop_after;
};

static int32_t on_file(void *userdata, const char *path, uint32_t outcome, uint32_t written, uint64_t until, const cmk_error *error) {
  struct seen *seen = userdata;
  CHECK(path != NULL && outcome <= CMK_ROTATE_ADDED);
  seen->files++;
  if (error != NULL) {
    CHECK(outcome == 0 && written == 0 && until == 0 && strlen(cmk_error_message(error)) > 10);
    seen->errors++;
    seen->code = cmk_error_code(error);
  } else {
    CHECK(outcome != 0);
    seen->by_outcome[outcome]++;
  }
  return seen->files == seen->stop_after ? 1 : 0;
}

static int32_t on_row(void *userdata, const uint8_t *id, uint32_t outcome, uint64_t until, const cmk_error *error) {
  struct seen *seen = userdata;
  CHECK(id != NULL && error == NULL && (until == 0) == (outcome != CMK_ROTATE_ADDED && outcome != CMK_ROTATE_WAITING));
  seen->rows++;
  seen->by_outcome[outcome]++;
  return seen->rows == seen->stop_after ? CMK_CANCEL : 0;
}

static int32_t count_file(void *userdata, const char *path) {
  CHECK(path != NULL);
  return --*(int *)userdata == 0;
}

static void rotation_and_census(void) {
  cmk_error *e = NULL;
  char first[CMK_KEY_ID_CAPACITY], second[CMK_KEY_ID_CAPACITY];
  uint8_t out[1024];
  size_t sealed_len = 0, len = 0;
  cmk_keyring *keyring = keyring_with_store();
  uint8_t *sealed = seal(keyring, (const uint8_t *)"text", 4, NULL, &sealed_len);
  write_file(scratch("plain"), (const uint8_t *)"text", 4);
  OK(cmk_keyring_encrypt_file(keyring, scratch("plain"), scratch("data/one.cmk"), NULL, NULL, NULL, &e), e);
  OK(cmk_keyring_encrypt_compact(keyring, (const uint8_t *)"text", 4, NULL, out, sizeof out, &len, &e), e);
  write_file(scratch("data/compact"), out, len);

  /* Nothing to do yet. */
  cmk_rotation *rotation = NULL;
  cmk_buffer *rotated = NULL;
  uint32_t outcome = 99, written = 99;
  uint64_t until = 99;
  OK(cmk_rotation_new(keyring, NULL, &rotation, &e), e);
  snprintf(first, sizeof first, "%s", cmk_rotation_newest_id(rotation, 0));
  CHECK(cmk_rotation_newest_len(rotation) == 1 && strncmp(first, "local:team/", 11) == 0);
  CHECK(cmk_rotation_newest_id(rotation, 1) == NULL && cmk_rotation_newest_created(rotation, 1) == 0);
  OK(cmk_rotation_rotate(rotation, sealed, sealed_len, &rotated, &outcome, &until, &e), e);
  CHECK(rotated == NULL && outcome == CMK_ROTATE_UP_TO_DATE && until == 0);
  cmk_rotation_free(rotation);

  /* A dry run changes nothing. */
  rotate_key(second);
  cmk_rotate_options options = {.struct_size = sizeof options, .dry_run = 1};
  OK(cmk_rotation_new(keyring, &options, &rotation, &e), e);
  OK(cmk_rotation_rotate(rotation, sealed, sealed_len, &rotated, &outcome, NULL, &e), e);
  CHECK(rotated == NULL && outcome == CMK_ROTATE_ADDED);
  OK(cmk_rotation_rotate_file(rotation, scratch("data/one.cmk"), &outcome, &written, NULL, &e), e);
  CHECK(outcome == CMK_ROTATE_ADDED && written == 0);
  cmk_rotation_free(rotation);
  options.dry_run = 2;
  FAILS(cmk_rotation_new(keyring, &options, &rotation, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(rotation == NULL);

  /* The old wraps stay beside the new ones. */
  OK(cmk_rotation_new(keyring, NULL, &rotation, &e), e);
  CHECK(strcmp(cmk_rotation_newest_id(rotation, 0), second) == 0);
  OK(cmk_rotation_rotate(rotation, sealed, sealed_len, &rotated, &outcome, &until, &e), e);
  CHECK(outcome == CMK_ROTATE_ADDED && until >= (uint64_t)time(NULL) + 23 * 3600);
  OK(cmk_keyring_decrypt(keyring, cmk_buffer_data(rotated), cmk_buffer_len(rotated), NULL, out, sizeof out, &len, &e), e);
  CHECK(len == 4 && memcmp(out, "text", 4) == 0);
  cmk_buffer_free(rotated);
  FAILS(cmk_rotation_rotate(rotation, (const uint8_t *)"nonsense", 8, &rotated, NULL, NULL, &e), CMK_ERR_FORMAT, e);
  CHECK(rotated == NULL);
  const char *data = scratch("data"), *missing = scratch("missing");
  const char *paths[] = {data, missing};
  struct seen seen = {0};
  FAILS(cmk_rotation_rotate_paths(rotation, paths, 2, NULL, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  OK(cmk_rotation_rotate_paths(rotation, paths, 2, on_file, &seen, &e), e);
  CHECK(seen.by_outcome[CMK_ROTATE_ADDED] == 2 && seen.by_outcome[CMK_ROTATE_NOT_OURS] == 1); /* the file and the row; the compact one */
  CHECK(seen.errors == 1 && seen.code == CMK_ERR_IO);
  seen = (struct seen){.stop_after = 1};
  FAILS(cmk_rotation_rotate_paths(rotation, paths, 2, on_file, &seen, &e), CMK_ERR_CANCELLED, e);
  CHECK(seen.files == 1);
  seen = (struct seen){0};
  OK(cmk_rotation_rotate_key_store(rotation, on_row, &seen, &e), e);
  CHECK(seen.rows == 1 && seen.by_outcome[CMK_ROTATE_WAITING] == 1);
  seen.stop_after = 2;
  FAILS(cmk_rotation_rotate_key_store(rotation, on_row, &seen, &e), CMK_ERR_CANCELLED, e);

  /* Not safe while old wraps are there, and while others may not have noticed. */
  cmk_census *census = NULL;
  cmk_text_list *reasons = NULL;
  bool safe = true;
  int left = 100;
  OK(cmk_census_new(keyring, &census, &e), e);
  OK(cmk_census_add_path(census, data, count_file, &left, &e), e);
  CHECK(left == 96); /* the envelopes, the row and the lock of the store */
  OK(cmk_census_safe_to_disable(census, first, rotation, NULL, &safe, &reasons, &e), e);
  CHECK(!safe && cmk_text_list_len(reasons) == 2 && cmk_text_list_get(reasons, 2) == NULL);
  CHECK(strstr(cmk_text_list_get(reasons, 0), "others may still") != NULL && strstr(cmk_text_list_get(reasons, 1), "old wrap") != NULL);
  cmk_text_list_free(reasons);
  FAILS(cmk_census_safe_to_disable(census, "local:other/0123456789abcdef0123456789abcdef", rotation, NULL, &safe, NULL, &e),
        CMK_ERR_INVALID_ARGUMENT, e);
  cmk_census_free(census);
  cmk_rotation_free(rotation);

  /* At once, then. */
  options = (cmk_rotate_options){.struct_size = sizeof options, .keep_old_ms = CMK_KEEP_OLD_NOT};
  OK(cmk_rotation_new(keyring, &options, &rotation, &e), e);
  OK(cmk_rotation_rotate(rotation, sealed, sealed_len, &rotated, &outcome, &until, &e), e);
  CHECK(outcome == CMK_ROTATE_REPLACED && until == 0);
  seen = (struct seen){0};
  OK(cmk_rotation_rotate_paths(rotation, paths, 1, on_file, &seen, &e), e);
  CHECK(seen.by_outcome[CMK_ROTATE_FINISHED] == 2 && seen.errors == 0);

  OK(cmk_census_new(keyring, &census, &e), e);
  OK(cmk_census_add_path(census, data, NULL, NULL, &e), e);
  OK(cmk_census_add_envelope(census, cmk_buffer_data(rotated), cmk_buffer_len(rotated), &e), e);
  OK(cmk_census_add_envelope(census, (const uint8_t *)"nonsense", 8, &e), e);
  cmk_disable_conditions soon = {.struct_size = sizeof soon, .poll_interval_ms = 1, .dek_age_ms = 1};
  for (int waited = 0; !safe; waited++) { /* it has to be begun seconds after the key was made */
    CHECK(waited < 60);
    sleep(1);
    cmk_census_free(census);
    OK(cmk_census_new(keyring, &census, &e), e);
    OK(cmk_census_add_path(census, data, NULL, NULL, &e), e);
    OK(cmk_census_add_envelope(census, cmk_buffer_data(rotated), cmk_buffer_len(rotated), &e), e);
    OK(cmk_census_add_envelope(census, (const uint8_t *)"nonsense", 8, &e), e);
    OK(cmk_census_safe_to_disable(census, first, rotation, &soon, &safe, &reasons, &e), e);
    CHECK(safe == (cmk_text_list_len(reasons) == 0));
    cmk_text_list_free(reasons);
  }
  OK(cmk_census_safe_to_disable(census, second, rotation, &soon, &safe, NULL, &e), e);
  CHECK(!safe);
  OK(cmk_census_add_file(census, missing, &e), e);
  OK(cmk_census_add_unreadable(census, "row 7", "the table is gone", &e), e);
  OK(cmk_census_add_key_store(census, keyring, &e), e);
  OK(cmk_census_safe_to_disable(census, first, rotation, &soon, &safe, NULL, &e), e);
  CHECK(!safe);

  cmk_census_report *report = NULL;
  OK(cmk_census_count(census, &report, &e), e);
  CHECK(cmk_census_report_headers(report) == 5 && cmk_census_report_rows(report) == 2 && cmk_census_report_compact(report) == 1);
  CHECK(cmk_census_report_skipped(report) == 2 && cmk_census_report_links(report) == 0 && cmk_census_report_unreadable(report) == 2);
  CHECK(strcmp(cmk_census_report_unreadable_name(report, 1), "row 7") == 0);
  CHECK(strcmp(cmk_census_report_unreadable_problem(report, 1), "the table is gone") == 0);
  CHECK(cmk_census_report_unreadable_name(report, 2) == NULL && cmk_census_report_begun(report) > 1600000000);
  CHECK(cmk_census_report_versions(report) == 1 && strcmp(cmk_census_report_version_id(report, 0), second) == 0);
  CHECK(cmk_census_report_version_headers(report, 0) == 4 && cmk_census_report_version_only_key(report, 0) == 4);
  CHECK(cmk_census_report_version_old_kept(report, 0) == 0 && cmk_census_report_version_example(report, 0) != NULL);
  CHECK(cmk_census_report_version_oldest_wrap(report, 0) <= cmk_census_report_version_newest_wrap(report, 0));
  CHECK(cmk_census_report_version_id(report, 1) == NULL && cmk_census_report_version_headers(report, 1) == 0);
  cmk_census_report_free(report);

  /* One that was stopped finds nothing safe. */
  left = 1;
  FAILS(cmk_census_add_path(census, data, count_file, &left, &e), CMK_ERR_CANCELLED, e);
  cmk_census_free(census);
  cmk_buffer_free(rotated);
  cmk_rotation_free(rotation);
  free(sealed);
  cmk_keyring_free(keyring);
}

/* A remote provider: maintenance finds out that its key was taken away, and `newest` is asked when a rotation is followed. */
struct remote {
  struct vault vault;
  int asked;
  bool knows;
};

static cmk_result newest(void *userdata, const char *key, cmk_sink *sink) {
  struct remote *remote = userdata;
  cmk_result code = CMK_OK;
  remote->asked++;
  CHECK(strcmp(key, "vault:team") == 0);
  if (vault_misbehaves(&remote->vault, sink, &code)) return code;
  CHECK(cmk_sink_put_newest(sink, "vault:team", 0) == CMK_ERR_INVALID_ARGUMENT);
  CHECK(cmk_sink_put_token(sink, "x", 1) == CMK_ERR_INVALID_STATE);
  if (remote->knows) CHECK(cmk_sink_put_newest(sink, VAULT_KEY, 1700000000) == CMK_OK);
  return CMK_OK;
}

static cmk_keyring *remote_keyring(struct remote *remote, uint32_t is_remote) {
  cmk_error *e = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  cmk_provider provider;
  memset(&provider, 0, sizeof provider);
  provider.struct_size = sizeof provider;
  provider.userdata = remote;
  provider.name = "vault";
  provider.wrap = vault_wrap;
  provider.unwrap = vault_unwrap;
  provider.destroy = vault_destroy;
  provider.remote = is_remote;
  provider.newest = newest;
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_soft_ms(builder, 10000, &e), e);
  OK(cmk_keyring_builder_hard_ms(builder, 60000, &e), e);
  if (is_remote > 1) {
    FAILS(cmk_keyring_builder_add_provider(builder, &provider, &e), CMK_ERR_INVALID_ARGUMENT, e);
    cmk_keyring_builder_free(builder);
    return NULL;
  }
  OK(cmk_keyring_builder_add_provider(builder, &provider, &e), e);
  OK(cmk_keyring_builder_wrap_with(builder, "vault:team", &e), e);
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  return keyring;
}

static void a_remote_provider(void) {
  cmk_error *e = NULL;
  struct remote remote;
  memset(&remote, 0, sizeof remote);
  vault_init(&remote.vault);
  CHECK(remote_keyring(&remote, 2) == NULL && remote.vault.destroyed == 0);
  cmk_keyring *keyring = remote_keyring(&remote, 1);
  uint8_t out[8];
  size_t sealed_len = 0, len = 0;
  uint8_t *sealed = seal(keyring, (const uint8_t *)"x", 1, NULL, &sealed_len);

  cmk_rotation *rotation = NULL;
  OK(cmk_rotation_new(keyring, NULL, &rotation, &e), e); /* which wraps to see, when the provider can't tell */
  CHECK(remote.asked == 1 && strcmp(cmk_rotation_newest_id(rotation, 0), VAULT_KEY) == 0);
  CHECK(cmk_rotation_newest_created(rotation, 0) == 0);
  cmk_rotation_free(rotation);
  remote.knows = true;
  OK(cmk_rotation_new(keyring, NULL, &rotation, &e), e);
  CHECK(remote.asked == 2 && cmk_rotation_newest_created(rotation, 0) == 1700000000);
  cmk_rotation_free(rotation);

  /* A no to anything makes the keys in use be asked: what is cached stops serving, without maintenance too. */
  OK(cmk_keyring_decrypt(keyring, sealed, sealed_len, NULL, out, sizeof out, &len, &e), e);
  remote.vault.how = RETURNS_DETAIL;
  remote.vault.code = CMK_ERR_ACCESS_DENIED;
  FAILS(cmk_rotation_new(keyring, NULL, &rotation, &e), CMK_ERR_ACCESS_DENIED, e);
  FAILS(cmk_keyring_decrypt(keyring, sealed, sealed_len, NULL, out, sizeof out, &len, &e), CMK_ERR_ACCESS_DENIED, e);
  remote.vault.how = BEHAVES;

  /* A round of maintenance has nothing to do yet: the key is asked again in half a minute. */
  uint64_t next = 0;
  cmk_problems *problems = NULL;
  OK(cmk_keyring_maintain(keyring, &next, &problems, &e), e);
  CHECK(next >= 1000 && next <= 30000 && cmk_problems_len(problems) == 0 && cmk_problems_error(problems, 0) == NULL);
  cmk_problems_free(problems);
  free(sealed);
  cmk_maintenance *maintenance = NULL;
  OK(cmk_keyring_maintenance_start(keyring, &maintenance, &e), e);
  cmk_maintenance_free(maintenance);
  cmk_keyring_free(keyring);
  for (int waited = 0; remote.vault.destroyed == 0 && waited < 300; waited++) usleep(100000); /* the thread may hold it for a moment */
  CHECK(remote.vault.destroyed == 1);
}

/* An audit sink that wants to encrypt its record with the keyring that tells it. */
static const cmk_keyring *audited;
static cmk_result audit_inner;
static int audit_events;

static void record_and_call(void *userdata, const cmk_audit_event *event) {
  uint8_t out[512];
  size_t len = 0;
  CHECK(userdata == NULL && strcmp(event->provider, "vault") == 0 && event->workspace == NULL && event->attempts == 0);
  audit_events++;
  audit_inner = cmk_keyring_encrypt(audited, (const uint8_t *)"x", 1, NULL, out, sizeof out, &len, NULL);
}

static void an_audit_sink_that_calls_back(void) {
  cmk_error *e = NULL;
  struct vault vault;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  cmk_audit_sink sink = {.struct_size = sizeof sink, .record = record_and_call};
  vault_init(&vault);
  OK(cmk_keyring_builder_new(&builder, &e), e);
  vault_add(builder, &vault);
  OK(cmk_keyring_builder_wrap_with(builder, "vault:team", &e), e);
  OK(cmk_keyring_builder_audit(builder, &sink, &e), e);
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  audited = keyring;
  size_t sealed_len = 0;
  free(seal(keyring, (const uint8_t *)"x", 1, NULL, &sealed_len));
  CHECK(audit_events == 1 && audit_inner == CMK_ERR_POLICY && vault.wraps == 1);
  cmk_keyring_free(keyring);
}

/* What a program hands over that was built before `remote` and `newest` were. */
static void an_older_structure(void) {
  cmk_error *e = NULL;
  struct vault vault;
  cmk_keyring_builder *builder = NULL;
  vault_init(&vault);
  cmk_provider *provider = malloc(offsetof(cmk_provider, remote)); /* so that a read beyond it is seen */
  CHECK(provider != NULL);
  memset(provider, 0, offsetof(cmk_provider, remote));
  provider->struct_size = offsetof(cmk_provider, remote);
  provider->userdata = &vault;
  provider->name = "vault";
  provider->wrap = vault_wrap;
  provider->unwrap = vault_unwrap;
  provider->destroy = vault_destroy;
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_add_provider(builder, provider, &e), e);
  provider->struct_size--;
  FAILS(cmk_keyring_builder_add_provider(builder, provider, &e), CMK_ERR_INVALID_ARGUMENT, e);
  free(provider);
  cmk_keyring_builder_free(builder);
  CHECK(vault.destroyed == 1);
}

static void limits(void) {
  cmk_error *e = NULL;
  cmk_keyring *keyring = NULL;
  for (int which = 0; which < 4; which++) {
    cmk_keyring_builder *builder = NULL;
    OK(cmk_keyring_builder_new(&builder, &e), e);
    if (which == 0) OK(cmk_keyring_builder_soft_ms(builder, 9000, &e), e);
    if (which == 1) OK(cmk_keyring_builder_hard_ms(builder, 59000, &e), e);
    if (which == 2) OK(cmk_keyring_builder_failover_ms(builder, 8ull * 24 * 3600 * 1000, &e), e);
    if (which == 3) OK(cmk_keyring_builder_poll_ms(builder, 1000, &e), e);
    FAILS(cmk_keyring_builder_build(builder, &keyring, &e), CMK_ERR_INVALID_ARGUMENT, e);
    cmk_keyring_builder_free(builder);
  }
  cmk_keyring_builder *builder = NULL;
  OK(cmk_keyring_builder_new(&builder, &e), e);
  FAILS(cmk_keyring_builder_audit_file(builder, scratch("no/such/dir"), &e), CMK_ERR_IO, e);
  cmk_keyring_builder_free(builder);
  FAILS(cmk_keyring_maintain(NULL, NULL, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  char command[4200];
  snprintf(command, sizeof command, "mkdir -p '%s/data'", argv[1]);
  CHECK(system(command) == 0);
  rotation_and_census();
  a_remote_provider();
  an_audit_sink_that_calls_back();
  an_older_structure();
  limits();
  return 0;
}
