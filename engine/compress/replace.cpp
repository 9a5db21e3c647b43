#include "compress/replace.h"

#include <cstring>

#include "base/half.h"

namespace vireo::compress {
namespace {

uint16_t to_bf16(float v) {  // to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// Keeps the new tensors and the old file alive.
struct Owned {
  std::vector<StoredTensor> tensors;
  std::shared_ptr<const Checkpoint> before;
};

}  // namespace

StoredTensor as_floats(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
                       const std::vector<float>& values) {
  StoredTensor t{name, dtype == "F16" || dtype == "BF16" ? dtype : "F32", std::move(shape), {}};
  const auto append = [&t](const auto value) {
    const size_t at = t.bytes.size();
    t.bytes.resize(at + sizeof value);
    std::memcpy(t.bytes.data() + at, &value, sizeof value);
  };
  for (const float v : values) {
    if (t.dtype == "F32") append(v);
    else if (t.dtype == "F16") append(float_to_half(v));
    else append(to_bf16(v));
  }
  return t;
}

const TensorView* find_tensor(const LoadedModel& model, const std::string& tensor) {
  for (const auto& [name, view] : model.source().weights->tensors())
    if (view.name == tensor) return &view;
  return nullptr;
}

Result<std::shared_ptr<const LoadedModel>> with_tensors(const LoadedModel& model, const std::string& config,
                                                        Replaced replaced) {
  auto owned = std::make_shared<Owned>();
  owned->before = model.source().weights;
  std::vector<TensorView> views;
  for (const auto& [name, view] : owned->before->tensors())
    if (replaced.count(view.name) == 0) views.push_back(view);
  for (auto& [name, tensor] : replaced)
    if (!tensor.bytes.empty()) owned->tensors.push_back(std::move(tensor));
  for (const StoredTensor& t : owned->tensors) views.push_back(t.view());
  ModelSource source = model.source();
  source.config = config;
  VIREO_ASSIGN(source.weights, Checkpoint::from_views(std::move(views), owned, source.path));
  VIREO_ASSIGN(LoadedModel opened,
               LoadedModel::from_parts(std::move(source), model.preprocessor_text(), model.source().path));
  return std::shared_ptr<const LoadedModel>(std::make_shared<LoadedModel>(std::move(opened)));
}

}  // namespace vireo::compress
