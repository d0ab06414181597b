/* A key store of one's own: a table in memory. */
#include "vault.h"

#define ROWS 8

struct table {
  pthread_mutex_t lock;
  struct {
    bool used;
    uint8_t id[16], row[4096], version;
    size_t len;
  } rows[ROWS];
  enum misbehaviour how;
  cmk_result code;
  bool loses_races, loses_them_all;
  const cmk_keyring *keyring; /* for `list`, to call back into */
  cmk_result inner;
  int destroyed;
};

static int find(const struct table *table, const uint8_t *id) {
  for (int i = 0; i < ROWS; i++) {
    if (table->rows[i].used && memcmp(table->rows[i].id, id, 16) == 0) return i;
  }
  return -1;
}

static bool fails(struct table *table, cmk_sink *sink, cmk_result *code) {
  cmk_failure failure = {.struct_size = sizeof failure, .message = "the table is locked", .retry = CMK_RETRY_YES};
  *code = table->how == PUTS_NOTHING ? CMK_OK : table->code;
  if (table->how == RETURNS_DETAIL) CHECK(cmk_sink_fail(sink, &failure) == CMK_OK);
  return table->how == RETURNS_CODE || table->how == RETURNS_DETAIL || table->how == PUTS_NOTHING;
}

static cmk_result get(void *userdata, const uint8_t *id, cmk_sink *sink) {
  struct table *table = userdata;
  cmk_result code;
  if (fails(table, sink, &code)) return code;
  pthread_mutex_lock(&table->lock);
  int i = find(table, id);
  if (i >= 0) {
    CHECK(cmk_sink_put(sink, table->rows[i].row, table->rows[i].len) == CMK_OK);
    CHECK(cmk_sink_put_tag(sink, &table->rows[i].version, 1) == CMK_OK);
  }
  pthread_mutex_unlock(&table->lock);
  return CMK_OK;
}

static cmk_result put(void *userdata, const uint8_t *id, const uint8_t *row, size_t len, cmk_sink *sink) {
  struct table *table = userdata;
  cmk_result code;
  if (fails(table, sink, &code)) return code;
  CHECK(len <= sizeof table->rows[0].row && cmk_sink_put(sink, row, len) == CMK_ERR_INVALID_STATE);
  pthread_mutex_lock(&table->lock);
  bool absent = find(table, id) < 0;
  int i = 0;
  while (table->rows[i].used) CHECK(++i < ROWS);
  if (absent) {
    table->rows[i].used = true;
    table->rows[i].len = len;
    memcpy(table->rows[i].id, id, 16);
    memcpy(table->rows[i].row, row, len);
  }
  pthread_mutex_unlock(&table->lock);
  CHECK(cmk_sink_put_done(sink, 2) == CMK_ERR_INVALID_ARGUMENT);
  return cmk_sink_put_done(sink, absent);
}

static cmk_result replace(void *userdata, const uint8_t *id, const uint8_t *row, size_t len, const uint8_t *tag,
                          size_t tag_len, cmk_sink *sink) {
  struct table *table = userdata;
  cmk_result code;
  if (fails(table, sink, &code)) return code;
  pthread_mutex_lock(&table->lock);
  int i = find(table, id);
  CHECK(i >= 0 && tag_len == 1);
  if (table->loses_races) {
    table->loses_races = table->loses_them_all; /* Somebody else was faster, once or always. */
    table->rows[i].version++;
  }
  bool unchanged = table->rows[i].version == *tag;
  if (unchanged) {
    table->rows[i].version++;
    table->rows[i].len = len;
    memcpy(table->rows[i].row, row, len);
  }
  pthread_mutex_unlock(&table->lock);
  return cmk_sink_put_done(sink, unchanged);
}

static cmk_result list(void *userdata, cmk_sink *sink) {
  struct table *table = userdata;
  cmk_result code;
  if (fails(table, sink, &code)) return code;
  if (table->keyring != NULL) {
    table->inner = cmk_keyring_rewrap_key_store(table->keyring, "local:new", CMK_RECIPIENTS_KEEP, NULL, NULL);
  }
  for (int i = 0; i < ROWS; i++) {
    if (table->rows[i].used) CHECK(cmk_sink_put_id(sink, table->rows[i].id) == CMK_OK);
  }
  return CMK_OK;
}

static void destroy(void *userdata) { ((struct table *)userdata)->destroyed++; }

static cmk_keyring *table_keyring(struct table *table, const char *key) {
  cmk_error *e = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_local_provider *provider = NULL;
  cmk_keyring *keyring = NULL;
  cmk_key_store store;
  memset(&store, 0, sizeof store);
  store.struct_size = sizeof store;
  store.userdata = table;
  store.get = get;
  store.put_if_absent = put;
  store.replace_if_unchanged = replace;
  store.list = list;
  store.destroy = destroy;
  OK(cmk_local_provider_open_or_create(scratch("keys"), &provider, &e), e);
  OK(cmk_local_provider_create_key_if_absent(provider, "old", CMK_KEY_TYPE_OCT_256, NULL, NULL, 0, &e), e);
  OK(cmk_local_provider_create_key_if_absent(provider, "new", CMK_KEY_TYPE_OCT_256, NULL, NULL, 0, &e), e);
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_add_local(builder, provider, &e), e);
  OK(cmk_keyring_builder_wrap_with(builder, key, &e), e);
  OK(cmk_keyring_builder_allow_key(builder, "local:new", &e), e);
  OK(cmk_keyring_builder_key_store(builder, &store, &e), e);
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  cmk_local_provider_free(provider);
  return keyring;
}

