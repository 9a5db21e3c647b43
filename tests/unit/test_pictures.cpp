// Pictures of strangers: EXIF, pipes, what is no picture, and files that would cost more than they show.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

#include <nlohmann/json.hpp>

#include "image.h"
#include "test_model_files.h"

namespace {

using cli::decode_image;
using cli::load_image;
using cli::ReadOptions;
using cli::Rgb8;
using vireo::ErrorCode;
using vireo::Result;
using vireo::test::expect_error;
using vireo::test::TempDir;

const std::string kImages = std::string(VIREO_TEST_DATA) + "/images/";

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}
Result<Rgb8> decode(const std::string& bytes, const ReadOptions& options = {}) {
  return decode_image(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), "picture", options);
}
bool left_out(const Result<Rgb8>& picture) {
  return !picture && picture.error().message.find("this build reads none") != std::string::npos;
}
std::string be32(uint32_t v) { return {char(v >> 24), char(v >> 16), char(v >> 8), char(v)}; }
std::string be16(uint32_t v) { return {char(v >> 8), char(v)}; }
std::string le16(uint32_t v) { return {char(v), char(v >> 8)}; }
std::string le32(uint32_t v) { return le16(v & 0xffff) + le16(v >> 16); }

// ------------------------------------------------------------------------------------------------------------- EXIF

TEST(Pictures, ExifCanBeIgnored) {
  ReadOptions stored;
  stored.exif = false;
  for (const auto& [files, upright] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"exif-2.jpg", "exif-3.jpg", "exif-4.jpg", "exif-5.jpg", "exif-6.jpg", "exif-7.jpg", "exif-8.jpg",
             "exif-6-big.jpg"},
            "exif-1.jpg"},
           {{"exif-3.png", "exif-6.png", "exif-7.png", "exif-behind.png", "exif-profile.png", "xmp.png"},
            "exif-1-xmp-5.png"},
           {{"orientation-2.tif", "orientation-5.tif", "orientation-6.tif", "orientation-8.tif"},
            "orientation-1.tif"}}) {
    const auto want = load_image(kImages + upright);
    if (left_out(want)) continue;
    ASSERT_TRUE(want) << want.error().message;
    for (const std::string& file : files) {
      const auto turned = load_image(kImages + file), plain = load_image(kImages + file, stored);
      ASSERT_TRUE(turned && plain) << file;
      EXPECT_EQ(plain->rgb, want->rgb) << file;
      EXPECT_EQ(plain->width, want->width) << file;
      EXPECT_NE(turned->rgb, want->rgb) << file << ": and without it, it is turned";
    }
  }
}

TEST(Pictures, OrientationsOutOfRangeAreOne) {
  const auto want = load_image(kImages + "exif-1.jpg");
  ASSERT_TRUE(want);
  for (const char* file : {"exif-0.jpg", "exif-9.jpg", "exif-short.jpg", "exif-far.jpg", "exif-order.jpg"}) {
    const auto got = load_image(kImages + file);
    ASSERT_TRUE(got) << file;
    EXPECT_EQ(got->rgb, want->rgb) << file;
  }
}

TEST(Pictures, LabelsAreTurnedToo) {
  const std::string png = slurp(kImages + "grey8.png");
  // eXIf with orientation 6 behind the header.
  const std::string exif = std::string("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0", 26),
                    chunk = "eXIf" + exif;
  const uint32_t crc = uint32_t(crc32(0, reinterpret_cast<const Bytef*>(chunk.data()), uInt(chunk.size())));
  const std::string turned = png.substr(0, 33) + be32(uint32_t(exif.size())) + chunk + be32(crc) + png.substr(33);
  const auto levels = [](const std::string& bytes, const ReadOptions& options) {
    return cli::decode_png_levels(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), "label", options);
  };
  const auto plain = levels(png, {}), got = levels(turned, {}), ignored = levels(turned, ReadOptions{false});
  ASSERT_TRUE(plain && got && ignored);
  EXPECT_EQ(ignored->level, plain->level);
  ASSERT_EQ(got->width, plain->height);
  ASSERT_EQ(got->height, plain->width);
  for (int y = 0; y < got->height; ++y)
    for (int x = 0; x < got->width; ++x)
      ASSERT_EQ(got->level[size_t(y * got->width + x)],
                plain->level[size_t((plain->height - 1 - x) * plain->width + y)]);
}

// ------------------------------------------------------------------------------------------------------------ notes

TEST(Pictures, ClippedGreyIsNoted) {
  for (const auto& [file, note] :
       std::vector<std::pair<std::string, std::string>>{{"grey16.png", "16-bit grey: 99.5 % of pixels clipped"},
                                                        {"grey16.pgm", "16-bit grey: 100.0 % of pixels clipped"},
                                                        {"grey16-le.tif", "16-bit grey: 83.8 % of pixels clipped"},
                                                        {"grey16-small.png", ""},
                                                        {"grey8.png", ""},
                                                        {"rgb16.png", ""}}) {
    const auto got = load_image(kImages + file);
    if (left_out(got)) continue;
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->note, note) << file;
  }
}

