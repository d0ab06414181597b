/* libcmkit: envelope encryption for data whose key belongs to the customer.
 *
 * Written by `cargo xtask header` from bindings/c; do not edit. The guide is docs/guides/c.md.
 *
 * - A function that can fail returns a cmk_result: CMK_OK or one of the codes below. If its last argument `err` is not
 *   NULL, *err becomes NULL or, on failure, a cmk_error with the details, to be freed with cmk_error_free.
 * - Handles are opaque: cmk_..._new or _open makes one, cmk_..._free ends it; to free NULL does nothing.
 *   None may be freed while a call uses it; what was made from it goes on without it.
 * - Keyrings, contexts, local providers, vaults, rotations, readers, inspections, reports, lists, buffers and errors never change, so any number of
 *   threads may use one at the same time; block keys, XTS keys, backings, volumes and NBD servers, too. Builders, censuses, jobs'
 *   disks (cmk_scratch) and streams belong to one thread at a time.
 * - Bytes come in as (pointer, length); the pointer may be NULL if and only if the length is 0. Text is UTF-8 and ends with a NUL.
 * - Bytes go out into the caller's memory. After a failure the whole output range is zero and *out_len is 0. Input
 *   and output must not overlap, unless the function says that it works in place.
 * - A callback must return: no longjmp and no C++ exception may leave it. No lock of cmkit's is held while it runs, but for a backing's: a volume
 *   refuses its own callback, as a builder or stream in use refuses a second call.
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

// The key was deleted; its owner can perhaps recover it.
#define CMK_ERR_KEY_DELETED 206

// The key doesn't meet a rule for keys; the message says which.
#define CMK_ERR_KEY_POLICY 207

// Another vault or key than the one that was asked for.
#define CMK_ERR_WRONG_VAULT 208

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

// Something else uses it: mounted, locked, or a job of that name runs.
#define CMK_ERR_BUSY 404

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

// The first of the others that the environment has: never another one because that one fails.
#define CMK_IDENTITY_AUTO 0

// The managed identity of App Service, Functions and Container Apps: IDENTITY_ENDPOINT, IDENTITY_HEADER.
#define CMK_IDENTITY_APP_SERVICE 1

// The managed identity of a machine with Azure Arc: IDENTITY_ENDPOINT, IMDS_ENDPOINT.
#define CMK_IDENTITY_ARC 2

// The managed identity of Azure ML compute: MSI_ENDPOINT, MSI_SECRET, and DEFAULT_IDENTITY_CLIENT_ID if no client id is given.
#define CMK_IDENTITY_AZURE_ML 3

// Workload identity, as in Kubernetes: AZURE_FEDERATED_TOKEN_FILE, AZURE_CLIENT_ID, AZURE_TENANT_ID.
#define CMK_IDENTITY_WORKLOAD 4

// An application's secret: AZURE_CLIENT_SECRET, AZURE_CLIENT_ID, AZURE_TENANT_ID.
#define CMK_IDENTITY_CLIENT_SECRET 5

// The managed identity of a virtual machine or a scale set.
#define CMK_IDENTITY_IMDS 6

// Whoever is signed in at the Azure CLI: for a developer's machine.
#define CMK_IDENTITY_CLI 7

// All right.
#define CMK_DOCTOR_PASS 0

// Not all right: the row says what and what to do.
#define CMK_DOCTOR_FAIL 1

// Not tried: something before it failed, or it isn't allowed. Nothing is known about it.
#define CMK_DOCTOR_SKIPPED 2

// A data key was to be wrapped.
#define CMK_AUDIT_WRAP 1

// A data key was to be unwrapped: for a message, or to see whether the key still works.
#define CMK_AUDIT_UNWRAP 2

// The newest version of a key was asked for and checked.
#define CMK_AUDIT_NEWEST 3

// A key was found to be taken away: its data keys are let go.
#define CMK_AUDIT_REVOKED 4

// A key that was taken away or out of reach works again.
#define CMK_AUDIT_RECOVERED 5

// A key can't be reached.
#define CMK_AUDIT_UNAVAILABLE 6

// A data key was moved to a key outside its vault, which was asked for.
#define CMK_AUDIT_OTHER_VAULT 7

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

// To be added to one of the others: a recipient of a vault, whose key id begins with "https:", may be replaced or dropped for a key that isn't in that vault.
// Without it that is CMK_ERR_WRONG_VAULT, since a wrong name must not take data out of the hands of its key's owner.
#define CMK_RECIPIENTS_OTHER_VAULT 256

// Only the header of the file was written over.
#define CMK_REWRAP_IN_PLACE 1

// The new header didn't fit: the file was copied, and the copy renamed over it.
#define CMK_REWRAP_COPIED 2

// None of its recipients is a wrapping key of the keyring's. So it is for compact envelopes: rotate their key store.
#define CMK_ROTATE_NOT_OURS 1

// Wrapped by the newest version alone.
#define CMK_ROTATE_UP_TO_DATE 2

// Wrapped by the newest version, and it isn't time yet to drop the old wrap: nothing was changed.
#define CMK_ROTATE_WAITING 3

// Old wraps were dropped: the newest version's had been there for long enough.
#define CMK_ROTATE_FINISHED 4

// The newest version's wrap took the place of the old one.
#define CMK_ROTATE_REPLACED 5

// The newest version's wrap was added, and the old one kept. The same call made later drops it.
#define CMK_ROTATE_ADDED 6

// For `keep_old_ms`: replace old wraps at once. A region of the vault that hasn't the newest version yet can't open the data then.
#define CMK_KEEP_OLD_NOT 18446744073709551615ull

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

// Bytes in a block's seal: what opens the block again besides the key, its version and its tag. 22 zeros are the seal of a block that was never
// written.
#define CMK_BLOCK_SEAL_LEN 22

// Opened for reading only; others may have it open for that too.
#define CMK_ACCESS_READ 0

// Opened for reading and writing; nobody else may have it open through cmkit.
#define CMK_ACCESS_READ_WRITE 1

// AES-256-GCM per block, with the seals in memory: authenticated, zeros where nothing was written, and gone with the process.
#define CMK_VOLUME_EPHEMERAL 0

// AES-256-XTS per sector, as dm-crypt has it: no integrity.
#define CMK_VOLUME_XTS 1

// The write has reached the medium when the call returns (FUA).
#define CMK_WRITE_DURABLE 1

// Zeros are written: the room stays taken. For cmk_volume_write_zeroes.
#define CMK_WRITE_KEEP_ROOM 2

// Something is there.
#define CMK_EXTENT_DATA 0

// Nothing was written there, and it reads as zeros.
#define CMK_EXTENT_ZERO 1

// A file without a name in a directory: sparse, and nothing of it is left when the process ends, however that happens.
#define CMK_PLACE_DIR 0

// A new file of this name, which is removed at the end. Sparse.
#define CMK_PLACE_FILE 1

// All of a block device.
#define CMK_PLACE_DEVICE 2

// This process's memory, all of it taken at once.
#define CMK_PLACE_MEMORY 3

// Not at all: it is used in this process, with cmk_scratch_volume.
#define CMK_EXPOSE_NOTHING 0

// As an NBD export on a Unix socket.
#define CMK_EXPOSE_NBD 1

// As a file over FUSE, `disk` in a directory.
#define CMK_EXPOSE_FILE 2

// As a mounted file system. Needs root.
#define CMK_EXPOSE_MOUNT 3

// ext4 without a journal.
#define CMK_FILE_SYSTEM_EXT4 0

// XFS, at least 300 MiB.
#define CMK_FILE_SYSTEM_XFS 1

// It is tried; what fails becomes a warning.
#define CMK_PROTECT_BEST_EFFORT 0

// If it fails, the call fails.
#define CMK_PROTECT_REQUIRED 1

// It isn't tried.
#define CMK_PROTECT_OFF 2

// What a volume's ciphertext is on. One volume at a time is made over it; it may be freed as soon as that is made.
typedef struct cmk_backing cmk_backing;

// A key for blocks of 4096, 16384 or 65536 bytes: AES-256-GCM, with the block's number and a version as nonce. Ciphertext is as long as plaintext and goes where
// that would; a seal of CMK_BLOCK_SEAL_LEN bytes for each block is kept by the caller, in memory, where nobody can change it or roll it back. Seals aren't secret.
//
// Any number of threads may use one at the same time. It does no I/O and takes no lock for longer than a call's encryption: it fits between a request's
// submission and its completion. It belongs to the process that made it: in a forked child everything but cmk_block_key_destroy and _free is
// CMK_ERR_INVALID_STATE. A virtual machine that is restored from a snapshot, or cloned, would use nonces again: don't snapshot one that is writing.
typedef struct cmk_block_key cmk_block_key;

// Bytes made by cmkit. They are wiped when it is freed.
typedef struct cmk_buffer cmk_buffer;

// A count of the key versions that headers are wrapped by. Takes no key and no network, and nothing of the headers is authenticated. It belongs to one thread at a
// time.
typedef struct cmk_census cmk_census;

// What a census has counted so far. It never changes; its texts live as long as it does.
typedef struct cmk_census_report cmk_census_report;

// A map of text to text that must be the same at decryption as at encryption; it is not stored. Where a function takes one, NULL
// means none. It can be used any number of times.
typedef struct cmk_context cmk_context;

// Decrypts an envelope that is read once, from front to end. It belongs to one thread at a time. After a failure it stays failed.
typedef struct cmk_decryptor cmk_decryptor;

// What was found about a key. It never changes; its texts live as long as it does.
typedef struct cmk_doctor_report cmk_doctor_report;

// Encrypts what is written to it and writes the envelope on. It belongs to one thread at a time, and to the process that made it: in a
// forked child everything but cmk_encryptor_free is CMK_ERR_INVALID_STATE. After a failure it stays failed.
typedef struct cmk_encryptor cmk_encryptor;

// That a scratch disk was erased: what is in its file in the state directory's `records`. It never changes; its texts live as long as it does.
typedef struct cmk_erasure_record cmk_erasure_record;

// The details of a failure. Its texts live as long as it does.
typedef struct cmk_error cmk_error;

// What an envelope's header says. Nothing of it is authenticated: that takes a key. Its texts live as long as it does.
typedef struct cmk_inspection cmk_inspection;

// The versions of all keys of a directory, as they were when it was listed.
typedef struct cmk_key_list cmk_key_list;

// Keys in Azure Key Vault and Managed HSM, "https://VAULT.vault.azure.net/keys/NAME/VERSION". Any number of threads may use one at the same time; a forked
// child may go on with it. It starts no thread.
typedef struct cmk_key_vault cmk_key_vault;

// Collects what a Key Vault provider is made of. It belongs to one thread at a time.
typedef struct cmk_key_vault_builder cmk_key_vault_builder;

// The keys that data is encrypted under and may be decrypted with, for one workspace. It never changes; any number of threads may
// use one at the same time. In a forked child it starts afresh, with empty caches.
typedef struct cmk_keyring cmk_keyring;

// Collects what a keyring is made of. It belongs to one thread at a time.
typedef struct cmk_keyring_builder cmk_keyring_builder;

// A directory of keys, "local:NAME/VERSION". Any number of threads and processes may use one at the same time. The directory and what
// is in it must be private to its owner (modes 0700 and 0600); otherwise everything fails with CMK_ERR_ACCESS_DENIED.
typedef struct cmk_local_provider cmk_local_provider;

// A thread that does a keyring's maintenance.
typedef struct cmk_maintenance cmk_maintenance;

// A server for the network block device protocol on a Unix socket, with threads of its own, which have the signal mask of the thread that started it. Any number of threads may use it. It
// belongs to the process that started it: in a forked child cmk_nbd_server_stop is CMK_ERR_INVALID_STATE, and cmk_nbd_server_free leaves the parent's socket alone.
typedef struct cmk_nbd_server cmk_nbd_server;

// What went wrong in a round of maintenance, at most one error a key. It never changes.
typedef struct cmk_problems cmk_problems;

// Reads the plaintext of an envelope at any place. Its length is authenticated when it is made; each read opens the chunks of 16 KiB that it
// touches. Any number of threads may use one at the same time. After a failure other places can still be read.
typedef struct cmk_reader cmk_reader;

// What cmk_scratch_recover found. It never changes; what it gives lives as long as it does.
typedef struct cmk_recovery cmk_recovery;

// The newest versions of a keyring's wrapping keys as of when it was made, to bring any number of envelopes to. It never changes; any number of threads may
// use one at the same time, and the keyring may be freed.
typedef struct cmk_rotation cmk_rotation;

// A job's scratch disk: encrypted, exposed, and written down so that nothing of it is left behind when this process dies. It belongs to one thread at a time, and to the process that
// made it: in a forked child cmk_scratch_end and _volume are CMK_ERR_INVALID_STATE, and cmk_scratch_free leaves the parent's mount, socket and files alone.
typedef struct cmk_scratch cmk_scratch;

// Where a callback of a provider, a token source or a key store puts its answer. It is good until that callback returns.
typedef struct cmk_sink cmk_sink;

// A list of texts.
typedef struct cmk_text_list cmk_text_list;

// An encrypted disk of a fixed size, read and written at any byte, over a cmk_backing. Any number of threads may use one at the same time. It belongs to the process that made
// it: in a forked child everything but cmk_volume_destroy and _free is CMK_ERR_INVALID_STATE. A volume of a keyring has a thread that looks after its key while nobody reads or
// writes.
typedef struct cmk_volume cmk_volume;

// A key for the sectors of one volume, of 512 or 4096 bytes: AES-256-XTS, byte for byte dm-crypt's aes-xts-plain64 and LUKS payloads.
//
// It has no integrity: whoever can write the disk can exchange any 16 bytes for garbage and any sector for an older version of it, unseen. Take a cmk_block_key unless the
// volume must be opened again later, or mapped by a kernel. Threads and forked children are as with that.
typedef struct cmk_xts_key cmk_xts_key;

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

// The newest version of a key, named without its version, after checking that it may be used to wrap. Returns CMK_OK after cmk_sink_put_newest; CMK_OK without it: the
// provider can't tell. Else a CMK_ERR_..., as `wrap` would. Called about once an hour, by maintenance, and when a rotation is followed. May block.
typedef cmk_result (*cmk_newest_callback)(void *userdata, const char *key, struct cmk_sink *sink);

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
  // 1 when keys can be taken away without the provider noticing by itself, as in a service over a network: then a keyring counts from when such a key last
  // worked, asks again while its data keys are in use, and lets them go when the answer is no or stays out. Else 0.
  uint32_t remote;
  // Or NULL: the provider can't tell which version is the newest.
  cmk_newest_callback newest;
} cmk_provider;

// Gets an access token for an audience, `resource` ("https://vault.azure.net"), or the same as an OAuth 2.0 scope. `claims` are further claims that the
// vault demands, as JSON: then a token from a cache won't do; mostly NULL. Returns CMK_OK after cmk_sink_put_token, else a CMK_ERR_...: whichever it is, the caller
// gets CMK_ERR_IDENTITY with the message of cmk_sink_fail.
typedef cmk_result (*cmk_token_callback)(void *userdata,
                                         const char *resource,
                                         const char *scope,
                                         const char *claims,
                                         struct cmk_sink *sink);

// Tokens that the caller gets, such as from another library.
//
// Fill it with zeros, set struct_size, then the members. It is copied. The callback is called from any thread, one call at a time for each audience, and its
// tokens are kept until shortly before they end. It may block. It must not call the keyring that is calling it, which is refused with CMK_ERR_POLICY.
typedef struct cmk_token_source {
  // sizeof(cmk_token_source).
  size_t struct_size;
  // The first argument of every callback.
  void *userdata;
  // What messages call it. Copied.
  const char *name;
  // Gets a token.
  cmk_token_callback token;
  // Or NULL. Called exactly once, when the last builder, provider and keyring that know it are gone; not if setting it failed.
  cmk_destroy_callback destroy;
} cmk_token_source;

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

// One operation of a key provider, or what came of one: ids and outcomes, never content. It and its texts live until the callback returns.
typedef struct cmk_audit_event {
  // Bytes of this structure: a later version may have more members.
  size_t struct_size;
  // Milliseconds since 1970, when it ended.
  uint64_t time_ms;
  // What was done: a CMK_AUDIT_..., or another number in a later version.
  uint32_t operation;
  // CMK_OK, or how it failed: a CMK_ERR_...
  cmk_result outcome;
  // A lower-case name of the operation, such as "unwrap".
  const char *operation_name;
  // The provider's name.
  const char *provider;
  // The key's id: with the version that was used, where that is known.
  const char *key_id;
  // The keyring's id of the operation, which the provider was told.
  const char *call_id;
  // The provider's own code for the failure; NULL when there is none.
  const char *code;
  // The service's id of its last answer; NULL when there is none.
  const char *request_id;
  // Where the service answered from; NULL when it doesn't say.
  const char *region;
  // The keyring's workspace; NULL when it has none, and with high business impact.
  const char *workspace;
  // How long it took, in milliseconds.
  uint64_t duration_ms;
  // The HTTP status of the last answer; 0 when there is none.
  uint32_t http_status;
  // Requests that were sent for it; 0 where the provider doesn't count.
  uint32_t attempts;
} cmk_audit_event;

// Takes an event. The operation was done: what can't be recorded is the callback's own affair.
typedef void (*cmk_audit_callback)(void *userdata, const struct cmk_audit_event *event);

// Takes a keyring's events. Fill it with zeros, set struct_size, then the members. It is copied.
//
// The callback is called on the thread that did the operation, several at a time, with no lock held. It may block, but the caller waits for it. It must not call the
// keyring that is calling it, which is refused with CMK_ERR_POLICY, and must not free it.
typedef struct cmk_audit_sink {
  // sizeof(cmk_audit_sink).
  size_t struct_size;
  // The first argument of every callback.
  void *userdata;
  // Takes an event.
  cmk_audit_callback record;
  // Or NULL. Called exactly once, when the last builder, keyring and unfinished encryptor that know it are gone; not if adding it
  // failed.
  cmk_destroy_callback destroy;
} cmk_audit_sink;

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

// How to follow rotations. Fill it with zeros, set struct_size, then the members.
typedef struct cmk_rotate_options {
  // sizeof(cmk_rotate_options).
  size_t struct_size;
  // How long a wrap by an older version is kept after the one by the newest was added, counted in whole seconds. 0: 24 hours. CMK_KEEP_OLD_NOT: not at all.
  uint64_t keep_old_ms;
  // 1: only tell what would be done, and change nothing. Else 0.
  uint32_t dry_run;
} cmk_rotate_options;

// Told what became of a file: a CMK_ROTATE_... and how it was written, a CMK_REWRAP_... or 0 when it wasn't; until when an old wrap is kept, in seconds since
// 1970, or 0. When `error` isn't NULL the file failed with it, and the numbers are 0; it belongs to cmkit. Called on the calling thread. Returns 0 to go on;
// anything else cancels, and what was done stays done.
typedef int32_t (*cmk_rotated_file_callback)(void *userdata,
                                             const char *path,
                                             uint32_t outcome,
                                             uint32_t written,
                                             uint64_t old_kept_until,
                                             const struct cmk_error *error);

// The same for a row of a key store, named by its id of 16 bytes.
typedef int32_t (*cmk_rotated_row_callback)(void *userdata,
                                            const uint8_t *id,
                                            uint32_t outcome,
                                            uint64_t old_kept_until,
                                            const struct cmk_error *error);

// Told of each file before it is read. Returns 0 to go on; anything else cancels.
typedef int32_t (*cmk_census_callback)(void *userdata, const char *path);

// What besides the census plays a part in whether a version may be disabled. Fill it with zeros, set struct_size, then the members.
typedef struct cmk_disable_conditions {
  // sizeof(cmk_disable_conditions).
  size_t struct_size;
  // How long it takes, at most, until every writer has noticed a new version: an hour for those without maintenance, else the longest cmk_keyring_builder_poll_ms among them and a minute. 0: one hour.
  uint64_t poll_interval_ms;
  // How old a data key gets, at most, that writers still encrypt under: the longest cmk_keyring_builder_max_age_ms among them. 0: one hour.
  uint64_t dek_age_ms;
} cmk_disable_conditions;

// How the bytes of a volume in XTS mode lie. Fill it with zeros, set struct_size, then the members; where it is an output, set struct_size.
typedef struct cmk_volume_layout {
  // sizeof(cmk_volume_layout).
  size_t struct_size;
  // Bytes in a sector: 512 or 4096. 0: 4096.
  uint32_t sector_size;
  // The number of the first sector, in units of 512 bytes whatever the sector's size: dm-crypt's iv_offset.
  uint64_t iv_offset;
  // Bytes: whole sectors, at most 2^48.
  uint64_t len;
} cmk_volume_layout;

// Fills all of `out` from `offset` on. What was never written may be anything. Returns 0 or an error number (errno); after EINTR it is called again.
typedef int32_t (*cmk_backing_read_callback)(void *userdata, uint64_t offset, uint8_t *out, size_t len);

// Writes all of `data` at `offset`. Returns 0 or an error number (errno), after which any part of it may have been written; after EINTR it is called again.
typedef int32_t (*cmk_backing_write_callback)(void *userdata, uint64_t offset, const uint8_t *data, size_t len);

// Has what was written reach the medium. Returns 0 or an error number (errno).
typedef int32_t (*cmk_backing_flush_callback)(void *userdata);

// Gives room back; what is there afterwards may be anything. Returns 0 or an error number (errno): EOPNOTSUPP where that can't be done.
typedef int32_t (*cmk_backing_discard_callback)(void *userdata, uint64_t offset, uint64_t len);

// Room for a volume's ciphertext that the caller's own I/O reads and writes. Fill it with zeros, set struct_size, then the members. It is copied.
//
// The callbacks are called from any thread that calls the volume, several at a time, but never for a range that is being written. They are called while the blocks that
// they are for are locked: they may block, and must not call the volume that is calling them, which is refused with CMK_ERR_INVALID_STATE, nor free it, which then does
// nothing. cmk_volume_destroy is allowed.
typedef struct cmk_backing_callbacks {
  // sizeof(cmk_backing_callbacks).
  size_t struct_size;
  // The first argument of every callback.
  void *userdata;
  // Or NULL. What errors call it. Copied.
  const char *name;
  // Bytes; never changes.
  uint64_t len;
  // Reads.
  cmk_backing_read_callback read;
  // Writes.
  cmk_backing_write_callback write;
  // Or NULL: what was written is on the medium, or there is none.
  cmk_backing_flush_callback flush;
  // Or NULL: room isn't given back.
  cmk_backing_discard_callback discard;
  // Or NULL. Called exactly once, when the backing and the volume over it are freed; not if making the backing failed.
  cmk_destroy_callback destroy;
  // 1 when callbacks may wait for a medium, else 0: servers then give each request a thread.
  uint32_t blocking;
} cmk_backing_callbacks;

// What a new volume is to be. Fill it with zeros, set struct_size, then the members.
typedef struct cmk_volume_options {
  // sizeof(cmk_volume_options).
  size_t struct_size;
  // A CMK_VOLUME_...
  uint32_t mode;
  // Bytes in a block: 4096, 16384 or 65536 in the ephemeral mode, 512 or 4096 in XTS mode. 0: 4096.
  uint32_t block_size;
  // Or NULL: the key is in this process's memory only. Else the data key is wrapped by the keyring's keys, and the volume stops when these are taken away. The keyring may be
  // freed before the volume.
  const struct cmk_keyring *keyring;
  // Bytes of memory that the seals of the ephemeral mode may take, 22 for each block that was written. 0: half of the machine's.
  uint64_t metadata_budget;
} cmk_volume_options;

// Is told of an extent: where it begins, its bytes, and a CMK_EXTENT_... Returns 0 to go on, an error number (errno), or CMK_CANCEL. It may call the volume.
typedef int32_t (*cmk_extent_callback)(void *userdata, uint64_t offset, uint64_t len, uint32_t kind);

// What a volume did since it was made, and what it holds now. Set struct_size; cmk_volume_stats fills in the rest.
typedef struct cmk_volume_counters {
  // sizeof(cmk_volume_counters).
  size_t struct_size;
  // Requests to read that succeeded.
  uint64_t reads;
  // Bytes that they read.
  uint64_t bytes_read;
  // Requests to write, zeros too, that succeeded.
  uint64_t writes;
  // Bytes that they wrote.
  uint64_t bytes_written;
  // Bytes that were discarded.
  uint64_t bytes_discarded;
  // Requests that met a block which wasn't what was written there.
  uint64_t damaged;
  // Requests that failed otherwise.
  uint64_t failed;
  // Blocks whose last write failed: they can't be read until they are written again.
  uint64_t poisoned_blocks;
  // Bytes of memory that the seals of its blocks take.
  uint64_t metadata_bytes;
} cmk_volume_counters;

// What a server tells its clients, and whom it lets in. Fill it with zeros, set struct_size, then the members.
typedef struct cmk_nbd_options {
  // sizeof(cmk_nbd_options).
  size_t struct_size;
  // The export's name, 4096 bytes at most; NULL: empty. The empty name means this export, too.
  const char *name;
  // What people are told of the export, 4096 bytes at most, or NULL.
  const char *description;
  // How many clients may be connected at once. 0: 64.
  uint32_t max_connections;
  // The user who may connect, besides root. 0: this process's effective one. Others need the socket's permissions, too, which are 0600.
  uint32_t allowed_uid;
} cmk_nbd_options;

// What a server has done so far. Fill it with zeros and set struct_size.
typedef struct cmk_nbd_counters {
  // sizeof(cmk_nbd_counters).
  size_t struct_size;
  // Clients that are connected.
  uint64_t connections;
  // Clients that were connected, with these.
  uint64_t accepted;
  // Clients that weren't let in: another user's, or beyond the limit.
  uint64_t refused;
  // Connections that ended in the middle of a request or because the client broke the protocol.
  uint64_t broken;
  // Requests.
  uint64_t requests;
  // Requests that were answered with an error.
  uint64_t failed;
  // Bytes that were asked for.
  uint64_t bytes_read;
  // Bytes that were written.
  uint64_t bytes_written;
} cmk_nbd_counters;

// What a job's disk is to be. Fill it with zeros, set struct_size, then the members.
typedef struct cmk_scratch_options {
  // sizeof(cmk_scratch_options).
  size_t struct_size;
  // A directory that knows every job with a scratch disk, for cmk_scratch_recover; made if it is missing (mode 0700). On a file system that a restart empties, such as /run/....
  const char *state_dir;
  // The job's name: 1 to 64 of 0-9A-Za-z._-, the first no dot.
  const char *job;
  // Bytes. 0: all of a device; of the others an error.
  uint64_t size;
  // A CMK_PLACE_...: what the ciphertext is on.
  uint32_t place;
  // A CMK_EXPOSE_...: how the job sees its disk.
  uint32_t expose;
  // The directory, the file or the device; NULL for memory. NULL for a directory: the system's for temporary files.
  const char *place_path;
  // The socket; or an empty directory for the file or the mount, where NULL is one in the state directory. NULL for CMK_EXPOSE_NOTHING.
  const char *expose_path;
  // How it is encrypted, or NULL: as in cmk_volume_create.
  const struct cmk_volume_options *volume;
  // 1: a device is taken also if something is on it, which is lost. 0: then it is CMK_ERR_ALREADY_EXISTS. A device in use is refused even so.
  uint32_t overwrite;
  // A CMK_FILE_SYSTEM_..., for a mount.
  uint32_t file_system;
  // The user that the root directory of a mount belongs to.
  uint32_t owner_uid;
  // And its group.
  uint32_t owner_gid;
} cmk_scratch_options;

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

// Our id of the failed operation, which the provider was told: Key Vault's audit log has it as correlationId. NULL when there is none.
const char *cmk_error_client_request_id(const struct cmk_error *error);

// The provider's own code for the failure, such as "ForbiddenByRbac"; NULL when there is none.
const char *cmk_error_provider_code(const struct cmk_error *error);

// Where the provider answered from, such as "westeurope"; NULL when it doesn't say.
const char *cmk_error_region(const struct cmk_error *error);

// The system's error number (errno) behind CMK_ERR_IO; 0 when there is none.
int32_t cmk_error_system_code(const struct cmk_error *error);

// The capacity that CMK_ERR_BUFFER_TOO_SMALL asks for; 0 for other codes.
uint64_t cmk_error_bytes_needed(const struct cmk_error *error);

// Whether it is about a damaged block of a scratch disk: then its number, from 0, goes into *block, which is 0 otherwise. `block` may be NULL.
bool cmk_error_block(const struct cmk_error *error,
                     uint64_t *block);

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

// Puts the newest version of a key, and when it was made, in seconds since 1970; 0 when that isn't known. Only for `newest`.
cmk_result cmk_sink_put_newest(struct cmk_sink *sink,
                               const char *key_id,
                               uint64_t created);

// Puts an access token and when it ends, in seconds since 1970. Only for `token`, which must do it.
cmk_result cmk_sink_put_token(struct cmk_sink *sink, const char *token, uint64_t expires);

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

// Makes an empty builder. It needs at least one key or host.
cmk_result cmk_key_vault_builder_new(struct cmk_key_vault_builder **out, struct cmk_error **err);

// A key to use, with or without a version: "https://VAULT.vault.azure.net/keys/NAME". Its host is thereby allowed. May be called several times.
cmk_result cmk_key_vault_builder_key(struct cmk_key_vault_builder *builder,
                                     const char *key,
                                     struct cmk_error **err);

// A further host that may be talked to, exactly as in key ids: "contoso.vault.azure.net". Other keys in that vault are opened, too, if the
// keyring allows them.
cmk_result cmk_key_vault_builder_allow_host(struct cmk_key_vault_builder *builder,
                                            const char *host,
                                            struct cmk_error **err);

// As whom to sign in: a CMK_IDENTITY_..., by default CMK_IDENTITY_AUTO. The environment is read when the provider is built.
cmk_result cmk_key_vault_builder_identity(struct cmk_key_vault_builder *builder,
                                          uint32_t identity,
                                          struct cmk_error **err);

// To sign in as an application by its secret, which is copied. CMK_IDENTITY_CLIENT_SECRET takes all three from the environment instead.
cmk_result cmk_key_vault_builder_client_secret(struct cmk_key_vault_builder *builder,
                                               const char *tenant,
                                               const char *client_id,
                                               const char *secret,
                                               struct cmk_error **err);

// To sign in with tokens that the caller gets elsewhere.
cmk_result cmk_key_vault_builder_token_source(struct cmk_key_vault_builder *builder,
                                              const struct cmk_token_source *source,
                                              struct cmk_error **err);

// A user-assigned managed identity, or an application, by its client id.
cmk_result cmk_key_vault_builder_client_id(struct cmk_key_vault_builder *builder,
                                           const char *client_id,
                                           struct cmk_error **err);

// The tenant to sign in to, for workload identity, client secrets and the Azure CLI.
cmk_result cmk_key_vault_builder_tenant(struct cmk_key_vault_builder *builder,
                                        const char *tenant,
                                        struct cmk_error **err);

// A PEM file of at most 4 MiB with roots to trust besides the system's: those of an inspecting proxy, or of an emulator.
cmk_result cmk_key_vault_builder_ca_file(struct cmk_key_vault_builder *builder,
                                         const char *path,
                                         struct cmk_error **err);

// Takes RSA keys of 2048 bits, too. By default 3072 are the least.
cmk_result cmk_key_vault_builder_allow_rsa_2048(struct cmk_key_vault_builder *builder, struct cmk_error **err);

// Never asks for the key itself, for key owners who don't grant `get`. Then keys are named with their version, rotations aren't noticed, and of the
// rules for keys only that it wraps and unwraps is checked.
cmk_result cmk_key_vault_builder_no_get(struct cmk_key_vault_builder *builder,
                                        struct cmk_error **err);

// For a private cloud or an emulator: hosts below `suffix`, or exactly that one, take tokens for `audience`, such as "https://vault.azure.net".
cmk_result cmk_key_vault_builder_audience(struct cmk_key_vault_builder *builder,
                                          const char *suffix,
                                          const char *audience,
                                          struct cmk_error **err);

// How long one call to the vault may take with all its retries, 1 s to 10 min; by default 30 s. Signing in comes on top: up to 90 s the first time.
// cmk_keyring_builder_call_timeout_ms ends both.
cmk_result cmk_key_vault_builder_timeout_ms(struct cmk_key_vault_builder *builder,
                                            uint64_t timeout_ms,
                                            struct cmk_error **err);

// Makes a provider. Nothing is contacted before its first operation. The builder stays as it is: it can build another one, and has to be freed.
cmk_result cmk_key_vault_builder_build(const struct cmk_key_vault_builder *builder,
                                       struct cmk_key_vault **out,
                                       struct cmk_error **err);

// Ends a builder and wipes its secret. Providers made with it stay.
void cmk_key_vault_builder_free(struct cmk_key_vault_builder *builder);

// As whom a provider signs in, and what that was chosen by: "auto: Azure ML managed identity (MSI_ENDPOINT, MSI_SECRET)". Lives as long as
// the provider; NULL for NULL.
const char *cmk_key_vault_identity(const struct cmk_key_vault *key_vault);

// Ends a provider. Keyrings that have it go on.
void cmk_key_vault_free(struct cmk_key_vault *key_vault);

// Adds a Key Vault provider, which may be freed afterwards. Several keyrings may share one: its tokens and what it knows about keys, too.
cmk_result cmk_keyring_builder_add_key_vault(struct cmk_keyring_builder *builder,
                                             const struct cmk_key_vault *key_vault,
                                             struct cmk_error **err);

// Tries everything that `key` needs, whatever failed before, and says what to do. It wraps and unwraps 32 random bytes; nothing changes in the vault. Takes as
// long as its calls do: seconds, or minutes when nothing answers. What is wrong with the key is no failure of this call, but stands in the report.
cmk_result cmk_key_vault_doctor(const struct cmk_key_vault *key_vault,
                                const char *key,
                                struct cmk_doctor_report **out,
                                struct cmk_error **err);

// The key, with the version that was tried if it is known.
const char *cmk_doctor_report_key(const struct cmk_doctor_report *report);

// As whom it was tried.
const char *cmk_doctor_report_identity(const struct cmk_doctor_report *report);

// Everything as a table for people, of several lines.
const char *cmk_doctor_report_text(const struct cmk_doctor_report *report);

// Whether nothing failed. What was skipped may still be wrong: see cmk_doctor_report_verified.
bool cmk_doctor_report_healthy(const struct cmk_doctor_report *report);

// Whether everything was tried and all right.
bool cmk_doctor_report_verified(const struct cmk_doctor_report *report);

// How many rows there are, one for each check in the order in which they were tried; 0 for NULL.
size_t cmk_doctor_report_len(const struct cmk_doctor_report *report);

// What a row is about, such as "purge protection"; NULL beyond the end.
const char *cmk_doctor_report_name(const struct cmk_doctor_report *report, size_t index);

// How it went: a CMK_DOCTOR_...; CMK_DOCTOR_SKIPPED beyond the end.
uint32_t cmk_doctor_report_outcome(const struct cmk_doctor_report *report, size_t index);

// What was found, or what is wrong and what to do; NULL beyond the end.
const char *cmk_doctor_report_detail(const struct cmk_doctor_report *report, size_t index);

// Ends a report and its texts.
void cmk_doctor_report_free(struct cmk_doctor_report *report);

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

// A remote key whose data keys are in use is asked to unwrap again this long after its last yes, give or take a fifth, by maintenance. At
// least 10 seconds, and less than five sixths of the hard bound. By default 5 minutes.
cmk_result cmk_keyring_builder_soft_ms(struct cmk_keyring_builder *builder,
                                       uint64_t after_ms,
                                       struct cmk_error **err);

// Data keys stop serving this long after the last yes of their remote key. One minute to 2 hours; by default 10 minutes.
cmk_result cmk_keyring_builder_hard_ms(struct cmk_keyring_builder *builder,
                                       uint64_t after_ms,
                                       struct cmk_error **err);

// An envelope for several keys opens by any of them that answers, but no longer than this after the last yes of one that doesn't. The hard bound to
// 7 days; by default 24 hours.
cmk_result cmk_keyring_builder_failover_ms(struct cmk_keyring_builder *builder,
                                           uint64_t after_ms,
                                           struct cmk_error **err);

// How often maintenance asks for the newest version of wrapping keys and checks it. One minute to 24 hours; by default one hour.
cmk_result cmk_keyring_builder_poll_ms(struct cmk_keyring_builder *builder,
                                       uint64_t every_ms,
                                       struct cmk_error **err);

// A provider's call is given up after this time, signing in and retries included; 0: each provider's own limit holds, which is the default.
cmk_result cmk_keyring_builder_call_timeout_ms(struct cmk_keyring_builder *builder,
                                               uint64_t timeout_ms,
                                               struct cmk_error **err);

// Keeps the names of files and workspaces out of errors and events: for workspaces of Azure Machine Learning with hbi_workspace. It can't be taken back.
cmk_result cmk_keyring_builder_high_business_impact(struct cmk_keyring_builder *builder,
                                                    struct cmk_error **err);

// Does what is due: asks remote keys whose data keys are in use to unwrap again, tries keys in trouble, asks for the newest version of wrapping keys, and wipes
// data keys that may not serve any more. Call it about every `next_ms` milliseconds, 1000 to 30000, or have cmk_keyring_maintenance_start do it.
//
// `next_ms` and `problems` may be NULL. A key in trouble is no failure of this call: it is one of the problems, which are to be freed with cmk_problems_free.
// It blocks as long as the providers do.
cmk_result cmk_keyring_maintain(const struct cmk_keyring *keyring,
                                uint64_t *next_ms,
                                struct cmk_problems **problems,
                                struct cmk_error **err);

// How many problems there were; 0 for NULL.
size_t cmk_problems_len(const struct cmk_problems *problems);

// One of the problems, which belongs to the list: never free it. NULL beyond the end.
const struct cmk_error *cmk_problems_error(const struct cmk_problems *problems, size_t index);

// Ends a list of problems and its errors.
void cmk_problems_free(struct cmk_problems *problems);

// Starts a thread that calls cmk_keyring_maintain until its handle is freed or the keyring is; it sleeps in between. It has the signal mask of the caller: block
// before what it isn't to take. A forked child has no such thread, and may start one of its own.
cmk_result cmk_keyring_maintenance_start(const struct cmk_keyring *keyring,
                                         struct cmk_maintenance **out,
                                         struct cmk_error **err);

// Tells the thread to end. It doesn't wait: a call to a provider that is under way is completed first, so that callbacks of the keyring, `destroy` too, may
// still run on that thread.
void cmk_maintenance_free(struct cmk_maintenance *maintenance);

// Appends every operation of a provider to a file as a line of JSON: time (milliseconds since 1970), pid, operation, provider, key, outcome, call_id,
// attempts, duration_ms, and where they are known code, request_id, region, http_status, workspace. The file is made with mode 0600 if it isn't there; several
// processes may share it. A line that can't be written is lost, and fails nothing.
cmk_result cmk_keyring_builder_audit_file(struct cmk_keyring_builder *builder,
                                          const char *path,
                                          struct cmk_error **err);

// Tells a callback of every operation of a provider. Several may be added.
cmk_result cmk_keyring_builder_audit(struct cmk_keyring_builder *builder,
                                     const struct cmk_audit_sink *sink,
                                     struct cmk_error **err);

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

// Asks, once for each wrapping key, for its newest version, which data is to be brought to. `options` may be NULL. A wrapping key that was given with a version
// stays at that one.
//
// A rotation wraps data keys anew and changes only headers. What is written under older versions meanwhile takes another run.
cmk_result cmk_rotation_new(const struct cmk_keyring *keyring,
                            const struct cmk_rotate_options *options,
                            struct cmk_rotation **out,
                            struct cmk_error **err);

// How many wrapping keys are followed; 0 for NULL.
size_t cmk_rotation_newest_len(const struct cmk_rotation *rotation);

// The id of the newest version of a followed key; NULL beyond the end. Lives as long as the rotation.
const char *cmk_rotation_newest_id(const struct cmk_rotation *rotation, size_t index);

// When that version was made, in seconds since 1970; 0 when that isn't known, and beyond the end.
uint64_t cmk_rotation_newest_created(const struct cmk_rotation *rotation, size_t index);

// Follows the rotations in an envelope, or the header of one; the body stays. `*out` is what to store in its place, or NULL when nothing changed and in a dry
// run. `outcome`, a CMK_ROTATE_..., and `old_kept_until`, in seconds since 1970 or 0, may be NULL.
cmk_result cmk_rotation_rotate(const struct cmk_rotation *rotation,
                               const uint8_t *envelope,
                               size_t envelope_len,
                               struct cmk_buffer **out,
                               uint32_t *outcome,
                               uint64_t *old_kept_until,
                               struct cmk_error **err);

// Follows the rotations in a file, safe against a crash at any instruction: the same call made again completes what was interrupted. A file with
// nothing to do is only read. `outcome`, a CMK_ROTATE_..., `written`, a CMK_REWRAP_... or 0, and `old_kept_until` may be NULL.
cmk_result cmk_rotation_rotate_file(const struct cmk_rotation *rotation,
                                    const char *path,
                                    uint32_t *outcome,
                                    uint32_t *written,
                                    uint64_t *old_kept_until,
                                    struct cmk_error **err);

// Follows the rotations in files, and in every envelope and key store below directories; `paths` are strings. A path that is named must be an envelope or a
// directory; in directories what isn't an envelope is passed over, links aren't followed, and a file may be come across twice. `on_file` learns what
// became of each; failures of files go to it alone. CMK_ERR_CANCELLED when it said to stop.
cmk_result cmk_rotation_rotate_paths(const struct cmk_rotation *rotation,
                                     const char *const *paths,
                                     size_t paths_len,
                                     cmk_rotated_file_callback on_file,
                                     void *userdata,
                                     struct cmk_error **err);

// Follows the rotations in every row of the keyring's key store. `on_row` learns what became of each row; failures of rows go to it alone.
// CMK_ERR_CANCELLED when it said to stop.
cmk_result cmk_rotation_rotate_key_store(const struct cmk_rotation *rotation,
                                         cmk_rotated_row_callback on_row,
                                         void *userdata,
                                         struct cmk_error **err);

// Ends a rotation and its texts.
void cmk_rotation_free(struct cmk_rotation *rotation);

// Begins a census as of now. Of the keyring only its clock plays a part. Add everything that there is, then ask.
cmk_result cmk_census_new(const struct cmk_keyring *keyring, struct cmk_census **out, struct cmk_error **err);

// Adds an envelope, or the header of one. What doesn't begin like an envelope counts as skipped.
cmk_result cmk_census_add_envelope(struct cmk_census *census,
                                   const uint8_t *envelope,
                                   size_t envelope_len,
                                   struct cmk_error **err);

// Adds something that the caller couldn't read: a row of a table, an object of a store. `problem` is a sentence without a full stop.
cmk_result cmk_census_add_unreadable(struct cmk_census *census,
                                     const char *name,
                                     const char *problem,
                                     struct cmk_error **err);

// Adds a file. What can't be read, or isn't there, counts as unreadable.
cmk_result cmk_census_add_file(struct cmk_census *census, const char *path, struct cmk_error **err);

// Adds a file, or every file below a directory, key stores included. Links below a directory aren't followed but counted; what can't be read counts as
// unreadable. `on_file` may be NULL; when it stops the call, that is CMK_ERR_CANCELLED, and the census finds nothing safe to disable from then on.
cmk_result cmk_census_add_path(struct cmk_census *census,
                               const char *path,
                               cmk_census_callback on_file,
                               void *userdata,
                               struct cmk_error **err);

// Adds every row of a keyring's key store. Rows that can't be read count as unreadable.
cmk_result cmk_census_add_key_store(struct cmk_census *census,
                                    const struct cmk_keyring *keyring,
                                    struct cmk_error **err);

// Whether a key version, given by its full id, may be disabled: nothing that was counted has a wrap by it, nothing was unreadable, it isn't the newest version,
// and the census was begun when nobody could be writing under it any more. `rotation` knows the newest version: it follows the key. `conditions` and
// `reasons` may be NULL; the latter says why not, each a sentence, empty for a yes.
//
// A census knows what it was shown. Data that it wasn't shown, backups for instance, may need any version.
cmk_result cmk_census_safe_to_disable(const struct cmk_census *census,
                                      const char *key_id,
                                      const struct cmk_rotation *rotation,
                                      const struct cmk_disable_conditions *conditions,
                                      bool *safe,
                                      struct cmk_text_list **reasons,
                                      struct cmk_error **err);

// Ends a census.
void cmk_census_free(struct cmk_census *census);

// How many texts there are; 0 for NULL.
size_t cmk_text_list_len(const struct cmk_text_list *list);

// One of the texts, which lives as long as the list; NULL beyond the end.
const char *cmk_text_list_get(const struct cmk_text_list *list, size_t index);

// Ends a list and its texts.
void cmk_text_list_free(struct cmk_text_list *list);

// Gives what was counted so far. The census may go on.
cmk_result cmk_census_count(const struct cmk_census *census, struct cmk_census_report **out, struct cmk_error **err);

// When the census was begun, in seconds since 1970.
uint64_t cmk_census_report_begun(const struct cmk_census_report *report);

// Headers that were counted: of envelopes and of rows.
uint64_t cmk_census_report_headers(const struct cmk_census_report *report);

// Those of them that are rows of key stores.
uint64_t cmk_census_report_rows(const struct cmk_census_report *report);

// Compact envelopes, whose data keys are in key stores.
uint64_t cmk_census_report_compact(const struct cmk_census_report *report);

// Files and bytes that aren't envelopes.
uint64_t cmk_census_report_skipped(const struct cmk_census_report *report);

// Symbolic links in directories, which weren't followed.
uint64_t cmk_census_report_links(const struct cmk_census_report *report);

// How many things couldn't be read, each of which may need any key.
uint64_t cmk_census_report_unreadable(const struct cmk_census_report *report);

// The name of one of the first 20 of them; NULL beyond the end.
const char *cmk_census_report_unreadable_name(const struct cmk_census_report *report, size_t index);

// Why it couldn't be read; NULL beyond the end.
const char *cmk_census_report_unreadable_problem(const struct cmk_census_report *report, size_t index);

// How many key versions were found; 0 for NULL.
size_t cmk_census_report_versions(const struct cmk_census_report *report);

// The full id of a key version; NULL beyond the end.
const char *cmk_census_report_version_id(const struct cmk_census_report *report, size_t index);

// Headers that have a wrap by it.
uint64_t cmk_census_report_version_headers(const struct cmk_census_report *report, size_t index);

// Those of them that nothing else opens.
uint64_t cmk_census_report_version_only_key(const struct cmk_census_report *report, size_t index);

// Those of them that have a wrap by a newer version of the same key beside it.
uint64_t cmk_census_report_version_old_kept(const struct cmk_census_report *report, size_t index);

// When the oldest wrap by it was made, in seconds since 1970.
uint64_t cmk_census_report_version_oldest_wrap(const struct cmk_census_report *report, size_t index);

// When the newest one was.
uint64_t cmk_census_report_version_newest_wrap(const struct cmk_census_report *report, size_t index);

// One of the files or rows that have it; NULL when the census wasn't told of names, and beyond the end.
const char *cmk_census_report_version_example(const struct cmk_census_report *report, size_t index);

// Ends a report and its texts.
void cmk_census_report_free(struct cmk_census_report *report);

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

// Makes a key in this process's memory and nowhere else, which goes when it is freed. `block_size` is 4096, 16384 or 65536.
cmk_result cmk_block_key_random(uint32_t block_size,
                                struct cmk_block_key **out,
                                struct cmk_error **err);

// Makes a key whose data key the keyring's keys wrap. Nothing of it is stored: it goes like a random one, and stops when the keyring's keys are taken away
// (cmk_block_key_check). The keyring may be freed before it.
cmk_result cmk_keyring_new_block_key(const struct cmk_keyring *keyring,
                                     uint32_t block_size,
                                     struct cmk_block_key **out,
                                     struct cmk_error **err);

// The bytes in a block; 0 for NULL.
uint32_t cmk_block_key_block_size(const struct cmk_block_key *key);

// The full ids of the keys that wrap its data key; none for a random key.
cmk_result cmk_block_key_key_ids(const struct cmk_block_key *key, struct cmk_text_list **out, struct cmk_error **err);

// That the key may still be used: to be called before each request. It looks at most once a second, and asks a provider when the last yes is too old, which may block. When
// the keyring's keys were taken away the key is wiped and this fails; when they are back, this makes it again, and what was written before can be read.
cmk_result cmk_block_key_check(const struct cmk_block_key *key,
                               struct cmk_error **err);

// Encrypts whole blocks in place, the first of which has the number `first_block`, and writes a seal for each: `seals_len` is CMK_BLOCK_SEAL_LEN times the number of
// blocks. Numbers are below 2^48. Each call takes new versions, so what is encrypted twice has two ciphertexts, and only the last seal counts.
//
// After a failure `data` and `seals` are zero. CMK_ERR_POLICY: the key has encrypted 2^50 bytes. CMK_ERR_INVALID_STATE: destroyed, taken away, or another process's.
cmk_result cmk_block_key_encrypt(const struct cmk_block_key *key,
                                 uint64_t first_block,
                                 uint8_t *data,
                                 size_t len,
                                 uint8_t *seals,
                                 size_t seals_len,
                                 struct cmk_error **err);

// Decrypts whole blocks in place. Those whose seal is all zero, which were never written, become zeros.
//
// After a failure all of `data` is zero. CMK_ERR_AUTHENTICATION: a block isn't what its seal was given for, and cmk_error_block says which.
cmk_result cmk_block_key_decrypt(const struct cmk_block_key *key,
                                 uint64_t first_block,
                                 uint8_t *data,
                                 size_t len,
                                 const uint8_t *seals,
                                 size_t seals_len,
                                 struct cmk_error **err);

// Wipes the key for good: what it encrypted can't be read any more, by nobody. Any thread may call it while others use the key; their later calls fail with
// CMK_ERR_INVALID_STATE. The handle has to be freed all the same.
void cmk_block_key_destroy(const struct cmk_block_key *key);

// Whether the key was destroyed; true for NULL and in a forked child.
bool cmk_block_key_is_destroyed(const struct cmk_block_key *key);

// Wipes the key and ends its handle. In a forked child that is only the child's copy.
void cmk_block_key_free(struct cmk_block_key *key);

// Makes a key in this process's memory and nowhere else. `sector_size` is 512 or 4096.
cmk_result cmk_xts_key_random(uint32_t sector_size, struct cmk_xts_key **out, struct cmk_error **err);

// Takes a key that comes from elsewhere, of an existing dm-crypt or LUKS volume for instance: 64 bytes, first the half that encrypts data, then the tweak's, which must
// differ. `iv_offset` as in cmk_volume_layout. The bytes are copied.
cmk_result cmk_xts_key_from_bytes(const uint8_t *key,
                                  size_t key_len,
                                  uint32_t sector_size,
                                  uint64_t iv_offset,
                                  struct cmk_xts_key **out,
                                  struct cmk_error **err);

// Makes the key of a new volume in XTS mode, and the volume file that opens it again: the layout and the data key, wrapped by each of the keyring's keys, at most
// 66 KiB. Keep it beside the volume, never in it; without it the volume is lost. It is an envelope, so that cmk_keyring_rewrap and rotations move it to other keys.
cmk_result cmk_keyring_create_xts_volume(const struct cmk_keyring *keyring,
                                         const struct cmk_volume_layout *layout,
                                         struct cmk_xts_key **out,
                                         struct cmk_buffer **volume_file,
                                         struct cmk_error **err);

// Opens the key of a volume from its volume file. `layout` may be NULL.
cmk_result cmk_keyring_open_xts_volume(const struct cmk_keyring *keyring,
                                       const uint8_t *volume_file,
                                       size_t volume_file_len,
                                       struct cmk_xts_key **out,
                                       struct cmk_volume_layout *layout,
                                       struct cmk_error **err);

// The bytes in a sector; 0 for NULL.
uint32_t cmk_xts_key_sector_size(const struct cmk_xts_key *key);

// The full ids of the keys that wrap its data key; none if no keyring has it.
cmk_result cmk_xts_key_key_ids(const struct cmk_xts_key *key, struct cmk_text_list **out, struct cmk_error **err);

// As cmk_block_key_check.
cmk_result cmk_xts_key_check(const struct cmk_xts_key *key, struct cmk_error **err);

// Encrypts whole sectors in place, which lie at `offset` bytes on the volume: a multiple of the sector's size, like `len`. After a failure `data` is zero.
cmk_result cmk_xts_key_encrypt(const struct cmk_xts_key *key,
                               uint64_t offset,
                               uint8_t *data,
                               size_t len,
                               struct cmk_error **err);

// Decrypts whole sectors in place. What was never written, or was changed, becomes garbage: nothing notices. After a failure `data` is zero.
cmk_result cmk_xts_key_decrypt(const struct cmk_xts_key *key,
                               uint64_t offset,
                               uint8_t *data,
                               size_t len,
                               struct cmk_error **err);

// Gives the 64 bytes that `dmsetup` or `cryptsetup --volume-key-file` take, to have a kernel map the volume. Asks the keyring to unwrap the data key once more; a key that no
// keyring has is CMK_ERR_INVALID_STATE. The buffer is wiped when it is freed.
cmk_result cmk_xts_key_kernel_key(const struct cmk_xts_key *key,
                                  struct cmk_buffer **out,
                                  struct cmk_error **err);

// As cmk_block_key_destroy. The data key in a volume file can be unwrapped again for as long as a wrap of it is left.
void cmk_xts_key_destroy(const struct cmk_xts_key *key);

// Whether the key was destroyed; true for NULL and in a forked child.
bool cmk_xts_key_is_destroyed(const struct cmk_xts_key *key);

// Wipes the key and ends its handle. In a forked child that is only the child's copy.
void cmk_xts_key_free(struct cmk_xts_key *key);

// Makes room of `len` bytes in this process's memory: at most what the machine has.
cmk_result cmk_backing_memory(uint64_t len, struct cmk_backing **out, struct cmk_error **err);

// Makes a sparse file of `len` bytes that only its owner may read, and locks it. CMK_ERR_ALREADY_EXISTS: there is something of that name. The file stays when the volume is
// gone: without its key it is noise.
cmk_result cmk_backing_create_file(const char *path,
                                   uint64_t len,
                                   struct cmk_backing **out,
                                   struct cmk_error **err);

// Makes a sparse file of `len` bytes without a name in the file system of a directory: nobody else can open it, and nothing of it is left when the process ends,
// however it does.
cmk_result cmk_backing_anonymous_file(const char *dir,
                                      uint64_t len,
                                      struct cmk_backing **out,
                                      struct cmk_error **err);

// Opens a file or a block device that is there, all of it. `access` is a CMK_ACCESS_... A device is opened past the page cache, and must not be in use. CMK_ERR_BUSY: it is
// mounted, or another volume has it.
cmk_result cmk_backing_open(const char *path,
                            uint32_t access,
                            struct cmk_backing **out,
                            struct cmk_error **err);

// Makes a backing of callbacks.
cmk_result cmk_backing_new(const struct cmk_backing_callbacks *callbacks,
                           struct cmk_backing **out,
                           struct cmk_error **err);

// Its bytes; 0 for NULL.
uint64_t cmk_backing_len(const struct cmk_backing *backing);

// Ends a backing. The volume over it goes on.
void cmk_backing_free(struct cmk_backing *backing);

// Makes a new volume over all of a backing. Nothing is written: in the ephemeral mode every block reads as zeros, in XTS mode as garbage. `options` may be NULL: ephemeral, in
// blocks of 4096 bytes, with a key in memory only.
//
// CMK_ERR_INVALID_ARGUMENT: the backing isn't a whole number of blocks, or the seals would need more memory than allowed. CMK_ERR_INVALID_STATE: there is a volume over it.
cmk_result cmk_volume_create(const struct cmk_backing *backing,
                             const struct cmk_volume_options *options,
                             struct cmk_volume **out,
                             struct cmk_error **err);

// Makes a new volume in XTS mode that can be opened again, and its volume file (cmk_keyring_create_xts_volume). Store the file, beside the volume and before anything is written.
// `sector_size` is 512 or 4096, or 0 for 4096.
cmk_result cmk_volume_create_reopenable(const struct cmk_backing *backing,
                                        uint32_t sector_size,
                                        const struct cmk_keyring *keyring,
                                        struct cmk_volume **out,
                                        struct cmk_buffer **volume_file,
                                        struct cmk_error **err);

// Opens a volume of cmk_volume_create_reopenable again, for writing unless the backing was opened for reading only.
cmk_result cmk_volume_open(const struct cmk_backing *backing,
                           const uint8_t *volume_file,
                           size_t volume_file_len,
                           const struct cmk_keyring *keyring,
                           struct cmk_volume **out,
                           struct cmk_error **err);

// Opens a volume in XTS mode with a key that the caller has, of dm-crypt for instance. `layout` says how it lies in the backing, from whose first byte it has `layout->len` bytes.
// The 64 bytes of the key are as in cmk_xts_key_from_bytes.
cmk_result cmk_volume_open_with_key(const struct cmk_backing *backing,
                                    const uint8_t *key,
                                    size_t key_len,
                                    const struct cmk_volume_layout *layout,
                                    struct cmk_volume **out,
                                    struct cmk_error **err);

// Its bytes, which never change; 0 for NULL.
uint64_t cmk_volume_len(const struct cmk_volume *volume);

// A CMK_VOLUME_...
uint32_t cmk_volume_mode(const struct cmk_volume *volume);

// Bytes in a block or sector: requests that are whole ones are the fastest. 0 for NULL.
uint32_t cmk_volume_block_size(const struct cmk_volume *volume);

// Whether nothing can be written, since the backing was opened for reading only.
bool cmk_volume_read_only(const struct cmk_volume *volume);

// A name for it in records: 32 hex digits. Lives as long as the volume; NULL for NULL.
const char *cmk_volume_id(const struct cmk_volume *volume);

// What its bytes are on: a path, where there is one. Lives as long as the volume; NULL for NULL.
const char *cmk_volume_backing_name(const struct cmk_volume *volume);

// Something to be told to whoever made it, or NULL. Lives as long as the volume.
const char *cmk_volume_warning(const struct cmk_volume *volume);

// The full ids of the keys that wrap its data key; none if that is in this process's memory only.
cmk_result cmk_volume_key_ids(const struct cmk_volume *volume, struct cmk_text_list **out, struct cmk_error **err);

// That the keys still allow it: what every request asks. As cmk_block_key_check.
cmk_result cmk_volume_check(const struct cmk_volume *volume, struct cmk_error **err);

// Makes it an empty disk again, for the next job: the old key is wiped at once, requests under way are waited for, then there is a new data key, nothing was ever
// written, and room is given back. *punched, which may be NULL, says whether the backing can do the latter. Only in the ephemeral mode. If there is no new key, the
// disk stays destroyed, and this may be called again.
cmk_result cmk_volume_reset(const struct cmk_volume *volume,
                            bool *punched,
                            struct cmk_error **err);

// Gives the room of the whole backing back, which has no meaning any more: after cmk_volume_destroy. *punched as for cmk_volume_reset. A volume that isn't destroyed is
// CMK_ERR_INVALID_STATE.
cmk_result cmk_volume_discard_backing(const struct cmk_volume *volume,
                                      bool *punched,
                                      struct cmk_error **err);

// Wipes the key: what was written can't be read any more, by nobody. Takes microseconds, whatever the backing is doing; requests under way end with an error. May be called from
// any thread, also from a callback; a second time and in a forked child it does nothing. The handle has to be freed all the same.
//
// Of a volume with a volume file this is no erasure: that needs every wrap of its data key, or the key that wraps it, to be destroyed.
void cmk_volume_destroy(const struct cmk_volume *volume);

// Whether the key was destroyed; true for NULL and in a forked child.
bool cmk_volume_is_destroyed(const struct cmk_volume *volume);

// Destroys the key and ends the handle, and the backing unless that has a handle of its own. A file stays where it is. In a forked child nothing outside of its memory
// changes.
void cmk_volume_free(struct cmk_volume *volume);

// Reads `len` bytes at `offset`: all of them. After a failure all of `out` is zero.
//
// CMK_ERR_INVALID_ARGUMENT: beyond the end. CMK_ERR_AUTHENTICATION: a block isn't what was written there; cmk_error_block says which, and others can be read.
// CMK_ERR_IO: the backing failed, or the last write of a block did. CMK_ERR_INVALID_STATE: destroyed, a forked child's, or called by the volume's own callback.
cmk_result cmk_volume_read(const struct cmk_volume *volume,
                           uint64_t offset,
                           uint8_t *out,
                           size_t len,
                           struct cmk_error **err);

// Writes all of `data` at `offset`. `flags` are 0 or CMK_WRITE_DURABLE. Blocks that are written in part are read first. After a failure any block of the range may have its old or its new
// content, or be unreadable until it is written again.
//
// CMK_ERR_POLICY: the key may encrypt no more, or the disk is read-only. Else as cmk_volume_read.
cmk_result cmk_volume_write(const struct cmk_volume *volume,
                            uint64_t offset,
                            const uint8_t *data,
                            size_t len,
                            uint32_t flags,
                            struct cmk_error **err);

// The same, using `data` as room to work in, which saves a copy: what is in it afterwards is unspecified, and no plaintext; after a failure it is zero.
cmk_result cmk_volume_write_from(const struct cmk_volume *volume,
                                 uint64_t offset,
                                 uint8_t *data,
                                 size_t len,
                                 uint32_t flags,
                                 struct cmk_error **err);

// Makes a range read as zeros. `flags` are any of CMK_WRITE_DURABLE and CMK_WRITE_KEEP_ROOM; without the latter, room may be given back. In XTS mode encrypted zeros are written.
cmk_result cmk_volume_write_zeroes(const struct cmk_volume *volume,
                                   uint64_t offset,
                                   uint64_t len,
                                   uint32_t flags,
                                   struct cmk_error **err);

// Says that the content of a range is of no use any more. Advice: parts of a block stay as they are, and a backing that can't give room back is no failure. In the ephemeral mode
// whole blocks then read as zeros; in XTS mode they may be anything.
cmk_result cmk_volume_discard(const struct cmk_volume *volume,
                              uint64_t offset,
                              uint64_t len,
                              struct cmk_error **err);

// Has everything written so far reach the backing's medium.
cmk_result cmk_volume_flush(const struct cmk_volume *volume, struct cmk_error **err);

// Says what lies in a range: calls `found` for each extent in order, which join without gaps from `offset` on. Neighbours may be of one kind. What others write meanwhile may be missing.
cmk_result cmk_volume_extents(const struct cmk_volume *volume,
                              uint64_t offset,
                              uint64_t len,
                              cmk_extent_callback found,
                              void *userdata,
                              struct cmk_error **err);

// Counts what a volume did.
cmk_result cmk_volume_stats(const struct cmk_volume *volume, struct cmk_volume_counters *out, struct cmk_error **err);

// Serves a volume at `socket`, a path of 107 bytes at most. `options` may be NULL. The volume may be freed: it and its key then go with the server. A socket that nobody listens on any more is
// replaced.
//
// CMK_ERR_BUSY: somebody serves there already. CMK_ERR_ALREADY_EXISTS: something else is there. CMK_ERR_INVALID_ARGUMENT: the path or a name is too long.
cmk_result cmk_nbd_server_start(const struct cmk_volume *volume,
                                const char *socket,
                                const struct cmk_nbd_options *options,
                                struct cmk_nbd_server **out,
                                struct cmk_error **err);

// Where it listens. Lives as long as the server; NULL for NULL.
const char *cmk_nbd_server_socket(const struct cmk_nbd_server *server);

// What it has done so far, also when it has stopped. In a forked child CMK_ERR_INVALID_STATE.
cmk_result cmk_nbd_server_stats(const struct cmk_nbd_server *server,
                                struct cmk_nbd_counters *out,
                                struct cmk_error **err);

// Accepts no more clients, answers the requests that have come in, ends all connections and removes the socket. A request that the volume's backing doesn't return from is waited for:
// where that can happen, cmk_volume_destroy comes first. A second time it does nothing. From a callback of the volume's backing or keyring it is CMK_ERR_INVALID_STATE.
cmk_result cmk_nbd_server_stop(const struct cmk_nbd_server *server,
                               struct cmk_error **err);

// Stops it and ends the handle. In a forked child nothing outside of its memory changes.
void cmk_nbd_server_free(struct cmk_nbd_server *server);

// Makes a disk for a job and exposes it. What an owner of the same name that died has left is cleaned up first. Everything is written down in the state directory before it is
// taken, and undone again if this fails.
//
// CMK_ERR_BUSY: a job of that name runs, or the device is in use. CMK_ERR_ALREADY_EXISTS: something is on the device, or the file exists. CMK_ERR_ACCESS_DENIED: mounting needs root; no
// FUSE; the state directory is another's. Else as cmk_volume_create and cmk_nbd_server_start.
cmk_result cmk_scratch_begin(const struct cmk_scratch_options *options,
                             struct cmk_scratch **out,
                             struct cmk_error **err);

// Where the job finds its disk: the mounted directory, the NBD server's socket, or the file; NULL if it isn't exposed. Lives as long as the handle.
const char *cmk_scratch_path(const struct cmk_scratch *scratch);

// Another handle to the disk itself, for reading and writing in this process, for statistics, and for cmk_volume_destroy from any thread while the job ends. It is to be freed; that
// ends nothing, but a device or a file's room is taken until then. cmk_volume_reset refuses it.
//
// Whoever writes under a mounted file system destroys it.
cmk_result cmk_scratch_volume(const struct cmk_scratch *scratch,
                              struct cmk_volume **out,
                              struct cmk_error **err);

// Erases the disk: waits for users of a mount until the deadline, then destroys the key, whatever happened before, takes down what exposed it, gives the room back, and writes an
// erasure record into the state directory's `records`. The handle has to be freed all the same.
//
// `how` are words for the record on how the job ended, or NULL. *record, which may be NULL, is to be freed: what couldn't be taken away is in it, unreadable all the same.
//
// CMK_ERR_INVALID_STATE: it has ended, or is a forked child's; nothing was done. CMK_ERR_IO: the record can't be written; the key is destroyed, and everything was tried.
cmk_result cmk_scratch_end(const struct cmk_scratch *scratch,
                           uint64_t deadline_ms,
                           const char *how,
                           struct cmk_erasure_record **record,
                           struct cmk_error **err);

// Ends the handle. Without cmk_scratch_end before, the key is destroyed at once, nobody is waited for, and the rest is cleaned up as far as that goes. In a forked child nothing outside of
// its memory changes.
void cmk_scratch_free(struct cmk_scratch *scratch);

// The record as a JSON object, in one line. NULL for NULL.
//
// Its members: volume, job, mode, keys (the ids of those that wrapped its key; none: that was in memory only), created, ended and key_destroyed (RFC 3339, UTC), size,
// bytes_written, discard (result: given_back, unsupported, failed with why, not_tried), left_behind, recovered, end. Later versions may add some.
const char *cmk_erasure_record_json(const struct cmk_erasure_record *record);

// How many things are still there and couldn't be removed. They are unreadable all the same; cmk_scratch_recover tries again.
size_t cmk_erasure_record_left_behind_count(const struct cmk_erasure_record *record);

// One of them, as a sentence; NULL beyond the end.
const char *cmk_erasure_record_left_behind(const struct cmk_erasure_record *record, size_t index);

// Whether the room was given back. Else the ciphertext, which nobody can read, is there until it is overwritten.
bool cmk_erasure_record_discarded(const struct cmk_erasure_record *record);

// Ends a record's handle; its file stays.
void cmk_erasure_record_free(struct cmk_erasure_record *record);

// Cleans up after every job whose owner died, and writes an erasure record for each: mounts, loop devices, sockets, files. Jobs that run are left alone. For a daemon's start, before the
// first cmk_scratch_begin. The keys died with their owners.
//
// `out` may be NULL. CMK_ERR_IO: the state directory can't be read. What goes wrong with one job is with that job.
cmk_result cmk_scratch_recover(const char *state_dir,
                               struct cmk_recovery **out,
                               struct cmk_error **err);

// How many jobs it was; 0 for NULL.
size_t cmk_recovery_len(const struct cmk_recovery *recovery);

// The name of one of them; NULL beyond the end.
const char *cmk_recovery_job(const struct cmk_recovery *recovery, size_t index);

// Its record, not to be freed; NULL beyond the end and where there is an error instead. What is in its left_behind is tried again next time.
const struct cmk_erasure_record *cmk_recovery_record(const struct cmk_recovery *recovery,
                                                     size_t index);

// Why it couldn't be looked at, not to be freed; NULL when it could.
const struct cmk_error *cmk_recovery_error(const struct cmk_recovery *recovery, size_t index);

// Ends it, with its records and errors.
void cmk_recovery_free(struct cmk_recovery *recovery);

// Keeps this process's memory from being written to a disk, as swap or as a core dump. For the whole process and all of its life: call it at the start, before there are keys. Both
// arguments are a CMK_PROTECT_...
//
// `memory` locks all memory, also what comes later; that needs CAP_IPC_LOCK or an unlimited RLIMIT_MEMLOCK. `core_dumps` makes the process undumpable, which keeps debuggers of the
// same user away, and its soft RLIMIT_CORE 0. Hibernation isn't prevented.
//
// The outputs may be NULL: what was reached, and a sentence for each thing that was tried and failed, to be freed. CMK_ERR_ACCESS_DENIED: what is required isn't allowed; the message says
// how to allow it.
cmk_result cmk_protect_process(uint32_t memory,
                               uint32_t core_dumps,
                               bool *memory_locked,
                               bool *core_dumps_off,
                               struct cmk_text_list **warnings,
                               struct cmk_error **err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CMKIT_H */
