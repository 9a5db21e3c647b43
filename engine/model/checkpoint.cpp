#include "model/checkpoint.h"

#include <algorithm>
#include <utility>

#include "base/input_file.h"
#include "base/text.h"
#include "model/diagnose.h"
#include "model/hub_cache.h"
#include "model/json.h"
#include "model/names.h"

namespace vireo {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kAdapter = "adapter_model.safetensors";  // what the peft library writes

/// An index may only name files that lie beside it.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string("/\\\0:", 4)) == std::string::npos;
}

std::vector<int64_t> without_leading_ones(const std::vector<int64_t>& shape) {
  auto first = shape.begin();
  while (first != shape.end() && *first == 1) ++first;
  return std::vector<int64_t>(first, shape.end());
}

std::string element_index(const TensorView& view, int64_t flat) {
  std::vector<int64_t> index(view.shape.size());
  for (size_t i = index.size(); i-- > 0;) {
    index[i] = flat % view.shape[i];
    flat /= view.shape[i];
  }
  return shape_text(index);
}

}  // namespace

Result<std::shared_ptr<Checkpoint>> Checkpoint::open(const std::string& path, const std::string& network) {
  auto result = std::make_shared<Checkpoint>();
  result->source_ = path;
  VIREO_TRY(result->load(path));
  VIREO_TRY(result->name_tensors(network));
  return result;
}

Result<void> Checkpoint::load(const std::string& path) {
  switch (path_kind(path)) {
    case PathKind::kMissing: return diagnose_path(path);
    case PathKind::kNoPermission:
      return fail(ErrorCode::kIo, "no permission to read model '{}'; change its access rights", path);
    case PathKind::kOther:
      return fail(ErrorCode::kIo, "model '{}' is neither a file nor a folder, or it cannot be examined", path);
    case PathKind::kFile: {
      if (!ends_with(path, ".index.json")) return add_file(path, path);
      return add_shards(parent_folder(path), path);
    }
    case PathKind::kFolder: break;
  }
  for (const char* name : {kSingle, kIndex}) {
    const std::string file = path + "/" + name;
    if (!dangling_link(file).empty()) return diagnose_folder(path);
    if (path_kind(file) != PathKind::kMissing) return name == kIndex ? add_shards(path, file) : add_file(file, file);
  }
  std::vector<std::string> others;
  for (const std::string& name : list_folder(path)) {
    if (ends_with(name, ".safetensors")) others.push_back(name);
  }
  if (others.size() != 1 || others[0] == kAdapter) return diagnose_folder(path);
  return add_file(path + "/" + others[0], path + "/" + others[0]);
}

Result<std::shared_ptr<Checkpoint>> Checkpoint::from_memory(const uint8_t* data, size_t size, const std::string& source,
                                                            const std::string& network) {
  auto result = std::make_shared<Checkpoint>();
  result->source_ = source;
  VIREO_ASSIGN(std::vector<TensorView> views, parse_safetensors(data, size, source));
  VIREO_TRY(result->add_views(std::move(views), nullptr, source));
  VIREO_TRY(result->name_tensors(network));
  return result;
}

Result<std::shared_ptr<Checkpoint>> Checkpoint::from_views(std::vector<TensorView> views,
                                                           std::shared_ptr<const void> owner,
                                                           const std::string& source) {
  auto result = std::make_shared<Checkpoint>();
  result->source_ = source;
  VIREO_TRY(result->add_views(std::move(views), std::move(owner), source));
  VIREO_TRY(result->name_tensors(""));
  return result;
}

Result<void> Checkpoint::name_tensors(const std::string& network) {
  // Before the names are judged: a weight that is stored as codes then has the name that every family looks for.
  VIREO_ASSIGN(auto coded, find_coded(&tensors_, source_));
  for (const auto& [name, parts] : coded) file_of_.emplace(name, file_of_.at(parts.codes.name));
  std::vector<std::string> names;
  for (const auto& [name, view] : tensors_) {
    // Weights of a base model beside changes that are not merged into them give another network's answers.
    if (name.find(".lora_A.") != std::string::npos || name.find(".lora_B.") != std::string::npos)
      return diagnose_adapter(labels_[file_of_.at(name)]);
    names.push_back(name);
  }
  VIREO_ASSIGN(const CanonicalNames canonical, canonical_names(names, network, source_));
  others_ = canonical.others;
  prefix_ = canonical.prefix;
  std::map<std::string, TensorView> tensors;
  std::map<std::string, size_t> file_of;
  for (const auto& [name, own] : canonical.file_name) {
    file_of[name] = file_of_.at(own);
    if (const auto it = coded.find(own); it != coded.end()) coded_.emplace(name, std::move(it->second));
    tensors.emplace(name, std::move(tensors_.at(own)));
  }
  tensors_ = std::move(tensors);
  file_of_ = std::move(file_of);
  return {};
}

