// Scratch disks for C++17: keys for blocks and sectors, encrypted volumes, servers for them, and jobs' disks. A part of cmkit.hpp, which includes it; the rules are those of that.
//
// A BlockKey, XtsKey, Backing, Volume or NbdServer may be used by many threads at once, a Scratch by one. It belongs to the process that made it.
#ifndef CMKIT_SCRATCH_HPP
#define CMKIT_SCRATCH_HPP

#include "cmkit.hpp"

namespace cmkit {

namespace detail {

// A list of texts, taken over.
inline std::vector<std::string> texts(cmk_text_list *list) {
  Handle<cmk_text_list, cmk_text_list_free> owner(list);
  std::vector<std::string> result;
  for (std::size_t i = 0; i < cmk_text_list_len(list); i++) result.emplace_back(cmk_text_list_get(list, i));
  return result;
}

// The bytes of a buffer, taken over.
inline std::vector<std::uint8_t> bytes(cmk_buffer *buffer) {
  Handle<cmk_buffer, cmk_buffer_free> owner(buffer);
  return {cmk_buffer_data(buffer), cmk_buffer_data(buffer) + cmk_buffer_len(buffer)};
}

}  // namespace detail

// Bytes that are wiped when it goes: a key for a kernel.
class Secret {
 public:
  explicit Secret(cmk_buffer *buffer) : handle_(buffer) {}
  Bytes bytes() const noexcept { return {cmk_buffer_data(handle_.get()), cmk_buffer_len(handle_.get())}; }

 private:
  detail::Handle<cmk_buffer, cmk_buffer_free> handle_;
};

// A key for authenticated blocks, which are encrypted in place. For each block the caller keeps a seal of SealLen bytes, in memory.
class BlockKey {
 public:
  static constexpr std::size_t SealLen = CMK_BLOCK_SEAL_LEN;

  // In this process's memory only. A block has 4096, 16384 or 65536 bytes.
  static BlockKey random(std::uint32_t block_size = 4096) {
    cmk_block_key *key = nullptr;
    detail::call(cmk_block_key_random, block_size, &key);
    return BlockKey(key);
  }
  // Wrapped by the keyring's keys: it stops when they are taken away.
  static BlockKey of(const Keyring &keyring, std::uint32_t block_size = 4096) {
    cmk_block_key *key = nullptr;
    detail::call(cmk_keyring_new_block_key, keyring.get(), block_size, &key);
    return BlockKey(key);
  }

  std::uint32_t block_size() const noexcept { return cmk_block_key_block_size(get()); }
  std::vector<std::string> key_ids() const {
    cmk_text_list *ids = nullptr;
    detail::call(cmk_block_key_key_ids, get(), &ids);
    return detail::texts(ids);
  }
  // Before each request: that the key may still be used.
  void check() const { detail::call(cmk_block_key_check, get()); }
  // Whole blocks, and SealLen bytes for each. After a failure both are zero.
  void encrypt(std::uint64_t first_block, Span data, Span seals) const {
    detail::call(cmk_block_key_encrypt, get(), first_block, data.data(), data.size(), seals.data(), seals.size());
  }
  // After a failure `data` is zero; Error::block() says which block isn't authentic.
  void decrypt(std::uint64_t first_block, Span data, Bytes seals) const {
    detail::call(cmk_block_key_decrypt, get(), first_block, data.data(), data.size(), seals.data(), seals.size());
  }
  // Wipes the key for good, for all threads.
  void destroy() const noexcept { cmk_block_key_destroy(get()); }
  bool is_destroyed() const noexcept { return cmk_block_key_is_destroyed(get()); }

  const cmk_block_key *get() const noexcept { return handle_.get(); }

 private:
  explicit BlockKey(cmk_block_key *key) : handle_(key) {}

