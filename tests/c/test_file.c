/* Files, random access, rewrapping. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

#define CHUNK 16384
#define N (5 * CHUNK + 123)

static uint8_t text[N], back[N];

static void spit(const char *path, const uint8_t *data, size_t len) {
  FILE *file = fopen(path, "wb");
  CHECK(file != NULL && fwrite(data, 1, len, file) == len && fclose(file) == 0);
}

static size_t slurp(const char *path, uint8_t *out, size_t capacity) {
  FILE *file = fopen(path, "rb");
  CHECK(file != NULL);
  size_t len = fread(out, 1, capacity, file);
  CHECK(fclose(file) == 0);
  return len;
}

struct progress {
  int calls;
  uint64_t last, total;
  int cancel_at;
};

static int32_t on_progress(void *userdata, uint64_t done, uint64_t total) {
  struct progress *progress = userdata;
  CHECK(done >= progress->last);
  progress->last = done;
  progress->total = total;
  return ++progress->calls == progress->cancel_at ? CMK_CANCEL : 0;
}

static void there_and_back(void) {
  cmk_error *e = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  cmk_context *context = make_context("file", "plain");
  uint64_t done = 99;
  struct progress progress = {0};
  cmk_file_options options = {.struct_size = sizeof options, .progress = on_progress, .userdata = &progress};
  spit(scratch("plain"), text, N);
  CHECK(chmod(scratch("plain"), 0640) == 0);
  OK(cmk_keyring_encrypt_file(keyring, scratch("plain"), scratch("plain.cmk"), context, &options, &done, &e), e);
  CHECK(done == N && progress.calls >= 2 && progress.last == N && progress.total == N);
  struct stat facts;
  CHECK(stat(scratch("plain.cmk"), &facts) == 0 && (facts.st_mode & 0777) == 0640);
  OK(cmk_keyring_decrypt_file(keyring, scratch("plain.cmk"), scratch("back"), context, NULL, &done, &e), e);
  CHECK(done == N && slurp(scratch("back"), back, N) == N && memcmp(text, back, N) == 0);

  FAILS(cmk_keyring_encrypt_file(keyring, scratch("plain"), scratch("plain.cmk"), context, NULL, NULL, &e),
        CMK_ERR_ALREADY_EXISTS, e);
  options.overwrite = CMK_OVERWRITE_REPLACE;
  progress.last = 0;
  OK(cmk_keyring_encrypt_file(keyring, scratch("plain"), scratch("plain.cmk"), context, &options, NULL, &e), e);
  FAILS(cmk_keyring_encrypt_file(keyring, scratch("plain"), scratch("plain"), context, &options, NULL, &e),
        CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(slurp(scratch("plain"), back, N) == N && memcmp(text, back, N) == 0);
  FAILS(cmk_keyring_decrypt_file(keyring, scratch("plain.cmk"), scratch("no"), NULL, NULL, NULL, &e),
        CMK_ERR_AUTHENTICATION, e);
  FAILS(cmk_keyring_decrypt_file(keyring, scratch("plain"), scratch("no"), NULL, NULL, NULL, &e), CMK_ERR_FORMAT, e);
  CHECK(cmk_keyring_encrypt_file(keyring, scratch("missing"), scratch("no"), NULL, NULL, NULL, &e) == CMK_ERR_IO);
  CHECK(cmk_error_system_code(e) == ENOENT && strstr(cmk_error_message(e), "missing") != NULL);
  cmk_error_free(e);
  e = NULL;
  FAILS(cmk_keyring_encrypt_file(keyring, scratch_dir, scratch("no"), NULL, NULL, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);

  /* Cancelled: at once and at the end. Nothing is kept. */
  for (int at = 1; at <= 2; at++) {
    struct progress other = {.cancel_at = at};
    options.userdata = &other;
    FAILS(cmk_keyring_encrypt_file(keyring, scratch("plain"), scratch("no"), NULL, &options, NULL, &e),
          CMK_ERR_CANCELLED, e);
  }
  CHECK(access(scratch("no"), F_OK) != 0);

  spit(scratch("empty"), text, 0);
  FAILS(cmk_keyring_decrypt_file(keyring, scratch("empty"), scratch("no"), NULL, NULL, NULL, &e), CMK_ERR_FORMAT, e);
  OK(cmk_keyring_encrypt_file(keyring, scratch("empty"), scratch("empty.cmk"), NULL, NULL, &done, &e), e);
  CHECK(done == 0);
  cmk_context_free(context);
  cmk_keyring_free(keyring);
}

struct memory {
  uint8_t *data;
  size_t len, step;
  int destroyed, failure;
  size_t lie; /* claims to have read so many */
};

