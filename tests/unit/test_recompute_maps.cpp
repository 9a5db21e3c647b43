// Class maps at a size that is asked for, where fp16 overflows and fp32 computes them again; and what profiles leave of
// such runs.
#include <gtest/gtest.h>

#include <cmath>

#include "runtime/session_impl.h"
#include "support/patch.h"
#include "test_model_files.h"

#include <vireo/profile.hpp>
#include <vireo/vireo.hpp>

namespace vireo {
namespace {

using test::TempDir;

const std::string kCases = std::string(VIREO_TEST_DATA) + "/cases/";
constexpr MapSize kPlain{}, kTiny{2, 3}, kSmall{20, 30}, kLarge{131, 83};

class RecomputeMaps : public ::testing::Test {
 protected:
  /// A massive activation in every inference, or none.
  Model open_model(bool massive) {
    if (massive)
      test::patch_model(kCases + "hf-upernet-vit", dir_.path(),
                        {{"backbone.encoder.layer.1.output.dense.bias", 7, 70000.f}});
    Result<Model> m = Model::open(massive ? dir_.path() : kCases + "hf-upernet-vit");
    EXPECT_TRUE(m.ok()) << m.error().message;
    return *m;
  }
  static Result<Session> session(const Model& m, const Device& d, Precision p = Precision::kFp16) {
    SessionOptions o;
    o.head = Head::kClassMap;
    o.precision = p;
    o.fallback = false;
    return Session::create(m, d, o);
  }
  static std::vector<float> picture(Session& s, float phase = 0) {
    std::vector<float> x(s.impl().input_floats());
    for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.01f * float(i) + phase);
    return x;
  }
  /// The answer, and value() of it, are the CPU's map of that size.
  void expect_map(Session& s, const Output& out, const Model& m, const std::vector<float>& x, MapSize size,
                  const std::string& where) {
    Result<Session> cpu = session(m, Device::cpu(2), Precision::kFp32);
    ASSERT_TRUE(cpu.ok());
    Result<Output> right = cpu->run(x.data(), x.size(), size);
    ASSERT_TRUE(right.ok());
    ASSERT_EQ(out.height, right->height) << where;
    ASSERT_EQ(out.width, right->width) << where;
    ASSERT_EQ(out.rows, out.height * out.width) << where;
    size_t other = 0;
    for (int i = 0; i < out.rows; ++i) other += out.data[i] != right->data[i];
    EXPECT_LE(other, size_t(out.rows) / 200) << where;
    int64_t shape[4];
    Result<std::vector<float>> value = s.value("class_map", shape);
    ASSERT_TRUE(value.ok()) << where << ": " << value.error().message;
    EXPECT_EQ(std::vector<int64_t>(shape, shape + 4), (std::vector<int64_t>{1, out.height, out.width, 1})) << where;
    EXPECT_EQ(*value, std::vector<float>(out.data, out.data + out.rows)) << where;
  }
  static bool recomputed(const Output& o) {
    return std::string(o.device.reason).find("recomputed in fp32") != std::string::npos;
  }
  static bool settled(const Output& o) {
    return std::string(o.device.reason).find("fp32 is used from then on") != std::string::npos;
  }

  TempDir dir_;
};

#define NEED_VULKAN(device)                  \
  Result<Device> device = Device::vulkan(0); \
  if (!device) GTEST_SKIP() << device.error().message

TEST_F(RecomputeMaps, AreOfTheirSizesBeforeAndAfterSettling) {
  NEED_VULKAN(device);
  const Model m = open_model(true);
  const std::vector<std::vector<MapSize>> orders{{kSmall, kPlain, kLarge, kSmall, kPlain, kTiny, kPlain},
                                                 {kPlain, kSmall, kPlain, kPlain, kLarge},
                                                 {kLarge, kTiny, kPlain}};
  for (size_t k = 0; k < orders.size(); ++k) {
    Result<Session> s = session(m, *device);
    ASSERT_TRUE(s.ok()) << s.error().message;
    const std::vector<float> x = picture(*s);
    for (size_t i = 0; i < orders[k].size(); ++i) {
      const MapSize size = orders[k][i];
      Result<Output> out = s->run(x.data(), x.size(), size);
      ASSERT_TRUE(out.ok()) << out.error().message;
      EXPECT_TRUE(i < 3 ? recomputed(*out) : settled(*out)) << out->device.reason;
      expect_map(*s, *out, m, x, size, "order " + std::to_string(k) + ", run " + std::to_string(i));
    }
  }
}

TEST_F(RecomputeMaps, TwoInFlightKeepTheirSizes) {
  NEED_VULKAN(device);
  const Model m = open_model(true);
  Result<Session> s = session(m, *device);
  ASSERT_TRUE(s.ok()) << s.error().message;
  const std::vector<float> x = picture(*s), y = picture(*s, 1);
  for (int i = 0; i < 4; ++i) {  // the last ones by fp32 alone
    Result<Ticket> a = s->submit(x.data(), x.size(), i % 2 ? kPlain : kLarge),
                   b = s->submit(y.data(), y.size(), i % 2 ? kSmall : kPlain);
    ASSERT_TRUE(a && b);
    Result<Output> first = s->wait(*a), second = s->wait(*b);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->height, i % 2 ? s->input_height() : kLarge.height);
    expect_map(*s, *second, m, y, i % 2 ? kSmall : kPlain, "pair " + std::to_string(i));
  }
}

