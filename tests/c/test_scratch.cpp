// The C++ classes of scratch disks: that they do what C does, own what they hold, and let exceptions through callbacks.
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <unistd.h>

#include "cmkit_scratch.hpp"

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
      std::exit(1);                                                                  \
    }                                                                                \
  } while (0)

using Data = std::vector<std::uint8_t>;

static std::string scratch;

template <class Body>
static cmkit::Error error_of(Body body) {
  try {
    body();
  } catch (const cmkit::Error &error) {
    return error;
  }
  std::fprintf(stderr, "it didn't throw\n");
  std::exit(1);
}

template <class Exception, class Body>
static bool throws(Body body) {
  try {
    body();
  } catch (const Exception &) {
    return true;
  }
  return false;
}

static Data data(std::size_t n) {
  Data bytes(n);
  for (std::size_t i = 0; i < n; i++) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
  return bytes;
}

static cmkit::Keyring make_keyring() {
  auto keys = cmkit::LocalKeys::open_or_create(scratch + "/keys");
  keys.create_key_if_absent("team");
  return cmkit::Keyring::Builder().add(keys).wrap_with("local:team").build();
}

static_assert(!std::is_copy_constructible_v<cmkit::Volume> && std::is_nothrow_move_constructible_v<cmkit::Volume>);
static_assert(!std::is_copy_constructible_v<cmkit::BlockKey> && std::is_nothrow_move_constructible_v<cmkit::BlockKey>);
static_assert(!std::is_copy_constructible_v<cmkit::Backing> && std::is_nothrow_move_constructible_v<cmkit::XtsKey>);

static void keys() {
  cmkit::Keyring keyring = make_keyring();
  for (auto &key : {cmkit::BlockKey::random(), cmkit::BlockKey::of(keyring)}) {
    Data text = data(3 * key.block_size()), blocks = text, seals(3 * cmkit::BlockKey::SealLen);
    key.check();
    key.encrypt(5, blocks, seals);
    CHECK(blocks != text);
    Data changed = blocks;
    changed[4096] ^= 1;
    cmkit::Error error = error_of([&] { key.decrypt(5, changed, seals); });
    CHECK(error.code() == CMK_ERR_AUTHENTICATION && error.block() == 6u && changed == Data(changed.size()));
    key.decrypt(5, blocks, seals);
    CHECK(blocks == text);
    error = error_of([&] { key.encrypt(0, blocks, cmkit::Span(seals.data(), 22)); });
    CHECK(error.code() == CMK_ERR_INVALID_ARGUMENT && !error.block());
    key.destroy();
    CHECK(key.is_destroyed() && error_of([&] { key.check(); }).code() == CMK_ERR_INVALID_STATE);
  }
  CHECK(cmkit::BlockKey::of(keyring).key_ids().size() == 1);

  cmkit::VolumeLayout layout;
  layout.len = 1 << 20;
  layout.sector_size = 512;
  auto [key, file] = cmkit::XtsKey::create(keyring, layout);
  auto [again, found] = cmkit::XtsKey::open(keyring, file);
  CHECK(found.len == layout.len && found.sector_size == 512 && again.sector_size() == 512 && again.key_ids().size() == 1);
  cmkit::XtsKey third = cmkit::XtsKey::from_bytes(again.kernel_key().bytes(), 512);
  Data text = data(2048), sectors = text;
  key.encrypt(512, sectors);
  third.decrypt(512, sectors);
  CHECK(sectors == text);
  third.destroy();
  CHECK(third.is_destroyed() && error_of([&] { third.check(); }).code() == CMK_ERR_INVALID_STATE);
  cmkit::XtsKey::random().check();
}

// A vector, which fails when it is told to.
struct Ram : cmkit::CustomBacking {
  explicit Ram(std::size_t n, int *gone) : bytes(n), gone_(gone) {}
  ~Ram() override { ++*gone_; }
  std::uint64_t size() const override { return bytes.size(); }
  void read(std::uint64_t offset, cmkit::Span out) override {
    std::memcpy(out.data(), bytes.data() + offset, out.size());
    if (fail == 2) throw std::runtime_error("anything");
  }
  void write(std::uint64_t offset, cmkit::Bytes in) override {
    if (fail == 1) throw cmkit::BackingFailure(28 /* ENOSPC */);
    std::memcpy(bytes.data() + offset, in.data(), in.size());
  }
  std::string name() const override { return "ram"; }