  detail::Handle<cmk_block_key, cmk_block_key_free> handle_;
};

// How the bytes of a volume in XTS mode lie.
struct VolumeLayout {
  std::uint64_t len = 0;            // bytes
  std::uint32_t sector_size = 4096;  // or 512
  std::uint64_t iv_offset = 0;      // in units of 512 bytes

  cmk_volume_layout c() const noexcept {
    cmk_volume_layout layout;
    std::memset(&layout, 0, sizeof layout);
    layout.struct_size = sizeof layout;
    layout.sector_size = sector_size;
    layout.iv_offset = iv_offset;
    layout.len = len;
    return layout;
  }
};

// A key for the sectors of a volume, as dm-crypt's aes-xts-plain64: without integrity.
class XtsKey {
 public:
  // In this process's memory only.
  static XtsKey random(std::uint32_t sector_size = 4096) {
    cmk_xts_key *key = nullptr;
    detail::call(cmk_xts_key_random, sector_size, &key);
    return XtsKey(key);
  }
  // 64 bytes from elsewhere.
  static XtsKey from_bytes(Bytes bytes, std::uint32_t sector_size, std::uint64_t iv_offset = 0) {
    cmk_xts_key *key = nullptr;
    detail::call(cmk_xts_key_from_bytes, bytes.data(), bytes.size(), sector_size, iv_offset, &key);
    return XtsKey(key);
  }
  // A new volume's key, and the volume file that opens it again.
  static std::pair<XtsKey, std::vector<std::uint8_t>> create(const Keyring &keyring, const VolumeLayout &layout) {
    cmk_volume_layout c_layout = layout.c();
    cmk_xts_key *key = nullptr;
    cmk_buffer *file = nullptr;
    detail::call(cmk_keyring_create_xts_volume, keyring.get(), static_cast<const cmk_volume_layout *>(&c_layout), &key, &file);
    XtsKey owner(key);
    return {std::move(owner), detail::bytes(file)};
  }
  static std::pair<XtsKey, VolumeLayout> open(const Keyring &keyring, Bytes volume_file) {
    cmk_volume_layout found = VolumeLayout().c();
    cmk_xts_key *key = nullptr;
    detail::call(cmk_keyring_open_xts_volume, keyring.get(), volume_file.data(), volume_file.size(), &key, &found);
    XtsKey owner(key);
    VolumeLayout layout;
    layout.len = found.len;
    layout.sector_size = found.sector_size;
    layout.iv_offset = found.iv_offset;
    return {std::move(owner), layout};
  }

  std::uint32_t sector_size() const noexcept { return cmk_xts_key_sector_size(get()); }
  std::vector<std::string> key_ids() const {
    cmk_text_list *ids = nullptr;
    detail::call(cmk_xts_key_key_ids, get(), &ids);
    return detail::texts(ids);
  }
  void check() const { detail::call(cmk_xts_key_check, get()); }
  // Whole sectors at a byte offset on the volume, in place. After a failure `data` is zero.
  void encrypt(std::uint64_t offset, Span data) const {
    detail::call(cmk_xts_key_encrypt, get(), offset, data.data(), data.size());
  }
  void decrypt(std::uint64_t offset, Span data) const {
    detail::call(cmk_xts_key_decrypt, get(), offset, data.data(), data.size());
  }
  // The 64 bytes that dmsetup and cryptsetup take.
  Secret kernel_key() const {
    cmk_buffer *buffer = nullptr;
    detail::call(cmk_xts_key_kernel_key, get(), &buffer);
    return Secret(buffer);
  }
  void destroy() const noexcept { cmk_xts_key_destroy(get()); }
  bool is_destroyed() const noexcept { return cmk_xts_key_is_destroyed(get()); }

  const cmk_xts_key *get() const noexcept { return handle_.get(); }

 private:
  explicit XtsKey(cmk_xts_key *key) : handle_(key) {}

