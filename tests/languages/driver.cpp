// The C++ face for the cross-language tests; its arguments are those of driver.c.
#include <cmkit.hpp>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

int main(int argc, char **argv) try {
  if (argc < 8 || argc % 2 != 0) return 2;
  const std::string how = argv[1], store = argv[3], workspace = argv[4];
  const auto keys = cmkit::LocalKeys::open(argv[2]);
  cmkit::Keyring::Builder builder;
  builder.add(keys);
  if (store != "-") builder.key_store_directory(store);
  if (workspace != "-") builder.workspace(workspace);
  std::stringstream list(argv[5]);
  for (std::string key; std::getline(list, key, ',');) {
    if (how == "open")
      builder.allow_key(key);
    else
      builder.wrap_with(key);
  }
  const cmkit::Keyring keyring = builder.build();

  std::vector<std::pair<std::string, std::string>> pairs;
  for (int i = 8; i + 1 < argc; i += 2) pairs.emplace_back(argv[i], argv[i + 1]);
  const cmkit::Context context(pairs.begin(), pairs.end());

  std::ifstream in(argv[6], std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const auto result = how == "open"   ? keyring.decrypt(bytes, context)
                      : how == "seal" ? keyring.encrypt(bytes, context)
                                      : keyring.encrypt_compact(bytes, context);
  std::ofstream out(argv[7], std::ios::binary);
  out.write(reinterpret_cast<const char *>(result.data()), static_cast<std::streamsize>(result.size()));
  return out.good() ? 0 : 3;
} catch (const cmkit::Error &error) {
  std::cerr << error.code_name() << " " << error.what() << "\n";
  return 1;
}
