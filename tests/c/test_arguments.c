/* What C can pass and must not: NULL, wrong sizes, numbers that mean nothing. Everything is CMK_ERR_INVALID_ARGUMENT, or the harmless
 * answer where there is no code; nothing crashes. */
#include "check.h"

#define BAD CMK_ERR_INVALID_ARGUMENT

static void null_handles(void) {
  cmk_error *e = NULL;
  size_t n = 99;
  uint64_t u = 99;
  uint8_t out[8] = {1};
  FAILS(cmk_keyring_encrypt(NULL, out, 1, NULL, out + 4, 4, &n, &e), BAD, e);
  CHECK(n == 0 && all_zero(out + 4, 4));
  FAILS(cmk_keyring_encrypt_compact(NULL, out, 1, NULL, out + 4, 4, &n, &e), BAD, e);
  FAILS(cmk_keyring_decrypt(NULL, out, 1, NULL, out + 4, 4, &n, &e), BAD, e);
  FAILS(cmk_keyring_encrypted_len(NULL, 1, &n, &e), BAD, e);
  FAILS(cmk_keyring_compact_len(NULL, 1, &n, &e), BAD, e);
  FAILS(cmk_keyring_encrypt_file(NULL, "a", "b", NULL, NULL, &u, &e), BAD, e);
  FAILS(cmk_keyring_decrypt_file(NULL, "a", "b", NULL, NULL, &u, &e), BAD, e);
  CHECK(u == 0);
  cmk_buffer *buffer = (cmk_buffer *)&n;
  FAILS(cmk_keyring_rewrap(NULL, out, 1, "local:a", CMK_RECIPIENTS_KEEP, &buffer, &e), BAD, e);
  CHECK(buffer == NULL);
  FAILS(cmk_keyring_rewrap_file(NULL, "a", "local:a", CMK_RECIPIENTS_KEEP, NULL, &e), BAD, e);
  FAILS(cmk_keyring_rewrap_key_store(NULL, "local:a", CMK_RECIPIENTS_KEEP, NULL, &e), BAD, e);
  FAILS(cmk_decrypted_len(NULL, 1, &n, &e), BAD, e);
  FAILS(cmk_inspection_new(NULL, 1, NULL, &e), BAD, e);
  FAILS(cmk_default_dir(NULL, &e), BAD, e);
  FAILS(cmk_keyring_local(NULL, &e), BAD, e);
  FAILS(cmk_context_new(NULL, 1, NULL, &e), BAD, e);

  FAILS(cmk_keyring_builder_new(NULL, &e), BAD, e);
  FAILS(cmk_keyring_builder_add_local(NULL, NULL, &e), BAD, e);
  FAILS(cmk_keyring_builder_add_provider(NULL, NULL, &e), BAD, e);
  FAILS(cmk_keyring_builder_key_store(NULL, NULL, &e), BAD, e);
  FAILS(cmk_keyring_builder_key_store_directory(NULL, "x", &e), BAD, e);
  FAILS(cmk_keyring_builder_wrap_with(NULL, "local:a", &e), BAD, e);
  FAILS(cmk_keyring_builder_allow_key(NULL, "local:a", &e), BAD, e);
  FAILS(cmk_keyring_builder_allow_host(NULL, "h", &e), BAD, e);
  FAILS(cmk_keyring_builder_workspace(NULL, "w", &e), BAD, e);
  FAILS(cmk_keyring_builder_max_age_ms(NULL, 1, &e), BAD, e);
  FAILS(cmk_keyring_builder_max_messages(NULL, 1, &e), BAD, e);
  FAILS(cmk_keyring_builder_max_bytes(NULL, 1, &e), BAD, e);
  FAILS(cmk_keyring_builder_max_entries(NULL, 1, &e), BAD, e);
  cmk_keyring *keyring = (cmk_keyring *)&n;
  FAILS(cmk_keyring_builder_build(NULL, &keyring, &e), BAD, e);
  CHECK(keyring == NULL);

  char id[CMK_KEY_ID_CAPACITY];
  memset(id, 1, sizeof id);
  FAILS(cmk_local_provider_open(scratch("keys"), NULL, &e), BAD, e);
  FAILS(cmk_local_provider_open_or_create(scratch("keys"), NULL, &e), BAD, e);
  FAILS(cmk_local_provider_create_key(NULL, "a", CMK_KEY_TYPE_OCT_256, id, sizeof id, &e), BAD, e);
  CHECK(id[0] == 0);
  FAILS(cmk_local_provider_create_key_if_absent(NULL, "a", CMK_KEY_TYPE_OCT_256, NULL, id, sizeof id, &e), BAD, e);
  FAILS(cmk_local_provider_rotate(NULL, "a", id, sizeof id, &e), BAD, e);
  FAILS(cmk_local_provider_disable(NULL, "a", &e), BAD, e);
  FAILS(cmk_local_provider_enable(NULL, "a", &e), BAD, e);
  FAILS(cmk_local_provider_list(NULL, NULL, &e), BAD, e);

  FAILS(cmk_encryptor_new(NULL, NULL, NULL, NULL, NULL, NULL, &e), BAD, e);
  FAILS(cmk_encryptor_new_fd(NULL, NULL, 1, NULL, NULL, &e), BAD, e);
  FAILS(cmk_encryptor_write(NULL, out, 1, &e), BAD, e);
  FAILS(cmk_encryptor_finish(NULL, &e), BAD, e);
  FAILS(cmk_decryptor_new(NULL, NULL, NULL, NULL, NULL, NULL, &e), BAD, e);
  FAILS(cmk_decryptor_new_fd(NULL, NULL, 1, NULL, NULL, &e), BAD, e);
  FAILS(cmk_decryptor_read(NULL, out, 1, &n, &e), BAD, e);
  FAILS(cmk_reader_new(NULL, NULL, NULL, NULL, &e), BAD, e);
  FAILS(cmk_reader_open_fd(NULL, NULL, 1, NULL, &e), BAD, e);
  FAILS(cmk_reader_open_file(NULL, NULL, "x", NULL, &e), BAD, e);
  FAILS(cmk_reader_read_at(NULL, 0, out, 1, &n, &e), BAD, e);

  CHECK(cmk_sink_put(NULL, out, 1) == BAD && cmk_sink_put_key(NULL, "x", 1) == BAD);
  CHECK(cmk_sink_put_tag(NULL, out, 1) == BAD && cmk_sink_put_id(NULL, out) == BAD);
  CHECK(cmk_sink_put_done(NULL, 1) == BAD && cmk_sink_fail(NULL, NULL) == BAD);

  /* Without a place for the error the code says it all. */
  CHECK(cmk_keyring_encrypted_len(NULL, 1, &n, NULL) == BAD);
}

