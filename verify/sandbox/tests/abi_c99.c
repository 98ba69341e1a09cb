/* The C header compiled as C99, with and beside DLPack's own. */
#include <plumb/abi.h>

int plumb_abi_is_c99(void) {
  return PLUMB_ABI_VERSION == 1 && sizeof(plumb_tensor) == sizeof(plumb_dl_tensor) + 8;
}
