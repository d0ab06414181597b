/* Encrypted disks over memory, files and callbacks that fail on demand. */
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#include "child.h"
#include "vault.h"

#define SIZE (64u * 4096u)
#define MIB (1u << 20)

/* What the callbacks are, and how they misbehave. */
struct disk {
  uint8_t bytes[SIZE];
  int reads, writes, flushes, discards, destroyed;
  int fail_read, fail_write, fail_flush, fail_discard; /* what the next call returns, if not 0 */
  int short_write;                                     /* a failing write has written half */
  cmk_volume *calls;                                   /* the volume that callbacks call */
  cmk_volume *calls_destroy;                           /* the one that a write destroys */
  cmk_result inner;
};

static int take(int *code) {
  int now = *code;
  *code = 0;
  return now;
}

static void call_back(struct disk *disk) {
  cmk_error *e = NULL;
  uint8_t byte = 1;
  bool punched = true;
  cmk_volume_counters counters = {.struct_size = sizeof counters};
  if (disk->calls == NULL) return;
  disk->inner = cmk_volume_read(disk->calls, 0, &byte, 1, NULL);
  CHECK(byte == 0);
  FAILS(cmk_volume_write(disk->calls, 0, &byte, 1, 0, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_discard(disk->calls, 0, 1, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_flush(disk->calls, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_reset(disk->calls, &punched, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_check(disk->calls, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_stats(disk->calls, &counters, &e), CMK_ERR_INVALID_STATE, e);
  CHECK(!punched && cmk_volume_len(disk->calls) == SIZE && cmk_volume_block_size(disk->calls) == 4096);
  cmk_volume_free(disk->calls); /* Does nothing now. */
}

static int32_t disk_read(void *userdata, uint64_t offset, uint8_t *out, size_t len) {
  struct disk *disk = userdata;
  CHECK(offset <= SIZE && len <= SIZE - offset);
  disk->reads++;
  call_back(disk);
  memcpy(out, disk->bytes + offset, len);
  return take(&disk->fail_read);
}

static int32_t disk_write(void *userdata, uint64_t offset, const uint8_t *data, size_t len) {
  struct disk *disk = userdata;
  CHECK(offset <= SIZE && len <= SIZE - offset);
  disk->writes++;
  call_back(disk);
  if (disk->calls_destroy != NULL) cmk_volume_destroy(disk->calls_destroy);
  int code = take(&disk->fail_write);
  if (code == 0) memcpy(disk->bytes + offset, data, len);
  if (code != 0 && disk->short_write) memcpy(disk->bytes + offset, data, len / 2);
  return code;
}

static int32_t disk_flush(void *userdata) {
  struct disk *disk = userdata;
  disk->flushes++;
  call_back(disk);
  return take(&disk->fail_flush);
}

static int32_t disk_discard(void *userdata, uint64_t offset, uint64_t len) {
  struct disk *disk = userdata;
  CHECK(offset <= SIZE && len <= SIZE - offset);
  disk->discards++;
  call_back(disk);
  int code = take(&disk->fail_discard);
  if (code == 0) memset(disk->bytes + offset, 0xDD, (size_t)len);
  return code;
}

static void disk_destroy(void *userdata) { ((struct disk *)userdata)->destroyed++; }

static cmk_backing_callbacks callbacks_of(struct disk *disk) {
  cmk_backing_callbacks callbacks;
  memset(&callbacks, 0, sizeof callbacks);
  callbacks.struct_size = sizeof callbacks;
  callbacks.userdata = disk;
  callbacks.name = "ram:0";
  callbacks.len = SIZE;
  callbacks.read = disk_read;
  callbacks.write = disk_write;
  callbacks.flush = disk_flush;
  callbacks.discard = disk_discard;
  callbacks.destroy = disk_destroy;
  return callbacks;
}

static struct disk *new_disk(void) {
  struct disk *disk = calloc(1, sizeof *disk);
  CHECK(disk != NULL);
  return disk;
}

static cmk_volume *volume_over(struct disk *disk, const cmk_volume_options *options) {
  cmk_error *e = NULL;
  cmk_backing *backing = NULL;
  cmk_volume *volume = NULL;
  cmk_backing_callbacks callbacks = callbacks_of(disk);
  OK(cmk_backing_new(&callbacks, &backing, &e), e);
  CHECK(cmk_backing_len(backing) == SIZE);
  OK(cmk_volume_create(backing, options, &volume, &e), e);
  cmk_backing_free(backing);
  CHECK(disk->destroyed == 0);
  return volume;
}

static cmk_backing *memory(uint64_t len) {
  cmk_error *e = NULL;
  cmk_backing *backing = NULL;
  OK(cmk_backing_memory(len, &backing, &e), e);
  return backing;
}

struct extents {
  uint64_t at, zeros, data;
  int calls, stop_at, code;
  cmk_volume *volume;
};

static int32_t on_extent(void *userdata, uint64_t offset, uint64_t len, uint32_t kind) {
  struct extents *extents = userdata;
  uint8_t byte;
  CHECK(offset == extents->at && len > 0 && kind <= CMK_EXTENT_ZERO);
  extents->at += len;
  if (kind == CMK_EXTENT_ZERO) extents->zeros += len;
  if (kind == CMK_EXTENT_DATA) extents->data += len;
  CHECK(cmk_volume_read(extents->volume, offset, &byte, 1, NULL) == CMK_OK);
  return ++extents->calls == extents->stop_at ? extents->code : 0;
}

/* What any volume does: any size at any place, against a copy. */
static void works(cmk_volume *volume, uint64_t len, bool zeros_at_first) {
  cmk_error *e = NULL;
  uint8_t *copy = calloc(1, (size_t)len), *buffer = malloc((size_t)len);
  CHECK(copy != NULL && buffer != NULL && cmk_volume_len(volume) == len);
  CHECK(strlen(cmk_volume_id(volume)) == 32 && strlen(cmk_volume_backing_name(volume)) > 3);
  CHECK(cmk_volume_warning(volume) == NULL && !cmk_volume_read_only(volume) && !cmk_volume_is_destroyed(volume));
  if (zeros_at_first) {
    OK(cmk_volume_read(volume, 0, buffer, (size_t)len, &e), e);
    CHECK(all_zero(buffer, (size_t)len));
  } else {
    OK(cmk_volume_write_zeroes(volume, 0, len, 0, &e), e);
  }
  uint32_t x = 1;
  for (uint32_t i = 0; i < 200; i++) {
    x = x * 1664525u + 1013904223u;
    uint64_t offset = (x >> 8) % len;
    size_t n = (size_t)((x >> 3) % 20000);
    if (n > len - offset) n = (size_t)(len - offset);
    fill(buffer, n, i);
    if (i % 7 == 6) {
      memset(copy + offset, 0, n);
      OK(cmk_volume_write_zeroes(volume, offset, n, i % 2 ? CMK_WRITE_KEEP_ROOM : 0, &e), e);
    } else {
      memcpy(copy + offset, buffer, n);
      if (i % 2) {
        OK(cmk_volume_write_from(volume, offset, buffer, n, i % 3 ? 0 : CMK_WRITE_DURABLE, &e), e);
        CHECK(n < 16 || memcmp(copy + offset, buffer, n) != 0);
      } else {
        OK(cmk_volume_write(volume, offset, buffer, n, i % 3 ? 0 : CMK_WRITE_DURABLE, &e), e);
      }
    }
    OK(cmk_volume_read(volume, offset, buffer, n, &e), e);
    CHECK(memcmp(buffer, copy + offset, n) == 0);
  }
  OK(cmk_volume_flush(volume, &e), e);
  OK(cmk_volume_read(volume, 0, buffer, (size_t)len, &e), e);
  CHECK(memcmp(buffer, copy, (size_t)len) == 0);
  struct extents extents = {.volume = volume};
  OK(cmk_volume_extents(volume, 0, len, on_extent, &extents, &e), e);
  CHECK(extents.at == len && extents.data > 0);
  free(copy);
  free(buffer);
}

static void kinds(void) {
  cmk_error *e = NULL;
  cmk_volume *volume = NULL;
  cmk_backing *backing = NULL, *second = NULL;
  struct stat status;
  cmk_volume_options options = {.struct_size = sizeof options};
  for (int i = 0; i < 6; i++) {
    static const uint32_t sizes[] = {0, 4096, 16384, 65536, 512, 4096};
    options.mode = i < 4 ? CMK_VOLUME_EPHEMERAL : CMK_VOLUME_XTS;
    options.block_size = sizes[i];
    backing = memory(MIB);
    OK(cmk_volume_create(backing, &options, &volume, &e), e);
    /* One volume at a time. */
    cmk_volume *other = (cmk_volume *)&e;
    FAILS(cmk_volume_create(backing, &options, &other, &e), CMK_ERR_INVALID_STATE, e);
    CHECK(other == NULL && cmk_volume_mode(volume) == options.mode);
    CHECK(cmk_volume_block_size(volume) == (sizes[i] ? sizes[i] : 4096));
    works(volume, MIB, i < 4);
    cmk_volume_free(volume);
    OK(cmk_volume_create(backing, NULL, &volume, &e), e);
    cmk_backing_free(backing);
    cmk_volume_free(volume);
  }

  OK(cmk_backing_create_file(scratch("disk"), MIB, &backing, &e), e);
  CHECK(stat(scratch("disk"), &status) == 0 && status.st_size == MIB && (status.st_mode & 077) == 0);
  FAILS(cmk_backing_create_file(scratch("disk"), MIB, &second, &e), CMK_ERR_ALREADY_EXISTS, e);
  FAILS(cmk_backing_open(scratch("disk"), CMK_ACCESS_READ_WRITE, &second, &e), CMK_ERR_BUSY, e);
  OK(cmk_volume_create(backing, NULL, &volume, &e), e);
  cmk_backing_free(backing);
  CHECK(strcmp(cmk_volume_backing_name(volume), scratch("disk")) == 0);
  works(volume, MIB, true);
  cmk_volume_free(volume);

  OK(cmk_backing_open(scratch("disk"), CMK_ACCESS_READ_WRITE, &backing, &e), e);
  OK(cmk_volume_create(backing, NULL, &volume, &e), e);
  cmk_backing_free(backing);
  works(volume, MIB, true);
  cmk_volume_free(volume);
  OK(cmk_backing_open(scratch("disk"), CMK_ACCESS_READ, &backing, &e), e);
  FAILS(cmk_volume_create(backing, NULL, &volume, &e), CMK_ERR_POLICY, e);
  cmk_backing_free(backing);

  OK(cmk_backing_anonymous_file(scratch_dir, MIB, &backing, &e), e);
  OK(cmk_volume_create(backing, NULL, &volume, &e), e);
  works(volume, MIB, true);
  cmk_volume_free(volume);
  cmk_backing_free(backing);

  struct disk *disk = new_disk();
  volume = volume_over(disk, NULL);
  CHECK(strcmp(cmk_volume_backing_name(volume), "ram:0") == 0);
  works(volume, SIZE, true);
  CHECK(disk->writes > 0 && disk->reads > 0 && disk->flushes > 0 && disk->discards > 0);
  CHECK(disk->destroyed == 0);
  cmk_volume_free(volume);
  CHECK(disk->destroyed == 1);
  free(disk);
}

static void opened_again(void) {
  cmk_error *e = NULL;
  cmk_keyring *keyring = make_keyring("team", NULL);
  cmk_volume *volume = NULL;
  cmk_backing *backing = NULL;
  cmk_buffer *file = NULL, *kernel = NULL;
  cmk_xts_key *key = NULL;
  cmk_text_list *ids = NULL;
  uint8_t text[10000], back[10000];
  cmk_volume_layout layout = {.struct_size = sizeof layout};
  fill(text, sizeof text, 3);
  OK(cmk_backing_create_file(scratch("again"), MIB, &backing, &e), e);
  OK(cmk_volume_create_reopenable(backing, 0, keyring, &volume, &file, &e), e);
  cmk_backing_free(backing);
  CHECK(cmk_volume_mode(volume) == CMK_VOLUME_XTS && cmk_volume_block_size(volume) == 4096);
  OK(cmk_volume_key_ids(volume, &ids, &e), e);
  CHECK(cmk_text_list_len(ids) == 1 && strncmp(cmk_text_list_get(ids, 0), "local:team/", 11) == 0);
  cmk_text_list_free(ids);
  OK(cmk_volume_write(volume, 12345, text, sizeof text, CMK_WRITE_DURABLE, &e), e);
  FAILS(cmk_volume_reset(volume, NULL, &e), CMK_ERR_INVALID_STATE, e);
  cmk_volume_free(volume);

  OK(cmk_backing_open(scratch("again"), CMK_ACCESS_READ, &backing, &e), e);
  OK(cmk_volume_open(backing, cmk_buffer_data(file), cmk_buffer_len(file), keyring, &volume, &e), e);
  OK(cmk_volume_read(volume, 12345, back, sizeof back, &e), e);
  CHECK(memcmp(text, back, sizeof text) == 0 && cmk_volume_read_only(volume));
  FAILS(cmk_volume_write(volume, 0, text, 1, 0, &e), CMK_ERR_POLICY, e);
  FAILS(cmk_volume_write_zeroes(volume, 0, 1, 0, &e), CMK_ERR_POLICY, e);
  cmk_volume_free(volume);

  /* With the key that a kernel would get. */
  OK(cmk_keyring_open_xts_volume(keyring, cmk_buffer_data(file), cmk_buffer_len(file), &key, &layout, &e), e);
  OK(cmk_xts_key_kernel_key(key, &kernel, &e), e);
  OK(cmk_volume_open_with_key(backing, cmk_buffer_data(kernel), cmk_buffer_len(kernel), &layout, &volume, &e), e);
  OK(cmk_volume_read(volume, 12345, back, sizeof back, &e), e);
  CHECK(memcmp(text, back, sizeof text) == 0);
  cmk_volume_free(volume);
  layout.len *= 2;
  FAILS(cmk_volume_open_with_key(backing, cmk_buffer_data(kernel), cmk_buffer_len(kernel), &layout, &volume, &e),
        CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_volume_open_with_key(backing, cmk_buffer_data(kernel), 63, &layout, &volume, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_volume_open(backing, text, sizeof text, keyring, &volume, &e), CMK_ERR_FORMAT, e);
  FAILS(cmk_volume_open(backing, NULL, 0, keyring, &volume, &e), CMK_ERR_FORMAT, e);
  cmk_backing_free(backing);
  cmk_buffer_free(kernel);
  cmk_buffer_free(file);
  cmk_xts_key_free(key);
  cmk_keyring_free(keyring);
}

static void damage_and_failures(void) {
  cmk_error *e = NULL;
  struct disk *disk = new_disk();
  cmk_volume *volume = volume_over(disk, NULL);
  uint8_t text[3 * 4096], back[3 * 4096];
  uint64_t block = 0;
  cmk_volume_counters counters = {.struct_size = sizeof counters, .reads = 77};
  fill(text, sizeof text, 9);
  OK(cmk_volume_write(volume, 0, text, sizeof text, 0, &e), e);

  disk->bytes[2 * 4096 + 5] ^= 1;
  memset(back, 1, sizeof back);
  CHECK(cmk_volume_read(volume, 0, back, sizeof back, &e) == CMK_ERR_AUTHENTICATION);
  CHECK(cmk_error_block(e, &block) && block == 2 && all_zero(back, sizeof back));
  cmk_error_free(e);
  e = NULL;
  OK(cmk_volume_read(volume, 0, back, 2 * 4096, &e), e);
  disk->bytes[2 * 4096 + 5] ^= 1;

  /* A read that fails is tried again after EINTR only. */
  disk->fail_read = EINTR;
  int reads = disk->reads;
  OK(cmk_volume_read(volume, 0, back, sizeof back, &e), e);
  CHECK(memcmp(back, text, sizeof text) == 0 && disk->reads == reads + 2);
  static const int codes[] = {EIO, ENOSPC, 123456, -1, -5, CMK_CANCEL};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    disk->fail_read = codes[i];
    CHECK(cmk_volume_read(volume, 0, back, sizeof back, &e) == CMK_ERR_IO);
    CHECK(all_zero(back, sizeof back) && cmk_error_system_code(e) == (codes[i] > 0 ? codes[i] : 0));
    CHECK(strstr(cmk_error_message(e), "ram:0") != NULL);
    cmk_error_free(e);
    e = NULL;
  }

  /* A write that failed, in part or not, leaves a block that can't be read until it is written. */
  for (int i = 0; i < 2; i++) {
    disk->fail_write = ENOSPC;
    disk->short_write = i;
    FAILS(cmk_volume_write(volume, 4096, text, 4096, 0, &e), CMK_ERR_IO, e);
    FAILS(cmk_volume_read(volume, 4096, back, 4096, &e), CMK_ERR_IO, e);
    OK(cmk_volume_stats(volume, &counters, &e), e);
    CHECK(counters.poisoned_blocks == 1 && counters.struct_size == sizeof counters);
    OK(cmk_volume_write(volume, 4096, text, 4096, 0, &e), e);
    OK(cmk_volume_read(volume, 4096, back, 4096, &e), e);
    CHECK(memcmp(back, text, 4096) == 0);
  }
  disk->fail_write = EIO;
  memcpy(back, text, sizeof back);
  FAILS(cmk_volume_write_from(volume, 0, back, 4096, 0, &e), CMK_ERR_IO, e);
  CHECK(all_zero(back, 4096));
  OK(cmk_volume_write(volume, 0, text, sizeof text, 0, &e), e);
  disk->fail_flush = EIO;
  FAILS(cmk_volume_flush(volume, &e), CMK_ERR_IO, e);
  disk->fail_flush = EIO;
  FAILS(cmk_volume_write(volume, 0, text, 4096, CMK_WRITE_DURABLE, &e), CMK_ERR_IO, e);

  /* To give room back is advice. */
  disk->fail_discard = EIO;
  OK(cmk_volume_discard(volume, 0, 4096, &e), e);
  OK(cmk_volume_read(volume, 0, back, 4096, &e), e);
  CHECK(all_zero(back, 4096));
  OK(cmk_volume_discard(volume, 1, 2 * 4096, &e), e);
  OK(cmk_volume_stats(volume, &counters, &e), e);
  CHECK(counters.damaged == 1 && counters.failed >= 8 && counters.bytes_discarded == 3 * 4096 && counters.metadata_bytes > 0);

  /* A shorter structure of an older caller is refused, a longer one of a newer caller filled with zeros. */
  struct {
    cmk_volume_counters known;
    uint64_t more;
  } newer = {.known = {.struct_size = sizeof newer}, .more = 5};
  OK(cmk_volume_stats(volume, &newer.known, &e), e);
  CHECK(newer.more == 0 && newer.known.damaged == 1 && newer.known.struct_size == sizeof newer);
  counters.struct_size = 8;
  FAILS(cmk_volume_stats(volume, &counters, &e), CMK_ERR_INVALID_ARGUMENT, e);
  cmk_volume_free(volume);
  CHECK(disk->destroyed == 1);
  free(disk);
}

static void extents(void) {
  cmk_error *e = NULL;
  cmk_backing *backing = memory(4 * MIB);
  cmk_volume *volume = NULL;
  OK(cmk_volume_create(backing, NULL, &volume, &e), e);
  cmk_backing_free(backing);
  /* More of them than are looked up at a time. */
  for (uint64_t block = 1; block < 1024; block += 2) OK(cmk_volume_write(volume, block * 4096, (const uint8_t *)"x", 1, 0, &e), e);
  struct extents all = {.volume = volume};
  OK(cmk_volume_extents(volume, 0, 4 * MIB, on_extent, &all, &e), e);
  CHECK(all.calls == 1024 && all.data == 2 * MIB && all.zeros == 2 * MIB);
  struct extents part = {.volume = volume, .at = 5000};
  OK(cmk_volume_extents(volume, 5000, 10, on_extent, &part, &e), e);
  CHECK(part.calls == 1 && part.at == 5010);
  OK(cmk_volume_extents(volume, 4 * MIB, 0, on_extent, &part, &e), e);
  struct extents stops = {.volume = volume, .stop_at = 300, .code = CMK_CANCEL};
  FAILS(cmk_volume_extents(volume, 0, 4 * MIB, on_extent, &stops, &e), CMK_ERR_CANCELLED, e);
  CHECK(stops.calls == 300);
  struct extents fails = {.volume = volume, .stop_at = 2, .code = EIO};
  FAILS(cmk_volume_extents(volume, 0, 4 * MIB, on_extent, &fails, &e), CMK_ERR_IO, e);
  FAILS(cmk_volume_extents(volume, 0, 4 * MIB + 1, on_extent, &fails, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_volume_extents(volume, 0, 1, NULL, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  cmk_volume_free(volume);
}

static void callbacks_that_call_back(void) {
  cmk_error *e = NULL;
  struct disk *disk = new_disk();
  cmk_volume *volume = volume_over(disk, NULL);
  uint8_t text[5000], back[5000];
  fill(text, sizeof text, 4);
  disk->calls = volume;
  OK(cmk_volume_write(volume, 100, text, sizeof text, CMK_WRITE_DURABLE, &e), e);
  OK(cmk_volume_read(volume, 100, back, sizeof back, &e), e);
  CHECK(memcmp(text, back, sizeof text) == 0 && disk->inner == CMK_ERR_INVALID_STATE);
  OK(cmk_volume_discard(volume, 0, 4096, &e), e);
  OK(cmk_volume_reset(volume, NULL, &e), e);
  disk->calls = NULL;
  /* One volume under another is fine. */
  struct disk *above = new_disk();
  cmk_volume *upper = volume_over(above, NULL);
  OK(cmk_volume_write(upper, 0, text, sizeof text, 0, &e), e);
  cmk_volume_free(upper);
  free(above);

  /* The key may be destroyed at any moment: what is under way then fails or is done, and nothing after it works. */
  disk->calls_destroy = volume;
  cmk_result code = cmk_volume_write(volume, 0, text, sizeof text, 0, NULL);
  CHECK(code == CMK_OK || code == CMK_ERR_INVALID_STATE);
  FAILS(cmk_volume_read(volume, 0, back, sizeof back, &e), CMK_ERR_INVALID_STATE, e);
  CHECK(all_zero(back, sizeof back) && cmk_volume_is_destroyed(volume));
  cmk_volume_free(volume);
  CHECK(disk->destroyed == 1);
  free(disk);
}

/* A vault whose wrap calls the volume that is being reset. */
static cmk_volume *being_reset;
static cmk_result wrap_that_calls(void *userdata, const char *key, const uint8_t *plaintext, size_t len, cmk_sink *sink) {
  uint8_t byte;
  if (being_reset != NULL) CHECK(cmk_volume_read(being_reset, 0, &byte, 1, NULL) == CMK_ERR_INVALID_STATE);
  return vault_wrap(userdata, key, plaintext, len, sink);
}

static void ends(void) {
  cmk_error *e = NULL;
  struct disk *disk = new_disk();
  struct vault vault;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  uint8_t back[4096];
  bool punched = false;
  vault_init(&vault);
  cmk_provider provider;
  memset(&provider, 0, sizeof provider);
  provider.struct_size = sizeof provider;
  provider.userdata = &vault;
  provider.name = "vault";
  provider.wrap = wrap_that_calls;
  provider.unwrap = vault_unwrap;
  provider.destroy = vault_destroy;
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_add_provider(builder, &provider, &e), e);
  OK(cmk_keyring_builder_wrap_with(builder, "vault:team", &e), e);
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  cmk_volume_options options = {.struct_size = sizeof options, .keyring = keyring};
  cmk_volume *volume = volume_over(disk, &options);
  cmk_keyring_free(keyring);
  CHECK(vault.destroyed == 0 && vault.wraps == 1);

  OK(cmk_volume_write(volume, 0, (const uint8_t *)"secret", 6, 0, &e), e);
  FAILS(cmk_volume_discard_backing(volume, &punched, &e), CMK_ERR_INVALID_STATE, e);
  being_reset = volume;
  OK(cmk_volume_reset(volume, &punched, &e), e);
  being_reset = NULL;
  CHECK(punched && vault.wraps == 2 && disk->bytes[0] == 0xDD && disk->bytes[SIZE - 1] == 0xDD);
  OK(cmk_volume_read(volume, 0, back, sizeof back, &e), e);
  CHECK(all_zero(back, sizeof back));
  OK(cmk_volume_write(volume, 0, (const uint8_t *)"secret", 6, 0, &e), e);

  cmk_volume_destroy(volume);
  cmk_volume_destroy(volume);
  FAILS(cmk_volume_read(volume, 0, back, sizeof back, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_write(volume, 0, back, sizeof back, 0, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_check(volume, &e), CMK_ERR_INVALID_STATE, e);
  disk->fail_discard = EOPNOTSUPP;
  OK(cmk_volume_discard_backing(volume, &punched, &e), e);
  CHECK(!punched);
  disk->fail_discard = EIO;
  FAILS(cmk_volume_discard_backing(volume, &punched, &e), CMK_ERR_IO, e);
  OK(cmk_volume_discard_backing(volume, NULL, &e), e);
  /* And it can begin anew; or not, when the vault refuses. */
  vault.how = RETURNS_CODE;
  vault.code = CMK_ERR_ACCESS_DENIED;
  FAILS(cmk_volume_reset(volume, &punched, &e), CMK_ERR_ACCESS_DENIED, e);
  CHECK(cmk_volume_is_destroyed(volume) && !punched);
  vault.how = BEHAVES;
  OK(cmk_volume_reset(volume, &punched, &e), e);
  OK(cmk_volume_write(volume, 0, (const uint8_t *)"secret", 6, 0, &e), e);
  cmk_volume_free(volume);
  CHECK(disk->destroyed == 1);
  free(disk);
}

static void misuse(void) {
  cmk_error *e = NULL;
  cmk_backing *backing = NULL;
  cmk_volume *volume = NULL;
  uint8_t bytes[4096];
  struct disk *disk = new_disk();
  cmk_backing_callbacks callbacks = callbacks_of(disk), bad;

  bad = callbacks, bad.read = NULL;
  FAILS(cmk_backing_new(&bad, &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
  bad = callbacks, bad.write = NULL;
  FAILS(cmk_backing_new(&bad, &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
  bad = callbacks, bad.blocking = 2;
  FAILS(cmk_backing_new(&bad, &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
  bad = callbacks, bad.name = "\xFF";
  FAILS(cmk_backing_new(&bad, &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
  bad = callbacks, bad.struct_size = 0;
  FAILS(cmk_backing_new(&bad, &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_backing_new(NULL, &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(disk->destroyed == 0 && backing == NULL);

  /* Sizes that no volume has. */
  static const uint64_t lens[] = {0, 1, 4095, 4097, UINT64_MAX, (uint64_t)1 << 60, ((uint64_t)1 << 60) + 1};
  for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
    for (uint32_t mode = 0; mode < 2; mode++) {
      cmk_volume_options options = {.struct_size = sizeof options, .mode = mode, .metadata_budget = i % 2 ? UINT64_MAX : 0};
      bad = callbacks, bad.len = lens[i], bad.destroy = NULL;
      OK(cmk_backing_new(&bad, &backing, &e), e);
      FAILS(cmk_volume_create(backing, &options, &volume, &e), CMK_ERR_INVALID_ARGUMENT, e);
      cmk_backing_free(backing);
    }
    if (lens[i] > SIZE) FAILS(cmk_backing_memory(lens[i], &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
    if (lens[i] > SIZE) CHECK(cmk_backing_anonymous_file(scratch_dir, lens[i], &backing, NULL) != CMK_OK);
  }
  /* Freed in any order, never used. */
  OK(cmk_backing_new(&callbacks, &backing, &e), e);
  cmk_backing_free(backing);
  CHECK(disk->destroyed == 1);
  disk->destroyed = 0;
  bad = callbacks, bad.name = NULL, bad.flush = NULL, bad.discard = NULL;
  OK(cmk_backing_new(&bad, &backing, &e), e);
  OK(cmk_volume_create(backing, NULL, &volume, &e), e);
  OK(cmk_volume_write(volume, 0, (const uint8_t *)"x", 1, CMK_WRITE_DURABLE, &e), e);
  OK(cmk_volume_discard(volume, 0, 4096, &e), e);
  bool punched = true;
  OK(cmk_volume_reset(volume, &punched, &e), e);
  CHECK(!punched);

  static const struct { uint64_t offset, len; } ranges[] = {
      {SIZE, 1}, {SIZE - 1, 2}, {UINT64_MAX, 1}, {UINT64_MAX, 4096}, {0, SIZE + 1}, {0, UINT64_MAX}, {1, UINT64_MAX}};
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
    FAILS(cmk_volume_discard(volume, ranges[i].offset, ranges[i].len, &e), CMK_ERR_INVALID_ARGUMENT, e);
    FAILS(cmk_volume_write_zeroes(volume, ranges[i].offset, ranges[i].len, 0, &e), CMK_ERR_INVALID_ARGUMENT, e);
    if (ranges[i].len > sizeof bytes) continue;
    memset(bytes, 1, sizeof bytes);
    FAILS(cmk_volume_read(volume, ranges[i].offset, bytes, (size_t)ranges[i].len, &e), CMK_ERR_INVALID_ARGUMENT, e);
    CHECK(all_zero(bytes, (size_t)ranges[i].len));
    FAILS(cmk_volume_write(volume, ranges[i].offset, bytes, (size_t)ranges[i].len, 0, &e), CMK_ERR_INVALID_ARGUMENT, e);
  }
  OK(cmk_volume_read(volume, SIZE, NULL, 0, &e), e);
  OK(cmk_volume_write(volume, SIZE, NULL, 0, 0, &e), e);
  FAILS(cmk_volume_read(volume, 0, NULL, 1, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_volume_write(volume, 0, NULL, 1, 0, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_volume_read(volume, 0, bytes, SIZE_MAX, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_volume_write(volume, 0, bytes, 1, CMK_WRITE_KEEP_ROOM, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_volume_write_zeroes(volume, 0, 1, 4, &e), CMK_ERR_INVALID_ARGUMENT, e);
  memset(bytes, 1, sizeof bytes);
  FAILS(cmk_volume_write_from(volume, 0, bytes, 8, 99, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(all_zero(bytes, 8) && bytes[8] == 1);
  FAILS(cmk_volume_read(NULL, 0, bytes, sizeof bytes, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(all_zero(bytes, sizeof bytes));
  FAILS(cmk_volume_write(NULL, 0, bytes, 1, 0, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_volume_flush(NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_volume_stats(volume, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  cmk_volume *other = NULL;
  FAILS(cmk_volume_create(NULL, NULL, &other, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_volume_create(backing, NULL, NULL, &e), CMK_ERR_INVALID_ARGUMENT, e);
  cmk_volume_options options = {.struct_size = sizeof options, .mode = 2};
  FAILS(cmk_volume_create(backing, &options, &other, &e), CMK_ERR_INVALID_ARGUMENT, e);
  options.mode = CMK_VOLUME_EPHEMERAL, options.block_size = 512;
  FAILS(cmk_volume_create(backing, &options, &other, &e), CMK_ERR_INVALID_ARGUMENT, e);
  CHECK(cmk_volume_len(NULL) == 0 && cmk_volume_id(NULL) == NULL && cmk_volume_is_destroyed(NULL));
  cmk_volume_destroy(NULL);
  cmk_volume_free(NULL);
  cmk_backing_free(NULL);
  cmk_volume_free(volume);
  CHECK(disk->destroyed == 0);
  cmk_backing_free(backing);
  CHECK(disk->destroyed == 1);
  free(disk);

  FAILS(cmk_backing_open(scratch("none"), CMK_ACCESS_READ, &backing, &e), CMK_ERR_IO, e);
  FAILS(cmk_backing_open(scratch_dir, CMK_ACCESS_READ, &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_backing_open(scratch("disk"), 2, &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_backing_open("", 0, &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_backing_open(NULL, 0, &backing, &e), CMK_ERR_INVALID_ARGUMENT, e);
}

static cmk_volume *busy_volume;
static int stop;

static void *keep_busy(void *argument) {
  uint8_t text[8192];
  uint64_t offset = (uint64_t)(uintptr_t)argument * sizeof text;
  fill(text, sizeof text, (uint32_t)offset);
  do {
    CHECK(cmk_volume_write(busy_volume, offset, text, sizeof text, 0, NULL) == CMK_OK);
    CHECK(cmk_volume_read(busy_volume, offset, text, sizeof text, NULL) == CMK_OK);
  } while (!__atomic_load_n(&stop, __ATOMIC_RELAXED));
  return NULL;
}

static void in_a_child(struct disk *disk) {
  cmk_error *e = NULL;
  uint8_t byte = 1;
  cmk_text_list *ids = NULL;
  cmk_volume_counters counters = {.struct_size = sizeof counters};
  struct extents none = {.volume = busy_volume};
  int writes = disk->writes, discards = disk->discards;
  FAILS(cmk_volume_read(busy_volume, 0, &byte, 1, &e), CMK_ERR_INVALID_STATE, e);
  CHECK(byte == 0);
  FAILS(cmk_volume_write(busy_volume, 0, &byte, 1, 0, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_write_from(busy_volume, 0, &byte, 1, 0, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_write_zeroes(busy_volume, 0, 4096, 0, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_discard(busy_volume, 0, 4096, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_flush(busy_volume, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_extents(busy_volume, 0, 1, on_extent, &none, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_stats(busy_volume, &counters, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_check(busy_volume, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_key_ids(busy_volume, &ids, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_reset(busy_volume, NULL, &e), CMK_ERR_INVALID_STATE, e);
  FAILS(cmk_volume_discard_backing(busy_volume, NULL, &e), CMK_ERR_INVALID_STATE, e);
  CHECK(cmk_volume_is_destroyed(busy_volume));
  cmk_volume_destroy(busy_volume);
  cmk_volume_free(busy_volume);
  CHECK(disk->writes == writes && disk->discards == discards);
}

static void threads_and_children(void) {
  pthread_t threads[4];
  struct disk *disk = new_disk();
  busy_volume = volume_over(disk, NULL);
#ifdef __SANITIZE_ADDRESS__
  /* The allocator of GCC's ASan doesn't survive the fork of a process whose other threads allocate. */
  stop = 1;
#endif
  for (uintptr_t i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, keep_busy, (void *)i) == 0);
  for (int i = 0; i < 10; i++) IN_CHILD_THEN(in_a_child(disk), execl("/bin/true", "true", NULL));
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  uint8_t back[8192], text[8192];
  fill(text, sizeof text, 2 * sizeof text);
  CHECK(cmk_volume_read(busy_volume, 2 * sizeof text, back, sizeof back, NULL) == CMK_OK);
  CHECK(memcmp(back, text, sizeof text) == 0);
  cmk_volume_free(busy_volume);
  CHECK(disk->destroyed == 1);
  free(disk);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  kinds();
  opened_again();
  damage_and_failures();
  extents();
  callbacks_that_call_back();
  ends();
  misuse();
  threads_and_children();
  return 0;
}
