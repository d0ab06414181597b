// cmkit for C++17: classes over cmkit.h that free what they hold and throw what fails. The guide is docs/guides/c.md.
//
// - Classes are move-only. One that was moved from may be assigned to or destroyed; whatever else fails.
// - What fails throws cmkit::Error, or std::bad_alloc. What C can't be asked for is std::invalid_argument: text with a NUL inside, which would be
//   cut there, a negative time, a null std::unique_ptr, a Context that was moved from.
// - `Bytes` is a view of bytes: made from a string, a string_view, a vector or array of bytes, or a pointer and a length. `Span` is the same for
//   output. Neither owns anything.
// - Threads are as in cmkit.h: a Keyring, Context, LocalKeys, KeyVault, Rotation, Reader or Inspection may be used by many at once; streams, builders and
//   a Census by one.
#ifndef CMKIT_HPP
#define CMKIT_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "cmkit.h"

namespace cmkit {

// The version of the library, such as "0.1.0".
inline const char *version() { return cmk_version(); }

// What failed. what() says what happened and what to do.
class Error : public std::runtime_error {
 public:
  // Takes the error over.
  explicit Error(cmk_result code, cmk_error *error) : Error(code, Owner(error, cmk_error_free)) {}

  // A copy of an error that stays whose it is, such as one of a list of problems.
  static Error copy(const cmk_error *error) {
    Error result(cmk_error_code(error), cmk_error_message(error));
    result.fill(error);
    return result;
  }

  // One of the CMK_ERR_... codes.
  cmk_result code() const noexcept { return code_; }
  // Its name, "CMK_ERR_FORMAT".
  const char *code_name() const noexcept { return cmk_result_name(code_); }
  // The key that it is about, or empty.
  const std::string &key_id() const noexcept { return key_id_; }
  // The provider's id of the failed request, or empty.
  const std::string &request_id() const noexcept { return request_id_; }
  // Our id of the failed operation, which the provider was told, or empty. Key Vault's audit log has it as correlationId.
  const std::string &client_request_id() const noexcept { return client_request_id_; }
  // The provider's own code for the failure, such as "ForbiddenByRbac", or empty.
  const std::string &provider_code() const noexcept { return provider_code_; }
  // Where the provider answered from, or empty.
  const std::string &region() const noexcept { return region_; }
  // Whether the same call may succeed later.
  bool retryable() const noexcept { return retryable_; }
  // How long the provider asks to wait; zero when it doesn't say.
  std::chrono::milliseconds retry_after() const noexcept { return retry_after_; }
  // The HTTP status, or 0.
  std::uint32_t http_status() const noexcept { return http_status_; }
  // The system's error number behind CMK_ERR_IO, or 0.
  std::int32_t system_code() const noexcept { return system_code_; }
  // The capacity that CMK_ERR_BUFFER_TOO_SMALL asks for, or 0.
  std::uint64_t bytes_needed() const noexcept { return bytes_needed_; }
  // The damaged block of a scratch disk that it is about, if it is about one.
  std::optional<std::uint64_t> block() const noexcept { return block_; }

 private:
  using Owner = std::unique_ptr<cmk_error, void (*)(cmk_error *)>;

  Error(cmk_result code, const char *message) : std::runtime_error(message), code_(code) {}

  // The owner comes first, so that it frees the error also when there is no memory for what is copied.
  Error(cmk_result code, Owner owner)
      : std::runtime_error(owner != nullptr ? cmk_error_message(owner.get()) : cmk_result_name(code)), code_(code) {
    fill(owner.get());
  }

  void fill(const cmk_error *error) {
    if (error == nullptr) return;
    if (const char *text = cmk_error_key_id(error)) key_id_ = text;
    if (const char *text = cmk_error_request_id(error)) request_id_ = text;
    if (const char *text = cmk_error_client_request_id(error)) client_request_id_ = text;
    if (const char *text = cmk_error_provider_code(error)) provider_code_ = text;
    if (const char *text = cmk_error_region(error)) region_ = text;
    retryable_ = cmk_error_retryable(error);
    retry_after_ = std::chrono::milliseconds(cmk_error_retry_after_ms(error));
    http_status_ = cmk_error_http_status(error);
    system_code_ = cmk_error_system_code(error);
    bytes_needed_ = cmk_error_bytes_needed(error);
    std::uint64_t block = 0;
    if (cmk_error_block(error, &block)) block_ = block;
  }

  cmk_result code_;
  std::string key_id_, request_id_, client_request_id_, provider_code_, region_;
  bool retryable_ = false;
  std::chrono::milliseconds retry_after_{0};
  std::uint32_t http_status_ = 0;
  std::int32_t system_code_ = 0;
  std::uint64_t bytes_needed_ = 0;
  std::optional<std::uint64_t> block_;
};

// Bytes that somebody else owns.
class Bytes {
 public:
  Bytes() = default;
  Bytes(const std::uint8_t *data, std::size_t size) : data_(data), size_(size) {}
  Bytes(const void *data, std::size_t size) : data_(static_cast<const std::uint8_t *>(data)), size_(size) {}
  Bytes(std::string_view text) : Bytes(static_cast<const void *>(text.data()), text.size()) {}
  Bytes(const std::string &text) : Bytes(std::string_view(text)) {}
  Bytes(const char *text) : Bytes(std::string_view(text)) {}
  // A vector, an array, a span: what has data() and size(), of one-byte elements.
  template <class Container, class Element = std::remove_pointer_t<decltype(std::declval<const Container &>().data())>,
            class = std::enable_if_t<sizeof(Element) == 1 && !std::is_base_of_v<Bytes, Container>>>
  Bytes(const Container &container) : Bytes(static_cast<const void *>(container.data()), container.size()) {}

  const std::uint8_t *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  const std::uint8_t *data_ = nullptr;
  std::size_t size_ = 0;
};

// Memory for output that somebody else owns.
class Span {
 public:
  Span() = default;
  Span(std::uint8_t *data, std::size_t size) : data_(data), size_(size) {}
  Span(void *data, std::size_t size) : data_(static_cast<std::uint8_t *>(data)), size_(size) {}
  template <class Container, class Element = std::remove_pointer_t<decltype(std::declval<Container &>().data())>,
            class = std::enable_if_t<sizeof(Element) == 1 && !std::is_const_v<Element> &&
                                     !std::is_base_of_v<Span, std::remove_const_t<Container>>>>
  Span(Container &container) : Span(static_cast<void *>(container.data()), container.size()) {}

  std::uint8_t *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  std::uint8_t *data_ = nullptr;
  std::size_t size_ = 0;
};

namespace detail {

inline void check(cmk_result code, cmk_error *error) {
  if (code != CMK_OK) throw Error(code, error);
}

// Calls a C function with a place for its error as the last argument.
template <class Function, class... Arguments>
void call(Function function, Arguments... arguments) {
  cmk_error *error = nullptr;
  // Two statements: within one, `error` might be read before the call.
  cmk_result code = function(arguments..., &error);
  check(code, error);
}

// A string for C, where a NUL ends it: with one inside, another file, key or workspace would be meant.
inline const char *text(const std::string &string) {
  if (string.find('\0') != std::string::npos) throw std::invalid_argument("a text has a NUL inside");
  return string.c_str();
}

template <class T>
T *there(const std::unique_ptr<T> &pointer) {
  if (pointer == nullptr) throw std::invalid_argument("a pointer is null");
  return pointer.get();
}

template <class T, void (*Free)(T *)>
struct Deleter {
  void operator()(T *handle) const noexcept { Free(handle); }
};

template <class T, void (*Free)(T *)>
using Handle = std::unique_ptr<T, Deleter<T, Free>>;

// A callback must not let an exception out: this is what it returns instead.
template <class Body>
auto contain(Body body, decltype(body()) otherwise) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (...) {
    return otherwise;
  }
}

}  // namespace detail

// Whether bytes begin like an envelope. Says nothing about whether it is whole, authentic or yours.
inline bool is_envelope(Bytes bytes) noexcept { return cmk_is_envelope(bytes.data(), bytes.size()); }

