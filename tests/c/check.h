/* What the C tests share: checks that end the program with a line that says where, and a keyring to play with. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmkit.h"

/* One function of every group is unused somewhere. */
#define UNUSED __attribute__((unused))

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
      exit(1);                                                                  \
    }                                                                           \
  } while (0)

/* The call must succeed; `error` is the variable that it got as `err`. */
#define OK(call, error)                                                                                  \
  do {                                                                                                   \
    cmk_result ok_result = (call);                                                                       \
    if (ok_result != CMK_OK || (error) != NULL) {                                                        \
      fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, cmk_result_name(ok_result),      \
              cmk_error_message(error));                                                                 \
      exit(1);                                                                                           \
    }                                                                                                    \
  } while (0)

/* The call must fail with this code, and say the same in `error`, which is freed. */
#define FAILS(call, code, error)                                                                         \
  do {                                                                                                   \
    cmk_result fails_result = (call);                                                                    \
    if (fails_result != (code) || (error) == NULL || cmk_error_code(error) != (code)) {                  \
      fprintf(stderr, "%s:%d: %s: %s instead of %s: %s\n", __FILE__, __LINE__, #call,                    \
              cmk_result_name(fails_result), #code, cmk_error_message(error));                           \
      exit(1);                                                                                           \
    }                                                                                                    \
    CHECK(strlen(cmk_error_message(error)) > 10);                                                        \
    cmk_error_free(error);                                                                               \
    (error) = NULL;                                                                                      \
  } while (0)

/* `name` in the directory that the test was given. Good until the fourth call after. */
static const char *scratch_dir;
static UNUSED const char *scratch(const char *name) {
  static char paths[4][4096];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", scratch_dir, name);
  return path;
}

static UNUSED bool all_zero(const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (p[i] != 0) return false;
  }
  return true;
}

/* Bytes that differ from place to place, from a seed. */
static UNUSED void fill(uint8_t *p, size_t n, uint32_t seed) {
  uint32_t x = seed * 2654435761u + 1;
  for (size_t i = 0; i < n; i++) {
    x = x * 1664525u + 1013904223u;
    p[i] = (uint8_t)(x >> 24);
  }
}

/* A keyring of the key `key` in the key directory keys/, which is made if it is missing. */
static UNUSED cmk_keyring *make_keyring(const char *key, const char *workspace) {
  cmk_error *e = NULL;
  cmk_local_provider *provider = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  char id[64];
  OK(cmk_local_provider_open_or_create(scratch("keys"), &provider, &e), e);
  OK(cmk_local_provider_create_key_if_absent(provider, key, CMK_KEY_TYPE_OCT_256, NULL, NULL, 0, &e), e);
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_add_local(builder, provider, &e), e);
  snprintf(id, sizeof id, "local:%s", key);
  OK(cmk_keyring_builder_wrap_with(builder, id, &e), e);
  if (workspace != NULL) OK(cmk_keyring_builder_workspace(builder, workspace, &e), e);
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  cmk_local_provider_free(provider);
  return keyring;
}

static UNUSED cmk_context *make_context(const char *key, const char *value) {
  cmk_error *e = NULL;
  cmk_pair pair = CMK_PAIR(key, value);
  cmk_context *context = NULL;
  OK(cmk_context_new(&pair, 1, &context, &e), e);
  return context;
}

/* An envelope on the heap, so that a read beyond its end is seen. */
static UNUSED uint8_t *seal(const cmk_keyring *keyring, const uint8_t *text, size_t len, const cmk_context *context,
                            size_t *envelope_len) {
  cmk_error *e = NULL;
  size_t need = 0;
  OK(cmk_keyring_encrypted_len(keyring, len, &need, &e), e);
  uint8_t *envelope = (uint8_t *)malloc(need);
  CHECK(envelope != NULL);
  OK(cmk_keyring_encrypt(keyring, text, len, context, envelope, need, envelope_len, &e), e);
  CHECK(*envelope_len == need);
  return envelope;
}

/* The tests of a program; main is at the end of each. */
#define BEGIN(argc, argv)                  \
  do {                                     \
    CHECK((argc) == 2);                    \
    scratch_dir = (argv)[1];               \
  } while (0)

#endif
