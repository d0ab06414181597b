// The C++ classes: that they do what C does, own what they hold, and let exceptions through callbacks in both directions.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <map>
#include <new>
#include <unistd.h>

#include "cmkit.hpp"

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
      std::exit(1);                                                                  \
    }                                                                                \
  } while (0)

// The code that a call throws; CMK_OK when it doesn't.
template <class Body>
static cmk_result code_of(Body body) {
  try {
    body();
    return CMK_OK;
  } catch (const cmkit::Error &error) {
    CHECK(std::string(error.what()).size() > 10);
    return error.code();
  }
}

// How many times C++ gets memory before there is none; below 0: always.
static int allocations_left = -1;

void *operator new(std::size_t size) {
  void *p = allocations_left == 0 ? nullptr : std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc();
  if (allocations_left > 0) allocations_left--;
  return p;
}
void operator delete(void *p) noexcept { std::free(p); }
void operator delete(void *p, std::size_t) noexcept { std::free(p); }

// Whether a call refuses its arguments before it asks C.
template <class Body>
static bool is_refused(Body body) {
  try {
    body();
    return false;
  } catch (const std::invalid_argument &) {
    return true;
  }
}

using Data = std::vector<std::uint8_t>;

static std::string scratch;

static Data data(std::size_t n) {
  Data bytes(n);
  for (std::size_t i = 0; i < n; i++) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
  return bytes;
}

static cmkit::Keyring make_keyring(const std::string &name = "team") {
  auto keys = cmkit::LocalKeys::open_or_create(scratch + "/keys");
  keys.create_key_if_absent(name);
  return cmkit::Keyring::Builder().add(keys).wrap_with("local:" + name).workspace("acme").build();
}

static_assert(!std::is_copy_constructible_v<cmkit::Keyring> && std::is_nothrow_move_constructible_v<cmkit::Keyring>);
static_assert(!std::is_copy_constructible_v<cmkit::Encryptor> && std::is_nothrow_move_constructible_v<cmkit::Encryptor>);
static_assert(!std::is_copy_constructible_v<cmkit::Decryptor> && std::is_nothrow_move_constructible_v<cmkit::Reader>);
static_assert(!std::is_copy_constructible_v<cmkit::Context> && std::is_base_of_v<std::runtime_error, cmkit::Error>);

static void documents() {
  cmkit::Keyring keyring = make_keyring();
  std::map<std::string, std::string> map{{"doc", "42"}, {"table", "jobs"}};
  cmkit::Context context{{"table", "jobs"}, {"doc", "42"}}, same(map.begin(), map.end());
  for (std::size_t n : {0, 1, 16383, 16384, 16385, 100000}) {
    Data text = data(n), envelope = keyring.encrypt(text, context);
    CHECK(cmkit::is_envelope(envelope) && cmkit::decrypted_len(envelope) == n);
    CHECK(keyring.decrypt(envelope, same) == text);
    CHECK(code_of([&] { keyring.decrypt(envelope); }) == CMK_ERR_AUTHENTICATION);

    Data buffer = text;
    buffer.resize(keyring.encrypted_len(n));
    CHECK(keyring.encrypt_into(cmkit::Bytes(buffer.data(), n), buffer, context) == buffer.size());
    CHECK(keyring.decrypt_into(buffer, buffer, context) == n);
    buffer.resize(n);
    CHECK(buffer == text);
  }
  CHECK(!cmkit::is_envelope("attack at dawn") && cmkit::version() == std::string("0.1.0"));
  CHECK(code_of([&] { keyring.decrypt("attack at dawn"); }) == CMK_ERR_FORMAT);
  CHECK(code_of([] { cmkit::Context{{"a", "1"}, {"a", "2"}}; }) == CMK_ERR_INVALID_ARGUMENT);
  std::array<std::uint8_t, 10> small{};
  try {
    keyring.encrypt_into("twelve bytes", small);
    CHECK(false);
  } catch (const cmkit::Error &error) {
    CHECK(error.code() == CMK_ERR_BUFFER_TOO_SMALL && error.bytes_needed() > 10);
    CHECK(error.code_name() == std::string("CMK_ERR_BUFFER_TOO_SMALL"));
  }
  try {
    make_keyring("stranger").decrypt(keyring.encrypt("x"));
    CHECK(false);
  } catch (const cmkit::Error &error) {
    CHECK(error.code() == CMK_ERR_KEY_NOT_ALLOWED && error.key_id().substr(0, 11) == "local:team/");
  }
  cmkit::Keyring moved = std::move(keyring);
  CHECK(moved.decrypt(moved.encrypt("moved")).size() == 5);

  cmkit::Inspection i = cmkit::inspect(moved.encrypt("x"));
  CHECK(i.version == 1 && i.workspace == "acme" && i.recipients.size() == 1 && i.dek_id.size() == 16 && !i.is_compact);
  CHECK(i.recipients[0].provider == "local" && i.recipients[0].algorithm == CMK_WRAP_A256KW);
}