// How many bytes of plaintext an envelope has, by its own lengths: not authenticated.
inline std::size_t decrypted_len(Bytes envelope) {
  std::size_t len = 0;
  detail::call(cmk_decrypted_len, envelope.data(), envelope.size(), &len);
  return len;
}

// The directory for keys when nobody names one.
inline std::string default_dir() {
  cmk_buffer *buffer = nullptr;
  detail::call(cmk_default_dir, &buffer);
  detail::Handle<cmk_buffer, cmk_buffer_free> owner(buffer);
  return {reinterpret_cast<const char *>(cmk_buffer_data(buffer)), cmk_buffer_len(buffer)};
}

// The encryption context: a map of text to text, the same at decryption as at encryption.
class Context {
 public:
  using Pair = std::pair<std::string_view, std::string_view>;

  // None.
  Context() = default;
  Context(std::initializer_list<Pair> pairs) : Context(pairs.begin(), pairs.end()) {}
  // Of a std::map<std::string, std::string>, for instance.
  template <class Iterator>
  Context(Iterator begin, Iterator end) {
    std::vector<cmk_pair> list;
    for (; begin != end; ++begin) {
      std::string_view key = begin->first, value = begin->second;
      list.push_back({key.data(), key.size(), value.data(), value.size()});
    }
    cmk_context *context = nullptr;
    detail::call(cmk_context_new, static_cast<const cmk_pair *>(list.data()), list.size(), &context);
    handle_.reset(context);
  }

  Context(Context &&other) noexcept : handle_(std::move(other.handle_)), gone_(std::exchange(other.gone_, true)) {}
  Context &operator=(Context &&other) noexcept {
    Context taken(std::move(other));
    handle_.swap(taken.handle_);
    gone_ = taken.gone_;
    return *this;
  }

  const cmk_context *get() const {
    // NULL would mean none: the data would be encrypted without it, and nobody would notice.
    if (gone_) throw std::invalid_argument("the context was moved from");
    return handle_.get();
  }

 private:
  detail::Handle<cmk_context, cmk_context_free> handle_;
  bool gone_ = false;
};

// One version of a local key.
struct KeyInfo {
  std::string id;
  std::uint32_t type;  // a CMK_KEY_TYPE_..., or 0
  std::string state;
  std::uint64_t created;
  bool newest;
  bool public_only;
};

// A directory of keys.
class LocalKeys {
 public:
  // One that exists; the default directory when none is named.
  static LocalKeys open(const std::string &dir) { return LocalKeys(cmk_local_provider_open, detail::text(dir)); }
  static LocalKeys open() { return LocalKeys(cmk_local_provider_open, nullptr); }
  // The same, made if it is missing.
  static LocalKeys open_or_create(const std::string &dir) {
    return LocalKeys(cmk_local_provider_open_or_create, detail::text(dir));
  }
  static LocalKeys open_or_create() { return LocalKeys(cmk_local_provider_open_or_create, nullptr); }

  // These give the id of the new version.
  std::string create_key(const std::string &name, std::uint32_t type = CMK_KEY_TYPE_OCT_256) const {
    char id[CMK_KEY_ID_CAPACITY];
    detail::call(cmk_local_provider_create_key, get(), detail::text(name), type, id, sizeof id);
    return id;
  }
  std::optional<std::string> create_key_if_absent(const std::string &name,
                                                  std::uint32_t type = CMK_KEY_TYPE_OCT_256) const {
    char id[CMK_KEY_ID_CAPACITY];
    bool created = false;
    detail::call(cmk_local_provider_create_key_if_absent, get(), detail::text(name), type, &created, id, sizeof id);
    return created ? std::optional<std::string>(id) : std::nullopt;
  }
  std::string rotate(const std::string &name) const {
    char id[CMK_KEY_ID_CAPACITY];
    detail::call(cmk_local_provider_rotate, get(), detail::text(name), id, sizeof id);
    return id;
  }
  void disable(const std::string &id) const { detail::call(cmk_local_provider_disable, get(), detail::text(id)); }
  void enable(const std::string &id) const { detail::call(cmk_local_provider_enable, get(), detail::text(id)); }

  std::vector<KeyInfo> list() const {
    cmk_key_list *list = nullptr;
    detail::call(cmk_local_provider_list, get(), &list);
    detail::Handle<cmk_key_list, cmk_key_list_free> owner(list);
    std::vector<KeyInfo> infos;
    for (std::size_t i = 0; i < cmk_key_list_len(list); i++) {
      infos.push_back({cmk_key_list_id(list, i), cmk_key_list_type(list, i), cmk_key_list_state(list, i),
                       cmk_key_list_created(list, i), cmk_key_list_newest(list, i), cmk_key_list_public_only(list, i)});
    }
    return infos;
  }

  const cmk_local_provider *get() const noexcept { return handle_.get(); }

 private:
  template <class Function>
  LocalKeys(Function how, const char *dir) {
    cmk_local_provider *provider = nullptr;
    detail::call(how, dir, &provider);
    handle_.reset(provider);
  }

  detail::Handle<cmk_local_provider, cmk_local_provider_free> handle_;
};

// What a provider or a key store throws: any other exception arrives as CMK_ERR_PROVIDER or CMK_ERR_KEY_STORE with its what().
class ProviderFailure : public std::runtime_error {
 public:
  ProviderFailure(cmk_result result, const std::string &message) : std::runtime_error(message), code(result) {}

  cmk_result code;
  std::string request_id;
  std::chrono::milliseconds retry_after{0};
  std::uint32_t http_status = 0;
  std::uint32_t retry = CMK_RETRY_DEFAULT;
};

// The newest version of a key.
struct NewestKey {
  std::string key_id;
  std::uint64_t created;  // in seconds since 1970, or 0 when that isn't known
};

// What `wrap` gives.
struct WrappedKey {
  std::string key_id;      // the full, versioned id of the key that was used
  std::int32_t algorithm;  // a CMK_WRAP_...
  std::vector<std::uint8_t> wrapped;
};

// A key provider of one's own. Its functions are called from any thread, several at a time.
class Provider {
 public:
  virtual ~Provider() = default;
  // 1 to 64 bytes that go into every envelope, and the scheme of its keys. Never change it.
  virtual std::string name() const = 0;
  virtual WrappedKey wrap(std::string_view key, Bytes plaintext) = 0;
  virtual std::vector<std::uint8_t> unwrap(std::string_view key, std::int32_t algorithm, Bytes wrapped) = 0;
  // A CMK_KEY_STATE_...; must be fast.
  virtual std::uint32_t state(std::string_view key) noexcept {
    static_cast<void>(key);
    return CMK_KEY_STATE_ACTIVE;
  }
  // Whether keys can be taken away without this provider noticing by itself, as in a service over a network. Asked once.
  virtual bool is_remote() const noexcept { return false; }
  // The newest version of a key, after checking that it may be used to wrap; none when the provider can't tell.
  virtual std::optional<NewestKey> newest(std::string_view key) {
    static_cast<void>(key);
    return std::nullopt;
  }
  virtual bool owns(std::string_view key) noexcept {
    try {
      std::string scheme = name();
      return key.size() > scheme.size() && key.substr(0, scheme.size()) == scheme && key[scheme.size()] == ':';
    } catch (...) {
      return false;
    }
  }
};

// The row of a key store, and what says in which state it is.
struct StoredKey {
  std::vector<std::uint8_t> row, tag;
};

// A key store of one's own, for the compact form. Its functions are called from any thread, several at a time. Ids have 16 bytes.
class KeyStore {
 public:
  virtual ~KeyStore() = default;
  virtual std::optional<StoredKey> get(Bytes id) = 0;
  // Whether it was stored; durable by then.
  virtual bool put_if_absent(Bytes id, Bytes row) = 0;
  virtual bool replace_if_unchanged(Bytes id, Bytes row, Bytes tag) = 0;
  virtual std::vector<std::vector<std::uint8_t>> list() = 0;
};

