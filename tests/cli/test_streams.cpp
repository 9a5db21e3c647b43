// Frames as cameras and ffmpeg give them: raw in other formats, Y4M on standard input, a Video4Linux device (a
// preloaded library plays one), and what comes out as they pass: lines of JSON, class maps.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <sstream>
#include <vector>
#include <vireo/vireo.hpp>

#include "cli/run_cli.h"
#include "y4m.h"

namespace {

using cli_test::Answer;
using cli_test::feed;
using cli_test::operator+;
using cli_test::read_file;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;
using cli_test::write_all;
using nlohmann::json;
using vireo::PixelFormat;

const std::string kModel = std::string(VIREO_TEST_DATA) + "/torchvision/even";
const std::string kSegmenter = std::string(VIREO_TEST_DATA) + "/cases/hf-upernet-vit";
const std::string kPicture = std::string(VIREO_TEST_DATA) + "/images/rgb8.png";
const Words kClassify{"classify", "--device", "cpu", "--model", kModel};
const Words kSegment{"segment", "--device", "cpu", "--model", kSegmenter};
const Words kEmbed{"embed", "--device", "cpu", "--model", kModel};

/// Lines of JSON tell notes at their end, so the failure's own line is not alone.
Answer without_notes(Answer a) {
  std::istringstream text(a.err);
  a.err.clear();
  for (std::string line; std::getline(text, line);)
    if (line.rfind("note: ", 0) != 0) a.err += line + "\n";
  return a;
}

/// How many frames gave way to newer ones while the verb was at work, as the end says.
size_t gave_way(const Answer& a) {
  const size_t at = a.err.find(" frames gave way");
  return at == std::string::npos ? 0 : size_t(std::atoi(a.err.c_str() + a.err.rfind(' ', at - 1) + 1));
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Every line of stdout, each an object.
std::vector<json> lines(const Answer& a) {
  std::vector<json> all;
  std::istringstream text(a.out);
  for (std::string line; std::getline(text, line);) {
    all.push_back(json::parse(line, nullptr, false));
    EXPECT_TRUE(all.back().is_object()) << line;
  }
  return all;
}

/// A frame of smooth colours, another for each number, in a format's planes.
std::string frame(PixelFormat format, int w, int h, int number) {
  std::string bytes(vireo::packed_bytes(format, w, h), '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = char(uint8_t(i / 5 + 50 * size_t(number)));
  return bytes;
}

/// The same frame as plain RGB by the library's own conversion, whose rounding has its own tests.
std::string as_rgb(const std::string& bytes, PixelFormat format, int w, int h,
                   const std::function<void(vireo::Image&)>& change = {}) {
  vireo::Image image = vireo::Image::packed(format, reinterpret_cast<const uint8_t*>(bytes.data()), w, h);
  if (change) change(image);
  std::string rgb(size_t(w) * size_t(h) * 3, '\0');
  EXPECT_TRUE(vireo::to_rgb(image, reinterpret_cast<uint8_t*>(&rgb[0])).ok());
  return rgb;
}

/// Scores of the frames as raw RGB.
json tops(const Answer& a) {
  EXPECT_EQ(a.code, 0) << a.text();
  json all = json::array();
  const json whole = a.json();
  for (const json& r : whole["results"]) all.push_back(r["top"]);
  EXPECT_FALSE(all.empty()) << a.text();
  return all;
}
json rgb_tops(const std::string& rgb, int w, int h) {
  const std::string size = std::to_string(w) + "x" + std::to_string(h);
  return tops(feed(kClassify + Words{"--json", "--frame", size, "-"}, rgb));
}

// ------------------------------------------------------------------------------------------------------- raw frames

TEST(Streams, RawFramesOfOtherFormats) {
  const int w = 33, h = 21;
  for (const auto& [name, format] :
       std::vector<std::pair<std::string, PixelFormat>>{{"nv12", PixelFormat::kNv12},
                                                        {"yuyv422", PixelFormat::kYuyv},
                                                        {"yuv420p", PixelFormat::kI420},
                                                        {"bgra", PixelFormat::kBgra},
                                                        {"gray16le", PixelFormat::kGrey16}}) {
    std::string bytes, rgb;
    for (int i = 0; i < 2; ++i) {
      bytes += frame(format, w, h, i);
      rgb += as_rgb(frame(format, w, h, i), format, w, h);
    }
    const Answer a = feed(kClassify + Words{"--json", "--frame", "33x21", "--format", name, "-"}, bytes);
    EXPECT_EQ(tops(a), rgb_tops(rgb, w, h)) << name;
  }
}

TEST(Streams, RangeMatrixAndRotationOfFrames) {
  const int w = 40, h = 24;
  const std::string bytes = frame(PixelFormat::kNv12, w, h, 1);
  const std::string turned = as_rgb(bytes, PixelFormat::kNv12, w, h, [](vireo::Image& i) {
    i.range = vireo::YuvRange::kFull;
    i.matrix = vireo::YuvMatrix::kBt709;
    i.rotation = 90;
  });
  const Answer a = feed(kClassify + Words{"--json", "--frame", "40x24", "--format", "nv12", "--range", "full",
                                          "--matrix", "bt709", "--rotate", "90", "-"},
                        bytes);
  EXPECT_EQ(tops(a), rgb_tops(turned, h, w));
}

TEST(Streams, WrongOptionsForFrames) {
  const auto refuses = [](const Words& words, const Words& parts, const std::string& bytes = "xx") {
    const Answer a = feed(kClassify + words, bytes);
    EXPECT_TRUE(a.fails_clearly(2)) << a.text();
    for (const std::string& part : parts) EXPECT_TRUE(has(a.err, part)) << part << " is not in " << a.err;
  };
  refuses({"--frame", "8x6", "--format", "nv21x", "-"}, {"'nv21x' is no pixel format", "did you mean 'nv21'"});
  refuses({"--format", "nv12", kPicture}, {"--format", "--frame WxH"});
  refuses({"--frame", "8x6", "--range", "wide", "-"}, {"'wide' is no range"});
  refuses({"--frame", "8x6", "--matrix", "bt2020", "-"}, {"'bt2020' is no matrix"});
  refuses({"--frame", "8x6", "--rotate", "45", "-"}, {"'45' is no rotation"});
  refuses({"--frame", "8x6", "-", kPicture}, {"goes alone"});
  refuses({"--json", "--jsonl", "-"}, {"--json"});
}

TEST(Streams, ACutFrameIsTheEndAndKeepsTheOthers) {
  const std::string two = frame(PixelFormat::kI420, 33, 21, 0) + frame(PixelFormat::kI420, 33, 21, 1);
  const Answer a = feed(kClassify + Words{"--jsonl", "--frame", "33x21", "--format", "i420", "-"}, two + "12345");
  EXPECT_TRUE(without_notes(a).fails_clearly(1)) << a.text();
  EXPECT_TRUE(has(a.err, "frame-000003 is cut short: standard input ended after 5 of its 1067 bytes (33x21 i420)"))
      << a.err;
  const std::vector<json> all = lines(a);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_FALSE(all[0]["top"].empty());
  EXPECT_TRUE(has(all[2]["error"], "cut short"));
}

TEST(Streams, FramesEndsThem) {
  const std::string bytes(33 * 21 * 3 * 5, '\7');
  const Answer a = feed(kClassify + Words{"--json", "--frame", "33x21", "--frames", "2", "-"}, bytes);
  EXPECT_EQ(tops(a).size(), 2u);
}

TEST(Streams, AnswersThatComeTooLateAreReported) {
  const std::string frames(7 * 16 * 12 * 3, '\5');
  const Words from{"--frame", "16x12", "-"};
  for (const Words& verb : {kClassify, kSegment}) {
    const Answer late = feed(verb + Words{"--json", "--deadline", "0.000001"} + from, frames);
    ASSERT_EQ(late.code, 0) << late.text();
    const json whole = late.json();
    EXPECT_EQ(whole["latency"]["late"], 7);
    for (const json& r : whole["results"]) EXPECT_EQ(r["late"], true);
    size_t told = 0;  // beside those that had no answer yet after twice that time
    for (size_t at = 0; (at = late.err.find(" came after ", at)) != std::string::npos; ++at) ++told;
    EXPECT_EQ(told, 5u) << late.err;
    EXPECT_TRUE(has(late.err, "note: the answer of frame-000001 came after ")) << late.err;
    const Answer good = feed(verb + Words{"--json", "--deadline", "1e9"} + from, frames);
    EXPECT_EQ(good.json()["latency"]["late"], 0) << good.text();
    EXPECT_EQ(good.err, "");
  }
  const Answer text = feed(kClassify + Words{"--deadline", "1e9"} + from, frames);
  EXPECT_TRUE(has(text.out, "ms p99; 0 of 7 late")) << text.out;
  for (const char* bad : {"0", "-1", "soon"})
    EXPECT_TRUE(feed(kClassify + Words{"--deadline", bad} + from, frames).fails_clearly(2));
  EXPECT_TRUE(run_cli(kClassify + Words{"--deadline", "5", kPicture}).fails_clearly(2));
  EXPECT_TRUE(run_cli(kClassify + Words{"--drop", kPicture}).fails_clearly(2));
}

// --------------------------------------------------------------------------------------------------------------- Y4M

std::string y4m(const std::string& tags, const std::vector<std::string>& frames, const std::string& parameters = "") {
  std::string all = "YUV4MPEG2 W33 H21 F25:1 Ip A1:1" + tags + "\n";
  for (const std::string& f : frames) all += "FRAME" + parameters + "\n" + f;
  return all;
}

TEST(Streams, Y4mOfEveryKind) {
  struct Kind {
    const char* tags;
    PixelFormat format;
    vireo::YuvRange range;
  };
  for (const Kind& k : std::vector<Kind>{{"", PixelFormat::kI420, vireo::YuvRange::kLimited},
                                         {" C420jpeg", PixelFormat::kI420, vireo::YuvRange::kLimited},
                                         {" C420mpeg2 XYSCSS=420MPEG2", PixelFormat::kI420, vireo::YuvRange::kLimited},
                                         {" C420paldv XCOLORRANGE=FULL", PixelFormat::kI420, vireo::YuvRange::kFull},
                                         {" C422 XCOLORRANGE=LIMITED", PixelFormat::kI422, vireo::YuvRange::kLimited},
                                         {" C444", PixelFormat::kI444, vireo::YuvRange::kLimited}}) {
    std::vector<std::string> frames;
    std::string rgb;
    for (int i = 0; i < 2; ++i) {
      frames.push_back(frame(k.format, 33, 21, i));
      rgb += as_rgb(frames.back(), k.format, 33, 21, [&](vireo::Image& image) { image.range = k.range; });
    }
    const Answer a = feed(kClassify + Words{"--json", "-"}, y4m(k.tags, frames, " Ip Xanything"));
    EXPECT_EQ(tops(a), rgb_tops(rgb, 33, 21)) << k.tags;
  }
  // Luma alone is a picture without colours.
  const std::string luma = frame(PixelFormat::kGrey, 33, 21, 3);
  const std::string neutral = luma + std::string(2 * 17 * 11, '\x80');
  const Answer a = feed(kClassify + Words{"--json", "-"}, y4m(" Cmono", {luma}));
  EXPECT_EQ(tops(a), rgb_tops(as_rgb(neutral, PixelFormat::kI420, 33, 21), 33, 21));
}

TEST(Streams, Y4mFromAFileAndItsOptions) {
  const Scratch scratch;
  const std::string one = frame(PixelFormat::kI420, 33, 21, 0);
  const std::string file = scratch.write("film.y4m", y4m("", {one, one}));
  const Answer a =
      run_cli(kClassify + Words{"--json", "--rotate", "180", "--range", "full", "--matrix", "bt709", file});
  const std::string rgb = as_rgb(one, PixelFormat::kI420, 33, 21, [](vireo::Image& i) {
    i.rotation = 180, i.range = vireo::YuvRange::kFull, i.matrix = vireo::YuvMatrix::kBt709;
  });
  EXPECT_EQ(tops(a), rgb_tops(rgb + rgb, 33, 21));
  const json result = a.json();
  EXPECT_EQ(result["results"][1]["image"], "frame-000002");
  EXPECT_GT(result["results"][0]["latency_ms"], 0);
  EXPECT_GE(result["latency"]["p99_ms"], result["latency"]["p50_ms"]);
}

TEST(Streams, BadY4mIsOneSentence) {
  const std::string one = frame(PixelFormat::kI420, 33, 21, 0);
  const auto ends = [&](const std::string& bytes, size_t done, const Words& parts) {
    const Answer a = feed(kClassify + Words{"--jsonl", "-"}, bytes);
    EXPECT_TRUE(without_notes(a).fails_clearly(1)) << a.text();
    for (const std::string& part : parts) EXPECT_TRUE(has(a.err, part)) << part << " is not in " << a.err;
    size_t whole = 0;
    for (const json& line : lines(a)) whole += line.contains("error") ? 0 : 1;
    EXPECT_EQ(whole, done) << a.text();
  };
  ends(y4m("", {one, one.substr(0, 100)}), 1, {"frame-000002 is cut short", "after 100 of its 1067 bytes"});
  ends(y4m("", {one}) + "FRA", 1, {"frame-000002 begins with 'FRA'", "expected FRAME"});
  ends(y4m("", {one}) + "FRAMES\n" + one, 1, {"frame-000002 begins with 'FRAMES'"});
  ends(y4m("", {one + "x"}) + y4m("", {one}), 1, {"frame-000002 begins with 'xYUV4MPEG2", "damaged"});
  ends(y4m("", {}), 0, {"no frame came", "33x21 i420"});
  ends("YUV4MPEG2 W33 H21", 0, {"has no end in 17 bytes"});
  ends("YUV4MPEG2 W33 H21 " + std::string(2000, 'X') + "\n", 0, {"has no end in 1024 bytes"});
  ends("YUV4MPEG2 W33\nFRAME\n", 0, {"has no H (height)"});
  ends("YUV4MPEG2 H33\nFRAME\n", 0, {"has no W (width)"});
  for (const char* side : {"W0", "W-5", "Wx", "W", "W99999999999", "W3.5"})
    ends(std::string("YUV4MPEG2 H33 ") + side + "\nFRAME\n", 0, {"has '" + std::string(side) + "'"});
  ends("YUV4MPEG2 W99999 H99999\nFRAME\n", 0, {"99999x99999", "pixels"});
  for (const char* colours : {"C420p10", "C411", "C444alpha", "Cmono16", "C"})
    ends(std::string("YUV4MPEG2 W33 H21 ") + colours + "\n", 0, {"'" + std::string(colours) + "'", "yuv420p"});
  const Answer sized = feed(kClassify + Words{"--frame", "33x21", "-"}, y4m("", {one}));
  EXPECT_TRUE(sized.fails_clearly(2)) << sized.text();
  EXPECT_TRUE(has(sized.err, "is Y4M, which says itself")) << sized.err;
}

TEST(Streams, Y4mHeadersAreReadTagByTag) {
  bool mono = false;
  const cli::FrameLayout l = cli::parse_y4m("YUV4MPEG2 C444 XCOLORRANGE=FULL H7 W5 F30000:1001", &mono);
  EXPECT_EQ(l.width, 5);
  EXPECT_EQ(l.height, 7);
  EXPECT_EQ(l.format, PixelFormat::kI444);
  EXPECT_EQ(l.range, vireo::YuvRange::kFull);
  EXPECT_FALSE(mono);
}

// ------------------------------------------------------------------------------------------------------------- films

TEST(Streams, FilmsAndAddressesSayWhatPipeToUse) {
  for (const char* name : {"film.mp4", "some/FILM.MKV", "rtsp://10.0.0.7/stream1", "http://host/live"})
    for (const Words& verb : {kClassify, kEmbed + Words{"--jsonl"}, kSegment}) {
      const Answer a = run_cli(verb + Words{name});
      EXPECT_TRUE(a.fails_clearly(2)) << a.text();
      const std::string rtsp = std::string(name).compare(0, 4, "rtsp") == 0 ? "-rtsp_transport tcp " : "";
      EXPECT_TRUE(has(
          a.err, "ffmpeg " + rtsp + "-i '" + name + "' -f yuv4mpegpipe -pix_fmt yuv420p - | vireo " + verb[0] + " "))
          << a.err;
    }
}

// ---------------------------------------------------------------------------------------------- lines and class maps

TEST(Streams, LinesOfEachVerbAreItsResults) {
  const Scratch scratch;
  const std::string gone = scratch.path("gone.png");
  const auto without_times = [](json j) {
    for (const char* key : {"ms", "latency_ms"}) j.erase(key);
    return j;
  };
  for (const Words& verb : {kClassify, kSegment + Words{"--out-dir", scratch.path("maps")},
                            kEmbed + Words{"--out", scratch.path("f.npy")}}) {
    const Answer whole = run_cli(verb + Words{"--json", kPicture, gone}),
                 each = run_cli(verb + Words{"--jsonl", kPicture, gone});
    EXPECT_EQ(whole.code, 1) << whole.text();
    EXPECT_TRUE(each.fails_clearly(1)) << each.text();
    const std::vector<json> all = lines(each);
    ASSERT_EQ(all.size(), 2u) << each.text();
    for (size_t i = 0; i < 2; ++i)
      EXPECT_EQ(without_times(all[i]), without_times(whole.json()["results"][i])) << verb[0];
  }
}

TEST(Streams, EmbedPrintsVectorsWhereNoFileIsGiven) {
  const Scratch scratch;
  const Answer a = run_cli(kEmbed + Words{"--jsonl", kPicture});
  ASSERT_EQ(a.code, 0) << a.text();
  ASSERT_EQ(run_cli(kEmbed + Words{"--out", scratch.path("f.npy"), kPicture}).code, 0);
  const cli_test::Array file = cli_test::read_array(scratch.path("f.npy"));
  const std::vector<json> all = lines(a);
  ASSERT_EQ(all.size(), 1u);
  ASSERT_EQ(all[0]["features"].size(), file.data.size());
  for (size_t i = 0; i < file.data.size(); ++i) EXPECT_EQ(float(all[0]["features"][i]), file.data[i]);
  const Answer none = run_cli(kEmbed + Words{kPicture}),
               tokens = run_cli(kEmbed + Words{"--jsonl", "--tokens", kPicture});
  EXPECT_TRUE(none.fails_clearly(2) && has(none.err, "--out FILE.npy")) << none.text();
  EXPECT_TRUE(tokens.fails_clearly(2) && has(tokens.err, "--tokens needs --out")) << tokens.text();
}

TEST(Streams, LinesComeWhileTheSenderStillSends) {
  const std::string one = frame(PixelFormat::kI420, 33, 21, 0);
  const Scratch scratch;
  const std::string out = scratch.write("out", "");
  size_t seen = 0;
  const Answer a = run_cli(kClassify + Words{"--jsonl", "-"}, {}, out, [&](int pipe, pid_t) {
    const std::string first = y4m("", {one});
    (void)write_all(pipe, first.data(), first.size());
    // The line of the first frame is there before anything else is sent.
    for (int i = 0; i < 3000 && seen == 0; ++i, usleep(10000)) seen = read_file(out).size();
  });
  EXPECT_EQ(a.code, 0) << a.text();
  EXPECT_GT(seen, 0u);
}

TEST(Streams, ClassMapsOnStandardOutput) {
  const Scratch scratch;
  std::string frames;
  for (int i = 0; i < 3; ++i) frames += frame(PixelFormat::kYuyv, 64, 48, i);
  const Words from{"--frame", "64x48", "--format", "yuyv", "-"};
  const Answer a = feed(kSegment + Words{"--maps", "-"} + from, frames);
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(a.err, "");
  ASSERT_EQ(a.out.size(), size_t(3 * 64 * 48));
  // Their shares are those that the verb tells, and a file holds the same bytes.
  const Answer told = feed(kSegment + Words{"--json", "--maps", scratch.path("maps")} + from, frames);
  ASSERT_EQ(told.code, 0) << told.text();
  EXPECT_EQ(read_file(scratch.path("maps")), a.out);
  const json whole = told.json();
  for (size_t i = 0; i < 3; ++i)
    for (const json& c : whole["results"][i]["classes"]) {
      const std::string map = a.out.substr(i * 64 * 48, 64 * 48);
      EXPECT_EQ(std::count(map.begin(), map.end(), char(int(c["index"]))), int(c["pixels"]));
    }
  const Answer both = feed(kSegment + Words{"--maps", "-", "--json"} + from, frames);
  EXPECT_TRUE(both.fails_clearly(2)) << both.text();
  const Answer picture = run_cli(kSegment + Words{"--maps", scratch.path("one"), kSegmenter + "/0.png"});
  EXPECT_EQ(picture.code, 0) << picture.text();
}

TEST(Streams, OverlaysOfOtherFormatsHaveTheirColours) {
  const Scratch scratch;
  const std::string nv12 = frame(PixelFormat::kNv12, 64, 48, 0);
  const Words both{"--overlay", "--frame", "64x48", "-"};
  const Answer a = feed(kSegment + Words{"--out-dir", scratch.path("a"), "--format", "nv12"} + both, nv12);
  const Answer b =
      feed(kSegment + Words{"--out-dir", scratch.path("b")} + both, as_rgb(nv12, PixelFormat::kNv12, 64, 48));
  EXPECT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(b.code, 0) << b.text();
  for (const char* name : {"/frame-000001.classes.png", "/frame-000001.overlay.png"}) {
    const std::string drawn = read_file(scratch.path("a") + name);
    EXPECT_FALSE(drawn.empty());
    EXPECT_EQ(drawn, read_file(scratch.path("b") + name)) << name;
  }
}

TEST(Streams, AReaderOfMapsThatIsGoneEndsTheWork) {
  std::string frames;
  for (int i = 0; i < 3; ++i) frames += frame(PixelFormat::kRgb, 64, 48, i);
  const Answer full = run_cli(kSegment + Words{"--maps", "/dev/full", "--frame", "64x48", "-"}, {}, "",
                              [&](int pipe, pid_t) { (void)write_all(pipe, frames.data(), frames.size()); });
  EXPECT_TRUE(full.fails_clearly(1)) << full.text();
  EXPECT_TRUE(has(full.err, "'/dev/full' took no more class maps after 0")) << full.err;
}

// ----------------------------------------------------------------------------------------------------------- cameras

const std::string kShim = VIREO_CAMERA_SHIM;
#define NEED_SHIM \
  if (kShim.empty()) GTEST_SKIP() << "a library cannot be preloaded before a sanitizer's"

Answer camera(const std::string& kind, const Words& words, const std::function<void(int, pid_t)>& meanwhile = {}) {
  return run_cli(words, {{"LD_PRELOAD", kShim}, {"VIREO_FAKE_CAMERA", kind}}, "", meanwhile);
}

/// What the shim's planes hold.
std::string shim_frame(PixelFormat format, int w, int h, int number) {
  std::string bytes;
  const auto plane = [&](int p, int width, int rows) {
    for (int y = 0; y < rows; ++y)
      for (int i = 0; i < width; ++i) bytes += char(uint8_t(7 * i + 13 * y + 31 * p + 5 * number));
  };
  const int half_w = (w + 1) / 2, half_h = (h + 1) / 2;
  if (format == PixelFormat::kYuyv) plane(0, 4 * half_w, h);
  else if (format == PixelFormat::kRgb) plane(0, 3 * w, h);
  else plane(0, w, h);
  if (format == PixelFormat::kNv12) plane(1, 2 * half_w, half_h);
  if (format == PixelFormat::kI420) plane(1, half_w, half_h), plane(2, half_w, half_h);
  return bytes;
}

TEST(Cameras, GiveFramesOfTheirFormatsAndStrides) {
  NEED_SHIM;
  struct Kind {
    const char* camera;
    Words words;
    PixelFormat format;
    bool full, hd;
  };
  for (const Kind& k : std::vector<Kind>{
           {"formats=YUYV", {}, PixelFormat::kYuyv, false, false},
           {"formats=YUYV+NV12,pad=16", {"--format", "nv12"}, PixelFormat::kNv12, false, false},
           {"formats=MJPG+YU12,pad=6,hd", {}, PixelFormat::kI420, false, true},
           {"formats=RGB3", {"--frame", "34x22"}, PixelFormat::kRgb, false, false},
           {"formats=NV12,full", {}, PixelFormat::kNv12, true, false},
           {"formats=NV12,full,hd", {"--range", "limited", "--matrix", "bt601"}, PixelFormat::kNv12, false, false}}) {
    const Answer a = camera(std::string(k.camera) + ",size=34x22",
                            kClassify + Words{"--json", "--frames", "3", "/dev/video7"} + k.words);
    std::string rgb;
    for (int i = 0; i < 3; ++i)
      rgb += as_rgb(shim_frame(k.format, 34, 22, i), k.format, 34, 22, [&](vireo::Image& image) {
        image.range = k.full ? vireo::YuvRange::kFull : vireo::YuvRange::kLimited;
        image.matrix = k.hd ? vireo::YuvMatrix::kBt709 : vireo::YuvMatrix::kBt601;
      });
    EXPECT_EQ(tops(a), rgb_tops(rgb, 34, 22)) << k.camera;
    EXPECT_GT(a.json()["latency"]["p50_ms"], 0);
    EXPECT_FALSE(a.json().contains("dropped")) << a.text();
  }
}

TEST(Cameras, FramesThatCameMeanwhileAreDroppedAndCounted) {
  NEED_SHIM;
  const Answer a = camera("formats=YUYV,burst", kClassify + Words{"--json", "--frames", "2", "/dev/video7"});
  ASSERT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(a.json()["results"].size(), 2u);
  // Four buffers are full whenever one is asked for: they give way to the next one.
  EXPECT_EQ(a.json()["dropped"], 8);
  const json newest = tops(a)[0];
  EXPECT_EQ(newest, rgb_tops(as_rgb(shim_frame(PixelFormat::kYuyv, 64, 48, 4), PixelFormat::kYuyv, 64, 48), 64, 48)[0]);
}

TEST(Cameras, SegmentAndEmbedTakeThemToo) {
  NEED_SHIM;
  const Answer s = camera("formats=NV12,frames=100", kSegment + Words{"--jsonl", "--frames", "3", "/dev/video7"});
  EXPECT_EQ(s.code, 0) << s.text();
  EXPECT_EQ(lines(s).size() + gave_way(s), 3u) << s.text();
  const Answer e = camera("formats=NV12,frames=100", kEmbed + Words{"--jsonl", "--frames", "3", "/dev/video7"});
  EXPECT_EQ(e.code, 0) << e.text();
  EXPECT_EQ(lines(e).size(), 3u);
}

TEST(Cameras, WhatGoesWrongIsOneSentence) {
  NEED_SHIM;
  const auto refuses = [](const std::string& kind, const Words& words, const Words& parts) {
    const Answer a = camera(kind, kClassify + words + Words{"/dev/video7"});
    EXPECT_TRUE(a.fails_clearly(1)) << a.text();
    for (const std::string& part : parts) EXPECT_TRUE(has(a.err, part)) << part << " is not in " << a.err;
  };
  for (const char* when : {"busy=open", "busy=format", "busy=stream"})
    refuses(when, {}, {"camera '/dev/video7' is busy: another program"});
  refuses("formats=MJPG", {}, {"offers MJPG, and none of them is taken", "ffmpeg -f v4l2 -i /dev/video7"});
  refuses("formats=YUYV+MJPG", {"--format", "nv12"}, {"offers YUYV (yuyv), MJPG, and not nv12"});
  refuses("formats=YUYV", {"--frame", "640x480"}, {"offers 64x48 as the nearest to 640x480"});
  refuses("no=capture", {}, {"Fake camera", "gives no stream of pictures"});
  const Answer none = run_cli(kClassify + Words{"/dev/video99"});
  EXPECT_TRUE(none.fails_clearly(1) && has(none.err, "is not there")) << none.text();
  const Answer two = camera("", kClassify + Words{"/dev/video7", kPicture});
  EXPECT_TRUE(two.fails_clearly(2) && has(two.err, "goes alone")) << two.text();
}

TEST(Cameras, UnpluggedInMidStreamKeepsWhatWasDone) {
  NEED_SHIM;
  for (const Words& verb : {kClassify, kSegment, kEmbed}) {
    const Answer a = camera("formats=YUYV,frames=4", verb + Words{"--jsonl", "/dev/video7"});
    EXPECT_TRUE(without_notes(a).fails_clearly(1)) << a.text();
    EXPECT_TRUE(has(a.err, "frame-000005 did not come: camera '/dev/video7' was unplugged")) << a.err;
    EXPECT_EQ(lines(a).size() + gave_way(a), 5u) << a.text();
  }
}

TEST(Cameras, ADamagedFrameCostsNoOther) {
  NEED_SHIM;
  const Answer a = camera("formats=YUYV,damaged=2", kClassify + Words{"--jsonl", "--frames", "3", "/dev/video7"});
  EXPECT_TRUE(without_notes(a).fails_clearly(1)) << a.text();
  EXPECT_TRUE(has(a.err, "frame-000002 came damaged")) << a.err;
  const std::vector<json> all = lines(a);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_FALSE(all[2].contains("error"));
}

TEST(Cameras, CtrlCEndsThem) {
  NEED_SHIM;
  const Scratch scratch;
  const std::string out = scratch.write("out", "");
  const Answer a =
      run_cli(kClassify + Words{"--jsonl", "/dev/video7"},
              {{"LD_PRELOAD", kShim}, {"VIREO_FAKE_CAMERA", "formats=YUYV"}}, out, [&](int, pid_t process) {
                for (int i = 0; i < 3000 && read_file(out).empty(); ++i) usleep(10000);
                kill(process, SIGINT);
              });
  EXPECT_EQ(a.code, 0) << a.text();
  EXPECT_FALSE(read_file(out).empty());
}

}  // namespace