// ------------------------------------------------------------------------------------------------- costs of a picture

/// MiB that the process has ever held at once.
long peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

std::string png_chunk(const std::string& kind, const std::string& data) {
  const std::string body = kind + data;
  return be32(uint32_t(data.size())) + body +
         be32(uint32_t(crc32(0, reinterpret_cast<const Bytef*>(body.data()), uInt(body.size()))));
}

std::string png_of(uint32_t width, uint32_t height, size_t zeros, int interlaced = 0) {
  const std::string raw(zeros, '\0');
  std::string packed(compressBound(uLong(zeros)), '\0');
  uLongf size = packed.size();
  EXPECT_EQ(compress(reinterpret_cast<Bytef*>(&packed[0]), &size, reinterpret_cast<const Bytef*>(raw.data()),
                     uLong(raw.size())),
            Z_OK);
  packed.resize(size);
  return std::string("\x89PNG\r\n\x1a\n") +
         png_chunk("IHDR", be32(width) + be32(height) + std::string("\x08\x02\0\0", 4) + char(interlaced)) +
         png_chunk("IDAT", packed) + png_chunk("IEND", "");
}

TEST(Pictures, PngInflatesNoMoreThanItsHeaderSays) {
  for (const int interlaced : {0, 1}) {
    const std::string bomb = png_of(32, 32, size_t(200) << 20, interlaced);
    const long before = peak_mib();
    const auto got = decode(bomb);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->rgb, std::vector<uint8_t>(32 * 32 * 3, 0));
    EXPECT_LE(peak_mib() - before, 20);
  }
  // A header of 400 MB on a file of some bytes: known to be cut off before anything is allocated.
  const long before = peak_mib();
  expect_error(decode(png_of(13000, 13000, 100)), ErrorCode::kCorrupt, {"truncated", "PNG"});
  EXPECT_LE(peak_mib() - before, 20);
  // Enough rows, but too few.
  expect_error(decode(png_of(32, 32, 97 * 31)), ErrorCode::kCorrupt, {"PNG"});
}

/// A progressive grey JPEG with empty scans, each of which passes over all of it.
std::string jpeg_of(uint32_t side, int scans) {
  const auto segment = [](int marker, const std::string& body) {
    return std::string{'\xff', char(marker)} + be16(uint32_t(body.size() + 2)) + body;
  };
  std::string out = "\xff\xd8" + segment(0xdb, std::string(1, '\0') + std::string(64, '\1')) +
                    segment(0xc2, std::string("\x08", 1) + be16(side) + be16(side) + std::string("\x01\x01\x11\0", 4));
  for (const char* table : {"\x10\xe0", "\0\0"})
    out += segment(0xc4, table[0] + std::string("\x01", 1) + std::string(15, '\0') + table[1]);
  const uint32_t blocks = (side + 7) / 8 * ((side + 7) / 8);
  std::string bits;
  for (uint32_t done = 0; done < blocks; done += 32767) bits += "0" + std::string(14, '1');
  bits += std::string((8 - bits.size() % 8) % 8, '1');
  std::string coded;
  for (size_t i = 0; i < bits.size(); i += 8) {
    coded += char(std::stoi(bits.substr(i, 8), nullptr, 2));
    if (coded.back() == '\xff') coded += '\0';
  }
  for (int i = 0; i < scans; ++i) out += segment(0xda, std::string("\x01\x01\0\x01\x3f\0", 6)) + coded;
  return out + "\xff\xd9";
}

TEST(Pictures, JpegHasAtMost64Scans) {
  EXPECT_TRUE(decode(jpeg_of(64, 64)));
  expect_error(decode(jpeg_of(64, 65)), ErrorCode::kUnsupported, {"65 scans", "64"});
  const long before = peak_mib();
  expect_error(decode(jpeg_of(13000, 1000)), ErrorCode::kUnsupported, {"1000 scans"});
  EXPECT_LE(peak_mib() - before, 20);
}