static int32_t memory_read_at(void *userdata, uint64_t offset, uint8_t *out, size_t capacity, size_t *out_len) {
  struct memory *memory = userdata;
  if (memory->failure != 0) return memory->failure;
  size_t n = offset >= memory->len ? 0 : memory->len - (size_t)offset;
  if (n > capacity) n = capacity;
  if (memory->step != 0 && n > memory->step) n = memory->step;
  if (n > 0) memcpy(out, memory->data + offset, n);
  *out_len = memory->lie != 0 ? memory->lie : n;
  return 0;
}

static int32_t memory_size(void *userdata, uint64_t *size) {
  *size = ((struct memory *)userdata)->len;
  return 0;
}

static void memory_destroy(void *userdata) { ((struct memory *)userdata)->destroyed++; }

static cmk_source memory_source(struct memory *memory) {
  cmk_source source;
  memset(&source, 0, sizeof source);
  source.struct_size = sizeof source;
  source.userdata = memory;
  source.read_at = memory_read_at;
  source.size = memory_size;
  source.destroy = memory_destroy;
  return source;
}

/* Reads at the places where chunks meet. */
static void reads_everywhere(const cmk_reader *reader) {
  static const size_t places[] = {0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 5, 5 * CHUNK, N - 1, N};
  static const size_t lengths[] = {0, 1, 10, CHUNK, 2 * CHUNK + 3, N};
  cmk_error *e = NULL;
  CHECK(cmk_reader_len(reader) == N);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++) {
      size_t len = 99, wanted = N - places[i] < lengths[j] ? N - places[i] : lengths[j];
      memset(back, 0xEE, N);
      OK(cmk_reader_read_at(reader, places[i], lengths[j] == 0 ? NULL : back, lengths[j], &len, &e), e);
      CHECK(len == wanted && memcmp(back, text + places[i], len) == 0);
    }
  }
  size_t len = 99;
  OK(cmk_reader_read_at(reader, UINT64_MAX, back, 10, &len, &e), e);
  CHECK(len == 0);
}

static void random_access(void) {
  cmk_error *e = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  struct memory memory = {0};
  cmk_reader *reader = NULL;
  size_t len = 0;
  memory.data = seal(keyring, text, N, NULL, &memory.len);
  spit(scratch("random.cmk"), memory.data, memory.len);

  OK(cmk_reader_open_file(keyring, NULL, scratch("random.cmk"), &reader, &e), e);
  reads_everywhere(reader);
  cmk_reader_free(reader);
  int fd = open(scratch("random.cmk"), O_RDONLY);
  CHECK(fd >= 0);
  OK(cmk_reader_open_fd(keyring, NULL, fd, &reader, &e), e);
  CHECK(lseek(fd, 0, SEEK_CUR) == 0 && close(fd) == 0);
  reads_everywhere(reader);
  cmk_reader_free(reader);
  FAILS(cmk_reader_open_fd(keyring, NULL, fd, &reader, &e), CMK_ERR_IO, e);
  FAILS(cmk_reader_open_file(keyring, NULL, scratch("none"), &reader, &e), CMK_ERR_IO, e);
  FAILS(cmk_reader_open_file(keyring, NULL, scratch_dir, &reader, &e), CMK_ERR_INVALID_ARGUMENT, e);

  cmk_source source = memory_source(&memory);
  for (memory.step = 0; memory.step < 3000; memory.step += 1234) {
    OK(cmk_reader_new(keyring, NULL, &source, &reader, &e), e);
    reads_everywhere(reader);
    memory.destroyed = 0;
    cmk_reader_free(reader);
    CHECK(memory.destroyed == 1);
  }
  memory.step = 0;
  memory.destroyed = 0;

  /* A damaged chunk is noticed when it is read; other places go on. */
  OK(cmk_reader_new(keyring, NULL, &source, &reader, &e), e);
  size_t at = memory.len - 123 - 16 - 100; /* in the last but one */
  memory.data[at] ^= 1;
  OK(cmk_reader_read_at(reader, 0, back, CHUNK, &len, &e), e);
  memset(back, 1, N);
  FAILS(cmk_reader_read_at(reader, CHUNK, back, N, &len, &e), CMK_ERR_AUTHENTICATION, e);
  CHECK(len == 0 && all_zero(back, N));
  memory.data[at] ^= 1;
  memory.failure = EIO;
  CHECK(cmk_reader_read_at(reader, 2 * CHUNK, back, CHUNK, &len, &e) == CMK_ERR_IO && cmk_error_system_code(e) == EIO);
  cmk_error_free(e);
  e = NULL;
  memory.failure = CMK_CANCEL;
  FAILS(cmk_reader_read_at(reader, 2 * CHUNK, back, CHUNK, &len, &e), CMK_ERR_CANCELLED, e);
  memory.failure = 0;
  memory.lie = N * 3;
  FAILS(cmk_reader_read_at(reader, 2 * CHUNK, back, CHUNK, &len, &e), CMK_ERR_IO, e);
  memory.lie = 0;
  size_t whole = memory.len;
  memory.len = 3 * CHUNK;
  FAILS(cmk_reader_read_at(reader, 4 * CHUNK, back, CHUNK, &len, &e), CMK_ERR_TRUNCATED, e);
  memory.len = whole;
  reads_everywhere(reader);
  CHECK(memory.destroyed == 0);
  cmk_reader_free(reader);
  CHECK(memory.destroyed == 1);

  /* Opening fails: the userdata stays the caller's. */
  memory.len--;
  CHECK(cmk_reader_new(keyring, NULL, &source, &reader, NULL) != CMK_OK && memory.destroyed == 1);
  memory.len++;
  memory.failure = EACCES;
  FAILS(cmk_reader_new(keyring, NULL, &source, &reader, &e), CMK_ERR_IO, e);
  CHECK(memory.destroyed == 1 && reader == NULL);
  free(memory.data);
  cmk_keyring_free(keyring);
}

