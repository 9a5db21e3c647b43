// The safetensors reader and the checkpoint: every promise of a header is checked, every refusal says why.
#include "model/checkpoint.h"
#include "model/safetensors.h"

#include <cmath>
#include <limits>

#include "base/half.h"
#include "base/input_file.h"
#include "test_model_files.h"

namespace vireo {
namespace {

using test::expect_error;
using test::raw_safetensors;
using test::TempDir;

Result<std::vector<TensorView>> parse(const std::string& file) {
  return parse_safetensors(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "t.safetensors");
}
void refused(const std::string& file, std::initializer_list<const char*> parts) {
  expect_error(parse(file), ErrorCode::kCorrupt, parts);
}
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

TEST(Safetensors, ListsTensorsInTheOrderOfTheirData) {
  const std::string file =
      raw_safetensors("{" + entry("b", "F32", "[2,1]", "[4,12]") + "," + entry("a", "F16", "[2]", "[0,4]") +
                          ",\"__metadata__\":{\"x\":\"y\"}," + entry("empty", "F32", "[0,7]", "[12,12]") + "," +
                          entry("scalar", "U8", "[]", "[12,13]") + "}   ",
                      std::string(13, 'x'));
  const auto views = parse(file);
  ASSERT_TRUE(views) << views.error().message;
  ASSERT_EQ(views->size(), 4u);
  EXPECT_EQ((*views)[0].name, "a");
  EXPECT_EQ((*views)[1].name, "b");
  EXPECT_EQ((*views)[1].shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ((*views)[1].bytes, 8u);
  EXPECT_EQ((*views)[2].name, "empty");
  EXPECT_EQ((*views)[3].name, "scalar");
  EXPECT_EQ((*views)[3].elements(), 1);
}

TEST(Safetensors, RefusesBrokenHeaders) {
  refused("", {"t.safetensors", "0 bytes"});
  refused("abc", {"3 bytes", "at least 8"});
  refused(raw_safetensors("{}", "").substr(0, 9), {"truncated", "claims 2 bytes", "1 follow"});
  refused(std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8) + "{}", {"claims", "expected at most 100000000"});
  refused(std::string(8, '\0') + "{}", {"does not begin with '{'"});
  refused(raw_safetensors("[]", ""), {"does not begin with '{'"});
  refused(raw_safetensors("{\"a\":", ""), {"not valid JSON"});
  refused(raw_safetensors("{} {}", ""), {"not valid JSON"});
  refused(raw_safetensors("{\"a\":\"\xff\"}", ""), {"JSON"});
  refused(raw_safetensors("{\"a\":3}", ""), {"'a'", "a number", "expected an object"});
  refused(raw_safetensors("{\"a\":[1]}", ""), {"'a'", "array"});
  refused(raw_safetensors("{\"a\":{}}", ""), {"'a'", "no 'dtype'"});
  refused(raw_safetensors("{\"a\":{\"dtype\":\"F32\"}}", ""), {"'a'", "no 'shape'"});
  refused(raw_safetensors("{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", ""), {"'a'", "data_offsets"});
  refused(raw_safetensors("{" + entry("a", "F32", "[1]", "[0]") + "}", "xxxx"), {"'a'", "data_offsets"});
  refused(raw_safetensors("{" + entry("a", "F32", "[1]", "[0,4,8]") + "}", "xxxx"), {"'a'", "more than two"});
  refused(raw_safetensors("{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", "xxxx"),
          {"'a'", "dtype", "string"});
  refused(raw_safetensors("{" + entry("a", "F32", "[1.5]", "[0,4]") + "}", "xxxx"), {"'a'", "fractional", "shape"});
  refused(raw_safetensors("{" + entry("a", "F32", "[-1]", "[0,4]") + "}", "xxxx"), {"'a'", "negative", "shape"});
  refused(raw_safetensors("{" + entry("a", "F32", "[1]", "[0,\"4\"]") + "}", "xxxx"),
          {"'a'", "string", "data_offsets"});
  refused(
      raw_safetensors("{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("a", "F32", "[1]", "[0,4]") + "}", "xxxx"),
      {"'a'", "twice"});
  refused(raw_safetensors("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}", "xxxx"),
          {"'a'", "'dtype' twice"});
}

TEST(Safetensors, RefusesRangesThatDoNotFit) {
  refused(raw_safetensors("{" + entry("a", "F32", "[2]", "[0,8]") + "}", "xxxx"), {"'a'", "[0, 8]", "4 bytes"});
  refused(raw_safetensors("{" + entry("a", "F32", "[2]", "[4,0]") + "}", "xxxx"), {"'a'", "end before they begin"});
  refused(raw_safetensors("{" + entry("a", "F32", "[3]", "[0,8]") + "}", "xxxxxxxx"),
          {"'a'", "needs 12 bytes", "hold 8"});
  refused(raw_safetensors("{" + entry("a", "F32", "[1099511627776,1099511627776]", "[0,0]") + "}", ""),
          {"'a'", "impossible shape"});
  refused(raw_safetensors("{" + entry("a", "F32", "[18446744073709551615]", "[0,4]") + "}", "xxxx"), {"'a'", "2^40"});
  refused(raw_safetensors("{" + entry("a", "F32", "[0,18446744073709551615]", "[0,0]") + "}", ""), {"'a'", "2^40"});
  refused(raw_safetensors("{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[2]", "[4,12]") + "}",
                          std::string(12, 'x')),
          {"'b'", "begins at 4", "expected 8", "overlaps", "'a'"});
  refused(raw_safetensors("{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[8,12]") + "}",
                          std::string(12, 'x')),
          {"'b'", "hole after", "'a'"});
  refused(raw_safetensors("{" + entry("a", "F32", "[1]", "[0,4]") + "}", std::string(9, 'x')), {"5 bytes follow"});
  expect_error(parse(raw_safetensors("{" + entry("a", "F99", "[1]", "[0,4]") + "}", "xxxx")), ErrorCode::kUnsupported,
               {"'a'", "unknown dtype 'F99'"});
}

