// Decoding pictures: pixels equal to Pillow's, and a clear refusal of everything that is no whole picture.
#include "image.h"

#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "npy.h"
#include "test_model_files.h"

namespace {

using cli::decode_image;
using cli::load_image;
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
Result<Rgb8> decode(const std::string& bytes, const std::string& name = "picture") {
  return decode_image(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), name);
}

TEST(Image, EqualsPillow) {
  const auto manifest = nlohmann::json::parse(slurp(kImages + "manifest.json"), nullptr, false);
  ASSERT_TRUE(manifest.is_array()) << kImages;
  for (const auto& item : manifest) {
    const std::string file = item["file"];
    SCOPED_TRACE(file);
    const auto got = load_image(kImages + file);
    if (!got && got.error().message.find("this build reads none") != std::string::npos)
      continue;  // without libwebp or libtiff
    if (!got) {
      ADD_FAILURE() << got.error().message;
      continue;
    }
    const auto want = cli::read_npy(kImages + std::string(item["golden"]));
    ASSERT_TRUE(want) << want.error().message;
    ASSERT_EQ(want->shape, (std::vector<int64_t>{got->height, got->width, 3}));
    size_t wrong = 0, first = 0;
    for (size_t i = got->rgb.size(); i-- > 0;) {
      if (float(got->rgb[i]) != want->data[i]) ++wrong, first = i;
    }
    EXPECT_EQ(wrong, 0u) << "first at " << first << ": got " << int(got->rgb[first]) << ", Pillow has "
                         << want->data[first];
  }
}

/// Every shorter version of a file must be refused or, where only an end marker is missing, give the same pixels.
void check_truncation(const std::string& file, size_t at_most = 4) {
  SCOPED_TRACE(file);
  const std::string bytes = slurp(kImages + file);
  const auto whole = decode(bytes);
  ASSERT_TRUE(whole) << whole.error().message;
  size_t accepted = 0;
  for (size_t n = 0; n < bytes.size(); ++n) {
    const auto cut = decode(bytes.substr(0, n));
    if (!cut) {
      EXPECT_NE(cut.error().message.find("picture 'picture'"), std::string::npos) << cut.error().message;
      continue;
    }
    ++accepted;
    EXPECT_EQ(cut->rgb, whole->rgb) << n << " of " << bytes.size();
  }
  EXPECT_LE(accepted, at_most);
}

TEST(Image, RefusesTruncatedPng) {
  for (const char* f : {"rgb8.png", "grey16.png", "palette4.png", "interlaced-rgb8.png", "filters.png"})
    check_truncation(f, 24);  // IEND, and the checksums before it
}

TEST(Image, RefusesTruncatedOthers) {
  for (const char* f :
       {"rgb24.bmp", "palette8.bmp", "topdown.bmp", "rgb8.ppm", "grey8.pgm", "plain.gif", "interlaced.gif"}) {
    check_truncation(f);
  }
}

TEST(Image, RefusesTruncatedJpeg) {
  for (const char* f : {"420.jpg", "progressive-420.jpg", "grey.jpg", "cmyk.jpg", "restart-420.jpg", "420-1x1.jpg"})
    check_truncation(f);
}

TEST(Image, DamageIsAnErrorOrAPictureButNeverACrash) {
  uint32_t state = 1;
  for (const char* f :
       {"rgb8.png", "palette8.png", "444.jpg", "progressive-420.jpg", "plain.gif", "palette8.bmp", "rgb8.ppm"}) {
    const std::string bytes = slurp(kImages + f);
    for (int round = 0; round < 400; ++round) {
      std::string damaged = bytes;
      for (int k = 0; k <= round % 3; ++k) {
        state = state * 1664525u + 1013904223u;
        damaged[(state >> 8) % damaged.size()] = char(state >> 24);
      }
      const auto got = decode(damaged, f);
      if (got) {
        EXPECT_EQ(got->rgb.size(), size_t(got->width) * size_t(got->height) * 3);
      }
    }
  }
}

TEST(Image, RefusesDamagedPngChunks) {
  std::string bytes = slurp(kImages + "rgb8.png");
  bytes[bytes.find("IDAT") + 10] ^= 1;
  expect_error(decode(bytes), ErrorCode::kCorrupt, {"'picture'", "checksum", "IDAT"});
}

