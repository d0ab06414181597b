// The C++ classes for customer-managed keys: vaults, audit, maintenance, rotation, census.
#include <ctime>
#include <map>
#include <set>

#include "cmkit.hpp"
#include "fake_vault.h"

static fake_vault fake;
static const std::string key = "https://" VAULT_HOST "/keys/kek";
static std::string first;

using Data = std::vector<std::uint8_t>;

// A new key in a vault where nothing else is.
static void begin() {
  char id[256];
  fake_order(&fake, "reset", "{}");
  fake_key(&fake, "create_key", "kek", id, sizeof id);
  first = id;
}

static cmkit::KeyVault by_secret() {
  return cmkit::KeyVault::Builder()
      .key(key)
      .ca_file(fake.ca_file)
      .client_secret(fake.tenant_id, fake.client_id, fake.client_secret)
      .timeout(std::chrono::seconds(20))
      .build();
}

static cmkit::Keyring keyring_of(const cmkit::KeyVault &vault) {
  return cmkit::Keyring::Builder().add(vault).wrap_with(key).call_timeout(std::chrono::seconds(20)).build();
}

static void vaults_and_errors() {
  begin();
  cmkit::KeyVault vault = by_secret();
  CHECK(!vault.identity().empty() && vault.identity().find(fake.client_secret) == std::string::npos);
  Data envelope = keyring_of(vault).encrypt("text");
  CHECK(keyring_of(vault).decrypt(envelope) == (Data{'t', 'e', 'x', 't'}));

  fake_order(&fake, "deny", "{\"op\":\"unwrap\"}");
  bool caught = false;
  try {
    keyring_of(vault).decrypt(envelope);
  } catch (const cmkit::Error &error) {
    caught = error.code() == CMK_ERR_ACCESS_DENIED && error.http_status() == 403 && error.key_id() == first;
    CHECK(error.provider_code() == "ForbiddenByRbac" && error.client_request_id().size() == 36);
    CHECK(error.request_id().size() == 36 && !error.region().empty());
  }
  CHECK(caught);
  cmkit::DoctorReport report = vault.doctor(key);
  CHECK(!report.is_healthy && report.rows.size() == 11 && report.text.find("FAIL") != std::string::npos);
  fake_order(&fake, "allow", "{\"op\":\"unwrap\"}");
  report = vault.doctor(key);
  CHECK(report.is_healthy && report.is_verified && report.key == first && report.rows[0].outcome == CMK_DOCTOR_PASS);
}

// Counts down when it goes.
struct Guard {
  int *alive;
  explicit Guard(int *counter) : alive(counter) { ++*alive; }
  Guard(const Guard &other) : alive(other.alive) { ++*alive; }
  Guard &operator=(const Guard &) = delete;
  ~Guard() { --*alive; }
};

