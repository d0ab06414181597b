// A key provider of one's own, streams and random access: `provider FILE`.
//
// The provider here keeps its key in a variable and wraps by XOR, which protects nothing: a real one calls an HSM or a vault.
#include <algorithm>
#include <array>
#include <cmkit.hpp>
#include <fstream>
#include <iostream>

namespace {

class Toy : public cmkit::Provider {
 public:
  std::string name() const override { return "toy"; }

  cmkit::WrappedKey wrap(std::string_view key, cmkit::Bytes plaintext) override {
    if (key.substr(0, 8) != "toy:only") throw cmkit::ProviderFailure(CMK_ERR_KEY_NOT_FOUND, "there is only toy:only");
    return {"toy:only/00000000000000000000000000000001", CMK_WRAP_A256KW, mask(plaintext)};
  }

  std::vector<std::uint8_t> unwrap(std::string_view, std::int32_t, cmkit::Bytes wrapped) override { return mask(wrapped); }

 private:
  static std::vector<std::uint8_t> mask(cmkit::Bytes bytes) {
    std::vector<std::uint8_t> out(bytes.data(), bytes.data() + bytes.size());
    for (auto &byte : out) byte ^= 0x5A;
    return out;
  }
};

}  // namespace

int main(int argc, char **argv) try {
  std::string path = argc > 1 ? argv[1] : "numbers.cmk";
  cmkit::Keyring keyring = cmkit::Keyring::Builder().add(std::make_unique<Toy>()).wrap_with("toy:only").build();

  // A stream into anything that takes bytes. Without finish() nobody accepts it.
  std::ofstream file(path, std::ios::binary);
  cmkit::Encryptor encryptor(keyring, [&](cmkit::Bytes bytes) {
    file.write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!file) throw std::runtime_error("cannot write");
  });
  for (int number = 0; number < 100000; number++) {
    std::string line = std::to_string(number + 1000000) + "\n";
    encryptor.write(line);
  }
  encryptor.finish();
  file.close();

  // Any part of it, without the rest.
  auto reader = cmkit::Reader::open_file(keyring, path);
  std::array<char, 7> line{};
  reader.read_at(8 * 77777, line);
  std::cout << std::string(line.data(), line.size()) << " of " << reader.size() << " bytes\n";
  return std::string(line.data(), line.size()) == "1077777" ? 0 : 1;
} catch (const std::exception &error) {
  std::cerr << error.what() << "\n";
  return 1;
}