Result<void> Checkpoint::add_file(const std::string& path, const std::string& label) {
  VIREO_ASSIGN(InputFile opened, InputFile::open(hub_file(path)));
  auto views = parse_safetensors(std::make_shared<const InputFile>(std::move(opened)), label);
  if (!views) return diagnose_weights(path, std::move(views.error()));
  return add_views(std::move(*views), nullptr, label);
}

Result<void> Checkpoint::add_views(std::vector<TensorView> views, std::shared_ptr<const void> owner,
                                   const std::string& label) {
  const size_t file = labels_.size();
  owners_.push_back(std::move(owner));
  labels_.push_back(label);
  for (TensorView& view : views) {
    const auto [it, added] = file_of_.emplace(view.name, file);
    if (!added) {
      return fail(ErrorCode::kCorrupt, "tensor '{}' is in both '{}' and '{}'; expected it in one shard only", view.name,
                  labels_[it->second], label);
    }
    std::string name = view.name;
    tensors_.emplace(std::move(name), std::move(view));
  }
  return {};
}

Result<std::map<std::string, std::string>> parse_shard_index(const std::string& text, const std::string& source) {
  VIREO_ASSIGN(const Json index, parse_json_object(text, source));
  const Json* map = find_member(index, "weight_map");
  if (map == nullptr || !map->is_object() || map->empty()) {
    return fail(ErrorCode::kCorrupt, "'{}' has no object 'weight_map' from tensor names to files", source);
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) {
      return fail(ErrorCode::kCorrupt, "'{}': weight_map names {} for tensor '{}', expected a file name", source,
                  json_text(file), tensor);
    }
    const std::string& name = file.get_ref<const std::string&>();
    if (!is_plain_file_name(name)) {
      return fail(ErrorCode::kCorrupt,
                  "'{}': weight_map names the file '{}' for tensor '{}'; a shard must lie in the "
                  "same folder, so no path is allowed. Do not trust this checkpoint",
                  source, name, tensor);
    }
    files.emplace(tensor, name);
  }
  return files;
}

Result<void> Checkpoint::add_shards(const std::string& folder, const std::string& index_path) {
  VIREO_ASSIGN(const std::string text, read_text_file(hub_file(index_path), kMaxIndexBytes));
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || (text[first] != '{' && text[first] != '[')) {
    const std::string what = describe_bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size(), index_path);
    if (!what.empty()) return fail(ErrorCode::kCorrupt, "'{}' {}", index_path, what);
  }
  VIREO_ASSIGN(const auto files, parse_shard_index(text, index_path));
  std::set<std::string> shards, missing;
  for (const auto& [tensor, name] : files) shards.insert(name);
  for (const std::string& name : shards) {
    if (path_kind(folder + "/" + name) == PathKind::kMissing) missing.insert(name);
  }
  if (!missing.empty()) {
    const std::string path = folder + "/" + *missing.begin(), link = dangling_link(path);
    return fail(
        ErrorCode::kNotFound, "shard '{}', which '{}' lists, is {}{}; download it too", path, index_path,
        link.empty() ? "missing" : link,
        missing.size() == 1 ? "" : fmt::format(", like {} more of its {} shards", missing.size() - 1, shards.size()));
  }
  std::map<std::string, size_t> shard_of;
  for (const auto& [tensor, name] : files) {
    if (shard_of.count(name) > 0) continue;
    const std::string path = folder + "/" + name;
    shard_of[name] = labels_.size();
    VIREO_TRY(add_file(path, path));
  }
  for (const auto& [tensor, name] : files) {
    const auto found = file_of_.find(tensor);
    if (found == file_of_.end() || found->second != shard_of[name]) {
      return fail(ErrorCode::kCorrupt,
                  "'{}' says that tensor '{}' is in '{}', but that shard does not hold it; the files "
                  "do not belong together, download them again",
                  index_path, tensor, name);
    }
  }
  return {};
}

