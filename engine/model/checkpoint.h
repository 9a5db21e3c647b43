// A checkpoint: the tensors of one safetensors file, or of the shards of a folder, found by name and read in place.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "graph/constant.h"
#include "model/compressed.h"
#include "model/safetensors.h"

namespace vireo {

class Checkpoint {
 public:
  /// A folder with model.safetensors, model.safetensors.index.json or a single other *.safetensors, or such a file
  /// itself. `network` chooses where it holds several (model/names.h). Errors: kNotFound, kIo, kCorrupt (see
  /// parse_safetensors; an index that contradicts its shards), kUnsupported, and those of canonical_names.
  static Result<std::shared_ptr<Checkpoint>> open(const std::string& path, const std::string& network = "");
  /// The same from memory that outlives the checkpoint (tests, fuzzing).
  static Result<std::shared_ptr<Checkpoint>> from_memory(const uint8_t* data, size_t size, const std::string& source,
                                                         const std::string& network = "");

  /// From tensors that a container holds beside other things; `owner` keeps their bytes alive.
  static Result<std::shared_ptr<Checkpoint>> from_views(std::vector<TensorView> views,
                                                        std::shared_ptr<const void> owner, const std::string& source);

  /// Names are canonical (model/names.h); TensorView::name is the file's own, for messages.
  const TensorView* find(const std::string& name) const;
  bool has(const std::string& name) const { return find(name) != nullptr; }
  /// All tensors by canonical name.
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  /// The path it was opened from.
  const std::string& source() const { return source_; }

  /// A tensor as a matrix constant [rows, cols] starting at row `first_row` of the tensor seen with `cols` columns, and
  /// notes that the tensor is used. `shape` is what the model expects (leading dimensions of 1 do not count); `reason`
  /// says in a message where that comes from. Errors: kNotFound, kCorrupt (shape; NaN or infinite values),
  /// kUnsupported (dtype), kIo (InputFile::read).
  Result<ConstantPtr> constant(const std::string& name, const std::vector<int64_t>& shape, const std::string& reason,
                               int64_t first_row, int64_t rows, int64_t cols) const;

  /// The same checkpoint, with what its configuration says of weights that are stored as codes. Errors: kCorrupt
  /// (codes, and no configuration of them).
  Result<std::shared_ptr<const Checkpoint>> with_compression(std::shared_ptr<const Compression> compression) const;
  /// Whether weights are stored as codes.
  bool coded() const { return !coded_.empty(); }
  /// All tensors as a file holds them: by canonical name, or, where weights are coded, their parts apart and by the
  /// file's own names.
  std::map<std::string, TensorView> stored() const;

  /// Prefixes of further networks that the file holds and that are not among tensors().
  const std::vector<std::string>& others() const { return others_; }

  /// Canonical names that constant() was never asked for.
  std::vector<std::string> unused() const;

 private:
  Result<void> add_file(const std::string& path, const std::string& label);
  Result<void> add_views(std::vector<TensorView> views, std::shared_ptr<const void> owner, const std::string& label);
  Result<void> add_shards(const std::string& folder, const std::string& index_path);
  Result<void> load(const std::string& path);
  /// Files' own names become canonical ones; after the last file.
  Result<void> name_tensors(const std::string& network);

  std::string source_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, size_t> file_of_;            // tensor -> index into owners_ and labels_
  std::vector<std::shared_ptr<const void>> owners_;  // of memory; null for the caller's and for files
  std::vector<std::string> labels_;                  // paths for messages
  std::map<std::string, CodedTensor> coded_;         // by canonical name
  std::shared_ptr<const Compression> compression_;
  std::vector<std::string> others_;
  std::string prefix_;  // what stood before all names

  mutable std::mutex mutex_;  // guards the two sets
  mutable std::set<std::string> used_;
  mutable std::set<std::string> checked_;  // known to hold finite values only
};

/// The weight_map of a model.safetensors.index.json: tensor name -> file name, which has no path in it. Errors:
/// kCorrupt.
Result<std::map<std::string, std::string>> parse_shard_index(const std::string& text, const std::string& source);

}  // namespace vireo