namespace detail {

inline cmk_result fail(cmk_sink *sink, cmk_result code, const char *message, const ProviderFailure *detail) noexcept {
  cmk_failure failure;
  std::memset(&failure, 0, sizeof failure);
  failure.struct_size = sizeof failure;
  failure.message = message;
  if (detail != nullptr) {
    failure.request_id = detail->request_id.c_str();
    if (detail->retry_after.count() > 0) failure.retry_after_ms = static_cast<std::uint64_t>(detail->retry_after.count());
    failure.http_status = detail->http_status;
    failure.retry = detail->retry;
  }
  if (cmk_sink_fail(sink, &failure) != CMK_OK) {
    // A text that isn't UTF-8. The numbers still say when to try again.
    failure.message = failure.request_id = nullptr;
    cmk_sink_fail(sink, &failure);
  }
  return code;
}

// Runs a callback of a provider or a store and turns what it throws into what C understands.
template <class Body>
cmk_result answer(cmk_sink *sink, cmk_result other, Body body) noexcept {
  try {
    return body();
  } catch (const ProviderFailure &failure) {
    return fail(sink, failure.code == CMK_OK ? other : failure.code, failure.what(), &failure);
  } catch (const std::exception &failure) {
    return fail(sink, other, failure.what(), nullptr);
  } catch (...) {
    return other;
  }
}

// Bytes that were secret.
inline void wipe(std::vector<std::uint8_t> &bytes) noexcept {
  volatile std::uint8_t *p = bytes.data();
  for (std::size_t i = 0; i < bytes.size(); i++) p[i] = 0;
}

extern "C" {
inline cmk_result cmkit_hpp_wrap(void *self, const char *key, const std::uint8_t *plaintext, std::size_t len,
                                 cmk_sink *sink) {
  return answer(sink, CMK_ERR_PROVIDER, [&] {
    WrappedKey wrapped = static_cast<Provider *>(self)->wrap(key, Bytes(plaintext, len));
    cmk_result code = cmk_sink_put_key(sink, detail::text(wrapped.key_id), wrapped.algorithm);
    if (code != CMK_OK) throw std::runtime_error("the provider gave a key id or an algorithm that is none");
    return cmk_sink_put(sink, wrapped.wrapped.data(), wrapped.wrapped.size());
  });
}
inline cmk_result cmkit_hpp_unwrap(void *self, const char *key, std::int32_t algorithm, const std::uint8_t *wrapped,
                                   std::size_t len, cmk_sink *sink) {
  return answer(sink, CMK_ERR_PROVIDER, [&] {
    std::vector<std::uint8_t> plaintext = static_cast<Provider *>(self)->unwrap(key, algorithm, Bytes(wrapped, len));
    cmk_result code = cmk_sink_put(sink, plaintext.data(), plaintext.size());
    wipe(plaintext);
    return code;
  });
}
inline cmk_result cmkit_hpp_newest(void *self, const char *key, cmk_sink *sink) {
  return answer(sink, CMK_ERR_PROVIDER, [&] {
    std::optional<NewestKey> newest = static_cast<Provider *>(self)->newest(key);
    if (!newest) return cmk_result{CMK_OK};
    cmk_result code = cmk_sink_put_newest(sink, detail::text(newest->key_id), newest->created);
    if (code != CMK_OK) throw std::runtime_error("the provider gave a key id that is none");
    return code;
  });
}
inline std::uint32_t cmkit_hpp_state(void *self, const char *key) { return static_cast<Provider *>(self)->state(key); }
inline std::int32_t cmkit_hpp_owns(void *self, const char *key) { return static_cast<Provider *>(self)->owns(key); }
inline void cmkit_hpp_provider_destroy(void *self) { delete static_cast<Provider *>(self); }

inline cmk_result cmkit_hpp_get(void *self, const std::uint8_t *id, cmk_sink *sink) {
  return answer(sink, CMK_ERR_KEY_STORE, [&] {
    std::optional<StoredKey> found = static_cast<KeyStore *>(self)->get(Bytes(id, 16));
    if (!found) return cmk_result{CMK_OK};
    cmk_result code = cmk_sink_put_tag(sink, found->tag.data(), found->tag.size());
    return code != CMK_OK ? code : cmk_sink_put(sink, found->row.data(), found->row.size());
  });
}
inline cmk_result cmkit_hpp_put(void *self, const std::uint8_t *id, const std::uint8_t *row, std::size_t len,
                                cmk_sink *sink) {
  return answer(sink, CMK_ERR_KEY_STORE, [&] {
    return cmk_sink_put_done(sink, static_cast<KeyStore *>(self)->put_if_absent(Bytes(id, 16), Bytes(row, len)));
  });
}
inline cmk_result cmkit_hpp_replace(void *self, const std::uint8_t *id, const std::uint8_t *row, std::size_t len,
                                    const std::uint8_t *tag, std::size_t tag_len, cmk_sink *sink) {
  return answer(sink, CMK_ERR_KEY_STORE, [&] {
    bool done = static_cast<KeyStore *>(self)->replace_if_unchanged(Bytes(id, 16), Bytes(row, len), Bytes(tag, tag_len));
    return cmk_sink_put_done(sink, done);
  });
}
inline cmk_result cmkit_hpp_list(void *self, cmk_sink *sink) {
  return answer(sink, CMK_ERR_KEY_STORE, [&] {
    for (const auto &id : static_cast<KeyStore *>(self)->list()) {
      if (id.size() != 16) throw std::runtime_error("the key store listed an id that has not 16 bytes");
      cmk_result code = cmk_sink_put_id(sink, id.data());
      if (code != CMK_OK) return code;
    }
    return cmk_result{CMK_OK};
  });
}
inline void cmkit_hpp_store_destroy(void *self) { delete static_cast<KeyStore *>(self); }
}  // extern "C"

}  // namespace detail

// What a token function is asked for.
struct TokenRequest {
  std::string_view resource;  // "https://vault.azure.net"
  std::string_view scope;     // the same as an OAuth 2.0 scope
  std::string_view claims;    // further claims that the vault demands, as JSON, or empty: then a token from a cache won't do
};

// An access token, and when it ends in seconds since 1970.
struct Token {
  std::string token;
  std::uint64_t expires;
};

using TokenFunction = std::function<Token(const TokenRequest &)>;

// One operation of a key provider. Texts that aren't known are null; all live until the function returns.
using AuditEvent = cmk_audit_event;
using AuditFunction = std::function<void(const AuditEvent &)>;

namespace detail {
extern "C" {
inline cmk_result cmkit_hpp_token(void *self, const char *resource, const char *scope, const char *claims, cmk_sink *sink) {
  return answer(sink, CMK_ERR_IDENTITY, [&] {
    Token token = (*static_cast<TokenFunction *>(self))(TokenRequest{resource, scope, claims == nullptr ? "" : claims});
    return cmk_sink_put_token(sink, detail::text(token.token), token.expires);
  });
}
inline void cmkit_hpp_token_destroy(void *self) { delete static_cast<TokenFunction *>(self); }
inline void cmkit_hpp_record(void *self, const cmk_audit_event *event) {
  // What it throws has nowhere to go: the operation was done.
  static_cast<void>(contain(
      [&] {
        (*static_cast<AuditFunction *>(self))(*event);
        return true;
      },
      false));
}
inline void cmkit_hpp_record_destroy(void *self) { delete static_cast<AuditFunction *>(self); }
}  // extern "C"

inline std::uint64_t milliseconds(std::chrono::milliseconds time) {
  if (time.count() < 0) throw std::invalid_argument("a time is not negative");
  return static_cast<std::uint64_t>(time.count());
}
}  // namespace detail

// What was found about a vault's key.
struct DoctorReport {
  struct Row {
    std::string name;
    std::uint32_t outcome;  // a CMK_DOCTOR_...
    std::string detail;     // what was found, or what is wrong and what to do
  };

  std::string key, identity;
  std::string text;  // everything as a table
  bool is_healthy;   // nothing failed
  bool is_verified;  // everything was tried and all right
  std::vector<Row> rows;
};

// Keys in Azure Key Vault and Managed HSM.
class KeyVault {
 public:
  class Builder;