// What fp32's session holds of the run before is no answer to this one.
TEST_F(RecomputeMaps, ValuesAreNotReadWhileTheNextIsInFlight) {
  NEED_VULKAN(device);
  const Model m = open_model(true);
  Result<Session> s = session(m, *device);
  ASSERT_TRUE(s.ok()) << s.error().message;
  const std::vector<float> x = picture(*s);
  for (int i = 0; i < 4; ++i) {
    Result<Output> out = s->run(x.data(), x.size(), kSmall);
    ASSERT_TRUE(out.ok()) << out.error().message;
    Result<Ticket> t = s->submit(x.data(), x.size());
    ASSERT_TRUE(t.ok());
    int64_t shape[4];
    Result<std::vector<float>> value = s->value("class_map", shape);
    ASSERT_FALSE(value.ok()) << "run " << i;
    EXPECT_NE(value.error().message.find("in flight"), std::string::npos) << value.error().message;
    ASSERT_TRUE((out = s->wait(*t)).ok());
    expect_map(*s, *out, m, x, kPlain, "run " + std::to_string(i));
  }
}

// A profile is of the input's size: in the slot where a map of another size was.
TEST_F(RecomputeMaps, AProfileLeavesNoTraceOfASizedRun) {
  std::vector<Device> devices{Device::cpu(2)};
  if (Result<Device> gpu = Device::vulkan(0)) devices.push_back(*gpu);
  for (const Device& device : devices)
    for (const bool massive : {false, true})
      for (const Precision p : {Precision::kFp32, Precision::kFp16}) {
        const Model m = open_model(massive);
        const bool overflows = massive && p == Precision::kFp16 && std::string(device.kind()) == "vulkan";
        for (const int before : {1, 4}) {
          if (before > 1 && !overflows) continue;
          const std::string where = std::string(device.kind()) + (massive ? " massive " : " ") + to_string(p) + ", " +
                                    std::to_string(before) + " before";
          Result<Session> s = session(m, device, p);
          ASSERT_TRUE(s.ok()) << s.error().message;
          const std::vector<float> x = picture(*s);
          for (const MapSize size : {kTiny, kLarge}) {
            for (int i = 0; i < before; ++i) ASSERT_TRUE(s->run(x.data(), x.size(), size).ok()) << where;
            ProfileOptions o;
            o.runs = 1, o.least_seconds = 0, o.warmup = 1, o.roofs = o.compiler = o.phases = false;
            Result<Profile> profile = s->profile(x.data(), x.size(), o);
            ASSERT_TRUE(profile.ok()) << profile.error().message;
            EXPECT_EQ(s->impl().slots[0].result.size(), size_t(s->input_height()) * size_t(s->input_width()))
                << where << ": what the profile writes";
            int64_t shape[4];
            Result<std::vector<float>> value = s->value("class_map", shape);
            ASSERT_TRUE(value.ok()) << value.error().message;
            EXPECT_EQ(std::vector<int64_t>(shape, shape + 4),
                      (std::vector<int64_t>{1, s->input_height(), s->input_width(), 1}))
                << where;
            EXPECT_EQ(value->size(), size_t(s->input_height()) * size_t(s->input_width())) << where;
            for (const MapSize next : {kPlain, size, kPlain}) {
              Result<Output> out = s->run(x.data(), x.size(), next);
              ASSERT_TRUE(out.ok()) << out.error().message;
              if (p == Precision::kFp32 || overflows) expect_map(*s, *out, m, x, next, where);
              EXPECT_EQ(out->height, next.height ? next.height : s->input_height()) << where;
            }
          }
        }
      }
}

// The same with the sized map in the other slot, and waited for last.
TEST_F(RecomputeMaps, AProfileAfterTwoInFlight) {
  NEED_VULKAN(device);
  for (const bool massive : {false, true}) {
    const Model m = open_model(massive);
    Result<Session> s = session(m, *device, massive ? Precision::kFp16 : Precision::kFp32);
    ASSERT_TRUE(s.ok()) << s.error().message;
    const std::vector<float> x = picture(*s);
    Result<Ticket> a = s->submit(x.data(), x.size()), b = s->submit(x.data(), x.size(), kTiny);
    ASSERT_TRUE(a && b);
    ASSERT_TRUE(s->wait(*a) && s->wait(*b));
    ProfileOptions o;
    o.runs = 1, o.least_seconds = 0, o.warmup = 0, o.roofs = o.compiler = o.phases = false;
    ASSERT_TRUE(s->profile(x.data(), x.size(), o).ok());
    int64_t shape[4];
    Result<std::vector<float>> value = s->value("class_map", shape);
    ASSERT_TRUE(value.ok()) << value.error().message;
    EXPECT_EQ(shape[1], s->input_height()) << "the profile's, the last to run";
    Result<Output> out = s->run(x.data(), x.size());
    ASSERT_TRUE(out.ok());
    expect_map(*s, *out, m, x, kPlain, "after the profile");
  }
}

}  // namespace
}  // namespace vireo