static void answers_about_nothing(void) {
  CHECK(cmk_error_code(NULL) == CMK_OK && cmk_error_message(NULL)[0] == 0 && cmk_error_key_id(NULL) == NULL);
  CHECK(!cmk_error_retryable(NULL) && cmk_error_retry_after_ms(NULL) == 0 && cmk_error_http_status(NULL) == 0);
  CHECK(cmk_error_request_id(NULL) == NULL && cmk_error_system_code(NULL) == 0 && cmk_error_bytes_needed(NULL) == 0);
  CHECK(cmk_buffer_data(NULL) == NULL && cmk_buffer_len(NULL) == 0);
  CHECK(cmk_key_list_len(NULL) == 0 && cmk_key_list_id(NULL, 0) == NULL && cmk_key_list_state(NULL, 0) == NULL);
  CHECK(cmk_key_list_type(NULL, 0) == 0 && cmk_key_list_created(NULL, 0) == 0);
  CHECK(!cmk_key_list_newest(NULL, 0) && !cmk_key_list_public_only(NULL, 0));
  CHECK(cmk_reader_len(NULL) == 0 && !cmk_is_envelope(NULL, 100));
  CHECK(cmk_inspection_version(NULL) == 0 && cmk_inspection_dek_id(NULL) == NULL);
  CHECK(cmk_inspection_workspace(NULL) == NULL && cmk_inspection_recipients_len(NULL) == 0);
  CHECK(strcmp(cmk_result_name(CMK_ERR_TRUNCATED), "CMK_ERR_TRUNCATED") == 0);
  CHECK(strcmp(cmk_result_name(12345), "CMK_?") == 0 && strcmp(cmk_result_name(CMK_OK), "CMK_OK") == 0);
  cmk_error_free(NULL);
  cmk_buffer_free(NULL);
  cmk_context_free(NULL);
  cmk_keyring_free(NULL);
  cmk_keyring_builder_free(NULL);
  cmk_local_provider_free(NULL);
  cmk_key_list_free(NULL);
  cmk_encryptor_free(NULL);
  cmk_decryptor_free(NULL);
  cmk_reader_free(NULL);
  cmk_inspection_free(NULL);
}

