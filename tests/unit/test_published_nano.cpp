// What others measured on a Jetson Nano beside what is predicted for networks of the same layers: the range that a
// prediction states must hold the published times, although another program computed them.
#include <gtest/gtest.h>

#include <cstdio>

#include "model/builder.h"
#include "plan/plan.h"
#include "profile/machine.h"
#include "profile/predict.h"

#include <vireo/predict.hpp>

namespace vireo {
namespace {

/// Layers with weights of no meaning, for their sizes. Batch norm is folded into convolutions.
class Network {
 public:
  explicit Network(int64_t size) : x(b_.pixels(1, size, size, 3)) {}

  void conv(int64_t out, int64_t kernel, int64_t stride = 1, int64_t groups = 1) {
    ConvLayer l;
    l.conv = name("conv");
    l.in = b_.shape(x).c(), l.out = out, l.kernel = kernel, l.stride = stride, l.groups = groups, l.bias = true;
    macs_ += out * kernel * kernel * l.in / groups * ((b_.shape(x).h() + stride - 1) / stride) *
             ((b_.shape(x).w() + stride - 1) / stride);
    x = b_.conv(x, l, l.conv);
  }
  void op(OpKind kind, std::vector<std::pair<const char*, double>> attrs = {}) {
    x = b_.add(kind, name("op"), {x}, std::move(attrs));
  }
  void add(ValueId to) { x = b_.add(OpKind::kAdd, name("add"), {x, to}); }
  void mean() { x = b_.mean(x, 0, name("mean")); }
  void linear(int64_t out) {
    macs_ += out * b_.shape(x).c();
    const std::string n = name("fc");
    x = b_.linear(x, n, out, true, n);
  }
  void layer_norm() {
    const std::string n = name("norm");
    x = b_.layer_norm(x, n, 1e-5, n);
  }
  int64_t channels() const { return b_.shape(x).c(); }
  int64_t macs() const { return macs_; }
  Result<Graph> finish() { return b_.finish(x); }
  ModelBuilder& builder() { return b_; }

 private:
  std::string name(const char* what) { return fmt::format("{}{}", what, ++names_); }
  const ModelSource source_ = {};
  ModelBuilder b_{source_, "published", "as published"};
  int names_ = 0;
  int64_t macs_ = 0;

