// vireo::search_budget as an embedding program calls it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "test_model_family.h"

#include <vireo/budget.hpp>
#include <vireo/predict.hpp>

namespace vireo {
namespace {

using test::TempDir;

struct Pictures {
  std::vector<std::vector<uint8_t>> rgb;
  std::vector<Image> images;
  explicit Pictures(int count) {
    for (int n = 0; n < count; ++n) {
      rgb.emplace_back();
      for (int i = 0; i < 50 * 50 * 3; ++i)
        rgb.back().push_back(uint8_t(127.5 + 100 * std::sin(0.1 * (i % 150) * (1 + n % 3) + 0.02 * (i / 150) + n)));
    }
    for (const auto& p : rgb) images.push_back({p.data(), 50, 50, 0});
  }
};

BudgetOptions options(const TempDir& work) {
  BudgetOptions o;
  o.machine = "jetson-nano", o.caps = *machine_caps("jetson-nano");
  o.work = work.path(), o.threads = 2;
  return o;
}

Model opened() {
  auto m = Model::open(family_test::kCases + "hf-vit");
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

std::set<std::string> endings(const TempDir& dir) {
  std::set<std::string> all;
  if (DIR* d = ::opendir(dir.path().c_str())) {
    while (const dirent* e = ::readdir(d)) {
      const std::string name = e->d_name;
      if (name != "." && name != "..") all.insert(name.substr(std::min(name.rfind('.'), name.size() - 1)));
    }
    ::closedir(d);
  }
  return all;
}

TEST(BudgetSearch, WhatItChoosesKeepsTheBudget) {
  const Model model = opened();
  const Pictures pictures(16);
  const TempDir work, out;
  BudgetOptions o = options(work);
  o.budget.mb = 0.7;
  size_t last = 0, all = 0;
  o.progress = [&](const std::string& name, size_t done, size_t of) {
    EXPECT_FALSE(name.empty());
    EXPECT_EQ(done, last + 1);
    last = done, all = of;
  };
  const auto found = search_budget(model, pictures.images, o);
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(last, found->all.size());
  EXPECT_EQ(all, found->all.size());
  EXPECT_EQ(found->pictures, 16u);
  ASSERT_TRUE(found->verdict.met) << found->verdict.sentence;
  const Candidate& c = found->all.at(found->verdict.chosen);
  EXPECT_LE(double(c.bytes) / 1e6, 0.7);
  EXPECT_GT(double(found->original.bytes) / 1e6, 0.7);
  EXPECT_GT(found->original.ms, 0);
  EXPECT_FALSE(found->front.empty());
  // Every judged candidate that is in the budget diverges at least as much.
  for (const Candidate& other : found->all) {
    if (!other.known() || double(other.bytes) / 1e6 > 0.7) continue;
    EXPECT_GE(other.kl, c.kl) << other.name();
  }
  // Nothing but what a later search may take stays in the folder.
  EXPECT_EQ(endings(work), std::set<std::string>{".kept"});
  // What the program does with it: the same bytes, as they were kept.
  CompressOptions how;
  how.recipe = c.recipe(), how.policy = c.policy, how.sensitivity = false;
  auto compressor = Compressor::create(model, how);
  ASSERT_TRUE(compressor.ok()) << compressor.error().message;
  for (const Image& p : pictures.images) ASSERT_TRUE(compressor->add(p).ok());
  const auto report = compressor->write(out.path());
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_LE(report->bytes_after, c.network.empty() ? c.bytes : c.bytes * 11 / 10);  // blocks by more pictures
}

TEST(BudgetSearch, WhatIsWrongIsOneError) {
  const Model model = opened();
  const TempDir work;
  const auto says = [&](const Pictures& pictures, const BudgetOptions& o, ErrorCode code, const std::string& what) {
    const auto r = search_budget(model, pictures.images, o);
    ASSERT_FALSE(r.ok()) << what;
    EXPECT_EQ(r.error().code, code) << r.error().message;
    EXPECT_NE(r.error().message.find(what), std::string::npos) << r.error().message;
  };
  const Pictures enough(16);
  says(Pictures(15), options(work), ErrorCode::kInvalidArgument, "15 pictures and needs at least 16");
  BudgetOptions o = options(work);
  o.work = "";
  says(enough, o, ErrorCode::kInvalidArgument, "needs a folder for its work");
  o = options(work), o.machine = "toaster";
  says(enough, o, ErrorCode::kNotFound, "toaster");
  o = options(work), o.work = "/proc/no/such/place";
  says(enough, o, ErrorCode::kIo, "/proc/no/such/place");
  for (const int stop : {1, 30, 60}) {
    int asked = 0;
    o = options(work), o.stop = [&asked, stop] { return ++asked > stop; };
    says(enough, o, ErrorCode::kInvalidArgument, "stopped");
    EXPECT_EQ(endings(work).count("e"), 0u) << "the candidate's folder is left";
  }
}

}  // namespace
}  // namespace vireo