  // As whom it signs in, and what that was chosen by.
  std::string identity() const {
    const char *identity = cmk_key_vault_identity(get());
    return identity == nullptr ? "" : identity;
  }
  // Tries everything that a key needs. It takes as long as its calls do.
  DoctorReport doctor(const std::string &key) const {
    cmk_doctor_report *r = nullptr;
    detail::call(cmk_key_vault_doctor, get(), detail::text(key), &r);
    detail::Handle<cmk_doctor_report, cmk_doctor_report_free> owner(r);
    DoctorReport report{cmk_doctor_report_key(r),     cmk_doctor_report_identity(r), cmk_doctor_report_text(r),
                        cmk_doctor_report_healthy(r), cmk_doctor_report_verified(r), {}};
    for (std::size_t i = 0; i < cmk_doctor_report_len(r); i++) {
      report.rows.push_back({cmk_doctor_report_name(r, i), cmk_doctor_report_outcome(r, i), cmk_doctor_report_detail(r, i)});
    }
    return report;
  }

  const cmk_key_vault *get() const noexcept { return handle_.get(); }

 private:
  explicit KeyVault(cmk_key_vault *key_vault) : handle_(key_vault) {}

  detail::Handle<cmk_key_vault, cmk_key_vault_free> handle_;
};

// Collects what a Key Vault provider is made of.
class KeyVault::Builder {
 public:
  Builder() {
    cmk_key_vault_builder *builder = nullptr;
    detail::call(cmk_key_vault_builder_new, &builder);
    handle_.reset(builder);
  }

  Builder &key(const std::string &key) {
    detail::call(cmk_key_vault_builder_key, get(), detail::text(key));
    return *this;
  }
  Builder &allow_host(const std::string &host) {
    detail::call(cmk_key_vault_builder_allow_host, get(), detail::text(host));
    return *this;
  }
  // A CMK_IDENTITY_...
  Builder &identity(std::uint32_t identity) {
    detail::call(cmk_key_vault_builder_identity, get(), identity);
    return *this;
  }
  Builder &client_secret(const std::string &tenant, const std::string &client_id, const std::string &secret) {
    detail::call(cmk_key_vault_builder_client_secret, get(), detail::text(tenant), detail::text(client_id),
                 detail::text(secret));
    return *this;
  }
  // Tokens that a function gets, from any thread. What it throws arrives as CMK_ERR_IDENTITY with its what(). `name` is what messages call it.
  Builder &tokens(const std::string &name, TokenFunction function) {
    if (!function) throw std::invalid_argument("the function is empty");
    auto owner = std::make_unique<TokenFunction>(std::move(function));
    cmk_token_source source;
    std::memset(&source, 0, sizeof source);
    source.struct_size = sizeof source;
    source.userdata = owner.get();
    source.name = detail::text(name);
    source.token = detail::cmkit_hpp_token;
    source.destroy = detail::cmkit_hpp_token_destroy;
    detail::call(cmk_key_vault_builder_token_source, get(), static_cast<const cmk_token_source *>(&source));
    static_cast<void>(owner.release());
    return *this;
  }
  Builder &client_id(const std::string &id) {
    detail::call(cmk_key_vault_builder_client_id, get(), detail::text(id));
    return *this;
  }
  Builder &tenant(const std::string &tenant) {
    detail::call(cmk_key_vault_builder_tenant, get(), detail::text(tenant));
    return *this;
  }
  Builder &ca_file(const std::string &path) {
    detail::call(cmk_key_vault_builder_ca_file, get(), detail::text(path));
    return *this;
  }
  Builder &allow_rsa_2048() {
    detail::call(cmk_key_vault_builder_allow_rsa_2048, get());
    return *this;
  }
  Builder &no_get() {
    detail::call(cmk_key_vault_builder_no_get, get());
    return *this;
  }
  Builder &audience(const std::string &suffix, const std::string &audience) {
    detail::call(cmk_key_vault_builder_audience, get(), detail::text(suffix), detail::text(audience));
    return *this;
  }
  Builder &timeout(std::chrono::milliseconds timeout) {
    detail::call(cmk_key_vault_builder_timeout_ms, get(), detail::milliseconds(timeout));
    return *this;
  }

  KeyVault build() const {
    cmk_key_vault *key_vault = nullptr;
    detail::call(cmk_key_vault_builder_build, static_cast<const cmk_key_vault_builder *>(get()), &key_vault);
    return KeyVault(key_vault);
  }

 private:
  cmk_key_vault_builder *get() const noexcept { return handle_.get(); }

  detail::Handle<cmk_key_vault_builder, cmk_key_vault_builder_free> handle_;
};

// A thread that does a keyring's maintenance until this goes. It doesn't wait for a call under way.
class Maintenance {
 public:
  explicit Maintenance(cmk_maintenance *maintenance) : handle_(maintenance) {}

 private:
  detail::Handle<cmk_maintenance, cmk_maintenance_free> handle_;
};

// What one round of maintenance came to.
struct MaintenanceRound {
  std::chrono::milliseconds next;  // when to call again
  std::vector<Error> problems;     // at most one a key
};

class Census;
class Rotation;
class Encryptor;
class Decryptor;
class Reader;

// How to follow rotations.
struct RotateOptions {
  // How long an old wrap is kept beside the new one, in whole seconds. Zero: not at all.
  std::chrono::milliseconds keep_old = std::chrono::hours(24);
  bool dry_run = false;
};

// What one may choose about files.
struct FileOptions {
  std::uint32_t overwrite = CMK_OVERWRITE_REFUSE;
  std::uint32_t threads = 0;
  // Told how many bytes are done, of how many (CMK_LEN_UNKNOWN where that isn't known). Returns false to cancel.
  std::function<bool(std::uint64_t done, std::uint64_t total)> progress;
};

// The keys that data is encrypted under and may be decrypted with, for one workspace.
class Keyring {
 public:
  class Builder;

  // Of the user's own key directory, wrapping with its key local:default.
  static Keyring local() {
    cmk_keyring *keyring = nullptr;
    detail::call(cmk_keyring_local, &keyring);
    return Keyring(keyring);
  }

  explicit Keyring(cmk_keyring *keyring) : handle_(keyring) {}

  std::size_t encrypted_len(std::size_t plaintext_len) const {
    std::size_t len = 0;
    detail::call(cmk_keyring_encrypted_len, get(), plaintext_len, &len);
    return len;
  }

  std::vector<std::uint8_t> encrypt(Bytes plaintext, const Context &context = {}) const {
    return grow(encrypted_len(plaintext.size()), [&](Span out) { return encrypt_into(plaintext, out, context); });
  }
  // Gives the length. `out` may begin where `plaintext` does; any other overlap fails.
  std::size_t encrypt_into(Bytes plaintext, Span out, const Context &context = {}) const {
    std::size_t len = 0;
    detail::call(cmk_keyring_encrypt, get(), plaintext.data(), plaintext.size(), context.get(), out.data(), out.size(), &len);
    return len;
  }

  std::vector<std::uint8_t> encrypt_compact(Bytes plaintext, const Context &context = {}) const {
    std::size_t need = 0;
    detail::call(cmk_keyring_compact_len, get(), plaintext.size(), &need);
    return grow(need, [&](Span out) {
      std::size_t len = 0;
      detail::call(cmk_keyring_encrypt_compact, get(), plaintext.data(), plaintext.size(), context.get(), out.data(),
                   out.size(), &len);
      return len;
    });
  }

  std::vector<std::uint8_t> decrypt(Bytes envelope, const Context &context = {}) const {
    std::vector<std::uint8_t> out(decrypted_len(envelope));
    out.resize(decrypt_into(envelope, out, context));
    return out;
  }
  // Gives the length. `out` may begin where `envelope` does; any other overlap fails.
  std::size_t decrypt_into(Bytes envelope, Span out, const Context &context = {}) const {
    std::size_t len = 0;
    detail::call(cmk_keyring_decrypt, get(), envelope.data(), envelope.size(), context.get(), out.data(), out.size(), &len);
    return len;
  }

