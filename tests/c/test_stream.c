/* Encryptors, decryptors, and what their callbacks may do to them. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "check.h"

#define CHUNK 16384

/* A pipe in memory, which fails, or gives little, on demand. */
struct pipe {
  uint8_t *data;
  size_t len, capacity, position;
  size_t fail_after;   /* bytes written, then... */
  int32_t failure;     /* ...this */
  size_t step;         /* at most so many bytes at a read; 0: any */
  int interruptions;   /* EINTR this many times first */
  size_t claim;        /* says that it gave so many */
  void *handle;        /* a stream to call back into */
  cmk_result inner;
};

static int32_t pipe_write(void *userdata, const uint8_t *data, size_t len) {
  struct pipe *pipe = userdata;
  if (pipe->interruptions > 0) {
    pipe->interruptions--;
    return EINTR;
  }
  if (pipe->handle != NULL) {
    pipe->inner = cmk_encryptor_write(pipe->handle, (const uint8_t *)"again", 5, NULL);
    cmk_encryptor_free(pipe->handle); /* does nothing: it is in use */
  }
  if (pipe->failure != 0 && pipe->len + len > pipe->fail_after) return pipe->failure;
  if (pipe->len + len > pipe->capacity) {
    pipe->capacity = 2 * (pipe->len + len);
    pipe->data = realloc(pipe->data, pipe->capacity);
    CHECK(pipe->data != NULL);
  }
  memcpy(pipe->data + pipe->len, data, len);
  pipe->len += len;
  return 0;
}

static int32_t pipe_read(void *userdata, uint8_t *out, size_t capacity, size_t *out_len) {
  struct pipe *pipe = userdata;
  CHECK(*out_len == 0);
  if (pipe->interruptions > 0) {
    pipe->interruptions--;
    return EINTR;
  }
  if (pipe->handle != NULL) {
    size_t len = 0;
    uint8_t byte;
    pipe->inner = cmk_decryptor_read(pipe->handle, &byte, 1, &len, NULL);
    cmk_decryptor_free(pipe->handle);
  }
  if (pipe->failure != 0 && pipe->position >= pipe->fail_after) return pipe->failure;
  size_t n = pipe->len - pipe->position;
  if (n > capacity) n = capacity;
  if (pipe->step != 0 && n > pipe->step) n = pipe->step;
  memcpy(out, pipe->data + pipe->position, n);
  pipe->position += n;
  *out_len = pipe->claim != 0 ? pipe->claim : n;
  return 0;
}

static const cmk_stream_options alone = {.struct_size = sizeof alone, .threads = 1, .header_padding = CMK_PADDING_NONE};

