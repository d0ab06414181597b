/* libcmkit: envelope encryption for data whose key belongs to the customer.
 *
 * Written by `cargo xtask header` from bindings/c; do not edit. The guide is docs/guides/c.md.
 *
 * - A function that can fail returns a cmk_result: CMK_OK or one of the codes below. If its last argument `err` is not
 *   NULL, *err becomes NULL or, on failure, a cmk_error with the details, to be freed with cmk_error_free.
 * - Handles are opaque: cmk_..._new or _open makes one, cmk_..._free ends it; to free NULL does nothing.
 *   None may be freed while a call uses it; what was made from it goes on without it.
 * - Keyrings, contexts, local providers, readers, inspections, lists, buffers and errors never change, so any number of threads may use
 *   one at the same time. Builders and streams belong to one thread at a time.
 * - Bytes come in as (pointer, length); the pointer may be NULL if and only if the length is 0. Text is UTF-8 and ends with a NUL.
 * - Bytes go out into the caller's memory. After a failure the whole output range is zero and *out_len is 0. Input
 *   and output must not overlap, unless the function says that it works in place.
 * - A callback must return: no longjmp and no C++ exception may leave it. No lock of cmkit's is held while it runs; a builder or stream
 *   in use refuses a second call.
 */

#ifndef CMKIT_H
#define CMKIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The initializer of a cmk_pair, from two strings that end with a NUL. */
#define CMK_PAIR(key, value) { (key), strlen(key), (value), strlen(value) }

// Done.
#define CMK_OK 0

// Not authentic: the data was changed or damaged, or the key or the context is another one.
#define CMK_ERR_AUTHENTICATION 100

// Not an envelope, or of a newer cmkit.
#define CMK_ERR_FORMAT 101

// The end is missing.
#define CMK_ERR_TRUNCATED 102

// A rewrap in place was interrupted: run it again on that file.
#define CMK_ERR_REWRAP_INTERRUPTED 103

// Another workspace, or the keyring's set-up says no.
#define CMK_ERR_POLICY 200

// None of the envelope's keys is on the keyring's allow-list.
#define CMK_ERR_KEY_NOT_ALLOWED 201

// There is no such key or version.
#define CMK_ERR_KEY_NOT_FOUND 202

// The key version is disabled.
#define CMK_ERR_KEY_DISABLED 203

// The provider, or the modes of the key directory, refuse access.
#define CMK_ERR_ACCESS_DENIED 204

// The key is there and can't be used: its file is damaged, or it has no private half.
#define CMK_ERR_KEY_UNUSABLE 205

// The provider asks to slow down: cmk_error_retry_after_ms.
#define CMK_ERR_THROTTLED 300

// The provider is out of reach.
#define CMK_ERR_UNAVAILABLE 301

// The provider doesn't know who is asking.
#define CMK_ERR_IDENTITY 302

// The provider failed in another way.
#define CMK_ERR_PROVIDER 303

// The key store failed, or doesn't hold the data key.
#define CMK_ERR_KEY_STORE 304

// It exists already and was left as it is.
#define CMK_ERR_ALREADY_EXISTS 400

// An argument is out of range, or NULL where it must not be.
#define CMK_ERR_INVALID_ARGUMENT 401

// The output buffer is too small: cmk_error_bytes_needed.
#define CMK_ERR_BUFFER_TOO_SMALL 402

// The stream failed before, is finished or in use, or belongs to another process.
#define CMK_ERR_INVALID_STATE 403

// Reading or writing failed: cmk_error_system_code.
#define CMK_ERR_IO 500

// The caller's callback asked to stop. Nothing was kept.
#define CMK_ERR_CANCELLED 501

// A fault in cmkit, or no randomness.
#define CMK_ERR_INTERNAL 900

// This build, or this version, lacks the function.
#define CMK_UNSUPPORTED 901

// A fault in cmkit was caught. Please report it.
#define CMK_PANIC 902

// Bytes that hold any key id and the NUL behind it.
#define CMK_KEY_ID_CAPACITY 513

// 256 random bits, for A256KW.
#define CMK_KEY_TYPE_OCT_256 1

// RSA with a modulus of 3072 bits, for RSA-OAEP-256.
#define CMK_KEY_TYPE_RSA_3072 2

// RSA with a modulus of 4096 bits, for RSA-OAEP-256.
#define CMK_KEY_TYPE_RSA_4096 3

// What a read, write or progress callback returns to stop: the call fails with CMK_ERR_CANCELLED.
#define CMK_CANCEL -1

// As CMK_ERR_THROTTLED and CMK_ERR_UNAVAILABLE suggest: retry those and no others.
#define CMK_RETRY_DEFAULT 0

// The same call may succeed later.
#define CMK_RETRY_YES 1

// The same call will fail again.
#define CMK_RETRY_NO 2

// The key version is in use.
#define CMK_KEY_STATE_ACTIVE 0

// It is out of reach for now; cached data keys serve until they are too old.
#define CMK_KEY_STATE_UNAVAILABLE 1

// It was taken away; cached data keys stop serving at once.
#define CMK_KEY_STATE_REVOKED 2

// The provider has never seen it.
#define CMK_KEY_STATE_UNKNOWN 3