  // Bytes of plaintext.
  std::uint64_t encrypt_file(const std::string &source, const std::string &destination, const Context &context = {},
                             const FileOptions &options = {}) const {
    return file(cmk_keyring_encrypt_file, source, destination, context, options);
  }
  std::uint64_t decrypt_file(const std::string &source, const std::string &destination, const Context &context = {},
                             const FileOptions &options = {}) const {
    return file(cmk_keyring_decrypt_file, source, destination, context, options);
  }

  std::vector<std::uint8_t> rewrap(Bytes envelope, const std::string &to,
                                   std::uint32_t recipients = CMK_RECIPIENTS_KEEP) const {
    cmk_buffer *buffer = nullptr;
    detail::call(cmk_keyring_rewrap, get(), envelope.data(), envelope.size(), detail::text(to), recipients, &buffer);
    detail::Handle<cmk_buffer, cmk_buffer_free> owner(buffer);
    return {cmk_buffer_data(buffer), cmk_buffer_data(buffer) + cmk_buffer_len(buffer)};
  }
  // A CMK_REWRAP_...
  std::uint32_t rewrap_file(const std::string &path, const std::string &to,
                            std::uint32_t recipients = CMK_RECIPIENTS_KEEP) const {
    std::uint32_t outcome = 0;
    detail::call(cmk_keyring_rewrap_file, get(), detail::text(path), detail::text(to), recipients, &outcome);
    return outcome;
  }
  // How many rows were rewritten.
  std::size_t rewrap_key_store(const std::string &to, std::uint32_t recipients = CMK_RECIPIENTS_KEEP) const {
    std::size_t rewritten = 0;
    detail::call(cmk_keyring_rewrap_key_store, get(), detail::text(to), recipients, &rewritten);
    return rewritten;
  }

  // Does what is due for keys of remote providers; see cmk_keyring_maintain.
  MaintenanceRound maintain() const {
    std::uint64_t next = 0;
    cmk_problems *problems = nullptr;
    detail::call(cmk_keyring_maintain, get(), &next, &problems);
    detail::Handle<cmk_problems, cmk_problems_free> owner(problems);
    MaintenanceRound round{std::chrono::milliseconds(next), {}};
    for (std::size_t i = 0; i < cmk_problems_len(problems); i++) {
      round.problems.push_back(Error::copy(cmk_problems_error(problems, i)));
    }
    return round;
  }
  // A thread that does it until what this gives is gone.
  [[nodiscard]] Maintenance start_maintenance() const {
    cmk_maintenance *maintenance = nullptr;
    detail::call(cmk_keyring_maintenance_start, get(), &maintenance);
    return Maintenance(maintenance);
  }

  // The newest versions of the wrapping keys, to bring data to.
  Rotation rotation(const RotateOptions &options = {}) const;
  // Begins a count of the key versions in use.
  Census census() const;

  const cmk_keyring *get() const noexcept { return handle_.get(); }

 private:
  // Into a new vector; once more if the data key changed meanwhile, and the envelope became longer.
  template <class Encrypt>
  static std::vector<std::uint8_t> grow(std::size_t need, Encrypt encrypt) {
    std::vector<std::uint8_t> out;
    for (int attempt = 0;; attempt++) {
      out.resize(need);
      try {
        out.resize(encrypt(Span(out)));
        return out;
      } catch (const Error &error) {
        if (error.code() != CMK_ERR_BUFFER_TOO_SMALL || attempt == 3) throw;
        need = static_cast<std::size_t>(error.bytes_needed());
      }
    }
  }

  template <class Function>
  std::uint64_t file(Function function, const std::string &source, const std::string &destination, const Context &context,
                     const FileOptions &options) const;

  detail::Handle<cmk_keyring, cmk_keyring_free> handle_;
};

// Collects what a keyring is made of.
class Keyring::Builder {
 public:
  Builder() {
    cmk_keyring_builder *builder = nullptr;
    detail::call(cmk_keyring_builder_new, &builder);
    handle_.reset(builder);
  }

  Builder &add(const LocalKeys &keys) {
    detail::call(cmk_keyring_builder_add_local, get(), keys.get());
    return *this;
  }
  Builder &add(const KeyVault &key_vault) {
    detail::call(cmk_keyring_builder_add_key_vault, get(), key_vault.get());
    return *this;
  }
  Builder &add(std::unique_ptr<Provider> provider) {
    std::string name = detail::there(provider)->name();
    cmk_provider callbacks;
    std::memset(&callbacks, 0, sizeof callbacks);
    callbacks.struct_size = sizeof callbacks;
    callbacks.userdata = provider.get();
    callbacks.name = detail::text(name);
    callbacks.wrap = detail::cmkit_hpp_wrap;
    callbacks.unwrap = detail::cmkit_hpp_unwrap;
    callbacks.state = detail::cmkit_hpp_state;
    callbacks.owns = detail::cmkit_hpp_owns;
    callbacks.destroy = detail::cmkit_hpp_provider_destroy;
    callbacks.remote = provider->is_remote() ? 1 : 0;
    callbacks.newest = detail::cmkit_hpp_newest;
    detail::call(cmk_keyring_builder_add_provider, get(), static_cast<const cmk_provider *>(&callbacks));
    static_cast<void>(provider.release());
    return *this;
  }
  Builder &key_store(std::unique_ptr<KeyStore> store) {
    cmk_key_store callbacks;
    std::memset(&callbacks, 0, sizeof callbacks);
    callbacks.struct_size = sizeof callbacks;
    callbacks.userdata = detail::there(store);
    callbacks.get = detail::cmkit_hpp_get;
    callbacks.put_if_absent = detail::cmkit_hpp_put;
    callbacks.replace_if_unchanged = detail::cmkit_hpp_replace;
    callbacks.list = detail::cmkit_hpp_list;
    callbacks.destroy = detail::cmkit_hpp_store_destroy;
    detail::call(cmk_keyring_builder_key_store, get(), static_cast<const cmk_key_store *>(&callbacks));
    static_cast<void>(store.release());
    return *this;
  }
  Builder &key_store_directory(const std::string &path) {
    detail::call(cmk_keyring_builder_key_store_directory, get(), detail::text(path));
    return *this;
  }
  Builder &wrap_with(const std::string &key) {
    detail::call(cmk_keyring_builder_wrap_with, get(), detail::text(key));
    return *this;
  }
  Builder &allow_key(const std::string &key) {
    detail::call(cmk_keyring_builder_allow_key, get(), detail::text(key));
    return *this;
  }
  Builder &allow_host(const std::string &host) {
    detail::call(cmk_keyring_builder_allow_host, get(), detail::text(host));
    return *this;
  }
  Builder &workspace(const std::string &name) {
    detail::call(cmk_keyring_builder_workspace, get(), detail::text(name));
    return *this;
  }
  Builder &max_age(std::chrono::milliseconds age) {
    detail::call(cmk_keyring_builder_max_age_ms, get(), detail::milliseconds(age));
    return *this;
  }
  Builder &soft(std::chrono::milliseconds after) {
    detail::call(cmk_keyring_builder_soft_ms, get(), detail::milliseconds(after));
    return *this;
  }
  Builder &hard(std::chrono::milliseconds after) {
    detail::call(cmk_keyring_builder_hard_ms, get(), detail::milliseconds(after));
    return *this;
  }
  Builder &failover(std::chrono::milliseconds after) {
    detail::call(cmk_keyring_builder_failover_ms, get(), detail::milliseconds(after));
    return *this;
  }
  Builder &poll(std::chrono::milliseconds every) {
    detail::call(cmk_keyring_builder_poll_ms, get(), detail::milliseconds(every));
    return *this;
  }
  // Zero: each provider's own limit.
  Builder &call_timeout(std::chrono::milliseconds timeout) {
    detail::call(cmk_keyring_builder_call_timeout_ms, get(), detail::milliseconds(timeout));
    return *this;
  }
  Builder &high_business_impact() {
    detail::call(cmk_keyring_builder_high_business_impact, get());
    return *this;
  }
  Builder &audit_file(const std::string &path) {
    detail::call(cmk_keyring_builder_audit_file, get(), detail::text(path));
    return *this;
  }
  // Told of every operation of a provider, from any thread. It must not call this keyring; what it throws is dropped.
  Builder &audit(AuditFunction function) {
    if (!function) throw std::invalid_argument("the function is empty");
    auto owner = std::make_unique<AuditFunction>(std::move(function));
    cmk_audit_sink sink;
    std::memset(&sink, 0, sizeof sink);
    sink.struct_size = sizeof sink;
    sink.userdata = owner.get();
    sink.record = detail::cmkit_hpp_record;
    sink.destroy = detail::cmkit_hpp_record_destroy;
    detail::call(cmk_keyring_builder_audit, get(), static_cast<const cmk_audit_sink *>(&sink));
    static_cast<void>(owner.release());
    return *this;
  }
  Builder &max_messages(std::uint64_t messages) {
    detail::call(cmk_keyring_builder_max_messages, get(), messages);
    return *this;
  }
  Builder &max_bytes(std::uint64_t bytes) {
    detail::call(cmk_keyring_builder_max_bytes, get(), bytes);
    return *this;
  }
  Builder &max_entries(std::size_t entries) {
    detail::call(cmk_keyring_builder_max_entries, get(), entries);
    return *this;
  }