/* Encrypts `n` bytes in pieces of `piece` into the pipe. */
static void encrypt_to(struct pipe *pipe, const cmk_keyring *keyring, const uint8_t *text, size_t n, size_t piece) {
  cmk_error *e = NULL;
  cmk_encryptor *encryptor = NULL;
  OK(cmk_encryptor_new(keyring, NULL, pipe_write, pipe, NULL, &encryptor, &e), e);
  for (size_t at = 0; at < n; at += piece) {
    OK(cmk_encryptor_write(encryptor, text + at, n - at < piece ? n - at : piece, &e), e);
  }
  OK(cmk_encryptor_write(encryptor, NULL, 0, &e), e);
  OK(cmk_encryptor_finish(encryptor, &e), e);
  FAILS(cmk_encryptor_finish(encryptor, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_encryptor_write(encryptor, text, 0, &e), CMK_ERR_INVALID_STATE, e);
  cmk_encryptor_free(encryptor);
}

/* Decrypts all of the pipe into `out`; the code, and how much came out. */
static cmk_result decrypt_from(struct pipe *pipe, const cmk_keyring *keyring, uint8_t *out, size_t capacity, size_t piece,
                               size_t *total) {
  cmk_decryptor *decryptor = NULL;
  cmk_error *e = NULL;
  *total = 0;
  cmk_result code = cmk_decryptor_new(keyring, NULL, pipe_read, pipe, &alone, &decryptor, &e);
  while (code == CMK_OK) {
    size_t len = 99, room = capacity - *total < piece ? capacity - *total : piece;
    uint8_t beyond = 1;
    code = cmk_decryptor_read(decryptor, room == 0 ? &beyond : out + *total, room == 0 ? 1 : room, &len, &e);
    if (code != CMK_OK) {
      CHECK(len == 0 && (room == 0 || all_zero(out + *total, room)));
      /* What failed once stays failed. */
      CHECK(cmk_decryptor_read(decryptor, &beyond, 1, &len, NULL) == code && beyond == 0);
    } else if (len == 0) {
      break;
    }
    *total += len;
  }
  CHECK((code == CMK_OK) == (e == NULL));
  cmk_error_free(e);
  cmk_decryptor_free(decryptor);
  return code;
}

static void round_trips(void) {
  static const size_t lengths[] = {0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 40 * CHUNK + 5};
  static const size_t pieces[] = {1000, CHUNK, 100000};
  cmk_keyring *keyring = make_keyring("team", NULL);
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    for (size_t j = 0; j < sizeof pieces / sizeof *pieces; j++) {
      size_t n = lengths[i], total = 0, len = 0;
      struct pipe pipe = {.interruptions = 3};
      uint8_t *text = malloc(n + 1), *back = malloc(n + 1);
      CHECK(text != NULL && back != NULL);
      fill(text, n, (uint32_t)n);
      encrypt_to(&pipe, keyring, text, n, pieces[j]);
      pipe.interruptions = 3;
      pipe.step = j == 0 ? 777 : 0; /* short reads */
      CHECK(decrypt_from(&pipe, keyring, back, n, pieces[j], &total) == CMK_OK);
      CHECK(total == n && memcmp(text, back, n) == 0);

      /* A stream is a document, and the other way round. */
      cmk_error *e = NULL;
      OK(cmk_keyring_decrypt(keyring, pipe.data, pipe.len, NULL, back, n, &len, &e), e);
      CHECK(len == n && memcmp(text, back, n) == 0);
      struct pipe again = {0};
      again.data = seal(keyring, text, n, NULL, &again.len);
      CHECK(decrypt_from(&again, keyring, back, n, 5000, &total) == CMK_OK && total == n);
      free(again.data);
      free(back);
      free(text);
      free(pipe.data);
    }
  }
  cmk_keyring_free(keyring);
}

static void cuts_and_flips(void) {
  enum { N = 3 * CHUNK + 100 };
  static uint8_t text[N], out[N + 1];
  cmk_keyring *keyring = make_keyring("team", NULL);
  struct pipe pipe = {0};
  size_t total = 0;
  fill(text, N, 5);
  encrypt_to(&pipe, keyring, text, N, N);
  size_t whole = pipe.len;
  for (size_t cut = 0; cut < whole; cut += cut < 400 || whole - cut < 300 ? 1 : 997) {
    pipe.position = 0;
    pipe.len = cut;
    CHECK(decrypt_from(&pipe, keyring, out, N, N, &total) != CMK_OK);
    CHECK(total % CHUNK == 0 && memcmp(out, text, total) == 0);
  }
  pipe.len = whole;
  for (size_t at = 0; at < whole; at += at < 400 || whole - at < 300 ? 1 : 997) {
    pipe.position = 0;
    pipe.data[at] ^= 4;
    CHECK(decrypt_from(&pipe, keyring, out, N, N, &total) != CMK_OK);
    pipe.data[at] ^= 4;
  }
  /* Swapped, repeated and appended chunks. */
  size_t slot = CHUNK + 16, first = whole - (3 * slot + 116);
  uint8_t *good = malloc(whole);
  CHECK(good != NULL);
  memcpy(good, pipe.data, whole);
  memcpy(pipe.data + first, good + first + slot, slot);
  memcpy(pipe.data + first + slot, good + first, slot);
  pipe.position = 0;
  CHECK(decrypt_from(&pipe, keyring, out, N, N, &total) == CMK_ERR_AUTHENTICATION);
  memcpy(pipe.data, good, whole);
  memcpy(pipe.data + first + slot, good + first, slot);
  pipe.position = 0;
  CHECK(decrypt_from(&pipe, keyring, out, N, N, &total) == CMK_ERR_AUTHENTICATION);
  memcpy(pipe.data, good, whole);
  pipe_write(&pipe, good + first, slot);
  pipe.position = 0;
  CHECK(decrypt_from(&pipe, keyring, out, N, N, &total) == CMK_ERR_AUTHENTICATION);
  free(good);
  free(pipe.data);
  cmk_keyring_free(keyring);
}

