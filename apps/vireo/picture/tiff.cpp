// TIFF through libtiff: the first page, in the layouts that Pillow reads.
#include "format.h"

#ifdef VIREO_HAVE_TIFF

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <limits>
#include <memory>

#include <tiffio.h>

namespace cli::picture {
namespace {

using vireo::Result;

// ------------------------------------------------------------------------------------------------ libtiff on memory

struct Memory {
  const File& file;
  uint64_t at = 0;
};

tmsize_t on_read(thandle_t handle, void* to, tmsize_t count) {
  auto* m = static_cast<Memory*>(handle);
  const uint64_t left = m->file.size - std::min<uint64_t>(m->at, m->file.size);
  const size_t n = size_t(std::min<uint64_t>(left, uint64_t(std::max<tmsize_t>(count, 0))));
  if (n > 0) std::memcpy(to, m->file.data + m->at, n);
  m->at += n;
  return tmsize_t(n);
}
tmsize_t on_write(thandle_t, void*, tmsize_t) { return 0; }
toff_t on_seek(thandle_t handle, toff_t offset, int from) {
  auto* m = static_cast<Memory*>(handle);
  m->at = from == SEEK_SET ? offset : from == SEEK_CUR ? m->at + offset : m->file.size + offset;
  return m->at;
}
int on_close(thandle_t) { return 0; }
toff_t on_size(thandle_t handle) { return static_cast<Memory*>(handle)->file.size; }

thread_local char last_error[200];
void on_error(thandle_t, const char*, const char* format, va_list args) {
  std::vsnprintf(last_error, sizeof last_error, format, args);
}

struct Close {
  void operator()(TIFF* t) const { TIFFClose(t); }
};
using Tiff = std::unique_ptr<TIFF, Close>;

Tiff open(Memory* memory) {
  static const bool silent = [] {
    TIFFSetErrorHandler(nullptr);
    TIFFSetWarningHandler(nullptr);
    TIFFSetErrorHandlerExt(on_error);
    return true;
  }();
  (void)silent;
  last_error[0] = '\0';
  return Tiff(TIFFClientOpen("picture", "rm", memory, on_read, on_write, on_seek, on_close, on_size, nullptr, nullptr));
}

// -------------------------------------------------------------------------------------------------------- the layout

struct Layout {
  uint32_t width = 0, height = 0;
  uint16_t bits = 1, samples = 1, light = 0, planar = PLANARCONFIG_CONTIG, kind = SAMPLEFORMAT_UINT,
           compression = COMPRESSION_NONE, orientation = 1, extra = 0;
  bool premultiplied = false;

