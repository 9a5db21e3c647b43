// What structure found is kept, found again to the bit and shared by recipes that say the same of it; and it leaves
// whole groups to codes of four bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "compress/kept_structure.h"
#include "compress/recipe.h"
#include "runtime/model_impl.h"
#include "test_model_family.h"

#include <vireo/compress.hpp>

namespace vireo {
namespace {

using namespace compress;
using test::TempDir;

Narrowing some() {
  Narrowing n;
  n.config = "{\"a\": \"\xc3\xa4\"}\n";
  n.passes = 3;
  SmallerBlock b;
  b.block = "blocks.3", b.before = {3, 64, 64, 768}, b.after = {2, 32, -1, 0}, b.kl = 0.1 + 0.2;
  n.blocks = {b, b};
  n.tensors["w"] = {"w", "F16", {2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};
  n.tensors["gone"] = {"gone", "", {}, {}};
  return n;
}

TEST(CompressKeptStructure, IsFoundAgainToTheBit) {
  const TempDir dir;
  const Kept kept(dir.path());
  Key key, other;
  other.add(uint64_t(1));
  ASSERT_TRUE(keep(kept, key, some()).ok());
  Narrowing n;
  EXPECT_FALSE(find_kept(kept, other, &n));
  ASSERT_TRUE(find_kept(kept, key, &n));
  const Narrowing was = some();
  EXPECT_EQ(n.config, was.config);
  EXPECT_EQ(n.passes, was.passes);
  ASSERT_EQ(n.blocks.size(), 2u);
  EXPECT_EQ(n.blocks[1].block, "blocks.3");
  EXPECT_EQ(n.blocks[1].before, was.blocks[1].before);
  EXPECT_EQ(n.blocks[1].after, was.blocks[1].after);
  EXPECT_EQ(n.blocks[1].kl, was.blocks[1].kl);
  ASSERT_EQ(n.tensors.size(), 2u);
  EXPECT_EQ(n.tensors["w"].bytes, was.tensors.at("w").bytes);
  EXPECT_EQ(n.tensors["w"].shape, was.tensors.at("w").shape);
  EXPECT_EQ(n.tensors["w"].dtype, "F16");
  EXPECT_TRUE(n.tensors["gone"].bytes.empty());
  // Other things that a folder keeps are none.
  ASSERT_TRUE(kept.keep(other, 0.5).ok());
  EXPECT_FALSE(find_kept(kept, other, &n));
  for (const std::string& text : {std::string(), std::string(8, '\0'), std::string(8, '\xff'),
                                  std::string("\x02\0\0\0\0\0\0\0{}", 10), std::string("\x04\0\0\0\0\0\0\0null", 12)}) {
    ASSERT_TRUE(kept.keep(other, std::vector<uint8_t>(text.begin(), text.end())).ok());
    EXPECT_FALSE(find_kept(kept, other, &n));
  }
  EXPECT_TRUE(keep(Kept(""), key, some()).ok());
  EXPECT_FALSE(find_kept(Kept(""), key, &n));
}

std::vector<std::string> kept_files(const TempDir& dir) {
  std::vector<std::string> all;
  if (DIR* d = ::opendir(dir.path().c_str())) {
    while (const dirent* e = ::readdir(d))
      if (e->d_name[0] != '.') all.push_back(e->d_name);
    ::closedir(d);
  }
  return all;
}

Result<CompressReport> run(const std::string& recipe, const std::string& work, const std::string& out, int pictures,
                           std::vector<std::string>* said = nullptr) {
  VIREO_ASSIGN(const Model model, Model::open(family_test::kCases + "hf-vit"));
  CompressOptions o;
  o.recipe = recipe, o.work = work, o.sensitivity = false, o.threads = 2;
  if (said != nullptr) o.progress = [said](const std::string& what, double) { said->push_back(what); };
  VIREO_ASSIGN(Compressor c, Compressor::create(model, o));
  for (int n = 0; n < pictures; ++n) {
    std::vector<uint8_t> rgb;
    for (int i = 0; i < 50 * 50 * 3; ++i) rgb.push_back(uint8_t(127.5 + 100 * std::sin(0.1 * i * (1 + n % 3) + n)));
    VIREO_TRY(c.add(Image{rgb.data(), 50, 50, 0}));
  }
  return c.write(out);
}

bool measured(const std::vector<std::string>& said) {
  return std::find(said.begin(), said.end(), "measuring") != said.end();
}

TEST(CompressKeptStructure, RecipesThatSayTheSameOfItShareIt) {
  const TempDir work, alone, first, second, other, fresh;
  std::vector<std::string> said;
  ASSERT_TRUE(run("prune15", work.path(), first.path(), 10, &said).ok());
  EXPECT_TRUE(measured(said));
  const size_t kept = kept_files(work).size();
  EXPECT_GT(kept, 0u);
  said.clear();
  const auto with = run("prune15+w8a8", work.path(), second.path(), 10, &said);
  ASSERT_TRUE(with.ok()) << with.error().message;
  EXPECT_FALSE(measured(said)) << "worked out again";
  const auto without = run("prune15+w8a8", "", alone.path(), 10);
  ASSERT_TRUE(without.ok());
  for (const char* file : {"/model.safetensors", "/config.json"})
    EXPECT_EQ(family_test::read_file(second.path() + file), family_test::read_file(alone.path() + file)) << file;
  ASSERT_EQ(with->blocks.size(), without->blocks.size());
  for (size_t i = 0; i < with->blocks.size(); ++i) EXPECT_EQ(with->blocks[i].kl, without->blocks[i].kl);
  EXPECT_EQ(with->parameters_after, without->parameters_after);
  EXPECT_EQ(with->passes, without->passes);
  // Other pictures, another share: nothing of it is taken.
  said.clear();
  ASSERT_TRUE(run("prune15", work.path(), other.path(), 11, &said).ok());
  EXPECT_TRUE(measured(said));
  said.clear();
  ASSERT_TRUE(run("prune10", work.path(), fresh.path(), 10, &said).ok());
  EXPECT_TRUE(measured(said));
}

TEST(CompressStructureGroups, CodesOfFourBitsKeepWholeGroups) {
  for (const char* recipe : {"prune15+w4g32", "prune20+w4g32"}) {
    const TempDir out;
    const auto r = run(recipe, "", out.path(), 10);
    ASSERT_TRUE(r.ok()) << r.error().message;
    EXPECT_LE(r->macs, r->macs_before * (recipe[5] == '1' ? 0.85 : 0.8));
    size_t four = 0;
    for (const CompressedLayer& l : r->layers) {
      if (l.kind != "linear") continue;
      ++four;
      EXPECT_EQ(l.format, "i4g32") << recipe << ": " << l.tensor << " with " << l.cols << " columns";
    }
    EXPECT_GT(four, 0u);
    for (const std::string& n : r->notes) EXPECT_EQ(n.find("take 8 bits"), std::string::npos) << n;
    EXPECT_TRUE(Model::open(out.path()).ok());
  }
  // Alone, or with codes that have no groups, widths are as fine as they were.
  const auto alone = Choice::of_recipe("prune15"), eight = Choice::of_recipe("prune15+w8"),
             grouped = Choice::of_recipe("prune15+w4g64"), turned = Choice::of_recipe("w4g64+prune15");
  ASSERT_TRUE(alone.ok() && eight.ok() && grouped.ok() && turned.ok());
  EXPECT_EQ(alone->structure.columns, 1);
  EXPECT_EQ(eight->structure.columns, 1);
  EXPECT_EQ(grouped->structure.columns, 64);
  EXPECT_EQ(turned->structure.columns, 64);
  EXPECT_EQ(alone->structure.text(), eight->structure.text());
  EXPECT_NE(alone->structure.text(), grouped->structure.text());
}

}  // namespace
}  // namespace vireo
