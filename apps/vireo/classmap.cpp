// Class maps: see classmap.h.
#include "classmap.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

/// stb asserts that its buffers grow, and in a release build writes into a null pointer. What it holds is lost: the
/// program ends.
inline void* stb_realloc(void* old, size_t bytes) {
  void* p = std::realloc(old, bytes > 0 ? bytes : 1);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
#define STBIW_MALLOC(bytes) stb_realloc(nullptr, bytes)
#define STBIW_REALLOC(p, bytes) stb_realloc(p, bytes)
#define STBIW_FREE(p) std::free(p)
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#include <stb_image_write.h>

#include "cli.h"
#include "image.h"

namespace cli {
namespace {

using vireo::Error;
using vireo::ErrorCode;
using vireo::Result;

Error bad_label(ErrorCode code, const std::string& path, const std::string& what) {
  return {code, "label '" + path + "' " + what};
}

void append(void* context, void* data, int size) {
  auto* bytes = static_cast<std::vector<uint8_t>*>(context);
  const auto* from = static_cast<const uint8_t*>(data);
  bytes->insert(bytes->end(), from, from + size);
}

/// `filter`: 0 none, good for flat areas of equal numbers; 1 the difference to the left, good for photographs and
/// quick.
std::vector<uint8_t> encode_png(const uint8_t* pixels, int width, int height, int channels, int filter) {
  stbi_write_png_compression_level = 5;
  stbi_write_force_png_filter = filter;
  std::vector<uint8_t> bytes;
  if (!stbi_write_png_to_func(append, &bytes, width, height, channels, pixels, width * channels) || bytes.empty())
    throw cli::Failure("a PNG of " + std::to_string(width) + "x" + std::to_string(height) +
                       " cannot be encoded: out of memory");
  return bytes;
}

}  // namespace

Result<void> read_class_map(const vireo::Output& out, int item, int classes, ClassMap* map) {
  map->width = out.width;
  map->height = out.height;
  const size_t size = size_t(out.width) * size_t(out.height);
  map->index.resize(size);
  const float* from = out.data + size_t(item) * size;
  for (size_t i = 0; i < size; ++i) {
    if (from[i] == -1)
      return Error{ErrorCode::kCorrupt, "the model's scores at pixel (" + std::to_string(i % size_t(out.width)) + ", " +
                                            std::to_string(i / size_t(out.width)) +
                                            ") are infinite or no numbers; try " +
                                            "--precision fp32, or another copy of the checkpoint"};
    if (!(from[i] >= 0 && from[i] < float(classes)))
      return Error{ErrorCode::kInternal, "the model's class map holds " + std::to_string(from[i]) + " at pixel (" +
                                             std::to_string(i % size_t(out.width)) + ", " +
                                             std::to_string(i / size_t(out.width)) + "), expected a class from 0 to " +
                                             std::to_string(classes - 1)};
    map->index[i] = uint8_t(from[i]);
  }
  return {};
}

void resize_nearest(const ClassMap& from, int width, int height, ClassMap* to) {
  to->width = width;
  to->height = height;
  to->index.resize(size_t(width) * size_t(height));
  const auto source = [](int64_t i, int64_t n, int64_t of) { return size_t((2 * i + 1) * of / (2 * n)); };
  int last = -1;  // rows that show the same row are copies
  for (int y = 0; y < height; ++y) {
    const int row = int(source(y, height, from.height));
    uint8_t* out = &to->index[size_t(y) * size_t(width)];
    const uint8_t* in = &from.index[size_t(row) * size_t(from.width)];
    if (row == last) {
      std::memcpy(out, out - width, size_t(width));
    } else if (width == from.width) {
      std::memcpy(out, in, size_t(width));
    } else {
      for (int x = 0; x < width; ++x) out[x] = in[source(x, width, from.width)];
    }
    last = row;
  }
}

std::vector<uint64_t> count_classes(const ClassMap& map, int classes) {
  uint64_t all[kMaxClasses] = {};
  for (const uint8_t c : map.index) ++all[c];
  return std::vector<uint64_t>(all, all + classes);
}

Result<ClassMap> load_labels(const std::string& path, const ReadOptions& options) {
  const Result<std::vector<uint8_t>> file = read_picture_file(path, options);
  if (!file) return file.error();
  const Result<Levels> levels = decode_png_levels(file->data(), file->size(), path, options);
  if (!levels) return levels.error();
  if (levels->colour)
    return bad_label(ErrorCode::kUnsupported, path,
                     "is a colour picture; expected a grey PNG, or one with a palette, whose pixel value is the class");
  ClassMap map;
  map.width = levels->width;
  map.height = levels->height;
  map.index.resize(levels->level.size());
  for (size_t i = 0; i < map.index.size(); ++i) {
    const int value = levels->level[i];
    if (value >= kMaxClasses)
      return bad_label(ErrorCode::kCorrupt, path,
                       "holds the value " + std::to_string(value) + " at pixel (" +
                           std::to_string(i % size_t(map.width)) + ", " + std::to_string(i / size_t(map.width)) +
                           "); expected class numbers up to 255");
    map.index[i] = uint8_t(value);
  }
  return map;
}

std::vector<uint8_t> encode_class_png(const ClassMap& map) {
  return encode_png(map.index.data(), map.width, map.height, 1, 0);
}

std::vector<uint8_t> encode_rgb_png(const uint8_t* rgb, int width, int height) {
  return encode_png(rgb, width, height, 3, 1);
}

void Confusion::add(const ClassMap& truth, const ClassMap& predicted, int ignore) {
  for (size_t i = 0; i < truth.index.size(); ++i) {
    const int label = truth.index[i];
    if (label != ignore) ++counts_[size_t(label) * size_t(classes_) + predicted.index[i]];
  }
}

uint64_t Confusion::pixels() const {
  uint64_t sum = 0;
  for (const uint64_t n : counts_) sum += n;
  return sum;
}

uint64_t Confusion::labelled(int c) const {
  uint64_t sum = 0;
  for (int p = 0; p < classes_; ++p) sum += count(c, p);
  return sum;
}

uint64_t Confusion::predicted(int c) const {
  uint64_t sum = 0;
  for (int t = 0; t < classes_; ++t) sum += count(t, c);
  return sum;
}

double Confusion::accuracy() const {
  uint64_t right = 0;
  for (int c = 0; c < classes_; ++c) right += count(c, c);
  const uint64_t all = pixels();
  return all > 0 ? double(right) / double(all) : 0;
}

double Confusion::iou(int c) const {
  const uint64_t both = labelled(c) + predicted(c) - count(c, c);
  return both > 0 ? double(count(c, c)) / double(both) : -1;
}

double Confusion::mean_iou() const {
  double sum = 0;
  int present = 0;
  for (int c = 0; c < classes_; ++c) {
    if (labelled(c) == 0) continue;
    sum += iou(c);
    ++present;
  }
  return present > 0 ? sum / present : 0;
}

}  // namespace cli