static void null_among_the_arguments(void) {
  cmk_error *e = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  uint8_t in[4] = {1, 2, 3, 4}, out[400];
  size_t n = 99;
  FAILS(cmk_keyring_encrypt(keyring, NULL, 4, NULL, out, sizeof out, &n, &e), BAD, e);
  FAILS(cmk_keyring_encrypt(keyring, in, 4, NULL, NULL, 400, &n, &e), BAD, e);
  CHECK(n == 0);
  n = 99;
  memset(out, 1, sizeof out);
  FAILS(cmk_keyring_encrypt(keyring, in, 4, NULL, out, sizeof out, NULL, &e), BAD, e);
  CHECK(all_zero(out, sizeof out));
  memset(out, 1, sizeof out);
  FAILS(cmk_keyring_encrypt(keyring, in, 4, NULL, out, sizeof out, (size_t *)((uintptr_t)&n + 1), &e), BAD, e);
  CHECK(all_zero(out, sizeof out) && n == 99);
  FAILS(cmk_keyring_encrypt(keyring, in, SIZE_MAX, NULL, out, sizeof out, &n, &e), BAD, e);
  FAILS(cmk_keyring_encrypt(keyring, in, 4, NULL, out, SIZE_MAX, &n, &e), BAD, e);
  FAILS(cmk_keyring_encrypted_len(keyring, SIZE_MAX, &n, &e), BAD, e);
  FAILS(cmk_keyring_encrypted_len(keyring, 4, NULL, &e), BAD, e);
  FAILS(cmk_keyring_decrypt(keyring, NULL, 4, NULL, out, sizeof out, &n, &e), BAD, e);

  /* A pointer that can't be one of the kind. */
  FAILS(cmk_keyring_encrypt((const cmk_keyring *)((uintptr_t)keyring + 1), in, 4, NULL, out, sizeof out, &n, &e), BAD, e);

  cmk_encryptor *encryptor = (cmk_encryptor *)&n;
  FAILS(cmk_encryptor_new(keyring, NULL, NULL, NULL, NULL, &encryptor, &e), BAD, e);
  CHECK(encryptor == NULL);
  FAILS(cmk_encryptor_new_fd(keyring, NULL, -1, NULL, &encryptor, &e), BAD, e);
  FAILS(cmk_encryptor_new_fd(keyring, NULL, -100, NULL, &encryptor, &e), BAD, e);
  cmk_decryptor *decryptor = NULL;
  FAILS(cmk_decryptor_new(keyring, NULL, NULL, NULL, NULL, &decryptor, &e), BAD, e);
  cmk_reader *reader = NULL;
  FAILS(cmk_reader_new(keyring, NULL, NULL, &reader, &e), BAD, e);
  FAILS(cmk_reader_open_file(keyring, NULL, NULL, &reader, &e), BAD, e);
  FAILS(cmk_reader_open_file(keyring, NULL, "", &reader, &e), BAD, e);
  FAILS(cmk_keyring_encrypt_file(keyring, NULL, "b", NULL, NULL, NULL, &e), BAD, e);
  FAILS(cmk_keyring_encrypt_file(keyring, "a", NULL, NULL, NULL, NULL, &e), BAD, e);
  cmk_keyring_free(keyring);
}

static void contexts(void) {
  cmk_error *e = NULL;
  cmk_context *context = NULL;
  static char value[8200];
  memset(value, 'x', sizeof value);
  cmk_pair pairs[] = {CMK_PAIR("a", "1"), CMK_PAIR("b", "2"), CMK_PAIR("a", "3")};
  FAILS(cmk_context_new(pairs, 3, &context, &e), BAD, e);
  OK(cmk_context_new(pairs, 2, &context, &e), e);
  cmk_context_free(context);
  OK(cmk_context_new(NULL, 0, &context, &e), e);
  cmk_context_free(context);
  cmk_pair empty[] = {{NULL, 0, NULL, 0}};
  OK(cmk_context_new(empty, 1, &context, &e), e);
  cmk_context_free(context);
  cmk_pair null[] = {{NULL, 1, "x", 1}};
  FAILS(cmk_context_new(null, 1, &context, &e), BAD, e);
  cmk_pair not_text[] = {{"\xff", 1, "x", 1}};
  FAILS(cmk_context_new(not_text, 1, &context, &e), BAD, e);
  cmk_pair large[] = {{"k", 1, value, 8187}};
  FAILS(cmk_context_new(large, 1, &context, &e), BAD, e);
  large[0].value_len = 8186;
  OK(cmk_context_new(large, 1, &context, &e), e);
  cmk_context_free(context);
  FAILS(cmk_context_new(pairs, SIZE_MAX / 8, &context, &e), BAD, e);
}

