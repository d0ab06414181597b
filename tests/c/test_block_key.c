/* Keys for blocks and sectors: what they do, and what they make of wrong arguments. */
#include <pthread.h>

#include "child.h"
#include "vault.h"

#define BLOCK 4096u
#define COUNT 5u

static uint8_t text[COUNT * BLOCK], data[COUNT * BLOCK], seals[COUNT * CMK_BLOCK_SEAL_LEN];

static cmk_block_key *block_key(void) {
  cmk_error *e = NULL;
  cmk_block_key *key = NULL;
  OK(cmk_block_key_random(BLOCK, &key, &e), e);
  return key;
}

static void encrypt(const cmk_block_key *key) {
  cmk_error *e = NULL;
  memcpy(data, text, sizeof data);
  OK(cmk_block_key_encrypt(key, 7, data, sizeof data, seals, sizeof seals, &e), e);
}

static void blocks(void) {
  cmk_error *e = NULL;
  cmk_text_list *ids = NULL;
  uint8_t first[sizeof data];
  for (uint32_t size = 4096; size <= 65536; size *= 4) {
    cmk_block_key *key = NULL;
    uint8_t *big = malloc(size);
    uint8_t seal_of_one[CMK_BLOCK_SEAL_LEN];
    CHECK(big != NULL);
    fill(big, size, size);
    OK(cmk_block_key_random(size, &key, &e), e);
    CHECK(cmk_block_key_block_size(key) == size && !cmk_block_key_is_destroyed(key));
    OK(cmk_block_key_encrypt(key, 0, big, size, seal_of_one, sizeof seal_of_one, &e), e);
    OK(cmk_block_key_decrypt(key, 0, big, size, seal_of_one, sizeof seal_of_one, &e), e);
    cmk_block_key_free(key);
    free(big);
  }
  cmk_block_key *key = block_key();
  OK(cmk_block_key_check(key, &e), e);
  OK(cmk_block_key_key_ids(key, &ids, &e), e);
  CHECK(cmk_text_list_len(ids) == 0);
  cmk_text_list_free(ids);

  encrypt(key);
  memcpy(first, data, sizeof data);
  CHECK(memcmp(data, text, sizeof data) != 0 && !all_zero(seals, sizeof seals));
  OK(cmk_block_key_decrypt(key, 7, data, sizeof data, seals, sizeof seals, &e), e);
  CHECK(memcmp(data, text, sizeof data) == 0);
  encrypt(key);
  CHECK(memcmp(data, first, sizeof data) != 0);

  /* What was never written is zeros, whatever is there. */
  memset(seals + CMK_BLOCK_SEAL_LEN, 0, CMK_BLOCK_SEAL_LEN);
  OK(cmk_block_key_decrypt(key, 7, data, sizeof data, seals, sizeof seals, &e), e);
  CHECK(memcmp(data, text, BLOCK) == 0 && all_zero(data + BLOCK, BLOCK));
  CHECK(memcmp(data + 2 * BLOCK, text + 2 * BLOCK, 3 * BLOCK) == 0);
  /* Nothing is nothing. */
  OK(cmk_block_key_encrypt(key, 0, NULL, 0, NULL, 0, &e), e);
  OK(cmk_block_key_decrypt(key, 0, NULL, 0, NULL, 0, &e), e);
  cmk_block_key_free(key);
}

static void damage(void) {
  cmk_error *e = NULL;
  cmk_block_key *key = block_key(), *other = block_key();
  uint64_t block = 99;
  for (int which = 0; which < 5; which++) {
    const cmk_block_key *reader = key;
    uint64_t first = 7, expected = 7;
    encrypt(key);
    if (which == 0) data[3 * BLOCK + 17] ^= 1, expected = 10;
    if (which == 1) seals[2 * CMK_BLOCK_SEAL_LEN + 21] ^= 0x80, expected = 9;
    if (which == 2) seals[4 * CMK_BLOCK_SEAL_LEN] ^= 1, expected = 11;
    if (which == 3) first = expected = 8;
    if (which == 4) reader = other;
    cmk_result code = cmk_block_key_decrypt(reader, first, data, sizeof data, seals, sizeof seals, &e);
    CHECK(code == CMK_ERR_AUTHENTICATION && cmk_error_code(e) == code);
    CHECK(cmk_error_block(e, NULL) && cmk_error_block(e, &block) && block == expected);
    CHECK(all_zero(data, sizeof data));
    cmk_error_free(e);
    e = NULL;
  }
  CHECK(!cmk_error_block(NULL, &block) && block == 0);
  cmk_block_key_free(key);
  cmk_block_key_free(other);
}

