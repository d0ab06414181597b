// Encrypts a record under a key of one's own, and decrypts it again: `encrypt KEY-DIRECTORY`.
#include <cmkit.hpp>
#include <iostream>

int main(int argc, char **argv) try {
  // The keys of the user, or of a directory: back it up.
  auto keys = argc > 1 ? cmkit::LocalKeys::open_or_create(argv[1]) : cmkit::LocalKeys::open_or_create();
  keys.create_key_if_absent("team");
  cmkit::Keyring keyring = cmkit::Keyring::Builder().add(keys).wrap_with("local:team").build();

  cmkit::Context context{{"doc", "42"}};
  std::vector<std::uint8_t> envelope = keyring.encrypt("attack at dawn", context);
  std::vector<std::uint8_t> back = keyring.decrypt(envelope, context);
  std::cout << std::string(back.begin(), back.end()) << "\n";
} catch (const cmkit::Error &error) {
  std::cerr << error.code_name() << ": " << error.what() << "\n";
  return 1;
}
