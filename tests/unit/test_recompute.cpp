// Answers that are no numbers: every head, precision and device; batches, two in flight, falling back, debugging views,
// the C ABI. The massive activation (one channel of the residual stream is 7e4) and its golden logits are of PyTorch.
#include <gtest/gtest.h>

#include <atomic>
#include <cfloat>
#include <cmath>

#include "base/finite.h"
#include "image.h"
#include "npy.h"
#include "runtime/session_impl.h"
#include "support/compare.h"
#include "support/patch.h"
#include "test_model_files.h"

#include <vireo/vireo.h>
#include <vireo/capture.hpp>
#include <vireo/profile.hpp>
#include <vireo/vireo.hpp>

namespace vireo {
namespace {

using test::largest_difference;
using test::Patch;
using test::patch_model;
using test::TempDir;

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";
const std::vector<Patch> kMassive{{"vit.encoder.layer.1.output.dense.bias", 7, 70000.f}};
const std::vector<Patch> kMassiveMap{{"backbone.encoder.layer.1.output.dense.bias", 7, 70000.f}};
const std::vector<Patch> kBeyondFp32{{"vit.encoder.layer.0.output.dense.bias", 7, 3e38f},
                                     {"vit.encoder.layer.1.output.dense.bias", 7, 3e38f}};

Model open_at(const std::string& path) {
  Result<Model> m = Model::open(path);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

Model patched(const TempDir& dir, const std::vector<Patch>& patches, const std::string& model = "hf-vit") {
  patch_model(kCases + model, dir.path(), patches);
  return open_at(dir.path());
}

std::vector<float> ramp(const Session& s, const Model& m, float phase = 0) {
  std::vector<float> x(size_t(s.batch()) * size_t(m.channels()) * size_t(s.input_height()) * size_t(s.input_width()));
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.01f * float(i) + phase);
  return x;
}

std::vector<float> values(const Output& o) {
  return {o.data, o.data + size_t(o.batch) * size_t(o.rows) * size_t(o.cols)};
}

std::vector<float> cpu_answer(const Model& m, SessionOptions o, const std::vector<float>& x) {
  o.precision = Precision::kFp32;
  o.fallback = o.recompute = true;
  o.on_inference = nullptr;
  Result<Session> s = Session::create(m, Device::cpu(), o);
  EXPECT_TRUE(s.ok()) << s.error().message;
  Result<Output> out = s->run(x.data(), x.size());
  EXPECT_TRUE(out.ok()) << out.error().message;
  return out ? values(*out) : std::vector<float>();
}

/// Relative to the largest value.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double scale = 0;
  for (const float v : b) scale = std::max(scale, std::fabs(double(v)));
  return largest_difference(a, b) / scale;
}

bool says(const char* reason, const std::string& part) { return std::string(reason).find(part) != std::string::npos; }

#define NEED_VULKAN(device)                  \
  Result<Device> device = Device::vulkan(0); \
  if (!device) GTEST_SKIP() << device.error().message

TEST(AllFinite, EveryPlaceAndEveryKind) {
  for (size_t n : {0u, 1u, 2u, 3u, 7u, 8191u, 8192u, 8193u, 20001u}) {
    std::vector<float> x(n, -FLT_MAX);
    for (size_t i = 0; i < n; i += 3) x[i] = FLT_MIN / 4;  // a subnormal
    EXPECT_TRUE(all_finite(x.data(), n)) << n;
    for (size_t at = 0; at < n; at = at < 16 ? at + 1 : at + n / 17)
      for (float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
        const float was = x[at];
        x[at] = bad;
        EXPECT_FALSE(all_finite(x.data(), n)) << n << " " << at;
        x[at] = was;
      }
    if (n == 0) continue;
    x[n - 1] = NAN;
    EXPECT_FALSE(all_finite(x.data(), n)) << "the last of " << n;
  }
}

TEST(Recompute, TheGoldenLogitsOfAMassiveActivation) {
  TempDir dir;
  const Model m = patched(dir, kMassive);
  Result<cli::NpyArray> golden = cli::read_npy(std::string(VIREO_TEST_DATA) + "/numbers/massive-activation.npy");
  ASSERT_TRUE(golden.ok());
  ASSERT_EQ(golden->shape, (std::vector<int64_t>{3, 10}));
  std::vector<Device> devices{Device::cpu()};
  if (Result<Device> gpu = Device::vulkan(0)) devices.push_back(*gpu);
  for (const Device& device : devices)
    for (Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
      SessionOptions o;
      o.precision = p;
      o.fallback = false;  // the device does not fail
      Result<Session> s = Session::create(m, device, o);
      ASSERT_TRUE(s.ok()) << s.error().message;
      for (int i = 0; i < 3; ++i) {
        Result<cli::Rgb8> picture = cli::load_image(kCases + "hf-vit/" + std::to_string(i) + ".png");
        ASSERT_TRUE(picture.ok());
        Result<Output> out = s->run(Image{picture->rgb.data(), picture->width, picture->height, 0});
        ASSERT_TRUE(out.ok()) << out.error().message;
        const std::vector<float> expected(golden->data.begin() + i * 10, golden->data.begin() + i * 10 + 10);
        const bool again = p == Precision::kFp16 && std::string(device.kind()) == "vulkan";
        const double allowed = p == Precision::kFp32 || again ? 5e-4 : p == Precision::kFp16 ? 2e-2 : 5e-2;
        EXPECT_LE(distance(values(*out), expected), allowed) << device.name() << " " << to_string(p);
        EXPECT_EQ(out->precision, again ? Precision::kFp32 : p);
        EXPECT_STREQ(out->device.kind, device.kind());
        EXPECT_EQ(says(out->device.reason, "fp16 overflowed (values past 65504); recomputed in fp32"), again)
            << out->device.reason;
        EXPECT_STREQ(s->device().reason, out->device.reason);
      }
    }
}

TEST(Recompute, EveryHead) {
  NEED_VULKAN(device);
  for (Head head : {Head::kLogits, Head::kFeatures, Head::kTokens, Head::kClassMap}) {
    const bool map = head == Head::kClassMap;
    for (bool segments : {false, true}) {
      if (map ? !segments : segments && head != Head::kLogits) continue;
      TempDir dir;
      const Model m = segments ? patched(dir, kMassiveMap, "hf-upernet-vit") : patched(dir, kMassive);
      SessionOptions o;
      o.head = head;
      o.precision = Precision::kFp16;
      Result<Session> s = Session::create(m, *device, o);
      ASSERT_TRUE(s.ok()) << s.error().message;
      const std::vector<float> x = ramp(*s, m);
      Result<Output> out = s->run(x.data(), x.size());
      ASSERT_TRUE(out.ok()) << out.error().message;
      const std::vector<float> got = values(*out), expected = cpu_answer(m, o, x);
      EXPECT_TRUE(says(out->device.reason, "recomputed in fp32")) << to_string(head) << ": " << out->device.reason;
      if (map) {
        size_t other = 0;
        for (size_t i = 0; i < got.size(); ++i) other += got[i] != expected[i];
        EXPECT_LE(other, got.size() / 500);
        for (float c : got) ASSERT_GE(c, 0);
      } else {
        EXPECT_LE(distance(got, expected), 1e-3) << to_string(head);
      }
    }
  }
}

TEST(Recompute, OneImageOfABatch) {
  NEED_VULKAN(device);
  TempDir dir;
  // The channel grows with the input: the second image overflows, the first does not.
  const Model m = open_at(kCases + "hf-vit");
  SessionOptions o;
  o.batch = 2;
  o.precision = Precision::kFp16;
  Result<Session> s = Session::create(m, *device, o);
  ASSERT_TRUE(s.ok()) << s.error().message;
  std::vector<float> x = ramp(*s, m);
  Result<Output> plain = s->run(x.data(), x.size());
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->precision, Precision::kFp16);
  for (size_t i = x.size() / 2; i < x.size(); ++i) x[i] *= 4e5f;
  Result<Output> out = s->run(x.data(), x.size());
  ASSERT_TRUE(out.ok()) << out.error().message;
  EXPECT_EQ(out->precision, Precision::kFp32) << "the second image overflows";
  EXPECT_LE(distance(values(*out), cpu_answer(m, o, x)), 1e-3);
}

