/* Runs a command beside a fake vault that has the key "node": with NODE_KEY, NODE_CA_FILE and the variables of a client secret.
 *
 *   with_fake_vault COMMAND...          runs it; ends with its exit code
 *   with_fake_vault --enabled 0 or 1    in that command: the key's owner disables or enables the key
 */
#include "fake_vault.h"

int main(int argc, char **argv) {
  struct fake_vault fake;
  char id[256], port[16];
  memset(&fake, 0, sizeof fake);
  CHECK(argc > 1);
  if (strcmp(argv[1], "--enabled") == 0) {
    const char *told = getenv("FAKE_PORT"), *version = getenv("FAKE_VERSION");
    CHECK(argc == 3 && told != NULL && version != NULL);
    fake.port = atoi(told);
    fake_enable(&fake, "node", version, strcmp(argv[2], "1") == 0);
    return 0;
  }
  fake_start(&fake);
  fake_key(&fake, "create_key", "node", id, sizeof id);
  snprintf(port, sizeof port, "%d", fake.port);
  setenv("FAKE_PORT", port, 1);
  setenv("FAKE_VERSION", id, 1);
  setenv("NODE_KEY", "https://" VAULT_HOST "/keys/node", 1);
  setenv("NODE_CA_FILE", fake.ca_file, 1);
  setenv("AZURE_TENANT_ID", fake.tenant_id, 1);
  setenv("AZURE_CLIENT_ID", fake.client_id, 1);
  setenv("AZURE_CLIENT_SECRET", fake.client_secret, 1);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    close(fake.in);
    execvp(argv[1], argv + 1);
    _exit(127);
  }
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid);
  fake_stop(&fake);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