TEST(Safetensors, DeepAndLongHeadersDoNotHurt) {
  refused(raw_safetensors("{\"a\":" + std::string(100000, '['), ""), {"t.safetensors"});
  const std::string nested = std::string(50000, '[') + std::string(50000, ']');
  EXPECT_TRUE(parse(raw_safetensors("{\"__metadata__\":" + nested + "}", "")).ok());
  refused(raw_safetensors("{\"" + std::string(100000, 'n') + "\":3}", ""), {"nnn..."});
}

TEST(TensorConstant, ReadsRowsOfEveryWeightTypeAtAnyAlignment) {
  const std::vector<float> values = {1.5f, -2.f, 0.25f, 3.f, -0.5f, 1024.f};
  for (const std::string dtype : {"F32", "F16", "BF16"}) {
    std::string bytes;
    for (float v : values) {
      uint32_t word = float_to_bits(v);
      if (dtype == "F16") word = float_to_half(v);
      if (dtype == "BF16") word >>= 16;
      bytes.append(reinterpret_cast<const char*>(&word), dtype == "F32" ? 4 : 2);
    }
    const std::string file =
        raw_safetensors("{" + entry("pad", "U8", "[1]", "[0,1]") + "," +
                            entry("w", dtype, "[3,2]", "[1," + std::to_string(1 + bytes.size()) + "]") + "}",
                        "p" + bytes);
    const auto weights = Checkpoint::from_memory(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "t");
    ASSERT_TRUE(weights) << weights.error().message;
    const auto whole = (*weights)->constant("w", {3, 2}, "test", 0, 3, 2);
    ASSERT_TRUE(whole) << whole.error().message;
    EXPECT_EQ((*whole)->read_all(), values);
    const auto tail = (*weights)->constant("w", {1, 3, 2}, "test", 1, 2, 2);
    ASSERT_TRUE(tail);
    float row[2];
    (*tail)->read(1, 1, row);
    EXPECT_EQ(row[0], -0.5f);
    EXPECT_EQ(row[1], 1024.f);
    EXPECT_EQ((*weights)->unused(), std::vector<std::string>{"pad"});
  }
}

TEST(Checkpoint, NamesMissingMisshapenAndDamagedTensors) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  std::vector<float> late(5000, 1.f);
  late[4321] = -inf;
  const std::string file = test::safetensors({test::f32("ok", {2, 3}, {1, 2, 3, 4, 5, 6}),
                                              test::f32("nan", {2, 3}, {1, 2, 3, 4, nan, 6}),
                                              test::f32("inf", {5000}, late),
                                              {"int", "I64", {1}, std::string(8, 'x')}});
  const auto w = *Checkpoint::from_memory(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "t.safetensors");
  expect_error(w->constant("gone", {2, 3}, "key", 0, 2, 3), ErrorCode::kNotFound,
               {"'gone'", "missing", "[2, 3]", "t.safetensors"});
  expect_error(w->constant("ok", {3, 2}, "from 'config.json'", 0, 3, 2), ErrorCode::kCorrupt,
               {"'ok'", "has shape [2, 3]", "expected [3, 2]", "from 'config.json'"});
  expect_error(w->constant("int", {1}, "key", 0, 1, 1), ErrorCode::kUnsupported,
               {"'int'", "I64", "F32, F16, BF16 or F64"});
  expect_error(w->constant("nan", {2, 3}, "key", 0, 2, 3), ErrorCode::kCorrupt, {"'nan'", "NaN at [1, 1]"});
  expect_error(w->constant("inf", {5000}, "key", 0, 1, 5000), ErrorCode::kCorrupt,
               {"'inf'", "infinite value at [4321]"});
  EXPECT_TRUE(w->constant("ok", {2, 3}, "key", 0, 2, 3).ok());
}