// The header is as short as it can be.
#define CMK_PADDING_NONE 0

// The header is a multiple of 4096 bytes: for files, so that cmk_keyring_rewrap_file needn't copy them.
#define CMK_PADDING_FILE 1

// A destination that exists is left as it is: CMK_ERR_ALREADY_EXISTS.
#define CMK_OVERWRITE_REFUSE 0

// The new file takes its place, in one step.
#define CMK_OVERWRITE_REPLACE 1

// What the total of a progress callback is where the source doesn't say how long it is.
#define CMK_LEN_UNKNOWN 18446744073709551615ull

// The recipient that was unwrapped is replaced; the others stay as they are.
#define CMK_RECIPIENTS_KEEP 0

// The new recipient is the only one.
#define CMK_RECIPIENTS_ONLY 1

// Only the header of the file was written over.
#define CMK_REWRAP_IN_PLACE 1

// The new header didn't fit: the file was copied, and the copy renamed over it.
#define CMK_REWRAP_COPIED 2

// AES key wrap with a 256-bit key (RFC 3394); the number is COSE's.
#define CMK_WRAP_A256KW -5

// RSAES-OAEP with SHA-256 (RFC 8017); the number is COSE's.
#define CMK_WRAP_RSA_OAEP_256 -41

// The envelope holds a document or a stream.
#define CMK_PURPOSE_DATA 1

// The header is that of a volume.
#define CMK_PURPOSE_VOLUME 2

// The envelope is compact, or a row of a key store.
#define CMK_PURPOSE_KEY_STORE 3

// Bytes made by cmkit. They are wiped when it is freed.
typedef struct cmk_buffer cmk_buffer;

// A map of text to text that must be the same at decryption as at encryption; it is not stored. Where a function takes one, NULL
// means none. It can be used any number of times.
typedef struct cmk_context cmk_context;

// Decrypts an envelope that is read once, from front to end. It belongs to one thread at a time. After a failure it stays failed.
typedef struct cmk_decryptor cmk_decryptor;

// Encrypts what is written to it and writes the envelope on. It belongs to one thread at a time, and to the process that made it: in a
// forked child everything but cmk_encryptor_free is CMK_ERR_INVALID_STATE. After a failure it stays failed.
typedef struct cmk_encryptor cmk_encryptor;

// The details of a failure. Its texts live as long as it does.
typedef struct cmk_error cmk_error;

// What an envelope's header says. Nothing of it is authenticated: that takes a key. Its texts live as long as it does.
typedef struct cmk_inspection cmk_inspection;

// The versions of all keys of a directory, as they were when it was listed.
typedef struct cmk_key_list cmk_key_list;

// The keys that data is encrypted under and may be decrypted with, for one workspace. It never changes; any number of threads may
// use one at the same time. In a forked child it starts afresh, with empty caches.
typedef struct cmk_keyring cmk_keyring;

// Collects what a keyring is made of. It belongs to one thread at a time.
typedef struct cmk_keyring_builder cmk_keyring_builder;

// A directory of keys, "local:NAME/VERSION". Any number of threads and processes may use one at the same time. The directory and what
// is in it must be private to its owner (modes 0700 and 0600); otherwise everything fails with CMK_ERR_ACCESS_DENIED.
typedef struct cmk_local_provider cmk_local_provider;

// Reads the plaintext of an envelope at any place. Its length is authenticated when it is made; each read opens the chunks of 16 KiB that it
// touches. Any number of threads may use one at the same time. After a failure other places can still be read.
typedef struct cmk_reader cmk_reader;

// Where a callback of a provider or a key store puts its answer. It is good until that callback returns.
typedef struct cmk_sink cmk_sink;

// What a function came to: CMK_OK or one of the CMK_ERR_... codes. The numbers never change and are never used for anything else.
typedef uint32_t cmk_result;

// One entry of an encryption context: UTF-8, with a length instead of a NUL. See CMK_PAIR.
typedef struct cmk_pair {
  // The key.
  const char *key;
  // Bytes in the key.
  size_t key_len;
  // The value.
  const char *value;
  // Bytes in the value.
  size_t value_len;
} cmk_pair;

// What a callback knows about its failure beyond the code that it returns. Everything is copied. Fill it with zeros, set
// struct_size, then what is known.
typedef struct cmk_failure {
  // sizeof(cmk_failure).
  size_t struct_size;
  // What happened and what to do, as a sentence without a full stop, of which 4096 characters are kept; or NULL, or empty. Never put
  // key bytes into it.
  const char *message;
  // The id of the failed request, for a support or audit log; or NULL, or empty.
  const char *request_id;
  // How many milliseconds to wait; 0 when that isn't known.
  uint64_t retry_after_ms;
  // The HTTP status; 0 when there is none.
  uint32_t http_status;
  // A CMK_RETRY_...
  uint32_t retry;
} cmk_failure;

// Wraps a data key (`plaintext`, 72 secret bytes) with a key, "NAME:KEY" for the newest version or "NAME:KEY/VERSION" for exactly
// that one. Returns CMK_OK after cmk_sink_put_key and cmk_sink_put, else a CMK_ERR_...
typedef cmk_result (*cmk_wrap_callback)(void *userdata,
                                        const char *key,
                                        const uint8_t *plaintext,
                                        size_t plaintext_len,
                                        struct cmk_sink *sink);

