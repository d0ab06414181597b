/* A block device of a storage daemon that does its own asynchronous I/O, as SPDK's bdevs do: requests are submitted to a ring, a poller completes them,
 * and a completion callback gets each. Blocks are encrypted in place before they are submitted, and decrypted in place when they are complete; nothing waits.
 *
 * The seals, 22 bytes a block, are the daemon's, in memory. A block has one request under way at a time, as with any device whose requests may overtake each other.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmkit.h"

#define BLOCK 4096u
#define BLOCKS 256u
#define RING 16u

/* The device below: here memory and a ring, whose requests are done when it is polled. */
struct request;
typedef void (*completion)(struct request *request, bool good);

struct request {
  bool is_write;
  uint64_t block;
  uint32_t count;
  uint8_t *data;
  completion done;
  void *owner;
};

struct ring {
  uint8_t medium[BLOCKS * BLOCK];
  struct request *slots[RING];
  unsigned head, tail;
};

static bool ring_submit(struct ring *ring, struct request *request) {
  if (ring->tail - ring->head == RING) return false;
  ring->slots[ring->tail++ % RING] = request;
  return true;
}

static void ring_poll(struct ring *ring) {
  while (ring->head != ring->tail) {
    struct request *request = ring->slots[ring->head++ % RING];
    uint8_t *place = ring->medium + request->block * BLOCK;
    size_t len = (size_t)request->count * BLOCK;
    if (request->is_write) {
      memcpy(place, request->data, len);
    } else {
      memcpy(request->data, place, len);
    }
    request->done(request, true);
  }
}

/* The encrypted device above it. */
struct crypt_device {
  struct ring *ring;
  cmk_block_key *key;
  uint8_t seals[BLOCKS][CMK_BLOCK_SEAL_LEN]; /* zero: never written */
};

struct crypt_request {
  struct request base; /* first, so that a request is found from it */
  struct crypt_device *device;
  uint8_t new_seals[RING][CMK_BLOCK_SEAL_LEN];
  void (*done)(struct crypt_request *request, cmk_result result);
};

static void write_done(struct request *base, bool good) {
  struct crypt_request *request = (struct crypt_request *)base;
  uint8_t *seals = request->device->seals[base->block];
  size_t len = (size_t)base->count * CMK_BLOCK_SEAL_LEN;
  /* Of a failed write any part may be on the medium: with these seals, a block that isn't wholly there is an error until it is written again. */
  memcpy(seals, request->new_seals, len);
  request->done(request, good ? CMK_OK : CMK_ERR_IO);
}

static void read_done(struct request *base, bool good) {
  struct crypt_request *request = (struct crypt_request *)base;
  cmk_error *error = NULL;
  cmk_result result = CMK_ERR_IO;
  if (good) {
    result = cmk_block_key_decrypt(request->device->key, base->block, base->data, (size_t)base->count * BLOCK,
                                   request->device->seals[base->block], (size_t)base->count * CMK_BLOCK_SEAL_LEN, &error);
    uint64_t block;
    if (cmk_error_block(error, &block)) fprintf(stderr, "block %llu was changed\n", (unsigned long long)block);
    cmk_error_free(error);
  } else {
    memset(base->data, 0, (size_t)base->count * BLOCK);
  }
  request->done(request, result);
}

/* Takes `request->base.data` over until `done` is called, which isn't if this fails. */
static cmk_result crypt_submit(struct crypt_device *device, struct crypt_request *request) {
  struct request *base = &request->base;
  size_t len = (size_t)base->count * BLOCK;
  if (base->count == 0 || base->count > RING || base->block >= BLOCKS || base->count > BLOCKS - base->block) {
    return CMK_ERR_INVALID_ARGUMENT;
  }
  /* At most once a second this asks a keyring; a daemon with one calls it from a thread that may wait. */
  cmk_result result = cmk_block_key_check(device->key, NULL);
  if (result == CMK_OK && base->is_write) {
    result = cmk_block_key_encrypt(device->key, base->block, base->data, len, request->new_seals[0],
                                   (size_t)base->count * CMK_BLOCK_SEAL_LEN, NULL);
  }
  if (result != CMK_OK) return result;
  request->device = device;
  base->done = base->is_write ? write_done : read_done;
  /* A full ring: what was encrypted is thrown away, the old seals still count. */
  return ring_submit(device->ring, base) ? CMK_OK : CMK_ERR_BUSY;
}

static int failures, completed;

static void check_done(struct crypt_request *request, cmk_result result) {
  completed++;
  if (result != *(const cmk_result *)request->base.owner) failures++;
}

static cmk_result run(struct crypt_device *device, bool is_write, uint64_t block, uint8_t *data, cmk_result expected) {
  struct crypt_request request;
  memset(&request, 0, sizeof request);
  request.base.is_write = is_write;
  request.base.block = block;
  request.base.count = 2;
  request.base.data = data;
  request.base.owner = &expected;
  request.done = check_done;
  cmk_result result = crypt_submit(device, &request);
  ring_poll(device->ring);
  return result;
}

int main(void) {
  struct ring *ring = calloc(1, sizeof *ring);
  struct crypt_device *device = calloc(1, sizeof *device);
  uint8_t *data = malloc(2 * BLOCK);
  cmk_error *error = NULL;
  int status = 1;
  if (ring == NULL || device == NULL || data == NULL || cmk_block_key_random(BLOCK, &device->key, &error) != CMK_OK) {
    fprintf(stderr, "%s\n", cmk_error_message(error));
    goto end;
  }
  device->ring = ring;

  memset(data, 'a', 2 * BLOCK);
  failures += run(device, true, 10, data, CMK_OK) != CMK_OK;
  failures += ring->medium[10 * BLOCK] == 'a' && ring->medium[10 * BLOCK + 1] == 'a' && ring->medium[10 * BLOCK + 2] == 'a';
  failures += run(device, false, 10, data, CMK_OK) != CMK_OK || data[0] != 'a' || data[2 * BLOCK - 1] != 'a';
  /* Never written: zeros. */
  failures += run(device, false, 100, data, CMK_OK) != CMK_OK || data[0] != 0;
  /* Somebody changes the medium. */
  ring->medium[11 * BLOCK] ^= 1;
  failures += run(device, false, 10, data, CMK_ERR_AUTHENTICATION) != CMK_OK || data[0] != 0;
  /* The job is over: from here on the medium is noise. */
  cmk_block_key_destroy(device->key);
  failures += run(device, false, 10, data, CMK_OK) != CMK_ERR_INVALID_STATE;

  if (failures == 0 && completed == 4) {
    puts("encrypted in place");
    status = 0;
  }
end:
  cmk_error_free(error);
  if (device != NULL) cmk_block_key_free(device->key);
  free(device);
  free(ring);
  free(data);
  return status;
}
