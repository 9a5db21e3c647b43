#include "compress/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "base/half.h"
#include "base/text.h"
#include "base/write_file.h"
#include "compress/extend.h"

namespace vireo::compress {
namespace {

template <typename T>
void append(std::vector<uint8_t>* bytes, T value) {
  const size_t at = bytes->size();
  bytes->resize(at + sizeof value);
  std::memcpy(bytes->data() + at, &value, sizeof value);
}

/// Codes plus 2^(bits - 1), one after another from the lowest bit of little-endian 32-bit words; rows begin with a
/// word. Of rows of 8 bits the low parts (tensor/format.h) stand there, and behind all rows the high ones.
std::vector<uint8_t> pack(const Coded& coded, int64_t cols) {
  Coded c = coded;
  const int bits = c.grid.bits;
  for (const int32_t r : c.wide_rows)
    for (int64_t k = 0; k < cols; ++k) {
      const int8_t code = c.codes[size_t(r * cols + k)];
      c.codes[size_t(r * cols + k)] = low_part(code);
      c.codes.push_back(int8_t(high_part(code) - 8));
    }
  const int64_t rows = int64_t(c.codes.size()) / std::max<int64_t>(cols, 1);
  const int64_t words = div_up(cols * bits, 32);
  std::vector<uint8_t> bytes;
  bytes.reserve(size_t(rows * words) * 4);
  for (int64_t r = 0; r < rows; ++r) {
    uint64_t held = 0;
    int filled = 0;
    int64_t written = 0;
    for (int64_t k = 0; k < cols; ++k) {
      held |= uint64_t(int(c.codes[size_t(r * cols + k)]) + (1 << (bits - 1))) << filled;
      filled += bits;
      if (filled < 32) continue;
      append(&bytes, uint32_t(held));
      held >>= 32, filled -= 32, ++written;
    }
    if (written < words) append(&bytes, uint32_t(held));
  }
  return bytes;
}

const char* storage_of(const Scheme& s) { return s.format.grid.bits == 8 ? "int-quantized" : "pack-quantized"; }

OrderedJson weights_json(const Grid& g) {
  OrderedJson w{{"num_bits", int(g.bits)}, {"type", "int"}, {"symmetric", true}};
  if (g.scope == Scope::kGroup) w["strategy"] = "group", w["group_size"] = g.group;
  else w["strategy"] = "channel";
  w["dynamic"] = false;
  return w;
}

}  // namespace

std::vector<StoredTensor> encode(const Layer& l, const Coded& c) {
  std::vector<StoredTensor> all(2);
  StoredTensor& codes = all[0];
  if (c.grid.bits == 8) {
    codes.name = l.tensor, codes.dtype = "I8", codes.shape = l.shape;
    codes.bytes.resize(c.codes.size());
    std::memcpy(codes.bytes.data(), c.codes.data(), c.codes.size());
  } else {
    codes.name = l.tensor + "_packed", codes.dtype = "I32";
    codes.shape = {l.rows + int64_t(c.wide_rows.size()), div_up(l.cols * c.grid.bits, 32)};
    codes.bytes = pack(c, l.cols);
  }
  StoredTensor& scale = all[1];
  scale.name = l.tensor + "_scale", scale.dtype = c.half_scales ? "F16" : "F32";
  scale.shape = {l.rows, int64_t(c.scales.size()) / std::max<int64_t>(l.rows, 1)};
  for (const float s : c.scales)
    if (c.half_scales) append(&scale.bytes, float_to_half(s));
    else append(&scale.bytes, s);
  if (c.grid.bits != 8) {
    StoredTensor shape{l.tensor + "_shape", "I64", {int64_t(l.shape.size())}, {}};
    for (const int64_t d : l.shape) append(&shape.bytes, d);
    all.push_back(std::move(shape));
  }
  if (!c.wide_rows.empty()) {
    StoredTensor rows{l.tensor + "_wide_rows", "I32", {int64_t(c.wide_rows.size())}, {}};
    for (const int32_t r : c.wide_rows) append(&rows.bytes, r);
    all.push_back(std::move(rows));
  }
  return all;
}

std::vector<StoredTensor> encode_rows(const Layer& l, Range range) {
  const RangeCodes codes(range);
  std::vector<StoredTensor> all(2);
  all[0].name = l.module + ".input_scale", all[0].dtype = "F32", all[0].shape = {1};
  append(&all[0].bytes, codes.scale);
  all[1].name = l.module + ".input_zero_point", all[1].dtype = "I8", all[1].shape = {1};
  append(&all[1].bytes, int8_t(codes.zero));
  return all;
}

std::vector<std::string> kept_modules(const LoadedModel& model, const Layers& layers,
                                      const std::vector<Scheme>& schemes) {
  std::set<std::string> coded;
  for (size_t i = 0; i < layers.all.size(); ++i)
    if (schemes[i].format.grid.coded()) coded.insert(layers.all[i].tensor);
  std::vector<std::string> kept;
  for (const auto& [name, view] : model.source().weights->tensors())
    if (ends_with(view.name, ".weight") && (view.shape.size() == 2 || view.shape.size() == 4) &&
        coded.count(view.name) == 0)
      kept.push_back(view.name.substr(0, view.name.size() - std::strlen(".weight")));
  std::sort(kept.begin(), kept.end());
  return kept;
}

Result<std::string> configuration(const LoadedModel& model, const Layers& layers, const std::vector<Scheme>& schemes) {
  VIREO_ASSIGN(OrderedJson config, configuration_of(model));
  if (std::none_of(schemes.begin(), schemes.end(), [](const Scheme& s) { return s.format.grid.coded(); }))
    return text_of(config);
  // One group for each kind of scheme. Modules are named one by one: a reader need not know which class each is of.
  struct Group {
    const Scheme* scheme;
    bool conv;
    std::vector<std::string> modules;
  };
  std::vector<Group> groups;
  bool mixed = false;
  for (size_t i = 0; i < layers.all.size(); ++i) {
    const Scheme& s = schemes[i];
    if (!s.format.grid.coded()) continue;
    mixed = mixed || s.format.grid.wide > 0;
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      Grid grid = g.scheme->format.grid;
      grid.wide = s.format.grid.wide;  // which rows, each tensor says
      return grid == s.format.grid && g.scheme->rows == s.rows && g.conv == layers.all[i].conv();
    });
    if (same == groups.end()) groups.push_back({&s, layers.all[i].conv(), {layers.all[i].module}});
    else same->modules.push_back(layers.all[i].module);
  }
  std::set<std::string> storages;
  OrderedJson all = OrderedJson::object();
  for (size_t g = 0; g < groups.size(); ++g) {
    const Scheme& s = *groups[g].scheme;
    storages.insert(storage_of(s));
    OrderedJson activations = nullptr;
    if (s.rows != RowScales::kNone) {
      const bool own = s.rows == RowScales::kDynamic;
      activations = OrderedJson{{"num_bits", 8},
                                {"type", "int"},
                                {"symmetric", own},
                                {"strategy", own ? "token" : "tensor"},
                                {"dynamic", own}};
    }
    all[fmt::format("group_{}", g)] = OrderedJson{{"targets", groups[g].modules},
                                                  {"weights", weights_json(s.format.grid)},
                                                  {"input_activations", activations},
                                                  {"output_activations", nullptr},
                                                  {"format", storage_of(s)}};
  }
  OrderedJson own = nullptr;  // of a model that was made smaller first
  if (const OrderedJson& q = config["quantization_config"]; q.is_object() && q.contains("vireo")) own = q["vireo"];
  config["quantization_config"] =
      OrderedJson{{"quant_method", "compressed-tensors"},
                  {"quantization_status", "compressed"},
                  {"format", storages.size() == 1 ? *storages.begin() : std::string("mixed-precision")},
                  {"config_groups", all},
                  {"ignore", kept_modules(model, layers, schemes)}};
  if (!own.is_null()) config["quantization_config"]["vireo"] = own;
  if (mixed) section_of(config, "rows") = OrderedJson{{"bits", 8}};
  return text_of(config);
}