// A NUL would cut a text: another workspace, host or file would be meant.
static void texts_with_a_nul() {
  using namespace std::string_literals;
  cmkit::Keyring keyring = make_keyring();
  auto keys = cmkit::LocalKeys::open(scratch + "/keys");
  std::string file = scratch + "/nul\0.txt"s;
  cmkit::Keyring::Builder builder;
  CHECK(is_refused([&] { builder.workspace("acme\0evil"s); }) && is_refused([&] { builder.allow_host("a.example\0.net"s); }));
  CHECK(is_refused([&] { builder.wrap_with("local:team\0"s); }) && is_refused([&] { builder.allow_key("local:a\0b"s); }));
  CHECK(is_refused([&] { builder.key_store_directory(file); }));
  CHECK(is_refused([&] { keys.create_key("a\0b"s); }) && is_refused([&] { keys.create_key_if_absent("a\0b"s); }));
  CHECK(is_refused([&] { keys.rotate("team\0"s); }) && is_refused([&] { cmkit::LocalKeys::open_or_create(file); }));
  CHECK(is_refused([&] { keys.disable(keys.list()[0].id + "\0"s); }) && is_refused([&] { cmkit::LocalKeys::open(file); }));
  CHECK(is_refused([&] { keyring.encrypt_file(file, file); }) && is_refused([&] { keyring.decrypt_file(file, file); }));
  CHECK(is_refused([&] { cmkit::Reader::open_file(keyring, file); }));
  CHECK(is_refused([&] { keyring.rewrap_file(file, "local:team"); }));
  CHECK(is_refused([&] { keyring.rewrap(keyring.encrypt("x"), "local:team\0"s); }));
  // In a context it is a character like others.
  cmkit::Context one{{"a", std::string_view("x\0y", 3)}}, other{{"a", std::string_view("x\0z", 3)}};
  Data envelope = keyring.encrypt("x", one);
  CHECK(code_of([&] { keyring.decrypt(envelope, other); }) == CMK_ERR_AUTHENTICATION);
  CHECK(keyring.decrypt(envelope, one).size() == 1);
}

static void nothing_given() {
  cmkit::Keyring keyring = make_keyring();
  cmkit::Keyring::Builder builder;
  CHECK(is_refused([&] { builder.add(std::unique_ptr<cmkit::Provider>()); }));
  CHECK(is_refused([&] { builder.key_store(nullptr); }) && is_refused([&] { cmkit::Reader::open(keyring, nullptr); }));
}

