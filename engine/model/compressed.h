// Checkpoints of compressed-tensors (vllm-project/compressed-tensors): integer weights as they are published, found
// among the tensors and read without being quantised again.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "graph/constant.h"
#include "model/safetensors.h"
#include "tensor/format.h"

namespace vireo {

/// What config.json's quantization_config says of weights and activations of a kind of module.
struct CompressionScheme {
  Grid weights;            // bits, scope, group, zero points
  bool by_index = false;   // actorder "group": weight_g_idx names the group of every column
  RowCodes rows;           // input_activations; of kStatic ones the scale stands in the file
  bool rows_stay = false;  // input_activations that nothing here computes: the rows stay floats
  bool wide_rows = false;  // quantization_config.vireo.rows: rows of a weight of 4 bits may have 8
};

class Pattern;

/// quantization_config of config.json.
struct Compression {
  /// A module's name, what it is, or an expression: "re:..." of Python's re.match.
  struct Target {
    std::string name;
    std::shared_ptr<const Pattern> pattern;  // null: a name
  };
  struct Group {
    std::vector<Target> targets;
    CompressionScheme scheme;
  };
  std::vector<Group> groups;
  std::vector<Target> ignore;
  std::string source;  // the file

  /// Whether it asks for rows of codes that nothing here computes, so that they stay floats.
  bool rows_stay() const;

  /// The scheme of a module by its name in the file and what it is ("Linear", "Conv2d"); null where none applies. Names
  /// come before expressions ("re:..."), those before kinds.
  const CompressionScheme* find(const std::string& module, const char* kind) const;
};

/// quant_method of a quantization_config that has an extension alone and no codes.
constexpr const char* kOwnMethod = "vireo";

/// Null where the configuration has no quantization_config, or one without codes. Errors: kUnsupported (another method,
/// floats of 8 and 4 bits, sparse forms), kCorrupt.
Result<std::shared_ptr<const Compression>> parse_compression(const std::string& config, const std::string& source);

/// A weight that is stored as codes: its tensors as the file has them.
struct CodedTensor {
  TensorView codes;                    // weight_packed (I32), or weight (I8)
  TensorView scale;                    // weight_scale
  TensorView zero;                     // weight_zero_point; bytes == 0: none
  TensorView order;                    // weight_g_idx; bytes == 0: none
  TensorView extent;                   // weight_shape; bytes == 0: none
  TensorView wide;                     // weight_wide_rows (I32): rows of 8 bits, whose high parts (tensor/format.h)
                                       // are rows of `codes` behind all others; bytes == 0: none
  TensorView input_scale, input_zero;  // input_scale, input_zero_point; bytes == 0: none
  bool packed = false;
  std::vector<int64_t> shape;  // of the weight
};

/// Takes the tensors of weights that are stored as codes out of `tensors` and puts one of dtype "codes" in their place,
/// with the weight's name and shape. Errors: kCorrupt, kIo.
Result<std::map<std::string, CodedTensor>> find_coded(std::map<std::string, TensorView>* tensors,
                                                      const std::string& source);
/// The tensors of a coded weight `name` ("layer.weight") by the names they have in a file.
std::map<std::string, TensorView> stored_tensors(const std::string& name, const CodedTensor& t);

/// Rows [first_row, first_row + rows) of the weight seen as a matrix with `cols` columns, with its codes as stored.
/// Checks everything that the scheme and the tensors say. `owner` keeps memory alive. Errors: kCorrupt, kUnsupported,
/// kIo; each names the tensor.
Result<ConstantPtr> coded_tensor(const CodedTensor& t, const CompressionScheme& scheme,
                                 std::shared_ptr<const void> owner, const std::string& source, int64_t first_row,
                                 int64_t rows, int64_t cols);

}  // namespace vireo