const TensorView* Checkpoint::find(const std::string& name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

Result<ConstantPtr> Checkpoint::constant(const std::string& name, const std::vector<int64_t>& shape,
                                         const std::string& reason, int64_t first_row, int64_t rows,
                                         int64_t cols) const {
  const TensorView* view = find(name);
  if (view == nullptr) {
    return fail(ErrorCode::kNotFound, "tensor '{}' is missing from '{}'; the model needs it with shape {} ({}){}", name,
                source_, shape_text(shape), reason,
                prefix_.empty() ? "" : fmt::format("; '{}' before its names is not counted", prefix_));
  }
  const size_t file = file_of_.at(name);
  const std::string& label = labels_[file];
  if (without_leading_ones(view->shape) != without_leading_ones(shape)) {
    return fail(ErrorCode::kCorrupt,
                "tensor '{}' in '{}' has shape {}, expected {} ({}); weights and configuration do "
                "not belong together",
                view->name, label, shape_text(view->shape), shape_text(shape), reason);
  }
  if (const auto it = coded_.find(name); it != coded_.end()) {
    const std::string module = view->name.substr(0, view->name.size() - std::string(".weight").size());
    const char* const kind = view->shape.size() == 4 ? "Conv2d" : "Linear";
    const CompressionScheme* scheme = compression_ ? compression_->find(module, kind) : nullptr;
    if (scheme == nullptr || !scheme->weights.coded())
      return fail(
          ErrorCode::kCorrupt,
          "tensor '{}' in '{}' is stored as codes, but quantization_config{} says nothing of '{}' ({}); weights and "
          "configuration do not belong together",
          it->second.codes.name, label, compression_ ? " of '" + compression_->source + "'" : "", module, kind);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      used_.insert(name);
    }
    return coded_tensor(it->second, *scheme, owners_[file], label, first_row, rows, cols);
  }
  if (!is_weight_dtype(view->dtype)) {
    return fail(ErrorCode::kUnsupported,
                "tensor '{}' in '{}' has dtype {}, expected F32, F16, BF16 or F64; convert the "
                "checkpoint",
                view->name, label, view->dtype);
  }
  if ((first_row + rows) * cols > view->elements()) {
    return fail(ErrorCode::kInternal, "rows {} to {} of tensor '{}' do not exist", first_row, first_row + rows,
                view->name);
  }
  bool known_finite = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    used_.insert(name);
    known_finite = checked_.count(name) > 0;
  }
  if (!known_finite) {
    VIREO_ASSIGN(const int64_t bad, find_non_finite(*view));
    if (bad >= 0) {
      VIREO_ASSIGN(const std::string what, non_finite_text(*view, bad));
      return fail(ErrorCode::kCorrupt,
                  "tensor '{}' in '{}' holds {} at {}; the weights are damaged or were trained to "
                  "overflow, use another copy",
                  view->name, label, what, element_index(*view, bad));
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    checked_.insert(name);
  }
  return tensor_constant(*view, owners_[file], first_row, rows, cols);
}

Result<std::shared_ptr<const Checkpoint>> Checkpoint::with_compression(
    std::shared_ptr<const Compression> compression) const {
  if (coded() && !compression)
    return fail(
        ErrorCode::kCorrupt,
        "'{}' holds weights as codes (tensor '{}'), and no config.json with a quantization_config says what they "
        "mean; put the checkpoint's own config.json beside it",
        source_, coded_.begin()->second.codes.name);
  auto with = std::make_shared<Checkpoint>();
  with->source_ = source_;
  with->tensors_ = tensors_;
  with->file_of_ = file_of_;
  with->owners_ = owners_;
  with->labels_ = labels_;
  with->coded_ = coded_;
  with->compression_ = std::move(compression);
  with->others_ = others_;
  with->prefix_ = prefix_;
  return std::shared_ptr<const Checkpoint>(std::move(with));
}

std::map<std::string, TensorView> Checkpoint::stored() const {
  if (coded_.empty()) return tensors_;
  std::map<std::string, TensorView> all;  // by the file's own names, which its configuration has
  for (const auto& [name, view] : tensors_) {
    const auto it = coded_.find(name);
    if (it == coded_.end()) all[view.name] = view;
    else
      for (auto& [part, stored] : stored_tensors(view.name, it->second)) all[part] = std::move(stored);
  }
  return all;
}

std::vector<std::string> Checkpoint::unused() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, view] : tensors_) {
    if (used_.count(name) == 0) names.push_back(name);
  }
  return names;
}

}  // namespace vireo