/* Each of these fails, and leaves zeros in what it was given to fill. */
static void misuse(void) {
  cmk_error *e = NULL;
  cmk_block_key *key = block_key(), *none = (cmk_block_key *)&e;
  static const uint32_t sizes[] = {0, 1, 512, 4095, 8192, 131072, UINT32_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    FAILS(cmk_block_key_random(sizes[i], &none, &e), CMK_ERR_INVALID_ARGUMENT, e);
    CHECK(none == NULL);
  }
  FAILS(cmk_block_key_random(BLOCK, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_keyring_new_block_key(NULL, BLOCK, &none, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_block_key_check(NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(cmk_block_key_block_size(NULL) == 0 && cmk_block_key_is_destroyed(NULL));
  cmk_block_key_destroy(NULL);
  cmk_block_key_free(NULL);

  struct {
    const cmk_block_key *key;
    uint64_t first;
    uint8_t *data;
    size_t len;
    uint8_t *seals;
    size_t seals_len;
  } wrong[] = {
      {NULL, 0, data, sizeof data, seals, sizeof seals},
      {key, 0, NULL, sizeof data, seals, sizeof seals},
      {key, 0, data, sizeof data, NULL, sizeof seals},
      {key, 0, data, sizeof data - 1, seals, sizeof seals},
      {key, 0, data, sizeof data, seals, sizeof seals - 1},
      {key, 0, data, sizeof data, seals, sizeof seals - CMK_BLOCK_SEAL_LEN},
      {key, 0, data, sizeof data - BLOCK, seals, sizeof seals},
      {key, 0, data, 0, seals, sizeof seals},
      {key, 0, data, sizeof data, seals, 0},
      {key, (uint64_t)1 << 48, data, sizeof data, seals, sizeof seals},
      {key, ((uint64_t)1 << 48) - COUNT + 1, data, sizeof data, seals, sizeof seals},
      {key, UINT64_MAX, data, sizeof data, seals, sizeof seals},
      {key, 0, data, SIZE_MAX, seals, sizeof seals},
      {key, 0, data, sizeof data, seals, SIZE_MAX},
      /* Overlaps. */
      {key, 0, data, BLOCK, data, CMK_BLOCK_SEAL_LEN},
      {key, 0, data, BLOCK, data + BLOCK - 1, CMK_BLOCK_SEAL_LEN},
      {key, 0, data + 21, BLOCK, data, CMK_BLOCK_SEAL_LEN},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    for (int decrypts = 0; decrypts < 2; decrypts++) {
      memcpy(data, text, sizeof data);
      memset(seals, 7, sizeof seals);
      cmk_result code =
          decrypts ? cmk_block_key_decrypt(wrong[i].key, wrong[i].first, wrong[i].data, wrong[i].len, wrong[i].seals,
                                           wrong[i].seals_len, &e)
                   : cmk_block_key_encrypt(wrong[i].key, wrong[i].first, wrong[i].data, wrong[i].len, wrong[i].seals,
                                           wrong[i].seals_len, &e);
      FAILS(code, CMK_ERR_INVALID_ARGUMENT, e);
      if (wrong[i].data != NULL && wrong[i].len <= sizeof data) CHECK(all_zero(wrong[i].data, wrong[i].len));
      if (!decrypts && wrong[i].data != NULL && wrong[i].len <= sizeof data && wrong[i].seals == seals &&
          wrong[i].seals_len <= sizeof seals) {
        CHECK(all_zero(seals, wrong[i].seals_len));
      }
    }
  }
  /* The error's place may be missing. */
  CHECK(cmk_block_key_encrypt(NULL, 0, data, BLOCK, seals, CMK_BLOCK_SEAL_LEN, NULL) == CMK_ERR_INVALID_ARGUMENT);
  /* Right next to each other is no overlap. */
  OK(cmk_block_key_encrypt(key, 0, data, BLOCK, data + BLOCK, CMK_BLOCK_SEAL_LEN, &e), e);
  OK(cmk_block_key_encrypt(key, ((uint64_t)1 << 48) - 1, data, BLOCK, seals, CMK_BLOCK_SEAL_LEN, &e), e);
  cmk_block_key_free(key);
}

static void destroyed(void) {
  cmk_error *e = NULL;
  cmk_block_key *key = block_key();
  encrypt(key);
  cmk_block_key_destroy(key);
  cmk_block_key_destroy(key);
  CHECK(cmk_block_key_is_destroyed(key));
  FAILS(cmk_block_key_decrypt(key, 7, data, sizeof data, seals, sizeof seals, &e), CMK_ERR_INVALID_STATE, e);
  CHECK(all_zero(data, sizeof data));
  FAILS(cmk_block_key_encrypt(key, 7, data, sizeof data, seals, sizeof seals, &e), CMK_ERR_INVALID_STATE, e);
  CHECK(all_zero(seals, sizeof seals));
  FAILS(cmk_block_key_check(key, &e), CMK_ERR_INVALID_STATE, e);
  cmk_block_key_free(key);
}

static void of_a_keyring(void) {
  cmk_error *e = NULL;
  struct vault vault;
  cmk_block_key *key = NULL;
  cmk_text_list *ids = NULL;
  vault_init(&vault);
  cmk_keyring *keyring = vault_keyring(&vault);
  OK(cmk_keyring_new_block_key(keyring, BLOCK, &key, &e), e);
  cmk_keyring_free(keyring);
  CHECK(vault.wraps == 1 && vault.destroyed == 0);
  OK(cmk_block_key_key_ids(key, &ids, &e), e);
  CHECK(cmk_text_list_len(ids) == 1 && strcmp(cmk_text_list_get(ids, 0), VAULT_KEY) == 0);
  cmk_text_list_free(ids);
  encrypt(key);
  OK(cmk_block_key_decrypt(key, 7, data, sizeof data, seals, sizeof seals, &e), e);
  CHECK(memcmp(data, text, sizeof data) == 0);
  cmk_block_key_free(key);
  CHECK(vault.destroyed == 1);
}

static void sectors(void) {
  cmk_error *e = NULL;
  cmk_xts_key *key = NULL, *again = NULL;
  cmk_buffer *file = NULL, *kernel = NULL;
  cmk_text_list *ids = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  cmk_volume_layout layout = {.struct_size = sizeof layout, .sector_size = 512, .iv_offset = 8, .len = sizeof data};
  cmk_volume_layout found = {.struct_size = sizeof found};
  OK(cmk_keyring_create_xts_volume(keyring, &layout, &key, &file, &e), e);
  CHECK(cmk_xts_key_sector_size(key) == 512 && cmk_buffer_len(file) > 100);
  OK(cmk_xts_key_key_ids(key, &ids, &e), e);
  CHECK(cmk_text_list_len(ids) == 1);
  cmk_text_list_free(ids);
  memcpy(data, text, sizeof data);
  OK(cmk_xts_key_encrypt(key, 1024, data, sizeof data, &e), e);
  CHECK(memcmp(data, text, sizeof data) != 0);

  OK(cmk_keyring_open_xts_volume(keyring, cmk_buffer_data(file), cmk_buffer_len(file), &again, &found, &e), e);
  CHECK(found.struct_size == sizeof found && found.sector_size == 512 && found.iv_offset == 8 && found.len == sizeof data);
  OK(cmk_xts_key_check(again, &e), e);
  OK(cmk_xts_key_decrypt(again, 1024, data, sizeof data, &e), e);
  CHECK(memcmp(data, text, sizeof data) == 0);
  OK(cmk_xts_key_kernel_key(again, &kernel, &e), e);
  CHECK(cmk_buffer_len(kernel) == 64);
  cmk_xts_key_free(again);

  /* The kernel's key, given by hand, is the same key. */
  OK(cmk_xts_key_from_bytes(cmk_buffer_data(kernel), 64, 512, 8, &again, &e), e);
  OK(cmk_xts_key_encrypt(key, 0, data, sizeof data, &e), e);
  OK(cmk_xts_key_decrypt(again, 0, data, sizeof data, &e), e);
  CHECK(memcmp(data, text, sizeof data) == 0);
  cmk_buffer_free(kernel);
  FAILS(cmk_xts_key_kernel_key(again, &kernel, &e), CMK_ERR_INVALID_STATE, e);
  CHECK(kernel == NULL);

  FAILS(cmk_xts_key_encrypt(key, 1, data, 512, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(all_zero(data, 512) && !all_zero(data, sizeof data));
  FAILS(cmk_xts_key_encrypt(key, 0, data, 511, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_xts_key_encrypt(key, UINT64_MAX - 511, data, 512, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_xts_key_decrypt(key, 0, NULL, 512, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_xts_key_decrypt(NULL, 0, data, 512, &e), CMK_ERR_INVALID_ARGUMENT, e);
  OK(cmk_xts_key_decrypt(key, 0, NULL, 0, &e), e);
  cmk_xts_key_destroy(again);
  CHECK(cmk_xts_key_is_destroyed(again) && cmk_xts_key_is_destroyed(NULL) && !cmk_xts_key_is_destroyed(key));
  memcpy(data, text, sizeof data);
  FAILS(cmk_xts_key_encrypt(again, 0, data, sizeof data, &e), CMK_ERR_INVALID_STATE, e);
  CHECK(all_zero(data, sizeof data));
  cmk_xts_key_free(again);
  cmk_xts_key_free(key);
  cmk_xts_key_free(NULL);

  /* Keys and layouts that are none. */
  uint8_t bytes[64];
  memset(bytes, 5, sizeof bytes);
  FAILS(cmk_xts_key_from_bytes(bytes, 64, 512, 0, &key, &e), CMK_ERR_INVALID_ARGUMENT, e);
  bytes[0] = 6;
  FAILS(cmk_xts_key_from_bytes(bytes, 63, 512, 0, &key, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_xts_key_from_bytes(bytes, 64, 513, 0, &key, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_xts_key_from_bytes(bytes, 64, 4096, 1, &key, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_xts_key_from_bytes(NULL, 64, 512, 0, &key, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(key == NULL);
  FAILS(cmk_xts_key_random(0, &key, &e), CMK_ERR_INVALID_ARGUMENT, e);
  OK(cmk_xts_key_random(512, &key, &e), e);
  cmk_xts_key_free(key);
  cmk_buffer *no_file = (cmk_buffer *)bytes;
  layout.len = 511;
  FAILS(cmk_keyring_create_xts_volume(keyring, &layout, &key, &no_file, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(key == NULL && no_file == NULL);
  layout.struct_size = 3;
  FAILS(cmk_keyring_create_xts_volume(keyring, &layout, &key, &no_file, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_keyring_create_xts_volume(keyring, NULL, &key, &no_file, &e), CMK_ERR_INVALID_ARGUMENT, e);
  found.struct_size = 0;
  FAILS(cmk_keyring_open_xts_volume(keyring, cmk_buffer_data(file), cmk_buffer_len(file), &key, &found, &e),
        CMK_ERR_INVALID_ARGUMENT, e);
  OK(cmk_keyring_open_xts_volume(keyring, cmk_buffer_data(file), cmk_buffer_len(file), &key, NULL, &e), e);
  cmk_xts_key_free(key);
  found.struct_size = sizeof found;
  FAILS(cmk_keyring_open_xts_volume(keyring, text, sizeof text, &key, &found, &e), CMK_ERR_FORMAT, e);
  CHECK(key == NULL && found.len == 0 && found.sector_size == 0);

  cmk_buffer_free(file);
  cmk_keyring_free(keyring);
}

static const cmk_block_key *shared;

static void *hammer(void *argument) {
  cmk_error *e = NULL;
  uint64_t first = (uint64_t)(uintptr_t)argument * 100;
  uint8_t mine[2 * BLOCK], before[2 * BLOCK], its[2 * CMK_BLOCK_SEAL_LEN];
  for (uint32_t i = 0; i < 100; i++) {
    fill(before, sizeof before, (uint32_t)first + i);
    memcpy(mine, before, sizeof mine);
    OK(cmk_block_key_encrypt(shared, first, mine, sizeof mine, its, sizeof its, &e), e);
    OK(cmk_block_key_decrypt(shared, first, mine, sizeof mine, its, sizeof its, &e), e);
    CHECK(memcmp(mine, before, sizeof mine) == 0);
  }
  return NULL;
}

static void threads_and_children(void) {
  cmk_error *e = NULL;
  pthread_t threads[4];
  cmk_block_key *key = block_key();
  cmk_xts_key *xts = NULL;
  OK(cmk_xts_key_random(512, &xts, &e), e);
  shared = key;
  for (uintptr_t i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, hammer, (void *)i) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  encrypt(key);
  IN_CHILD({
    FAILS(cmk_block_key_encrypt(key, 7, data, sizeof data, seals, sizeof seals, &e), CMK_ERR_INVALID_STATE, e);
    CHECK(all_zero(data, sizeof data) && all_zero(seals, sizeof seals));
    FAILS(cmk_block_key_decrypt(key, 7, data, sizeof data, seals, sizeof seals, &e), CMK_ERR_INVALID_STATE, e);
    FAILS(cmk_block_key_check(key, &e), CMK_ERR_INVALID_STATE, e);
    FAILS(cmk_xts_key_encrypt(xts, 0, data, 512, &e), CMK_ERR_INVALID_STATE, e);
    FAILS(cmk_xts_key_check(xts, &e), CMK_ERR_INVALID_STATE, e);
    CHECK(cmk_block_key_is_destroyed(key) && cmk_xts_key_is_destroyed(xts));
    cmk_block_key_destroy(key);
    cmk_block_key_free(key);
    cmk_xts_key_free(xts);
  });
  OK(cmk_block_key_decrypt(key, 7, data, sizeof data, seals, sizeof seals, &e), e);
  CHECK(memcmp(data, text, sizeof data) == 0);
  cmk_block_key_free(key);
  cmk_xts_key_free(xts);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  fill(text, sizeof text, 42);
  blocks();
  damage();
  misuse();
  destroyed();
  of_a_keyring();
  sectors();
  threads_and_children();
  return 0;
}