  detail::Handle<cmk_xts_key, cmk_xts_key_free> handle_;
};

// What a function of a CustomBacking throws to give an error number. Whatever else it throws is EIO.
class BackingFailure : public std::runtime_error {
 public:
  explicit BackingFailure(std::int32_t system_code) : std::runtime_error("the backing failed"), code(system_code) {}

  std::int32_t code;
};

// Room for a volume's ciphertext by one's own I/O. Its functions are called from any thread, several at a time, and must not call the volume over it.
class CustomBacking {
 public:
  virtual ~CustomBacking() = default;
  // Bytes; never changes.
  virtual std::uint64_t size() const = 0;
  virtual void read(std::uint64_t offset, Span out) = 0;
  virtual void write(std::uint64_t offset, Bytes data) = 0;
  virtual void flush() {}
  // Whether the room was given back. What is there afterwards may be anything.
  virtual bool discard(std::uint64_t offset, std::uint64_t len) {
    static_cast<void>(offset), static_cast<void>(len);
    return false;
  }
  // What errors call it.
  virtual std::string name() const { return "the caller's backing"; }
  // Whether its functions may wait for a medium.
  virtual bool is_blocking() const { return false; }
};

namespace detail {

// Runs a function of a backing and turns what it throws into an error number.
template <class Body>
std::int32_t number(Body body) noexcept {
  try {
    body();
    return 0;
  } catch (const BackingFailure &failure) {
    return failure.code > 0 ? failure.code : 5 /* EIO */;
  } catch (...) {
    return 5;
  }
}

extern "C" {
inline std::int32_t cmkit_hpp_backing_read(void *self, std::uint64_t offset, std::uint8_t *out, std::size_t len) {
  return number([&] { static_cast<CustomBacking *>(self)->read(offset, Span(out, len)); });
}
inline std::int32_t cmkit_hpp_backing_write(void *self, std::uint64_t offset, const std::uint8_t *data, std::size_t len) {
  return number([&] { static_cast<CustomBacking *>(self)->write(offset, Bytes(data, len)); });
}
inline std::int32_t cmkit_hpp_backing_flush(void *self) {
  return number([&] { static_cast<CustomBacking *>(self)->flush(); });
}
inline std::int32_t cmkit_hpp_backing_discard(void *self, std::uint64_t offset, std::uint64_t len) {
  return number([&] {
    if (!static_cast<CustomBacking *>(self)->discard(offset, len)) throw BackingFailure(95 /* EOPNOTSUPP */);
  });
}
inline void cmkit_hpp_backing_destroy(void *self) { delete static_cast<CustomBacking *>(self); }
}  // extern "C"

}  // namespace detail

// What a volume's ciphertext is on. One volume at a time is made over it; it may go before the volume.
class Backing {
 public:
  static Backing memory(std::uint64_t len) { return Backing(cmk_backing_memory, len); }
  // A new sparse file, which stays.
  static Backing create_file(const std::string &path, std::uint64_t len) {
    return Backing(cmk_backing_create_file, detail::text(path), len);
  }
  // A sparse file without a name in the file system of a directory.
  static Backing anonymous_file(const std::string &dir, std::uint64_t len) {
    return Backing(cmk_backing_anonymous_file, detail::text(dir), len);
  }
  // A file or block device that is there. `access` is a CMK_ACCESS_...
  static Backing open(const std::string &path, std::uint32_t access = CMK_ACCESS_READ_WRITE) {
    return Backing(cmk_backing_open, detail::text(path), access);
  }
  static Backing custom(std::unique_ptr<CustomBacking> own) {
    std::string name = detail::there(own)->name();
    cmk_backing_callbacks callbacks;
    std::memset(&callbacks, 0, sizeof callbacks);
    callbacks.struct_size = sizeof callbacks;
    callbacks.userdata = own.get();
    callbacks.name = detail::text(name);
    callbacks.len = own->size();
    callbacks.read = detail::cmkit_hpp_backing_read;
    callbacks.write = detail::cmkit_hpp_backing_write;
    callbacks.flush = detail::cmkit_hpp_backing_flush;
    callbacks.discard = detail::cmkit_hpp_backing_discard;
    callbacks.destroy = detail::cmkit_hpp_backing_destroy;
    callbacks.blocking = own->is_blocking() ? 1 : 0;
    Backing backing(cmk_backing_new, static_cast<const cmk_backing_callbacks *>(&callbacks));
    static_cast<void>(own.release());
    return backing;
  }