// Unwraps what `wrap` wrapped, with exactly this key version and algorithm (a CMK_WRAP_...). The bytes come from an envelope that nobody
// vouched for yet. Returns CMK_OK after cmk_sink_put, else a CMK_ERR_...: CMK_ERR_AUTHENTICATION when this isn't what the key wrapped.
typedef cmk_result (*cmk_unwrap_callback)(void *userdata,
                                          const char *key,
                                          int32_t algorithm,
                                          const uint8_t *wrapped,
                                          size_t wrapped_len,
                                          struct cmk_sink *sink);

// What is known about a key version at this moment: a CMK_KEY_STATE_... Called for every message under a cached data key, so it must be
// fast and must not block.
typedef uint32_t (*cmk_state_callback)(void *userdata, const char *key);

// Whether this provider is the one for a key: 1, or 0.
typedef int32_t (*cmk_owns_callback)(void *userdata, const char *key);

// Ends the userdata of callbacks.
typedef void (*cmk_destroy_callback)(void *userdata);

// A key provider: it holds keys and wraps and unwraps data keys with them.
//
// Fill it with zeros, set struct_size, then the members. It is copied. The callbacks are called from any thread, several at a time. They may block, but for
// `state` and `owns`. They must not call the keyring that is calling them, which is refused with CMK_ERR_POLICY, and must not free it.
typedef struct cmk_provider {
  // sizeof(cmk_provider).
  size_t struct_size;
  // The first argument of every callback.
  void *userdata;
  // 1 to 64 bytes that go into every envelope, and the scheme of its keys unless there is `owns`. Copied. Never change it.
  const char *name;
  // Wraps.
  cmk_wrap_callback wrap;
  // Unwraps.
  cmk_unwrap_callback unwrap;
  // Or NULL: always CMK_KEY_STATE_ACTIVE.
  cmk_state_callback state;
  // Or NULL: the keys "NAME:...", with the provider's name.
  cmk_owns_callback owns;
  // Or NULL. Called exactly once, when the last builder, keyring and unfinished encryptor that know the provider are gone; not if
  // adding it failed.
  cmk_destroy_callback destroy;
} cmk_provider;

// Looks a row up by its id of 16 bytes. Returns CMK_OK after cmk_sink_put and, where there is one, cmk_sink_put_tag; CMK_OK without
// either means that there is no such row.
typedef cmk_result (*cmk_store_get_callback)(void *userdata, const uint8_t *id, struct cmk_sink *sink);

// Stores a row unless there is one of this id. Returns CMK_OK after cmk_sink_put_done. A stored row must be durable by then: data is
// encrypted under its data key right after.
typedef cmk_result (*cmk_store_put_callback)(void *userdata,
                                             const uint8_t *id,
                                             const uint8_t *row,
                                             size_t row_len,
                                             struct cmk_sink *sink);

// Replaces a row unless it changed since `get` gave this tag (or, where it gives none, unless it differs from it). Returns CMK_OK after
// cmk_sink_put_done.
typedef cmk_result (*cmk_store_replace_callback)(void *userdata,
                                                 const uint8_t *id,
                                                 const uint8_t *row,
                                                 size_t row_len,
                                                 const uint8_t *tag,
                                                 size_t tag_len,
                                                 struct cmk_sink *sink);

// Lists the ids of all rows, in any order: cmk_sink_put_id for each, then CMK_OK.
typedef cmk_result (*cmk_store_list_callback)(void *userdata, struct cmk_sink *sink);

// A key store: it keeps wrapped data keys by their ids, for the compact form. A row has at most 64 KiB and is not secret.
//
// Fill it with zeros, set struct_size, then the members. It is copied. The callbacks are called from any thread, several at a time, and may
// block. They must not call the keyring that is calling them, which is refused with CMK_ERR_POLICY, and must not free it. A failure is
// returned as a CMK_ERR_... and arrives as CMK_ERR_KEY_STORE.
typedef struct cmk_key_store {
  // sizeof(cmk_key_store).
  size_t struct_size;
  // The first argument of every callback.
  void *userdata;
  // Looks a row up.
  cmk_store_get_callback get;
  // Stores a row.
  cmk_store_put_callback put_if_absent;
  // Replaces a row.
  cmk_store_replace_callback replace_if_unchanged;
  // Lists all rows.
  cmk_store_list_callback list;
  // Or NULL. Called exactly once, when the last builder, keyring and unfinished encryptor that know the store are gone; not if
  // setting it failed.
  cmk_destroy_callback destroy;
} cmk_key_store;

// Takes all of `data`. Called on the thread that uses the stream. Returns 0, an error number (errno), or CMK_CANCEL; after EINTR it is called again.
typedef int32_t (*cmk_write_callback)(void *userdata, const uint8_t *data, size_t len);

// What one may choose about a stream. Fill it with zeros, set struct_size, then the members.
typedef struct cmk_stream_options {
  // sizeof(cmk_stream_options).
  size_t struct_size;
  // Threads that work on a batch, counting the caller's; they end before a call does. 0: one for each CPU, at most 8. With 1 a
  // stream holds no more than 256 KiB, else no more than 4 MiB.
  uint32_t threads;
  // A CMK_PADDING_..., for writing.
  uint32_t header_padding;
} cmk_stream_options;

