/* The header by itself, as C11 and as C++17. */
#include "cmkit.h"
#include "cmkit.h"

int cmkit_header_is_usable(void);
int cmkit_header_is_usable(void) {
  cmk_pair pairs[] = {CMK_PAIR("key", "value")};
  int algorithm = CMK_WRAP_A256KW;
  return sizeof pairs > 0 && algorithm == -5 && CMK_LEN_UNKNOWN == UINT64_MAX ? CMK_OK : 1;
}
