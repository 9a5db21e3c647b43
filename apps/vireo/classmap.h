// Maps with one class per pixel: from the model's output, from and to PNG files, to another size, counted and compared.
#pragma once

#include <cstdint>
#include <string>
#include <vector>
#include <vireo/vireo.hpp>

#include "image.h"

namespace cli {

/// The most classes that a map of bytes tells apart.
constexpr int kMaxClasses = 256;

/// Rows of width class numbers without padding.
struct ClassMap {
  int width = 0, height = 0;
  std::vector<uint8_t> index;
};

/// The class map of picture `item` of an output of Head::kClassMap. Error: kInternal, a value that is no class.
vireo::Result<void> read_class_map(const vireo::Output& out, int item, int classes, ClassMap* map);

/// Nearest neighbour, as Pillow's NEAREST and torch's "nearest-exact": pixel x of `width` shows pixel
/// floor((x + 0.5) * from.width / width). Keeps the memory of `to`.
void resize_nearest(const ClassMap& from, int width, int height, ClassMap* to);

/// Pixels of each class; values from `classes` on are not counted.
std::vector<uint64_t> count_classes(const ClassMap& map, int classes);

/// A label file: a PNG whose pixel value is the class, in grey of 1 to 16 bits or with a palette (then the palette
/// index is the class, whatever its colour). Errors name the file: as load_image, kUnsupported for a colour picture or
/// another format, kCorrupt for a value above 255.
vireo::Result<ClassMap> load_labels(const std::string& path, const ReadOptions& options = {});

/// An 8-bit grey PNG whose pixel value is the class.
std::vector<uint8_t> encode_class_png(const ClassMap& map);
/// An RGB PNG.
std::vector<uint8_t> encode_rgb_png(const uint8_t* rgb, int width, int height);

/// Counts of (true class, predicted class), and what is computed from them.
class Confusion {
 public:
  explicit Confusion(int classes) : classes_(classes), counts_(size_t(classes) * size_t(classes), 0) {}

  /// Adds a picture: two maps of one size. Pixels whose label is `ignore` are left out; labels must be checked before.
  void add(const ClassMap& truth, const ClassMap& predicted, int ignore);

  uint64_t count(int truth, int predicted) const {
    return counts_[size_t(truth) * size_t(classes_) + size_t(predicted)];
  }
  uint64_t pixels() const;          ///< counted ones
  uint64_t labelled(int c) const;   ///< pixels whose label is c
  uint64_t predicted(int c) const;  ///< pixels that were taken for c
  double accuracy() const;          ///< right pixels of all; 0 without any
  /// Intersection over union of a class; -1 when it is neither in the labels nor predicted.
  double iou(int c) const;
  /// The mean of iou() over the classes that occur in the labels; 0 without any.
  double mean_iou() const;

 private:
  int classes_;
  std::vector<uint64_t> counts_;
};

}  // namespace cli
