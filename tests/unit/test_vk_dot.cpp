// Integer dot products on real drivers, also those that do not report them accelerated: 32-bit sums are exact, zero
// points included. And rows of 8 bits among rows of 4 in a device's memory.
#if VIREO_VULKAN
#include <cmath>

#include "base/half.h"
#include "cpu/executable.h"
#include "graph/graph.h"
#include "plan/plan.h"
#include "runtime/model_impl.h"
#include "test_vk.h"
#include "vk/executable.h"

#include <vireo/vireo.hpp>

namespace vireo::vk {
namespace {

class VkDot : public VkTest {};

struct Linear {
  int64_t m, n, k;
  std::vector<float> rows;  // [m, k]
  ConstantPtr weight, bias, scale;
  std::vector<float> residual;  // [m, n]; empty: none
  bool between = false;         // its rows and its answer are those of other steps, so of the plan's own type
};

Graph graph_of(const Linear& l, int act) {
  GraphBuilder b("dot");
  std::vector<ValueId> in = {b.input("x", {DType::kF32, Shape{{1, 1, l.m, l.k}}}), b.constant("w", l.weight),
                             b.constant("b", l.bias), l.scale ? b.constant("s", l.scale) : kNoValue};
  if (!l.residual.empty()) in.push_back(b.input("r", {DType::kF32, Shape{{1, 1, l.m, l.n}}}));
  if (l.between) in[0] = b.add(OpKind::kRelu, "before", {in[0]}, {});
  const ValueId out = b.add(OpKind::kLinear, "fc", in, {{"act", double(act)}});
  b.output(l.between ? b.add(OpKind::kRelu, "behind", {out}, {}) : out);
  Result<Graph> g = b.finish();
  EXPECT_TRUE(g.ok());
  return std::move(*g);
}

template <typename E>
std::vector<float> answer(E& e, const Plan& plan, const Linear& l) {
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    const PlanValue& v = plan.values[size_t(plan.inputs[i])];
    const std::vector<float>& from = i == 0 ? l.rows : l.residual;
    const int64_t cols = v.desc.shape.c();
    float* const to = e.input(0) + (v.where.offset - plan.values[size_t(plan.inputs[0])].where.offset) / 4;
    for (int64_t j = 0; j < l.m * cols; ++j) to[j / cols * v.desc.row_stride() + j % cols] = from[size_t(j)];
  }
  if constexpr (std::is_same_v<E, Executable>) {
    EXPECT_TRUE(e.submit(0));
    EXPECT_TRUE(e.wait(0));
  } else {
    ThreadPool pool(2);
    e.run(0, pool);
  }
  const TensorDesc& d = plan.values[size_t(plan.outputs[0])].desc;
  std::vector<float> out;
  for (int64_t i = 0; i < l.m; ++i)
    for (int64_t j = 0; j < l.n; ++j) out.push_back(e.output(0)[i * d.row_stride() + j]);
  return out;
}

Result<Planned> plan_for(const Linear& l, const DeviceCaps& caps, const std::string& policy, int act = 0) {
  VIREO_ASSIGN(const FormatPolicy p, parse_policy(policy, "p"));
  PlanOptions options;
  options.policy = p;
  return make_plan(graph_of(l, act), caps, options);
}

/// Codes -128 and 127 among them, with scales that are powers of two, so that all behind the sums is exact.
Linear whole_numbers(int64_t m, int64_t n, int64_t k, bool dynamic) {
  Linear l{m, n, k, {}, nullptr, make_constant(1, n, std::vector<float>(size_t(n), 3.f)), nullptr, {}};
  uint32_t state = uint32_t(m * 31 + n * 7 + k);
  const auto code = [&state] {
    state = state * 1664525u + 1013904223u;
    return int(state >> 24) - 128;
  };
  for (int64_t i = 0; i < m * k; ++i) l.rows.push_back(float(code()));
  for (int64_t i = 0; i < m && dynamic; ++i) {  // max|x| / 127.5 = 1
    for (int64_t j = 0; j < k; ++j) l.rows[size_t(i * k + j)] = std::max(-127.f, l.rows[size_t(i * k + j)]);
    l.rows[size_t(i * k + i % k)] = i % 2 ? -127.5f : 127.5f;
  }
  std::vector<int8_t> w;
  for (int64_t i = 0; i < n * k; ++i) w.push_back(int8_t(code()));
  std::vector<float> scales;
  for (int64_t i = 0; i < n; ++i) scales.push_back(std::ldexp(1.f, int(i % 5) - 3));
  Grid grid;
  grid.bits = 8, grid.lowest = true;
  l.weight = coded_constant(n, k, grid, w, scales, {});
  return l;
}

TEST_F(VkDot, SumsAreExact) {
  size_t ran = 0;
  for (const uint32_t device : usable_) {
    const auto gpu = open(device);
    ASSERT_TRUE(gpu);
    if (!gpu->caps().integer_dot) continue;
    ++ran;
    DeviceCaps caps = gpu->caps();
    caps.integer_dot_fast = true;  // by force
    for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{37, 70, 100}, {1, 3, 5}, {33, 129, 31}})
      for (const char* rows : {"i8", "i8:1:-7", "i8:1:127"}) {
        const bool dynamic = rows == std::string("i8");
        const Linear l = whole_numbers(m, n, k, dynamic);
        const auto planned = plan_for(l, caps, std::string("w i8 ") + rows);
        ASSERT_TRUE(planned.ok()) << planned.error().message;
        const std::string what = std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + " " + rows +
                                 " on " + caps.name + ": " + planned->plan.steps[0].kernel;
        ASSERT_STREQ(planned->plan.steps[0].by->name, "linear.dot") << what;
        ThreadPool pool(1);
        auto e = Executable::create(gpu, planned->plan, planned->graph, pool, {});
        ASSERT_TRUE(e) << e.error().message;
        const std::vector<float> got = answer(**e, planned->plan, l);
        std::vector<int8_t> w(size_t(n * k)), zeros(1);
        std::vector<float> scales(static_cast<size_t>(n));
        l.weight->read_codes(0, n, w.data(), scales.data(), zeros.data());
        const int zero = rows == std::string("i8:1:-7") ? -7 : rows == std::string("i8:1:127") ? 127 : 0;
        int off = 0;
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            int64_t sum = 0;
            for (int64_t c = 0; c < k; ++c) {
              const double x = double(l.rows[size_t(i * k + c)]);
              const double q = x == -127.5 ? -128 : std::max(-128.0, std::min(127.0, std::nearbyint(x + zero)));
              sum += (int64_t(q) - zero) * w[size_t(j * k + c)];
            }
            off += got[size_t(i * n + j)] != float(sum) * scales[size_t(j)] + 3.f;
          }
        EXPECT_EQ(off, 0) << what;
      }
  }
  if (ran == 0) GTEST_SKIP() << "no device with VK_KHR_shader_integer_dot_product";
}