// What was moved from fails, and does nothing else.
static void moved_from() {
  cmkit::Keyring keyring = make_keyring();
  Data envelope;
  cmkit::Encryptor encryptor(keyring, [&](cmkit::Bytes b) { envelope.insert(envelope.end(), b.data(), b.data() + b.size()); });
  cmkit::Encryptor writer = std::move(encryptor);
  CHECK(code_of([&] { encryptor.write("x"); }) == CMK_ERR_INVALID_ARGUMENT);
  CHECK(code_of([&] { encryptor.finish(); }) == CMK_ERR_INVALID_ARGUMENT);
  // One that is assigned over a stream under way ends that.
  cmkit::Encryptor other(keyring, [](cmkit::Bytes) {});
  other.write("y");
  other = std::move(writer);
  other.write("z");
  other.finish();
  CHECK(keyring.decrypt(envelope) == Data{'z'});
  std::size_t at = 0;
  cmkit::Decryptor decryptor(keyring, [&](cmkit::Span out) {
    std::size_t n = std::min(out.size(), envelope.size() - at);
    std::memcpy(out.data(), envelope.data() + at, n);
    return at += n, n;
  });
  cmkit::Decryptor reader = std::move(decryptor);
  std::array<std::uint8_t, 8> out;
  CHECK(code_of([&] { decryptor.read(out); }) == CMK_ERR_INVALID_ARGUMENT && reader.read(out) == 1);

  // A context that was would otherwise be none.
  cmkit::Context context{{"a", "1"}}, taken = std::move(context), none, none_too = std::move(none);
  CHECK(is_refused([&] { keyring.encrypt("x", context); }) && is_refused([&] { keyring.encrypt("x", none); }));
  Data bound = keyring.encrypt("x", taken), unbound = keyring.encrypt("x", none_too);
  context = std::move(taken);
  CHECK(keyring.decrypt(bound, context) == Data{'x'} && is_refused([&] { keyring.decrypt(bound, taken); }));
  CHECK(keyring.decrypt(unbound) == Data{'x'});
  taken = cmkit::Context();
  CHECK(keyring.decrypt(unbound, taken) == Data{'x'});

  cmkit::Keyring away = std::move(keyring);
  CHECK(code_of([&] { keyring.encrypt("x"); }) == CMK_ERR_INVALID_ARGUMENT);
}

// An error that can't be copied is freed all the same: the leak sanitizer looks. Under valgrind, which has an operator new of its own, memory
// doesn't run out.
static void errors_without_memory() {
  cmkit::Keyring keyring = make_keyring();
  cmkit::Keyring stranger = make_keyring("stranger");
  Data envelope = keyring.encrypt("x");
  std::array<std::uint8_t, 8> out;
  for (int left = 0, done = 0; done == 0; left++) {
    allocations_left = left;
    try {
      stranger.decrypt_into(envelope, out);
    } catch (const std::bad_alloc &) {
    } catch (const cmkit::Error &error) {
      done = 1;
      CHECK(error.code() == CMK_ERR_KEY_NOT_ALLOWED);
    }
    allocations_left = -1;
  }
}

static void local_keys() {
  auto keys = cmkit::LocalKeys::open_or_create(scratch + "/admin");
  std::string first = keys.create_key("a"), second = keys.rotate("a");
  CHECK(!keys.create_key_if_absent("a") && keys.list().size() == 2);
  keys.disable(first);
  CHECK(keys.list()[0].id == first && keys.list()[0].state == "disabled" && keys.list()[1].newest);
  keys.enable(first);
  CHECK(code_of([&] { keys.create_key("a"); }) == CMK_ERR_ALREADY_EXISTS);
  CHECK(code_of([&] { cmkit::LocalKeys::open(scratch + "/none"); }) == CMK_ERR_KEY_NOT_FOUND);
}

struct Vault : cmkit::Provider {
  int *alive;
  const int *mood;

  Vault(int *a, const int *m) : alive(a), mood(m) { ++*alive; }
  Vault(const Vault &) = delete;
  Vault &operator=(const Vault &) = delete;
  ~Vault() override { --*alive; }

  std::string name() const override { return "vault"; }
  cmkit::WrappedKey wrap(std::string_view, cmkit::Bytes plaintext) override {
    act();
    std::string id = *mood == 3 ? "nonsense" : "vault:k/00000000000000000000000000000001";
    if (*mood == 5) id.push_back('\0');
    return {id, CMK_WRAP_A256KW, mask(plaintext)};
  }
  Data unwrap(std::string_view key, std::int32_t, cmkit::Bytes wrapped) override {
    CHECK(key == "vault:k/00000000000000000000000000000001");
    act();
    return mask(wrapped);
  }

