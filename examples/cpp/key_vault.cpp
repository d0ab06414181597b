// A document under a key in Azure Key Vault: key_vault https://VAULT.vault.azure.net/keys/NAME. It signs in as whatever the environment has, and leaves a line
// for each operation of the vault in audit.jsonl.
#include <cmkit.hpp>
#include <iostream>

static void run(const std::string &key) {
  cmkit::KeyVault vault = cmkit::KeyVault::Builder().key(key).build();
  cmkit::Keyring keyring = cmkit::Keyring::Builder().add(vault).wrap_with(key).audit_file("audit.jsonl").build();
  cmkit::Maintenance maintenance = keyring.start_maintenance();

  std::vector<std::uint8_t> envelope = keyring.encrypt("attack at dawn", {{"doc", "42"}});
  std::vector<std::uint8_t> back = keyring.decrypt(envelope, {{"doc", "42"}});
  std::cout << std::string(back.begin(), back.end()) << "\n";
}

int main(int argc, char **argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " https://VAULT.vault.azure.net/keys/NAME\n";
    return 2;
  }
  try {
    run(argv[1]);
  } catch (const cmkit::Error &error) {
    std::cerr << error.code_name() << ": " << error.what() << "\n";
    return 1;
  }
}
