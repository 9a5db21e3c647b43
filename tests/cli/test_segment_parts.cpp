// The parts of `vireo segment` alone: class maps and labels, the confusion matrix, colours and overlays, frame sources.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "classmap.h"
#include "cli/run_cli.h"
#include "frames.h"
#include "measure.h"
#include "overlay.h"

namespace {

using namespace cli;
using cli_test::Scratch;

ClassMap random_map(int width, int height, int classes, unsigned seed) {
  std::mt19937 random(seed);
  ClassMap map{width, height, std::vector<uint8_t>(size_t(width) * size_t(height))};
  for (uint8_t& c : map.index) c = uint8_t(random() % unsigned(classes));
  return map;
}

TEST(SegmentParts, RawFramesOfSwappedSizeAreDoubted) {
  Rgb8 right{60, 40, {}};
  for (int y = 0; y < 40; ++y)
    for (int x = 0; x < 60; ++x)
      for (int c = 0; c < 3; ++c)
        right.rgb.push_back(uint8_t(128 + 60 * std::sin(0.11 * x + 0.4 * c) + 40 * std::cos(0.07 * y)));
  EXPECT_EQ(doubt_size(right), "");
  Rgb8 wrong = right;
  wrong.width = 40, wrong.height = 60;
  EXPECT_NE(doubt_size(wrong).find("look 60x40 rather than 40x60: --frame is width x height"), std::string::npos)
      << doubt_size(wrong);
  Rgb8 flat{40, 60, std::vector<uint8_t>(40 * 60 * 3, 7)}, noise = flat;
  std::mt19937 random(3);
  for (uint8_t& b : noise.rgb) b = uint8_t(random());
  EXPECT_EQ(doubt_size(flat), "");
  EXPECT_EQ(doubt_size(noise), "");
  Rgb8 thin{1, 3, std::vector<uint8_t>(9, 1)};
  EXPECT_EQ(doubt_size(thin), "");
}

// ------------------------------------------------------------------------------------------------------- class maps

TEST(SegmentParts, NearestIsPillowsRule) {
  const ClassMap from = random_map(7, 5, 200, 1);
  for (const auto& [w, h] : {std::pair<int, int>{7, 5}, {14, 10}, {3, 2}, {11, 4}, {1, 1}, {640, 3}}) {
    ClassMap to;
    resize_nearest(from, w, h, &to);
    ASSERT_EQ(to.width, w);
    ASSERT_EQ(to.index.size(), size_t(w) * size_t(h));
    for (int y = 0; y < h; ++y) {
      for (int x = 0; x < w; ++x) {
        const int sx = int(std::floor((x + 0.5) * 7 / w)), sy = int(std::floor((y + 0.5) * 5 / h));
        ASSERT_EQ(to.index[size_t(y * w + x)], from.index[size_t(sy * 7 + sx)])
            << w << "x" << h << " at " << x << "," << y;
      }
    }
  }
}

TEST(SegmentParts, ClassMapsOfOutputsAreChecked) {
  std::vector<float> values{0, 1, 2, 2, 1, 0, 1, 1, 1, 2, 2, 2};
  vireo::Output out;
  out.data = values.data();
  out.batch = 2;
  out.rows = 6;
  out.cols = 1;
  out.height = 2;
  out.width = 3;
  ClassMap map;
  ASSERT_TRUE(read_class_map(out, 1, 3, &map).ok());
  EXPECT_EQ(map.width, 3);
  EXPECT_EQ(map.height, 2);
  EXPECT_EQ(map.index, (std::vector<uint8_t>{1, 1, 1, 2, 2, 2}));
  EXPECT_EQ(count_classes(map, 3), (std::vector<uint64_t>{0, 3, 3}));
  for (const float bad : {3.0f, -1.0f, std::nanf("")}) {
    values[4] = bad;
    const auto read = read_class_map(out, 0, 3, &map);
    ASSERT_FALSE(read.ok()) << bad;
    EXPECT_NE(read.error().message.find("(1, 1)"), std::string::npos) << read.error().message;
  }
}

TEST(SegmentParts, ClassPngsComeBack) {
  Scratch scratch;
  for (const auto& [w, h] : {std::pair<int, int>{1, 1}, {37, 19}, {480, 360}}) {
    const ClassMap map = random_map(w, h, 256, unsigned(w));
    const std::vector<uint8_t> png = encode_class_png(map);
    EXPECT_EQ(png[24], 8) << "bits";
    EXPECT_EQ(png[25], 0) << "grey";
    const auto back = load_labels(scratch.write("a.png", std::string(png.begin(), png.end())));
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_EQ(back->width, w);
    EXPECT_EQ(back->height, h);
    EXPECT_EQ(back->index, map.index);
  }
}

uint32_t crc(const std::string& bytes) {
  uint32_t c = 0xffffffffu;
  for (const char b : bytes) {
    c ^= static_cast<unsigned char>(b);
    for (int k = 0; k < 8; ++k) c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
  }
  return ~c;
}

std::string big_endian(uint32_t v) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += char(v >> shift & 255);
  return bytes;
}