// Puts up to `capacity` bytes into `out` and their number into *out_len, which is 0 before; 0 means the end, and fewer than there is
// room for is fine. Called on the thread that uses the stream. Returns 0, an error number (errno), or CMK_CANCEL; after EINTR it is called again.
typedef int32_t (*cmk_read_callback)(void *userdata, uint8_t *out, size_t capacity, size_t *out_len);

// Puts up to `capacity` bytes from `offset` on into `out` and their number into *out_len, which is 0 before; 0 means that the offset is
// at or behind the end, and fewer than there is room for is fine. Returns as cmk_read_callback does.
typedef int32_t (*cmk_read_at_callback)(void *userdata, uint64_t offset, uint8_t *out, size_t capacity, size_t *out_len);

// Puts the number of bytes of the source into *size. Returns as cmk_read_callback does.
typedef int32_t (*cmk_size_callback)(void *userdata, uint64_t *size);

// Something that can be read at any offset. Fill it with zeros, set struct_size, then the members. It is copied. The callbacks are called
// from any thread, several at a time, also from threads of cmkit's that end before the call does. They must not free the reader.
typedef struct cmk_source {
  // sizeof(cmk_source).
  size_t struct_size;
  // The first argument of every callback.
  void *userdata;
  // Reads.
  cmk_read_at_callback read_at;
  // Says how long it is.
  cmk_size_callback size;
  // Or NULL. Called exactly once, when the reader is freed; not if opening it failed.
  cmk_destroy_callback destroy;
} cmk_source;

// Told how many bytes of plaintext are done, of how many: at the start, at the end and some fifty times a second in between, on the calling
// thread. Returns 0 to go on; anything else cancels, and nothing is kept.
typedef int32_t (*cmk_progress_callback)(void *userdata, uint64_t done, uint64_t total);

// What one may choose about files. Fill it with zeros, set struct_size, then the members.
typedef struct cmk_file_options {
  // sizeof(cmk_file_options).
  size_t struct_size;
  // A CMK_OVERWRITE_...
  uint32_t overwrite;
  // Threads that work on the file, counting the caller's; they end before the call does. 0: one for each CPU, at most 8.
  uint32_t threads;
  // Or NULL.
  cmk_progress_callback progress;
  // The first argument of the callback.
  void *userdata;
} cmk_file_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The code of the failure; CMK_OK for NULL.
cmk_result cmk_error_code(const struct cmk_error *error);

// What happened and what to do, as a sentence without a full stop. It never has key bytes or plaintext in it. For NULL an empty string.
const char *cmk_error_message(const struct cmk_error *error);

// The key that it is about; NULL when there is none.
const char *cmk_error_key_id(const struct cmk_error *error);

// Whether the same call may succeed later without anybody changing anything.
bool cmk_error_retryable(const struct cmk_error *error);

// How many milliseconds the provider asks to wait; 0 when it doesn't say.
uint64_t cmk_error_retry_after_ms(const struct cmk_error *error);

// The HTTP status that a provider got; 0 when there is none.
uint32_t cmk_error_http_status(const struct cmk_error *error);

// The provider's id of the failed request, for its support or audit log; NULL when there is none.
const char *cmk_error_request_id(const struct cmk_error *error);

// The system's error number (errno) behind CMK_ERR_IO; 0 when there is none.
int32_t cmk_error_system_code(const struct cmk_error *error);

// The capacity that CMK_ERR_BUFFER_TOO_SMALL asks for; 0 for other codes.
uint64_t cmk_error_bytes_needed(const struct cmk_error *error);

// Ends an error and its texts.
void cmk_error_free(struct cmk_error *error);

// The name of a code, such as "CMK_ERR_FORMAT"; "CMK_?" for a number that is none. Never NULL, and never to be freed.
const char *cmk_result_name(cmk_result code);

// The version of the library, such as "0.1.0". Never to be freed.
const char *cmk_version(void);

// The bytes of a buffer, and behind them a NUL that doesn't count. They live as long as it does.
const uint8_t *cmk_buffer_data(const struct cmk_buffer *buffer);

// How many bytes a buffer has.
size_t cmk_buffer_len(const struct cmk_buffer *buffer);

// Wipes and ends a buffer.
void cmk_buffer_free(struct cmk_buffer *buffer);

// Makes an encryption context of pairs in any order. No key may occur twice; all together have at most 8192 bytes encoded.
cmk_result cmk_context_new(const struct cmk_pair *pairs,
                           size_t pairs_len,
                           struct cmk_context **out,
                           struct cmk_error **err);

// Ends an encryption context.
void cmk_context_free(struct cmk_context *context);

// The directory for keys when nobody names one: CMKIT_HOME, else cmkit in XDG_DATA_HOME, else ~/.local/share/cmkit. Nothing is
// created. The buffer's data is a string.
cmk_result cmk_default_dir(struct cmk_buffer **out,
                           struct cmk_error **err);

// Opens a key directory that exists; NULL means cmk_default_dir.
cmk_result cmk_local_provider_open(const char *dir, struct cmk_local_provider **out, struct cmk_error **err);