TEST(Recompute, TwoInFlightAndStayingWithFp32) {
  NEED_VULKAN(device);
  const Model m = open_at(kCases + "hf-vit");
  SessionOptions o;
  o.precision = Precision::kFp16;
  std::vector<bool> recomputed;
  o.on_inference = [&](const Inference& i) { recomputed.push_back(i.recomputed); };
  Result<Session> s = Session::create(m, *device, o);
  ASSERT_TRUE(s.ok()) << s.error().message;
  const std::vector<float> fine = ramp(*s, m);
  std::vector<float> large = ramp(*s, m, 1);
  for (float& v : large) v *= 4e5f;
  const std::vector<float> fine_expected = cpu_answer(m, o, fine), large_expected = cpu_answer(m, o, large);
  const auto check = [&](const Output& out, bool is_large) {
    const std::vector<float>& expected = is_large ? large_expected : fine_expected;
    EXPECT_LE(distance(values(out), expected), out.precision == Precision::kFp32 ? 1e-3 : 2e-2);
    if (is_large) {
      EXPECT_EQ(out.precision, Precision::kFp32);
    }
  };
  // Beside each other, waited for in both orders: no answer is the other's, and neither counts as three in a row.
  for (int order = 0; order < 4; ++order) {
    const bool first_large = order & 1;
    Result<Ticket> a = s->submit(first_large ? large.data() : fine.data(), fine.size());
    Result<Ticket> b = s->submit(first_large ? fine.data() : large.data(), fine.size());
    ASSERT_TRUE(a && b);
    for (int k = 0; k < 2; ++k) {
      const bool is_a = (k == 0) == (order < 2);
      Result<Output> out = s->wait(is_a ? *a : *b);
      ASSERT_TRUE(out.ok()) << out.error().message;
      check(*out, is_a == first_large);
    }
  }
  EXPECT_TRUE(s->warnings().empty());
  ASSERT_TRUE(s->run(fine.data(), fine.size()).ok());
  for (int i = 0; i < 3; ++i) {
    Result<Output> out = s->run(large.data(), large.size());
    ASSERT_TRUE(out.ok());
    check(*out, true);
    EXPECT_TRUE(says(out->device.reason, "; recomputed in fp32"));
  }
  ASSERT_EQ(s->warnings().size(), 1u);
  EXPECT_NE(s->warnings()[0].find("3 answers in a row of fp16 were no finite numbers: fp32 is used from now on"),
            std::string::npos);
  // From here on fp32 does all, two in flight as well, also what fp16 could do.
  for (int order = 0; order < 2; ++order) {
    Result<Ticket> a = s->submit(fine.data(), fine.size()), b = s->submit(large.data(), large.size());
    ASSERT_TRUE(a && b);
    EXPECT_FALSE(s->submit(fine.data(), fine.size()).ok()) << "a third is too many";
    for (int k = 0; k < 2; ++k) {
      const bool is_a = (k == 0) == (order == 0);
      Result<Output> out = s->wait(is_a ? *a : *b);
      ASSERT_TRUE(out.ok()) << out.error().message;
      check(*out, !is_a);
      EXPECT_EQ(out->precision, Precision::kFp32);
      EXPECT_TRUE(says(out->device.reason, "3 times in a row; fp32 is used from then on")) << out->device.reason;
    }
  }
  EXPECT_TRUE(recomputed.back());
  EXPECT_FALSE(recomputed[0] && recomputed[1]);
  EXPECT_EQ(s->latency().count, recomputed.size());
}