std::string chunk(const std::string& type, const std::string& data) {
  return big_endian(uint32_t(data.size())) + type + data + big_endian(crc(type + data));
}

/// A PNG of these rows (packed as the depth wants), not compressed.
std::string png(int width, int height, int depth, int colour, const std::vector<std::string>& rows,
                const std::string& more = "") {
  std::string raw;
  for (const std::string& row : rows) raw += '\0' + row;
  uint32_t a = 1, b = 0;
  for (const char c : raw) {
    a = (a + static_cast<unsigned char>(c)) % 65521;
    b = (b + a) % 65521;
  }
  std::string zlib("\x78\x01\x01", 3);
  const uint16_t size = uint16_t(raw.size()), rest = uint16_t(~size);
  for (const uint16_t v : {size, rest}) zlib += char(v & 255), zlib += char(v >> 8);
  zlib += raw + big_endian(b << 16 | a);
  const std::string header =
      big_endian(uint32_t(width)) + big_endian(uint32_t(height)) + char(depth) + char(colour) + std::string(3, '\0');
  return std::string("\x89PNG\r\n\x1a\n", 8) + chunk("IHDR", header) + more + chunk("IDAT", zlib) + chunk("IEND", "");
}

TEST(SegmentParts, LabelsInGreyAndWithPalette) {
  Scratch scratch;
  const auto read = [&](const std::string& bytes) { return load_labels(scratch.write("l.png", bytes)); };
  const std::vector<uint8_t> expected{3, 0, 1, 2, 2, 3};
  // Two bits: 3 0 1 and 2 2 3 in the high bits of one byte each.
  const std::vector<std::string> two{std::string(1, char(0xC4)), std::string(1, char(0xAC))};
  const std::string palette = chunk("PLTE", std::string("\xff\xff\xff\x80\x80\x80\x01\x02\x03\xff\x00\x00", 12)) +
                              chunk("tRNS", std::string("\x00\xff", 2));
  const std::vector<std::string> eight{std::string("\3\0\1", 3), std::string("\2\2\3", 3)};
  const std::vector<std::string> four{std::string("\x30\x10", 2), std::string("\x22\x30", 2)};
  const std::vector<std::string> sixteen{std::string("\0\3\0\0\0\1", 6), std::string("\0\2\0\2\0\3", 6)};
  for (const std::string& bytes :
       {png(3, 2, 2, 0, two), png(3, 2, 2, 3, two, palette), png(3, 2, 8, 0, eight), png(3, 2, 8, 3, eight, palette),
        png(3, 2, 4, 0, four), png(3, 2, 4, 3, four, palette), png(3, 2, 16, 0, sixteen)}) {
    const auto map = read(bytes);
    ASSERT_TRUE(map.ok()) << map.error().message;
    EXPECT_EQ(map->index, expected) << "depth " << int(bytes[24]) << " colour " << int(bytes[25]);
  }
  const auto one = read(png(3, 1, 1, 0, {std::string(1, char(0xA0))}));
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->index, (std::vector<uint8_t>{1, 0, 1}));
}

TEST(SegmentParts, BadLabelsAreNamed) {
  Scratch scratch;
  const std::string good = png(3, 1, 8, 0, {std::string("\1\2\3", 3)});
  const std::vector<std::pair<std::string, std::string>> bad{
      {png(1, 1, 8, 2, {"rgb"}), "colour"},
      {png(1, 1, 16, 0, {std::string("\1\0", 2)}), "256"},
      {"", "empty"},
      {"P5 1 1 255 x", "PNG"},
      {good.substr(0, good.size() - 28), "compressed data"},
      {good.substr(0, 20), "truncated"},
  };
  for (const auto& [bytes, word] : bad) {
    const std::string path = scratch.write("bad.png", bytes);
    const auto map = load_labels(path);
    ASSERT_FALSE(map.ok()) << word;
    EXPECT_NE(map.error().message.find(path), std::string::npos) << map.error().message;
    EXPECT_NE(map.error().message.find(word), std::string::npos) << map.error().message;
  }
  EXPECT_FALSE(load_labels(scratch.path("none.png")).ok());
  EXPECT_FALSE(load_labels(scratch.path()).ok());
}

