// Tables of predictions over models, precisions and input sizes; the models that `predict` brings along.
#pragma once

#include <string>
#include <vector>
#include <vireo/predict.hpp>

namespace cli {

struct Sweep {
  std::vector<std::string> models;  // folders or config.json files; empty: the built-in ones
  std::vector<std::string> precisions{"fp32", "fp16", "int8"};
  std::vector<int> sizes{224, 384, 512};
  int batch = 1;
};

/// Predicts every combination and prints the table (or JSON, schema vireo-sweep/1), and writes it as CSV and as a page
/// without network. What cannot be planned has its reason in its row.
void sweep(const Sweep& what, const std::string& caps, vireo::PredictOptions options, bool json, const std::string& csv,
           const std::string& html);

/// Small models of every family, random weights: what `predict --fit` measures unless told otherwise. None of them is a
/// published size.
std::vector<vireo::Model> calibration_models();

}  // namespace cli