 private:
  void act() const {
    if (*mood == 1) {
      cmkit::ProviderFailure failure(CMK_ERR_THROTTLED, "slow down, please");
      failure.retry_after = std::chrono::seconds(2);
      failure.http_status = 429;
      failure.request_id = "req-1";
      throw failure;
    }
    if (*mood == 2) throw std::logic_error("a bug in the vault");
    if (*mood == 4) throw 4;
    if (*mood == 6) {
      cmkit::ProviderFailure failure(CMK_ERR_UNAVAILABLE, "not UTF-8: \xff");
      failure.retry_after = std::chrono::seconds(3);
      throw failure;
    }
    if (*mood == 7) {
      cmkit::ProviderFailure failure(CMK_ERR_UNAVAILABLE, "try again a second ago");
      failure.retry_after = std::chrono::seconds(-1);
      throw failure;
    }
  }
  static Data mask(cmkit::Bytes bytes) {
    Data out(bytes.data(), bytes.data() + bytes.size());
    for (auto &byte : out) byte ^= 0x77;
    return out;
  }
};

static void providers() {
  int alive = 0, mood = 0;
  {
    cmkit::Keyring::Builder builder;
    builder.add(std::make_unique<Vault>(&alive, &mood)).wrap_with("vault:k").max_age(std::chrono::milliseconds(0));
    cmkit::Keyring keyring = builder.build();
    CHECK(keyring.decrypt(keyring.encrypt("x")) == Data{'x'});
    mood = 1;
    try {
      keyring.encrypt("x");
      CHECK(false);
    } catch (const cmkit::Error &error) {
      CHECK(error.code() == CMK_ERR_THROTTLED && error.retryable() && error.http_status() == 429);
      CHECK(error.retry_after() == std::chrono::seconds(2) && error.request_id() == "req-1");
      CHECK(std::string(error.what()).find("slow down") != std::string::npos && error.key_id() == "vault:k");
    }
    for (mood = 2; mood <= 5; mood++) CHECK(code_of([&] { keyring.encrypt("x"); }) == CMK_ERR_PROVIDER);
    for (; mood <= 7; mood++) {
      try {
        keyring.encrypt("x");
        CHECK(false);
      } catch (const cmkit::Error &error) {
        CHECK(error.code() == CMK_ERR_UNAVAILABLE && error.retry_after() == std::chrono::seconds(mood == 6 ? 3 : 0));
      }
    }
    CHECK(alive == 1);
  }
  CHECK(alive == 0);
  // Refused: it is freed all the same, by the one who still has it.
  cmkit::Keyring::Builder builder;
  struct Nameless : Vault {
    using Vault::Vault;
    std::string name() const override { return ""; }
  };
  CHECK(code_of([&] { builder.add(std::make_unique<Nameless>(&alive, &mood)); }) == CMK_ERR_INVALID_ARGUMENT);
  CHECK(alive == 0);
}

struct Table : cmkit::KeyStore {
  std::map<Data, Data> rows;
  bool broken = false;

  static Data copy(cmkit::Bytes bytes) { return Data(bytes.data(), bytes.data() + bytes.size()); }
  std::optional<cmkit::StoredKey> get(cmkit::Bytes id) override {
    if (broken) throw std::runtime_error("the table is gone");
    auto found = rows.find(copy(id));
    if (found == rows.end()) return std::nullopt;
    return cmkit::StoredKey{found->second, found->second};
  }
  bool put_if_absent(cmkit::Bytes id, cmkit::Bytes row) override {
    if (broken) throw std::runtime_error("the table is gone");
    return rows.emplace(copy(id), copy(row)).second;
  }
  bool replace_if_unchanged(cmkit::Bytes id, cmkit::Bytes row, cmkit::Bytes tag) override {
    Data &present = rows.at(copy(id));
    if (present != copy(tag)) return false;
    present = copy(row);
    return true;
  }
  std::vector<Data> list() override {
    std::vector<Data> ids;
    for (const auto &row : rows) ids.push_back(row.first);
    return ids;
  }
};

