/* Times `cmk_keyring_encrypt` on 1 KiB documents under a cached data key.
 *
 *   call COUNT      prints the nanoseconds of one call
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmkit.h"

static void must(cmk_result result, cmk_error *error)
{
    if (result != CMK_OK) {
        fprintf(stderr, "call: %s\n", cmk_error_message(error));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: call COUNT\n");
        return 2;
    }
    long count = strtol(argv[1], NULL, 10);
    char dir[] = "/tmp/cmkit-bench-XXXXXX";
    if (mkdtemp(dir) == NULL) {
        perror("mkdtemp");
        return 1;
    }
    char keys[64];
    snprintf(keys, sizeof keys, "%s/keys", dir);

    cmk_error *error = NULL;
    cmk_local_provider *provider = NULL;
    cmk_keyring_builder *builder = NULL;
    cmk_keyring *keyring = NULL;
    cmk_context *context = NULL;
    const cmk_pair pair = CMK_PAIR("doc", "42");
    must(cmk_local_provider_open_or_create(keys, &provider, &error), error);
    must(cmk_local_provider_create_key(provider, "bench", CMK_KEY_TYPE_OCT_256, NULL, 0, &error), error);
    must(cmk_keyring_builder_new(&builder, &error), error);
    must(cmk_keyring_builder_add_local(builder, provider, &error), error);
    must(cmk_keyring_builder_wrap_with(builder, "local:bench", &error), error);
    must(cmk_keyring_builder_build(builder, &keyring, &error), error);
    must(cmk_context_new(&pair, 1, &context, &error), error);

    uint8_t plaintext[1024], out[2048];
    memset(plaintext, 7, sizeof plaintext);
    size_t len = 0;
    struct timespec start, end;
    for (long warm = 0; warm < 1000; warm++)
        must(cmk_keyring_encrypt(keyring, plaintext, sizeof plaintext, context, out, sizeof out, &len, &error), error);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long i = 0; i < count; i++)
        must(cmk_keyring_encrypt(keyring, plaintext, sizeof plaintext, context, out, sizeof out, &len, &error), error);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double ns = (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
    printf("%f\n", ns / (double)count);

    cmk_context_free(context);
    cmk_keyring_free(keyring);
    cmk_keyring_builder_free(builder);
    cmk_local_provider_free(provider);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : 1;
}
