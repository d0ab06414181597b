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

/* Opens into a fresh buffer full of something, and checks that a failure leaves nothing in it. */
static cmk_result open_fresh(const cmk_keyring *keyring, const uint8_t *sealed, size_t sealed_len,
                             const cmk_context *context, uint8_t *out, size_t capacity) {
  size_t len = 99;
  memset(out, 0xA5, capacity);
  cmk_result code = cmk_keyring_decrypt(keyring, sealed, sealed_len, context, out, capacity, &len, NULL);
  CHECK(code == CMK_OK || (len == 0 && all_zero(out, capacity)));
  return code;
}

static void every_flipped_bit_is_noticed(void) {
  enum { N = 4096 };
  static uint8_t text[N], out[N];
  size_t len = 0;
  cmk_keyring *keyring = make_keyring("team", "acme");
  cmk_context *context = make_context("doc", "42");
  fill(text, N, 7);
  uint8_t *sealed = seal(keyring, text, N, context, &len);
  for (size_t bit = 0; bit < 8 * len; bit++) {
    sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    cmk_result code = open_fresh(keyring, sealed, len, context, out, N);
    /* Flips of the header can also make another version, another workspace or another key of it. */
    CHECK(code == CMK_ERR_AUTHENTICATION || code == CMK_ERR_FORMAT || code == CMK_ERR_TRUNCATED ||
          code == CMK_ERR_POLICY || code == CMK_ERR_KEY_NOT_ALLOWED || code == CMK_ERR_KEY_NOT_FOUND ||
          code == CMK_ERR_KEY_UNUSABLE || code == CMK_ERR_BUFFER_TOO_SMALL);
    if (bit / 8 >= len - N - 72) CHECK(code == CMK_ERR_AUTHENTICATION);
    sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  CHECK(open_fresh(keyring, sealed, len, context, out, N) == CMK_OK && memcmp(out, text, N) == 0);
  free(sealed);
  cmk_context_free(context);
  cmk_keyring_free(keyring);
}

static void every_cut_is_noticed(void) {
  enum { N = 4096 };
  static uint8_t text[N], out[N];
  size_t len = 0;
  cmk_keyring *keyring = make_keyring("team", NULL);
  fill(text, N, 8);
  uint8_t *sealed = seal(keyring, text, N, NULL, &len);
  for (size_t cut = 0; cut < len; cut++) {
    /* A copy of just this length, so that a read behind it is seen. */
    uint8_t *piece = malloc(cut + 1);
    CHECK(piece != NULL);
    memcpy(piece, sealed, cut);
    piece = realloc(piece, cut == 0 ? 1 : cut);
    CHECK(piece != NULL);
    cmk_result code = open_fresh(keyring, cut == 0 ? NULL : piece, cut, NULL, out, N);
    CHECK(code == CMK_ERR_TRUNCATED || code == CMK_ERR_AUTHENTICATION || (cut == 0 && code == CMK_ERR_FORMAT));
    free(piece);
  }
  /* One byte too many is as bad. */
  uint8_t *longer = calloc(len + 1, 1);
  CHECK(longer != NULL);
  memcpy(longer, sealed, len);
  CHECK(open_fresh(keyring, longer, len + 1, NULL, out, N) != CMK_OK);
  free(longer);
  free(sealed);
  cmk_keyring_free(keyring);
}

static void the_wrong_everything(void) {
  cmk_error *e = NULL;
  uint8_t text[100], out[200];
  size_t len = 0, sealed_len = 0;
  cmk_keyring *keyring = make_keyring("team", "acme"), *other = make_keyring("team", "globex"),
              *none = make_keyring("team", NULL), *stranger = make_keyring("stranger", "acme");
  cmk_context *context = make_context("doc", "42"), *wrong = make_context("doc", "43");
  fill(text, sizeof text, 1);
  uint8_t *sealed = seal(keyring, text, sizeof text, context, &sealed_len);
#define OPEN(k, c) cmk_keyring_decrypt(k, sealed, sealed_len, c, out, sizeof out, &len, &e)
  OK(OPEN(keyring, context), e);
  FAILS(OPEN(keyring, wrong), CMK_ERR_AUTHENTICATION, e);
  FAILS(OPEN(keyring, NULL), CMK_ERR_AUTHENTICATION, e);
  FAILS(OPEN(other, context), CMK_ERR_POLICY, e);
  FAILS(OPEN(none, context), CMK_ERR_POLICY, e);
  CHECK(OPEN(stranger, context) == CMK_ERR_KEY_NOT_ALLOWED);
  CHECK(strncmp(cmk_error_key_id(e), "local:team/", 11) == 0 && !cmk_error_retryable(e));
  cmk_error_free(e);
  e = NULL;

  static const char plain[] = "attack at dawn, and take the good boots";
  FAILS(cmk_keyring_decrypt(keyring, (const uint8_t *)plain, sizeof plain, NULL, out, sizeof out, &len, &e),
        CMK_ERR_FORMAT, e);
  CHECK(!cmk_is_envelope((const uint8_t *)plain, sizeof plain) && !cmk_is_envelope(NULL, 0));
  CHECK(cmk_is_envelope(sealed, 9) && !cmk_is_envelope(sealed, 8));

  /* An unknown version, flag and suite. */
  for (int i = 8; i < 12; i++) {
    sealed[i] ^= 0x40;
    FAILS(OPEN(keyring, context), CMK_ERR_FORMAT, e);
    sealed[i] ^= 0x40;
  }
  free(sealed);
  cmk_context_free(wrong);
  cmk_context_free(context);
  cmk_keyring_free(stranger);
  cmk_keyring_free(none);
  cmk_keyring_free(other);
  cmk_keyring_free(keyring);
}

static void buffers_too_small_and_overlapping(void) {
  enum { N = 1000 };
  cmk_error *e = NULL;
  uint8_t text[N], buffer[4 * N], before[N];
  size_t len = 99, sealed_len = 0;
  cmk_keyring *keyring = make_keyring("team", NULL);
  fill(text, N, 3);
  uint8_t *sealed = seal(keyring, text, N, NULL, &sealed_len);
  CHECK(sealed_len > N && sealed_len < 2 * N);

  memset(buffer, 1, sizeof buffer);
  CHECK(cmk_keyring_encrypt(keyring, text, N, NULL, buffer, sealed_len - 1, &len, &e) == CMK_ERR_BUFFER_TOO_SMALL);
  CHECK(cmk_error_bytes_needed(e) == sealed_len && len == 0);
  CHECK(all_zero(buffer, sealed_len - 1) && buffer[sealed_len - 1] == 1);
  cmk_error_free(e);
  e = NULL;
  memset(buffer, 1, sizeof buffer);
  FAILS(cmk_keyring_decrypt(keyring, sealed, sealed_len, NULL, buffer, N - 1, &len, &e), CMK_ERR_BUFFER_TOO_SMALL, e);
  CHECK(all_zero(buffer, N - 1) && buffer[N - 1] == 1);
  FAILS(cmk_keyring_decrypt(keyring, sealed, sealed_len, NULL, NULL, 0, &len, &e), CMK_ERR_BUFFER_TOO_SMALL, e);

  /* Overlaps: by one byte on either side, and one within the other. */
  static const int shifts[] = {-N + 1, -1, 1, N - 1};
  for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) {
    uint8_t *in = buffer + N, *out = in + shifts[i];
    memset(buffer, 1, sizeof buffer);
    memcpy(in, text, N);
    FAILS(cmk_keyring_encrypt(keyring, in, N, NULL, out, 2 * N, &len, &e), CMK_ERR_INVALID_ARGUMENT, e);
    CHECK(len == 0 && all_zero(out, 2 * N));
    memcpy(in, sealed, sealed_len);
    FAILS(cmk_keyring_decrypt(keyring, in, sealed_len, NULL, out, N, &len, &e), CMK_ERR_INVALID_ARGUMENT, e);
    CHECK(len == 0 && all_zero(out, N));
  }
  /* Side by side is fine. */
  memcpy(buffer, text, N);
  OK(cmk_keyring_encrypt(keyring, buffer, N, NULL, buffer + N, 2 * N, &len, &e), e);
  memcpy(before, buffer, N);
  CHECK(memcmp(before, text, N) == 0);

  /* In place: no room, or a damaged envelope, loses the input. */
  memcpy(buffer, text, N);
  FAILS(cmk_keyring_encrypt(keyring, buffer, N, NULL, buffer, sealed_len - 1, &len, &e), CMK_ERR_BUFFER_TOO_SMALL, e);
  CHECK(all_zero(buffer, sealed_len - 1));
  memcpy(buffer, sealed, sealed_len);
  buffer[sealed_len - 1] ^= 1;
  FAILS(cmk_keyring_decrypt(keyring, buffer, sealed_len, NULL, buffer, sealed_len, &len, &e), CMK_ERR_AUTHENTICATION, e);
  CHECK(all_zero(buffer, sealed_len));
  memcpy(buffer, sealed, sealed_len);
  FAILS(cmk_keyring_decrypt(keyring, buffer, sealed_len, NULL, buffer, sealed_len - 1, &len, &e),
        CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(all_zero(buffer, sealed_len - 1));
  free(sealed);
  cmk_keyring_free(keyring);
}

static void the_compact_form(void) {
  cmk_error *e = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_local_provider *provider = NULL;
  cmk_keyring *keyring = NULL, *without = make_keyring("team", NULL);
  uint8_t text[100], row[512], back[100];
  size_t need = 0, full = 0, len = 0;
  fill(text, sizeof text, 9);
  OK(cmk_local_provider_open(scratch("keys"), &provider, &e), e);
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_add_local(builder, provider, &e), e);
  OK(cmk_keyring_builder_wrap_with(builder, "local:team", &e), e);
  OK(cmk_keyring_builder_key_store_directory(builder, scratch("store"), &e), e);
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  cmk_local_provider_free(provider);

  OK(cmk_keyring_compact_len(keyring, sizeof text, &need, &e), e);
  OK(cmk_keyring_encrypted_len(keyring, sizeof text, &full, &e), e);
  CHECK(need < full);
  OK(cmk_keyring_encrypt_compact(keyring, text, sizeof text, NULL, row, sizeof row, &len, &e), e);
  CHECK(len == need);
  OK(cmk_keyring_decrypt(keyring, row, len, NULL, back, sizeof back, &len, &e), e);
  CHECK(len == sizeof text && memcmp(text, back, len) == 0);

  FAILS(cmk_keyring_decrypt(without, row, need, NULL, back, sizeof back, &len, &e), CMK_ERR_POLICY, e);
  FAILS(cmk_keyring_encrypt_compact(without, text, sizeof text, NULL, row, sizeof row, &len, &e), CMK_ERR_POLICY, e);
  CHECK(all_zero(row, sizeof row));
  memcpy(row, text, sizeof text);
  FAILS(cmk_keyring_encrypt_compact(keyring, row, sizeof text, NULL, row, sizeof row, &len, &e),
        CMK_ERR_INVALID_ARGUMENT, e);
  cmk_keyring_free(without);
  cmk_keyring_free(keyring);
}