  bool grey() const { return light == PHOTOMETRIC_MINISWHITE || light == PHOTOMETRIC_MINISBLACK; }
  /// Samples that make the colour; what follows them is alpha or nothing known.
  int colours() const {
    return light == PHOTOMETRIC_RGB || light == PHOTOMETRIC_YCBCR ? 3 : light == PHOTOMETRIC_SEPARATED ? 4 : 1;
  }
};

Layout read_layout(TIFF* t) {
  Layout l;
  TIFFGetField(t, TIFFTAG_IMAGEWIDTH, &l.width);
  TIFFGetField(t, TIFFTAG_IMAGELENGTH, &l.height);
  TIFFGetFieldDefaulted(t, TIFFTAG_BITSPERSAMPLE, &l.bits);
  TIFFGetFieldDefaulted(t, TIFFTAG_SAMPLESPERPIXEL, &l.samples);
  TIFFGetField(t, TIFFTAG_PHOTOMETRIC, &l.light);
  TIFFGetFieldDefaulted(t, TIFFTAG_PLANARCONFIG, &l.planar);
  TIFFGetFieldDefaulted(t, TIFFTAG_SAMPLEFORMAT, &l.kind);
  TIFFGetFieldDefaulted(t, TIFFTAG_COMPRESSION, &l.compression);
  TIFFGetFieldDefaulted(t, TIFFTAG_ORIENTATION, &l.orientation);
  uint16_t* types = nullptr;
  if (TIFFGetField(t, TIFFTAG_EXTRASAMPLES, &l.extra, &types) && l.extra > 0)
    l.premultiplied = l.light == PHOTOMETRIC_RGB && types[0] == EXTRASAMPLE_ASSOCALPHA;
  if (l.compression == COMPRESSION_OJPEG) l.light = PHOTOMETRIC_YCBCR;
  return l;
}

/// The layouts of Pillow's table; anything else would be a guess.
bool is_read(const Layout& l) {
  const bool sound =
      l.samples >= l.colours() && l.samples <= 6 && (l.samples == l.colours() || l.colours() > 1 || l.samples == 2);
  const bool bytes = l.bits == 8 && l.kind == SAMPLEFORMAT_UINT, few = l.bits == 1 || l.bits == 2 || l.bits == 4;
  if (!sound) return false;
  if (l.grey() && l.samples == 1) {
    if (l.kind == SAMPLEFORMAT_UINT) return bytes || few || l.bits == 16 || l.bits == 32;
    if (l.kind == SAMPLEFORMAT_INT) return l.light == PHOTOMETRIC_MINISBLACK && (l.bits == 16 || l.bits == 32);
    return l.kind == SAMPLEFORMAT_IEEEFP && l.bits == 32;
  }
  if (l.grey()) return bytes && l.light == PHOTOMETRIC_MINISBLACK;
  if (l.light == PHOTOMETRIC_PALETTE) return bytes || (few && l.samples == 1 && l.kind == SAMPLEFORMAT_UINT);
  if (l.light == PHOTOMETRIC_RGB || l.light == PHOTOMETRIC_SEPARATED)
    return bytes || (l.bits == 16 && l.kind == SAMPLEFORMAT_UINT && l.samples <= 4);
  return l.light == PHOTOMETRIC_YCBCR && bytes && l.samples == 3;
}

std::string describe(const Layout& l) {
  const char* const lights[] = {"grey, 0 is white", "grey",  "RGB", "palette", "mask", "CMYK", "YCbCr",
                                "colour 7",         "L*a*b*"};
  const char* const kinds[] = {"", "unsigned", "signed", "float", "untyped"};
  return "is a TIFF of " + std::to_string(l.samples) + " " + (l.kind < 5 ? kinds[l.kind] : "complex") + " samples of " +
         std::to_string(l.bits) + " bits (" + (l.light < 9 ? lights[l.light] : "colour " + std::to_string(l.light)) +
         ")";
}

// -------------------------------------------------------------------------------------------------------- the pixels

/// Turns rows of samples into colours.
class Colours {
 public:
  Colours(TIFF* t, const Layout& l) : l_(l) {
    uint16_t *r = nullptr, *g = nullptr, *b = nullptr;
    if (l.light == PHOTOMETRIC_PALETTE && TIFFGetField(t, TIFFTAG_COLORMAP, &r, &g, &b))
      for (int i = 0; i < 1 << l.bits; ++i) palette_.set(i, uint8_t(r[i] >> 8), uint8_t(g[i] >> 8), uint8_t(b[i] >> 8));
  }
  uint64_t clipped() const { return clipped_; }

  /// `planes`: one row of each plane, or of all samples together.
  void convert(const uint8_t* const* planes, size_t count, uint8_t* out) {
    const bool apart = l_.planar == PLANARCONFIG_SEPARATE;
    for (size_t x = 0; x < count; ++x, out += 3) {
      if (l_.grey() && l_.bits >= 16) {
        put_grey(out, wide(planes[0], apart ? x : x * l_.samples));
        continue;
      }
      uint8_t v[4] = {0, 0, 0, 0};
      const size_t wanted = std::min<size_t>(l_.samples, 4);
      for (size_t c = 0; c < wanted; ++c) v[c] = apart ? sample(planes[c], x) : sample(planes[0], x * l_.samples + c);
      if (l_.grey()) {
        const int most = (1 << l_.bits) - 1, level = v[0] * 255 / most;
        put_grey(out, uint8_t(l_.light == PHOTOMETRIC_MINISWHITE ? 255 - level : level));
      } else if (l_.light == PHOTOMETRIC_PALETTE) {
        std::copy_n(palette_.rgb[v[0]], 3, out);
      } else if (l_.light == PHOTOMETRIC_SEPARATED) {
        cmyk_to_rgb(v, out);
      } else {
        for (int c = 0; c < 3; ++c) out[c] = l_.premultiplied && l_.samples >= 4 ? apart_from(v[c], v[3]) : v[c];
      }
    }
  }