// Opens a key directory, which is made with mode 0700 if it is missing; NULL means cmk_default_dir.
cmk_result cmk_local_provider_open_or_create(const char *dir, struct cmk_local_provider **out, struct cmk_error **err);

// Makes the first version of a key. `type` is a CMK_KEY_TYPE_... Its id goes to `id`, which is NULL or has at least
// CMK_KEY_ID_CAPACITY bytes. A key of this name, be it a disabled one, is CMK_ERR_ALREADY_EXISTS.
cmk_result cmk_local_provider_create_key(const struct cmk_local_provider *provider,
                                         const char *name,
                                         uint32_t type,
                                         char *id,
                                         size_t id_capacity,
                                         struct cmk_error **err);

// Makes the first version of a key unless there is one, be it a disabled one. `*created` says whether it did; `id` is empty
// when it did not. Of several processes that do so at once, exactly one creates it.
cmk_result cmk_local_provider_create_key_if_absent(const struct cmk_local_provider *provider,
                                                   const char *name,
                                                   uint32_t type,
                                                   bool *created,
                                                   char *id,
                                                   size_t id_capacity,
                                                   struct cmk_error **err);

// Makes a new version of a key, which wrapping uses from now on. `id` as for cmk_local_provider_create_key.
cmk_result cmk_local_provider_rotate(const struct cmk_local_provider *provider,
                                     const char *name,
                                     char *id,
                                     size_t id_capacity,
                                     struct cmk_error **err);

// Takes a key version, "local:NAME/VERSION", out of use: it neither wraps nor unwraps, at once in this process and within a
// second in others.
cmk_result cmk_local_provider_disable(const struct cmk_local_provider *provider,
                                      const char *id,
                                      struct cmk_error **err);

// Puts a disabled key version back into use.
cmk_result cmk_local_provider_enable(const struct cmk_local_provider *provider, const char *id, struct cmk_error **err);

// Ends a provider. Keyrings made with it stay.
void cmk_local_provider_free(struct cmk_local_provider *provider);

// Lists all versions of all keys, by name and then by age, the oldest first; destroyed ones included.
cmk_result cmk_local_provider_list(const struct cmk_local_provider *provider,
                                   struct cmk_key_list **out,
                                   struct cmk_error **err);

// How many versions a list has.
size_t cmk_key_list_len(const struct cmk_key_list *list);

// The full id of a version, "local:NAME/VERSION"; NULL beyond the end. It lives as long as the list.
const char *cmk_key_list_id(const struct cmk_key_list *list, size_t index);

// The type of a version, a CMK_KEY_TYPE_...; 0 where its file is damaged, or beyond the end.
uint32_t cmk_key_list_type(const struct cmk_key_list *list, size_t index);

// What has become of a version: "enabled", "disabled", "destroyed", "half destroyed" or "damaged"; NULL beyond the end. Never to be
// freed.
const char *cmk_key_list_state(const struct cmk_key_list *list,
                               size_t index);

// Whether a version is the one that wrapping without a version uses.
bool cmk_key_list_newest(const struct cmk_key_list *list, size_t index);

// Whether only the public half of a version is there, so that it wraps and can't unwrap.
bool cmk_key_list_public_only(const struct cmk_key_list *list, size_t index);

// When a version was made, in seconds since 1970; 0 where its file is damaged.
uint64_t cmk_key_list_created(const struct cmk_key_list *list, size_t index);

// Ends a list and its texts.
void cmk_key_list_free(struct cmk_key_list *list);

// Puts the answer of a callback: the wrapped key, the unwrapped one, or the row of a key store. The bytes are copied. Once in
// each call.
cmk_result cmk_sink_put(struct cmk_sink *sink,
                        const uint8_t *bytes,
                        size_t len);

// Puts which key version wrapped, such as "hsm:team/0123456789abcdef0123456789abcdef", and how: a CMK_WRAP_... Only for `wrap`, which
// must do it.
cmk_result cmk_sink_put_key(struct cmk_sink *sink,
                            const char *key_id,
                            int32_t algorithm);

// Puts what says in which state a row is: an ETag or a row version. Only for `get`. Without it, the row itself says so.
cmk_result cmk_sink_put_tag(struct cmk_sink *sink, const uint8_t *tag, size_t len);

// Puts one of the ids of a key store, 16 bytes. Only for `list`, any number of times.
cmk_result cmk_sink_put_id(struct cmk_sink *sink, const uint8_t *id);

// Puts whether it was done: 1, or 0 when it was not because the row was there already, or had changed. Only for `put_if_absent` and
// `replace_if_unchanged`, which must do it.
cmk_result cmk_sink_put_done(struct cmk_sink *sink,
                             int32_t done);

// Puts the details of a failure; the callback then returns its code, a CMK_ERR_...
cmk_result cmk_sink_fail(struct cmk_sink *sink, const struct cmk_failure *failure);

// Adds a provider of the caller's own. Of several providers the first one that owns a key is asked for it.
cmk_result cmk_keyring_builder_add_provider(struct cmk_keyring_builder *builder,
                                            const struct cmk_provider *provider,
                                            struct cmk_error **err);

// Keeps the data keys of the compact form in a store of the caller's own.
cmk_result cmk_keyring_builder_key_store(struct cmk_keyring_builder *builder,
                                         const struct cmk_key_store *store,
                                         struct cmk_error **err);