static void what_inspection_says(void) {
  cmk_error *e = NULL;
  cmk_inspection *i = NULL;
  cmk_keyring *keyring = make_keyring("team", "acme");
  size_t len = 0;
  uint8_t *sealed = seal(keyring, (const uint8_t *)"x", 1, NULL, &len);
  OK(cmk_inspection_new(sealed, len, &i, &e), e);
  CHECK(cmk_inspection_version(i) == 1 && cmk_inspection_suite(i) == 1);
  CHECK(strstr(cmk_inspection_suite_name(i), "AES-256-GCM") != NULL);
  CHECK(cmk_inspection_dek_id(i) != NULL && !all_zero(cmk_inspection_dek_id(i), 16));
  CHECK(cmk_inspection_purpose(i) == CMK_PURPOSE_DATA && !cmk_inspection_is_compact(i));
  CHECK(strcmp(cmk_inspection_workspace(i), "acme") == 0);
  CHECK(cmk_inspection_created(i) > 1700000000 && cmk_inspection_padding_len(i) == 0);
  CHECK(cmk_inspection_header_len(i) + 72 + 1 == len);
  CHECK(cmk_inspection_recipients_len(i) == 1);
  CHECK(strcmp(cmk_inspection_recipient_provider(i, 0), "local") == 0);
  CHECK(strncmp(cmk_inspection_recipient_key_id(i, 0), "local:team/", 11) == 0);
  CHECK(cmk_inspection_recipient_algorithm(i, 0) == CMK_WRAP_A256KW);
  CHECK(cmk_inspection_recipient_wrapped_len(i, 0) == 80 && cmk_inspection_recipient_wrapped_at(i, 0) > 1700000000);
  CHECK(cmk_inspection_recipient_key_id(i, 1) == NULL && cmk_inspection_recipient_provider(i, 1) == NULL);
  CHECK(cmk_inspection_recipient_algorithm(i, 1) == 0 && cmk_inspection_recipient_wrapped_at(i, 1) == 0);
  cmk_inspection_free(i);
  FAILS(cmk_inspection_new(sealed, 20, &i, &e), CMK_ERR_TRUNCATED, e);
  CHECK(i == NULL);
  FAILS(cmk_inspection_new((const uint8_t *)"plain text", 10, &i, &e), CMK_ERR_FORMAT, e);
  free(sealed);
  cmk_keyring_free(keyring);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  round_trips();
  every_flipped_bit_is_noticed();
  every_cut_is_noticed();
  the_wrong_everything();
  buffers_too_small_and_overlapping();
  the_compact_form();
  what_inspection_says();
  return 0;
}