 public:
  ValueId x;
};

/// He et al. 2016, with the stride in the 3x3 (torchvision's).
Result<Graph> resnet(int depth, int64_t size, int64_t* macs) {
  Network n(size);
  const bool deep = depth == 50;
  const int blocks[2][4] = {{2, 2, 2, 2}, {3, 4, 6, 3}};
  n.conv(64, 7, 2), n.op(OpKind::kRelu);
  n.op(OpKind::kPool, {{"mode", 1}, {"kernel", 3}, {"stride", 2}, {"pad", 1}});
  for (int stage = 0; stage < 4; ++stage)
    for (int i = 0; i < blocks[deep][stage]; ++i) {
      const int64_t width = 64 << stage, out = deep ? 4 * width : width, stride = stage > 0 && i == 0 ? 2 : 1;
      const ValueId from = n.x;
      if (deep) n.conv(width, 1), n.op(OpKind::kRelu);
      n.conv(width, 3, stride), n.op(OpKind::kRelu);
      n.conv(out, deep ? 1 : 3);
      const ValueId branch = n.x;
      n.x = from;
      if (n.channels() != out || stride > 1) n.conv(out, 1, stride);
      n.add(branch), n.op(OpKind::kRelu);
    }
  n.mean(), n.linear(1000);
  *macs = n.macs();
  return n.finish();
}

/// Cai et al. 2023, B1 to B3, with less work than they have: softmax attention stands for linear attention, which no
/// operator does, and is left out of the times; a 1x1 convolution in groups of 16 or 32 is one of each channel by
/// itself.
Result<Graph> efficientvit(int which, int64_t size, int64_t* macs) {
  const int64_t widths[3][5] = {{16, 32, 64, 128, 256}, {24, 48, 96, 192, 384}, {32, 64, 128, 256, 512}};
  const int depths[3][5] = {{1, 2, 3, 3, 4}, {1, 3, 4, 4, 6}, {1, 4, 6, 6, 9}};
  const int64_t heads[3][2] = {{1536, 1600}, {2304, 2560}, {2304, 2560}};
  const int64_t* const width = widths[which - 1];
  const int* const depth = depths[which - 1];
  Network n(size);
  const auto mbconv = [&](int64_t out, int64_t stride) {
    const ValueId from = n.x;
    const int64_t mid = 4 * n.channels(), in = n.channels();
    n.conv(mid, 1), n.op(OpKind::kHardswish);
    n.conv(mid, 3, stride, mid), n.op(OpKind::kHardswish);
    n.conv(out, 1);
    if (stride == 1 && in == out) n.add(from);
  };
  n.conv(width[0], 3, 2), n.op(OpKind::kHardswish);
  for (int i = 0; i < depth[0]; ++i) {
    const ValueId from = n.x;
    n.conv(width[0], 3, 1, width[0]), n.op(OpKind::kHardswish);
    n.conv(width[0], 1), n.add(from);
  }
  for (int stage = 1; stage < 3; ++stage)
    for (int i = 0; i < depth[stage]; ++i) mbconv(width[stage], i == 0 ? 2 : 1);
  for (int stage = 3; stage < 5; ++stage) {
    mbconv(width[stage], 2);
    for (int i = 0; i < depth[stage]; ++i) {
      const ValueId from = n.x;
      const int64_t t = width[stage];
      n.conv(3 * t, 1);
      const ValueId qkv = n.x;
      n.conv(3 * t, 5, 1, 3 * t);
      n.conv(3 * t, 1, 1, 3 * t);
      n.x = n.builder().add(OpKind::kConcat, fmt::format("scales{}.{}", stage, i), {qkv, n.x});
      const int64_t dim = which == 1 ? 16 : 32;
      n.x = n.builder().attention(n.x, {2 * t / dim, dim, dim, -1}, dim, fmt::format("attention{}.{}", stage, i));
      n.conv(t, 1);
      n.add(from);
      mbconv(t, 1);
    }
  }
  const int64_t* const head = heads[which - 1];
  n.conv(head[0], 1), n.op(OpKind::kHardswish), n.mean();
  n.linear(head[1]), n.layer_norm(), n.op(OpKind::kHardswish), n.linear(1000);
  *macs = n.macs();
  return n.finish();
}

struct Published {
  const char* name;
  double ms;
  Result<Graph> (*build)(int, int64_t, int64_t*);
  int which;
  int64_t size;
};
// torch2trt's README (fp16, 90.2 and 34.2 pictures a second); mit-han-lab/efficientvit, applications/efficientvit_cls
// (TensorRT fp16).
const Published kPublished[] = {
    {"ResNet-18", 11.1, resnet, 18, 224},
    {"ResNet-50", 29.2, resnet, 50, 224},
    {"EfficientViT-B1 224", 24.8, efficientvit, 1, 224},
    {"EfficientViT-B1 256", 28.5, efficientvit, 1, 256},
    {"EfficientViT-B1 288", 34.5, efficientvit, 1, 288},
    {"EfficientViT-B2 224", 50.6, efficientvit, 2, 224},
    {"EfficientViT-B3 224", 101, efficientvit, 3, 224},
};

TEST(PublishedNano, AreWithinThePredictedRange) {
  const Result<std::string> caps = machine_caps("jetson-nano"), text = machine_text("jetson-nano");
  ASSERT_TRUE(caps && text);
  const std::shared_ptr<ShaderCounts> counts = shader_counts();
  const Machine machine = *machine_from_text(*text, "jetson-nano");
  for (const Published& p : kPublished) {
    SCOPED_TRACE(p.name);
    int64_t macs = 0;
    Result<Graph> graph = p.build(p.which, p.size, &macs);
    ASSERT_TRUE(graph.ok()) << graph.error().message;
    PlanOptions options;
    options.precision = Precision::kFp16;
    const Result<Planned> planned = make_plan(std::move(*graph), *caps_from_text(*caps, "caps"), options);
    ASSERT_TRUE(planned.ok()) << planned.error().message;
    const std::vector<DispatchWork> work = *plan_work(planned->plan, counts.get());
    const Result<PlanPrediction> made = predict(planned->plan, work, machine);
    ASSERT_TRUE(made.ok()) << made.error().message;
    DispatchPrediction t = made->total;
    for (size_t i = 0; i < work.size(); ++i)
      if (planned->plan.steps[size_t(work[i].step)].op == OpKind::kAttention) {
        const DispatchPrediction& d = made->dispatches[i];
        t.us -= d.us, t.low_us -= d.low_us, t.high_us -= d.high_us;
      }
    std::printf("%-20s %6.2f GMAC %3zu dispatches: published %6.1f, predicted %6.1f (%.1f to %.1f) ms\n", p.name,
                double(macs) / 1e9, work.size(), p.ms, t.us / 1e3, t.low_us / 1e3, t.high_us / 1e3);
    EXPECT_GE(t.high_us / 1e3, p.ms);
    // Another program may be faster, but a range that begins far above it would be of a board that nobody has.
    EXPECT_LE(t.low_us / 1e3, 1.1 * p.ms);
    for (const DispatchPrediction& d : made->dispatches) {
      EXPECT_LT(d.low_us, d.us);
      EXPECT_GT(d.high_us, d.us);
    }
  }
}

}  // namespace
}  // namespace vireo
