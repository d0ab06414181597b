/* A key provider of one's own, failing in each way. */
#include "vault.h"

static void it_works(void) {
  cmk_error *e = NULL;
  struct vault vault;
  vault_init(&vault);
  cmk_keyring *keyring = vault_keyring(&vault);
  uint8_t text[100], out[100];
  size_t sealed_len = 0, len = 0;
  fill(text, sizeof text, 1);
  for (int i = 0; i < 10; i++) {
    uint8_t *sealed = seal(keyring, text, sizeof text, NULL, &sealed_len);
    OK(cmk_keyring_decrypt(keyring, sealed, sealed_len, NULL, out, sizeof out, &len, &e), e);
    CHECK(len == sizeof text && memcmp(text, out, len) == 0);
    free(sealed);
  }
  /* One data key for all of them. */
  CHECK(vault.wraps == 1 && vault.unwraps <= 1);
  cmk_keyring_free(keyring);
  CHECK(vault.destroyed == 1);
}

/* The first encryption, with a provider that misbehaves so. */
static cmk_result wrap_once(enum misbehaviour how, cmk_result code, cmk_error **e) {
  struct vault vault;
  vault_init(&vault);
  vault.how = how;
  vault.code = code;
  cmk_keyring *keyring = vault_keyring(&vault);
  vault.keyring = keyring;
  vault.inner = CMK_OK;
  uint8_t out[512];
  size_t len = 99;
  memset(out, 1, sizeof out);
  cmk_result result = cmk_keyring_encrypt(keyring, (const uint8_t *)"x", 1, NULL, out, sizeof out, &len, e);
  CHECK(result == CMK_OK ? len > 0 : len == 0 && all_zero(out, sizeof out));
  if (how == CALLS_BACK) CHECK(vault.inner == CMK_ERR_POLICY);
  cmk_keyring_free(keyring);
  CHECK(vault.destroyed == 1);
  return result;
}

/* A decryption by a fresh keyring, whose provider misbehaves so. */
static cmk_result unwrap_once(enum misbehaviour how, cmk_result code, cmk_error **e) {
  struct vault vault, other;
  vault_init(&vault);
  vault_init(&other);
  cmk_keyring *keyring = vault_keyring(&vault), *fresh = vault_keyring(&other);
  size_t sealed_len = 0, len = 99;
  uint8_t out[64];
  uint8_t *sealed = seal(keyring, (const uint8_t *)"x", 1, NULL, &sealed_len);
  other.how = how;
  other.code = code;
  other.keyring = fresh;
  memset(out, 1, sizeof out);
  cmk_result result = cmk_keyring_decrypt(fresh, sealed, sealed_len, NULL, out, sizeof out, &len, e);
  CHECK(result == CMK_OK ? len == 1 && out[0] == 'x' : len == 0 && all_zero(out, sizeof out));
  free(sealed);
  cmk_keyring_free(fresh);
  cmk_keyring_free(keyring);
  CHECK(vault.destroyed == 1 && other.destroyed == 1);
  return result;
}