static void rewrapping(void) {
  cmk_error *e = NULL;
  cmk_keyring *old = make_keyring("old", NULL), *new = make_keyring("new", NULL);
  cmk_keyring_builder *builder = NULL;
  cmk_local_provider *provider = NULL;
  cmk_keyring *mover = NULL;
  OK(cmk_local_provider_open(scratch("keys"), &provider, &e), e);
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_add_local(builder, provider, &e), e);
  OK(cmk_keyring_builder_allow_key(builder, "local:old", &e), e);
  OK(cmk_keyring_builder_build(builder, &mover, &e), e);
  cmk_keyring_builder_free(builder);
  cmk_local_provider_free(provider);

  size_t len = 0, sealed_len = 0;
  cmk_buffer *moved = NULL;
  uint8_t *sealed = seal(old, text, 1000, NULL, &sealed_len);
  OK(cmk_keyring_rewrap(mover, sealed, sealed_len, "local:new", CMK_RECIPIENTS_KEEP, &moved, &e), e);
  OK(cmk_keyring_decrypt(new, cmk_buffer_data(moved), cmk_buffer_len(moved), NULL, back, N, &len, &e), e);
  CHECK(len == 1000 && memcmp(text, back, len) == 0);
  FAILS(cmk_keyring_decrypt(old, cmk_buffer_data(moved), cmk_buffer_len(moved), NULL, back, N, &len, &e),
        CMK_ERR_KEY_NOT_ALLOWED, e);
  cmk_buffer_free(moved);
  FAILS(cmk_keyring_rewrap(new, sealed, sealed_len, "local:new", CMK_RECIPIENTS_KEEP, &moved, &e),
        CMK_ERR_KEY_NOT_ALLOWED, e);
  CHECK(moved == NULL);
  FAILS(cmk_keyring_rewrap(mover, sealed, sealed_len, "local:none", CMK_RECIPIENTS_KEEP, &moved, &e),
        CMK_ERR_KEY_NOT_FOUND, e);
  FAILS(cmk_keyring_rewrap(mover, sealed, sealed_len, "none", CMK_RECIPIENTS_KEEP, &moved, &e),
        CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_keyring_rewrap(mover, sealed, sealed_len, "local:new", 2, &moved, &e), CMK_ERR_INVALID_ARGUMENT, e);

  /* Files that cmkit made are rewrapped in place, others are copied. */
  uint32_t outcome = 99;
  spit(scratch("move"), text, N);
  OK(cmk_keyring_encrypt_file(old, scratch("move"), scratch("move.cmk"), NULL, NULL, NULL, &e), e);
  OK(cmk_keyring_rewrap_file(mover, scratch("move.cmk"), "local:new", CMK_RECIPIENTS_ONLY, &outcome, &e), e);
  CHECK(outcome == CMK_REWRAP_IN_PLACE);
  OK(cmk_keyring_decrypt_file(new, scratch("move.cmk"), scratch("moved"), NULL, NULL, NULL, &e), e);
  CHECK(slurp(scratch("moved"), back, N) == N && memcmp(text, back, N) == 0);
  spit(scratch("small.cmk"), sealed, sealed_len);
  OK(cmk_keyring_rewrap_file(mover, scratch("small.cmk"), "local:new", CMK_RECIPIENTS_KEEP, &outcome, &e), e);
  CHECK(outcome == CMK_REWRAP_IN_PLACE || outcome == CMK_REWRAP_COPIED);
  FAILS(cmk_keyring_rewrap_file(mover, scratch("none"), "local:new", CMK_RECIPIENTS_KEEP, &outcome, &e), CMK_ERR_IO, e);
  CHECK(outcome == 0);
  free(sealed);
  cmk_keyring_free(mover);
  cmk_keyring_free(new);
  cmk_keyring_free(old);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  fill(text, N, 11);
  there_and_back();
  random_access();
  rewrapping();
  return 0;
}
