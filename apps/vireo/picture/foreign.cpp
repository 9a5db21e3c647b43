// Files that people will try and that no reader takes: what they are, and what to do.
#include <algorithm>
#include <cctype>

#include "format.h"

namespace cli::picture {
namespace {

const std::string kVideo = "; send its frames: ffmpeg -i FILE -f yuv4mpegpipe -pix_fmt yuv420p - | vireo VERB ... -";
const std::string kY4m = "; `classify`, `embed` and `segment` take it on standard input: vireo VERB ... - < FILE";
const std::string kConvert = ", which is not read; convert it to JPEG or PNG";

struct Signature {
  const char* magic;
  size_t count, at;
  const char* what;
  const std::string& then;
};

const Signature kSignatures[] = {
    {"\0\0\0\x0cJXL ", 8, 0, "a JPEG XL picture", kConvert},
    {"\xff\x0a", 2, 0, "a JPEG XL picture", kConvert},
    {"\0\0\0\x0cjP  ", 8, 0, "a JPEG 2000 picture", kConvert},
    {"\xff\x4f\xff\x51", 4, 0, "a JPEG 2000 picture", kConvert},
    {"%PDF", 4, 0, "a PDF document", kConvert},
    {"%!PS", 4, 0, "a PostScript document", kConvert},
    {"8BPS", 4, 0, "a Photoshop file", kConvert},
    {"\0\0\1\0", 4, 0, "a Windows icon", kConvert},
    {"\x76\x2f\x31\x01", 4, 0, "an OpenEXR picture", kConvert},
    {"#?RADIANCE", 10, 0, "a Radiance HDR picture", kConvert},
    {"qoif", 4, 0, "a QOI picture", kConvert},
    {"FLIF", 4, 0, "a FLIF picture", kConvert},
    {"DDS ", 4, 0, "a DirectDraw surface", kConvert},
    {"DICM", 4, 128, "a DICOM file", kConvert},
    {"SIMPLE  =", 9, 0, "a FITS file", kConvert},
    {"P7\n", 3, 0, "a PAM picture (P7)", kConvert},
    {"Pf", 2, 0, "a PFM picture of floats", kConvert},
    {"PF", 2, 0, "a PFM picture of floats", kConvert},
    {"\x93NUMPY", 6, 0, "a NumPy array, not a picture", kConvert},
    {"YUV4MPEG2 ", 10, 0, "a YUV4MPEG2 video", kY4m},
    {"AVI ", 4, 8, "an AVI video", kVideo},
    {"\x1a\x45\xdf\xa3", 4, 0, "a Matroska or WebM video", kVideo},
    {"FLV", 3, 0, "a Flash video", kVideo},
    {"\0\0\1\xba", 4, 0, "an MPEG video", kVideo},
    {"\0\0\1\xb3", 4, 0, "an MPEG video", kVideo},
    {"OggS", 4, 0, "an Ogg video or sound", kVideo},
};

/// ISO's container, for pictures and for videos: its brand tells.
std::string describe_ftyp(const File& f) {
  for (const char* brand : {"avif", "avis"})
    if (f.starts(brand, 4, 8)) return "is an AVIF picture" + kConvert;
  for (const char* brand : {"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"})
    if (f.starts(brand, 4, 8)) return "is a HEIC picture (or AVIF)" + kConvert;
  if (f.starts("crx ", 4, 8)) return "is a camera's raw file" + kConvert;
  return "is an MP4 or QuickTime video" + kVideo;
}

/// Text: a web page in place of a picture, SVG, a pointer of Git LFS.
std::string describe_text(const File& f) {
  std::string text(reinterpret_cast<const char*>(f.data), std::min<size_t>(f.size, 2048));
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  if (text.compare(0, 3, "\xef\xbb\xbf") == 0) text.erase(0, 3);
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  const auto begins = [&](const char* s) { return text.compare(first, std::strlen(s), s) == 0; };
  if (begins("<svg") || (begins("<?xml") && text.find("<svg") != std::string::npos))
    return "is an SVG drawing" + kConvert;
  if (begins("<!doctype html") || begins("<html"))
    return "is a web page (HTML), not a picture; download the picture itself";
  if (begins("version https://git-lfs"))
    return "is a pointer of Git LFS, not the picture; run `git lfs pull` in its repository";
  return {};
}

}  // namespace

std::string describe_foreign(const File& head) {
  if (head.starts("ftyp", 4, 4)) return describe_ftyp(head);
  if (head.starts("AVI ", 4, 8) && !head.starts("RIFF", 4)) return {};
  for (const Signature& s : kSignatures)
    if (head.starts(s.magic, s.count, s.at)) return std::string("is ") + s.what + s.then;
  for (const char* place : {"moov", "mdat", "wide", "free"})  // old QuickTime files have no ftyp
    if (head.starts(place, 4, 4)) return "is a QuickTime video" + kVideo;
  return describe_text(head);
}

}  // namespace cli::picture