static void functions() {
  begin();
  int alive = 0, tokens = 0;
  bool broken = false;
  std::multiset<std::string> events;
  {
    Guard guard(&alive);
    cmkit::KeyVault vault =
        cmkit::KeyVault::Builder()
            .key(key)
            .ca_file(fake.ca_file)
            .tokens("badge",
                    [guard, &tokens, &broken](const cmkit::TokenRequest &request) {
                      char text[4096];
                      if (broken) throw std::runtime_error("the badge reader is closed");
                      tokens++;
                      CHECK(request.resource == "https://vault.azure.net" && request.claims.empty());
                      const char *head =
                          "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";
                      json_string(fake_http(&fake, head, ""), "access_token", text, sizeof text);
                      return cmkit::Token{text, static_cast<std::uint64_t>(std::time(nullptr)) + 3600};
                    })
            .build();
    cmkit::Keyring keyring = cmkit::Keyring::Builder()
                                 .add(vault)
                                 .wrap_with(key)
                                 .soft(std::chrono::minutes(1))
                                 .hard(std::chrono::minutes(2))
                                 .failover(std::chrono::hours(1))
                                 .poll(std::chrono::hours(1))
                                 .audit([guard, &events](const cmkit::AuditEvent &event) {
                                   events.insert(event.operation_name);
                                   if (event.operation == CMK_AUDIT_WRAP) throw std::runtime_error("dropped");
                                 })
                                 .audit_file(scratch("audit.jsonl"))
                                 .high_business_impact()
                                 .build();
    Data envelope = keyring.encrypt("x");
    CHECK(keyring.decrypt(envelope) == Data{'x'});
    CHECK(tokens == 1 && events.count("wrap") == 1 && alive > 1);
    cmkit::MaintenanceRound round = keyring.maintain();
    CHECK(round.next >= std::chrono::seconds(1) && round.problems.empty());
    auto thread = keyring.start_maintenance();
    broken = true;
    fake_order(&fake, "revoke_tokens", "{}");
    bool caught = false;
    try {
      static_cast<void>(keyring.rotation());
    } catch (const cmkit::Error &error) {
      caught = error.code() == CMK_ERR_IDENTITY && std::string(error.what()).find("the badge reader is closed") != std::string::npos;
    }
    CHECK(caught);
  }
  // The thread may hold the keyring for a moment.
  for (int waited = 0; alive > 0 && waited < 300; waited++) usleep(100000);
  CHECK(alive == 0);
  auto refused = [](auto body) {
    try {
      body();
      return false;
    } catch (const std::invalid_argument &) {
      return true;
    }
  };
  CHECK(refused([] { cmkit::KeyVault::Builder().tokens("x", {}); }));
  CHECK(refused([] { cmkit::Keyring::Builder().audit({}); }));
  CHECK(refused([] { cmkit::Keyring::Builder().soft(std::chrono::seconds(-1)); }));
  CHECK(refused([] { cmkit::KeyVault::Builder().key(std::string("a\0b", 3)); }));
}

static void rotation_and_census() {
  begin();
  char id[256];
  cmkit::KeyVault vault = by_secret();
  cmkit::Keyring keyring = cmkit::Keyring::Builder()
                               .add(vault)
                               .wrap_with(key)
                               .key_store_directory(scratch("store"))
                               .call_timeout(std::chrono::seconds(20))
                               .build();
  Data envelope = keyring.encrypt("x");
  keyring.encrypt_compact("x");
  const std::string plain = scratch("plain"), sealed = scratch("sealed.cmk"), missing = scratch("missing");
  FILE *file = std::fopen(plain.c_str(), "w");
  CHECK(file != nullptr && std::fputs("text", file) >= 0 && std::fclose(file) == 0);
  keyring.encrypt_file(plain, sealed);
  fake_key(&fake, "rotate", "kek", id, sizeof id);

  cmkit::Rotation rotation = keyring.rotation();
  CHECK(rotation.newest().size() == 1 && rotation.newest()[0].key_id == id && rotation.newest()[0].created > 1600000000);
  cmkit::Rotated rotated = rotation.rotate(envelope);
  CHECK(rotated.outcome == CMK_ROTATE_ADDED && rotated.old_kept_until > 0 && keyring.decrypt(*rotated.envelope) == Data{'x'});
  CHECK(!rotation.rotate(*rotated.envelope).envelope);
  cmkit::RotateOptions options;
  options.keep_old = std::chrono::seconds(0);
  cmkit::Rotation at_once = keyring.rotation(options);
  options.dry_run = true;
  CHECK(keyring.rotation(options).rotate_file(sealed).written == 0);
  CHECK(at_once.rotate_file(sealed).outcome == CMK_ROTATE_REPLACED);
  std::map<std::string, std::uint32_t> seen;
  std::vector<cmk_result> errors;
  at_once.rotate_paths({sealed, missing}, [&](const std::string &path, const cmkit::RotatedFile &result) {
    seen[path] = result.outcome;
    if (result.error) errors.push_back(result.error->code());
    return true;
  });
  CHECK(seen[sealed] == CMK_ROTATE_UP_TO_DATE && seen[missing] == 0 && errors == std::vector<cmk_result>{CMK_ERR_IO});
  int rows = 0;
  at_once.rotate_key_store([&](cmkit::Bytes row, const cmkit::RotatedFile &result) {
    CHECK(row.size() == 16 && result.outcome == CMK_ROTATE_REPLACED);
    rows++;
    return true;
  });
  CHECK(rows == 1);
  bool thrown = false;
  try {
    at_once.rotate_key_store([](cmkit::Bytes, const cmkit::RotatedFile &) -> bool { throw std::length_error("stop"); });
  } catch (const std::length_error &) {
    thrown = true;
  }
  CHECK(thrown);

  cmkit::Census census = keyring.census();
  census.add_envelope(envelope).add_file(sealed).add_key_store(keyring).add_path(scratch("store"));
  cmkit::CensusCount count = census.count();
  CHECK(count.headers == 4 && count.rows == 2 && count.versions.size() == 2 && count.unreadable.empty());
  cmkit::Verdict verdict = census.safe_to_disable(first, rotation);
  CHECK(!verdict.is_yes && verdict.reasons.size() == 2);
  census.add_unreadable("row 7", "the table is gone");
  CHECK(census.count().unreadable[0].first == "row 7");
  CHECK(census.safe_to_disable(first, rotation).reasons.size() == 3);
  thrown = false;
  try {
    census.add_path(scratch("store"), [](const std::string &) { return false; });
  } catch (const cmkit::Error &error) {
    thrown = error.code() == CMK_ERR_CANCELLED;
  }
  CHECK(thrown);
}