  std::uint64_t size() const noexcept { return cmk_backing_len(get()); }
  const cmk_backing *get() const noexcept { return handle_.get(); }

 private:
  template <class Function, class... Arguments>
  explicit Backing(Function how, Arguments... arguments) {
    cmk_backing *backing = nullptr;
    detail::call(how, arguments..., &backing);
    handle_.reset(backing);
  }

  detail::Handle<cmk_backing, cmk_backing_free> handle_;
};

// What one may choose about a new volume.
struct VolumeOptions {
  std::uint32_t mode = CMK_VOLUME_EPHEMERAL;
  std::uint32_t block_size = 4096;
  const Keyring *keyring = nullptr;  // none: the key is in memory only
  std::uint64_t metadata_budget = 0;  // bytes; 0: half of the machine's memory

  cmk_volume_options c() const {
    cmk_volume_options c_options;
    std::memset(&c_options, 0, sizeof c_options);
    c_options.struct_size = sizeof c_options;
    c_options.mode = mode;
    c_options.block_size = block_size;
    if (keyring != nullptr) {
      // NULL would mean a key in memory only, and nobody would notice.
      if (keyring->get() == nullptr) throw std::invalid_argument("the keyring was moved from");
      c_options.keyring = keyring->get();
    }
    c_options.metadata_budget = metadata_budget;
    return c_options;
  }
};

// An encrypted disk.
class Volume {
 public:
  static Volume create(const Backing &backing, const VolumeOptions &options = {}) {
    cmk_volume_options c_options = options.c();
    cmk_volume *volume = nullptr;
    detail::call(cmk_volume_create, backing.get(), static_cast<const cmk_volume_options *>(&c_options), &volume);
    return Volume(volume);
  }
  // In XTS mode; and the volume file, to be stored before anything is written.
  static std::pair<Volume, std::vector<std::uint8_t>> create_reopenable(const Backing &backing, const Keyring &keyring,
                                                                        std::uint32_t sector_size = 4096) {
    cmk_volume *volume = nullptr;
    cmk_buffer *file = nullptr;
    detail::call(cmk_volume_create_reopenable, backing.get(), sector_size, keyring.get(), &volume, &file);
    Volume owner(volume);
    return {std::move(owner), detail::bytes(file)};
  }
  static Volume open(const Backing &backing, Bytes volume_file, const Keyring &keyring) {
    cmk_volume *volume = nullptr;
    detail::call(cmk_volume_open, backing.get(), volume_file.data(), volume_file.size(), keyring.get(), &volume);
    return Volume(volume);
  }
  static Volume open_with_key(const Backing &backing, Bytes key, const VolumeLayout &layout) {
    cmk_volume_layout c_layout = layout.c();
    cmk_volume *volume = nullptr;
    detail::call(cmk_volume_open_with_key, backing.get(), key.data(), key.size(),
                 static_cast<const cmk_volume_layout *>(&c_layout), &volume);
    return Volume(volume);
  }

  std::uint64_t size() const noexcept { return cmk_volume_len(get()); }
  std::uint32_t mode() const noexcept { return cmk_volume_mode(get()); }
  std::uint32_t block_size() const noexcept { return cmk_volume_block_size(get()); }
  bool read_only() const noexcept { return cmk_volume_read_only(get()); }
  std::string id() const { return text(cmk_volume_id(get())); }
  std::string backing_name() const { return text(cmk_volume_backing_name(get())); }
  // Something to be told to whoever made it, or empty.
  std::string warning() const { return text(cmk_volume_warning(get())); }
  std::vector<std::string> key_ids() const {
    cmk_text_list *ids = nullptr;
    detail::call(cmk_volume_key_ids, get(), &ids);
    return detail::texts(ids);
  }