/// A file of each format whose header promises 20000 x 20000 pixels.
std::vector<std::string> promises() {
  const std::string bmp = "BM" + le32(100) + le32(0) + le32(54) + le32(40) + le32(20000) + le32(20000) + le16(1) +
                          le16(24) + std::string(24, '\0');
  const std::string gif = "GIF89a" + le16(20000) + le16(20000) + std::string("\0\0\0", 3) + "," + le16(0) + le16(0) +
                          le16(9) + le16(9) + std::string("\0\x02\x01\0\0;", 6);
  const std::string beyond = "GIF89a" + le16(9) + le16(9) + std::string("\0\0\0", 3) + "," + le16(19000) + le16(19000) +
                             le16(1000) + le16(1000) + std::string("\0\x02\x01\0\0;", 6);
  const std::string tga =
      std::string("\0\0\x0a\0\0\0\0\0\0\0\0\0", 12) + le16(20000) + le16(20000) + std::string("\x18\0", 2) + "data";
  const std::string webp_body = std::string("WEBPVP8X") + le32(10) + std::string(4, '\0') +
                                std::string("\x1f\x4e\0\x1f\x4e\0", 6) + "VP8L" + le32(26) +
                                std::string("\x2f\x1f\xce\x87\x13", 5) + std::string(21, '\0');
  const auto tag = [](uint32_t id, uint32_t v) { return le16(id) + le16(4) + le32(1) + le32(v); };
  const std::string tiff = std::string("II*\0", 4) + le32(8) + le16(6) + tag(256, 20000) + tag(257, 20000) +
                           tag(262, 1) + tag(273, 8) + tag(278, 20000) + tag(279, 8) + le32(0);
  return {bmp,
          gif,
          beyond,
          tga,
          "RIFF" + le32(uint32_t(webp_body.size())) + webp_body,
          tiff,
          "P5 20000 20000 255\n",
          "P1\n20000 20000\n1",
          "P6 20000 20000 65535\n"};
}

TEST(Pictures, LargePromisesAreRefusedBeforeAllocating) {
  const long before = peak_mib();
  for (const std::string& file : promises()) {
    const auto got = decode(file);
    ASSERT_FALSE(got) << file.substr(0, 6);
    if (left_out(got)) continue;
    EXPECT_EQ(got.error().code, ErrorCode::kUnsupported) << got.error().message;
    EXPECT_NE(got.error().message.find("20000 x 20000 pixels, more than the limit of 178956970"), std::string::npos)
        << got.error().message;
  }
  EXPECT_LE(peak_mib() - before, 20);
}

// ------------------------------------------------------------------------------------------- damage of every golden

// A header of 13000 x 13000 pixels with 20 bytes behind it: no compression makes the picture of them.
TEST(Pictures, TiffsThatCannotHoldTheirPixelsCostNothing) {
  const auto tiff = [](uint32_t side, uint32_t compression) {
    const std::vector<std::array<uint32_t, 4>> tags{{256, 4, 1, side},        {257, 4, 1, side}, {258, 3, 1, 8},
                                                    {259, 3, 1, compression}, {262, 3, 1, 1},    {273, 4, 1, 8},
                                                    {277, 3, 1, 1},           {278, 4, 1, side}, {279, 4, 1, 20}};
    std::string bytes = "II*" + std::string(1, '\0') + le32(28) + std::string(20, '\x55') + le16(uint32_t(tags.size()));
    for (const auto& t : tags) bytes += le16(t[0]) + le16(t[1]) + le32(t[2]) + le32(t[3]);
    return bytes + le32(0);
  };
  for (const uint32_t compression : {1u, 5u, 8u, 32773u, 32946u}) {
    const long before = peak_mib();
    const Result<Rgb8> got = decode(tiff(13000, compression));
    if (left_out(got)) GTEST_SKIP() << got.error().message;
    ASSERT_FALSE(got) << compression;
    EXPECT_NE(got.error().message.find("truncated (TIFF)"), std::string::npos)
        << compression << ": " << got.error().message;
    EXPECT_LE(peak_mib() - before, 20) << compression;
  }
  EXPECT_TRUE(decode(tiff(4, 1)));  // 16 of the 20 bytes
}

TEST(Pictures, DamagedGoldensAreErrorsOrPictures) {
  const auto manifest = nlohmann::json::parse(slurp(kImages + "manifest.json"), nullptr, false);
  ASSERT_GT(manifest.size(), 200u);
  ReadOptions options;
  options.max_pixels = 1 << 18;
  uint32_t state = 7;
  const auto random = [&](size_t n) {
    state = state * 1664525u + 1013904223u;
    return size_t(state >> 8) % n;
  };
  const auto check = [&](const std::string& bytes) {
    const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);  // so that a sanitizer sees its end
    std::copy(bytes.begin(), bytes.end(), exact.get());
    const auto got = decode_image(exact.get(), bytes.size(), "picture", options);
    if (got) {
      EXPECT_EQ(got->rgb.size(), size_t(got->width) * size_t(got->height) * 3);
    } else {
      EXPECT_EQ(got.error().message.find("picture 'picture' "), 0u) << got.error().message;
    }
  };
  for (const auto& item : manifest) {
    SCOPED_TRACE(item["file"].get<std::string>());
    const std::string bytes = slurp(kImages + item["file"].get<std::string>());
    for (size_t n = 0; n < bytes.size(); n += 1 + bytes.size() / 40) check(bytes.substr(0, n));
    for (int round = 0; round < 40; ++round) {
      std::string damaged = bytes;
      for (int k = 0; k <= round % 3; ++k)
        damaged[random(round % 2 == 0 ? damaged.size() : std::min<size_t>(damaged.size(), 80))] = char(random(256));
      check(damaged);
    }
  }
}

