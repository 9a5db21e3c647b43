// Ending work early (TuneOptions, ProfileOptions and FitOptions: stop): what was done until then is kept.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

#include <vireo/predict.hpp>
#include <vireo/profile.hpp>

namespace vireo {
namespace {

Model small_model() {
  Result<Model> m = Model::open(std::string(VIREO_TEST_DATA) + "/cases/hf-vit");
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

/// True from call number `from` on, counted from 1.
struct Stop {
  explicit Stop(int from) : from_(from) {}
  bool operator()() { return ++*calls_ >= from_; }
  int calls() const { return *calls_; }

 private:
  int from_;
  std::shared_ptr<int> calls_ = std::make_shared<int>(0);
};

Profile profiled(const Device& device, int runs, int timed_at_once, const Stop& stop) {
  const Model model = small_model();
  SessionOptions o;
  o.fallback = false;
  o.cache_dir = "-";
  Result<Session> s = Session::create(model, device, o);
  EXPECT_TRUE(s.ok()) << s.error().message;
  std::vector<float> x(size_t(model.channels()) * size_t(s->input_height()) * size_t(s->input_width()), 0.25f);
  ProfileOptions options;
  options.runs = runs;
  options.warmup = 1;
  options.timed_at_once = timed_at_once;
  options.stop = stop;
  const Result<Profile> p = s->profile(x.data(), x.size(), options);
  EXPECT_TRUE(p.ok()) << p.error().message;
  return p ? *p : Profile();
}

bool says(const std::vector<std::string>& notes, const std::string& what) {
  return std::any_of(notes.begin(), notes.end(), [&](const auto& n) { return n.find(what) != std::string::npos; });
}

TEST(Stop, AProfileIsOfTheRunsDone) {
  const Stop stop(3);  // asked before the second run, the third, the fourth
  const Profile p = profiled(Device::cpu(1), 10, 0, stop);
  EXPECT_EQ(p.runs, 3);
  EXPECT_TRUE(says(p.notes, "stopped after 3 of 10 runs"));
  EXPECT_EQ(p.roofs.fma_gflops, 0) << "nothing more was measured";
  EXPECT_GT(p.wall_us, 0);
  EXPECT_GT(p.host.preprocess, 0);
  for (const DispatchProfile& d : p.dispatches) EXPECT_GT(d.serialised_us, 0) << d.name;
}

TEST(Stop, AProfileThatIsNotStoppedSaysNothing) {
  const Stop stop(1000000);
  const Profile p = profiled(Device::cpu(1), 2, 0, stop);
  EXPECT_EQ(p.runs, 2);
  EXPECT_FALSE(says(p.notes, "stopped"));
  EXPECT_GT(stop.calls(), 0);
}

TEST(Stop, EveryDispatchOfAStoppedProfileHasItsTimes) {
  const Result<Device> device = Device::best_vulkan();
  if (!device) GTEST_SKIP() << device.error().message;
  const Profile p = profiled(*device, 1000, 1, Stop(1));
  EXPECT_EQ(p.runs, 1);
  ASSERT_GT(p.dispatches.size(), 2u);
  // A short one may take no longer than its timestamps do, which are taken off: of one run, 0 is left of some then.
  double begin = 0, scheduled = 0, serialised = 0;
  for (const DispatchProfile& d : p.dispatches) {
    EXPECT_GE(d.begin_us, begin) << d.name;
    EXPECT_GE(d.scheduled_us, 0) << d.name;
    EXPECT_GE(d.serialised_us, 0) << d.name;
    begin = d.begin_us, scheduled += d.scheduled_us, serialised += d.serialised_us;
    EXPECT_EQ(d.compiler.subgroup_size, 0) << "asked after the end";
  }
  EXPECT_GT(begin, 0) << "the last one has its place";
  EXPECT_GT(scheduled, 0);
  EXPECT_GT(serialised, 0);
}

TEST(Stop, TuningKeepsTheStepsDone) {
  const Result<Device> device = Device::best_vulkan();
  if (!device) GTEST_SKIP() << device.error().message;
  const std::string file = testing::TempDir() + "/vireo_stopped_tuning.txt";
  std::remove(file.c_str());
  TuneOptions o;
  o.budget_s = 86400;
  o.file = file;
  o.session.cache_dir = "-";
  int steps = 0;
  o.progress = [&](const TuneProgress& p) { steps = p.steps; };
  o.stop = Stop(1);
  const Result<TuneReport> report = tune(small_model(), *device, o);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_FALSE(report->complete);
  ASSERT_EQ(report->steps.size(), 1u) << "the first step's default is measured in any case";
  EXPECT_GT(steps, 1);
  EXPECT_EQ(report->steps[0].tried, 0);
  EXPECT_FALSE(report->steps[0].complete);
  EXPECT_GT(report->steps[0].default_ms, 0);
  std::ifstream written(file);
  EXPECT_TRUE(written.good()) << "the file is there";
  std::remove(file.c_str());
}

Result<std::string> fitted(const Stop& stop, int rounds) {
  const Model model = small_model();
  FitOptions o;
  o.precisions = {Precision::kFp32};
  o.rounds = rounds;
  o.runs = 1;
  o.session.cache_dir = "-";
  o.stop = stop;
  return fit_machine({model, model}, Device::cpu(1), o);
}

TEST(Stop, AFitIsOfTheRoundsDone) {
  // Asked before the two models and one with twice the batch are prepared, then before each is measured: 3 + 3 a round.
  const Stop stop(3 + 3 + 2);
  const Result<std::string> text = fitted(stop, 100000);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_EQ(stop.calls(), 3 + 3 + 2) << "in the middle of the second round";
  EXPECT_NE(text->find("kind: fitted"), std::string::npos) << *text;
}

TEST(Stop, AFitWithoutAWholeRoundIsNone) {
  for (int from : {1, 3, 4, 6}) {
    const Result<std::string> text = fitted(Stop(from), 2);
    ASSERT_FALSE(text.ok()) << from;
    EXPECT_EQ(text.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(text.error().message.find("stopped before"), std::string::npos) << text.error().message;
  }
}

}  // namespace
}  // namespace vireo
