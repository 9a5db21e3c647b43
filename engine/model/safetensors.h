// The safetensors container: 8 bytes of header length, a JSON table of tensors, raw little-endian data.
// Every promise of the table is checked against the file before a tensor is handed out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/input_file.h"
#include "graph/constant.h"

namespace vireo {

/// One tensor: where its bytes are, in memory or in a file.
struct TensorView {
  std::string name;
  std::string dtype;              // as the file writes it: "F32", "BF16", ...
  std::vector<int64_t> shape;     // empty for a scalar
  const uint8_t* data = nullptr;  // in memory, of any alignment; null where `file` has it
  size_t bytes = 0;
  std::shared_ptr<const InputFile> file = {};  // keeps it open
  uint64_t offset = 0;                         // of the first byte in `file`

  int64_t elements() const;
  /// Copies bytes [first, first + count) to `out`. Errors: as InputFile::read; memory has none.
  Result<void> read(size_t first, size_t count, void* out) const;
};

constexpr size_t kTensorBlock =
    size_t(256) << 10;  // bytes of a tensor at once where all of it is looked through: within a core's cache

/// "[192, 3, 16, 16]"
std::string shape_text(const std::vector<int64_t>& shape);

/// Checks the header of a safetensors file held in memory and lists its tensors in the order of their data.
/// `source` names the file in messages. The views point into `data`. `metadata`, where given, receives the strings of
/// "__metadata__". All errors are kCorrupt or kUnsupported.
Result<std::vector<TensorView>> parse_safetensors(const uint8_t* data, size_t size, const std::string& source,
                                                  std::map<std::string, std::string>* metadata = nullptr);
/// The same for a file, of which only the header is read; the views keep it open. Errors also as InputFile::read.
Result<std::vector<TensorView>> parse_safetensors(std::shared_ptr<const InputFile> file, const std::string& source,
                                                  std::map<std::string, std::string>* metadata = nullptr);

/// What precedes the data of such a file: the header's length and the header, padded to a multiple of 8 bytes. The data
/// of `tensors` are to follow in their order without gaps. Text that is not UTF-8 is replaced.
std::string safetensors_header(const std::vector<TensorView>& tensors,
                               const std::map<std::string, std::string>& metadata);

/// True for the element types a weight may have: F32, F16, BF16, and F64, which is rounded to fp32.
bool is_weight_dtype(const std::string& dtype);

/// Rows of a tensor as a graph constant: rows [first_row, first_row + rows) of the tensor seen as a matrix with `cols`
/// columns, converted to fp32 when they are read, which throws Failure where a file cannot be. `owner` keeps memory
/// alive.
ConstantPtr tensor_constant(const TensorView& view, std::shared_ptr<const void> owner, int64_t first_row, int64_t rows,
                            int64_t cols);

/// Index of the first element that is NaN or infinite, or that fp32 cannot hold (F64 beyond 3.4e38), or -1. The dtype
/// must be a weight dtype. Errors: as TensorView::read.
Result<int64_t> find_non_finite(const TensorView& view);
/// What stands at such an index: "NaN", "an infinite value", "1e+300, beyond what fp32 holds". Errors: as
/// TensorView::read.
Result<std::string> non_finite_text(const TensorView& view, int64_t index);

}  // namespace vireo