// ----------------------------------------------------------------------------------------------- what is no picture

TEST(Pictures, ForeignFilesAreNamed) {
  const std::string z(4, '\0');
  for (const auto& [bytes, words] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {z + "ftypheic" + z, {"HEIC", "convert it"}},
           {z + "ftypavif" + z, {"AVIF", "convert it"}},
           {z + "ftypisom" + z, {"MP4", "ffmpeg", "yuv4mpegpipe"}},
           {z + "ftypqt  " + z, {"QuickTime", "ffmpeg"}},
           {z + "moov", {"QuickTime"}},
           {"RIFF" + z + "AVI LIST", {"AVI video", "ffmpeg"}},
           {"\x1a\x45\xdf\xa3" + z, {"WebM", "ffmpeg"}},
           {"YUV4MPEG2 W64 H48\n", {"YUV4MPEG2", "standard input"}},
           {std::string("\0\0\0\x0cJXL \r\n\x87\n", 12), {"JPEG XL"}},
           {"\xff\x0a" + z, {"JPEG XL"}},
           {std::string("\0\0\0\x0cjP  \r\n\x87\n", 12), {"JPEG 2000"}},
           {"%PDF-1.7\n", {"PDF", "convert it"}},
           {"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", {"SVG"}},
           {"<?xml version=\"1.0\"?>\n<!-- x -->\n<svg/>", {"SVG"}},
           {"<!DOCTYPE html><html>", {"HTML", "download"}},
           {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", {"Git LFS", "git lfs pull"}},
           {"8BPS\0\1", {"Photoshop"}},
           {"P7\nWIDTH 3\n", {"PAM"}},
           {"Pf\n3 3\n-1.0\n", {"PFM"}}}) {
    expect_error(decode(bytes), ErrorCode::kUnsupported, {"picture 'picture' is a"});
    for (const std::string& word : words) expect_error(decode(bytes), ErrorCode::kUnsupported, {word.c_str()});
  }
  for (const char* text : {"hello", "", "P9 3 3 255", "Pictures are here", "BLOB"}) EXPECT_FALSE(decode(text)) << text;
}

TEST(Pictures, LayoutsThatNobodyReadsAreRefused) {
  std::string bmp = slurp(kImages + "565.bmp");
  bmp[54] = '\x0f';  // a mask of four bits
  expect_error(decode(bmp), ErrorCode::kUnsupported, {"bit masks"});
  bmp = slurp(kImages + "24.tga");
  std::string jpeg_in_bmp = slurp(kImages + "rgb24.bmp");
  jpeg_in_bmp[30] = 4;
  expect_error(decode(jpeg_in_bmp), ErrorCode::kUnsupported, {"compression 4"});
  const auto tag = [](uint32_t id, uint32_t v) { return le16(id) + le16(3) + le32(1) + le16(v) + le16(0); };
  const std::string tiff = std::string("II*\0", 4) + le32(8) + le16(7) + tag(256, 2) + tag(257, 2) + tag(258, 64) +
                           tag(262, 1) + tag(273, 8) + tag(279, 64) + tag(339, 3) + le32(0);
  const auto got = decode(tiff);
  if (!left_out(got)) expect_error(got, ErrorCode::kUnsupported, {"TIFF", "64 bits"});
}

// ------------------------------------------------------------------------------------------------------------ pipes

TEST(Pictures, ComeThroughPipes) {
  TempDir dir;
  const std::string fifo = dir / "pipe";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const auto send = [&](const std::string& bytes) {
    return std::thread([bytes, fifo] {
      const int file = open(fifo.c_str(), O_WRONLY);
      for (size_t at = 0; at < bytes.size();) {
        const ssize_t n = write(file, bytes.data() + at, std::min<size_t>(1000, bytes.size() - at));
        if (n <= 0) break;
        at += size_t(n);
      }
      close(file);
    });
  };
  for (const char* name : {"420.jpg", "rgb8.png", "plain.pbm", "16.tga"}) {
    std::thread sender = send(slurp(kImages + name));
    const auto got = load_image(fifo), want = load_image(kImages + name);
    sender.join();
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->rgb, want->rgb) << name;
  }
  std::thread sender = send("");
  expect_error(load_image(fifo), ErrorCode::kCorrupt, {"empty"});
  sender.join();
  expect_error(load_image("/dev/zero"), ErrorCode::kUnsupported, {"/dev/zero", "no known format"});
  expect_error(load_image("/dev/null"), ErrorCode::kCorrupt, {"empty"});
}

}  // namespace
