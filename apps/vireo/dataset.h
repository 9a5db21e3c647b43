// Labelled pictures on disk, for `vireo eval`: a folder with labels.csv, one folder per class, or Fashion-MNIST's idx
// files.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>
#include <vireo/vireo.hpp>

#include "image.h"

namespace cli {

/// One picture and the class it belongs to.
struct Sample {
  std::string name;  // for messages
  std::string path;  // empty: the picture is number `index` of Dataset::pixels
  size_t index = 0;
  int label = 0;
};

struct Dataset {
  std::vector<Sample> samples;
  // Grey pictures held in memory (idx files): count x height x width bytes.
  std::vector<uint8_t> pixels;
  int height = 0, width = 0;

  /// Decodes one picture.
  vireo::Result<Rgb8> load(const Sample& sample, const ReadOptions& options = {}) const;
};

/// DIR/labels.csv (a header with file,label and perhaps name; a label is a class number or a class name; pictures in
/// DIR or in DIR/images), else one folder per class: named as the model's classes are, or numbered, or, when there are
/// as many folders as classes, in sorted order. Throws Failure.
Dataset open_folder(const std::string& folder, const vireo::Model& model);

/// The 10,000 test pictures of Fashion-MNIST: t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz. Throws Failure.
Dataset open_fashion_mnist(const std::string& folder);

/// Where Debian's package dataset-fashion-mnist puts them.
constexpr const char* kFashionMnistFolder = "/usr/share/datasets/fashion-mnist";

}  // namespace cli