TEST(SegmentParts, ConfusionAgainstCountingPixelByPixel) {
  const int classes = 6, ignore = 9;
  Confusion confusion(classes);
  std::vector<ClassMap> truths, guesses;
  for (unsigned i = 0; i < 3; ++i) {
    ClassMap truth = random_map(31, 17, 4, i),
             guess = random_map(31, 17, 5, 50 + i);  // 4 is never a label, 5 never at all
    for (size_t k = i; k < truth.index.size(); k += 7) truth.index[k] = ignore;
    for (size_t k = 0; k < truth.index.size(); k += 2) guess.index[k] = truth.index[k] < classes ? truth.index[k] : 0;
    confusion.add(truth, guess, ignore);
    truths.push_back(truth);
    guesses.push_back(guess);
  }
  double sum = 0;
  int present = 0;
  uint64_t right = 0, all = 0;
  for (int c = 0; c < classes; ++c) {
    uint64_t both = 0, either = 0;
    for (size_t i = 0; i < truths.size(); ++i) {
      for (size_t k = 0; k < truths[i].index.size(); ++k) {
        if (truths[i].index[k] == ignore) continue;
        const bool t = truths[i].index[k] == c, g = guesses[i].index[k] == c;
        both += t && g;
        either += t || g;
        right += t && g;
        all += c == 0;
      }
    }
    if (either == 0) {
      EXPECT_EQ(confusion.iou(c), -1) << c;
      continue;
    }
    if (c == 4) continue;  // never a label: it takes from the others, but is not in the mean
    EXPECT_DOUBLE_EQ(confusion.iou(c), double(both) / double(either)) << c;
    sum += double(both) / double(either);
    ++present;
  }
  EXPECT_EQ(present, 4);
  EXPECT_EQ(confusion.iou(4), 0) << "only predicted, never right";
  EXPECT_DOUBLE_EQ(confusion.mean_iou(), sum / present);
  EXPECT_EQ(confusion.pixels(), all);
  EXPECT_DOUBLE_EQ(confusion.accuracy(), double(right) / double(all));
  EXPECT_EQ(Confusion(3).mean_iou(), 0);
  EXPECT_EQ(Confusion(3).accuracy(), 0);
}

// -------------------------------------------------------------------------------------------------- colours, overlay

struct Lab {
  double l, a, b;
};

/// CIELAB of a colour as people see it whose kind of colour blindness is `matrix` (Machado, Oliveira and Fernandes
/// 2009).
Lab seen(Colour colour, const double (&matrix)[9]) {
  double linear[3], rgb[3];
  for (size_t i = 0; i < 3; ++i) {
    const double v = colour[i] / 255.0;
    linear[i] = v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4);
  }
  for (size_t i = 0; i < 3; ++i)
    rgb[i] = std::min(
        std::max(matrix[3 * i] * linear[0] + matrix[3 * i + 1] * linear[1] + matrix[3 * i + 2] * linear[2], 0.0), 1.0);
  const auto f = [](double t) { return t > 0.008856 ? std::cbrt(t) : 7.787 * t + 16.0 / 116; };
  const double x = f((0.4124 * rgb[0] + 0.3576 * rgb[1] + 0.1805 * rgb[2]) / 0.9505);
  const double y = f(0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]);
  const double z = f((0.0193 * rgb[0] + 0.1192 * rgb[1] + 0.9505 * rgb[2]) / 1.089);
  return {116 * y - 16, 500 * (x - y), 200 * (y - z)};
}

TEST(SegmentParts, ColoursDifferForEveryEye) {
  const double eyes[4][9] = {
      {1, 0, 0, 0, 1, 0, 0, 0, 1},
      {0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998},
      {0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881},
      {1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900}};
  for (const auto& eye : eyes) {
    for (int i = 0; i < 16; ++i) {
      for (int k = 0; k < i; ++k) {
        const Lab p = seen(class_colour(i), eye), q = seen(class_colour(k), eye);
        const double far = std::sqrt((p.l - q.l) * (p.l - q.l) + (p.a - q.a) * (p.a - q.a) + (p.b - q.b) * (p.b - q.b));
        EXPECT_GT(far, i < 12 ? 18 : 14) << i << " and " << k;
      }
    }
  }
  std::set<Colour> all;
  for (int i = 0; i < kMaxClasses; ++i) all.insert(class_colour(i));
  EXPECT_EQ(all.size(), size_t(kMaxClasses));
}

