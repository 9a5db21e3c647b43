// Captures: what is written runs again with the same answer, for every family; differences are found where they are;
// damage is named.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include "base/input_file.h"
#include "runtime/capture_file.h"
#include "runtime/replay.h"
#include "runtime/session_impl.h"
#include "shader/modules.h"
#include "unit/test_model_files.h"

namespace vireo {
namespace {

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<float> pixels_of(Session& s) {
  std::vector<float> x(s.impl().input_floats());
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.01f * float(i));
  return x;
}

Session open(const std::string& model, const SessionOptions& o = {}, const Device& device = Device::cpu(2)) {
  Result<Model> m = Model::open(kCases + model);
  EXPECT_TRUE(m.ok()) << m.error().message;
  Result<Session> s = Session::create(*m, device, o);
  EXPECT_TRUE(s.ok()) << s.error().message;
  return std::move(*s);
}

CaptureReport take(Session& s, const std::string& file, const CaptureOptions& o = {}) {
  const std::vector<float> x = pixels_of(s);
  Result<CaptureReport> r = capture(s, x.data(), x.size(), file, o);
  EXPECT_TRUE(r.ok()) << r.error().message;
  return r ? *r : CaptureReport{};
}

/// The message of a replay that fails, or what it reports instead.
std::string why(const std::string& file, const Device& device = Device::cpu(2)) {
  const Result<ReplayReport> r = replay(file, device);
  return r ? "replayed" : r.error().message;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Variant {
  const char* model;
  Precision precision;
  int batch;
  Head head;
  bool vulkan;
};

TEST(Capture, EveryFamilyRunsAgain) {
  const Result<Device> gpu = Device::vulkan(0, 2);
  const test::TempDir dir;
  for (const Variant& v : {Variant{"hf-vit", Precision::kFp32, 2, Head::kLogits, true},
                           {"timm-vit", Precision::kInt8, 1, Head::kTokens, false},
                           {"hf-vit-nonsquare-nobias-f16", Precision::kFp16, 1, Head::kFeatures, false},
                           {"hf-deit-distilled", Precision::kFp32, 1, Head::kLogits, false},
                           {"hf-dinov2-interpolated", Precision::kFp16, 1, Head::kLogits, false},
                           {"timm-registers-avgpool", Precision::kFp32, 3, Head::kFeatures, false},
                           {"hf-vitmodel-embed", Precision::kInt8, 1, Head::kFeatures, true},
                           {"hf-mobilevit", Precision::kFp32, 1, Head::kLogits, false},
                           {"hf-swin", Precision::kInt8, 1, Head::kLogits, false},
                           {"tv-swinv2", Precision::kFp32, 1, Head::kLogits, false},
                           {"hf-upernet-swin", Precision::kFp32, 1, Head::kClassMap, false},
                           {"paper-upernet-mobilevit", Precision::kFp16, 1, Head::kLogits, false}}) {
    if (v.vulkan && !gpu) continue;
    SCOPED_TRACE(v.model);
    SessionOptions o;
    o.precision = v.precision, o.batch = v.batch, o.head = v.head;
    o.fallback = false;
    const Device device = v.vulkan ? *gpu : Device::cpu(2);
    Session s = open(v.model, o, device);
    const std::string file = dir / v.model;
    const CaptureReport wrote = take(s, file);
    EXPECT_EQ(wrote.bytes, text_of(file).size());
    EXPECT_GT(wrote.values, 5u);
    EXPECT_TRUE(wrote.notes.empty()) << wrote.notes[0];
    const Result<ReplayReport> r = replay(file, device);
    ASSERT_TRUE(r.ok()) << r.error().message;
    EXPECT_TRUE(r->captured_plan) << r->plan_reason;
    EXPECT_TRUE(r->output.identical) << r->output.distance;
    EXPECT_EQ(r->values.size(), wrote.values);
    EXPECT_EQ(r->first, -1);
    EXPECT_TRUE(r->same());
    // What the file says is what the session said.
    const Result<CaptureInfo> i = read_capture(file);
    ASSERT_TRUE(i.ok()) << i.error().message;
    EXPECT_EQ(i->plan, s.describe_plan());
    EXPECT_EQ(i->model, v.model);
    EXPECT_EQ(i->options.batch, v.batch);
    EXPECT_EQ(i->options.precision, v.precision);
    EXPECT_EQ(i->options.head, v.head);
    EXPECT_EQ(i->options.height, s.input_height());
    EXPECT_EQ(i->device_kind, s.device().kind);
    EXPECT_EQ(i->values.size(), wrote.values);
    EXPECT_GT(i->weights, 5u);
  }
}

TEST(Capture, OnAnotherDeviceThePlanIsAnother) {
  const Result<Device> gpu = Device::vulkan(0, 2);
  if (!gpu) GTEST_SKIP() << gpu.error().message;
  const test::TempDir dir;
  Session s = open("hf-vit");
  take(s, dir / "c");
  const Result<ReplayReport> r = replay(dir / "c", *gpu);
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(r->tolerance, 1e-3);
  ReplayOptions strict;
  strict.tolerance = 0;
  EXPECT_FALSE(replay(dir / "c", *gpu, strict)->same());
  strict.tolerance = NAN;
  EXPECT_EQ(replay(dir / "c", *gpu, strict).error().code, ErrorCode::kInvalidArgument);
  EXPECT_STREQ(r->device_kind.c_str(), "vulkan");
  EXPECT_FALSE(r->captured_plan);
  EXPECT_EQ(r->plan_reason, "it is for a cpu device");
  EXPECT_TRUE(r->same());
  EXPECT_FALSE(r->output.identical) << "lavapipe sums in another order";
  EXPECT_GT(r->values.size(), 5u);
}

TEST(Capture, OptionsThatChangeThePlanComeAlong) {
  const test::TempDir dir;
  setenv("VIREO_NO_FUSE", "1", 1);
  setenv("VIREO_CPU_OPS", "attention", 1);
  Session s = open("hf-vit");
  take(s, dir / "c");
  unsetenv("VIREO_NO_FUSE");
  unsetenv("VIREO_CPU_OPS");
  const Result<CaptureInfo> i = read_capture(dir / "c");
  ASSERT_TRUE(i.ok()) << i.error().message;
  EXPECT_FALSE(i->fused);
  EXPECT_EQ(i->options.cpu_ops, std::vector<std::string>{"attention"});
  Result<ReplayReport> r = replay(dir / "c", Device::cpu(1));
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_TRUE(r->captured_plan) << r->plan_reason;
  EXPECT_TRUE(r->output.identical);
  ReplayOptions anew;
  anew.plan_anew = true;
  r = replay(dir / "c", Device::cpu(1), anew);
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_FALSE(r->captured_plan);
  EXPECT_EQ(r->plan_reason, "a plan for this device was asked for");
}

TEST(Capture, TunedConstantsComeAlong) {
  const Result<Device> gpu = Device::vulkan(0, 2);
  if (!gpu) GTEST_SKIP() << gpu.error().message;
  const test::TempDir dir;
  Session plain = open("hf-vit", {}, *gpu);
  std::string key;
  for (const Step& step : plain.impl().planned.plan.steps)
    if (step.op == OpKind::kAttention) key = step_key(plain.impl().planned.plan, step);
  const TuningId id = tuning_id(gpu->impl()->caps, shader::all_hash());
  const std::string tuned =
      dir.write("tuning.txt", tuning_text(id, {{key, {"texel=1 attention_texel=8,1,4", 1, 2}},
                                               {"linear of some other model", {"texel=1", 1, 2}}}));
  setenv("VIREO_TUNING", tuned.c_str(), 1);
  Session s = open("hf-vit", {}, *gpu);
  unsetenv("VIREO_TUNING");
  ASSERT_TRUE(has(s.describe_plan(), ", tuned")) << s.describe_plan();
  take(s, dir / "c");
  const Result<CaptureInfo> i = read_capture(dir / "c");
  ASSERT_TRUE(i.ok()) << i.error().message;
  EXPECT_TRUE(has(i->tuning, key));
  EXPECT_FALSE(has(i->tuning, "some other model"));
  const Result<ReplayReport> r = replay(dir / "c", *gpu);
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_TRUE(r->captured_plan) << r->plan_reason;
  EXPECT_TRUE(r->output.identical);
}

/// The capture in `file` changed by `change` and written again, with a checksum that fits.
template <typename Change>
std::string changed(const test::TempDir& dir, const std::string& file, const Change& change) {
  Result<CaptureFile> f = load_capture(file);
  EXPECT_TRUE(f.ok()) << f.error().message;
  change(*f);
  const Result<uint64_t> wrote = write_capture(dir / "changed", *f);
  EXPECT_TRUE(wrote.ok()) << wrote.error().message;
  return dir / "changed";
}

TEST(Capture, APlanOfAnotherGpuRunsWhereItCan) {
  const Result<Device> gpu = Device::vulkan(0, 2);
  if (!gpu) GTEST_SKIP() << gpu.error().message;
  const test::TempDir dir;
  Session s = open("hf-vit", {}, *gpu);
  take(s, dir / "c");
  const auto of = [&](const std::function<void(DeviceCaps*)>& change) {
    const std::string file = changed(dir, dir / "c", [&](CaptureFile& f) {
      f.caps.name = "another GPU";
      change(&f.caps);
      f.info.caps = to_text(f.caps);
      Result<std::string> plan = plan_text(*Model::open(kCases + "hf-vit"), f.info.caps, f.info.options, false);
      ASSERT_TRUE(plan.ok()) << plan.error().message;
      f.info.plan = *plan;
    });
    Result<ReplayReport> r = replay(file, *gpu);
    EXPECT_TRUE(r.ok()) << r.error().message;
    EXPECT_TRUE(!r || r->same());
    return r ? *r : ReplayReport{};
  };
  ReplayReport r = of([](DeviceCaps* c) { c->device_class = DeviceClass::kMali; });
  EXPECT_TRUE(r.captured_plan) << r.plan_reason;
  EXPECT_EQ(r.device_name, gpu->name()) << "it ran here, whatever was planned for";
  const uint32_t alignment = gpu->impl()->caps.storage_alignment;
  if (alignment > 1) {
    r = of([](DeviceCaps* c) { c->storage_alignment = c->texel_alignment = 1; });
    EXPECT_FALSE(r.captured_plan);
    EXPECT_TRUE(has(r.plan_reason, "its memory is aligned to 1 and 1 bytes")) << r.plan_reason;
  }
  const Result<std::string> text =
      read_text_file(std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/jetson-nano.txt", 1 << 16);
  ASSERT_TRUE(text.ok()) << text.error().message;
  const Result<DeviceCaps> nano = caps_from_text(*text, "nano");
  ASSERT_TRUE(nano.ok()) << nano.error().message;
  r = of([&](DeviceCaps* c) { *c = *nano; });
  EXPECT_NE(r.captured_plan, !r.plan_reason.empty()) << r.plan_reason;
  // The same capabilities, but a plan that this Vireo does not make of them.
  const std::string other = changed(dir, dir / "c", [](CaptureFile& f) {
    f.info.vireo = "0.0.7";
    const size_t line = f.info.plan.find("\n   0 ");
    ASSERT_NE(line, std::string::npos);
    f.info.plan.insert(line + 1, "     barrier that was\n");
  });
  const Result<ReplayReport> o = replay(other, *gpu);
  ASSERT_TRUE(o.ok()) << o.error().message;
  EXPECT_FALSE(o->captured_plan);
  EXPECT_TRUE(has(o->plan_reason, "Vireo 0.0.7 captured, this 0.") &&
              has(o->plan_reason, "line 3 was '     barrier that was', is '   0 "))
      << o->plan_reason;
}

TEST(Capture, APlanForOtherSubgroupsIsNotRun) {
  const Result<Device> gpu = Device::vulkan(0, 2);
  if (!gpu) GTEST_SKIP() << gpu.error().message;
  const test::TempDir dir;
  Session plain = open("hf-vit", {}, *gpu);
  std::string key, use;
  for (const Step& step : plain.impl().planned.plan.steps)
    if (step.op == OpKind::kLinear) key = step_key(plain.impl().planned.plan, step);
  for (const std::string& candidate : tuning_candidates(OpKind::kLinear, gpu->impl()->caps))
    if (has(candidate, "shuffle=1")) use = candidate;
  if (use.empty()) GTEST_SKIP() << "the device cannot exchange values within subgroups";
  const std::string tuned =
      dir.write("tuning.txt", tuning_text(tuning_id(gpu->impl()->caps, shader::all_hash()), {{key, {use, 1, 2}}}));
  setenv("VIREO_TUNING", tuned.c_str(), 1);
  Session s = open("hf-vit", {}, *gpu);
  unsetenv("VIREO_TUNING");
  ASSERT_TRUE(has(s.describe_plan(), "SHUFFLE=1")) << use;
  take(s, dir / "c");
  for (const uint32_t factor : {1u, 2u}) {
    const Result<ReplayReport> r = replay(
        changed(dir, dir / "c", [&](CaptureFile& f) { f.caps.subgroup_size *= factor, f.info.caps = to_text(f.caps); }),
        *gpu);
    ASSERT_TRUE(r.ok()) << r.error().message;
    EXPECT_TRUE(r->same());
    EXPECT_EQ(r->captured_plan, factor == 1) << r->plan_reason;
    EXPECT_EQ(has(r->plan_reason, "exchanges values within subgroups of "), factor == 2) << r->plan_reason;
  }
}

#if VIREO_VULKAN
TEST(Capture, OfASessionThatFallsBackMeanwhileIsOfTheCpu) {
  const Result<Device> gpu = Device::vulkan(0, 2);
  if (!gpu) GTEST_SKIP() << gpu.error().message;
  const test::TempDir dir;
  auto impl = std::make_shared<Device::Impl>();
  impl->kind = DeviceKind::kVulkan;
  impl->caps = gpu->impl()->caps;
  impl->index = gpu->impl()->index;
  impl->threads = 2;
  impl->instance = gpu->impl()->instance;
  const auto lost = std::make_shared<std::atomic<bool>>(false);
  impl->gpu_options.fault = [lost](const char* name) {
    return *lost && std::string(name) == "wait" ? VK_ERROR_DEVICE_LOST : VK_SUCCESS;
  };
  Session s = open("hf-vit", {}, Device(std::move(impl)));
  ASSERT_STREQ(s.device().kind, "vulkan");
  *lost = true;
  const CaptureReport wrote = take(s, dir / "c");
  EXPECT_GT(wrote.values, 5u);
  const Result<CaptureInfo> i = read_capture(dir / "c");
  ASSERT_TRUE(i.ok()) << i.error().message;
  EXPECT_EQ(i->device_kind, "cpu");
  EXPECT_TRUE(has(i->device_reason, "lost")) << i->device_reason;
  const Result<ReplayReport> r = replay(dir / "c", Device::cpu(2));
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_TRUE(r->captured_plan) << r->plan_reason;
  EXPECT_TRUE(r->output.identical);
}
#endif

TEST(Capture, NotesSayWhatTheSecondSessionFound) {
  const test::TempDir dir;
  Session s = open("hf-vit");
  // Another model under the session: the one that keeps every value answers differently.
  const Model mine = s.impl().model;
  s.impl().model = *Model::random(kCases + "hf-vit/config.json", 5);
  CaptureReport r = take(s, dir / "c");
  ASSERT_EQ(r.notes.size(), 1u);
  EXPECT_TRUE(has(r.notes[0], "the answer differs when every value is kept")) << r.notes[0];
  s.impl().model = mine;
  s.impl().options.batch = 2;  // nothing that can be planned for this input: no second session
  r = take(s, dir / "c");
  EXPECT_EQ(r.values, 0u);
  ASSERT_EQ(r.notes.size(), 1u);
  EXPECT_TRUE(has(r.notes[0], "no intermediate values: session: got 37632 input values, expected 75264")) << r.notes[0];
}

TEST(Capture, KernelsThatAreNotHereAreNamed) {
  const test::TempDir dir;
  Session s = open("hf-vit");
  take(s, dir / "c");
  const Result<ReplayReport> r =
      replay(changed(dir, dir / "c", [](CaptureFile& f) { f.caps.simd = "sve9", f.info.caps = to_text(f.caps); }),
             Device::cpu(1));
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_FALSE(r->captured_plan);
  EXPECT_EQ(r->plan_reason, "its kernels 'sve9' do not exist on this CPU");
  EXPECT_TRUE(r->same());
}

TEST(Capture, TheFirstValueThatDiffersIsFound) {
  const test::TempDir dir;
  Session s = open("hf-vit");
  for (const bool whole : {false, true}) {
    CaptureOptions o;
    o.all_values = whole;
    take(s, dir / "c", o);
    const std::string file = changed(dir, dir / "c", [](CaptureFile& f) {
      for (size_t k : {9u, 7u}) {
        f.values[k].samples[3] += float(0.5 * f.values[k].scale);
        f.values[k].sum ^= 1;
      }
      f.values[5].sum ^= 1;  // differs in bits, nowhere where it was sampled
    });
    const Result<ReplayReport> r = replay(file, Device::cpu(1));
    ASSERT_TRUE(r.ok()) << r.error().message;
    ASSERT_EQ(r->first, 7);
    EXPECT_FALSE(r->same());
    EXPECT_TRUE(r->output.identical);
    const ReplayDifference &d = r->values[7], &bits = r->values[5];
    EXPECT_NEAR(d.distance, 0.5, 1e-5);
    EXPECT_EQ(d.unequal, 1u);
    EXPECT_EQ(d.compared < uint64_t(d.shape[0] * d.shape[1] * d.shape[2] * d.shape[3]),
              !whole && d.compared == kSamples);
    EXPECT_TRUE(r->values[9].differs);
    EXPECT_FALSE(bits.identical || bits.differs);
    EXPECT_EQ(bits.unequal, 0u);
  }
  const std::string file = changed(dir, dir / "c", [](CaptureFile& f) { f.output[4] = NAN; });
  const Result<ReplayReport> r = replay(file, Device::cpu(1));
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_TRUE(r->output.differs);
  EXPECT_EQ(r->output.largest, INFINITY);
  EXPECT_EQ(r->output.at[3], 4);
  EXPECT_EQ(r->first, -1);
}

TEST(Capture, DifferencesOfNumbersAndOfClasses) {
  const int64_t shape[4] = {1, 2, 3, 2};
  std::vector<float> a{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20}, b = a;
  const CapturedValue v = captured_value("v", shape, a, true);
  EXPECT_TRUE(difference(v, shape, b, false, 0).identical);
  b[7] += 2;
  ReplayDifference d = difference(v, shape, b, false, 0.09);
  EXPECT_FALSE(d.identical);
  EXPECT_EQ(d.distance, 0.1);
  EXPECT_TRUE(d.differs);
  EXPECT_EQ((std::vector<int64_t>{d.at[0], d.at[1], d.at[2], d.at[3]}), (std::vector<int64_t>{0, 1, 0, 1}));
  EXPECT_FALSE(difference(v, shape, b, false, 0.1).differs);
  d = difference(v, shape, b, true, 0.1);  // one class of twelve is another, however far
  EXPECT_DOUBLE_EQ(d.distance, 1.0 / 12);
  EXPECT_FALSE(d.differs);
  b[0] = -0.f;  // equal, not identical
  b[7] = a[7];
  d = difference(v, shape, b, false, 0);
  EXPECT_FALSE(d.identical);
  EXPECT_FALSE(d.differs);
  const int64_t other[4] = {1, 3, 2, 2};
  EXPECT_TRUE(has(difference(v, other, b, false, 1).problem, "its shape was [1, 2, 3, 2], is [1, 3, 2, 2]"));
  const std::vector<float> zeros(12), one{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(difference(captured_value("z", shape, zeros, true), shape, one, false, 1e9).distance, INFINITY);
}

TEST(Capture, SamplesSpreadOverAValue) {
  for (size_t total : {kSamples + 1, size_t(49152), size_t(1000003)}) {
    std::set<size_t> at, channels;
    for (size_t i = 0; i < kSamples; ++i)
      at.insert(sample_position(i, kSamples, total)), channels.insert(sample_position(i, kSamples, total) % 192);
    EXPECT_EQ(at.size(), kSamples);
    EXPECT_EQ(*at.begin(), 0u);
    EXPECT_EQ(*at.rbegin(), total - 1);
    EXPECT_GT(channels.size(), 180u) << total;
  }
  EXPECT_EQ(sample_position(5, 9, 9), 5u);
  EXPECT_EQ(sample_position(0, 1, 1), 0u);
}

TEST(Capture, RandomWeightsAreTheirSeed) {
  const test::TempDir dir;
  const std::string config = kCases + "hf-swin/config.json";
  const Result<Model> m = Model::random(config, 77);
  ASSERT_TRUE(m.ok()) << m.error().message;
  Result<Session> s = Session::create(*m, Device::cpu(1));
  ASSERT_TRUE(s.ok());
  CaptureOptions o;
  o.values = false;
  o.note = "a note with \"quotes\" and \xff\xfe";
  take(*s, dir / "c", o);
  const Result<CaptureInfo> i = read_capture(dir / "c");
  ASSERT_TRUE(i.ok()) << i.error().message;
  EXPECT_TRUE(i->random_weights);
  EXPECT_EQ(i->seed, 77u);
  EXPECT_EQ(i->weights, 0u);
  EXPECT_EQ(i->values.size(), 0u);
  EXPECT_TRUE(has(i->note, "\"quotes\""));
  EXPECT_LT(i->file_bytes, text_of(kCases + "hf-swin/model.safetensors").size());
  const Result<ReplayReport> r = replay(dir / "c", Device::cpu(1));
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_TRUE(r->output.identical);
  const Result<ReplayReport> seed =
      replay(changed(dir, dir / "c", [](CaptureFile& f) { f.info.seed = 78; }), Device::cpu(1));
  ASSERT_TRUE(seed.ok());
  EXPECT_TRUE(seed->output.differs);
}

TEST(Capture, AKeptSessionAndPictures) {
  const test::TempDir dir;
  SessionOptions o;
  o.keep_all = true;
  Session s = open("hf-vit", o);
  const std::vector<uint8_t> rgb(50 * 40 * 3, 90);
  const Image image{rgb.data(), 50, 40, 0};
  ASSERT_TRUE(capture(s, &image, 1, dir / "c").ok());
  const Result<ReplayReport> r = replay(dir / "c", Device::cpu(2));
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_TRUE(r->captured_plan) << r->plan_reason;
  EXPECT_TRUE(r->output.identical);
  EXPECT_GT(r->values.size(), 5u);
  EXPECT_EQ(r->first, -1);
}

TEST(Capture, WhatCannotBeCapturedIsNamed) {
  const test::TempDir dir;
  Session s = open("hf-vit");
  const std::vector<float> x = pixels_of(s);
  const auto message = [&](const std::string& file, size_t count) {
    const Result<CaptureReport> r = capture(s, x.data(), count, file);
    return r ? std::string("captured") : r.error().message;
  };
  EXPECT_TRUE(has(message(dir / "c", x.size() - 1), "expected 37632"));
  EXPECT_TRUE(has(message(dir / "no/such/folder", x.size()), "was not written"));
  EXPECT_TRUE(has(message(dir.path(), x.size()), "there is a folder of this name"));
  const Result<Ticket> t = s.submit(x.data(), x.size());
  ASSERT_TRUE(t.ok());
  EXPECT_TRUE(has(message(dir / "c", x.size()), "in flight"));
  ASSERT_TRUE(s.wait(*t).ok());
  EXPECT_EQ(path_kind(dir / "c"), PathKind::kMissing) << "nothing half-written stays";
  dir.write("c", "an older one");
  EXPECT_EQ(message(dir / "c", x.size()), "captured");
  EXPECT_EQ(why(dir / "c"), "replayed");
  const Image none{};
  EXPECT_FALSE(capture(s, &none, 2, dir / "d").ok());
}

TEST(CaptureFiles, DamageIsNeverTakenForACapture) {
  const test::TempDir dir;
  const Result<Model> m = Model::random(kCases + "hf-vit/config.json", 1);
  ASSERT_TRUE(m.ok());
  Result<Session> s = Session::create(*m, Device::cpu(1));
  ASSERT_TRUE(s.ok());
  take(*s, dir / "c");
  const std::string good = text_of(dir / "c");
  const auto accepted = [](const std::string& bytes) {
    // Of its own size, so that a sanitizer sees a read behind the end.
    const std::vector<uint8_t> copy(bytes.begin(), bytes.end());
    const Result<CaptureFile> f = parse_capture(copy.data(), copy.size(), nullptr, "c");
    EXPECT_TRUE(f.ok() || !f.error().message.empty());
    return f.ok();
  };
  ASSERT_TRUE(accepted(good));
  const size_t step = good.size() / 700 | 1;
  for (size_t n = 0; n < good.size(); n += step) {
    EXPECT_FALSE(accepted(good.substr(0, n))) << "cut at " << n;
    std::string flipped = good;
    flipped[n] = char(flipped[n] ^ 1);
    EXPECT_FALSE(accepted(flipped)) << "changed at " << n;
  }
  EXPECT_FALSE(accepted(good + std::string(8, '\0')));
  dir.write("cut", good.substr(0, good.size() - 100));
  EXPECT_TRUE(has(why(dir / "cut"), "truncated")) << why(dir / "cut");
  std::string flipped = good;
  flipped.back() = char(flipped.back() ^ 4);
  dir.write("flipped", flipped);
  EXPECT_TRUE(has(why(dir / "flipped"), "is damaged: its checksum is")) << why(dir / "flipped");
}

TEST(CaptureFiles, WhatContradictsItselfIsNamed) {
  const test::TempDir dir;
  Session s = open("hf-vit");
  take(s, dir / "c");
  const auto with = [&](const std::function<void(CaptureFile&)>& change) {
    return why(changed(dir, dir / "c", change));
  };
  EXPECT_TRUE(has(why(dir / "nothing"), "nothing"));
  EXPECT_TRUE(has(why(kCases + "hf-vit/model.safetensors"), "no capture; expected one that `vireo capture` wrote"))
      << why(kCases + "hf-vit/model.safetensors");
  EXPECT_TRUE(has(why(dir.write("text", "just a text, no capture")), "not a usable safetensors file"));
  std::string text = with([](CaptureFile& f) { f.info.options.batch = 2; });
  EXPECT_TRUE(has(text, "tensor 'input' is F32 [1, 3, ") && has(text, "expected F32 [2, channels, ")) << text;
  text = with([](CaptureFile& f) { f.info.options.batch = 0; });
  EXPECT_TRUE(has(text, "key 'batch' is 0")) << text;
  text = with([](CaptureFile& f) { f.info.options.cpu_ops = {"atention"}; });
  EXPECT_TRUE(has(text, "'atention', which is no operator")) << text;
  text = with([](CaptureFile& f) { f.info.caps = "name: x\nkind: gpu\n"; });
  EXPECT_TRUE(has(text, "kind is 'gpu'")) << text;
  text = with([](CaptureFile& f) { f.info.device_kind = "vulkan"; });
  EXPECT_TRUE(has(text, "the device is 'vulkan', its capabilities are of 'cpu'")) << text;
  text = with([](CaptureFile& f) { f.info.tuning = "vireo-tuning 7\n"; });
  EXPECT_TRUE(has(text, "first line")) << text;
  text = with([](CaptureFile& f) { f.output.pop_back(), f.info.output_shape[2] -= 1; });
  EXPECT_TRUE(has(text, "the capture holds an answer of")) << text;
  text = with([](CaptureFile& f) { f.values[2].samples.resize(3); });
  EXPECT_TRUE(has(text, "tensor 'value/2' is missing or of another shape")) << text;
  text = with([](CaptureFile& f) { f.values[2].shape = {1, -1, 1, 1}; });
  EXPECT_TRUE(has(text, "values[2]") && has(text, "no shape of four extents")) << text;
  text = with([](CaptureFile& f) { f.config = "{"; });
  EXPECT_TRUE(has(text, "config.json")) << text;
  text = with([](CaptureFile& f) {
    std::vector<TensorView> few;
    for (const auto& [name, view] : f.weights->tensors())
      if (!has(name, "classifier.weight")) few.push_back(view);
    f.weights = *Checkpoint::from_views(few, f.weights, "few");
  });
  EXPECT_TRUE(has(text, "classifier.weight")) << text;
  // One more channel than the model takes.
  text = with([](CaptureFile& f) { f.info.input_shape[1] += 1, f.input.resize(f.input.size() / 3 * 4); });
  EXPECT_TRUE(has(text, "input values, its model takes")) << text;
}

TEST(CaptureFiles, OfAnotherVersionSaysSo) {
  const std::map<std::string, std::string> metadata{{"format", "vireo-capture"}, {"version", "2"}, {"vireo", "9.1.0"}};
  const std::string bytes = safetensors_header({}, metadata);
  const Result<CaptureFile> f =
      parse_capture(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), nullptr, "c.vireo");
  ASSERT_FALSE(f.ok());
  EXPECT_EQ(f.error().code, ErrorCode::kUnsupported);
  EXPECT_TRUE(has(f.error().message, "is of format version '2' (written by Vireo 9.1.0)") &&
              has(f.error().message, "reads version 1"))
      << f.error().message;
}

TEST(Safetensors, MetadataIsReadAndWritten) {
  const float x[3] = {1, 2, 3};
  const std::map<std::string, std::string> metadata{{"a", "text with \"quotes\"\n"}, {"b", ""}};
  std::string bytes = safetensors_header({{"t", "F32", {3}, nullptr, sizeof x}}, metadata);
  EXPECT_EQ(bytes.size() % 8, 0u);
  bytes.append(reinterpret_cast<const char*>(x), sizeof x);
  std::map<std::string, std::string> again;
  const auto views = parse_safetensors(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), "f", &again);
  ASSERT_TRUE(views.ok()) << views.error().message;
  ASSERT_EQ(views->size(), 1u);
  EXPECT_EQ((*views)[0].name, "t");
  EXPECT_EQ((*views)[0].shape, std::vector<int64_t>{3});
  EXPECT_EQ(again, metadata);
  // What is no string directly in it does not count, and what follows is read.
  const std::string odd =
      R"({"__metadata__":{"n":1,"o":{"p":"q"},"l":["m"],"s":"t"},"x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})";
  std::string file(8, '\0');
  file[0] = char(odd.size());
  file += odd;
  const auto more = parse_safetensors(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "f", &again);
  ASSERT_TRUE(more.ok()) << more.error().message;
  EXPECT_EQ(more->size(), 1u);
  EXPECT_EQ(again, (std::map<std::string, std::string>{{"s", "t"}}));
}

}  // namespace
}  // namespace vireo