static void key_stores() {
  auto keys = cmkit::LocalKeys::open_or_create(scratch + "/keys");
  keys.create_key_if_absent("team");
  keys.create_key_if_absent("next");
  auto table = std::make_unique<Table>();
  Table *there = table.get();
  cmkit::Keyring keyring =
      cmkit::Keyring::Builder().add(keys).wrap_with("local:team").allow_key("local:next").key_store(std::move(table)).build();
  there->broken = true;
  try {
    keyring.encrypt_compact("row");
    CHECK(false);
  } catch (const cmkit::Error &error) {
    CHECK(error.code() == CMK_ERR_KEY_STORE && std::string(error.what()).find("table is gone") != std::string::npos);
  }
  there->broken = false;
  Data row = keyring.encrypt_compact("row");
  CHECK(keyring.decrypt(row) == (Data{'r', 'o', 'w'}) && cmkit::inspect(row).is_compact);
  CHECK(keyring.rewrap_key_store("local:next", CMK_RECIPIENTS_ONLY) == 1);
  CHECK(keyring.decrypt(row) == (Data{'r', 'o', 'w'}));
}

static void streams() {
  cmkit::Keyring keyring = make_keyring();
  Data text = data(200000), envelope, back;
  {
    cmkit::Encryptor first(keyring, [&](cmkit::Bytes b) { envelope.insert(envelope.end(), b.data(), b.data() + b.size()); });
    cmkit::Encryptor encryptor = std::move(first);
    encryptor.write(text);
    encryptor.finish();
    CHECK(code_of([&] { encryptor.write("more"); }) == CMK_ERR_INVALID_STATE);
  }
  std::size_t at = 0;
  auto give = [&](cmkit::Span out) {
    std::size_t n = std::min<std::size_t>({out.size(), 777, envelope.size() - at});
    std::memcpy(out.data(), envelope.data() + at, n);
    at += n;
    return n;
  };
  cmkit::Decryptor decryptor(keyring, give);
  std::array<std::uint8_t, 5000> piece;
  while (std::size_t n = decryptor.read(piece)) back.insert(back.end(), piece.data(), piece.data() + n);
  CHECK(back == text && keyring.decrypt(envelope) == text);

  // Unfinished.
  Data torn;
  { cmkit::Encryptor(keyring, [&](cmkit::Bytes b) { torn.insert(torn.end(), b.data(), b.data() + b.size()); }).write(text); }
  CHECK(code_of([&] { keyring.decrypt(torn); }) == CMK_ERR_TRUNCATED);

  // What a callback throws comes out of the call.
  struct Boom {};
  bool caught = false;
  try {
    cmkit::Encryptor(keyring, [](cmkit::Bytes) { throw Boom(); });
  } catch (const Boom &) {
    caught = true;
  }
  CHECK(caught);
  caught = false;
  int calls = 0;
  cmkit::Encryptor late(keyring, [&](cmkit::Bytes) {
    if (++calls > 1) throw Boom();
  });
  try {
    late.write(text);
    late.finish();
  } catch (const Boom &) {
    caught = true;
  }
  CHECK(caught && code_of([&] { late.finish(); }) == CMK_ERR_INVALID_STATE);
  caught = false;
  try {
    cmkit::Decryptor(keyring, [](cmkit::Span) -> std::size_t { throw Boom(); });
  } catch (const Boom &) {
    caught = true;
  }
  CHECK(caught);

  // Descriptors.
  std::string path = scratch + "/stream.cmk";
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0);
  cmkit::StreamOptions options;
  options.threads = 1;
  options.header_padding = CMK_PADDING_FILE;
  cmkit::Encryptor to_file(keyring, fd, {}, options);
  to_file.write(text);
  to_file.finish();
  CHECK(::lseek(fd, 0, SEEK_SET) == 0);
  cmkit::Decryptor from_file(keyring, fd);
  back.clear();
  while (std::size_t n = from_file.read(piece)) back.insert(back.end(), piece.data(), piece.data() + n);
  CHECK(back == text);
  ::close(fd);
}

