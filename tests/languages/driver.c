/* The C face for the cross-language tests:
 *   driver seal|seal-compact|open HOME STORE WORKSPACE KEYS IN OUT [KEY VALUE]...
 * KEYS are separated by commas; "-" is no store, and no workspace. A failure prints the name of its code and ends with 1. */
#include <cmkit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(cmk_result code, cmk_error *error) {
  if (code == CMK_OK) return;
  fprintf(stderr, "%s %s\n", cmk_result_name(code), cmk_error_message(error));
  cmk_error_free(error);
  exit(1);
}

static uint8_t *read_file(const char *path, size_t *len) {
  FILE *file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) abort();
  *len = (size_t)ftell(file);
  rewind(file);
  uint8_t *bytes = malloc(*len + 1);
  if (bytes == NULL || fread(bytes, 1, *len, file) != *len) abort();
  fclose(file);
  return bytes;
}

static void write_file(const char *path, const uint8_t *bytes, size_t len) {
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(bytes, 1, len, file) != len || fclose(file) != 0) abort();
}

int main(int argc, char **argv) {
  if (argc < 8 || argc % 2 != 0) return 2;
  const int seal = strncmp(argv[1], "seal", 4) == 0, compact = strcmp(argv[1], "seal-compact") == 0;
  cmk_error *error = NULL;
  cmk_local_provider *keys = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  cmk_context *context = NULL;

  check(cmk_local_provider_open(argv[2], &keys, &error), error);
  check(cmk_keyring_builder_new(&builder, &error), error);
  check(cmk_keyring_builder_add_local(builder, keys, &error), error);
  if (strcmp(argv[3], "-") != 0) check(cmk_keyring_builder_key_store_directory(builder, argv[3], &error), error);
  if (strcmp(argv[4], "-") != 0) check(cmk_keyring_builder_workspace(builder, argv[4], &error), error);
  for (char *key = strtok(argv[5], ","); key != NULL; key = strtok(NULL, ",")) {
    if (seal)
      check(cmk_keyring_builder_wrap_with(builder, key, &error), error);
    else
      check(cmk_keyring_builder_allow_key(builder, key, &error), error);
  }
  check(cmk_keyring_builder_build(builder, &keyring, &error), error);

  const size_t pairs_len = (size_t)(argc - 8) / 2;
  cmk_pair *pairs = calloc(pairs_len + 1, sizeof *pairs);
  if (pairs == NULL) abort();
  for (size_t i = 0; i < pairs_len; i++) {
    const char *key = argv[8 + 2 * i], *value = argv[9 + 2 * i];
    pairs[i].key = key;
    pairs[i].key_len = strlen(key);
    pairs[i].value = value;
    pairs[i].value_len = strlen(value);
  }
  check(cmk_context_new(pairs_len > 0 ? pairs : NULL, pairs_len, &context, &error), error);

  size_t in_len = 0, capacity = 0, out_len = 0;
  uint8_t *in = read_file(argv[6], &in_len);
  if (compact)
    check(cmk_keyring_compact_len(keyring, in_len, &capacity, &error), error);
  else if (seal)
    check(cmk_keyring_encrypted_len(keyring, in_len, &capacity, &error), error);
  else
    check(cmk_decrypted_len(in_len > 0 ? in : NULL, in_len, &capacity, &error), error);
  uint8_t *out = malloc(capacity + 1);
  if (out == NULL) abort();
  if (compact)
    check(cmk_keyring_encrypt_compact(keyring, in, in_len, context, out, capacity + 1, &out_len, &error), error);
  else if (seal)
    check(cmk_keyring_encrypt(keyring, in, in_len, context, out, capacity + 1, &out_len, &error), error);
  else
    check(cmk_keyring_decrypt(keyring, in, in_len, context, out, capacity + 1, &out_len, &error), error);
  write_file(argv[7], out, out_len);

  free(out);
  free(in);
  free(pairs);
  cmk_context_free(context);
  cmk_keyring_free(keyring);
  cmk_keyring_builder_free(builder);
  cmk_local_provider_free(keys);
  return 0;
}
