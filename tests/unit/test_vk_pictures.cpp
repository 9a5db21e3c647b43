// Pictures that become the network's input in compute shaders: the CPU's numbers to the bit, of every format, size,
// crop, rotation and filter, on every device; and sessions that choose between the two ways, and say so.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "model/preprocess.h"
#include "plan/picture.h"
#include "runtime/device_impl.h"
#include "support/patch.h"
#include "test_model_files.h"
#include "test_vk.h"
#include "vk/executable.h"

#include <vireo/predict.hpp>
#include <vireo/vireo.hpp>

namespace vireo {
namespace {

constexpr PixelFormat kAll[] = {PixelFormat::kRgb,  PixelFormat::kBgr,    PixelFormat::kRgba, PixelFormat::kBgra,
                                PixelFormat::kGrey, PixelFormat::kGrey16, PixelFormat::kNv12, PixelFormat::kNv21,
                                PixelFormat::kI420, PixelFormat::kI422,   PixelFormat::kI444, PixelFormat::kYuyv,
                                PixelFormat::kUyvy};

/// A picture of noise, its planes one after the other.
struct Noise {
  std::vector<uint8_t> bytes;
  Image image;
  Noise(PixelFormat format, int width, int height, uint32_t seed) : bytes(packed_bytes(format, width, height)) {
    std::mt19937 random(seed);
    for (uint8_t& b : bytes) b = uint8_t(random() >> 11);
    image = Image::packed(format, bytes.data(), width, height);
  }
};

PreprocessConfig config_for(Filter filter, int64_t h, int64_t w) {
  PreprocessConfig c;
  c.filter = filter;
  c.resize_h = c.input_h = h;
  c.resize_w = c.input_w = w;
  c.mean = {{0.4, 0.5, 0.6}}, c.std = {{0.2, 0.25, 0.3}};
  return c;
}

class PictureGpu : public vk::VkTest {
 protected:
  /// The device's input of the picture, beside the CPU's.
  void compare(const std::shared_ptr<vk::Gpu>& gpu, const PreprocessConfig& config, const Image& image,
               const std::string& what) {
    SCOPED_TRACE(what + " on " + gpu->caps().name);
    Preprocessor preprocessor(config);
    std::vector<float> want(size_t(preprocessor.output_size()), -1.f);
    const Result<void> ran = preprocessor.run(image, want.data());
    ASSERT_TRUE(ran.ok()) << ran.error().message;
    const Result<PictureInput> in = preprocessor.describe(image);
    ASSERT_TRUE(in.ok()) << in.error().message;
    const Result<Plan> plan = plan_picture(*in, gpu->caps());
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    vk::ExecutableOptions options;
    options.cache_dir = "";
    auto run = vk::Executable::create(gpu, *plan, Graph(), pool_, std::move(options));
    ASSERT_TRUE(run.ok()) << run.error().message;
    const std::vector<std::vector<int32_t>> tables = picture_tables(*in);
    const vk::HostMemory memory = (*run)->host_memory(1);
    for (size_t i = 0; i < tables.size(); ++i)
      std::memcpy(memory.at(plan->values[size_t(plan->inputs[i + 1])].where), tables[i].data(),
                  tables[i].size() * sizeof(int32_t));
    const Result<simd::PictureSource> source = check_image(image);
    ASSERT_TRUE(source.ok());
    pack_part(*source, in->part, reinterpret_cast<uint8_t*>((*run)->input(1)));
    ASSERT_TRUE((*run)->submit(1).ok());
    ASSERT_TRUE((*run)->wait(1).ok());
    const float* got = (*run)->output(1);
    size_t wrong = 0, first = want.size();
    for (size_t i = 0; i < want.size(); ++i)
      if (std::memcmp(&got[i], &want[i], sizeof(float)) != 0 && ++wrong == 1) first = i;
    EXPECT_EQ(wrong, 0u) << "of " << want.size() << ", first " << first << ": " << got[std::min(first, want.size() - 1)]
                         << " instead of " << want[std::min(first, want.size() - 1)];
    // The packed copy alone is enough for the CPU as well: sessions keep it to do a lost inference again.
    std::vector<uint8_t> bytes(size_t(in->part.bytes), 0xA5);
    pack_part(*source, in->part, bytes.data());
    std::vector<float> again(want.size(), -1.f);
    ASSERT_TRUE(preprocessor.run(packed_image(image, *source, in->part, bytes.data()), again.data()).ok());
    EXPECT_EQ(std::memcmp(again.data(), want.data(), want.size() * sizeof(float)), 0);
  }
  ThreadPool pool_{1};
};

TEST_F(PictureGpu, EveryFormatCropAndRotation) {
  for (const uint32_t index : usable_) {
    const std::shared_ptr<vk::Gpu> gpu = open(index);
    ASSERT_NE(gpu, nullptr);
    uint32_t seed = 1;
    for (const PixelFormat format : kAll)
      for (const int rotation : {0, 90, 180, 270}) {
        Noise n(format, 61, 47, ++seed);
        n.image.rotation = rotation;
        n.image.range = seed % 2 == 0 ? YuvRange::kFull : YuvRange::kLimited;
        n.image.matrix = seed % 3 == 0 ? YuvMatrix::kBt709 : YuvMatrix::kBt601;
        const std::string what = std::string(to_string(format)) + " turned by " + std::to_string(rotation);
        compare(gpu, config_for(Filter::kBilinear, 23, 19), n.image, what);
        n.image.crop = {3, 5, 37, 33};
        compare(gpu, config_for(Filter::kBicubic, 40, 29), n.image, what + ", cropped");
      }
  }
}

TEST_F(PictureGpu, EveryFilterAndSize) {
  struct Size {
    int w, h;
  };
  for (const uint32_t index : usable_) {
    const std::shared_ptr<vk::Gpu> gpu = open(index);
    ASSERT_NE(gpu, nullptr);
    uint32_t seed = 100;
    for (const Filter filter :
         {Filter::kNearest, Filter::kLanczos, Filter::kBilinear, Filter::kBicubic, Filter::kBox, Filter::kHamming})
      // Up and down, not at all, one pixel, more than a workgroup's outputs, and more than a tile holds.
      for (const Size size : {Size{1, 1}, Size{2, 3}, Size{33, 40}, Size{131, 7}, Size{1201, 11}, Size{7, 1201}})
        for (const PixelFormat format : {PixelFormat::kNv12, PixelFormat::kRgb}) {
          Noise n(format, size.w, size.h, ++seed);
          n.image.rotation = int(seed % 4) * 90;
          compare(gpu, config_for(filter, 33, 40), n.image,
                  std::to_string(size.w) + "x" + std::to_string(size.h) + " " + to_string(format) + ", filter " +
                      std::to_string(int(filter)) + ", turned by " + std::to_string(n.image.rotation));
        }
  }
}

TEST_F(PictureGpu, CropsBordersGreyAndTheOrderOfPlanes) {
  for (const uint32_t index : usable_) {
    const std::shared_ptr<vk::Gpu> gpu = open(index);
    ASSERT_NE(gpu, nullptr);
    for (const int rotation : {0, 270}) {
      Noise n(PixelFormat::kYuyv, 90, 51, uint32_t(7 + rotation));
      n.image.rotation = rotation;
      PreprocessConfig c = config_for(Filter::kBicubic, 32, 32);
      c.resize = PreprocessConfig::Resize::kShortestEdge;
      c.shortest = 40;
      c.crop = true;
      c.crop_h = c.crop_w = 32;
      compare(gpu, c, n.image, "the middle");
      c.shortest = 20;  // smaller than what is cut out: black around it
      compare(gpu, c, n.image, "with a border");
      c.bgr = true;
      compare(gpu, c, n.image, "blue first");
      c.bgr = false;
      c.channels = 1;
      compare(gpu, c, n.image, "Pillow's grey");
      Noise grey(PixelFormat::kGrey16, 90, 51, 3);
      compare(gpu, c, grey.image, "grey that is grey");
    }
    Noise frame(PixelFormat::kNv12, 640, 360, 11);
    compare(gpu, config_for(Filter::kBilinear, 224, 224), frame.image, "a camera's frame");
  }
}

TEST(PictureInputs, WhatShadersCannotDoIsSaid) {
  const Noise n(PixelFormat::kRgb, 20, 10, 1);
  PreprocessConfig floats = config_for(Filter::kBilinear, 8, 8);
  floats.float_resize = true;
  test::expect_error(Preprocessor(floats).describe(n.image), ErrorCode::kUnsupported, {"torchvision"});
  DeviceCaps cpu;
  cpu.kind = DeviceKind::kCpu;
  const Result<PictureInput> in = Preprocessor(config_for(Filter::kBilinear, 8, 8)).describe(n.image);
  ASSERT_TRUE(in.ok());
  test::expect_error(plan_picture(*in, cpu), ErrorCode::kUnsupported, {"no GPU"});
  DeviceCaps small;  // the least that Vulkan guarantees
  small.max_storage_range = 100;
  test::expect_error(plan_picture(*in, small), ErrorCode::kUnsupported, {"more than the device takes"});
  Image bad = n.image;
  bad.rotation = 45;
  test::expect_error(Preprocessor(config_for(Filter::kBilinear, 8, 8)).describe(bad), ErrorCode::kInvalidArgument,
                     {"rotation"});
}

TEST(PictureInputs, PlansNeedNoMoreThanVulkanGuarantees) {
  const DeviceCaps least;
  for (const int width : {1, 1920, 16000}) {
    Image frame;
    frame.format = PixelFormat::kNv12;
    frame.width = width, frame.height = 1080;
    const Result<PictureInput> in = Preprocessor(config_for(Filter::kLanczos, 512, 512)).describe(frame);
    ASSERT_TRUE(in.ok()) << in.error().message;
    const Result<Plan> plan = plan_picture(*in, least);
    EXPECT_TRUE(plan.ok()) << width << ": " << plan.error().message;
  }
  EXPECT_TRUE(plan_floats(3 * 7 * 5, least).ok());
}

TEST(PictureInputs, AFrameOfTheNanosCameraIsPredicted) {
  // The goal of a 1920x1080 NV12 frame to 512x512 on the board: at most 3 ms.
  Result<Model> model = Model::random(std::string(VIREO_SOURCE_DIR) + "/models/configs/vit-ti.json", 1);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const Result<std::string> caps = machine_caps("jetson-nano");
  ASSERT_TRUE(caps.ok());
  PredictOptions options;
  options.machine = "jetson-nano";
  options.session.height = options.session.width = 512;
  const Result<Prediction> without = predict(*model, *caps, options);
  ASSERT_TRUE(without.ok()) << without.error().message;
  EXPECT_TRUE(without->preprocessing.empty());
  options.session.frame.format = PixelFormat::kNv12;
  options.session.frame.width = 1920, options.session.frame.height = 1080;
  const Result<Prediction> p = predict(*model, *caps, options);
  ASSERT_TRUE(p.ok()) << p.error().message;
  ASSERT_EQ(p->preprocessing.size(), 2u);
  EXPECT_EQ(p->preprocessing[0].shader, "picture.columns");
  EXPECT_LE(p->preprocessing_us, 3000);
  EXPECT_GE(p->preprocessing_us, 500);  // its bytes alone take that
  EXPECT_EQ(p->us, without->us);
  options.session.preprocess = Preprocess::kCpu;
  const Result<Prediction> here = predict(*model, *caps, options);
  ASSERT_TRUE(here.ok());
  EXPECT_TRUE(here->preprocessing.empty());
  EXPECT_NE(here->notes.back().find("on the CPU"), std::string::npos);
}

// ---- sessions ----------------------------------------------------------------------------------------------------

const std::string kModel = std::string(VIREO_TEST_DATA) + "/cases/hf-vit";

std::vector<float> values(const Result<Output>& o) {
  EXPECT_TRUE(o.ok()) << (o.ok() ? "" : o.error().message);
  if (!o.ok() || o->data == nullptr) return {};
  return std::vector<float>(o->data, o->data + size_t(o->batch) * size_t(o->rows) * size_t(o->cols));
}

class PictureSessionsGpu : public vk::VkTest {
 protected:
  void SetUp() override {
    vk::VkTest::SetUp();
    if (IsSkipped()) return;
    Result<Model> opened = Model::open(kModel);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    model_ = std::make_unique<Model>(std::move(*opened));
  }
  Result<Session> session(Preprocess how, bool keep_all = false, int batch = 1) {
    SessionOptions options;
    options.preprocess = how;
    options.keep_all = keep_all;
    options.batch = batch;
    options.fallback = false;
    options.cache_dir = "-";
    Result<Device> device = Device::best_vulkan();
    if (!device.ok()) return device.error();
    return Session::create(*model_, *device, options);
  }
  std::unique_ptr<Model> model_;
};

TEST_F(PictureSessionsGpu, FramesOfManyShapesAndFloatsInTurns) {
  Result<Session> there = session(Preprocess::kGpu), here = session(Preprocess::kCpu);
  ASSERT_TRUE(there.ok()) << there.error().message;
  ASSERT_TRUE(here.ok()) << here.error().message;
  EXPECT_STREQ(there->preprocessing().kind, "");
  // Before the first picture, between pictures and behind them.
  std::vector<float> pixels(size_t(there->input_height()) * size_t(there->input_width()) * 3);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = float(int(i % 17) - 8) / 8;
  const std::vector<float> of_floats = values(here->run(pixels.data(), pixels.size()));
  EXPECT_EQ(values(there->run(pixels.data(), pixels.size())), of_floats);
  int shapes = 0;
  for (const PixelFormat format : kAll) {
    const int width = 40 + 3 * shapes, height = 71 - 2 * shapes;
    for (const int same : {0, 1}) {
      Noise n(format, width, height, uint32_t(2 * shapes + same));
      n.image.rotation = shapes % 4 * 90;
      const std::vector<float> want = values(here->run(n.image));
      EXPECT_EQ(values(there->run(n.image)), want) << to_string(format);
      EXPECT_STREQ(there->preprocessing().kind, "vulkan");
      EXPECT_STREQ(there->preprocessing().reason, "");
    }
    EXPECT_EQ(values(there->run(pixels.data(), pixels.size())), of_floats) << "after " << to_string(format);
    ++shapes;
  }
  EXPECT_STREQ(here->preprocessing().kind, "cpu");
  EXPECT_STREQ(here->preprocessing().reason, "");
  EXPECT_NE(there->describe_plan().find("[picture.columns] picture.columns"), std::string::npos)
      << there->describe_plan();
  EXPECT_EQ(here->describe_plan().find("picture.columns"), std::string::npos);
}

TEST_F(PictureSessionsGpu, TwoInFlightOfDifferentShapes) {
  Result<Session> there = session(Preprocess::kGpu), here = session(Preprocess::kCpu);
  ASSERT_TRUE(there.ok() && here.ok());
  const Noise a(PixelFormat::kNv12, 64, 48, 1), b(PixelFormat::kI420, 33, 57, 2), c(PixelFormat::kNv12, 64, 48, 3);
  const std::vector<float> want_a = values(here->run(a.image)), want_b = values(here->run(b.image)),
                           want_c = values(here->run(c.image));
  EXPECT_EQ(values(there->run(a.image)), want_a);
  const Result<Ticket> first = there->submit(&a.image, 1), second = there->submit(&b.image, 1);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(values(there->wait(*first)), want_a);
  const Result<Ticket> third = there->submit(&c.image, 1);
  ASSERT_TRUE(third.ok());
  EXPECT_EQ(values(there->wait(*second)), want_b);
  EXPECT_EQ(values(there->wait(*third)), want_c);
}

TEST_F(PictureSessionsGpu, TheFirstPictureWhileFloatsAreInFlight) {
  Result<Session> there = session(Preprocess::kGpu);
  ASSERT_TRUE(there.ok());
  const std::vector<float> pixels(size_t(there->input_height()) * size_t(there->input_width()) * 3, 0.25f);
  const Noise a(PixelFormat::kNv12, 64, 48, 1);
  const Result<Ticket> first = there->submit(pixels.data(), pixels.size()), second = there->submit(&a.image, 1);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_STREQ(there->preprocessing().kind, "cpu");
  EXPECT_NE(std::string(there->preprocessing().reason).find("in flight"), std::string::npos);
  (void)values(there->wait(*first));
  const std::vector<float> prepared_here = values(there->wait(*second));
  EXPECT_EQ(values(there->run(a.image)), prepared_here);
  EXPECT_STREQ(there->preprocessing().kind, "vulkan");
}

TEST_F(PictureSessionsGpu, KeptValuesAreThePixels) {
  Result<Session> there = session(Preprocess::kGpu, true), here = session(Preprocess::kCpu, true);
  ASSERT_TRUE(there.ok() && here.ok());
  const Noise a(PixelFormat::kUyvy, 64, 48, 5);
  EXPECT_EQ(values(there->run(a.image)), values(here->run(a.image)));
  const std::vector<std::string> names = here->value_names();
  ASSERT_FALSE(names.empty());
  EXPECT_EQ(there->value_names(), names);
  int64_t shape[4] = {};
  const Result<std::vector<float>> got = there->value(names[0], shape), want = here->value(names[0], shape);
  ASSERT_TRUE(got.ok()) << got.error().message;
  ASSERT_TRUE(want.ok());
  EXPECT_EQ(*got, *want);
}

TEST_F(PictureSessionsGpu, WhatTheCpuDoesInsteadIsSaid) {
  const Noise a(PixelFormat::kNv12, 64, 48, 1);
  {
    Result<Session> two = session(Preprocess::kGpu, false, 2);
    ASSERT_TRUE(two.ok());
    const Image both[] = {a.image, a.image};
    EXPECT_TRUE(two->run(both, 2).ok());
    EXPECT_STREQ(two->preprocessing().kind, "cpu");
    EXPECT_NE(std::string(two->preprocessing().reason).find("batch"), std::string::npos);
    EXPECT_NE(two->describe_plan().find("pictures on the cpu: pictures of a batch"), std::string::npos);
  }
  Result<Session> automatic = session(Preprocess::kAuto);
  ASSERT_TRUE(automatic.ok());
  EXPECT_TRUE(automatic->run(a.image).ok());
  if (Result<Device> device = Device::best_vulkan(); device.ok() && device->software()) {
    EXPECT_STREQ(automatic->preprocessing().kind, "cpu");
    EXPECT_NE(std::string(automatic->preprocessing().reason).find("software driver"), std::string::npos);
  }
  SessionOptions options;
  options.preprocess = Preprocess::kGpu;
  Result<Session> cpu = Session::create(*model_, Device::cpu(1), options);
  ASSERT_TRUE(cpu.ok());
  EXPECT_TRUE(cpu->run(a.image).ok());
  EXPECT_STREQ(cpu->preprocessing().reason, "the session runs on the CPU");
  Image bad = a.image;
  bad.rotation = 10;
  Result<Session> there = session(Preprocess::kGpu);
  ASSERT_TRUE(there.ok());
  test::expect_error(there->run(bad), ErrorCode::kInvalidArgument, {"rotation is 10"});
  EXPECT_TRUE(there->run(a.image).ok());
}

/// The device, whose n-th call of that name and all after it fail.
Device failing(const Device& real, const std::string& call, VkResult result, int from) {
  auto impl = std::make_shared<Device::Impl>();
  impl->kind = DeviceKind::kVulkan;
  impl->caps = real.impl()->caps;
  impl->index = real.impl()->index;
  impl->threads = real.impl()->threads;
  impl->instance = real.impl()->instance;
  auto count = std::make_shared<std::atomic<int>>(0);
  impl->gpu_options.fault = [count, call, result, from](const char* name) {
    return call == name && ++*count >= from ? result : VK_SUCCESS;
  };
  return Device(std::move(impl));
}

TEST_F(PictureSessionsGpu, ADeviceThatFailsIsFollowedByTheCpu) {
  const Noise a(PixelFormat::kNv12, 64, 48, 1), b(PixelFormat::kI420, 33, 57, 2);
  Result<Session> here = session(Preprocess::kCpu);
  ASSERT_TRUE(here.ok());
  const std::vector<float> want_a = values(here->run(a.image)), want_b = values(here->run(b.image));
  const Result<Device> device = Device::best_vulkan();
  ASSERT_TRUE(device.ok());
  const auto close_to = [](const std::vector<float>& got, const std::vector<float>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-4) << i;
  };
  struct Failure {
    const char* call;
    VkResult result;
    int last;
  };
  for (const Failure& f :
       {Failure{"allocate", VK_ERROR_OUT_OF_DEVICE_MEMORY, 9}, Failure{"pipeline", VK_ERROR_OUT_OF_HOST_MEMORY, 4},
        Failure{"submit", VK_ERROR_DEVICE_LOST, 6}, Failure{"wait", VK_ERROR_DEVICE_LOST, 5},
        Failure{"wait", VK_TIMEOUT, 3}})
    for (int from = 1; from <= f.last; ++from) {
      SCOPED_TRACE(std::string(f.call) + " " + std::to_string(from));
      SessionOptions options;
      options.preprocess = Preprocess::kGpu;
      options.cache_dir = "-";
      Result<Session> s = Session::create(*model_, failing(*device, f.call, f.result, from), options);
      ASSERT_TRUE(s.ok()) << s.error().message;
      close_to(values(s->run(a.image)), want_a);
      // Two on their way, of two shapes: the pictures' bytes are the session's own by then.
      std::vector<uint8_t> lent_a = a.bytes, lent_b = b.bytes;
      Image image_a = Image::packed(PixelFormat::kNv12, lent_a.data(), 64, 48),
            image_b = Image::packed(PixelFormat::kI420, lent_b.data(), 33, 57);
      const Result<Ticket> first = s->submit(&image_a, 1), second = s->submit(&image_b, 1);
      std::fill(lent_a.begin(), lent_a.end(), uint8_t(0)), std::fill(lent_b.begin(), lent_b.end(), uint8_t(0));
      ASSERT_TRUE(first.ok()) << first.error().message;
      ASSERT_TRUE(second.ok()) << second.error().message;
      close_to(values(s->wait(*first)), want_a);
      close_to(values(s->wait(*second)), want_b);
      close_to(values(s->run(a.image)), want_a);
      close_to(values(s->run(b.image)), want_b);
    }
}

TEST_F(PictureSessionsGpu, AnOverflowIsComputedAgainFromTheBytes) {
  const test::TempDir dir;
  test::patch_model(kModel, dir.path(), {{"vit.encoder.layer.1.output.dense.bias", 7, 70000.f}});
  const Result<Model> massive = Model::open(dir.path());
  ASSERT_TRUE(massive.ok()) << massive.error().message;
  const Result<Device> device = Device::best_vulkan();
  ASSERT_TRUE(device.ok());
  const Noise a(PixelFormat::kNv12, 64, 48, 1);
  std::vector<float> answers[2];
  for (const Preprocess how : {Preprocess::kCpu, Preprocess::kGpu}) {
    SessionOptions options;
    options.preprocess = how;
    options.precision = Precision::kFp16;
    options.fallback = false;
    options.cache_dir = "-";
    Result<Session> s = Session::create(*massive, *device, options);
    ASSERT_TRUE(s.ok()) << s.error().message;
    for (int i = 0; i < 5; ++i) {  // after three the session stays with fp32
      const Result<Output> out = s->run(a.image);
      ASSERT_TRUE(out.ok()) << out.error().message;
      EXPECT_EQ(out->precision, Precision::kFp32);
      const std::vector<float> got = values(out);
      std::vector<float>& want = answers[how == Preprocess::kGpu ? 1 : 0];
      if (want.empty()) want = got;
      EXPECT_EQ(got, want) << i;
    }
    const bool says_so = std::string(s->preprocessing().reason).find("fp32") != std::string::npos;
    EXPECT_EQ(says_so, how == Preprocess::kGpu) << s->preprocessing().reason;
  }
  EXPECT_EQ(answers[0], answers[1]);
}

TEST_F(PictureSessionsGpu, PlansAndPredictionsOfAFrame) {
  const Result<std::string> caps = machine_caps("jetson-nano");
  ASSERT_TRUE(caps.ok());
  SessionOptions options;
  options.frame.format = PixelFormat::kNv12;
  options.frame.width = 1920, options.frame.height = 1080;
  const Result<std::string> plan = plan_text(*model_, *caps, options, false);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_NE(plan->find("vulkan convert [picture.columns] picture.columns"), std::string::npos) << *plan;
  EXPECT_NE(plan->find("vulkan convert [picture.rows] picture.rows"), std::string::npos);
  const Result<std::string> json = plan_text(*model_, *caps, options, true);
  ASSERT_TRUE(json.ok());
  EXPECT_NE(json->find("\"preprocessing\""), std::string::npos);
  options.preprocess = Preprocess::kCpu;
  const Result<std::string> here = plan_text(*model_, *caps, options, false);
  ASSERT_TRUE(here.ok());
  EXPECT_NE(here->find("pictures on the cpu: that was asked for"), std::string::npos);
  options.preprocess = Preprocess::kAuto;
  options.frame.height = -1;
  test::expect_error(plan_text(*model_, *caps, options, false), ErrorCode::kInvalidArgument, {"1920 x -1"});
}

}  // namespace
}  // namespace vireo