  Data bytes;
  int fail = 0;
  int *gone_;
};

static void volumes() {
  cmkit::Keyring keyring = make_keyring();
  Data text = data(10000), back(text.size());
  cmkit::VolumeOptions options;
  options.keyring = &keyring;
  for (auto &backing : {cmkit::Backing::memory(1 << 20), cmkit::Backing::create_file(scratch + "/disk", 1 << 20),
                        cmkit::Backing::anonymous_file(scratch, 1 << 20)}) {
    cmkit::Volume volume = cmkit::Volume::create(backing, options);
    CHECK(volume.size() == 1 << 20 && volume.block_size() == 4096 && volume.mode() == CMK_VOLUME_EPHEMERAL);
    CHECK(volume.id().size() == 32 && volume.key_ids().size() == 1 && volume.warning().empty() && !volume.read_only());
    volume.write(4000, text, CMK_WRITE_DURABLE);
    volume.read(4000, back);
    CHECK(back == text);
    volume.write_from(4000, back);
    volume.write_zeroes(5000, 3);
    volume.discard(0, 4096);
    volume.flush();
    volume.read(4000, back);
    CHECK(back[1000] == 0 && back[1003] == text[1003]);
    std::uint64_t zeros = 0;
    volume.extents(0, volume.size(), [&](std::uint64_t, std::uint64_t len, std::uint32_t kind) {
      if (kind == CMK_EXTENT_ZERO) zeros += len;
      return true;
    });
    CHECK(zeros == (1 << 20) - 3 * 4096);
    int calls = 0;
    volume.extents(0, volume.size(), [&](std::uint64_t, std::uint64_t, std::uint32_t) { return ++calls < 1; });
    CHECK(calls == 1);
    CHECK(throws<std::domain_error>([&] {
      volume.extents(0, 1, [](std::uint64_t, std::uint64_t, std::uint32_t) -> bool { throw std::domain_error("mine"); });
    }));
    CHECK(volume.stats().bytes_discarded == 4096 && volume.stats().damaged == 0);
    volume.reset();
    volume.read(4000, back);
    CHECK(back == Data(back.size()));
    volume.destroy();
    CHECK(volume.is_destroyed() && error_of([&] { volume.read(0, back); }).code() == CMK_ERR_INVALID_STATE);
    volume.discard_backing();
  }

  cmkit::Backing backing = cmkit::Backing::open(scratch + "/disk");
  Data file;
  {
    auto [volume, its] = cmkit::Volume::create_reopenable(backing, keyring);
    volume.write(1, text);
    file = its;
  }
  {
    cmkit::Volume volume = cmkit::Volume::open(backing, file, keyring);
    volume.read(1, back);
    CHECK(back == text && volume.mode() == CMK_VOLUME_XTS && volume.backing_name() == scratch + "/disk");
  }
  auto [key, layout] = cmkit::XtsKey::open(keyring, file);
  cmkit::Volume volume = cmkit::Volume::open_with_key(backing, key.kernel_key().bytes(), layout);
  volume.read(1, back);
  CHECK(back == text);

  cmkit::Keyring moved = std::move(keyring);
  CHECK(throws<std::invalid_argument>([&] { cmkit::Volume::create(cmkit::Backing::memory(4096), options); }));
  CHECK(throws<std::invalid_argument>([&] { cmkit::Backing::open(std::string("a\0b", 3)); }));
  CHECK(throws<std::invalid_argument>([&] { cmkit::Backing::custom(nullptr); }));
}