 private:
  /// Up to 16 bits; of 16 the high byte.
  uint8_t sample(const uint8_t* row, size_t i) const {
    if (l_.bits == 8) return row[i];
    if (l_.bits < 8) return uint8_t(row[i * l_.bits / 8] >> (8 - l_.bits - i * l_.bits % 8) & ((1 << l_.bits) - 1));
    uint16_t v = 0;
    std::memcpy(&v, row + 2 * i, 2);
    return uint8_t(v >> 8);
  }
  /// The colour of one that was multiplied by its alpha.
  static uint8_t apart_from(int v, int alpha) { return uint8_t(alpha == 0 ? 0 : std::min(255, 255 * v / alpha)); }
  /// Grey of 16 and 32 bits: clipped to 0..255, as Pillow does.
  uint8_t wide(const uint8_t* row, size_t i) {
    double v = 0;
    if (l_.kind == SAMPLEFORMAT_IEEEFP) {
      float f = 0;
      std::memcpy(&f, row + 4 * i, 4);
      return uint8_t(!(f > 0) ? 0 : f >= 255 ? 255 : int(f));
    }
    if (l_.bits == 16) {
      uint16_t u = 0;
      std::memcpy(&u, row + 2 * i, 2);
      v = l_.kind == SAMPLEFORMAT_INT ? double(int16_t(u)) : double(u);
    } else {
      int32_t s = 0;  // Pillow's integers have a sign
      std::memcpy(&s, row + 4 * i, 4);
      v = s;
    }
    clipped_ += v > 255 || v < 0;
    return uint8_t(std::min(255.0, std::max(0.0, v)));
  }