/// With all that a linear has, beside the CPU's integers: rows may differ by a code where x / scale is nearly a tie.
TEST_F(VkDot, AgreesWithTheCpu) {
  for (const uint32_t device : usable_) {
    const auto gpu = open(device);
    ASSERT_TRUE(gpu);
    if (!gpu->caps().integer_dot) continue;
    DeviceCaps caps = gpu->caps(), cpu;
    caps.integer_dot_fast = true;
    cpu.kind = DeviceKind::kCpu, cpu.simd = simd::best().name, cpu.threads = 2;
    for (const char* policy : {"w i8 i8\n", "w i8 i8:0.03:-9\n", "w i5 i8\n", "w i8 i8\nactivations f16\n"}) {
      const int64_t m = 70, n = 96, k = 192;
      Linear l{m,
               n,
               k,
               random_constant(m, k, 1, 1.f)->read_all(),
               random_constant(n, k, 2, .2f),
               random_constant(1, n, 3, 1.f),
               random_constant(1, n, 4, 1.f),
               random_constant(m, n, 5, 1.f)->read_all()};
      const bool half = std::string(policy).find("f16") != std::string::npos;
      l.between = half;
      const auto here = plan_for(l, caps, policy, 1), there = plan_for(l, cpu, half ? "w i8 i8\n" : policy, 1);
      ASSERT_TRUE(here.ok() && there.ok());
      const auto &fc = here->plan.steps[half ? 1 : 0], &codes = there->plan.steps[half ? 1 : 0];
      EXPECT_NE(fc.kernel.find("linear.dot"), std::string::npos) << fc.kernel;
      EXPECT_NE(codes.kernel.find("int8"), std::string::npos) << codes.kernel;
      ThreadPool pool(2);
      auto e = Executable::create(gpu, here->plan, here->graph, pool, {});
      auto f = cpu::Executable::create(there->plan, there->graph, pool, simd::best(), 1);
      ASSERT_TRUE(e && f);
      EXPECT_EQ(here->plan.values[size_t(fc.inputs[0])].desc.dtype, half ? DType::kF16 : DType::kF32);
      if (half)  // what reaches it are halves on both sides
        for (float& x : l.rows) x = half_to_float(float_to_half(x));
      const std::vector<float> a = answer(**e, here->plan, l), b = answer(**f, there->plan, l);
      double size = 0, most = 0;
      for (size_t i = 0; i < a.size(); ++i) {
        size = std::max(size, std::fabs(double(b[i])));
        most = std::max(most, std::fabs(double(a[i]) - double(b[i])));
      }
      EXPECT_LT(most, 2e-3 * size) << policy << caps.name;  // a code of one value: max|w| * scale of the row
    }
  }
}