  Keyring build() const {
    cmk_keyring *keyring = nullptr;
    detail::call(cmk_keyring_builder_build, static_cast<const cmk_keyring_builder *>(get()), &keyring);
    return Keyring(keyring);
  }

 private:
  cmk_keyring_builder *get() const noexcept { return handle_.get(); }

  detail::Handle<cmk_keyring_builder, cmk_keyring_builder_free> handle_;
};

namespace detail {

// A function of the caller's, and what it threw: that comes out of the call that called it.
template <class Function>
struct Callback {
  Function function;
  std::exception_ptr thrown;

  template <class Body>
  std::int32_t run(Body body) noexcept {
    try {
      return body();
    } catch (...) {
      thrown = std::current_exception();
      return CMK_CANCEL;
    }
  }

  // The outcome of a call that may have called back.
  void check(cmk_result code, cmk_error *error) {
    if (thrown) {
      cmk_error_free(error);
      std::rethrow_exception(std::exchange(thrown, nullptr));
    }
    detail::check(code, error);
  }
};

// The same for a stream; one that was moved from has no callback, and C said that it is NULL.
template <class Callback>
void check(const std::unique_ptr<Callback> &callback, cmk_result code, cmk_error *error) {
  callback != nullptr ? callback->check(code, error) : check(code, error);
}

using Progress = Callback<std::function<bool(std::uint64_t, std::uint64_t)>>;
using Write = Callback<std::function<void(Bytes)>>;
using Read = Callback<std::function<std::size_t(Span)>>;

extern "C" {
inline std::int32_t cmkit_hpp_progress(void *self, std::uint64_t done, std::uint64_t total) {
  auto *callback = static_cast<Progress *>(self);
  return callback->run([&] { return callback->function(done, total) ? 0 : std::int32_t{CMK_CANCEL}; });
}
inline std::int32_t cmkit_hpp_write(void *self, const std::uint8_t *data, std::size_t len) {
  auto *callback = static_cast<Write *>(self);
  return callback->run([&] {
    callback->function(Bytes(data, len));
    return std::int32_t{0};
  });
}
inline std::int32_t cmkit_hpp_read(void *self, std::uint8_t *out, std::size_t capacity, std::size_t *out_len) {
  auto *callback = static_cast<Read *>(self);
  return callback->run([&] {
    *out_len = callback->function(Span(out, capacity));
    return std::int32_t{0};
  });
}
}  // extern "C"

}  // namespace detail

template <class Function>
std::uint64_t Keyring::file(Function function, const std::string &source, const std::string &destination,
                            const Context &context, const FileOptions &options) const {
  detail::Progress progress{options.progress, nullptr};
  cmk_file_options c_options;
  std::memset(&c_options, 0, sizeof c_options);
  c_options.struct_size = sizeof c_options;
  c_options.overwrite = options.overwrite;
  c_options.threads = options.threads;
  if (options.progress) {
    c_options.progress = detail::cmkit_hpp_progress;
    c_options.userdata = &progress;
  }
  std::uint64_t done = 0;
  cmk_error *error = nullptr;
  cmk_result code = function(get(), detail::text(source), detail::text(destination), context.get(), &c_options, &done, &error);
  progress.check(code, error);
  return done;
}

// What became of an envelope in memory.
struct Rotated {
  std::uint32_t outcome;         // a CMK_ROTATE_...
  std::uint64_t old_kept_until;  // in seconds since 1970, or 0
  std::optional<std::vector<std::uint8_t>> envelope;  // what to store in its place, where something changed
};

// What became of a file, or of a row of a key store, whose `written` is 0.
struct RotatedFile {
  std::uint32_t outcome = 0;         // a CMK_ROTATE_...
  std::uint32_t written = 0;         // a CMK_REWRAP_..., or 0
  std::uint64_t old_kept_until = 0;  // in seconds since 1970, or 0
  std::optional<Error> error;        // how it failed: then the rest is 0
};

namespace detail {
using RotatedPath = Callback<std::function<bool(const std::string &, const RotatedFile &)>>;
using RotatedRow = Callback<std::function<bool(Bytes, const RotatedFile &)>>;
using CountedFile = Callback<std::function<bool(const std::string &)>>;

inline RotatedFile rotated_file(std::uint32_t outcome, std::uint32_t written, std::uint64_t until, const cmk_error *error) {
  RotatedFile file{outcome, written, until, std::nullopt};
  if (error != nullptr) file.error = Error::copy(error);
  return file;
}

extern "C" {
inline std::int32_t cmkit_hpp_rotated_path(void *self, const char *path, std::uint32_t outcome, std::uint32_t written,
                                           std::uint64_t until, const cmk_error *error) {
  auto *callback = static_cast<RotatedPath *>(self);
  return callback->run([&] {
    return callback->function(path, rotated_file(outcome, written, until, error)) ? 0 : std::int32_t{CMK_CANCEL};
  });
}
inline std::int32_t cmkit_hpp_rotated_row(void *self, const std::uint8_t *id, std::uint32_t outcome, std::uint64_t until,
                                          const cmk_error *error) {
  auto *callback = static_cast<RotatedRow *>(self);
  return callback->run([&] {
    return callback->function(Bytes(id, 16), rotated_file(outcome, 0, until, error)) ? 0 : std::int32_t{CMK_CANCEL};
  });
}
inline std::int32_t cmkit_hpp_counted(void *self, const char *path) {
  auto *callback = static_cast<CountedFile *>(self);
  return callback->run([&] { return callback->function(path) ? 0 : std::int32_t{CMK_CANCEL}; });
}
}  // extern "C"
}  // namespace detail

// The newest versions of a keyring's wrapping keys as of when it was made. Any number of threads may use one.
class Rotation {
 public:
  explicit Rotation(cmk_rotation *rotation) : handle_(rotation) {}

  std::vector<NewestKey> newest() const {
    std::vector<NewestKey> newest;
    for (std::size_t i = 0; i < cmk_rotation_newest_len(get()); i++) {
      newest.push_back({cmk_rotation_newest_id(get(), i), cmk_rotation_newest_created(get(), i)});
    }
    return newest;
  }