// Makes a keyring of the user's own key directory (cmk_default_dir) that encrypts under its key local:default. The first
// encryption creates that key if it isn't there: back the directory up.
cmk_result cmk_keyring_local(struct cmk_keyring **out,
                             struct cmk_error **err);

// Ends a keyring and wipes the data keys that it has cached; an encryptor that isn't finished keeps them until it is finished or
// freed. What was opened with it goes on.
void cmk_keyring_free(struct cmk_keyring *keyring);

// Makes an empty builder.
cmk_result cmk_keyring_builder_new(struct cmk_keyring_builder **out, struct cmk_error **err);

// Adds the keys of a directory. The provider may be freed afterwards. Of several providers the first one that owns a key is
// asked for it.
cmk_result cmk_keyring_builder_add_local(struct cmk_keyring_builder *builder,
                                         const struct cmk_local_provider *provider,
                                         struct cmk_error **err);

// Keeps the data keys of the compact form in a directory, which is made if it is missing.
cmk_result cmk_keyring_builder_key_store_directory(struct cmk_keyring_builder *builder,
                                                   const char *path,
                                                   struct cmk_error **err);

// Adds a recipient: new data keys are wrapped with this key, such as "local:team", in its newest version unless one is given. At
// most 16; a keyring without any only decrypts. What is added here may also unwrap, in any version.
cmk_result cmk_keyring_builder_wrap_with(struct cmk_keyring_builder *builder,
                                         const char *key,
                                         struct cmk_error **err);

// Also lets this key unwrap, in any version. What is on no list is refused before any provider is called.
cmk_result cmk_keyring_builder_allow_key(struct cmk_keyring_builder *builder, const char *key, struct cmk_error **err);

// Also lets every key of this host unwrap, given as in a key id: "v.example.net", with its port if it has one. Exact, never a
// suffix; what no key id can have, such as a URL or capitals, fails the build of the keyring.
cmk_result cmk_keyring_builder_allow_host(struct cmk_keyring_builder *builder,
                                          const char *host,
                                          struct cmk_error **err);

// Ties every data key to this workspace, 1 to 512 bytes. Envelopes of other workspaces, or of none, are refused.
cmk_result cmk_keyring_builder_workspace(struct cmk_keyring_builder *builder, const char *name, struct cmk_error **err);

// How long a data key serves, at most 24 hours; by default one. 0: nothing is cached.
cmk_result cmk_keyring_builder_max_age_ms(struct cmk_keyring_builder *builder, uint64_t age_ms, struct cmk_error **err);

// How many messages a data key encrypts, at most 2^32; by default 2^20. 0: nothing is cached.
cmk_result cmk_keyring_builder_max_messages(struct cmk_keyring_builder *builder,
                                            uint64_t messages,
                                            struct cmk_error **err);

// After how many bytes of plaintext a data key takes no other message; by default 256 GiB. 0: nothing is cached.
cmk_result cmk_keyring_builder_max_bytes(struct cmk_keyring_builder *builder, uint64_t bytes, struct cmk_error **err);

// How many unwrapped data keys are kept for decrypting; by default 1000. 0: nothing is cached.
cmk_result cmk_keyring_builder_max_entries(struct cmk_keyring_builder *builder, size_t entries, struct cmk_error **err);

// Makes a keyring. The builder stays as it is: it can build another one, and has to be freed. Calls no provider to wrap or unwrap.
cmk_result cmk_keyring_builder_build(const struct cmk_keyring_builder *builder,
                                     struct cmk_keyring **out,
                                     struct cmk_error **err);

// Ends a builder. Keyrings made with it stay.
void cmk_keyring_builder_free(struct cmk_keyring_builder *builder);

// How many bytes an envelope of so much plaintext has. Exact for the data key in use; the first call may ask the provider to wrap
// one. When a data key expires, the next envelope can have another length (its key id may be longer): on
// CMK_ERR_BUFFER_TOO_SMALL, ask again.
cmk_result cmk_keyring_encrypted_len(const struct cmk_keyring *keyring,
                                     size_t plaintext_len,
                                     size_t *out_len,
                                     struct cmk_error **err);

// Encrypts bytes into an envelope. `out` may be `plaintext` itself: in place, the plaintext at the front; then a failure loses it.
// Any other overlap is an error.
cmk_result cmk_keyring_encrypt(const struct cmk_keyring *keyring,
                               const uint8_t *plaintext,
                               size_t plaintext_len,
                               const struct cmk_context *context,
                               uint8_t *out,
                               size_t capacity,
                               size_t *out_len,
                               struct cmk_error **err);

// How many bytes a compact envelope of so much plaintext has.
cmk_result cmk_keyring_compact_len(const struct cmk_keyring *keyring,
                                   size_t plaintext_len,
                                   size_t *out_len,
                                   struct cmk_error **err);

// Encrypts bytes into a compact envelope, whose wrapped data key is kept in the keyring's key store. Doesn't work in place.
cmk_result cmk_keyring_encrypt_compact(const struct cmk_keyring *keyring,
                                       const uint8_t *plaintext,
                                       size_t plaintext_len,
                                       const struct cmk_context *context,
                                       uint8_t *out,
                                       size_t capacity,
                                       size_t *out_len,
                                       struct cmk_error **err);