TEST_F(VkDot, ARowThatIsNoNumberStaysOne) {
  for (const uint32_t device : usable_) {
    const auto gpu = open(device);
    ASSERT_TRUE(gpu);
    if (!gpu->caps().integer_dot) continue;
    DeviceCaps caps = gpu->caps();
    caps.integer_dot_fast = true;
    Linear l = whole_numbers(5, 8, 64, true);
    l.rows[size_t(1 * 64 + 9)] = NAN, l.rows[size_t(3 * 64 + 63)] = INFINITY;
    for (int64_t c = 0; c < 64; ++c) l.rows[size_t(4 * 64 + c)] = 0.f;
    // Scales found while running, and those that a checkpoint gives.
    for (const char* policy : {"w i8 i8", "w i8 i8:0.05", "w i8 i8:0.05:3"}) {
      const auto planned = plan_for(l, caps, policy);
      ASSERT_TRUE(planned.ok()) << planned.error().message;
      ThreadPool pool(1);
      auto e = Executable::create(gpu, planned->plan, planned->graph, pool, {});
      ASSERT_TRUE(e);
      const std::vector<float> got = answer(**e, planned->plan, l);
      for (int64_t i = 0; i < 5; ++i)
        for (int64_t j = 0; j < 8; ++j) {
          EXPECT_EQ(std::isfinite(got[size_t(i * 8 + j)]), i != 1 && i != 3)
              << i << ", " << j << " on " << caps.name << ", " << policy;
          if (i == 4) {
            EXPECT_EQ(got[size_t(i * 8 + j)], 3.f) << policy;
          }
        }
    }
  }
}

TEST_F(VkDot, RowsOfEightBitsAmongRowsOfFour) {
  for (const uint32_t device : usable_) {
    const auto gpu = open(device);
    ASSERT_TRUE(gpu);
    for (const char* policy : {"w i4g16\nw[3:9] i8g16\nw[17:20] i8g16\n", "w i4\nw[0:1] i8\nw[19:20] i8\n",
                               "w u3g8\nw[5:20] u8g8\n", "w i4g80\nw[0:20] i8g80\n"})
      for (const DeviceClass kernels : {DeviceClass::kMaxwell, DeviceClass::kMali, DeviceClass::kSoftware}) {
        const Linear l{37,
                       20,
                       80,
                       random_constant(37, 80, 1, 1.f)->read_all(),
                       random_constant(20, 80, 2, .2f),
                       random_constant(1, 20, 3, 1.f),
                       nullptr,
                       {}};
        DeviceCaps caps = gpu->caps();
        caps.device_class = kernels;
        const auto planned = plan_for(l, caps, policy);
        ASSERT_TRUE(planned.ok()) << planned.error().message;
        const Plan& plan = planned->plan;
        const std::string what = std::string(policy) + caps.name + ": " + plan.steps[0].kernel;
        EXPECT_EQ(plan.consts[0].pack.wide_rows(), kernels != DeviceClass::kSoftware) << what;
        ThreadPool pool(1);
        auto e = Executable::create(gpu, plan, planned->graph, pool, {});
        ASSERT_TRUE(e) << e.error().message;
        const std::vector<float> got = answer(**e, plan, l),
                                 w = planned->graph.value(plan.consts[0].id).constant->read_all(),
                                 b = l.bias->read_all();
        double most = 0, size = 0;
        for (int64_t i = 0; i < l.m; ++i)
          for (int64_t j = 0; j < l.n; ++j) {
            double sum = double(b[size_t(j)]);
            for (int64_t k = 0; k < l.k; ++k)
              sum += double(l.rows[size_t(i * l.k + k)]) * double(w[size_t(j * l.k + k)]);
            size = std::max(size, std::fabs(sum));
            most = std::max(most, std::fabs(double(got[size_t(i * l.n + j)]) - sum));
          }
        EXPECT_LE(most, 2e-6 * size) << what;
      }
  }
}

