// Class maps at a size that is asked for with each inference: against PyTorch's (tests/golden/maps, by
// tests/oracle/maps.py), against arithmetic written out here, on every SIMD target and every Vulkan device under the
// validation layer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "base/half.h"
#include "classmap.h"
#include "cpu/executable.h"
#include "image.h"
#include "runtime/model_impl.h"
#include "runtime/session_impl.h"
#if VIREO_VULKAN
#include "test_vk.h"
#include "vk/executable.h"
#include "vk/memory.h"

#include <vireo/vulkan.hpp>
#endif

#include <vireo/vireo.h>

namespace vireo {
namespace {

const std::string kData = VIREO_TEST_DATA;

Device with_kernels(const simd::Kernels* kernels) {
  auto impl = std::make_shared<Device::Impl>();
  impl->kind = DeviceKind::kCpu;
  impl->caps = Device::cpu(2).impl()->caps;
  impl->caps.simd = kernels->name;
  impl->kernels = kernels;
  impl->threads = 2;
  return Device(std::move(impl));
}

/// Every SIMD target and every Vulkan device, validated.
std::vector<Device> devices() {
  setenv("VIREO_VALIDATION", "1", 1);
  std::vector<Device> all;
  for (int i = 0; const simd::Kernels* k = simd::supported(i); ++i) all.push_back(with_kernels(k));
  for (const Device& d : Device::list(nullptr))
    if (std::string(d.kind()) == "vulkan") all.push_back(d);
  unsetenv("VIREO_VALIDATION");
  return all;
}

std::string name_of(const Device& d) {
  return std::string(d.kind()) == "cpu" ? "cpu " + d.impl()->caps.simd : d.name();
}

SessionOptions map_options(int batch = 1, Precision precision = Precision::kFp32) {
  SessionOptions o;
  o.head = Head::kClassMap;
  o.batch = batch;
  o.precision = precision;
  o.fallback = false;
  return o;
}

Model open_case(const std::string& name) {
  Result<Model> m = Model::open(kData + "/cases/" + name);
  EXPECT_TRUE(m.ok()) << m.error().message;
  return *m;
}

struct Pictures {
  std::vector<cli::Rgb8> kept;
  std::vector<Image> images;
};
Pictures pictures(const std::string& name) {
  Pictures p;
  for (int i = 0; i < 3; ++i) {
    auto picture = cli::load_image(kData + "/cases/" + name + "/" + std::to_string(i) + ".png");
    EXPECT_TRUE(picture.ok()) << picture.error().message;
    p.kept.push_back(std::move(*picture));
  }
  for (const cli::Rgb8& k : p.kept) p.images.push_back({k.rgb.data(), k.width, k.height, 0});
  return p;
}

constexpr int kTie = 255;
// The order matters: maps grow, shrink and grow beyond.
const std::vector<MapSize> kSizes{{48, 64},   {80, 80},  {31, 41}, {13, 199}, {211, 17},
                                  {480, 640}, {97, 131}, {1, 1},   {1, 50},   {64, 96}};

void expect_map(const Output& out, const std::string& golden, const std::string& where) {
  auto expected = cli::load_labels(golden);
  ASSERT_TRUE(expected.ok()) << expected.error().message;
  ASSERT_EQ(int64_t(out.batch) * out.rows, int64_t(expected->index.size())) << where;
  EXPECT_EQ(out.cols, 1);
  EXPECT_EQ(out.width, expected->width) << where;
  EXPECT_EQ(out.rows, out.height * out.width);
  size_t other = 0, first = 0;
  for (size_t i = 0; i < expected->index.size(); ++i)
    if (expected->index[i] != kTie && out.data[i] != float(expected->index[i]) && other++ == 0) first = i;
  EXPECT_EQ(other, 0u) << where << ": " << other << " of " << expected->index.size() << " pixels, first " << first
                       << ": " << out.data[first] << ", expected " << int(expected->index[first]);
}

TEST(ClassMaps, AreTransformersAtEverySize) {
  for (const std::string name : {"hf-upernet-swin", "hf-upernet-mobilevit", "paper-upernet-swinv2"}) {
    const Model model = open_case(name);
    const Pictures p = pictures(name);
    for (const Device& device : devices()) {
      Result<Session> s = Session::create(model, device, map_options(3));
      ASSERT_TRUE(s.ok()) << s.error().message;
      for (const MapSize size : kSizes) {
        Result<Output> out = s->run(p.images.data(), 3, size);
        ASSERT_TRUE(out.ok()) << out.error().message;
        const std::string of = std::to_string(size.height) + "x" + std::to_string(size.width);
        expect_map(*out, kData + "/maps/" + name + "/" + of + ".png", name + " " + of + " on " + name_of(device));
      }
    }
  }
}

/// Scores [n, h, w, c] at another size, bilinear without aligned corners, from the definition and in double.
std::vector<double> bilinear(const std::vector<double>& x, int64_t n, int64_t h, int64_t w, int64_t c, int64_t oh,
                             int64_t ow) {
  std::vector<double> out(size_t(n * oh * ow * c));
  for (int64_t b = 0; b < n; ++b)
    for (int64_t y = 0; y < oh; ++y)
      for (int64_t q = 0; q < ow; ++q) {
        const double fy = std::max((double(y) + 0.5) * double(h) / double(oh) - 0.5, 0.0),
                     fx = std::max((double(q) + 0.5) * double(w) / double(ow) - 0.5, 0.0);
        const int64_t y0 = std::min(int64_t(fy), h - 1), y1 = std::min(y0 + 1, h - 1),
                      x0 = std::min(int64_t(fx), w - 1), x1 = std::min(x0 + 1, w - 1);
        const double v = fy - double(y0), u = fx - double(x0);
        const auto at = [&](int64_t yy, int64_t xx, int64_t e) { return x[size_t(((b * h + yy) * w + xx) * c + e)]; };
        for (int64_t e = 0; e < c; ++e)
          out[size_t(((b * oh + y) * ow + q) * c + e)] = (1 - v) * ((1 - u) * at(y0, x0, e) + u * at(y0, x1, e)) +
                                                         v * ((1 - u) * at(y1, x0, e) + u * at(y1, x1, e));
      }
  return out;
}

/// How many pixels are of a class that is not the best, nor within `close` of it.
size_t wrong_pixels(const float* map, const std::vector<double>& scores, int64_t c, double close) {
  size_t wrong = 0;
  for (size_t i = 0; i < scores.size() / size_t(c); ++i) {
    const double* s = &scores[i * size_t(c)];
    const double best = *std::max_element(s, s + c);
    const bool is_class = map[i] >= 0 && map[i] < float(c) && map[i] == std::floor(map[i]);
    wrong += !is_class || s[size_t(map[i])] < best - close;
  }
  return wrong;
}

// In the other precisions the scores are others, but the map must be that of the session's own.
TEST(ClassMaps, AreOfTheSessionsScoresInEveryPrecision) {
  const Model model = open_case("hf-upernet-swin");
  const Pictures p = pictures("hf-upernet-swin");
  for (const Device& device : devices())
    for (const Precision precision : {Precision::kFp16, Precision::kInt8}) {
      SessionOptions o = map_options(3, precision);
      Result<Session> maps = Session::create(model, device, o);
      o.head = Head::kLogits;
      Result<Session> logits = Session::create(model, device, o);
      ASSERT_TRUE(maps.ok() && logits.ok());
      Result<Output> scores = logits->run(p.images.data(), 3);
      ASSERT_TRUE(scores.ok()) << scores.error().message;
      const std::vector<double> at_input(scores->data, scores->data + size_t(scores->rows) * 3 * 3);
      for (const MapSize size : {MapSize{80, 80}, MapSize{19, 100}}) {
        Result<Output> out = maps->run(p.images.data(), 3, size);
        ASSERT_TRUE(out.ok()) << out.error().message;
        EXPECT_EQ(
            wrong_pixels(out->data, bilinear(at_input, 3, scores->height, scores->width, 3, size.height, size.width), 3,
                         1e-4),
            0u)
            << to_string(precision) << " on " << name_of(device);
      }
    }
}

TEST(ClassMaps, TwoInFlightHaveTheirOwnSizes) {
  const std::string name = "hf-upernet-swin";
  const Model model = open_case(name);
  const Pictures p = pictures(name);
  const auto path = [&](MapSize s) {
    return kData + "/maps/" + name + "/" + std::to_string(s.height) + "x" + std::to_string(s.width) + ".png";
  };
  for (const Device& device : devices()) {
    Result<Session> s = Session::create(model, device, map_options(3));
    ASSERT_TRUE(s.ok()) << s.error().message;
    std::vector<MapSize> order;
    for (int i = 0; i < 2; ++i)
      order.insert(order.end(), {{80, 80}, {480, 640}, {0, 0}, {31, 41}, {480, 640}, {97, 131}, {97, 131}});
    std::vector<Ticket> tickets;
    for (size_t i = 0; i <= order.size(); ++i) {
      if (i < order.size()) {
        Result<Ticket> t = s->submit(p.images.data(), 3, order[i]);
        ASSERT_TRUE(t.ok()) << t.error().message;
        tickets.push_back(*t);
      }
      if (i == 0) continue;
      Result<Output> out = s->wait(tickets[i - 1]);
      ASSERT_TRUE(out.ok()) << out.error().message;
      const MapSize size = order[i - 1].height ? order[i - 1] : MapSize{48, 64};
      EXPECT_EQ(out->height, size.height);
      expect_map(*out, path(size), "inference " + std::to_string(i - 1) + " on " + name_of(device));
    }
    int64_t shape[4];
    Result<std::vector<float>> value = s->value("class_map", shape);
    ASSERT_TRUE(value.ok()) << value.error().message;
    EXPECT_EQ(shape[1], 97);
    EXPECT_EQ(shape[2], 131);
    EXPECT_EQ(value->size(), size_t(3 * 97 * 131));
  }
}

// Steps on the CPU in a Vulkan plan: the map's own, the one before it (whose segment it then is alone), and all the
// others.
TEST(ClassMaps, StepsOnTheCpu) {
  const std::string name = "hf-upernet-swin";
  const Model model = open_case(name);
  const Pictures p = pictures(name);
  for (const Device& device : devices()) {
    if (std::string(device.kind()) == "cpu") continue;
    for (const std::vector<std::string>& ops : {std::vector<std::string>{"argmax"}, {"conv2d"}, {"conv2d", "argmax"}}) {
      SessionOptions o = map_options(3);
      o.cpu_ops = ops;
      Result<Session> s = Session::create(model, device, o);
      ASSERT_TRUE(s.ok()) << s.error().message;
      for (const MapSize size : {MapSize{80, 80}, MapSize{480, 640}, MapSize{31, 41}}) {
        Result<Output> out = s->run(p.images.data(), 3, size);
        ASSERT_TRUE(out.ok()) << out.error().message;
        expect_map(
            *out,
            kData + "/maps/" + name + "/" + std::to_string(size.height) + "x" + std::to_string(size.width) + ".png",
            ops.back() + " on the CPU, " + device.name());
      }
      Result<Output> plain = s->run(p.images.data(), 3);
      ASSERT_TRUE(plain.ok());
      expect_map(*plain, kData + "/maps/" + name + "/48x64.png", "the input's size");
    }
  }
}

#if VIREO_VULKAN
TEST(ClassMaps, ADeviceThatFailsLeavesTheSizeToTheCpu) {
  const std::string name = "hf-upernet-swin";
  const Model model = open_case(name);
  const Pictures p = pictures(name);
  bool any = false;
  for (const Device& real : devices()) {
    if (std::string(real.kind()) == "cpu") continue;
    any = true;
    for (const std::string call : {"submit", "wait", "allocate"}) {
      auto now = std::make_shared<bool>(false);
      auto impl = std::make_shared<Device::Impl>();
      impl->kind = DeviceKind::kVulkan;
      impl->caps = real.impl()->caps, impl->index = real.impl()->index, impl->threads = real.impl()->threads,
      impl->instance = real.impl()->instance;
      impl->validation = real.impl()->validation, impl->kernels = real.impl()->kernels;
      impl->gpu_options.fault = [now, call](const char* at) {
        return *now && call == at ? call == "allocate" ? VK_ERROR_OUT_OF_DEVICE_MEMORY : VK_ERROR_DEVICE_LOST
                                  : VK_SUCCESS;
      };
      SessionOptions o = map_options(3);
      o.fallback = true;
      Result<Session> s = Session::create(model, Device(std::move(impl)), o);
      ASSERT_TRUE(s.ok()) << s.error().message;
      Result<Output> out = s->run(p.images.data(), 3, {31, 41});
      ASSERT_TRUE(out.ok()) << out.error().message;
      EXPECT_STREQ(out->device.kind, "vulkan") << out->device.reason;
      *now = true;  // a larger one needs memory
      out = s->run(p.images.data(), 3, {480, 640});
      ASSERT_TRUE(out.ok()) << out.error().message;
      EXPECT_STREQ(out->device.kind, "cpu");
      expect_map(*out, kData + "/maps/" + name + "/480x640.png", "after " + call + " failed");
    }
  }
  if (!any) GTEST_SKIP() << "no Vulkan device";
}
#endif  // VIREO_VULKAN

TEST(ClassMaps, SizesThatMakeNoSense) {
  const Model model = open_case("hf-upernet-swin");
  const Pictures p = pictures("hf-upernet-swin");
  Result<Session> s = Session::create(model, Device::cpu(1), map_options(3));
  ASSERT_TRUE(s.ok());
  for (const MapSize size : {MapSize{-1, 5}, MapSize{5, 0}, MapSize{0, 5}, MapSize{65537, 1}, MapSize{65536, 65536}}) {
    const Result<Output> out = s->run(p.images.data(), 3, size);
    ASSERT_FALSE(out.ok());
    EXPECT_EQ(out.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(out.error().message.find("the map's size is " + std::to_string(size.height) + "x"), std::string::npos)
        << out.error().message;
  }
  SessionOptions o = map_options(3);
  o.head = Head::kLogits;
  Result<Session> logits = Session::create(model, Device::cpu(1), o);
  ASSERT_TRUE(logits.ok());
  const Result<Output> out = logits->run(p.images.data(), 3, {80, 80});
  ASSERT_FALSE(out.ok());
  EXPECT_NE(out.error().message.find("expected Head::kClassMap"), std::string::npos) << out.error().message;
  EXPECT_TRUE(s->run(p.images.data(), 3, {80, 80}).ok()) << "the session goes on";
}

TEST(ClassMaps, FromC) {
  const std::string dir = kData + "/cases/hf-upernet-swin";
  const Pictures p = pictures("hf-upernet-swin");
  vireo_options o;
  vireo_options_init(&o);
  o.device = "cpu", o.head = VIREO_CLASS_MAP, o.batch = 3;
  vireo_session* s = nullptr;
  vireo_error error;
  ASSERT_EQ(vireo_open(dir.c_str(), &o, &s, &error), VIREO_OK) << error.message;
  std::vector<vireo_image> images;
  for (const Image& i : p.images) images.push_back({i.rgb, i.width, i.height, i.stride});
  vireo_output c;
  for (const MapSize size : {MapSize{80, 80}, MapSize{0, 0}, MapSize{31, 41}}) {
    ASSERT_EQ(vireo_run_images_map(s, images.data(), 3, size.height, size.width, &c, &error), VIREO_OK)
        << error.message;
    Output out;
    out.data = c.data, out.batch = c.batch, out.rows = c.rows, out.cols = c.cols;
    out.height = size.height ? size.height : vireo_map_height(s),
    out.width = size.width ? size.width : vireo_map_width(s);
    expect_map(out,
               kData + "/maps/hf-upernet-swin/" + std::to_string(out.height) + "x" + std::to_string(out.width) + ".png",
               "from C");
  }
  EXPECT_EQ(vireo_run_images_map(s, images.data(), 3, 80, 0, &c, &error), VIREO_INVALID_ARGUMENT);
  vireo_close(s);
}

#if VIREO_VULKAN
// ---- the operator alone: other shapes, a device's limits, numbers that are none
// -----------------------------------------------------

struct Shapes {
  int64_t n, h, w, c, mid_h, mid_w;  // mid 0: straight, as of a head whose scores meet no other size
};

using Size = std::pair<int64_t, int64_t>;

/// The maps of those sizes, one inference after the other.
std::vector<std::vector<float>> sized_maps(const Graph& graph, const DeviceCaps& caps, const simd::Kernels* kernels,
                                           const std::shared_ptr<vk::Gpu>& gpu, const std::vector<double>& scores,
                                           const std::vector<Size>& sizes) {
  std::vector<std::vector<float>> maps;
  Result<Planned> planned = make_plan(graph, caps, {});
  EXPECT_TRUE(planned.ok()) << planned.error().message;
  const Plan& plan = planned->plan;
  EXPECT_EQ(plan.sized_step(), 0);
  const TensorDesc& in = plan.values[size_t(plan.inputs[0])].desc;
  const auto fill = [&](float* to) {
    for (int64_t r = 0; r < in.shape.rows(); ++r)
      for (int64_t e = 0; e < in.shape.c(); ++e) {
        const float v = float(scores[size_t(r * in.shape.c() + e)]);
        if (in.dtype == DType::kF16) reinterpret_cast<uint16_t*>(to)[r * in.row_stride() + e] = float_to_half(v);
        else to[r * in.row_stride() + e] = v;
      }
  };
  ThreadPool pool(2);
  std::unique_ptr<cpu::Executable> on_cpu;
  std::unique_ptr<vk::Executable> on_gpu;
  if (kernels) {
    auto e = cpu::Executable::create(plan, planned->graph, pool, *kernels, 1);
    EXPECT_TRUE(e.ok()) << e.error().message;
    on_cpu = std::move(*e);
    fill(on_cpu->input(0));
  } else {
    auto e = vk::Executable::create(gpu, plan, planned->graph, pool, {});
    EXPECT_TRUE(e.ok()) << e.error().message;
    if (!e) return std::vector<std::vector<float>>(sizes.size(), std::vector<float>());
    on_gpu = std::move(*e);
    fill(on_gpu->input(0));
  }
  for (const auto& [h, w] : sizes) {
    const size_t size = size_t(in.shape.n() * h * w);
    std::vector<float> map(size + 16, -7);
    if (on_cpu) {
      const SizedOutput to{h, w, map.data()};
      on_cpu->run(0, pool, &to);
      EXPECT_TRUE(std::all_of(map.begin() + ptrdiff_t(size), map.end(), [](float v) { return v == -7; }))
          << "written past the map";
    } else {
      const Result<void> submitted = on_gpu->submit(0, h, w);
      EXPECT_TRUE(submitted.ok()) << submitted.error().message;
      EXPECT_TRUE(on_gpu->wait(0).ok());
      std::copy_n(on_gpu->map(0), size, map.begin());
    }
    map.resize(size);
    maps.push_back(std::move(map));
  }
  return maps;
}

Graph argmax_graph(const Shapes& s, bool half) {
  GraphBuilder b("map");
  TensorDesc in;
  in.shape = Shape{{s.n, s.h, s.w, s.c}};
  in.dtype = half ? DType::kF16 : DType::kF32;
  std::vector<std::pair<const char*, double>> attrs;
  if (s.mid_h)
    attrs = {
        {"out_h", double(s.mid_h)}, {"out_w", double(s.mid_w)}, {"mid_h", double(s.mid_h)}, {"mid_w", double(s.mid_w)}};
  b.output(b.add(OpKind::kArgmax, "map", {b.input("scores", in)}, attrs));
  Result<Graph> g = b.finish();
  EXPECT_TRUE(g.ok()) << g.error().message;
  return std::move(*g);
}

class SizedArgmax : public vk::VkTest {
 protected:
  struct Target {
    std::string label;
    DeviceCaps caps;
    const simd::Kernels* kernels = nullptr;
    std::shared_ptr<vk::Gpu> gpu;
  };
  std::vector<Target> targets() {
    std::vector<Target> all;
    for (int i = 0; const simd::Kernels* k = simd::supported(i); ++i) {
      DeviceCaps caps;
      caps.kind = DeviceKind::kCpu, caps.simd = k->name, caps.threads = 2,
      caps.storage_alignment = caps.texel_alignment = 64;
      all.push_back({k->name, caps, k, nullptr});
    }
    for (const uint32_t index : usable_) {
      const auto gpu = open(index);
      if (!gpu) continue;
      for (const DeviceClass c : {DeviceClass::kSoftware, DeviceClass::kMaxwell}) {  // texel buffers or not
        DeviceCaps caps = gpu->caps();
        caps.device_class = c;
        all.push_back({gpu->caps().name, caps, nullptr, gpu});
        caps.max_storage_range = 1 << 16;  // a map in several parts
        all.push_back({gpu->caps().name + ", small bindings", caps, nullptr, gpu});
      }
    }
    return all;
  }
};

std::vector<double> noise(size_t n) {
  std::vector<double> v(n);
  uint32_t state = 12345;
  for (double& x : v) {
    state = state * 1664525 + 1013904223;
    x = double(half_to_float(float_to_half(float(state >> 8) / float(1 << 22) - 2)));
  }
  return v;
}

TEST_F(SizedArgmax, IsTwoResizesThenTheLargest) {
  for (const Target& t : targets())
    for (const Shapes& s : {Shapes{2, 12, 16, 7, 48, 64}, Shapes{1, 16, 12, 150, 64, 48}, Shapes{1, 9, 7, 19, 0, 0},
                            Shapes{1, 13, 11, 5, 17, 19}, Shapes{2, 20, 30, 4, 7, 11}, Shapes{1, 1, 1, 3, 4, 4},
                            Shapes{1, 12, 10, 1, 48, 40}}) {
      const std::vector<double> scores = noise(size_t(s.n * s.h * s.w * s.c));
      const std::vector<double> mid = s.mid_h ? bilinear(scores, s.n, s.h, s.w, s.c, s.mid_h, s.mid_w) : scores;
      // Scores or a planned map (rows of 16 bytes) beyond a binding are the CPU's.
      const int64_t planned = s.n * (s.mid_h ? s.mid_h * s.mid_w : s.h * s.w) * 16;
      if (!t.kernels &&
          std::max(uint64_t(s.n * s.h * s.w * s.c) * sizeof(float), uint64_t(planned)) > t.caps.max_storage_range)
        continue;
      for (const bool half : {false, true}) {
        if (half && (t.kernels || !t.caps.storage_16bit)) continue;
        const Graph graph = argmax_graph(s, half);
        const std::vector<Size> sizes{{80, 80}, {48, 64}, {1, 1}, {301, 203}, {5, 130}};
        const std::vector<std::vector<float>> maps = sized_maps(graph, t.caps, t.kernels, t.gpu, scores, sizes);
        for (size_t i = 0; i < sizes.size(); ++i) {
          const auto [h, w] = sizes[i];
          const std::vector<double> at =
              bilinear(mid, s.n, s.mid_h ? s.mid_h : s.h, s.mid_w ? s.mid_w : s.w, s.c, h, w);
          EXPECT_EQ(wrong_pixels(maps[i].data(), at, s.c, 1e-4), 0u)
              << t.label << ", " << s.h << "x" << s.w << "x" << s.c << " by way of " << s.mid_h << "x" << s.mid_w
              << " to " << h << "x" << w << (half ? " of halves" : "");
        }
      }
    }
}

TEST_F(SizedArgmax, PixelsOfScoresThatAreNoNumbersAreNoClass) {
  const Shapes s{1, 6, 8, 5, 24, 32};
  for (const Target& t : targets())
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
      std::vector<double> scores = noise(size_t(s.h * s.w * s.c));
      scores[size_t((2 * s.w + 3) * s.c + 4)] =
          double(bad);  // row 2, column 3: of the pixels from (1.5 .. 3.5) / 6 down, (2.5 .. 4.5) / 8 right
      const Graph graph = argmax_graph(s, false);
      const std::vector<float> map = sized_maps(graph, t.caps, t.kernels, t.gpu, scores, {{60, 80}})[0];
      for (int y = 0; y < 60; ++y)
        for (int x = 0; x < 80; ++x) {
          const double down = (y + 0.5) / 10 - 0.5 - 2, right = (x + 0.5) / 10 - 0.5 - 3;  // from it, in its own pixels
          const float c = map[size_t(y * 80 + x)];
          const double far = std::max(std::fabs(down), std::fabs(right));
          if (far < 0.7) {
            EXPECT_EQ(c, -1) << t.label << " " << bad << " at " << x << ", " << y;
          } else if (far > 1.5) {
            EXPECT_TRUE(c >= 0 && c < 5) << t.label << " " << bad << " at " << x << ", " << y << ": " << c;
          }
        }
    }
}

TEST_F(SizedArgmax, AnApplicationsBufferIsForTheInputsSize) {
  const Model model = open_case("hf-upernet-swin");
  const Pictures p = pictures("hf-upernet-swin");
  for (const uint32_t index : usable_) {
    const auto owner = open(index);
    VkQueue queue = VK_NULL_HANDLE;
    owner->fn().vkGetDeviceQueue(owner->handle(), owner->queue_family(), 0, &queue);
    const Result<Device> device = adopt_vulkan(instance_->handle(), owner->physical().handle, owner->handle(), queue,
                                               owner->queue_family(), nullptr);
    ASSERT_TRUE(device.ok()) << device.error().message;
    const SessionOptions o = map_options();
    const Result<SessionBufferLayout> layout = session_buffer_layout(model, o);
    ASSERT_TRUE(layout.ok());
    EXPECT_EQ(layout->output_rows, 48 * 64);
    auto buffer = vk::Buffer::create(
        *owner, {"map", layout->output_bytes, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, vk::MemoryUse::kHostAccess});
    ASSERT_TRUE(buffer.ok());
    SessionBuffers buffers;
    buffers.output = buffer->handle();
    Result<Session> s = create_session(model, *device, o, buffers);
    ASSERT_TRUE(s.ok()) << s.error().message;
    const Result<Output> other = s->run(p.images.data(), 1, {80, 80});
    ASSERT_FALSE(other.ok());
    EXPECT_NE(other.error().message.find("the application's buffer, which is for the input's size"), std::string::npos)
        << other.error().message;
    ASSERT_TRUE(s->run(p.images.data(), 1).ok());
    auto expected = cli::load_labels(kData + "/maps/hf-upernet-swin/48x64.png");
    ASSERT_TRUE(expected.ok());
    const float* map = reinterpret_cast<const float*>(buffer->mapped());
    size_t other_class = 0;
    for (size_t i = 0; i < 48 * 64; ++i)
      other_class += expected->index[i] != kTie && map[i * size_t(layout->output_stride)] != float(expected->index[i]);
    EXPECT_EQ(other_class, 0u);
  }
}
#endif  // VIREO_VULKAN

}  // namespace
}  // namespace vireo
