// What compression cost: the model before and after on the same pictures, as JSON, text and page.
#pragma once

#include <string>
#include <vector>
#include <vireo/compress.hpp>

#include "cli.h"
#include "dataset.h"

namespace cli {

/// Pictures with or without labels.
struct PictureSet {
  Dataset data;
  bool labelled = false;
};
/// DIR/labels.csv or a folder per class, as `eval` takes them, else the pictures of the folder. Throws Failure.
PictureSet open_pictures(const std::string& folder, const vireo::Model& model, const Common& common);
/// At most `most` of them, evenly spread.
std::vector<Sample> spread(const std::vector<Sample>& samples, size_t most);

/// A picture that gets another answer than before.
struct ChangedAnswer {
  std::string picture;
  int before = 0, after = 0, label = -1;
};

struct Comparison {
  size_t pictures = 0;
  bool calibration = false;  // they are those that it was calibrated with
  bool labelled = false;
  double kl = 0, mse = 0, agreement = 0;  // of pictures, or of a map's pixels
  size_t top1_before = 0, top1_after = 0;
  double ms_before = 0, ms_after = 0;  // medians, in turns
  std::vector<ChangedAnswer> changed;
  std::vector<std::string> errors;
};
/// Runs both on every picture, one after the other. Ends early where interrupted().
Comparison compare_models(const vireo::Model& before, const vireo::Model& after, const Common& common,
                          const PictureSet& set, const std::vector<Sample>& samples);

/// What an inference takes on a machine that is not here, ms; 0 where it cannot be predicted, with why in `notes`.
struct Predicted {
  std::string machine;
  double before_ms = 0, before_half_ms = 0, after_ms = 0;
};
Predicted predict_both(const vireo::Model& before, const vireo::Model& after, const std::string& machine,
                       const std::string& caps_file, std::vector<std::string>* notes);

struct Compressed {
  std::string model, out, recipe, caps;
  vireo::CompressReport report;
  const Comparison* comparison = nullptr;  // null: no pictures
  Predicted predicted;
  double seconds = 0;
  std::string policy;                // that a budget chose beside the recipe
  std::vector<std::string> options;  // --ranges, --awq and --bias-correction, where given
  const Json* front = nullptr;       // of a budget: schema vireo-front/1
};
/// Schema vireo-compression/1.
Json compression_json(const Compressed& c, const vireo::Model& model);
void print_compression(const Compressed& c, const vireo::Model& model);

}  // namespace cli