  // All of `out`; zero after a failure.
  void read(std::uint64_t offset, Span out) const {
    detail::call(cmk_volume_read, get(), offset, out.data(), out.size());
  }
  // `flags` are 0 or CMK_WRITE_DURABLE.
  void write(std::uint64_t offset, Bytes data, std::uint32_t flags = 0) const {
    detail::call(cmk_volume_write, get(), offset, data.data(), data.size(), flags);
  }
  // The same, working in `data`, in which there is no plaintext afterwards.
  void write_from(std::uint64_t offset, Span data, std::uint32_t flags = 0) const {
    detail::call(cmk_volume_write_from, get(), offset, data.data(), data.size(), flags);
  }
  void write_zeroes(std::uint64_t offset, std::uint64_t len, std::uint32_t flags = 0) const {
    detail::call(cmk_volume_write_zeroes, get(), offset, len, flags);
  }
  void discard(std::uint64_t offset, std::uint64_t len) const { detail::call(cmk_volume_discard, get(), offset, len); }
  void flush() const { detail::call(cmk_volume_flush, get()); }
  // Calls `found(offset, len, kind)`, with a CMK_EXTENT_..., for each extent, until it returns false. What it throws comes out of here.
  void extents(std::uint64_t offset, std::uint64_t len,
               const std::function<bool(std::uint64_t, std::uint64_t, std::uint32_t)> &found) const;
  cmk_volume_counters stats() const {
    cmk_volume_counters counters;
    std::memset(&counters, 0, sizeof counters);
    counters.struct_size = sizeof counters;
    detail::call(cmk_volume_stats, get(), &counters);
    return counters;
  }

  void check() const { detail::call(cmk_volume_check, get()); }
  // An empty disk again, under another key. Whether room was given back.
  bool reset() const {
    bool punched = false;
    detail::call(cmk_volume_reset, get(), &punched);
    return punched;
  }
  // After destroy(): gives the room back. Whether the backing can.
  bool discard_backing() const {
    bool punched = false;
    detail::call(cmk_volume_discard_backing, get(), &punched);
    return punched;
  }
  // Wipes the key, for all threads: what was written can't be read any more.
  void destroy() const noexcept { cmk_volume_destroy(get()); }
  bool is_destroyed() const noexcept { return cmk_volume_is_destroyed(get()); }

  const cmk_volume *get() const noexcept { return handle_.get(); }

 private:
  friend class Scratch;
  explicit Volume(cmk_volume *volume) : handle_(volume) {}
  static std::string text(const char *text) { return text == nullptr ? std::string() : std::string(text); }