TEST(Recompute, TurnedOffItIsAnErrorAlsoWithFallback) {
  NEED_VULKAN(device);
  TempDir dir;
  const Model m = patched(dir, kMassive);
  SessionOptions o;
  o.precision = Precision::kFp16;
  o.recompute = false;
  Result<Session> s = Session::create(m, *device, o);
  ASSERT_TRUE(s.ok());
  const std::vector<float> x = ramp(*s, m);
  for (int i = 0; i < 2; ++i) {
    Result<Output> out = s->run(x.data(), x.size());
    ASSERT_FALSE(out.ok());
    EXPECT_EQ(out.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(out.error().message.find("values of the answer are no finite numbers"), std::string::npos)
        << out.error().message;
    EXPECT_NE(out.error().message.find("fp16 ends at 65504; use fp32"), std::string::npos) << out.error().message;
  }
  EXPECT_STREQ(s->device().kind, "vulkan") << "the device did not fail";
}

TEST(Recompute, InputThatIsNoNumberIsNamed) {
  std::vector<Device> devices{Device::cpu()};
  if (Result<Device> gpu = Device::vulkan(0)) devices.push_back(*gpu);
  for (const char* name : {"hf-vit", "hf-upernet-vit", "hf-upernet-mobilevit", "hf-mobilevit", "hf-swin", "hf-swinv2"})
    for (const Device& device : devices)
      for (Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
        const Model m = open_at(kCases + name);
        SessionOptions o;
        o.precision = p;
        o.head = m.task() == Task::kSegmentation ? Head::kClassMap : Head::kLogits;
        o.batch = 2;
        Result<Session> s = Session::create(m, device, o);
        ASSERT_TRUE(s.ok()) << s.error().message;
        for (float bad : {NAN, INFINITY, -INFINITY}) {
          std::vector<float> x = ramp(*s, m);
          const size_t w = size_t(s->input_width()), h = size_t(s->input_height());
          x[x.size() / 2 + (2 * h + 3) * w + 5] = bad;  // image 1, channel 2, row 3, column 5
          Result<Output> out = s->run(x.data(), x.size());
          ASSERT_FALSE(out.ok()) << name << " " << device.name() << " " << to_string(p) << " " << bad;
          EXPECT_EQ(out.error().code, ErrorCode::kInvalidArgument);
          EXPECT_NE(
              out.error().message.find("image 1, channel 2, row 3, column 5 is " + std::string(std::isnan(bad) ? "nan"
                                                                                               : bad > 0       ? "inf"
                                                                                                         : "-inf")),
              std::string::npos)
              << out.error().message;
        }
        const std::vector<float> x = ramp(*s, m);
        EXPECT_TRUE(s->run(x.data(), x.size()).ok()) << "the session goes on";
      }
}

/// A kernel that drops a NaN would hide what is wrong.
TEST(Recompute, NoCpuKernelHidesANumberThatIsNone) {
  for (int i = 0; const simd::Kernels* kernels = simd::supported(i); ++i) {
    auto impl = std::make_shared<Device::Impl>();
    impl->caps = Device::cpu(2).impl()->caps;
    impl->threads = 2;
    impl->kernels = kernels;
    impl->caps.simd = kernels->name;
    for (const char* name : {"hf-vit", "hf-upernet-vit", "hf-mobilevit", "hf-swin", "hf-swinv2"})
      for (Precision p : {Precision::kFp32, Precision::kInt8}) {
        const Model m = open_at(kCases + name);
        SessionOptions o;
        o.precision = p;
        o.head = m.task() == Task::kSegmentation ? Head::kClassMap : Head::kLogits;
        Result<Session> s = Session::create(m, Device(impl), o);
        ASSERT_TRUE(s.ok()) << s.error().message;
        std::vector<float> x = ramp(*s, m);
        x[x.size() / 3] = NAN;
        EXPECT_FALSE(s->run(x.data(), x.size()).ok()) << kernels->name << " " << name << " " << to_string(p);
      }
  }
}

TEST(Recompute, AModelBeyondFp32IsAnError) {
  TempDir dir;
  const Model m = patched(dir, kBeyondFp32);
  std::vector<Device> devices{Device::cpu()};
  if (Result<Device> gpu = Device::vulkan(0)) devices.push_back(*gpu);
  for (const Device& device : devices)
    for (Precision p : {Precision::kFp32, Precision::kFp16, Precision::kInt8})
      for (Head head : {Head::kLogits, Head::kTokens}) {
        SessionOptions o;
        o.precision = p;
        o.head = head;
        Result<Session> s = Session::create(m, device, o);
        ASSERT_TRUE(s.ok()) << s.error().message;
        const std::vector<float> x = ramp(*s, m);
        Result<Output> out = s->run(x.data(), x.size());
        ASSERT_FALSE(out.ok()) << device.name() << " " << to_string(p);
        EXPECT_EQ(out.error().code, ErrorCode::kCorrupt);
        EXPECT_NE(out.error().message.find("in fp32: "), std::string::npos) << out.error().message;
        EXPECT_NE(out.error().message.find("no finite numbers"), std::string::npos) << out.error().message;
        EXPECT_STREQ(s->device().kind, device.kind()) << "the CPU would say the same";
      }
}

#if VIREO_VULKAN
/// The device with a hook that lets its calls fail while `now`.
Device failing_while(const Device& real, std::shared_ptr<std::atomic<bool>> now, const char* call, VkResult result) {
  auto impl = std::make_shared<Device::Impl>();
  impl->kind = DeviceKind::kVulkan;
  impl->caps = real.impl()->caps;
  impl->index = real.impl()->index;
  impl->threads = real.impl()->threads;
  impl->instance = real.impl()->instance;
  impl->gpu_options.fault = [now, call = std::string(call), result](const char* name) {
    return *now && call == name ? result : VK_SUCCESS;
  };
  return Device(std::move(impl));
}

TEST(Recompute, WithoutMemoryForFp32TheCpuTakesOver) {
  NEED_VULKAN(device);
  TempDir dir;
  const Model m = patched(dir, kMassive);
  for (bool fallback : {true, false}) {
    auto now = std::make_shared<std::atomic<bool>>(false);
    SessionOptions o;
    o.precision = Precision::kFp16;
    o.fallback = fallback;
    Result<Session> s = Session::create(m, failing_while(*device, now, "allocate", VK_ERROR_OUT_OF_DEVICE_MEMORY), o);
    ASSERT_TRUE(s.ok()) << s.error().message;
    const std::vector<float> x = ramp(*s, m);
    *now = true;
    Result<Output> out = s->run(x.data(), x.size());
    if (!fallback) {
      ASSERT_FALSE(out.ok());
      EXPECT_NE(out.error().message.find("fp16 gave values that are no finite numbers; computing again in fp32: "),
                std::string::npos)
          << out.error().message;
      *now = false;
      EXPECT_TRUE(s->run(x.data(), x.size()).ok()) << "with memory it works";
      continue;
    }
    ASSERT_TRUE(out.ok()) << out.error().message;
    EXPECT_STREQ(out->device.kind, "cpu");
    EXPECT_TRUE(says(out->device.reason, "computing again in fp32")) << out->device.reason;
    EXPECT_LE(distance(values(*out), cpu_answer(m, o, x)), 2e-2);
  }
}

TEST(Recompute, ADeviceLostLaterFallsBackFromFp32Too) {
  NEED_VULKAN(device);
  TempDir dir;
  const Model m = patched(dir, kMassive);
  auto now = std::make_shared<std::atomic<bool>>(false);
  SessionOptions o;
  o.precision = Precision::kFp16;
  Result<Session> s = Session::create(m, failing_while(*device, now, "submit", VK_ERROR_DEVICE_LOST), o);
  ASSERT_TRUE(s.ok());
  const std::vector<float> x = ramp(*s, m), expected = cpu_answer(m, o, x);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(s->run(x.data(), x.size()).ok());
  Result<Ticket> a = s->submit(x.data(), x.size());
  ASSERT_TRUE(a.ok());
  *now = true;
  Result<Ticket> b = s->submit(x.data(), x.size());
  ASSERT_TRUE(b.ok()) << b.error().message;
  for (Ticket t : {*a, *b}) {
    Result<Output> out = s->wait(t);
    ASSERT_TRUE(out.ok()) << out.error().message;
    EXPECT_STREQ(out->device.kind, "cpu");
    EXPECT_LE(distance(values(*out), expected), 2e-2);
  }
}
#endif  // VIREO_VULKAN

TEST(Recompute, IntermediateValuesShowWhereItOverflows) {
  NEED_VULKAN(device);
  TempDir dir;
  const Model m = patched(dir, kMassive);
  for (bool keep : {true, false}) {
    SessionOptions o;
    o.precision = Precision::kFp16;
    o.keep_all = keep;
    Result<Session> s = Session::create(m, *device, o);
    ASSERT_TRUE(s.ok());
    const std::vector<float> x = ramp(*s, m);
    for (int i = 0; i < 4; ++i) {
      Result<Output> out = s->run(x.data(), x.size());
      ASSERT_TRUE(out.ok());
      int64_t shape[4];
      Result<std::vector<float>> last = s->value(s->value_names().back(), shape);
      ASSERT_TRUE(last.ok()) << last.error().message;
      if (!keep) {
        EXPECT_EQ(*last, values(*out)) << "no answer that is no number";
        continue;
      }
      size_t bad = 0;
      for (const std::string& name : s->value_names()) {
        Result<std::vector<float>> v = s->value(name, shape);
        ASSERT_TRUE(v.ok());
        bad += !all_finite(v->data(), v->size());
      }
      EXPECT_GT(bad, 2u) << "fp16's own";
      EXPECT_LT(bad, s->value_names().size()) << "the first block is fine";
      EXPECT_TRUE(says(out->device.reason, "; recomputed in fp32")) << "never settles";
    }
  }
}

TEST(Recompute, CapturesHoldTheAnswerAndReplayAgrees) {
  NEED_VULKAN(device);
  TempDir dir, out_dir;
  const Model m = patched(dir, kMassive);
  SessionOptions o;
  o.precision = Precision::kFp16;
  Result<Session> s = Session::create(m, *device, o);
  ASSERT_TRUE(s.ok());
  const std::vector<float> x = ramp(*s, m);
  const Result<CaptureReport> wrote = capture(*s, x.data(), x.size(), out_dir / "c");
  ASSERT_TRUE(wrote.ok()) << wrote.error().message;
  EXPECT_GT(wrote->values, 0u);
  const Result<CaptureInfo> info = read_capture(out_dir / "c");
  ASSERT_TRUE(info.ok());
  EXPECT_NE(info->device_reason.find("recomputed in fp32"), std::string::npos);
  const Result<ReplayReport> r = replay(out_dir / "c", *device);
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_FALSE(r->output.differs);
  EXPECT_TRUE(std::isfinite(r->output.scale) && std::isfinite(double(r->output.here)));
  EXPECT_NE(r->device_reason.find("recomputed in fp32"), std::string::npos) << r->device_reason;
}

TEST(Recompute, ProfilesSayThatTheNumbersAreNone) {
  NEED_VULKAN(device);
  TempDir dir;
  for (bool massive : {true, false}) {
    const Model m = massive ? patched(dir, kMassive) : open_at(kCases + "hf-vit");
    SessionOptions o;
    o.precision = Precision::kFp16;
    o.recompute = false;
    Result<Session> s = Session::create(m, *device, o);
    ASSERT_TRUE(s.ok());
    const std::vector<float> x = ramp(*s, m);
    ProfileOptions p;
    p.runs = 1, p.least_seconds = 0, p.roofs = false, p.compiler = false;
    Result<Profile> profile = s->profile(x.data(), x.size(), p);
    ASSERT_TRUE(profile.ok()) << profile.error().message;
    bool noted = false;
    for (const std::string& note : profile->notes) noted = noted || note.find("no finite numbers") != std::string::npos;
    EXPECT_EQ(noted, massive);
  }
}

TEST(Recompute, CAbi) {
  NEED_VULKAN(device);
  TempDir dir;
  const Model m = patched(dir, kMassive);
  for (int off : {0, 1}) {
    vireo_options o;
    vireo_options_init(&o);
    o.device = "vulkan";
    o.precision = VIREO_FP16;
    o.no_recompute = off;
    int recomputed = -1;
    o.on_inference = [](const vireo_inference* i, void* user) { *static_cast<int*>(user) = i->recomputed; };
    o.user = &recomputed;
    vireo_error error;
    vireo_session* s = nullptr;
    ASSERT_EQ(vireo_open(dir.path().c_str(), &o, &s, &error), VIREO_OK) << error.message;
    std::vector<float> x(size_t(3 * 112 * 112), 0.25f);
    vireo_output out;
    const vireo_status status = vireo_run_pixels(s, x.data(), x.size(), &out, &error);
    if (off) {
      EXPECT_EQ(status, VIREO_INVALID_ARGUMENT) << error.message;
    } else {
      ASSERT_EQ(status, VIREO_OK) << error.message;
      EXPECT_TRUE(all_finite(out.data, 10));
      EXPECT_TRUE(says(out.device_reason, "recomputed in fp32"));
      EXPECT_EQ(recomputed, 1);
      vireo_score top[3];
      ASSERT_EQ(vireo_top_k(&out, 0, 3, top), 3);
      EXPECT_TRUE(std::isfinite(top[0].value));
    }
    x[7] = NAN;
    EXPECT_EQ(vireo_run_pixels(s, x.data(), x.size(), &out, &error), VIREO_INVALID_ARGUMENT) << error.message;
    vireo_close(s);
  }
}

}  // namespace
}  // namespace vireo
