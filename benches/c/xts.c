/* OpenSSL's AES-256-XTS over 1 MiB in units of 4096 bytes, whose number is the IV: prints the nanoseconds of one pass.
 * Arguments: passes, "encrypt" or "decrypt". */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LEN = 1 << 20, UNIT = 4096 };

static unsigned char data[LEN];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  const long passes = atol(argv[1]);
  const int encrypt = strcmp(argv[2], "encrypt") == 0;
  unsigned char key[64], iv[16] = {0};
  for (int i = 0; i < 64; i++) key[i] = (unsigned char)i;
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  if (!ctx || !EVP_CipherInit_ex(ctx, EVP_aes_256_xts(), NULL, key, iv, encrypt)) return 1;
  const double start = now();
  for (long pass = 0; pass < passes; pass++) {
    for (int unit = 0; unit < LEN / UNIT; unit++) {
      int out = 0;
      const unsigned number = (unsigned)unit * (UNIT / 512);
      memcpy(iv, &number, sizeof number);
      if (!EVP_CipherInit_ex(ctx, NULL, NULL, NULL, iv, encrypt)) return 1;
      if (!EVP_CipherUpdate(ctx, data + unit * UNIT, &out, data + unit * UNIT, UNIT)) return 1;
    }
  }
  printf("%.1f\n", (now() - start) / (double)passes);
  EVP_CIPHER_CTX_free(ctx);
  return 0;
}