  detail::Handle<cmk_volume, cmk_volume_free> handle_;
};

namespace detail {

struct Extents {
  const std::function<bool(std::uint64_t, std::uint64_t, std::uint32_t)> &found;
  std::exception_ptr thrown;
  bool stopped;
};

extern "C" {
inline std::int32_t cmkit_hpp_extent(void *userdata, std::uint64_t offset, std::uint64_t len, std::uint32_t kind) {
  auto *extents = static_cast<Extents *>(userdata);
  try {
    if (extents->found(offset, len, kind)) return 0;
    extents->stopped = true;
  } catch (...) {
    extents->thrown = std::current_exception();
  }
  return CMK_CANCEL;
}
}  // extern "C"

}  // namespace detail

inline void Volume::extents(std::uint64_t offset, std::uint64_t len,
                            const std::function<bool(std::uint64_t, std::uint64_t, std::uint32_t)> &found) const {
  detail::Extents state{found, nullptr, false};
  cmk_error *error = nullptr;
  cmk_result code = cmk_volume_extents(get(), offset, len, detail::cmkit_hpp_extent, &state, &error);
  if (state.stopped || state.thrown != nullptr) {
    cmk_error_free(error);
    if (state.thrown != nullptr) std::rethrow_exception(state.thrown);
    return;
  }
  detail::check(code, error);
}

// What one may choose about a server.
struct NbdOptions {
  std::string name;                  // the export's
  std::string description;           // for people
  std::uint32_t max_connections = 0;  // 0: 64
  std::uint32_t allowed_uid = 0;      // besides root; 0: the process's
};

// Serves a volume over NBD on a Unix socket until it goes.
class NbdServer {
 public:
  static NbdServer start(const Volume &volume, const std::string &socket, const NbdOptions &options = {}) {
    cmk_nbd_options c_options;
    std::memset(&c_options, 0, sizeof c_options);
    c_options.struct_size = sizeof c_options;
    c_options.name = detail::text(options.name);
    c_options.description = detail::text(options.description);
    c_options.max_connections = options.max_connections;
    c_options.allowed_uid = options.allowed_uid;
    cmk_nbd_server *server = nullptr;
    detail::call(cmk_nbd_server_start, volume.get(), detail::text(socket), static_cast<const cmk_nbd_options *>(&c_options), &server);
    return NbdServer(server);
  }

  std::string socket() const {
    const char *path = cmk_nbd_server_socket(get());
    return path == nullptr ? std::string() : std::string(path);
  }
  cmk_nbd_counters stats() const {
    cmk_nbd_counters counters;
    std::memset(&counters, 0, sizeof counters);
    counters.struct_size = sizeof counters;
    detail::call(cmk_nbd_server_stats, get(), &counters);
    return counters;
  }
  // Answers the requests that have come in, ends all connections and removes the socket.
  void stop() const { detail::call(cmk_nbd_server_stop, get()); }

  const cmk_nbd_server *get() const noexcept { return handle_.get(); }

 private:
  explicit NbdServer(cmk_nbd_server *server) : handle_(server) {}

  detail::Handle<cmk_nbd_server, cmk_nbd_server_free> handle_;
};

// That a scratch disk was erased.
struct ErasureRecord {
  std::string json;                       // all of it, an object in one line
  std::vector<std::string> left_behind;  // what couldn't be removed, a sentence each; unreadable all the same
  bool discarded = false;                // whether the room was given back

  // A copy.
  static ErasureRecord of(const cmk_erasure_record *record) {
    ErasureRecord result;
    if (const char *json = cmk_erasure_record_json(record)) result.json = json;
    for (std::size_t i = 0; i < cmk_erasure_record_left_behind_count(record); i++) {
      result.left_behind.emplace_back(cmk_erasure_record_left_behind(record, i));
    }
    result.discarded = cmk_erasure_record_discarded(record);
    return result;
  }
};

// What a job's disk is to be.
struct ScratchOptions {
  std::string state_dir;  // knows every job with a scratch disk
  std::string job;
  std::uint64_t size = 0;  // bytes; 0: all of a device
  std::uint32_t place = CMK_PLACE_DIR;
  std::string place_path;  // the directory, file or device; empty: the directory for temporary files
  bool overwrite = false;  // whether a device with something on it is taken
  VolumeOptions volume;
  std::uint32_t expose = CMK_EXPOSE_NOTHING;
  std::string expose_path;  // the socket, or an empty directory; empty: one in the state directory
  std::uint32_t file_system = CMK_FILE_SYSTEM_EXT4;
  std::uint32_t owner_uid = 0, owner_gid = 0;  // of a mount's root directory
};

// A job's scratch disk. When it goes without an end, its key is destroyed at once.
class Scratch {
 public:
  static Scratch begin(const ScratchOptions &options) {
    cmk_volume_options volume = options.volume.c();
    cmk_scratch_options c_options;
    std::memset(&c_options, 0, sizeof c_options);
    c_options.struct_size = sizeof c_options;
    c_options.state_dir = detail::text(options.state_dir);
    c_options.job = detail::text(options.job);
    c_options.size = options.size;
    c_options.place = options.place;
    c_options.place_path = optional(options.place_path);
    c_options.overwrite = options.overwrite ? 1 : 0;
    c_options.volume = &volume;
    c_options.expose = options.expose;
    c_options.expose_path = optional(options.expose_path);
    c_options.file_system = options.file_system;
    c_options.owner_uid = options.owner_uid;
    c_options.owner_gid = options.owner_gid;
    cmk_scratch *scratch = nullptr;
    detail::call(cmk_scratch_begin, static_cast<const cmk_scratch_options *>(&c_options), &scratch);
    return Scratch(scratch);
  }

