/* Buffers in, buffers out. */
#include "check.h"

#define CHUNK 16384

static void round_trips(void) {
  static const size_t lengths[] = {0, 1, 15, 16, 1024, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1,
                                   5 * CHUNK + 77, 1 << 20};
  cmk_error *e = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  cmk_context *context = make_context("doc", "42");
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    size_t n = lengths[i], sealed_len = 0, len = 99, need = 99;
    uint8_t *text = malloc(n + 1), *back = malloc(n + 1);
    CHECK(text != NULL && back != NULL);
    fill(text, n, (uint32_t)i);
    uint8_t *sealed = seal(keyring, n == 0 ? NULL : text, n, context, &sealed_len);
    CHECK(cmk_is_envelope(sealed, sealed_len));
    OK(cmk_decrypted_len(sealed, sealed_len, &need, &e), e);
    CHECK(need == n);
    OK(cmk_keyring_decrypt(keyring, sealed, sealed_len, context, n == 0 ? NULL : back, n, &len, &e), e);
    CHECK(len == n && memcmp(text, back, n) == 0);

    /* In place, both ways. */
    uint8_t *buffer = malloc(sealed_len);
    CHECK(buffer != NULL);
    memcpy(buffer, text, n);
    OK(cmk_keyring_encrypt(keyring, buffer, n, context, buffer, sealed_len, &len, &e), e);
    CHECK(len == sealed_len);
    OK(cmk_keyring_decrypt(keyring, buffer, sealed_len, context, buffer, sealed_len, &len, &e), e);
    CHECK(len == n && memcmp(text, buffer, n) == 0 && all_zero(buffer + n, sealed_len - n));
    free(buffer);
    free(sealed);
    free(back);
    free(text);
  }
  cmk_context_free(context);
  cmk_keyring_free(keyring);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  CHECK(strcmp(cmk_version(), "0.1.0") == 0);
  round_trips();
  return 0;
}