  Rotated rotate(Bytes envelope) const {
    cmk_buffer *buffer = nullptr;
    Rotated rotated{0, 0, std::nullopt};
    detail::call(cmk_rotation_rotate, get(), envelope.data(), envelope.size(), &buffer, &rotated.outcome,
                 &rotated.old_kept_until);
    detail::Handle<cmk_buffer, cmk_buffer_free> owner(buffer);
    if (buffer != nullptr) rotated.envelope.emplace(cmk_buffer_data(buffer), cmk_buffer_data(buffer) + cmk_buffer_len(buffer));
    return rotated;
  }
  RotatedFile rotate_file(const std::string &path) const {
    RotatedFile file;
    detail::call(cmk_rotation_rotate_file, get(), detail::text(path), &file.outcome, &file.written, &file.old_kept_until);
    return file;
  }
  // Every envelope and key store in these files and directories. The function learns what became of each, failures too, and says whether to go on.
  void rotate_paths(const std::vector<std::string> &paths,
                    std::function<bool(const std::string &path, const RotatedFile &file)> on_file) const {
    if (!on_file) throw std::invalid_argument("the function is empty");
    std::vector<const char *> list;
    for (const std::string &path : paths) list.push_back(detail::text(path));
    detail::RotatedPath callback{std::move(on_file), nullptr};
    cmk_error *error = nullptr;
    cmk_result code =
        cmk_rotation_rotate_paths(get(), list.data(), list.size(), detail::cmkit_hpp_rotated_path, &callback, &error);
    callback.check(code, error);
  }
  // The same for every row of the keyring's key store, by its id of 16 bytes.
  void rotate_key_store(std::function<bool(Bytes id, const RotatedFile &row)> on_row) const {
    if (!on_row) throw std::invalid_argument("the function is empty");
    detail::RotatedRow callback{std::move(on_row), nullptr};
    cmk_error *error = nullptr;
    cmk_result code = cmk_rotation_rotate_key_store(get(), detail::cmkit_hpp_rotated_row, &callback, &error);
    callback.check(code, error);
  }

  const cmk_rotation *get() const noexcept { return handle_.get(); }

 private:
  detail::Handle<cmk_rotation, cmk_rotation_free> handle_;
};

inline Rotation Keyring::rotation(const RotateOptions &options) const {
  cmk_rotate_options c_options;
  std::memset(&c_options, 0, sizeof c_options);
  c_options.struct_size = sizeof c_options;
  c_options.keep_old_ms = detail::milliseconds(options.keep_old);
  if (c_options.keep_old_ms == 0) c_options.keep_old_ms = CMK_KEEP_OLD_NOT;
  c_options.dry_run = options.dry_run ? 1 : 0;
  cmk_rotation *rotation = nullptr;
  detail::call(cmk_rotation_new, get(), static_cast<const cmk_rotate_options *>(&c_options), &rotation);
  return Rotation(rotation);
}

// How much one key version is used.
struct VersionUse {
  std::string key_id;
  std::uint64_t headers;   // that have a wrap by it
  std::uint64_t only_key;  // of these, that nothing else opens
  std::uint64_t old_kept;  // of these, that have a wrap by a newer version of the same key
  std::uint64_t oldest_wrap, newest_wrap;  // in seconds since 1970
  std::string example;                     // a file or row that has it, or empty
};

struct CensusCount {
  std::uint64_t begun, headers, rows, compact, skipped, links, unreadable_count;
  std::vector<VersionUse> versions;
  std::vector<std::pair<std::string, std::string>> unreadable;  // name and problem of the first 20
};

// Whether a key version may be disabled, and if not, why.
struct Verdict {
  bool is_yes;
  std::vector<std::string> reasons;
};

// A count of the key versions that headers are wrapped by. It belongs to one thread at a time.
class Census {
 public:
  explicit Census(cmk_census *census) : handle_(census) {}

  Census &add_envelope(Bytes envelope) {
    detail::call(cmk_census_add_envelope, get(), envelope.data(), envelope.size());
    return *this;
  }
  Census &add_unreadable(const std::string &name, const std::string &problem) {
    detail::call(cmk_census_add_unreadable, get(), detail::text(name), detail::text(problem));
    return *this;
  }
  Census &add_file(const std::string &path) {
    detail::call(cmk_census_add_file, get(), detail::text(path));
    return *this;
  }
  // A file, or every file below a directory. The function, told of each file, says whether to go on.
  Census &add_path(const std::string &path, std::function<bool(const std::string &path)> on_file = {}) {
    bool told = static_cast<bool>(on_file);
    detail::CountedFile callback{std::move(on_file), nullptr};
    cmk_error *error = nullptr;
    cmk_result code =
        cmk_census_add_path(get(), detail::text(path), told ? detail::cmkit_hpp_counted : nullptr, &callback, &error);
    callback.check(code, error);
    return *this;
  }
  Census &add_key_store(const Keyring &keyring) {
    detail::call(cmk_census_add_key_store, get(), keyring.get());
    return *this;
  }

  CensusCount count() const {
    cmk_census_report *r = nullptr;
    detail::call(cmk_census_count, static_cast<const cmk_census *>(get()), &r);
    detail::Handle<cmk_census_report, cmk_census_report_free> owner(r);
    CensusCount count{cmk_census_report_begun(r),
                      cmk_census_report_headers(r),
                      cmk_census_report_rows(r),
                      cmk_census_report_compact(r),
                      cmk_census_report_skipped(r),
                      cmk_census_report_links(r),
                      cmk_census_report_unreadable(r),
                      {},
                      {}};
    for (std::size_t i = 0; i < cmk_census_report_versions(r); i++) {
      const char *example = cmk_census_report_version_example(r, i);
      count.versions.push_back({cmk_census_report_version_id(r, i), cmk_census_report_version_headers(r, i),
                                cmk_census_report_version_only_key(r, i), cmk_census_report_version_old_kept(r, i),
                                cmk_census_report_version_oldest_wrap(r, i), cmk_census_report_version_newest_wrap(r, i),
                                example == nullptr ? "" : example});
    }
    for (std::size_t i = 0; cmk_census_report_unreadable_name(r, i) != nullptr; i++) {
      count.unreadable.emplace_back(cmk_census_report_unreadable_name(r, i), cmk_census_report_unreadable_problem(r, i));
    }
    return count;
  }

  // Whether this version may be disabled, as far as the census went; `poll_interval` and `dek_age` are the longest of all writers.
  Verdict safe_to_disable(const std::string &key_id, const Rotation &rotation,
                          std::chrono::milliseconds poll_interval = std::chrono::hours(1),
                          std::chrono::milliseconds dek_age = std::chrono::hours(1)) const {
    cmk_disable_conditions conditions;
    std::memset(&conditions, 0, sizeof conditions);
    conditions.struct_size = sizeof conditions;
    conditions.poll_interval_ms = detail::milliseconds(poll_interval);
    conditions.dek_age_ms = detail::milliseconds(dek_age);
    Verdict verdict{false, {}};
    cmk_text_list *reasons = nullptr;
    detail::call(cmk_census_safe_to_disable, static_cast<const cmk_census *>(get()), detail::text(key_id), rotation.get(),
                 static_cast<const cmk_disable_conditions *>(&conditions), &verdict.is_yes, &reasons);
    detail::Handle<cmk_text_list, cmk_text_list_free> owner(reasons);
    for (std::size_t i = 0; i < cmk_text_list_len(reasons); i++) verdict.reasons.emplace_back(cmk_text_list_get(reasons, i));
    return verdict;
  }

 private:
  cmk_census *get() const noexcept { return handle_.get(); }

  detail::Handle<cmk_census, cmk_census_free> handle_;
};

inline Census Keyring::census() const {
  cmk_census *census = nullptr;
  detail::call(cmk_census_new, get(), &census);
  return Census(census);
}

// What one may choose about a stream.
struct StreamOptions {
  std::uint32_t threads = 0;
  std::uint32_t header_padding = CMK_PADDING_NONE;

  cmk_stream_options c() const noexcept { return {sizeof(cmk_stream_options), threads, header_padding}; }
};

// Encrypts what is written to it. Without finish() what came out is no envelope: every reader refuses it.
class Encryptor {
 public:
  // The envelope goes to a function, which takes all that it gets, or throws; that comes out of the call that wrote.
  Encryptor(const Keyring &keyring, std::function<void(Bytes)> write, const Context &context = {},
            const StreamOptions &options = {})
      : callback_(new detail::Write{std::move(write), nullptr}) {
    cmk_stream_options c_options = options.c();
    cmk_encryptor *encryptor = nullptr;
    cmk_error *error = nullptr;
    cmk_result code = cmk_encryptor_new(keyring.get(), context.get(), detail::cmkit_hpp_write, callback_.get(), &c_options,
                                        &encryptor, &error);
    handle_.reset(encryptor);
    callback_->check(code, error);
  }
  // The envelope goes to a file descriptor, which is duplicated.
  Encryptor(const Keyring &keyring, int fd, const Context &context = {}, const StreamOptions &options = {})
      : callback_(new detail::Write{}) {
    cmk_stream_options c_options = options.c();
    cmk_encryptor *encryptor = nullptr;
    detail::call(cmk_encryptor_new_fd, keyring.get(), context.get(), fd, static_cast<const cmk_stream_options *>(&c_options),
                 &encryptor);
    handle_.reset(encryptor);
  }