// How many bytes of plaintext an envelope has, by its own lengths: not authenticated, but never less than what decrypting gives.
cmk_result cmk_decrypted_len(const uint8_t *envelope,
                             size_t envelope_len,
                             size_t *out_len,
                             struct cmk_error **err);

// Decrypts an envelope of either form. `out` may be `envelope` itself: in place, the plaintext moves to the front and zeros follow;
// then a failure loses the envelope, and the capacity is at least its length. Any other overlap is an error.
cmk_result cmk_keyring_decrypt(const struct cmk_keyring *keyring,
                               const uint8_t *envelope,
                               size_t envelope_len,
                               const struct cmk_context *context,
                               uint8_t *out,
                               size_t capacity,
                               size_t *out_len,
                               struct cmk_error **err);

// Whether bytes begin like an envelope of a version that this library reads. It looks at 9 of them and says nothing about whether
// the envelope is whole, authentic or yours.
bool cmk_is_envelope(const uint8_t *bytes,
                     size_t len);

// Begins an envelope that goes to a callback, which gets the header at once. `userdata` stays the caller's and must live as long as the
// encryptor. `options` may be NULL.
cmk_result cmk_encryptor_new(const struct cmk_keyring *keyring,
                             const struct cmk_context *context,
                             cmk_write_callback write,
                             void *userdata,
                             const struct cmk_stream_options *options,
                             struct cmk_encryptor **out,
                             struct cmk_error **err);

// Begins an envelope that goes to a file descriptor. The descriptor is duplicated: the caller's may be closed right after. It must be a
// blocking one: EAGAIN is a failure like others. A closed pipe raises SIGPIPE, unless the program ignores it.
cmk_result cmk_encryptor_new_fd(const struct cmk_keyring *keyring,
                                const struct cmk_context *context,
                                int32_t fd,
                                const struct cmk_stream_options *options,
                                struct cmk_encryptor **out,
                                struct cmk_error **err);

// Encrypts more. All of it is taken, or the stream has failed.
cmk_result cmk_encryptor_write(struct cmk_encryptor *encryptor,
                               const uint8_t *plaintext,
                               size_t plaintext_len,
                               struct cmk_error **err);

// Writes the end. Only then is what was written an envelope. The encryptor has to be freed all the same.
cmk_result cmk_encryptor_finish(struct cmk_encryptor *encryptor, struct cmk_error **err);

// Ends an encryptor and calls nobody. If it wasn't finished, what was written is no envelope: every reader refuses it. From its own
// callback it does nothing.
void cmk_encryptor_free(struct cmk_encryptor *encryptor);

// Opens an envelope that comes from a callback; its header is read and checked at once. It ends where the callback's bytes do: nothing may
// follow it. `userdata` stays the caller's and must live as long as the decryptor. `options` may be NULL.
cmk_result cmk_decryptor_new(const struct cmk_keyring *keyring,
                             const struct cmk_context *context,
                             cmk_read_callback read,
                             void *userdata,
                             const struct cmk_stream_options *options,
                             struct cmk_decryptor **out,
                             struct cmk_error **err);

// Opens an envelope that comes from a file descriptor and ends where that does. It is duplicated: the caller's may be closed right after.
// The two share their position. It must be a blocking one: EAGAIN is a failure like others.
cmk_result cmk_decryptor_new_fd(const struct cmk_keyring *keyring,
                                const struct cmk_context *context,
                                int32_t fd,
                                const struct cmk_stream_options *options,
                                struct cmk_decryptor **out,
                                struct cmk_error **err);

// Gives more plaintext: up to `capacity` bytes, which must not be 0. *out_len of 0 means the end, and that the envelope was whole. A
// stream that is cut or damaged fails instead, after the chunks before: discard those then.
cmk_result cmk_decryptor_read(struct cmk_decryptor *decryptor,
                              uint8_t *out,
                              size_t capacity,
                              size_t *out_len,
                              struct cmk_error **err);

// Ends a decryptor. From its own callback it does nothing.
void cmk_decryptor_free(struct cmk_decryptor *decryptor);

// Opens an envelope that callbacks read.
cmk_result cmk_reader_new(const struct cmk_keyring *keyring,
                          const struct cmk_context *context,
                          const struct cmk_source *source,
                          struct cmk_reader **out,
                          struct cmk_error **err);

// Opens the envelope that a file descriptor of a regular file or a block device has. The descriptor is duplicated: the caller's may be
// closed right after. Its position is neither used nor changed.
cmk_result cmk_reader_open_fd(const struct cmk_keyring *keyring,
                              const struct cmk_context *context,
                              int32_t fd,
                              struct cmk_reader **out,
                              struct cmk_error **err);

// Opens an envelope by its file's name. If a rewrap of the file was interrupted, the header is completed from the file beside it; nothing
// is written.
cmk_result cmk_reader_open_file(const struct cmk_keyring *keyring,
                                const struct cmk_context *context,
                                const char *path,
                                struct cmk_reader **out,
                                struct cmk_error **err);

// Bytes of plaintext, authenticated.
uint64_t cmk_reader_len(const struct cmk_reader *reader);