// A remote provider of one's own; the "wrapping" hides nothing.
class Remote : public cmkit::Provider {
 public:
  bool is_gone = false;

  std::string name() const override { return "remote"; }
  bool is_remote() const noexcept override { return true; }
  cmkit::WrappedKey wrap(std::string_view, cmkit::Bytes plaintext) override {
    return {id(), CMK_WRAP_A256KW, Data(plaintext.data(), plaintext.data() + plaintext.size())};
  }
  Data unwrap(std::string_view, std::int32_t, cmkit::Bytes wrapped) override {
    if (is_gone) throw cmkit::ProviderFailure(CMK_ERR_KEY_DISABLED, "it was taken away");
    return Data(wrapped.data(), wrapped.data() + wrapped.size());
  }
  std::optional<cmkit::NewestKey> newest(std::string_view name) override {
    CHECK(name == "remote:team");
    if (is_gone) throw cmkit::ProviderFailure(CMK_ERR_KEY_DISABLED, "it was taken away");
    return cmkit::NewestKey{id(), 0};
  }

 private:
  static std::string id() { return "remote:team/0123456789abcdef0123456789abcdef"; }
};

static cmk_result code_of_rotation(const cmkit::Keyring &keyring) {
  try {
    static_cast<void>(keyring.rotation());
    return CMK_OK;
  } catch (const cmkit::Error &error) {
    return error.code();
  }
}

static void a_remote_provider() {
  auto owned = std::make_unique<Remote>();
  Remote *remote = owned.get();
  cmkit::Keyring keyring = cmkit::Keyring::Builder().add(std::move(owned)).wrap_with("remote:team").build();
  Data envelope = keyring.encrypt("x");
  CHECK(keyring.rotation().newest()[0].created == 0);
  CHECK(keyring.decrypt(envelope) == Data{'x'});
  remote->is_gone = true;
  CHECK(keyring.decrypt(envelope) == Data{'x'});  // nobody has asked
  CHECK(code_of_rotation(keyring) == CMK_ERR_KEY_DISABLED);
  bool refused = false;
  try {
    keyring.decrypt(envelope);
  } catch (const cmkit::Error &error) {
    refused = error.code() == CMK_ERR_KEY_DISABLED;
  }
  CHECK(refused);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  fake_start(&fake);
  vaults_and_errors();
  functions();
  rotation_and_census();
  a_remote_provider();
  fake_stop(&fake);
  return 0;
}
