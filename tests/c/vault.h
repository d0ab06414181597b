/* A key provider and a key store in C, which fail on demand. The "wrapping" hides nothing: it is for tests. */
#ifndef VAULT_H
#define VAULT_H

#include <pthread.h>

#include "check.h"

#define VAULT_KEY "vault:team/0123456789abcdef0123456789abcdef"

enum misbehaviour {
  BEHAVES,
  RETURNS_CODE,     /* `code`, with no detail */
  RETURNS_DETAIL,   /* `code`, and a cmk_failure */
  PUTS_NOTHING,     /* CMK_OK, and an empty sink */
  PUTS_NO_KEY_ID,   /* wrap only */
  PUTS_TWICE,
  PUTS_GARBAGE,     /* an unwrapped key of the wrong content, a wrapped one that is too long */
  PUTS_SHORT,       /* an unwrapped key of 71 bytes */
  PUTS_WRONG_THING, /* what the callback isn't asked for */
  CALLS_BACK,       /* into the keyring that is calling */
};

struct vault {
  pthread_mutex_t lock;
  enum misbehaviour how;
  cmk_result code;
  uint32_t state;
  const cmk_keyring *keyring; /* for CALLS_BACK */
  cmk_result inner;           /* what the call back came to */
  int wraps, unwraps, destroyed;
};

static void vault_count(struct vault *vault, int *counter) {
  pthread_mutex_lock(&vault->lock);
  ++*counter;
  pthread_mutex_unlock(&vault->lock);
}

/* Whether the callback is to return `*code` right now. */
static bool vault_misbehaves(struct vault *vault, cmk_sink *sink, cmk_result *code) {
  uint8_t junk[8] = {0}, out[512] = {0};
  size_t len = 0;
  cmk_failure failure = {.struct_size = sizeof failure,
                         .message = "the vault is on its lunch break",
                         .request_id = "req-7",
                         .retry_after_ms = 1500,
                         .http_status = 429,
                         .retry = CMK_RETRY_DEFAULT};
  switch (vault->how) {
    case RETURNS_CODE:
      *code = vault->code;
      return true;
    case RETURNS_DETAIL:
      CHECK(cmk_sink_fail(sink, &failure) == CMK_OK);
      failure.retry = 9;
      CHECK(cmk_sink_fail(sink, &failure) == CMK_ERR_INVALID_ARGUMENT);
      *code = vault->code;
      return true;
    case PUTS_NOTHING:
      *code = CMK_OK;
      return true;
    case PUTS_WRONG_THING:
      CHECK(cmk_sink_put_id(sink, out) == CMK_ERR_INVALID_STATE);
      CHECK(cmk_sink_put_tag(sink, junk, 8) == CMK_ERR_INVALID_STATE);
      CHECK(cmk_sink_put_done(sink, 1) == CMK_ERR_INVALID_STATE);
      return false;
    case CALLS_BACK:
      vault->inner = cmk_keyring_encrypt(vault->keyring, junk, 8, NULL, out, sizeof out, &len, NULL);
      return false;
    default:
      return false;
  }
}

static UNUSED cmk_result vault_wrap(void *userdata, const char *key, const uint8_t *plaintext, size_t len, cmk_sink *sink) {
  struct vault *vault = userdata;
  cmk_result code = CMK_OK;
  uint8_t wrapped[2000] = {0};
  CHECK(strncmp(key, "vault:team", 10) == 0 && len == 72);
  vault_count(vault, &vault->wraps);
  if (vault_misbehaves(vault, sink, &code)) return code;
  for (size_t i = 0; i < len; i++) wrapped[i] = plaintext[i] ^ 0x5A;
  if (vault->how != PUTS_NO_KEY_ID) {
    CHECK(cmk_sink_put_key(sink, "vault:team", CMK_WRAP_A256KW) == CMK_ERR_INVALID_ARGUMENT);
    CHECK(cmk_sink_put_key(sink, VAULT_KEY, -1) == CMK_ERR_INVALID_ARGUMENT);
    CHECK(cmk_sink_put_key(sink, VAULT_KEY, CMK_WRAP_A256KW) == CMK_OK);
  }
  CHECK(cmk_sink_put(sink, wrapped, vault->how == PUTS_GARBAGE ? sizeof wrapped : len) == CMK_OK);
  if (vault->how == PUTS_TWICE) CHECK(cmk_sink_put(sink, wrapped, len) == CMK_ERR_INVALID_STATE);
  return CMK_OK;
}

static UNUSED cmk_result vault_unwrap(void *userdata, const char *key, int32_t algorithm, const uint8_t *wrapped, size_t len,
                                      cmk_sink *sink) {
  struct vault *vault = userdata;
  cmk_result code = CMK_OK;
  uint8_t plaintext[1024];
  CHECK(strcmp(key, VAULT_KEY) == 0 && algorithm == CMK_WRAP_A256KW && len <= sizeof plaintext);
  vault_count(vault, &vault->unwraps);
  if (vault_misbehaves(vault, sink, &code)) return code;
  for (size_t i = 0; i < len; i++) plaintext[i] = wrapped[i] ^ (vault->how == PUTS_GARBAGE ? 0x5B : 0x5A);
  CHECK(cmk_sink_put_key(sink, VAULT_KEY, CMK_WRAP_A256KW) == CMK_ERR_INVALID_STATE);
  CHECK(cmk_sink_put(sink, plaintext, vault->how == PUTS_SHORT ? len - 1 : len) == CMK_OK);
  return CMK_OK;
}

static UNUSED uint32_t vault_state(void *userdata, const char *key) {
  CHECK(strcmp(key, VAULT_KEY) == 0);
  return ((struct vault *)userdata)->state;
}

static UNUSED void vault_destroy(void *userdata) { ((struct vault *)userdata)->destroyed++; }

static UNUSED void vault_init(struct vault *vault) {
  memset(vault, 0, sizeof *vault);
  pthread_mutex_init(&vault->lock, NULL);
}

static UNUSED void vault_add(cmk_keyring_builder *builder, struct vault *vault) {
  cmk_error *e = NULL;
  cmk_provider provider;
  memset(&provider, 0, sizeof provider);
  provider.struct_size = sizeof provider;
  provider.userdata = vault;
  provider.name = "vault";
  provider.wrap = vault_wrap;
  provider.unwrap = vault_unwrap;
  provider.state = vault_state;
  provider.destroy = vault_destroy;
  OK(cmk_keyring_builder_add_provider(builder, &provider, &e), e);
}

static UNUSED cmk_keyring *vault_keyring(struct vault *vault) {
  cmk_error *e = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  OK(cmk_keyring_builder_new(&builder, &e), e);
  vault_add(builder, vault);
  OK(cmk_keyring_builder_wrap_with(builder, "vault:team", &e), e);
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  CHECK(vault->destroyed == 0);
  return keyring;
}

#endif
