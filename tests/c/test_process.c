/* Threads that share a keyring, and children of a process that has one. */
#include <pthread.h>

#include "child.h"
#include "vault.h"

#define THREADS 8

static cmk_keyring *shared;
static cmk_reader *shared_reader;
static uint8_t document[40000];

static void *hammer(void *argument) {
  cmk_error *e = NULL;
  uint8_t text[2000], out[3000];
  uint32_t seed = (uint32_t)(uintptr_t)argument;
  size_t sealed_len = 0, len = 0;
  for (uint32_t i = 0; i < 50; i++) {
    size_t n = (seed * 131 + i * 37) % sizeof text;
    char name[32];
    snprintf(name, sizeof name, "%u-%u", seed, i);
    cmk_context *context = make_context("record", name);
    fill(text, n, seed + i);
    OK(cmk_keyring_encrypt(shared, text, n, context, out, sizeof out, &sealed_len, &e), e);
    OK(cmk_keyring_decrypt(shared, out, sealed_len, context, out, sizeof out, &len, &e), e);
    CHECK(len == n && memcmp(out, text, n) == 0);
    out[0] = 0;
    OK(cmk_reader_read_at(shared_reader, n * 7, out, 1000, &len, &e), e);
    CHECK(memcmp(out, document + n * 7, len) == 0);
    cmk_context_free(context);
  }
  return NULL;
}

static void run_threads(void) {
  pthread_t threads[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, hammer, (void *)(i + 1)) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

struct memory {
  const uint8_t *data;
  size_t len;
};

static int32_t read_at(void *userdata, uint64_t offset, uint8_t *out, size_t capacity, size_t *out_len) {
  const struct memory *memory = userdata;
  size_t n = offset >= memory->len ? 0 : memory->len - (size_t)offset;
  *out_len = n < capacity ? n : capacity;
  if (*out_len > 0) memcpy(out, memory->data + offset, *out_len);
  return 0;
}

static int32_t size(void *userdata, uint64_t *len) {
  *len = ((const struct memory *)userdata)->len;
  return 0;
}

static void threads(void) {
  cmk_error *e = NULL;
  struct vault vault;
  vault_init(&vault);
  size_t len = 0;
  fill(document, sizeof document, 3);
  shared = vault_keyring(&vault);
  uint8_t *sealed = seal(shared, document, sizeof document, NULL, &len);
  struct memory memory = {sealed, len};
  cmk_source source;
  memset(&source, 0, sizeof source);
  source.struct_size = sizeof source;
  source.userdata = &memory;
  source.read_at = read_at;
  source.size = size;
  OK(cmk_reader_new(shared, NULL, &source, &shared_reader, &e), e);
  run_threads();
  CHECK(vault.wraps == 1);
  cmk_reader_free(shared_reader);
  cmk_keyring_free(shared);
  free(sealed);
  CHECK(vault.destroyed == 1);
}

static struct {
  uint8_t data[100000];
  size_t len;
} written;

static int32_t to_memory(void *userdata, const uint8_t *data, size_t len) {
  (void)userdata;
  CHECK(written.len + len <= sizeof written.data);
  memcpy(written.data + written.len, data, len);
  written.len += len;
  return 0;
}

static void fork_with_an_open_encryptor(void) {
  cmk_error *e = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  cmk_encryptor *encryptor = NULL;
  uint8_t text[30000], back[60000];
  size_t len = 0;
  fill(text, sizeof text, 2);
  OK(cmk_encryptor_new(keyring, NULL, to_memory, NULL, NULL, &encryptor, &e), e);
  OK(cmk_encryptor_write(encryptor, text, sizeof text, &e), e);
  size_t before = written.len;
  IN_CHILD({
    FAILS(cmk_encryptor_write(encryptor, text, sizeof text, &e), CMK_ERR_INVALID_STATE, e);
    FAILS(cmk_encryptor_finish(encryptor, &e), CMK_ERR_INVALID_STATE, e);
    cmk_encryptor_free(encryptor);
    CHECK(written.len == before);
  });
  /* To free it there at once does no harm either. */
  IN_CHILD({
    cmk_encryptor_free(encryptor);
    CHECK(written.len == before);
  });
  OK(cmk_encryptor_write(encryptor, text, sizeof text, &e), e);
  OK(cmk_encryptor_finish(encryptor, &e), e);
  cmk_encryptor_free(encryptor);
  OK(cmk_keyring_decrypt(keyring, written.data, written.len, NULL, back, sizeof back, &len, &e), e);
  CHECK(len == sizeof back && memcmp(back, text, sizeof text) == 0 && memcmp(back + sizeof text, text, sizeof text) == 0);
  cmk_keyring_free(keyring);
}

/* In a child of the child. */
static void fork_again(void) {
  IN_CHILD_THEN({
    uint8_t out[400];
    size_t len = 0;
    CHECK(cmk_keyring_encrypt(shared, (const uint8_t *)"grandchild", 10, NULL, out, sizeof out, &len, NULL) == CMK_OK);
  }, execl("/bin/true", "true", NULL));
}

/* A child with the keyring of its parent, which other threads of the parent are using at the moment of the fork. */
static void *keep_busy(void *stop) {
  uint8_t out[400];
  size_t len = 0;
  while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED)) {
    CHECK(cmk_keyring_encrypt(shared, (const uint8_t *)"busy", 4, NULL, out, sizeof out, &len, NULL) == CMK_OK);
  }
  return NULL;
}

