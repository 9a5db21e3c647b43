// Sessions and the C ABI on pictures of other formats than RGB: the answers of the same picture as RGB, to the bit.
#include <gtest/gtest.h>

#include <vireo/vireo.h>
#include <cstring>
#include <functional>
#include <vector>
#include <vireo/vireo.hpp>

#include "test_model_files.h"

namespace vireo {
namespace {

const std::string kModel = std::string(VIREO_TEST_DATA) + "/cases/hf-vit";

/// A frame of smooth colours in NV12, and the same as RGB.
struct Frame {
  static constexpr int kWidth = 61, kHeight = 47;
  std::vector<uint8_t> nv12 = std::vector<uint8_t>(packed_bytes(PixelFormat::kNv12, kWidth, kHeight));
  Image image;
  std::vector<uint8_t> rgb;

  explicit Frame(int number) {
    for (size_t i = 0; i < nv12.size(); ++i) nv12[i] = uint8_t(i / 7 + 40 * size_t(number));
    image = Image::packed(PixelFormat::kNv12, nv12.data(), kWidth, kHeight);
    image.matrix = YuvMatrix::kBt709;
    image.rotation = 90;
    image.crop = {2, 1, 50, 44};
    rgb.resize(size_t(image.upright_width()) * size_t(image.upright_height()) * 3);
    EXPECT_TRUE(to_rgb(image, rgb.data()).ok());
  }
  Image as_rgb() const { return Image{rgb.data(), image.upright_width(), image.upright_height()}; }
};

std::vector<float> values(const Output& o) {
  return std::vector<float>(o.data, o.data + size_t(o.batch) * size_t(o.rows) * size_t(o.cols));
}

TEST(PictureSessions, AFrameGivesTheAnswerOfItsRgb) {
  const Result<Model> model = Model::open(kModel);
  ASSERT_TRUE(model.ok()) << model.error().message;
  SessionOptions options;
  options.batch = 2;
  Result<Session> session = Session::create(*model, Device::cpu(2), options);
  ASSERT_TRUE(session.ok()) << session.error().message;
  const Frame a(0), b(1);
  const Image frames[] = {a.image, b.as_rgb()}, pictures[] = {a.as_rgb(), b.as_rgb()};
  Result<Output> out = session->run(pictures, 2);
  ASSERT_TRUE(out.ok()) << out.error().message;
  const std::vector<float> want = values(*out);
  out = session->run(frames, 2);  // formats mixed within a batch
  ASSERT_TRUE(out.ok()) << out.error().message;
  EXPECT_EQ(values(*out), want);
  Image bad = a.image;
  bad.chroma[0] = nullptr;
  const Image worse[] = {b.image, bad};
  test::expect_error(session->run(worse, 2), ErrorCode::kInvalidArgument, {"61 x 47 (nv12)", "no second plane"});
}

struct CSession {
  vireo_session* session = nullptr;
  vireo_error error{};
  explicit CSession(int batch) {
    vireo_options options;
    vireo_options_init(&options);
    options.device = "cpu";
    options.batch = batch;
    EXPECT_EQ(vireo_open(kModel.c_str(), &options, &session, &error), VIREO_OK) << error.message;
  }
  ~CSession() { vireo_close(session); }
};

TEST(PictureSessions, OfTheCAbi) {
  CSession one(1), two(2);
  const Frame a(0), b(1);
  vireo_output out;
  vireo_error error;
  const Image rgb = a.as_rgb();
  ASSERT_EQ(vireo_run_rgb(one.session, rgb.rgb, rgb.width, rgb.height, 0, &out, &error), VIREO_OK) << error.message;
  const std::vector<float> want(out.data, out.data + out.cols);

  vireo_picture p[2];
  vireo_picture_init(&p[0]);
  EXPECT_EQ(p[0].struct_size, sizeof(vireo_picture));
  vireo_picture_packed(&p[0], VIREO_NV12, a.nv12.data(), Frame::kWidth, Frame::kHeight);
  EXPECT_EQ(p[0].plane[1], a.image.chroma[0]);
  p[0].matrix = VIREO_BT709;
  p[0].rotation = 90;
  p[0].crop_x = 2, p[0].crop_y = 1, p[0].crop_width = 50, p[0].crop_height = 44;
  ASSERT_EQ(vireo_run_pictures(one.session, p, 1, 0, 0, &out, &error), VIREO_OK) << error.message;
  EXPECT_EQ(std::vector<float>(out.data, out.data + out.cols), want);

  // Two of two formats.
  vireo_picture_init(&p[1]);
  vireo_picture_packed(&p[1], VIREO_RGB, b.rgb.data(), b.as_rgb().width, b.as_rgb().height);
  ASSERT_EQ(vireo_run_pictures(two.session, p, 2, 0, 0, &out, &error), VIREO_OK) << error.message;
  EXPECT_EQ(std::vector<float>(out.data, out.data + out.cols), want);

  // A newer program, whose structure is longer: what this library does not know is left alone.
  struct Newer {
    vireo_picture known;
    int more[3];
  } newer[2];
  for (int i = 0; i < 2; ++i) {
    vireo_picture_init_sized(&newer[i].known, sizeof(Newer));
    const size_t size = newer[i].known.struct_size;
    EXPECT_EQ(newer[i].more[2], 0);
    std::memcpy(&newer[i].known, &p[i], sizeof p[i]);
    newer[i].known.struct_size = size;
  }
  ASSERT_EQ(vireo_run_pictures(two.session, &newer[0].known, 2, 0, 0, &out, &error), VIREO_OK) << error.message;
  EXPECT_EQ(std::vector<float>(out.data, out.data + out.cols), want);
}

/// What C writes into a field of an enumeration: any number.
template <class E>
void put(E& field, int number) {
  static_assert(sizeof field == sizeof number, "enumerations of C are of the size of int");
  std::memcpy(&field, &number, sizeof number);
}

TEST(PictureSessions, BadPicturesOfTheCAbi) {
  CSession one(1);
  const Frame a(0);
  const auto refused = [&](const char* word, const std::function<void(vireo_picture&)>& change) {
    vireo_picture p;
    vireo_picture_init(&p);
    vireo_picture_packed(&p, VIREO_NV12, a.nv12.data(), Frame::kWidth, Frame::kHeight);
    change(p);
    vireo_output out;
    vireo_error error;
    EXPECT_EQ(vireo_run_pictures(one.session, &p, 1, 0, 0, &out, &error), VIREO_INVALID_ARGUMENT);
    EXPECT_NE(std::string(error.message).find(word), std::string::npos) << error.message;
  };
  refused("struct_size of picture 0 is 0", [](vireo_picture& p) { p.struct_size = 0; });
  refused("vireo_picture_init first", [](vireo_picture& p) { p.struct_size = 16; });
  refused("none of PixelFormat", [](vireo_picture& p) { put(p.format, 77); });
  refused("none of PixelFormat", [](vireo_picture& p) { put(p.format, -1); });
  refused("none of PixelFormat", [](vireo_picture& p) { put(p.format, 256); });
  refused("none of YuvRange", [](vireo_picture& p) { put(p.range, 2); });
  refused("none of YuvMatrix", [](vireo_picture& p) { put(p.matrix, -3); });
  refused("no first plane", [](vireo_picture& p) { p.plane[0] = nullptr; });
  refused("at least 62", [](vireo_picture& p) { p.stride[1] = 61; });
  refused("does not lie inside", [](vireo_picture& p) { p.crop_width = 62, p.crop_height = 1; });
  refused("rotation is 1", [](vireo_picture& p) { p.rotation = 1; });
  vireo_output out;
  vireo_error error;
  EXPECT_EQ(vireo_run_pictures(one.session, nullptr, 1, 0, 0, &out, &error), VIREO_INVALID_ARGUMENT);
  EXPECT_EQ(vireo_run_pictures(nullptr, nullptr, 1, 0, 0, &out, &error), VIREO_INVALID_ARGUMENT);
  vireo_picture p;
  vireo_picture_init(&p);
  EXPECT_EQ(vireo_run_pictures(one.session, &p, 2, 0, 0, &out, &error), VIREO_INVALID_ARGUMENT);
  EXPECT_NE(std::string(error.message).find("batch of 1"), std::string::npos) << error.message;
  vireo_picture_init_sized(nullptr, 8);
  vireo_picture_packed(nullptr, VIREO_RGB, nullptr, 1, 1);
}

}  // namespace
}  // namespace vireo