/// A whole network: LayerNorms apart, residuals, GELU, the head.
TEST_F(VkDot, ANetworkAnswersAsOnTheCpu) {
  const auto model = Model::open(std::string(VIREO_TEST_DATA) + "/cases/timm-vit");
  ASSERT_TRUE(model.ok()) << model.error().message;
  PlanOptions options;
  options.precision = Precision::kW8A8;
  for (const uint32_t device : usable_) {
    const auto gpu = open(device);
    ASSERT_TRUE(gpu);
    if (!gpu->caps().integer_dot) continue;
    DeviceCaps caps = gpu->caps(), cpu;
    caps.integer_dot_fast = true;
    cpu.kind = DeviceKind::kCpu, cpu.simd = simd::best().name, cpu.threads = 2;
    const auto here = make_plan(*model->impl().loaded.build(Head::kLogits, 1), caps, options),
               there = make_plan(*model->impl().loaded.build(Head::kLogits, 1), cpu, options);
    ASSERT_TRUE(here.ok() && there.ok());
    size_t dots = 0;
    for (const Step& s : here->plan.steps) dots += s.by != nullptr && s.by->name == std::string("linear.dot");
    EXPECT_GE(dots, 8u) << dump(here->plan);
    ThreadPool pool(2);
    auto e = Executable::create(gpu, here->plan, here->graph, pool, {});
    auto f = cpu::Executable::create(there->plan, there->graph, pool, simd::best(), 1);
    ASSERT_TRUE(e && f);
    const int64_t pixels = here->plan.values[size_t(here->plan.inputs[0])].desc.shape.elements();
    for (int64_t i = 0; i < pixels; ++i) (*e)->input(0)[i] = (*f)->input(0)[i] = float(std::sin(0.05 * double(i)));
    ASSERT_TRUE((*e)->submit(0) && (*e)->wait(0));
    (*f)->run(0, pool);
    const int64_t classes = here->plan.values[size_t(here->plan.outputs[0])].desc.shape.c();
    double size = 0, most = 0;
    for (int64_t i = 0; i < classes; ++i) {
      size = std::max(size, std::fabs(double((*f)->output(0)[i])));
      most = std::max(most, std::fabs(double((*e)->output(0)[i]) - double((*f)->output(0)[i])));
    }
    EXPECT_LT(most, 0.02 * size) << caps.name;
  }
}

// ---- plans, of devices that need not be here

DeviceCaps some_gpu(bool has, bool fast) {
  DeviceCaps c;
  c.name = "a gpu", c.integer_dot = has, c.integer_dot_fast = fast, c.max_stage_storage_buffers = 16;
  return c;
}

std::string planned_text(const DeviceCaps& caps, const std::string& policy) {
  GraphBuilder b("g");
  const ValueId x = b.input("x", {DType::kF32, Shape{{1, 1, 9, 64}}});
  const ValueId norm =
      b.add(OpKind::kLayerNorm, "norm",
            {x, b.constant("g", fill_constant(1, 64, 1.5f)), b.constant("o", fill_constant(1, 64, .5f))});
  b.output(b.add(OpKind::kLinear, "fc", {norm, b.constant("w", random_constant(32, 64, 1, 1.f))}));
  PlanOptions options;
  options.policy = *parse_policy(policy, "p");
  const Result<Planned> p = make_plan(*b.finish(), caps, options);
  EXPECT_TRUE(p.ok()) << p.error().message;
  return p.ok() ? dump(p->plan) : "";
}

TEST(DotPlans, SayWhichAndWhyNot) {
  const auto has = [](const std::string& text, const std::string& what) {
    EXPECT_NE(text.find(what), std::string::npos) << what << " in\n" << text;
  };
  const std::string fast = planned_text(some_gpu(true, true), "weights i8\nproducts i8\n");
  has(fast, "[linear.dot 32x64, rows by token] fc");
  has(fast, "constant w i8 dot words");
  has(fast, "vulkan layer_norm");  // what becomes codes is the whole LayerNorm's answer
  has(planned_text(some_gpu(true, true), "weights i8\nw i8 i8:0.1:3\n"), "rows by tensor] fc");
  has(planned_text(some_gpu(false, false), "weights i8\nproducts i8\n"),
      "rows stay floats: the device has no VK_KHR_shader_integer_dot_product] fc");
  has(planned_text(some_gpu(true, false), "weights i8\nproducts i8\n"),
      "rows stay floats: the device reports no accelerated dot product of signed bytes] fc");
  has(planned_text(some_gpu(true, true), "weights i4g32\nproducts i8\n"),
      "rows stay floats: it takes codes of more than 4 bits with a scale per row and no zero points] fc");
  EXPECT_EQ(planned_text(some_gpu(true, true), "weights i8\n").find("linear.dot"), std::string::npos);
}

}  // namespace
}  // namespace vireo::vk
#endif