// Fills `out` with the plaintext from `offset` on: all of it, less only at the end, 0 bytes behind it.
cmk_result cmk_reader_read_at(const struct cmk_reader *reader,
                              uint64_t offset,
                              uint8_t *out,
                              size_t capacity,
                              size_t *out_len,
                              struct cmk_error **err);

// Ends a reader.
void cmk_reader_free(struct cmk_reader *reader);

// Encrypts a file into another one. The destination appears whole and synced, or not at all; until then only its owner may read it, then it
// has the source's mode. `options` and `plaintext_len`, the bytes that were encrypted, may be NULL.
cmk_result cmk_keyring_encrypt_file(const struct cmk_keyring *keyring,
                                    const char *source,
                                    const char *destination,
                                    const struct cmk_context *context,
                                    const struct cmk_file_options *options,
                                    uint64_t *plaintext_len,
                                    struct cmk_error **err);

// Decrypts a file into another one, as cmk_keyring_encrypt_file does: a damaged or cut envelope leaves nothing.
cmk_result cmk_keyring_decrypt_file(const struct cmk_keyring *keyring,
                                    const char *source,
                                    const char *destination,
                                    const struct cmk_context *context,
                                    const struct cmk_file_options *options,
                                    uint64_t *plaintext_len,
                                    struct cmk_error **err);

// Gives an envelope, or the header of one, with its data key wrapped by the key `to`; the body stays. `recipients` is a CMK_RECIPIENTS_...
// It revokes nothing: an old copy of the header works for as long as the old key version does.
cmk_result cmk_keyring_rewrap(const struct cmk_keyring *keyring,
                              const uint8_t *envelope,
                              size_t envelope_len,
                              const char *to,
                              uint32_t recipients,
                              struct cmk_buffer **out,
                              struct cmk_error **err);

// Rewraps a file, safe against a crash at any instruction: the same call made again completes what was interrupted. `outcome`, a
// CMK_REWRAP_..., may be NULL.
cmk_result cmk_keyring_rewrap_file(const struct cmk_keyring *keyring,
                                   const char *path,
                                   const char *to,
                                   uint32_t recipients,
                                   uint32_t *outcome,
                                   struct cmk_error **err);

// Rewraps every row of the keyring's key store; compact envelopes stay as they are. `rewritten` may be NULL. After a failure the rows done so
// far stay done.
cmk_result cmk_keyring_rewrap_key_store(const struct cmk_keyring *keyring,
                                        const char *to,
                                        uint32_t recipients,
                                        size_t *rewritten,
                                        struct cmk_error **err);

// Reads the header that bytes begin with: an envelope, or its first 64 KiB.
cmk_result cmk_inspection_new(const uint8_t *envelope,
                              size_t envelope_len,
                              struct cmk_inspection **out,
                              struct cmk_error **err);

// The format's version.
uint32_t cmk_inspection_version(const struct cmk_inspection *inspection);

// The number of the suite.
uint32_t cmk_inspection_suite(const struct cmk_inspection *inspection);

// The algorithms of the suite.
const char *cmk_inspection_suite_name(const struct cmk_inspection *inspection);

// The 16 bytes that name the data key; NULL for NULL.
const uint8_t *cmk_inspection_dek_id(const struct cmk_inspection *inspection);

// What the data key may be used for: a CMK_PURPOSE_...
uint32_t cmk_inspection_purpose(const struct cmk_inspection *inspection);

// The workspace that it belongs to; NULL when it has none.
const char *cmk_inspection_workspace(const struct cmk_inspection *inspection);

// When the data key was made, in seconds since 1970.
uint64_t cmk_inspection_created(const struct cmk_inspection *inspection);

// Bytes of the whole header. The body follows.
size_t cmk_inspection_header_len(const struct cmk_inspection *inspection);

// Zero bytes that make room for a rewrap.
size_t cmk_inspection_padding_len(const struct cmk_inspection *inspection);

// Whether the wrapped data key is in a key store and not in the envelope.
bool cmk_inspection_is_compact(const struct cmk_inspection *inspection);

// How many keys can open it: 0 in the compact form, else 1 to 16.
size_t cmk_inspection_recipients_len(const struct cmk_inspection *inspection);

// The key provider's name of a recipient; NULL beyond the end.
const char *cmk_inspection_recipient_provider(const struct cmk_inspection *inspection, size_t index);

// The exact key version of a recipient; NULL beyond the end.
const char *cmk_inspection_recipient_key_id(const struct cmk_inspection *inspection, size_t index);

// How the data key was wrapped for a recipient: a CMK_WRAP_...; 0 beyond the end.
int32_t cmk_inspection_recipient_algorithm(const struct cmk_inspection *inspection, size_t index);

// When the data key was wrapped for a recipient, in seconds since 1970; 0 beyond the end.
uint64_t cmk_inspection_recipient_wrapped_at(const struct cmk_inspection *inspection, size_t index);

// Bytes of the wrapped data key of a recipient; 0 beyond the end.
size_t cmk_inspection_recipient_wrapped_len(const struct cmk_inspection *inspection, size_t index);

// Ends an inspection and its texts.
void cmk_inspection_free(struct cmk_inspection *inspection);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CMKIT_H */