static void own_backings() {
  int gone = 0;
  Data text = data(8192), back(text.size());
  {
    auto own = std::make_unique<Ram>(1 << 16, &gone);
    Ram *ram = own.get();
    cmkit::Volume volume = cmkit::Volume::create(cmkit::Backing::custom(std::move(own)));
    CHECK(volume.backing_name() == "ram");
    volume.write(0, text);
    ram->fail = 1;
    cmkit::Error error = error_of([&] { volume.write(0, text); });
    CHECK(error.code() == CMK_ERR_IO && error.system_code() == 28);
    ram->fail = 0;
    volume.write(0, text);
    ram->fail = 2;
    error = error_of([&] { volume.read(0, back); });
    CHECK(error.code() == CMK_ERR_IO && error.system_code() == 5 && back == Data(back.size()));
    ram->fail = 0;
    ram->bytes[4096] ^= 1;
    CHECK(error_of([&] { volume.read(0, back); }).block() == 1u);
    CHECK(!volume.reset() && gone == 0);
    cmkit::Volume moved = std::move(volume);
    moved.check();
    CHECK(error_of([&] { volume.check(); }).code() == CMK_ERR_INVALID_ARGUMENT && volume.id().empty());
  }
  CHECK(gone == 1);
}

static bool exists(const std::string &path) { return std::ifstream(path).good(); }

static void servers() {
  cmkit::NbdOptions options;
  options.name = "disk";
  options.max_connections = 3;
  std::string socket = scratch + "/nbd";
  // The path of a socket has 107 bytes at most, and a build directory may be deep.
  if (socket.size() > 107) socket = "/tmp/cmkit-test-cpp-" + std::to_string(getpid());
  cmkit::NbdServer server = cmkit::NbdServer::start(cmkit::Volume::create(cmkit::Backing::memory(1 << 20)), socket, options);
  CHECK(server.socket() == socket && server.stats().requests == 0 && access(socket.c_str(), F_OK) == 0);
  server.stop();
  CHECK(access(socket.c_str(), F_OK) != 0);
  cmkit::NbdServer moved = std::move(server);
  CHECK(moved.stats().connections == 0 && error_of([&] { server.stop(); }).code() == CMK_ERR_INVALID_ARGUMENT);
}

static void jobs() {
  cmkit::Keyring keyring = make_keyring();
  cmkit::ScratchOptions options;
  options.state_dir = scratch + "/state";
  options.job = "job-7";
  options.size = 4 << 20;
  options.place_path = scratch;
  options.volume.keyring = &keyring;
  CHECK(cmkit::recover(options.state_dir).empty());
  {
    cmkit::Scratch job = cmkit::Scratch::begin(options);
    CHECK(job.path().empty() && error_of([&] { cmkit::Scratch::begin(options); }).code() == CMK_ERR_BUSY);
    Data text = data(10000), back(text.size());
    cmkit::Volume volume = job.volume();
    volume.write(0, text);
    volume.read(0, back);
    CHECK(back == text);
    cmkit::ErasureRecord record = job.end(std::chrono::seconds(1), "done");
    CHECK(record.left_behind.empty() && record.json.find("\"end\":\"done\"") != std::string::npos);
    CHECK(volume.is_destroyed() && error_of([&] { job.volume(); }).code() == CMK_ERR_INVALID_STATE);
  }
  // One that goes without an end is ended all the same.
  options.place = CMK_PLACE_FILE;
  options.place_path = scratch + "/job-disk";
  {
    cmkit::Scratch job = cmkit::Scratch::begin(options);
    CHECK(exists(options.place_path));
    CHECK(throws<std::invalid_argument>([&] { job.end(std::chrono::milliseconds(-1)); }));
  }
  CHECK(!exists(options.place_path) && cmkit::recover(options.state_dir).empty());
  options.size = 0;
  CHECK(error_of([&] { cmkit::Scratch::begin(options); }).code() == CMK_ERR_INVALID_ARGUMENT);
  cmkit::Keyring moved = std::move(keyring);
  CHECK(throws<std::invalid_argument>([&] { cmkit::Scratch::begin(options); }));
  CHECK(!cmkit::protect_process(CMK_PROTECT_OFF, CMK_PROTECT_OFF).memory_locked);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  scratch = argv[1];
  keys();
  volumes();
  own_backings();
  servers();
  jobs();
  return 0;
}
