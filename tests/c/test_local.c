/* Looking after the keys of a directory. */
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

/* Whether the version is in the state, as the list says it. */
static bool is(const cmk_local_provider *provider, const char *id, const char *state, bool newest) {
  cmk_error *e = NULL;
  cmk_key_list *list = NULL;
  bool found = false;
  OK(cmk_local_provider_list(provider, &list, &e), e);
  for (size_t i = 0; i < cmk_key_list_len(list); i++) {
    if (strcmp(cmk_key_list_id(list, i), id) != 0) continue;
    found = strcmp(cmk_key_list_state(list, i), state) == 0 && cmk_key_list_newest(list, i) == newest &&
            cmk_key_list_type(list, i) == CMK_KEY_TYPE_OCT_256 && !cmk_key_list_public_only(list, i) &&
            cmk_key_list_created(list, i) > 1700000000;
  }
  CHECK(cmk_key_list_id(list, cmk_key_list_len(list)) == NULL);
  cmk_key_list_free(list);
  return found;
}

static void a_life(void) {
  cmk_error *e = NULL;
  cmk_local_provider *provider = NULL;
  char first[CMK_KEY_ID_CAPACITY], second[CMK_KEY_ID_CAPACITY], none[CMK_KEY_ID_CAPACITY];
  FAILS(cmk_local_provider_open(scratch("life"), &provider, &e), CMK_ERR_KEY_NOT_FOUND, e);
  CHECK(provider == NULL);
  OK(cmk_local_provider_open_or_create(scratch("life"), &provider, &e), e);
  struct stat facts;
  CHECK(stat(scratch("life"), &facts) == 0 && (facts.st_mode & 077) == 0);

  FAILS(cmk_local_provider_create_key(provider, "../x", CMK_KEY_TYPE_OCT_256, NULL, 0, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_local_provider_create_key(provider, "a", 99, NULL, 0, &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_local_provider_create_key(provider, "a", CMK_KEY_TYPE_OCT_256, first, 10, &e), CMK_ERR_BUFFER_TOO_SMALL, e);
  OK(cmk_local_provider_create_key(provider, "a", CMK_KEY_TYPE_OCT_256, first, sizeof first, &e), e);
  CHECK(strncmp(first, "local:a/", 8) == 0 && strlen(first) == 40);
  FAILS(cmk_local_provider_create_key(provider, "a", CMK_KEY_TYPE_OCT_256, NULL, 0, &e), CMK_ERR_ALREADY_EXISTS, e);
  bool created = true;
  OK(cmk_local_provider_create_key_if_absent(provider, "a", CMK_KEY_TYPE_OCT_256, &created, none, sizeof none, &e), e);
  CHECK(!created && none[0] == 0);
  OK(cmk_local_provider_rotate(provider, "a", second, sizeof second, &e), e);
  CHECK(strcmp(first, second) != 0);
  CHECK(is(provider, first, "enabled", false) && is(provider, second, "enabled", true));
  FAILS(cmk_local_provider_rotate(provider, "b", NULL, 0, &e), CMK_ERR_KEY_NOT_FOUND, e);

  OK(cmk_local_provider_disable(provider, second, &e), e);
  CHECK(is(provider, second, "disabled", true));
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  OK(cmk_keyring_builder_new(&builder, &e), e);
  OK(cmk_keyring_builder_add_local(builder, provider, &e), e);
  OK(cmk_keyring_builder_wrap_with(builder, "local:a", &e), e);
  OK(cmk_keyring_builder_build(builder, &keyring, &e), e);
  cmk_keyring_builder_free(builder);
  size_t len = 0;
  uint8_t out[400];
  FAILS(cmk_keyring_encrypt(keyring, out, 1, NULL, out + 10, 390, &len, &e), CMK_ERR_KEY_DISABLED, e);
  OK(cmk_local_provider_enable(provider, second, &e), e);
  OK(cmk_keyring_encrypt(keyring, out, 1, NULL, out + 10, 390, &len, &e), e);
  /* Disabled under a keyring that has its data key cached: at once, through the same provider. */
  OK(cmk_local_provider_disable(provider, second, &e), e);
  uint8_t text[1];
  size_t text_len = 0;
  FAILS(cmk_keyring_decrypt(keyring, out + 10, len, NULL, text, 1, &text_len, &e), CMK_ERR_KEY_DISABLED, e);
  FAILS(cmk_local_provider_disable(provider, "local:a", &e), CMK_ERR_INVALID_ARGUMENT, e);
  FAILS(cmk_local_provider_enable(provider, "local:a/00000000000000000000000000000000", &e), CMK_ERR_KEY_NOT_FOUND, e);
  cmk_keyring_free(keyring);
  cmk_local_provider_free(provider);
}

static void open_modes_are_refused(void) {
  cmk_error *e = NULL;
  cmk_local_provider *provider = NULL;
  OK(cmk_local_provider_open_or_create(scratch("open"), &provider, &e), e);
  OK(cmk_local_provider_create_key(provider, "a", CMK_KEY_TYPE_OCT_256, NULL, 0, &e), e);
  CHECK(chmod(scratch("open"), 0755) == 0);
  FAILS(cmk_local_provider_create_key(provider, "b", CMK_KEY_TYPE_OCT_256, NULL, 0, &e), CMK_ERR_ACCESS_DENIED, e);
  cmk_local_provider_free(provider);
  FAILS(cmk_local_provider_open(scratch("open"), &provider, &e), CMK_ERR_ACCESS_DENIED, e);
}

static void the_default_directory(void) {
  cmk_error *e = NULL;
  cmk_buffer *dir = NULL;
  const char *home = scratch("home");
  CHECK(setenv("CMKIT_HOME", home, 1) == 0);
  OK(cmk_default_dir(&dir, &e), e);
  CHECK(strcmp((const char *)cmk_buffer_data(dir), home) == 0 && cmk_buffer_len(dir) == strlen(home));
  cmk_buffer_free(dir);
  CHECK(access(home, F_OK) != 0);

  cmk_local_provider *provider = NULL;
  FAILS(cmk_local_provider_open(NULL, &provider, &e), CMK_ERR_KEY_NOT_FOUND, e);
  cmk_keyring *keyring = NULL;
  OK(cmk_keyring_local(&keyring, &e), e);
  size_t len = 0, back = 0;
  uint8_t *sealed = seal(keyring, (const uint8_t *)"x", 1, NULL, &len), out[1];
  OK(cmk_keyring_decrypt(keyring, sealed, len, NULL, out, 1, &back, &e), e);
  OK(cmk_local_provider_open(NULL, &provider, &e), e);
  cmk_local_provider_free(provider);
  free(sealed);
  cmk_keyring_free(keyring);
}

int main(int argc, char **argv) {
  BEGIN(argc, argv);
  a_life();
  open_modes_are_refused();
  the_default_directory();
  return 0;
}