  const Layout& l_;
  Palette palette_;
  uint64_t clipped_ = 0;
};

Result<void> damaged(const File& f) {
  return corrupt(f, (last_error[0] != '\0' ? std::string(last_error) : "its data is damaged or truncated") + " (TIFF)");
}

/// Whether a file of that size can hold the picture, by the most bytes that its compression makes of one: a header
/// costs no more than what may follow it.
bool can_hold(const File& f, const Layout& l) {
  double most = 0;  // unknown: everything is possible
  switch (l.compression) {
    case COMPRESSION_NONE: most = 1; break;
    case COMPRESSION_PACKBITS: most = 64; break;
    case COMPRESSION_DEFLATE:
    case COMPRESSION_ADOBE_DEFLATE: most = 1032; break;
    case COMPRESSION_LZW: most = 4096; break;  // a string of the table for 9 bits
    default: break;
  }
  const double samples = l.light == PHOTOMETRIC_YCBCR ? 1 : l.samples;  // colour may be subsampled
  return most == 0 || most * double(f.size) >= double(l.width) * l.height * l.bits * samples / 8;
}

/// Strips and tiles alike: blocks of the picture, in one piece or a plane for each sample.
Result<void> read_blocks(const File& f, TIFF* t, const Layout& l, Rgb8* image) {
  const bool tiled = TIFFIsTiled(t) != 0;
  uint32_t block_w = l.width, block_h = l.height;
  if (tiled) {
    TIFFGetField(t, TIFFTAG_TILEWIDTH, &block_w);
    TIFFGetField(t, TIFFTAG_TILELENGTH, &block_h);
  } else {
    uint32_t rows = 0;
    TIFFGetFieldDefaulted(t, TIFFTAG_ROWSPERSTRIP, &rows);
    block_h = std::min(l.height, rows);
  }
  if (Result<void> ok = check_size(f, block_w, block_h); !ok) return ok;
  const tmsize_t bytes = tiled ? TIFFTileSize(t) : TIFFStripSize(t),
                 row = tiled ? TIFFTileRowSize(t) : TIFFScanlineSize(t);
  const size_t planes = l.planar == PLANARCONFIG_SEPARATE ? l.samples : 1;
  const uint64_t least_row = (uint64_t(block_w) * l.bits * (planes > 1 ? 1 : l.samples) + 7) / 8;
  if (bytes <= 0 || row <= 0 || uint64_t(row) < least_row || uint64_t(bytes) < uint64_t(row) * block_h)
    return damaged(f);
  // A file without compression cannot be smaller than what is in it.
  if (l.compression == COMPRESSION_NONE && uint64_t(row) > f.size) return corrupt(f, "the file is truncated (TIFF)");
  std::vector<std::vector<uint8_t>> buffers(planes);
  for (auto& b : buffers) b.resize(size_t(bytes));
  std::vector<const uint8_t*> rows(planes);
  Colours colours(t, l);
  for (uint64_t y = 0; y < l.height; y += block_h) {
    for (uint64_t x = 0; x < l.width; x += block_w) {
      const uint64_t count_y = std::min<uint64_t>(block_h, l.height - y),
                     count_x = std::min<uint64_t>(block_w, l.width - x);
      const tmsize_t wanted = tiled ? bytes : row * tmsize_t(count_y);
      for (size_t p = 0; p < planes; ++p) {
        const uint32_t x32 = uint32_t(x), y32 = uint32_t(y);
        const uint16_t plane = uint16_t(p);
        const tmsize_t got =
            tiled ? TIFFReadEncodedTile(t, TIFFComputeTile(t, x32, y32, 0, plane), buffers[p].data(), wanted)
                  : TIFFReadEncodedStrip(t, TIFFComputeStrip(t, y32, plane), buffers[p].data(), wanted);
        if (got < wanted) return damaged(f);
      }
      for (uint64_t i = 0; i < count_y; ++i) {
        for (size_t p = 0; p < planes; ++p) rows[p] = buffers[p].data() + size_t(row) * i;
        colours.convert(rows.data(), size_t(count_x), &image->rgb[((y + i) * l.width + x) * 3]);
      }
    }
  }
  image->note = clipped_note(colours.clipped(), uint64_t(l.width) * l.height);
  return {};
}

/// YCbCr that is no JPEG: libtiff has the conversion.
Result<void> read_ycbcr(const File& f, TIFF* t, const Layout& l, Rgb8* image) {
  std::vector<uint32_t> raster(size_t(l.width) * l.height);
  if (!TIFFReadRGBAImageOriented(t, l.width, l.height, raster.data(), l.orientation, 1)) return damaged(f);
  for (size_t i = 0; i < raster.size(); ++i) {
    image->rgb[3 * i] = uint8_t(TIFFGetR(raster[i]));
    image->rgb[3 * i + 1] = uint8_t(TIFFGetG(raster[i]));
    image->rgb[3 * i + 2] = uint8_t(TIFFGetB(raster[i]));
  }
  return {};
}

}  // namespace

Result<Stored> read_tiff(const File& f) {
  Memory memory{f};
  const Tiff tiff = open(&memory);
  if (tiff == nullptr) return damaged(f).error();
  TIFF* t = tiff.get();
  const Layout l = read_layout(t);
  if (Result<void> ok = check_size(f, l.width, l.height); !ok) return std::move(ok.error());
  if (!is_read(l)) return refused(f, describe(l) + ", which is not read; convert it to PNG");
  if (!TIFFIsCODECConfigured(l.compression))
    return refused(f, "is a TIFF with compression " + std::to_string(l.compression) +
                          ", which this libtiff does not know; convert it to PNG");
  Stored s;
  s.orientation = l.orientation;
  s.image.width = int(l.width);
  s.image.height = int(l.height);
  if (!can_hold(f, l)) return corrupt(f, "the file is truncated (TIFF)");
  s.image.rgb.resize(size_t(l.width) * l.height * 3);
  const bool jpeg = l.compression == COMPRESSION_JPEG && l.planar == PLANARCONFIG_CONTIG;
  if (l.light == PHOTOMETRIC_YCBCR && jpeg) TIFFSetField(t, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
  const bool converts = l.light == PHOTOMETRIC_YCBCR && !jpeg;
  if (Result<void> ok = converts ? read_ycbcr(f, t, l, &s.image) : read_blocks(f, t, l, &s.image); !ok)
    return std::move(ok.error());
  return s;
}

}  // namespace cli::picture

#else

namespace cli::picture {

vireo::Result<Stored> read_tiff(const File& f) {
  return refused(f,
                 "is a TIFF file, and this build reads none: install libtiff (Debian: libtiff-dev) and build again "
                 "with -DVIREO_TIFF=ON, or convert it to PNG");
}

}  // namespace cli::picture

#endif
