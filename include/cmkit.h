/* libcmkit: envelope encryption for data whose key belongs to the customer.
 *
 * Written by `cargo xtask header` from bindings/c; do not edit. The guide is docs/guides/c.md.
 *
 * - A function that can fail returns a cmk_result: CMK_OK or one of the codes below. If its last argument `err` is not
 *   NULL, *err becomes NULL or, on failure, a cmk_error with the details, to be freed with cmk_error_free.
 * - Handles are opaque: cmk_..._new or _open makes one, cmk_..._free ends it; to free NULL does nothing.
 * - Keyrings, contexts, local providers, readers, inspections, lists, buffers and errors never change, so any number of threads may use
 *   one at the same time. Builders and streams belong to one thread at a time.
 * - Bytes come in as (pointer, length); the pointer may be NULL if and only if the length is 0. Text is UTF-8 and ends with a NUL.
 * - Bytes go out into the caller's memory. After a failure the whole output range is zero and *out_len is 0. Input
 *   and output must not overlap, unless the function says that it works in place.
 * - A callback must return: no longjmp and no C++ exception may leave it. No lock of cmkit's is held while it runs.
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

// Makes a keyring of the user's own key directory (cmk_default_dir) that encrypts under its key local:default. The first
// encryption creates that key if it isn't there: back the directory up.
cmk_result cmk_keyring_local(struct cmk_keyring **out,
                             struct cmk_error **err);

// Ends a keyring and wipes the data keys that it has cached. What was opened with it goes on.
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
// suffix.
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