Colour pixel(const Rgb8& picture, int x, int y) {
  const uint8_t* at = &picture.rgb[(size_t(y) * size_t(picture.width) + size_t(x)) * 3];
  return Colour{{at[0], at[1], at[2]}};
}

TEST(SegmentParts, OverlayShowsClassesBordersAndLegend) {
  const std::vector<std::string> labels{"sky", "a name much too long for any legend", "caf\xC3\xA9, bar"};
  Overlay overlay(labels);
  for (const auto& [w, h] : {std::pair<int, int>{480, 360}, {1920, 1080}, {65, 49}}) {
    Rgb8 picture{w, h, std::vector<uint8_t>(size_t(w) * size_t(h) * 3, 100)};
    ClassMap map{w, h, std::vector<uint8_t>(size_t(w) * size_t(h), 0)};
    for (int y = 0; y < h; ++y) std::fill_n(&map.index[size_t(y) * size_t(w) + size_t(w / 2)], w - w / 2, uint8_t(2));
    const Rgb8& drawn = overlay.draw(picture, map, count_classes(map, 3));
    EXPECT_EQ(drawn.width % 2 + drawn.height % 2, 0);
    EXPECT_GT(drawn.width, w + 60);
    EXPECT_GE(drawn.height, h);
    EXPECT_EQ(drawn.rgb.size(), size_t(drawn.width) * size_t(drawn.height) * 3);
    for (const auto& [x, c] : {std::pair<int, int>{w / 4, 0}, {3 * w / 4, 2}})
      for (size_t k = 0; k < 3; ++k) EXPECT_NEAR(pixel(drawn, x, h / 2)[k], (100 + class_colour(c)[k]) / 2, 1) << x;
    const Colour border = pixel(drawn, w / 2 - 1, h / 2), inside = pixel(drawn, w / 2 - 2, h / 2);
    EXPECT_LT(border[0] + border[1] + border[2], inside[0] + inside[1] + inside[2]);
    // The legend holds every class's own colour, and text.
    std::set<Colour> colours;
    for (int y = 0; y < drawn.height; ++y)
      for (int x = w; x < drawn.width; ++x) colours.insert(pixel(drawn, x, y));
    for (int c = 0; c < 3; ++c) EXPECT_EQ(colours.count(class_colour(c)), 1u) << c;
    EXPECT_EQ(colours.count(Colour{{236, 236, 240}}), 1u) << "text";
    const int width = drawn.width, height = drawn.height;
    std::fill(map.index.begin(), map.index.end(), uint8_t(1));
    const Rgb8& again = overlay.draw(picture, map, count_classes(map, 3));
    EXPECT_EQ(again.width, width) << "frames of one size make a film";
    EXPECT_EQ(again.height, height);
  }
}

TEST(SegmentParts, OverlayOfManyClassesListsTheLargest) {
  std::vector<std::string> labels;
  for (int c = 0; c < 256; ++c) labels.push_back("class " + std::to_string(c));
  Overlay overlay(labels);
  const ClassMap map = random_map(64, 48, 256, 3);
  Rgb8 picture{64, 48, std::vector<uint8_t>(64 * 48 * 3, 0)};
  const Rgb8& drawn = overlay.draw(picture, map, count_classes(map, 256));
  EXPECT_LT(drawn.height, 400);
}

TEST(SegmentParts, TextIsCutAtTheEdges) {
  Rgb8 picture{8, 8, std::vector<uint8_t>(8 * 8 * 3, 0)};
  for (const int at : {-100, -3, 0, 6, 100})
    draw_text(&picture, at, at, 3, "Hello \x01\xC3\xA9 ~", Colour{{255, 255, 255}});
  EXPECT_GT(text_width("mm"), text_width("i"));
  EXPECT_EQ(text_width(""), 0);
  draw_text(&picture, 0, 0, 1, "", Colour{{1, 1, 1}});
}

// ----------------------------------------------------------------------------------------------------------- frames

struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() { EXPECT_EQ(pipe(ends), 0); }
  ~Pipe() {
    close(ends[0]);
    shut();
  }
  void shut() {
    if (ends[1] >= 0) close(ends[1]);
    ends[1] = -1;
  }
};

TEST(SegmentParts, RawFramesAndTheOneCutShort) {
  Pipe pipe;
  std::string bytes;
  for (int i = 0; i < 2 * 4 * 3 * 3 + 5; ++i) bytes += char(i);
  std::thread writer([&] {  // in crumbs, as pipes deliver them
    for (size_t at = 0; at < bytes.size(); at += 7)
      cli_test::write_all(pipe.ends[1], &bytes[at], std::min<size_t>(7, bytes.size() - at));
    pipe.shut();
  });
  RawFrames source(pipe.ends[0], 4, 3);
  Frame frame;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(source.next(&frame));
    EXPECT_EQ(frame.error, "");
    EXPECT_EQ(frame.name, "frame-00000" + std::to_string(i + 1));
    EXPECT_EQ(std::memcmp(frame.picture.rgb.data(), &bytes[size_t(i) * 36], 36), 0);
  }
  ASSERT_TRUE(source.next(&frame));
  EXPECT_NE(frame.error.find("frame-000003 is cut short: standard input ended after 5 of its 36 bytes (4x3"),
            std::string::npos)
      << frame.error;
  EXPECT_FALSE(source.next(&frame));
  writer.join();
}

TEST(SegmentParts, RawFramesStopWhileTheyWait) {
  Pipe pipe;
  RawFrames source(pipe.ends[0], 4, 3);
  std::thread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    source.stop();
  });
  Frame frame;
  EXPECT_FALSE(source.next(&frame));
  stopper.join();
  FrameQueue queue(source, false);  // and its destructor does not wait for input
}

/// Numbered frames; each waits until it is asked for.
class Numbers : public FrameSource {
 public:
  explicit Numbers(int count) : count_(count) {}
  bool next(Frame* frame) override {
    if (stopped_ || made_ == count_) return false;
    frame->name = std::to_string(made_);
    ++made_;
    return true;
  }
  void stop() override { stopped_ = true; }
  int made() const { return made_; }

 private:
  int count_;
  std::atomic<int> made_{0};
  std::atomic<bool> stopped_{false};
};

TEST(SegmentParts, QueueKeepsEveryFrameInOrder) {
  Numbers source(500);
  FrameQueue queue(source, false);
  std::vector<Frame*> out;
  std::set<Frame*> buffers;
  for (int i = 0; i < 500; ++i) {
    Frame* frame = queue.take(true);
    ASSERT_NE(frame, nullptr);
    EXPECT_EQ(frame->name, std::to_string(i));
    EXPECT_LE(source.made(), i + 5) << "it reads ahead of its buffers";
    buffers.insert(frame);
    out.push_back(frame);
    if (out.size() < FrameQueue::kTaken) continue;
    queue.give_back(out.front());
    out.erase(out.begin());
  }
  EXPECT_EQ(queue.take(true), nullptr);
  EXPECT_EQ(queue.take(false), nullptr);
  EXPECT_EQ(queue.dropped(), 0u);
  EXPECT_LE(buffers.size(), 5u);
}

TEST(SegmentParts, QueueDropsTheOldestThatWait) {
  Numbers source(100);
  FrameQueue queue(source, true);
  while (source.made() < 100) std::this_thread::yield();
  int last = -1, count = 0;
  while (Frame* frame = queue.take(true)) {
    const int number = std::stoi(frame->name);
    EXPECT_GT(number, last);
    last = number;
    ++count;
    queue.give_back(frame);
  }
  EXPECT_EQ(last, 99) << "the newest is never dropped";
  EXPECT_EQ(count + int(queue.dropped()), 100);
}

TEST(SegmentParts, QuantilesOfManyTimes) {
  Times times;
  EXPECT_EQ(times.quantile(0.5), 0);
  std::mt19937 random(1);
  std::vector<double> all;
  for (int i = 0; i < 10001; ++i) {
    all.push_back(std::exp(double(random() % 10000) / 1000 - 2));
    times.add(all.back());
  }
  std::sort(all.begin(), all.end());
  for (const double p : {0.01, 0.5, 0.95, 1.0}) EXPECT_NEAR(times.quantile(p) / percentile(all, p), 1, 0.006) << p;
  times.add(-1);
  times.add(std::nan(""));
  EXPECT_EQ(times.count(), 10003u);
}

}  // namespace