static void fork_with_a_keyring(void) {
  struct vault vault;
  vault_init(&vault);
  shared = vault_keyring(&vault);
  size_t sealed_len = 0, len = 0;
  uint8_t *sealed = seal(shared, (const uint8_t *)"parent", 6, NULL, &sealed_len);
  cmk_inspection *mine = NULL;
  cmk_error *e = NULL;
  OK(cmk_inspection_new(sealed, sealed_len, &mine, &e), e);
  int stop = 0;
  pthread_t busy;
#ifdef __SANITIZE_ADDRESS__
  /* The allocator of GCC's ASan doesn't survive the fork of a process whose other threads allocate. */
  stop = 1;
#endif
  CHECK(pthread_create(&busy, NULL, keep_busy, &stop) == 0);
  for (int i = 0; i < 10; i++) {
    IN_CHILD_THEN({
      uint8_t out[400];
      uint8_t again[400];
      cmk_inspection *theirs = NULL;
      int wraps = vault.wraps;
      OK(cmk_keyring_decrypt(shared, sealed, sealed_len, NULL, out, sizeof out, &len, &e), e);
      CHECK(len == 6 && memcmp(out, "parent", 6) == 0);
      OK(cmk_keyring_encrypt(shared, (const uint8_t *)"child", 5, NULL, out, sizeof out, &len, &e), e);
      CHECK(vault.wraps == wraps + 1); /* A data key of its own. */
      OK(cmk_inspection_new(out, len, &theirs, &e), e);
      CHECK(memcmp(cmk_inspection_dek_id(mine), cmk_inspection_dek_id(theirs), 16) != 0);
      cmk_inspection_free(theirs);
      OK(cmk_keyring_decrypt(shared, out, len, NULL, again, sizeof again, &len, &e), e);
      CHECK(len == 5 && memcmp(again, "child", 5) == 0);
      fork_again();
      cmk_keyring_free(shared);
    }, execl("/bin/true", "true", NULL));
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  CHECK(pthread_join(busy, NULL) == 0);
  CHECK(vault.wraps == 1 && vault.destroyed == 0);
  cmk_inspection_free(mine);
  free(sealed);
  cmk_keyring_free(shared);
  CHECK(vault.destroyed == 1);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  threads();
  fork_with_an_open_encryptor();
  fork_with_a_keyring();
  return 0;
}