  // Where the job finds it; empty if it isn't exposed.
  std::string path() const {
    const char *path = cmk_scratch_path(get());
    return path == nullptr ? std::string() : std::string(path);
  }
  // The disk itself, for this process. It ends nothing when it goes.
  Volume volume() const {
    cmk_volume *volume = nullptr;
    detail::call(cmk_scratch_volume, get(), &volume);
    return Volume(volume);
  }
  // Waits for users of a mount until the deadline, then destroys the key whatever happened.
  ErasureRecord end(std::chrono::milliseconds deadline, const std::string &how = "ended") const {
    cmk_erasure_record *record = nullptr;
    detail::call(cmk_scratch_end, get(), detail::milliseconds(deadline), detail::text(how), &record);
    detail::Handle<cmk_erasure_record, cmk_erasure_record_free> owner(record);
    return ErasureRecord::of(record);
  }

  const cmk_scratch *get() const noexcept { return handle_.get(); }

 private:
  explicit Scratch(cmk_scratch *scratch) : handle_(scratch) {}
  static const char *optional(const std::string &path) { return path.empty() ? nullptr : detail::text(path); }

  detail::Handle<cmk_scratch, cmk_scratch_free> handle_;
};

// A job whose owner died.
struct Recovered {
  std::string job;
  ErasureRecord record;        // empty if there is an error
  std::optional<Error> error;  // why it couldn't be looked at
};

// Cleans up after every job whose owner died. For a daemon's start.
inline std::vector<Recovered> recover(const std::string &state_dir) {
  cmk_recovery *recovery = nullptr;
  detail::call(cmk_scratch_recover, detail::text(state_dir), &recovery);
  detail::Handle<cmk_recovery, cmk_recovery_free> owner(recovery);
  std::vector<Recovered> result;
  for (std::size_t i = 0; i < cmk_recovery_len(recovery); i++) {
    Recovered job;
    job.job = cmk_recovery_job(recovery, i);
    job.record = ErasureRecord::of(cmk_recovery_record(recovery, i));
    if (const cmk_error *error = cmk_recovery_error(recovery, i)) job.error = Error::copy(error);
    result.push_back(std::move(job));
  }
  return result;
}

// What became of protect_process.
struct Protection {
  bool memory_locked = false;
  bool core_dumps_off = false;
  std::vector<std::string> warnings;
};

// Keeps this process's memory off disks. Both arguments are a CMK_PROTECT_...; before there are keys.
inline Protection protect_process(std::uint32_t memory = CMK_PROTECT_BEST_EFFORT,
                                  std::uint32_t core_dumps = CMK_PROTECT_BEST_EFFORT) {
  Protection result;
  cmk_text_list *warnings = nullptr;
  detail::call(cmk_protect_process, memory, core_dumps, &result.memory_locked, &result.core_dumps_off, &warnings);
  result.warnings = detail::texts(warnings);
  return result;
}

}  // namespace cmkit

#endif  // CMKIT_SCRATCH_HPP
