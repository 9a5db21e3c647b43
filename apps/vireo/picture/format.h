// What the readers of single formats share. One file per format; the table of them is in format.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "../image.h"

namespace cli::picture {

/// A picture file in memory; the name is for messages.
struct File {
  const uint8_t* data;
  size_t size;
  const std::string& name;
  int64_t max_pixels = kMaxImagePixels;

  bool has(size_t at, size_t count) const { return at <= size && count <= size - at; }
  bool starts(const char* magic, size_t count, size_t at = 0) const {
    return has(at, count) && std::memcmp(data + at, magic, count) == 0;
  }
};

/// What a reader returns: pixels as stored, and how EXIF wants them turned (1 to 8; everything else is 1).
struct Stored {
  Rgb8 image;
  int orientation = 1;
};

vireo::Result<Stored> read_jpeg(const File& file);
vireo::Result<Stored> read_png(const File& file);
vireo::Result<Stored> read_bmp(const File& file);
vireo::Result<Stored> read_gif(const File& file);
vireo::Result<Stored> read_pnm(const File& file);
vireo::Result<Stored> read_tga(const File& file);
vireo::Result<Stored> read_webp(const File& file);
vireo::Result<Stored> read_tiff(const File& file);

/// A format that is read: how it is told from others by the first kSniffed bytes, and its reader.
struct Format {
  const char* name;
  bool (*is)(const File& head);
  /// The signature is long enough that other bytes do not start so by chance.
  bool sure;
  vireo::Result<Stored> (*read)(const File& file);
};
constexpr size_t kSniffed = 4096;
/// nullptr when it is none that is read. TGA has no signature; it counts when its header makes sense.
const Format* find_format(const File& head);
/// What the bytes are that no reader takes, and what to do: "is a PDF file, ..."; empty when unknown.
std::string describe_foreign(const File& head);
bool is_tga(const File& head);

// ------------------------------------------------------------------------------------------------- errors, limits

/// The file is damaged.
vireo::Error corrupt(const File& file, const std::string& what);
/// "picture 'x' " and what is wrong: a sound file that is not read.
vireo::Error refused(const File& file, const std::string& what);
/// Refuses what is empty or has more pixels than allowed, before anything is allocated for them.
vireo::Result<void> check_size(const File& file, int64_t width, int64_t height);
/// The note about a picture whose 16-bit grey was clipped to 8 bits; empty when no pixel was.
std::string clipped_note(uint64_t clipped, uint64_t pixels);

// ----------------------------------------------------------------------------------------------------- EXIF, XMP

/// The orientation in a block of EXIF (with or without its "Exif" prefix): 0 when it has none or is damaged.
int exif_orientation(const uint8_t* data, size_t size);
/// The orientation in an XMP packet; 0 when it has none.
int xmp_orientation(const std::string& xmp);
/// Turns pixels of `channels` samples as the orientation asks.
template <typename Sample>
void orient(std::vector<Sample>* pixels, int* width, int* height, int channels, int orientation);

// -------------------------------------------------------------------------------------------------------- numbers

inline uint32_t le16(const uint8_t* p) { return p[0] | uint32_t(p[1]) << 8; }
inline uint32_t le32(const uint8_t* p) { return le16(p) | le16(p + 2) << 16; }
inline uint32_t be16(const uint8_t* p) { return uint32_t(p[0]) << 8 | p[1]; }
inline uint32_t be32(const uint8_t* p) { return be16(p) << 16 | be16(p + 2); }

/// 256 colours; entries that a file leaves out are grey of their number, as in Pillow.
struct Palette {
  uint8_t rgb[256][3];
  Palette() {
    for (int i = 0; i < 256; ++i) set(i, uint8_t(i), uint8_t(i), uint8_t(i));
  }
  void set(int i, uint8_t r, uint8_t g, uint8_t b) { rgb[i][0] = r, rgb[i][1] = g, rgb[i][2] = b; }
};
inline void put_grey(uint8_t* out, uint8_t v) { out[0] = out[1] = out[2] = v; }
/// Pillow's CMYK to RGB; `ink` is 255 for full ink (Adobe's JPEGs have it the other way round).
inline void cmyk_to_rgb(const uint8_t* ink, uint8_t* out) {
  const int white = 255 - ink[3];
  for (int c = 0; c < 3; ++c) {
    const int t = ink[c] * white + 128, less = white - (((t >> 8) + t) >> 8);
    out[c] = uint8_t(less < 0 ? 0 : less);
  }
}

}  // namespace cli::picture