TEST(Image, NamesWhatIsNoPicture) {
  TempDir dir;
  expect_error(load_image(dir.write("empty.jpg", "")), ErrorCode::kCorrupt, {"empty.jpg", "empty (0 bytes)"});
  expect_error(load_image(dir / "gone.png"), ErrorCode::kNotFound, {"gone.png", "does not exist"});
  expect_error(load_image(dir.folder("folder.png")), ErrorCode::kIo, {"folder.png", "is a folder"});
  expect_error(load_image(dir.write("text.jpg", "hello")), ErrorCode::kUnsupported,
               {"text.jpg", "no known format", "JPEG, PNG"});
  expect_error(load_image(dir.write("zeros.png", std::string(4096, '\0'))), ErrorCode::kUnsupported,
               {"no known format"});
  expect_error(decode("\xff\xd8\xff"), ErrorCode::kCorrupt, {"cannot be decoded", "JPEG"});
  expect_error(decode("\xff\xd8\xff\xe0 no jpeg at all, only its first bytes"), ErrorCode::kCorrupt, {"JPEG"});
  expect_error(decode("BM"), ErrorCode::kCorrupt, {"cannot be decoded"});
  const std::string secret = dir.write("secret.jpg", slurp(kImages + "444.jpg"));
  ::chmod(dir.path().c_str(), 0755);
  ::chmod(secret.c_str(), 0);
  const vireo::test::NotRoot not_root;
  expect_error(load_image(secret), ErrorCode::kIo, {"secret.jpg", "ermission denied"});
}

std::string big_endian(uint32_t v) { return {char(v >> 24), char(v >> 16), char(v >> 8), char(v)}; }

TEST(Image, RefusesBombsBeforeAllocating) {
  std::string png = slurp(kImages + "rgb8.png");
  png.replace(16, 8, big_endian(20000) + big_endian(20000));
  expect_error(decode(png), ErrorCode::kUnsupported, {"20000 x 20000", "178956970"});
  png.replace(16, 8, big_endian(0x7fffffff) + big_endian(0x7fffffff));
  expect_error(decode(png), ErrorCode::kUnsupported, {"2147483647 x 2147483647", "178956970"});
  png.replace(16, 8, big_endian(0) + big_endian(5));
  expect_error(decode(png), ErrorCode::kCorrupt, {"0 x 5"});

  std::string jpeg = slurp(kImages + "444.jpg");
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, std::string("\x4e\x20\x4e\x20"));
  expect_error(decode(jpeg), ErrorCode::kUnsupported, {"20000 x 20000", "178956970"});

  std::string bmp = slurp(kImages + "rgb24.bmp");
  bmp.replace(18, 8, std::string("\x20\x4e\0\0\x20\x4e\0\0", 8));
  expect_error(decode(bmp), ErrorCode::kUnsupported, {"20000 x 20000"});
}

TEST(Npy, RoundTripsAndRefuses) {
  TempDir dir;
  const std::vector<float> values = {1.f, -2.5f, 3e-20f, 4.f, 5.f, 6.f};
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{6}, {2, 3}, {1, 2, 3}, {6, 1, 1, 1}}) {
    ASSERT_TRUE(cli::write_npy(dir / "a.npy", values.data(), shape));
    const auto back = cli::read_npy(dir / "a.npy");
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->shape, shape);
    EXPECT_EQ(back->data, values);
  }
  const std::string bytes = slurp(dir / "a.npy");
  EXPECT_EQ(bytes.find('\n') % 64, 63u);
  expect_error(cli::read_npy(dir.write("cut.npy", bytes.substr(0, bytes.size() - 1))), ErrorCode::kCorrupt,
               {"cut.npy", "truncated"});
  expect_error(cli::read_npy(dir.write("no.npy", "hello, this is no array")), ErrorCode::kCorrupt,
               {"no.npy", "signature"});
  expect_error(cli::read_npy(dir.write("empty.npy", "")), ErrorCode::kCorrupt, {"empty.npy"});
  std::string doubles = bytes;
  doubles.replace(doubles.find("<f4"), 3, "<f8");
  expect_error(cli::read_npy(dir.write("f8.npy", doubles)), ErrorCode::kUnsupported, {"'<f8'", "float32"});
  expect_error(cli::write_npy(dir / "gone/a.npy", values.data(), {6}), ErrorCode::kIo, {"gone/a.npy", "cannot write"});
  EXPECT_TRUE(cli::write_npy("/dev/null", values.data(), {6}));
  struct stat info {};
  ASSERT_EQ(::stat("/dev/null", &info), 0);
  EXPECT_TRUE(S_ISCHR(info.st_mode));
}

}  // namespace