static void codes_arrive(void) {
  static const struct {
    cmk_result said, wrap, unwrap;
    bool retryable;
  } cases[] = {
      {CMK_ERR_KEY_NOT_FOUND, CMK_ERR_KEY_NOT_FOUND, CMK_ERR_KEY_NOT_FOUND, false},
      {CMK_ERR_KEY_DISABLED, CMK_ERR_KEY_DISABLED, CMK_ERR_KEY_DISABLED, false},
      {CMK_ERR_ACCESS_DENIED, CMK_ERR_ACCESS_DENIED, CMK_ERR_ACCESS_DENIED, false},
      {CMK_ERR_KEY_UNUSABLE, CMK_ERR_KEY_UNUSABLE, CMK_ERR_KEY_UNUSABLE, false},
      {CMK_ERR_THROTTLED, CMK_ERR_THROTTLED, CMK_ERR_THROTTLED, true},
      {CMK_ERR_UNAVAILABLE, CMK_ERR_UNAVAILABLE, CMK_ERR_UNAVAILABLE, true},
      {CMK_ERR_IDENTITY, CMK_ERR_IDENTITY, CMK_ERR_IDENTITY, false},
      {CMK_ERR_PROVIDER, CMK_ERR_PROVIDER, CMK_ERR_PROVIDER, false},
      {CMK_ERR_IO, CMK_ERR_PROVIDER, CMK_ERR_PROVIDER, false},
      {4711, CMK_ERR_PROVIDER, CMK_ERR_PROVIDER, false},
      {CMK_ERR_AUTHENTICATION, CMK_ERR_AUTHENTICATION, CMK_ERR_AUTHENTICATION, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (int way = 0; way < 4; way++) {
      cmk_error *e = NULL;
      enum misbehaviour how = way % 2 == 0 ? RETURNS_CODE : RETURNS_DETAIL;
      cmk_result got = way < 2 ? wrap_once(how, cases[i].said, &e) : unwrap_once(how, cases[i].said, &e);
      cmk_result wanted = way < 2 ? cases[i].wrap : cases[i].unwrap;
      if (got != wanted) fprintf(stderr, "%u became %u, not %u\n", cases[i].said, got, wanted);
      CHECK(got == wanted && cmk_error_code(e) == wanted && cmk_error_retryable(e) == cases[i].retryable);
      if (wanted != CMK_ERR_AUTHENTICATION) {
        CHECK(strncmp(cmk_error_key_id(e), "vault:team", 10) == 0);
        if (how == RETURNS_DETAIL) {
          CHECK(strstr(cmk_error_message(e), "lunch break") != NULL && strcmp(cmk_error_request_id(e), "req-7") == 0);
          CHECK(cmk_error_retry_after_ms(e) == 1500 && cmk_error_http_status(e) == 429);
        } else {
          CHECK(cmk_error_request_id(e) == NULL && cmk_error_http_status(e) == 0);
        }
      }
      cmk_error_free(e);
    }
  }
}

static void answers_that_are_none(void) {
  cmk_error *e = NULL;
  FAILS(wrap_once(PUTS_NOTHING, 0, &e), CMK_ERR_PROVIDER, e);
  FAILS(wrap_once(PUTS_NO_KEY_ID, 0, &e), CMK_ERR_PROVIDER, e);
  CHECK(wrap_once(PUTS_GARBAGE, 0, &e) != CMK_OK);
  cmk_error_free(e);
  e = NULL;
  OK(wrap_once(PUTS_TWICE, 0, &e), e);
  OK(wrap_once(PUTS_WRONG_THING, 0, &e), e);
  OK(wrap_once(CALLS_BACK, 0, &e), e);

  FAILS(unwrap_once(PUTS_NOTHING, 0, &e), CMK_ERR_PROVIDER, e);
  FAILS(unwrap_once(PUTS_GARBAGE, 0, &e), CMK_ERR_AUTHENTICATION, e);
  FAILS(unwrap_once(PUTS_SHORT, 0, &e), CMK_ERR_AUTHENTICATION, e);
  OK(unwrap_once(PUTS_WRONG_THING, 0, &e), e);
  OK(unwrap_once(CALLS_BACK, 0, &e), e); /* encrypting while decrypting asks for another key: that may work or not, but not hang */
}

static void states(void) {
  cmk_error *e = NULL;
  struct vault vault;
  vault_init(&vault);
  cmk_keyring *keyring = vault_keyring(&vault);
  size_t sealed_len = 0, len = 0;
  uint8_t out[8];
  uint8_t *sealed = seal(keyring, (const uint8_t *)"x", 1, NULL, &sealed_len);
#define OPEN() cmk_keyring_decrypt(keyring, sealed, sealed_len, NULL, out, sizeof out, &len, &e)
  OK(OPEN(), e);
  vault.state = CMK_KEY_STATE_UNAVAILABLE;
  OK(OPEN(), e);
  vault.state = CMK_KEY_STATE_REVOKED;
  vault.how = RETURNS_CODE;
  vault.code = CMK_ERR_KEY_DISABLED;
  FAILS(OPEN(), CMK_ERR_KEY_DISABLED, e);
  vault.state = 77;
  FAILS(OPEN(), CMK_ERR_KEY_DISABLED, e);
  vault.state = CMK_KEY_STATE_ACTIVE;
  vault.how = BEHAVES;
  OK(OPEN(), e);
  free(sealed);
  cmk_keyring_free(keyring);
}

static int32_t swallow(void *userdata, const uint8_t *data, size_t len) {
  (void)userdata, (void)data, (void)len;
  return 0;
}

static void destroyed_exactly_once(void) {
  cmk_error *e = NULL;
  struct vault vault;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *one = NULL, *two = NULL;
  vault_init(&vault);
  OK(cmk_keyring_builder_new(&builder, &e), e);
  vault_add(builder, &vault);
  OK(cmk_keyring_builder_build(builder, &one, &e), e);
  OK(cmk_keyring_builder_build(builder, &two, &e), e);
  cmk_keyring_free(one);
  cmk_keyring_builder_free(builder);
  CHECK(vault.destroyed == 0);
  cmk_keyring_free(two);
  CHECK(vault.destroyed == 1);

  /* An encryptor keeps it until its end; a decryptor has what it needs. */
  vault_init(&vault);
  one = vault_keyring(&vault);
  cmk_encryptor *encryptor = NULL;
  OK(cmk_encryptor_new(one, NULL, swallow, NULL, NULL, &encryptor, &e), e);
  cmk_keyring_free(one);
  CHECK(vault.destroyed == 0);
  OK(cmk_encryptor_write(encryptor, (const uint8_t *)"x", 1, &e), e);
  OK(cmk_encryptor_finish(encryptor, &e), e);
  CHECK(vault.destroyed == 1);
  cmk_encryptor_free(encryptor);
  CHECK(vault.destroyed == 1);

  /* A builder that never builds, and one that fails to. */
  vault_init(&vault);
  OK(cmk_keyring_builder_new(&builder, &e), e);
  vault_add(builder, &vault);
  OK(cmk_keyring_builder_wrap_with(builder, "local:nobody-has-it", &e), e);
  FAILS(cmk_keyring_builder_build(builder, &one, &e), CMK_ERR_POLICY, e);
  CHECK(vault.destroyed == 0);
  cmk_keyring_builder_free(builder);
  CHECK(vault.destroyed == 1);
}

/* The keyring that `state` and `owns` call, and what that came to. */
static const cmk_keyring *called;
static cmk_result call_inner;
static int call_depth;

static void call_keyring(void) {
  uint8_t out[512];
  size_t len = 0;
  CHECK(call_depth++ == 0);
  if (called != NULL) {
    call_inner = cmk_keyring_encrypt(called, (const uint8_t *)"x", 1, NULL, out, sizeof out, &len, NULL);
    CHECK(len == 0 && all_zero(out, sizeof out));
  }
  call_depth--;
}

static uint32_t state_that_calls(void *userdata, const char *key) {
  call_keyring();
  return vault_state(userdata, key);
}

static int32_t owns_that_calls(void *userdata, const char *key) {
  (void)userdata;
  call_keyring();
  return strncmp(key, "vault:", 6) == 0;
}

static void quick_callbacks_that_call_back(void) {
  cmk_error *e = NULL;
  for (int which = 0; which < 2; which++) {
    struct vault vault;
    cmk_keyring_builder *builder = NULL;
    cmk_keyring *keyring = NULL;
    vault_init(&vault);
    cmk_provider provider;
    memset(&provider, 0, sizeof provider);
    provider.struct_size = sizeof provider;
    provider.userdata = &vault;
    provider.name = "vault";
    provider.wrap = vault_wrap;
    provider.unwrap = vault_unwrap;
    if (which == 0) provider.state = state_that_calls;
    if (which == 1) provider.owns = owns_that_calls;
    OK(cmk_keyring_builder_new(&builder, &e), e);
    OK(cmk_keyring_builder_add_provider(builder, &provider, &e), e);
    OK(cmk_keyring_builder_wrap_with(builder, "vault:team", &e), e);
    OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
    cmk_keyring_builder_free(builder);
    called = keyring;
    for (int i = 0; i < 2; i++) { /* with an empty cache, and from the cache */
      uint8_t out[8];
      size_t sealed_len = 0, len = 0;
      call_inner = CMK_OK;
      uint8_t *sealed = seal(keyring, (const uint8_t *)"x", 1, NULL, &sealed_len);
      OK(cmk_keyring_decrypt(keyring, sealed, sealed_len, NULL, out, sizeof out, &len, &e), e);
      if (which == 0 || i == 0) CHECK(call_inner == CMK_ERR_POLICY); /* Who owns a key is not asked again. */
      free(sealed);
    }
    called = NULL;
    cmk_keyring_free(keyring);
  }
}

/* Runs when its thread ends, after what cmkit keeps for each thread is gone. */
static void encrypt_at_the_end(void *keyring) {
  uint8_t out[512];
  size_t len = 0;
  CHECK(cmk_keyring_encrypt(keyring, (const uint8_t *)"x", 1, NULL, out, sizeof out, &len, NULL) == CMK_OK && len > 0);
}

static void *set_key(void *argument) {
  void **key_and_keyring = argument;
  encrypt_at_the_end(key_and_keyring[1]);
  CHECK(pthread_setspecific(*(pthread_key_t *)key_and_keyring[0], key_and_keyring[1]) == 0);
  return NULL;
}

static void a_thread_that_ends(void) {
  struct vault vault;
  pthread_key_t key;
  pthread_t thread;
  cmk_error *e = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  vault_init(&vault);
  OK(cmk_keyring_builder_new(&builder, &e), e);
  vault_add(builder, &vault);
  OK(cmk_keyring_builder_wrap_with(builder, "vault:team", &e), e);
  OK(cmk_keyring_builder_max_age_ms(builder, 0, &e), e); /* so that the provider is called each time */
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  void *key_and_keyring[] = {&key, keyring};
  CHECK(pthread_key_create(&key, encrypt_at_the_end) == 0);
  CHECK(pthread_create(&thread, NULL, set_key, key_and_keyring) == 0);
  CHECK(pthread_join(thread, NULL) == 0 && pthread_key_delete(key) == 0);
  CHECK(vault.wraps == 2);
  cmk_keyring_free(keyring);
}

static cmk_result fails_with_nothing_said(void *userdata, const char *key, const uint8_t *plaintext, size_t len,
                                          cmk_sink *sink) {
  (void)userdata, (void)key, (void)plaintext, (void)len;
  cmk_failure failure = {.struct_size = sizeof failure, .message = "", .request_id = ""};
  CHECK(cmk_sink_fail(sink, &failure) == CMK_OK);
  return CMK_ERR_ACCESS_DENIED;
}

static void empty_texts_are_none(void) {
  cmk_error *e = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  size_t len = 0;
  cmk_provider provider;
  memset(&provider, 0, sizeof provider);
  provider.struct_size = sizeof provider;
  provider.name = "vault";
  provider.wrap = fails_with_nothing_said;
  provider.unwrap = vault_unwrap;
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_add_provider(builder, &provider, &e), e);
  OK(cmk_keyring_builder_wrap_with(builder, "vault:team", &e), e);
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  CHECK(cmk_keyring_encrypted_len(keyring, 1, &len, &e) == CMK_ERR_ACCESS_DENIED);
  CHECK(strstr(cmk_error_message(e), "gave no message") != NULL && cmk_error_request_id(e) == NULL);
  cmk_error_free(e);
  cmk_keyring_free(keyring);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  it_works();
  codes_arrive();
  answers_that_are_none();
  states();
  destroyed_exactly_once();
  quick_callbacks_that_call_back();
  a_thread_that_ends();
  empty_texts_are_none();
  return 0;
}