TEST(Checkpoint, OpensFoldersFilesAndShards) {
  TempDir dir;
  const auto a = test::noise("a", {2, 2}), b = test::noise("b", {3});
  dir.write("one.safetensors", test::safetensors({a}));
  dir.write("two.safetensors", test::safetensors({b}));
  expect_error(Checkpoint::open(dir.path()), ErrorCode::kNotFound, {"2 .safetensors files"});
  EXPECT_TRUE((*Checkpoint::open(dir / "one.safetensors"))->has("a"));
  dir.write("model.safetensors.index.json",
            R"({"metadata":{},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const auto both = Checkpoint::open(dir.path());
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_TRUE((*both)->has("a") && (*both)->has("b"));
  EXPECT_TRUE(Checkpoint::open(dir / "model.safetensors.index.json").ok());
  ::symlink((dir / "two.safetensors").c_str(), (dir / "link.safetensors").c_str());
  dir.write("model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors","b":"link.safetensors"}})");
  EXPECT_TRUE(Checkpoint::open(dir.path()).ok());
}

TEST(Checkpoint, RefusesBadIndexes) {
  TempDir dir;
  dir.write("one.safetensors", test::safetensors({test::noise("a", {2})}));
  dir.write("two.safetensors", test::safetensors({test::noise("a", {2})}));
  const auto with = [&](const std::string& index) {
    dir.write("model.safetensors.index.json", index);
    return Checkpoint::open(dir.path());
  };
  expect_error(with("{"), ErrorCode::kCorrupt, {"index.json", "not valid JSON"});
  expect_error(with("[]"), ErrorCode::kCorrupt, {"index.json", "expected a JSON object"});
  expect_error(with("{}"), ErrorCode::kCorrupt, {"weight_map"});
  expect_error(with(R"({"weight_map":{"a":3}})"), ErrorCode::kCorrupt, {"'a'", "expected a file name"});
  for (const char* path :
       {"/etc/passwd", "../one.safetensors", "..", "sub/one.safetensors", "sub\\\\one.safetensors", "", "."}) {
    expect_error(with(std::string(R"({"weight_map":{"a":")") + path + "\"}}"), ErrorCode::kCorrupt,
                 {"same folder", "'a'"});
  }
  expect_error(with(R"({"weight_map":{"a":"one\u0000.safetensors"}})"), ErrorCode::kCorrupt, {"same folder"});
  expect_error(with(R"({"weight_map":{"a":"gone.safetensors"}})"), ErrorCode::kNotFound,
               {"gone.safetensors", "missing"});
  expect_error(with(R"({"weight_map":{"b":"one.safetensors"}})"), ErrorCode::kCorrupt, {"'b'", "does not hold it"});
  expect_error(with(R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})"), ErrorCode::kCorrupt,
               {"'a' is in both"});
}

TEST(Checkpoint, SaysWhatIsWrongWithAPath) {
  TempDir dir;
  expect_error(Checkpoint::open(dir / "gone"), ErrorCode::kNotFound, {"gone", "does not exist"});
  expect_error(Checkpoint::open(dir.path()), ErrorCode::kNotFound,
               {"model.safetensors", "expected a Hugging Face or timm"});
  dir.write("pytorch_model.bin", "x");
  expect_error(Checkpoint::open(dir.path()), ErrorCode::kNotFound, {"convert them to safetensors"});
  dir.write("model.safetensors", "");
  expect_error(Checkpoint::open(dir.path()), ErrorCode::kCorrupt, {"model.safetensors", "empty (0 bytes)"});
  ::unlink((dir / "model.safetensors").c_str());
  dir.folder("model.safetensors");
  expect_error(Checkpoint::open(dir.path()), ErrorCode::kIo, {"model.safetensors", "is a folder"});
}

TEST(InputFile, OutlivesItsFileAndReportsPermission) {
  TempDir dir;
  const std::string path = dir.write("f", "hello");
  auto file = InputFile::open(path);
  ASSERT_TRUE(file);
  ::unlink(path.c_str());
  const InputFile moved = std::move(*file);
  std::string text(4, ' ');
  const auto read = moved.read(1, 4, &text[0]);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(text, "ello");
  expect_error(moved.read(2, 4, &text[0]), ErrorCode::kInternal, {"bytes 2 to 6 do not exist"});
  expect_error(InputFile::open(path), ErrorCode::kNotFound, {path.c_str(), "does not exist"});
  expect_error(InputFile::open(dir.path()), ErrorCode::kIo, {"is a folder"});
  expect_error(InputFile::open("/dev/null"), ErrorCode::kIo, {"not a regular file"});
  const std::string secret = dir.write("secret", "x");
  ::chmod(secret.c_str(), 0);
  const test::NotRoot not_root;
  expect_error(InputFile::open(secret), ErrorCode::kIo, {"no permission", "secret"});
}

}  // namespace
}  // namespace vireo
