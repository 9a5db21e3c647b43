// AWQ (Lin et al. 2023, arXiv 2306.00978): columns of a weight that multiply large inputs matter more. They are
// multiplied by s = mean |x|^alpha before they are rounded, so that they keep finer steps than their neighbours, and
// what stands before the weight, a LayerNorm or the linear that makes attention's values, is divided by s. The network
// computes the same; alpha is searched by the squared error of the rounded weight's answers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compress/calibrate.h"
#include "compress/kept.h"
#include "compress/recipe.h"

namespace vireo::compress {

/// mean |x|^alpha by column, divided by the root of the largest times the least.
std::vector<double> awq_scales(const std::vector<double>& magnitudes, double alpha);

/// A weight that is to be rounded, and the grid that it will have.
struct AwqWeight {
  const float* values = nullptr;  // [rows, columns of the input]
  int64_t rows = 0;
  Grid grid;
};
struct AwqChoice {
  double alpha = 0;
  double before = 0, after = 0;  // squared error of all answers, without scales and with them
};
/// The alpha from 0 to 0.95 in steps of 0.05 of the least squared error of what these weights answer, rounded to
/// nearest. Errors: those of kRtn.
Result<AwqChoice> search_awq(const std::vector<AwqWeight>& weights, const std::vector<double>& magnitudes,
                             const double* hessian, ThreadPool& pool);

struct AwqScaled {
  std::shared_ptr<const LoadedModel> model;  // null: nothing can be scaled, or nothing gains by it
  size_t places = 0, scaled = 0;             // values that can be scaled, and those that were
  double least = 0, most = 0;                // alphas of those
  size_t passes = 0;                         // over the pictures
};
/// The model with scaled columns, wherever a value that weights of few bits multiply comes from a LayerNorm or from
/// plain attention and nothing else reads it. `kept`: where scales are found that a run with the same `key` has worked
/// out. Errors: those of Calibration and Kept.
Result<AwqScaled> scale_by_awq(const LoadedModel& model, const Layers& layers, const std::vector<Scheme>& schemes,
                               const std::vector<std::vector<float>>& pictures, const Device::Impl& device,
                               ThreadPool& pool, const Progress& step, const Kept& kept, Key key);

}  // namespace vireo::compress