struct Memory : cmkit::Source {
  Data bytes;
  bool *broken;
  Memory(Data b, bool *flag) : bytes(std::move(b)), broken(flag) {}
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;
  std::uint64_t size() override { return bytes.size(); }
  std::size_t read_at(std::uint64_t offset, cmkit::Span out) override {
    if (*broken) throw std::runtime_error("unplugged");
    if (offset >= bytes.size()) return 0;
    std::size_t n = std::min(out.size(), bytes.size() - static_cast<std::size_t>(offset));
    std::memcpy(out.data(), bytes.data() + offset, n);
    return n;
  }
};

static void readers_and_files() {
  cmkit::Keyring keyring = make_keyring();
  Data text = data(100000);
  bool broken = false;
  auto reader = cmkit::Reader::open(keyring, std::make_unique<Memory>(keyring.encrypt(text), &broken));
  CHECK(reader.size() == text.size());
  Data piece(1000);
  CHECK(reader.read_at(16000, piece) == 1000 && std::equal(piece.begin(), piece.end(), text.begin() + 16000));
  CHECK(reader.read_at(99990, piece) == 10 && reader.read_at(100000, piece) == 0);
  broken = true;
  CHECK(code_of([&] { reader.read_at(50000, piece); }) == CMK_ERR_IO);
  CHECK(code_of([&] { cmkit::Reader::open(keyring, std::make_unique<Memory>(Data(), &broken)); }) == CMK_ERR_IO);

  std::string plain = scratch + "/plain", sealed = plain + ".cmk", back = plain + ".back";
  int fd = ::open(plain.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::close(fd) == 0);
  int told = 0;
  cmkit::FileOptions options;
  options.progress = [&](std::uint64_t, std::uint64_t total) { return ++told, total == 100000; };
  CHECK(keyring.encrypt_file(plain, sealed, {}, options) == text.size() && told >= 2);
  CHECK(code_of([&] { keyring.encrypt_file(plain, sealed); }) == CMK_ERR_ALREADY_EXISTS);
  options.overwrite = CMK_OVERWRITE_REPLACE;
  options.progress = [](std::uint64_t, std::uint64_t) { return false; };
  CHECK(code_of([&] { keyring.encrypt_file(plain, sealed, {}, options); }) == CMK_ERR_CANCELLED);
  options.progress = [](std::uint64_t, std::uint64_t) -> bool { throw std::length_error("stop"); };
  bool caught = false;
  try {
    keyring.decrypt_file(sealed, back, {}, options);
  } catch (const std::length_error &) {
    caught = true;
  }
  CHECK(caught);
  CHECK(keyring.decrypt_file(sealed, back) == text.size());
  auto file = cmkit::Reader::open_file(keyring, sealed);
  CHECK(file.read_at(1, piece) == 1000 && std::equal(piece.begin(), piece.end(), text.begin() + 1));

  make_keyring("next");
  auto keys = cmkit::LocalKeys::open(scratch + "/keys");
  cmkit::Keyring both =
      cmkit::Keyring::Builder().add(keys).wrap_with("local:next").allow_key("local:team").workspace("acme").build();
  CHECK(both.rewrap_file(sealed, "local:next") == CMK_REWRAP_IN_PLACE);
  CHECK(code_of([&] { cmkit::Reader::open_file(keyring, sealed); }) == CMK_ERR_KEY_NOT_ALLOWED);
  Data moved = both.rewrap(keyring.encrypt("x"), "local:next");
  CHECK(both.decrypt(moved) == Data{'x'});
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  scratch = argv[1];
  documents();
  texts_with_a_nul();
  nothing_given();
  moved_from();
  errors_without_memory();
  local_keys();
  providers();
  key_stores();
  streams();
  readers_and_files();
  return 0;
}
