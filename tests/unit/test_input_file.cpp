// Checkpoints in files: read where they lie, never mapped, and what happens when they change under a model that is
// open.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <vireo/capture.hpp>
#include <vireo/vireo.hpp>

#include "base/input_file.h"
#include "model/checkpoint.h"
#include "unit/test_model_files.h"

namespace vireo {
namespace {

using test::expect_error;
using test::TempDir;

constexpr const char* kWeights = "model.safetensors";

/// The time of change as another clock tick would leave it, whatever the file system's resolution.
void touch_later(const std::string& path) {
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  const timespec times[2] = {info.st_atim, {info.st_mtim.tv_sec + 7, info.st_mtim.tv_nsec}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

std::string model_folder(const TempDir& dir) {
  dir.write("config.json", test::tiny_vit_config());
  dir.write(kWeights, test::safetensors(test::tiny_vit()));
  return dir.path();
}

Result<std::vector<float>> answer(const Model& model, const SessionOptions& options = {}) {
  const Device device = Device::cpu();
  Result<Session> session = Session::create(model, device, options);
  if (!session) return session.error();
  std::vector<float> pixels(size_t(3 * 8 * 8));
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = float(i % 7) * 0.25f - 0.5f;
  const Result<Output> out = session->run(pixels.data(), pixels.size());
  if (!out) return out.error();
  return std::vector<float>(out->data, out->data + out->cols);
}

/// Paths that this process has mapped.
bool is_mapped(const std::string& path) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.size() >= path.size() && line.compare(line.size() - path.size(), path.size(), path) == 0) return true;
  return false;
}

TEST(InputFile, ReadsPiecesAndNothingBeyond) {
  TempDir dir;
  std::string bytes(300000, 'x');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = char(i * 31 >> 3);
  const auto file = InputFile::open(dir.write("f", bytes));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->size(), bytes.size());
  for (const size_t first : {size_t(0), size_t(4095), size_t(4096), size_t(299999), size_t(300000)}) {
    std::string piece(std::min<size_t>(70000, bytes.size() - first), '\0');
    ASSERT_TRUE(file->read(first, piece.size(), &piece[0]).ok());
    EXPECT_EQ(piece, bytes.substr(first, piece.size())) << first;
  }
  char c = 0;
  expect_error(file->read(300000, 1, &c), ErrorCode::kInternal, {"do not exist"});
  expect_error(file->read(UINT64_MAX, 2, &c), ErrorCode::kInternal, {"do not exist"});
}

TEST(InputFile, SaysWhenTheFileIsNoLongerTheOneThatWasOpened) {
  TempDir dir;
  const std::string path = dir.write("f", std::string(9000, 'a'));
  char c = 0;
  const auto cut = InputFile::open(path);
  ASSERT_TRUE(cut.ok());
  ASSERT_EQ(::truncate(path.c_str(), 100), 0);
  expect_error(cut->read(5000, 1, &c), ErrorCode::kIo, {path.c_str(), "was changed after it was opened"});
  expect_error(cut->read(0, 1, &c), ErrorCode::kIo, {"was changed after it was opened"});

  const auto grown = InputFile::open(path);
  ASSERT_TRUE(grown.ok());
  ASSERT_EQ(::truncate(path.c_str(), 200), 0);
  expect_error(grown->read(0, 1, &c), ErrorCode::kIo, {"was changed after it was opened"});

  const auto rewritten = InputFile::open(path);
  ASSERT_TRUE(rewritten.ok());
  ASSERT_TRUE(rewritten->read(0, 1, &c).ok());
  touch_later(path);
  expect_error(rewritten->read(0, 1, &c), ErrorCode::kIo, {"was changed after it was opened"});

  const auto replaced = InputFile::open(path);
  ASSERT_TRUE(replaced.ok());
  dir.write("new", std::string(50, 'b'));
  ASSERT_EQ(::rename((dir / "new").c_str(), path.c_str()), 0);
  ASSERT_TRUE(replaced->read(0, 1, &c).ok()) << "a rename gives the name to another file";
  EXPECT_EQ(c, 'a');
}

TEST(InputFile, ACheckpointIsNotMapped) {
  TempDir dir;
  const std::string folder = model_folder(dir);
  const auto model = Model::open(folder);
  ASSERT_TRUE(model) << model.error().message;
  const auto out = answer(*model);
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_FALSE(is_mapped(dir / kWeights));
  EXPECT_TRUE(is_mapped("/libc.so.6") || is_mapped("/libm.so.6") || is_mapped("unit_tests")) << "the check itself";
}

TEST(InputFile, AModelWhoseFileIsCutShortOrWrittenOverGivesAnErrorNotACrash) {
  TempDir dir;
  const std::string folder = model_folder(dir), path = dir / kWeights, whole = test::safetensors(test::tiny_vit());
  const auto cut = Model::open(folder);
  ASSERT_TRUE(cut) << cut.error().message;
  const auto before = answer(*cut);
  ASSERT_TRUE(before) << before.error().message;
  ASSERT_EQ(::truncate(path.c_str(), off_t(whole.size() / 2)), 0);
  for (const Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
    SessionOptions o;
    o.precision = p;
    expect_error(answer(*cut, o), ErrorCode::kIo, {path.c_str(), "was changed after it was opened"});
  }

  dir.write(kWeights, whole);
  const auto over = Model::open(folder);
  ASSERT_TRUE(over) << over.error().message;
  std::string other = whole;  // the same header, other values: mixing both would answer silently
  for (size_t i = other.size() - 400; i + 4 <= other.size(); i += 4) other[i] = char(other[i] ^ 1);
  dir.write(kWeights, other);
  touch_later(path);
  expect_error(answer(*over), ErrorCode::kIo, {"was changed after it was opened"});

  const auto renamed = Model::open(folder);
  ASSERT_TRUE(renamed) << renamed.error().message;
  const auto old_answer = answer(*renamed);
  ASSERT_TRUE(old_answer.ok());
  dir.write("new", whole);
  ASSERT_EQ(::rename((dir / "new").c_str(), path.c_str()), 0);
  const auto again = answer(*renamed);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, *old_answer);
  const auto fresh = Model::open(folder);
  ASSERT_TRUE(fresh.ok());
  const auto new_answer = answer(*fresh);
  ASSERT_TRUE(new_answer.ok());
  EXPECT_EQ(*new_answer, *before);
}