static int32_t no_write(void *userdata, const uint8_t *data, size_t len) {
  (void)userdata, (void)data, (void)len;
  return 0;
}

static cmk_result no_wrap(void *u, const char *key, const uint8_t *p, size_t n, cmk_sink *sink) {
  (void)u, (void)key, (void)p, (void)n, (void)sink;
  return CMK_ERR_PROVIDER;
}

static cmk_result no_unwrap(void *u, const char *key, int32_t algorithm, const uint8_t *p, size_t n, cmk_sink *sink) {
  (void)u, (void)key, (void)algorithm, (void)p, (void)n, (void)sink;
  return CMK_ERR_PROVIDER;
}

static void must_not_run(void *userdata) {
  (void)userdata;
  CHECK(!"destroy ran for what was never taken");
}

static void structures(void) {
  cmk_error *e = NULL;
  cmk_keyring_builder *builder = NULL;
  OK(cmk_keyring_builder_new(&builder, &e), e);

  /* One that a later header could have: longer than ours. */
  struct {
    cmk_provider provider;
    uint64_t later[2];
  } newer;
  memset(&newer, 0, sizeof newer);
  cmk_provider *p = &newer.provider;
  p->name = "mine";
  p->wrap = no_wrap;
  p->unwrap = no_unwrap;
  p->destroy = must_not_run;
  static const size_t sizes[] = {0, 1, sizeof(size_t), offsetof(cmk_provider, remote) - 1, 4097, SIZE_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    p->struct_size = sizes[i];
    FAILS(cmk_keyring_builder_add_provider(builder, p, &e), BAD, e);
  }
  p->struct_size = sizeof newer;
  newer.later[1] = 1;
  FAILS(cmk_keyring_builder_add_provider(builder, p, &e), CMK_UNSUPPORTED, e);
  p->struct_size = sizeof *p;
  p->wrap = NULL;
  FAILS(cmk_keyring_builder_add_provider(builder, p, &e), BAD, e);
  p->wrap = no_wrap;
  p->unwrap = NULL;
  FAILS(cmk_keyring_builder_add_provider(builder, p, &e), BAD, e);
  p->unwrap = no_unwrap;
  static const char *const names[] = {NULL, "", "a-name-of-sixty-five-bytes-is-one-byte-more-than-there-is-room-for", "\xff"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    p->name = names[i];
    FAILS(cmk_keyring_builder_add_provider(builder, p, &e), BAD, e);
  }
  p->name = "mine";
  p->destroy = NULL;
  p->struct_size = sizeof newer;
  newer.later[1] = 0;
  OK(cmk_keyring_builder_add_provider(builder, p, &e), e);
  OK(cmk_keyring_builder_wrap_with(builder, "mine:key", &e), e);

  cmk_key_store store;
  memset(&store, 0, sizeof store);
  FAILS(cmk_keyring_builder_key_store(builder, &store, &e), BAD, e);
  store.struct_size = sizeof store;
  FAILS(cmk_keyring_builder_key_store(builder, &store, &e), BAD, e);
  cmk_keyring_builder_free(builder);

  cmk_keyring *keyring = make_keyring("team", NULL);
  cmk_encryptor *encryptor = NULL;
  cmk_stream_options stream = {.struct_size = sizeof stream, .threads = 1, .header_padding = 7};
  FAILS(cmk_encryptor_new(keyring, NULL, no_write, NULL, &stream, &encryptor, &e), BAD, e);
  stream.header_padding = CMK_PADDING_FILE;
  stream.struct_size = 3;
  FAILS(cmk_encryptor_new(keyring, NULL, no_write, NULL, &stream, &encryptor, &e), BAD, e);
  stream.struct_size = sizeof stream;
  OK(cmk_encryptor_new(keyring, NULL, no_write, NULL, &stream, &encryptor, &e), e);
  cmk_encryptor_free(encryptor);

  cmk_file_options file = {.struct_size = sizeof file, .overwrite = 2};
  FAILS(cmk_keyring_encrypt_file(keyring, scratch("a"), scratch("b"), NULL, &file, NULL, &e), BAD, e);
  cmk_source source;
  memset(&source, 0, sizeof source);
  source.destroy = must_not_run;
  cmk_reader *reader = NULL;
  FAILS(cmk_reader_new(keyring, NULL, &source, &reader, &e), BAD, e);
  source.struct_size = sizeof source;
  FAILS(cmk_reader_new(keyring, NULL, &source, &reader, &e), BAD, e);
  cmk_keyring_free(keyring);
}

