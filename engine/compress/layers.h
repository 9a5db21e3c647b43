// The weights of a model that compression is about: which tensors of the checkpoint are multiplied where.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "graph/graph.h"
#include "model/model.h"

namespace vireo::compress {

enum class LayerKind : uint8_t {
  kInner,        ///< a linear within the network
  kHead,         ///< a linear on one row per picture, or whose output is the answer
  kEmbedding,    ///< the convolution that reads the pixels
  kConvolution,  ///< another one, 1 x 1 included
};
const char* to_string(LayerKind k);

/// One weight of the checkpoint.
struct Layer {
  std::string tensor;  // its name in the file: "vit.encoder.layer.0.output.dense.weight"
  std::string module;  // the same without ".weight"
  std::string node;    // the graph's node that multiplies it, the first of several
  std::string input;   // the value that it multiplies there
  std::string matrix;  // the matrix that it is there, or is some rows of (query, key and value are one in plans)
  int64_t matrix_row = 0, matrix_rows = 0;  // its first row there, and how many the matrix has
  std::vector<int64_t> shape;               // [out, in] or [out, in, kernel height, kernel width]
  LayerKind kind = LayerKind::kInner;
  bool last = false;               // behind the last attention of a network whose answer is read from single tokens
  bool behind_activation = false;  // what it multiplies is GELU's or another one's answer
  int64_t rows = 0, cols = 0;
  double macs = 0;  // of a picture

  bool conv() const { return shape.size() == 4; }
};

/// Single tokens whose rows the answer is read from (a class token): their numbers in a picture; empty where it is read
/// from all of them.
struct Layers {
  std::vector<Layer> all;  // in order of execution
  std::vector<int64_t> answer_tokens;
  int64_t tokens = 0;  // rows of a value that holds them
  double macs = 0;     // of a picture, attention included
};

/// `graph`: of one picture. Weights of grouped convolutions are left out, as are those that are no ".weight" of their
/// own.
Layers find_layers(const LoadedModel& model, const Graph& graph);

/// Multiply-adds of a node, as its operator counts them.
double macs_of(const Graph& g, const Node& n);

/// A layer's weight as numbers, [rows, cols]. Errors: those of Checkpoint::constant.
Result<std::vector<float>> weight_values(const LoadedModel& model, const Layer& layer);

}  // namespace vireo::compress