TEST(InputFile, TwoSessionsPackOneModelAtATimeAndAtOnce) {
  TempDir dir;
  const auto model = Model::open(model_folder(dir));
  ASSERT_TRUE(model) << model.error().message;
  const auto expected = answer(*model);
  ASSERT_TRUE(expected) << expected.error().message;
  const Error not_run{ErrorCode::kInternal, "not run"};
  std::vector<Result<std::vector<float>>> got(4, Result<std::vector<float>>(not_run));
  std::vector<std::thread> threads;
  for (auto& g : got) threads.emplace_back([&g, &model] { g = answer(*model); });
  for (std::thread& t : threads) t.join();
  for (const auto& g : got) {
    ASSERT_TRUE(g) << g.error().message;
    EXPECT_EQ(*g, *expected);
  }
}

/// Every kind of element, at odd places of the file, whole and in rows: what memory gives is what a file gives.
TEST(InputFile, TensorsOfAFileAreThoseOfMemory) {
  const size_t n = 30011;  // more than one block of the conversion, and of no round size
  std::vector<uint16_t> halves(n);
  for (size_t i = 0; i < n; ++i)
    halves[i] = uint16_t((i * 2654435761u >> 7) & 0xbbff);  // finite in both kinds of halves
  const std::string half_bytes(reinterpret_cast<const char*>(halves.data()), n * 2);
  const auto wide = test::noise("f32", {int64_t(n)});
  const std::string file = test::safetensors({{"pad", "U8", {1}, "p"},
                                              {"bf16", "BF16", {int64_t(n)}, half_bytes},
                                              wide,
                                              {"f16", "F16", {int64_t(n)}, half_bytes},
                                              {"none", "F32", {0, 3}, ""}});
  TempDir dir;
  const auto of_memory = Checkpoint::from_memory(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "memory");
  const auto of_file = Checkpoint::open(dir.write("t.safetensors", file));
  ASSERT_TRUE(of_memory) << of_memory.error().message;
  ASSERT_TRUE(of_file) << of_file.error().message;
  for (const char* name : {"bf16", "f32", "f16"}) {
    const auto a = (*of_memory)->constant(name, {int64_t(n)}, "test", 0, int64_t(n), 1);
    const auto b = (*of_file)->constant(name, {int64_t(n)}, "test", 0, int64_t(n), 1);
    ASSERT_TRUE(a) << a.error().message;
    ASSERT_TRUE(b) << b.error().message;
    EXPECT_EQ((*a)->read_all(), (*b)->read_all()) << name;
    const auto c = (*of_memory)->constant(name, {int64_t(n)}, "test", 17, 4000, 7);
    const auto d = (*of_file)->constant(name, {int64_t(n)}, "test", 17, 4000, 7);
    ASSERT_TRUE(c && d);
    std::vector<float> x(7 * 3000), y(7 * 3000);
    (*c)->read(999, 3000, x.data());
    (*d)->read(999, 3000, y.data());
    EXPECT_EQ(x, y) << name;
  }
  EXPECT_TRUE((*of_file)->constant("none", {0, 3}, "test", 0, 0, 3).ok());
}