  void write(Bytes plaintext) {
    cmk_error *error = nullptr;
    cmk_result code = cmk_encryptor_write(handle_.get(), plaintext.data(), plaintext.size(), &error);
    detail::check(callback_, code, error);
  }
  void finish() {
    cmk_error *error = nullptr;
    cmk_result code = cmk_encryptor_finish(handle_.get(), &error);
    detail::check(callback_, code, error);
  }

 private:
  // First, so that the stream goes before what it writes to.
  std::unique_ptr<detail::Write> callback_;
  detail::Handle<cmk_encryptor, cmk_encryptor_free> handle_;
};

// Decrypts an envelope that is read once, from front to end.
class Decryptor {
 public:
  // The envelope comes from a function that fills a part of what it is given and says how much; 0 is the end.
  Decryptor(const Keyring &keyring, std::function<std::size_t(Span)> read, const Context &context = {},
            const StreamOptions &options = {})
      : callback_(new detail::Read{std::move(read), nullptr}) {
    cmk_stream_options c_options = options.c();
    cmk_decryptor *decryptor = nullptr;
    cmk_error *error = nullptr;
    cmk_result code = cmk_decryptor_new(keyring.get(), context.get(), detail::cmkit_hpp_read, callback_.get(), &c_options,
                                        &decryptor, &error);
    handle_.reset(decryptor);
    callback_->check(code, error);
  }
  // The envelope comes from a file descriptor, which is duplicated.
  Decryptor(const Keyring &keyring, int fd, const Context &context = {}, const StreamOptions &options = {})
      : callback_(new detail::Read{}) {
    cmk_stream_options c_options = options.c();
    cmk_decryptor *decryptor = nullptr;
    detail::call(cmk_decryptor_new_fd, keyring.get(), context.get(), fd, static_cast<const cmk_stream_options *>(&c_options),
                 &decryptor);
    handle_.reset(decryptor);
  }

  // How many bytes came out; 0 means the end, and that the envelope was whole. `out` must not be empty.
  std::size_t read(Span out) {
    std::size_t len = 0;
    cmk_error *error = nullptr;
    cmk_result code = cmk_decryptor_read(handle_.get(), out.data(), out.size(), &len, &error);
    detail::check(callback_, code, error);
    return len;
  }

 private:
  std::unique_ptr<detail::Read> callback_;
  detail::Handle<cmk_decryptor, cmk_decryptor_free> handle_;
};

// Something that can be read at any offset, from any thread, several at a time.
class Source {
 public:
  virtual ~Source() = default;
  virtual std::uint64_t size() = 0;
  // How many bytes came; 0 at or behind the end.
  virtual std::size_t read_at(std::uint64_t offset, Span out) = 0;
};

namespace detail {
extern "C" {
inline std::int32_t cmkit_hpp_read_at(void *self, std::uint64_t offset, std::uint8_t *out, std::size_t capacity,
                                      std::size_t *out_len) {
  return contain(
      [&] {
        *out_len = static_cast<Source *>(self)->read_at(offset, Span(out, capacity));
        return std::int32_t{0};
      },
      5 /* EIO */);
}
inline std::int32_t cmkit_hpp_size(void *self, std::uint64_t *size) {
  return contain(
      [&] {
        *size = static_cast<Source *>(self)->size();
        return std::int32_t{0};
      },
      5);
}
inline void cmkit_hpp_source_destroy(void *self) { delete static_cast<Source *>(self); }
}  // extern "C"
}  // namespace detail

// Reads the plaintext of an envelope at any place.
class Reader {
 public:
  static Reader open_file(const Keyring &keyring, const std::string &path, const Context &context = {}) {
    cmk_reader *reader = nullptr;
    detail::call(cmk_reader_open_file, keyring.get(), context.get(), detail::text(path), &reader);
    return Reader(reader);
  }
  // The descriptor is duplicated.
  static Reader open_fd(const Keyring &keyring, int fd, const Context &context = {}) {
    cmk_reader *reader = nullptr;
    detail::call(cmk_reader_open_fd, keyring.get(), context.get(), fd, &reader);
    return Reader(reader);
  }
  // What the source throws arrives as CMK_ERR_IO.
  static Reader open(const Keyring &keyring, std::unique_ptr<Source> source, const Context &context = {}) {
    cmk_source callbacks;
    std::memset(&callbacks, 0, sizeof callbacks);
    callbacks.struct_size = sizeof callbacks;
    callbacks.userdata = detail::there(source);
    callbacks.read_at = detail::cmkit_hpp_read_at;
    callbacks.size = detail::cmkit_hpp_size;
    callbacks.destroy = detail::cmkit_hpp_source_destroy;
    cmk_reader *reader = nullptr;
    detail::call(cmk_reader_new, keyring.get(), context.get(), static_cast<const cmk_source *>(&callbacks), &reader);
    static_cast<void>(source.release());
    return Reader(reader);
  }

  // Bytes of plaintext, authenticated.
  std::uint64_t size() const noexcept { return cmk_reader_len(handle_.get()); }
  // Fills `out`, less only at the end; how much that was.
  std::size_t read_at(std::uint64_t offset, Span out) const {
    std::size_t len = 0;
    detail::call(cmk_reader_read_at, static_cast<const cmk_reader *>(handle_.get()), offset, out.data(), out.size(), &len);
    return len;
  }

 private:
  explicit Reader(cmk_reader *reader) : handle_(reader) {}

  detail::Handle<cmk_reader, cmk_reader_free> handle_;
};

// One key that can open an envelope.
struct Recipient {
  std::string provider, key_id;
  std::int32_t algorithm;  // a CMK_WRAP_...
  std::size_t wrapped_len;
  std::uint64_t wrapped_at;
};

// What an envelope's header says, without a key and therefore unauthenticated.
struct Inspection {
  std::uint32_t version, suite;
  std::string suite_name;
  std::vector<std::uint8_t> dek_id;
  std::uint32_t purpose;  // a CMK_PURPOSE_...
  std::optional<std::string> workspace;
  std::uint64_t created;
  std::size_t header_len, padding_len;
  bool is_compact;
  std::vector<Recipient> recipients;
};

// Reads the header that bytes begin with: an envelope, or its first 64 KiB.
inline Inspection inspect(Bytes envelope) {
  cmk_inspection *i = nullptr;
  detail::call(cmk_inspection_new, envelope.data(), envelope.size(), &i);
  detail::Handle<cmk_inspection, cmk_inspection_free> owner(i);
  Inspection result{cmk_inspection_version(i),
                    cmk_inspection_suite(i),
                    cmk_inspection_suite_name(i),
                    {cmk_inspection_dek_id(i), cmk_inspection_dek_id(i) + 16},
                    cmk_inspection_purpose(i),
                    std::nullopt,
                    cmk_inspection_created(i),
                    cmk_inspection_header_len(i),
                    cmk_inspection_padding_len(i),
                    cmk_inspection_is_compact(i),
                    {}};
  if (const char *workspace = cmk_inspection_workspace(i)) result.workspace = workspace;
  for (std::size_t n = 0; n < cmk_inspection_recipients_len(i); n++) {
    result.recipients.push_back({cmk_inspection_recipient_provider(i, n), cmk_inspection_recipient_key_id(i, n),
                                 cmk_inspection_recipient_algorithm(i, n), cmk_inspection_recipient_wrapped_len(i, n),
                                 cmk_inspection_recipient_wrapped_at(i, n)});
  }
  return result;
}

}  // namespace cmkit

#include "cmkit_scratch.hpp"

#endif  // CMKIT_HPP
