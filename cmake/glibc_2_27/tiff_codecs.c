/* Debian's libtiff.a knows every codec and so wants a library for each. A package's tool reads what cameras and maps
 * are made of (none, LZW, PackBits, Deflate, JPEG, fax); the others are answered here, before the linker looks into
 * libtiff.a, with a sentence. JBIG's library is under the GPL, which Vireo is not. */
#include <tiffio.h>

#define NOT_HERE(function, name)                                                                   \
  int function(TIFF* tiff, int scheme);                                                            \
  int function(TIFF* tiff, int scheme) {                                                           \
    (void)scheme;                                                                                  \
    TIFFErrorExt(TIFFClientdata(tiff), "TIFF", name " compression is not in this build of Vireo"); \
    return 0;                                                                                      \
  }

NOT_HERE(TIFFInitJBIG, "JBIG")
NOT_HERE(TIFFInitLZMA, "LZMA")
NOT_HERE(TIFFInitZSTD, "Zstandard")
NOT_HERE(TIFFInitWebP, "WebP")