static void unfinished_is_no_envelope(void) {
  static const size_t lengths[] = {0, 1, CHUNK, 20 * CHUNK};
  static uint8_t text[20 * CHUNK];
  cmk_error *e = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    struct pipe pipe = {0};
    cmk_encryptor *encryptor = NULL;
    size_t total = 0;
    OK(cmk_encryptor_new(keyring, NULL, pipe_write, &pipe, &alone, &encryptor, &e), e);
    OK(cmk_encryptor_write(encryptor, text, lengths[i], &e), e);
    cmk_encryptor_free(encryptor);
    CHECK(decrypt_from(&pipe, keyring, text, sizeof text, sizeof text, &total) == CMK_ERR_TRUNCATED);
    memset(text, 0, sizeof text);
    free(pipe.data);
  }
  cmk_keyring_free(keyring);
}

static void a_writer_that_fails(void) {
  static uint8_t text[64 * CHUNK];
  cmk_error *e = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  static const int32_t failures[] = {ENOSPC, CMK_CANCEL, -5};
  static const cmk_result codes[] = {CMK_ERR_IO, CMK_ERR_CANCELLED, CMK_ERR_IO};
  for (int i = 0; i < 3; i++) {
    for (size_t after = 0; after < 300000; after = 2 * after + 1000) {
      struct pipe pipe = {.failure = failures[i], .fail_after = after};
      cmk_encryptor *encryptor = NULL;
      cmk_result code = cmk_encryptor_new(keyring, NULL, pipe_write, &pipe, &alone, &encryptor, &e);
      if (after == 0) {
        CHECK(encryptor == NULL);
      } else {
        CHECK(code == CMK_OK);
        code = cmk_encryptor_write(encryptor, text, sizeof text, &e);
      }
      CHECK(code == codes[i] && cmk_error_system_code(e) == (i == 0 ? ENOSPC : 0));
      cmk_error_free(e);
      e = NULL;
      if (encryptor != NULL) {
        FAILS(cmk_encryptor_write(encryptor, text, 1, &e), CMK_ERR_INVALID_STATE, e);
        FAILS(cmk_encryptor_finish(encryptor, &e), CMK_ERR_INVALID_STATE, e);
      }
      cmk_encryptor_free(encryptor);
      free(pipe.data);
    }
  }
  /* At the end. */
  struct pipe pipe = {.failure = EPIPE, .fail_after = 400};
  cmk_encryptor *encryptor = NULL;
  OK(cmk_encryptor_new(keyring, NULL, pipe_write, &pipe, &alone, &encryptor, &e), e);
  OK(cmk_encryptor_write(encryptor, text, 1000, &e), e);
  CHECK(cmk_encryptor_finish(encryptor, &e) == CMK_ERR_IO && cmk_error_system_code(e) == EPIPE);
  cmk_error_free(e);
  e = NULL;
  FAILS(cmk_encryptor_finish(encryptor, &e), CMK_ERR_INVALID_STATE, e);
  cmk_encryptor_free(encryptor);
  free(pipe.data);
  cmk_keyring_free(keyring);
}

static void a_reader_that_fails_or_lies(void) {
  enum { N = 40 * CHUNK };
  static uint8_t text[N];
  cmk_keyring *keyring = make_keyring("team", NULL);
  struct pipe pipe = {0};
  size_t total = 0;
  encrypt_to(&pipe, keyring, text, N, N);
  for (size_t after = 0; after < pipe.len; after += 50000) {
    pipe.position = 0;
    pipe.failure = EIO;
    pipe.fail_after = after;
    CHECK(decrypt_from(&pipe, keyring, text, N, N, &total) == CMK_ERR_IO);
    pipe.position = 0;
    pipe.failure = CMK_CANCEL;
    CHECK(decrypt_from(&pipe, keyring, text, N, N, &total) == CMK_ERR_CANCELLED);
  }
  pipe.failure = 0;
  pipe.position = 0;
  pipe.claim = (size_t)1 << 40; /* more than it was asked for */
  CHECK(decrypt_from(&pipe, keyring, text, N, N, &total) == CMK_ERR_IO);
  pipe.claim = 0;

  cmk_error *e = NULL;
  cmk_decryptor *decryptor = NULL;
  size_t len = 0;
  pipe.position = 0;
  OK(cmk_decryptor_new(keyring, NULL, pipe_read, &pipe, NULL, &decryptor, &e), e);
  FAILS(cmk_decryptor_read(decryptor, text, 0, &len, &e), CMK_ERR_INVALID_ARGUMENT, e);
  OK(cmk_decryptor_read(decryptor, text, 10, &len, &e), e);
  CHECK(len == 10);
  cmk_decryptor_free(decryptor);
  free(pipe.data);
  cmk_keyring_free(keyring);
}

