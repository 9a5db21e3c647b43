// What a run keeps: found again to the bit, never taken for something else, and of no influence on the answer.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "compress/kept.h"
#include "test_model_family.h"

#include <vireo/compress.hpp>

namespace vireo {
namespace {

using compress::Kept;
using compress::KeptLayer;
using compress::Key;
using test::TempDir;

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";

KeptLayer some_layer() {
  KeptLayer k;
  k.rows = 3;
  k.coded.grid.bits = 4, k.coded.grid.scope = Scope::kGroup, k.coded.grid.group = 8, k.coded.grid.lowest = true;
  for (int i = 0; i < 3 * 16; ++i) k.coded.codes.push_back(int8_t(i % 15 - 8));
  for (int i = 0; i < 6; ++i) k.coded.scales.push_back(0.1f * float(i + 1));
  k.coded.half_scales = false;
  k.error = 0.125, k.has_range = true, k.outlier = true, k.least = -2.5f, k.most = 7.f;
  k.shift = {0.5f, -0.25f, 3.f};
  return k;
}

TEST(CompressKept, IsFoundAgainToTheBit) {
  const TempDir dir;
  const Kept kept(dir.path());
  const KeptLayer k = some_layer();
  Key key, other;
  key.add(std::string("layer"));
  ASSERT_TRUE(kept.keep(key, k).ok());
  KeptLayer found;
  ASSERT_TRUE(kept.find(key, 3, 16, &found));
  EXPECT_EQ(found.coded.codes, k.coded.codes);
  EXPECT_EQ(found.coded.scales, k.coded.scales);
  EXPECT_EQ(found.coded.grid, k.coded.grid);
  EXPECT_EQ(found.coded.half_scales, false);
  EXPECT_EQ(found.error, k.error);
  EXPECT_EQ(found.rows, 3);
  EXPECT_TRUE(found.has_range && found.outlier);
  EXPECT_EQ(found.least, k.least);
  EXPECT_EQ(found.most, k.most);
  EXPECT_EQ(found.shift, k.shift);
  EXPECT_FALSE(kept.find(other, 3, 16, &found));
  EXPECT_FALSE(kept.find(key, 16, 3, &found));
  EXPECT_FALSE(kept.find(key, 3, 17, &found));
  double number = 0;
  EXPECT_FALSE(kept.find(key, &number));  // a layer is no number
  Key third;
  third.add(uint64_t(3));
  ASSERT_TRUE(kept.keep(third, 0.1).ok());
  ASSERT_TRUE(kept.find(third, &number));
  EXPECT_EQ(number, 0.1);
  const Kept none("");
  EXPECT_TRUE(none.keep(key, k).ok());
  EXPECT_FALSE(none.find(key, 3, 16, &found));
}

TEST(CompressKept, DamagedItIsNotFound) {
  const TempDir dir;
  const Kept kept(dir.path());
  Key key;
  ASSERT_TRUE(kept.keep(key, some_layer()).ok());
  const std::string file = dir.path() + fmt::format("/{:016x}.kept", key.value());
  std::ifstream in(file, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  ASSERT_FALSE(whole.empty());
  KeptLayer found;
  const auto with = [&](const std::string& bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
    return kept.find(key, 3, 16, &found);
  };
  EXPECT_TRUE(with(whole));
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string bad = whole;
    bad[at] = char(bad[at] ^ 0x10);
    EXPECT_FALSE(with(bad)) << "byte " << at;
  }
  for (const size_t n : {size_t(0), size_t(1), size_t(7), size_t(8), whole.size() - 1})
    EXPECT_FALSE(with(whole.substr(0, n)));
  EXPECT_FALSE(with(whole + "x"));
}

TEST(CompressKept, AFullDiskIsSaid) {
  const Kept kept("/proc/no/such/place");
  const auto r = kept.keep(Key(), 1.0);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, ErrorCode::kIo);
  EXPECT_NE(r.error().message.find("/proc/no/such/place"), std::string::npos) << r.error().message;
}

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

/// Stops at the n-th question, as a kill would, but with what was kept until then.
Result<CompressReport> run(const Model& model, CompressOptions o, const std::string& out, int pictures, int stop_at) {
  int asked = 0;
  if (stop_at > 0) o.stop = [&asked, stop_at] { return ++asked >= stop_at; };
  VIREO_ASSIGN(Compressor c, Compressor::create(model, o));
  for (int n = 0; n < pictures; ++n) {
    std::vector<uint8_t> rgb;
    for (int i = 0; i < 50 * 50 * 3; ++i) rgb.push_back(uint8_t(127.5 + 100 * std::sin(0.1 * i * (1 + n % 3) + n)));
    VIREO_TRY(c.add(Image{rgb.data(), 50, 50, 0}));
  }
  return c.write(out);
}

TEST(CompressKept, AStoppedRunGoesOnToTheSameBytes) {
  const auto model = Model::open(kCases + "hf-vit");
  ASSERT_TRUE(model.ok()) << model.error().message;
  for (const char* recipe : {"w4g32", "w8a8static"}) {
    CompressOptions o;
    o.recipe = recipe, o.threads = 2;
    const TempDir plain, work, out;
    const auto whole = run(*model, o, plain.path(), 9, 0);
    ASSERT_TRUE(whole.ok()) << whole.error().message;
    EXPECT_EQ(whole->found, 0u);
    o.work = work.path();
    size_t found = 0;
    for (int stop = 2; stop < 400; stop += 9) {
      const auto r = run(*model, o, out.path(), 9, stop);
      if (!r.ok()) {
        EXPECT_NE(r.error().message.find("stopped"), std::string::npos) << r.error().message;
        EXPECT_EQ(bytes_of(out.path() + "/model.safetensors"), "");
        continue;
      }
      found = r->found;
      break;
    }
    EXPECT_GT(found, 0u) << recipe;
    for (const char* file : {"/model.safetensors", "/config.json"})
      EXPECT_EQ(bytes_of(out.path() + file), bytes_of(plain.path() + file)) << recipe;
    // Other pictures, another recipe: nothing of it is taken.
    const TempDir other, fresh;
    const auto more = run(*model, o, other.path(), 10, 0);
    ASSERT_TRUE(more.ok());
    EXPECT_EQ(more->found, 0u);
    CompressOptions three = o;
    three.recipe = "w4g64";
    const auto coarse = run(*model, three, fresh.path(), 9, 0);
    ASSERT_TRUE(coarse.ok());
    EXPECT_EQ(coarse->found, 0u);
  }
}

TEST(CompressKept, ARecipeTakesRulesForSingleWeights) {
  const auto model = Model::open(kCases + "hf-vit");
  ASSERT_TRUE(model.ok()) << model.error().message;
  CompressOptions o;
  o.recipe = "w4g32", o.policy = "blocks.0.mlp.* i8\n", o.sensitivity = false;
  const TempDir out;
  const auto r = run(*model, o, out.path(), 9, 0);
  ASSERT_TRUE(r.ok()) << r.error().message;
  size_t eight = 0, four = 0;
  for (const CompressedLayer& l : r->layers) {
    if (l.kind != "linear") continue;
    const bool named = l.node.rfind("blocks.0.mlp.", 0) == 0;
    EXPECT_EQ(l.format.substr(0, 2), named ? "i8" : "i4") << l.node << " " << l.format;
    (named ? eight : four) += 1;
  }
  EXPECT_EQ(eight, 2u);
  EXPECT_GT(four, 2u);
  for (const char* both : {"weights i8\n", "products i8\nblocks.0.* i8\n"}) {
    o.policy = both;
    const auto refused = Compressor::create(*model, o);
    ASSERT_FALSE(refused.ok()) << both;
    EXPECT_NE(refused.error().message.find("beside recipe 'w4g32'"), std::string::npos) << refused.error().message;
  }
  o.policy = "blocks.77.* i8\n";
  EXPECT_FALSE(Compressor::create(*model, o).ok());
}

}  // namespace
}  // namespace vireo