std::vector<TensorView> all_views(const LoadedModel& model, const std::vector<std::vector<StoredTensor>>& coded,
                                  const Layers& layers) {
  std::map<std::string, const std::vector<StoredTensor>*> replaced;
  for (size_t i = 0; i < layers.all.size(); ++i)
    if (!coded[i].empty()) replaced[layers.all[i].tensor] = &coded[i];
  std::set<std::string> moved;  // biases, which stand beside the weight that moves them
  for (const std::vector<StoredTensor>& layer : coded)
    for (const StoredTensor& t : layer) moved.insert(t.name);
  std::vector<TensorView> views;
  for (const auto& [name, view] : model.source().weights->tensors()) {
    const auto found = replaced.find(view.name);
    if (found != replaced.end())
      for (const StoredTensor& t : *found->second) views.push_back(t.view());
    else if (moved.count(view.name) == 0) views.push_back(view);
  }
  // As the format's own writer has it: wide elements first, so that every tensor is aligned to its own.
  const auto width = [](const TensorView& v) { return v.elements() == 0 ? size_t(0) : v.bytes / size_t(v.elements()); };
  std::stable_sort(views.begin(), views.end(),
                   [&](const TensorView& a, const TensorView& b) { return width(a) > width(b); });
  return views;
}

Result<uint64_t> write_tensors(const std::string& folder, const std::string& name,
                               const std::vector<TensorView>& views) {
  const std::string path = folder + "/" + name;
  const std::string header = safetensors_header(views, {{"format", "pt"}});
  NewFile file;
  std::string why = file.open(path);
  if (why.empty()) why = file.write(header.data(), header.size());
  uint64_t written = header.size();
  std::vector<uint8_t> block;
  for (const TensorView& v : views)
    for (size_t at = 0; at < v.bytes && why.empty(); at += kTensorBlock) {
      block.resize(std::min(kTensorBlock, v.bytes - at));
      VIREO_TRY(v.read(at, block.size(), block.data()));
      why = file.write(block.data(), block.size());
      written += block.size();
    }
  if (why.empty()) why = file.commit();
  if (!why.empty())
    return fail(ErrorCode::kIo, "cannot write '{}': {}; check the folder, its access rights and free space", path, why);
  return written;
}

Result<void> write_text(const std::string& folder, const std::string& name, const std::string& text) {
  const std::string why = write_whole_file(folder, name, text.data(), text.size());
  if (why.empty()) return {};
  return fail(ErrorCode::kIo, "cannot write '{}/{}': {}; check the folder, its access rights and free space", folder,
              name, why);
}

}  // namespace vireo::compress
