/* Encrypts a record under a key of one's own, and decrypts it again: `encrypt KEY-DIRECTORY`. */
#include <cmkit.h>
#include <stdio.h>

int main(int argc, char **argv) {
  const char text[] = "attack at dawn";
  unsigned char envelope[1024], back[sizeof text];
  size_t len = 0;
  cmk_local_provider *keys = NULL;
  cmk_keyring_builder *builder = NULL;
  cmk_keyring *keyring = NULL;
  cmk_context *context = NULL;
  cmk_error *error = NULL;
  cmk_pair doc = CMK_PAIR("doc", "42");

  /* The keys of the user, or of a directory: back it up. */
  if (cmk_local_provider_open_or_create(argc > 1 ? argv[1] : NULL, &keys, &error) ||
      cmk_local_provider_create_key_if_absent(keys, "team", CMK_KEY_TYPE_OCT_256, NULL, NULL, 0, &error) ||
      cmk_keyring_builder_new(&builder, &error) ||
      cmk_keyring_builder_add_local(builder, keys, &error) ||
      cmk_keyring_builder_wrap_with(builder, "local:team", &error) ||
      cmk_keyring_builder_build(builder, &keyring, &error) ||
      cmk_context_new(&doc, 1, &context, &error) ||
      cmk_keyring_encrypt(keyring, (const uint8_t *)text, sizeof text, context, envelope, sizeof envelope, &len, &error) ||
      cmk_keyring_decrypt(keyring, envelope, len, context, back, sizeof back, &len, &error)) {
    fprintf(stderr, "%s: %s\n", cmk_result_name(cmk_error_code(error)), cmk_error_message(error));
  } else {
    printf("%s\n", (const char *)back);
  }

  int failed = error != NULL;
  cmk_error_free(error);
  cmk_context_free(context);
  cmk_keyring_free(keyring);
  cmk_keyring_builder_free(builder);
  cmk_local_provider_free(keys);
  return failed;
}