/* A builder whose store was replaced may be called by the old one's end. */
static cmk_result builder_inner;
static void destroy_that_calls(void *builder) {
  builder_inner = cmk_keyring_builder_max_entries(builder, 7, NULL);
}

static void stores_that_are_replaced(void) {
  cmk_error *e = NULL;
  cmk_keyring_builder *builder = NULL;
  OK(cmk_keyring_builder_new(&builder, &e), e);
  cmk_key_store store;
  memset(&store, 0, sizeof store);
  store.struct_size = sizeof store;
  store.userdata = builder;
  store.get = get;
  store.put_if_absent = put;
  store.replace_if_unchanged = replace;
  store.list = list;
  store.destroy = destroy_that_calls;
  OK(cmk_keyring_builder_key_store(builder, &store, &e), e);
  builder_inner = CMK_PANIC;
  OK(cmk_keyring_builder_key_store(builder, &store, &e), e);
  CHECK(builder_inner == CMK_OK);
  builder_inner = CMK_PANIC;
  OK(cmk_keyring_builder_key_store_directory(builder, scratch("rows"), &e), e);
  CHECK(builder_inner == CMK_OK);
  cmk_keyring_builder_free(builder);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  static struct table table;
  cmk_error *e = NULL;
  uint8_t row[512], out[512];
  size_t row_len = 0, len = 0, rewritten = 99;
  pthread_mutex_init(&table.lock, NULL);
  cmk_keyring *keyring = table_keyring(&table, "local:old");

#define SEAL(k) cmk_keyring_encrypt_compact(k, (const uint8_t *)"secret", 6, NULL, row, sizeof row, &row_len, &e)
#define OPEN(k) cmk_keyring_decrypt(k, row, row_len, NULL, out, sizeof out, &len, &e)
  /* Failures first, while nothing is cached. */
  table.how = RETURNS_CODE;
  table.code = CMK_ERR_UNAVAILABLE;
  CHECK(SEAL(keyring) == CMK_ERR_KEY_STORE && cmk_error_retryable(e) && all_zero(row, sizeof row));
  cmk_error_free(e);
  e = NULL;
  table.how = RETURNS_DETAIL;
  table.code = CMK_ERR_KEY_STORE;
  CHECK(SEAL(keyring) == CMK_ERR_KEY_STORE && strstr(cmk_error_message(e), "table is locked") != NULL);
  CHECK(cmk_error_retryable(e));
  cmk_error_free(e);
  e = NULL;
  table.how = PUTS_NOTHING;
  FAILS(SEAL(keyring), CMK_ERR_KEY_STORE, e);

  table.how = BEHAVES;
  OK(SEAL(keyring), e);
  OK(OPEN(keyring), e);
  CHECK(len == 6 && memcmp(out, "secret", 6) == 0);

  /* Another keyring has to ask the store. */
  cmk_keyring *second = table_keyring(&table, "local:old");
  table.how = PUTS_NOTHING; /* no such row */
  FAILS(OPEN(second), CMK_ERR_KEY_STORE, e);
  table.how = RETURNS_CODE;
  FAILS(OPEN(second), CMK_ERR_KEY_STORE, e);
  table.how = BEHAVES;
  OK(OPEN(second), e);

  /* Rewrapping rewrites rows, not documents; a lost race is run again. */
  table.loses_races = true;
  OK(cmk_keyring_rewrap_key_store(keyring, "local:new", CMK_RECIPIENTS_ONLY, &rewritten, &e), e);
  CHECK(rewritten == 1);
  cmk_keyring *third = table_keyring(&table, "local:new");
  OK(OPEN(third), e);
  CHECK(len == 6 && memcmp(out, "secret", 6) == 0);
  FAILS(cmk_keyring_rewrap_key_store(keyring, "local:new", 5, &rewritten, &e), CMK_ERR_INVALID_ARGUMENT, e);

  /* A store that never replaces anything ends in an error, and not never. */
  table.loses_races = table.loses_them_all = true;
  CHECK(cmk_keyring_rewrap_key_store(keyring, "local:new", CMK_RECIPIENTS_ONLY, &rewritten, &e) == CMK_ERR_KEY_STORE);
  CHECK(cmk_error_retryable(e) && rewritten == 0);
  cmk_error_free(e);
  e = NULL;
  table.loses_races = table.loses_them_all = false;

  /* A store that calls back is refused, not called for ever. */
  table.keyring = keyring;
  OK(cmk_keyring_rewrap_key_store(keyring, "local:new", CMK_RECIPIENTS_KEEP, &rewritten, &e), e);
  CHECK(table.inner == CMK_ERR_POLICY && rewritten == 1);
  table.keyring = NULL;

  stores_that_are_replaced();
  cmk_keyring_free(third);
  cmk_keyring_free(second);
  cmk_keyring_free(keyring);
  CHECK(table.destroyed == 3);
  return 0;
}