static void callbacks_that_call_back(void) {
  static uint8_t text[64 * CHUNK];
  cmk_error *e = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  struct pipe pipe = {0};
  cmk_encryptor *encryptor = NULL;
  OK(cmk_encryptor_new(keyring, NULL, pipe_write, &pipe, &alone, &encryptor, &e), e);
  pipe.handle = encryptor;
  OK(cmk_encryptor_write(encryptor, text, sizeof text, &e), e);
  CHECK(pipe.inner == CMK_ERR_INVALID_STATE);
  pipe.inner = CMK_OK;
  OK(cmk_encryptor_write(encryptor, text, 5, &e), e);
  OK(cmk_encryptor_finish(encryptor, &e), e); /* The end is written from within a call too. */
  CHECK(pipe.inner == CMK_ERR_INVALID_STATE);
  pipe.handle = NULL;
  cmk_encryptor_free(encryptor);

  cmk_decryptor *decryptor = NULL;
  size_t len = 0;
  OK(cmk_decryptor_new(keyring, NULL, pipe_read, &pipe, &alone, &decryptor, &e), e);
  pipe.handle = decryptor;
  pipe.inner = CMK_OK;
  OK(cmk_decryptor_read(decryptor, text, sizeof text, &len, &e), e);
  CHECK(pipe.inner == CMK_ERR_INVALID_STATE);
  pipe.handle = NULL;
  cmk_decryptor_free(decryptor);
  free(pipe.data);
  cmk_keyring_free(keyring);
}

static void descriptors(void) {
  enum { N = 100000 };
  static uint8_t text[N], back[N + 1];
  cmk_error *e = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  cmk_encryptor *encryptor = NULL;
  cmk_decryptor *decryptor = NULL;
  size_t len = 0, total = 0;
  fill(text, N, 6);
  int fd = open(scratch("stream.cmk"), O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0);
  cmk_stream_options padded = {.struct_size = sizeof padded, .threads = 0, .header_padding = CMK_PADDING_FILE};
  OK(cmk_encryptor_new_fd(keyring, NULL, fd, &padded, &encryptor, &e), e);
  CHECK(close(fd) == 0); /* It has its own. */
  OK(cmk_encryptor_write(encryptor, text, N, &e), e);
  OK(cmk_encryptor_finish(encryptor, &e), e);
  cmk_encryptor_free(encryptor);

  fd = open(scratch("stream.cmk"), O_RDONLY);
  CHECK(fd >= 0);
  OK(cmk_decryptor_new_fd(keyring, NULL, fd, NULL, &decryptor, &e), e);
  CHECK(close(fd) == 0);
  do {
    OK(cmk_decryptor_read(decryptor, back + total, N + 1 - total, &len, &e), e);
    total += len;
  } while (len > 0);
  CHECK(total == N && memcmp(text, back, N) == 0);
  cmk_decryptor_free(decryptor);

  /* A closed one, and one that can't be written. */
  CHECK(cmk_encryptor_new_fd(keyring, NULL, fd, NULL, &encryptor, &e) == CMK_ERR_IO);
  CHECK(encryptor == NULL && cmk_error_system_code(e) == EBADF);
  cmk_error_free(e);
  e = NULL;
  FAILS(cmk_decryptor_new_fd(keyring, NULL, fd, NULL, &decryptor, &e), CMK_ERR_IO, e);
  fd = open(scratch("stream.cmk"), O_RDONLY);
  CHECK(fd >= 0);
  FAILS(cmk_encryptor_new_fd(keyring, NULL, fd, NULL, &encryptor, &e), CMK_ERR_IO, e);
  close(fd);
  fd = open("/dev/full", O_WRONLY);
  CHECK(fd >= 0);
  CHECK(cmk_encryptor_new_fd(keyring, NULL, fd, NULL, &encryptor, &e) == CMK_ERR_IO);
  CHECK(cmk_error_system_code(e) == ENOSPC);
  cmk_error_free(e);
  e = NULL;
  close(fd);
  /* A directory. */
  fd = open(scratch_dir, O_RDONLY);
  CHECK(fd >= 0);
  FAILS(cmk_decryptor_new_fd(keyring, NULL, fd, NULL, &decryptor, &e), CMK_ERR_IO, e);
  close(fd);
  cmk_keyring_free(keyring);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  round_trips();
  cuts_and_flips();
  unfinished_is_no_envelope();
  a_writer_that_fails();
  a_reader_that_fails_or_lies();
  callbacks_that_call_back();
  descriptors();
  return 0;
}