static void builders(void) {
  cmk_error *e = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_local_provider *provider = NULL;
  cmk_keyring *keyring = NULL;
  char long_name[600];
  memset(long_name, 'w', sizeof long_name);
  long_name[513] = 0;
  OK(cmk_local_provider_open_or_create(scratch("keys"), &provider, &e), e);
  OK(cmk_keyring_builder_new(&builder, &e), e);
  FAILS(cmk_keyring_builder_wrap_with(builder, "local:../x", &e), BAD, e);
  FAILS(cmk_keyring_builder_wrap_with(builder, "default", &e), BAD, e);
  FAILS(cmk_keyring_builder_wrap_with(builder, NULL, &e), BAD, e);
  FAILS(cmk_keyring_builder_wrap_with(builder, "\xff\xfe", &e), BAD, e);
  FAILS(cmk_keyring_builder_allow_key(builder, "https://u@h/keys/a", &e), BAD, e);
  OK(cmk_keyring_builder_wrap_with(builder, "local:team", &e), e);
  FAILS(cmk_keyring_builder_build(builder, &keyring, &e), CMK_ERR_POLICY, e); /* no provider for it */
  OK(cmk_keyring_builder_add_local(builder, provider, &e), e);
  OK(cmk_keyring_builder_workspace(builder, "", &e), e);
  FAILS(cmk_keyring_builder_build(builder, &keyring, &e), BAD, e);
  OK(cmk_keyring_builder_workspace(builder, long_name, &e), e);
  FAILS(cmk_keyring_builder_build(builder, &keyring, &e), BAD, e);
  OK(cmk_keyring_builder_workspace(builder, "acme", &e), e);
  OK(cmk_keyring_builder_max_messages(builder, (uint64_t)1 << 33, &e), e);
  FAILS(cmk_keyring_builder_build(builder, &keyring, &e), BAD, e);
  OK(cmk_keyring_builder_max_messages(builder, 5, &e), e);
  OK(cmk_keyring_builder_max_age_ms(builder, 25u * 3600 * 1000, &e), e);
  FAILS(cmk_keyring_builder_build(builder, &keyring, &e), BAD, e);
  OK(cmk_keyring_builder_max_age_ms(builder, 0, &e), e);
  OK(cmk_keyring_builder_max_bytes(builder, 1 << 20, &e), e);
  OK(cmk_keyring_builder_max_entries(builder, 3, &e), e);
  OK(cmk_keyring_builder_allow_key(builder, "local:old", &e), e);
  OK(cmk_keyring_builder_allow_host(builder, "v.example.net", &e), e);
  cmk_keyring_builder *typo = NULL;
  OK(cmk_keyring_builder_new(&typo, &e), e);
  OK(cmk_keyring_builder_allow_host(typo, "https://v.example.net", &e), e);
  FAILS(cmk_keyring_builder_build(typo, &keyring, &e), BAD, e);
  cmk_keyring_builder_free(typo);

  /* It builds more than once, and what was built goes on without it. */
  cmk_keyring *second = NULL;
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  OK(cmk_keyring_builder_build(builder, &second, &e), e);
  cmk_keyring_builder_free(builder);
  OK(cmk_local_provider_create_key(provider, "team", CMK_KEY_TYPE_OCT_256, NULL, 0, &e), e);
  cmk_local_provider_free(provider);
  size_t len = 0, back = 0;
  uint8_t out[8];
  uint8_t *sealed = seal(keyring, (const uint8_t *)"x", 1, NULL, &len);
  OK(cmk_keyring_decrypt(second, sealed, len, NULL, out, sizeof out, &back, &e), e);
  free(sealed);
  cmk_keyring_free(second);
  cmk_keyring_free(keyring);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  CHECK(strcmp(cmk_version(), "0.1.0") == 0);
  null_handles();
  answers_about_nothing();
  builders();
  null_among_the_arguments();
  contexts();
  structures();
  return 0;
}