/// A value that is no number is found wherever it lies, also beyond the first block that is looked through.
TEST(InputFile, FindsWhatIsNoNumberInEveryBlockOfAFile) {
  const int64_t block = int64_t(kTensorBlock / 4), n = 3 * block + 5;
  for (const int64_t at : {int64_t(0), block - 1, block, 2 * block + 1234, n - 1}) {
    std::vector<float> values(size_t(n), 0.5f);
    values[size_t(at)] = std::numeric_limits<float>::infinity();
    TempDir dir;
    const auto w = Checkpoint::open(dir.write("t.safetensors", test::safetensors({test::f32("w", {n}, values)})));
    ASSERT_TRUE(w) << w.error().message;
    expect_error((*w)->constant("w", {n}, "test", 0, 1, n), ErrorCode::kCorrupt,
                 {"infinite value", ("at [" + std::to_string(at) + "]").c_str()});
  }
}

TEST(InputFile, CapturesAreReadTheSameWay) {
  TempDir dir;
  const auto model = Model::open(model_folder(dir));
  ASSERT_TRUE(model) << model.error().message;
  const Device device = Device::cpu();
  auto session = Session::create(*model, device, {});
  ASSERT_TRUE(session) << session.error().message;
  const std::vector<float> pixels(size_t(3 * 8 * 8), 0.25f);
  const std::string file = dir / "c.vireo";
  const auto wrote = capture(*session, pixels.data(), pixels.size(), file);
  ASSERT_TRUE(wrote) << wrote.error().message;
  const auto same = replay(file, device);
  ASSERT_TRUE(same) << same.error().message;
  EXPECT_FALSE(is_mapped(file));

  // The session lives on when its file is cut short, but what its weights were can no longer be said.
  ASSERT_EQ(::truncate((dir / kWeights).c_str(), 500), 0);
  EXPECT_TRUE(session->run(pixels.data(), pixels.size()).ok());
  expect_error(capture(*session, pixels.data(), pixels.size(), dir / "late.vireo"), ErrorCode::kIo,
               {kWeights, "was changed after it was opened"});
  EXPECT_EQ(path_kind(dir / "late.vireo"), PathKind::kMissing);
}

}  // namespace
}  // namespace vireo
