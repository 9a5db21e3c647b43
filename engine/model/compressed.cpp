#include "model/compressed.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/text.h"
#include "model/json.h"
#include "model/pattern.h"
#include "tensor/tensor.h"

namespace vireo {

namespace {

constexpr const char* kConfig = "quantization_config";
constexpr const char* kOldConfig = "compression_config";
constexpr const char* kCodes = "codes";  // the dtype of what find_coded() puts in place of the parts
constexpr size_t kMostTargets = 4096, kLongestModule = 1024;

// ---- quantization_config

/// The formats of this library that hold integers; others hold floats of few bits or leave zeros out.
bool is_integer_format(const std::string& format) {
  for (const char* known : {"int-quantized", "naive-quantized", "pack-quantized", "mixed-precision", "dense"})
    if (format == known) return true;
  return false;
}

Result<void> check_format(const std::string& format, const std::string& source) {
  if (format.empty() || is_integer_format(format)) return {};
  return fail(ErrorCode::kUnsupported,
              "'{}': {}.format is '{}'; expected int-quantized, naive-quantized, pack-quantized or mixed-precision: "
              "Vireo reads integer weights of 2 to 8 bits. Use the original checkpoint, or one of those",
              source, kConfig, format);
}

/// 8 bits by token, found as they come and without a zero point, or by tensor, known beforehand, are what the integer
/// products take.
Result<void> parse_rows(const Json& in, const std::string& where, const std::string& source, CompressionScheme* s) {
  Fields f(in, source);
  int64_t bits = 8;
  bool symmetric = true, dynamic = false;
  std::string type = "int", strategy = "tensor";
  f.integer("num_bits", &bits, 1, 64);
  f.string("type", &type);
  f.boolean("symmetric", &symmetric);
  f.string("strategy", &strategy);
  const Json* d = find_member(in, "dynamic");
  if (d != nullptr && !d->is_boolean() && !(d->is_string() && d->get<std::string>() == "local"))
    return fail(ErrorCode::kCorrupt, "{}.dynamic is {}, expected true, false or \"local\"", where, json_text(*d));
  if (d != nullptr && d->is_boolean()) dynamic = d->get<bool>();
  VIREO_TRY(f.status());
  const bool local = d != nullptr && d->is_string(), codes = type == "int" && bits == 8 && !local;
  if (codes && dynamic && symmetric && strategy == "token") s->rows.kind = RowCodes::Kind::kDynamic;
  else if (codes && !dynamic && strategy == "tensor") s->rows.kind = RowCodes::Kind::kStatic;
  else s->rows_stay = true;
  return {};
}

Result<CompressionScheme> parse_scheme(const Json& group, const std::string& name, const std::string& source) {
  CompressionScheme s;
  const std::string where = fmt::format("'{}': {}.config_groups.{}", source, kConfig, name);
  const Json* weights = find_member(group, "weights");
  if (weights == nullptr) return s;  // activations alone: the weights are floats
  if (!weights->is_object())
    return fail(ErrorCode::kCorrupt, "{}.weights is {}, expected an object", where, json_text(*weights));
  Fields f(*weights, source);
  int64_t bits = 8, size = 0;
  bool symmetric = true;
  std::string type = "int", strategy, order;
  f.integer("num_bits", &bits, 1, 64);
  f.string("type", &type);
  f.boolean("symmetric", &symmetric);
  f.string("strategy", &strategy);
  f.integer("group_size", &size, -1, 1 << 20);
  if (const Json* o = find_member(*weights, "actorder"); o != nullptr && o->is_string()) order = o->get<std::string>();
  VIREO_TRY(f.status());
  if (type != "int" || bits < 2 || bits > 8)
    return fail(ErrorCode::kUnsupported,
                "{}.weights has {} bits of type '{}'; expected 'int' of 2 to 8 bits. Use another checkpoint", where,
                bits, type);
  if (strategy.empty()) strategy = size > 0 ? "group" : size == -1 ? "channel" : "tensor";
  s.weights.bits = uint8_t(bits);
  s.weights.lowest = true;
  s.weights.zero_points = !symmetric;
  if (strategy == "tensor") {
    s.weights.scope = Scope::kTensor;
  } else if (strategy == "channel") {
    s.weights.scope = Scope::kRow;
  } else if (strategy == "group" && size > 0) {
    s.weights.scope = Scope::kGroup;
    s.weights.group = int32_t(size);
  } else {
    return fail(ErrorCode::kUnsupported,
                "{}.weights has the strategy '{}' with group_size {}; expected tensor, channel, or group with a size",
                where, strategy, size);
  }
  if (!order.empty() && order != "group" && order != "weight" && order != "dynamic" && order != "static")
    return fail(ErrorCode::kUnsupported, "{}.weights has actorder '{}'; expected group or weight", where, order);
  s.by_index = order == "group" || order == "dynamic";
  const Json* in = find_member(group, "input_activations");
  if (in == nullptr) return s;
  if (!in->is_object())
    return fail(ErrorCode::kCorrupt, "{}.input_activations is {}, expected an object", where, json_text(*in));
  VIREO_TRY(parse_rows(*in, where + ".input_activations", source, &s));
  return s;
}

Result<std::vector<Compression::Target>> targets(const Json& json, const char* key, const std::string& where) {
  std::vector<Compression::Target> all;
  const Json* list = find_member(json, key);
  if (list == nullptr) return all;
  if (!list->is_array()) return fail(ErrorCode::kCorrupt, "{}.{} is {}, expected a list", where, key, json_text(*list));
  if (list->size() > kMostTargets)
    return fail(ErrorCode::kUnsupported, "{}.{} has {} entries, expected at most {}", where, key, list->size(),
                kMostTargets);
  for (const Json& each : *list) {
    if (!each.is_string())
      return fail(ErrorCode::kCorrupt, "{}.{} holds {}, expected names", where, key, json_text(each));
    Compression::Target target{each.get<std::string>(), nullptr};
    if (target.name.compare(0, 3, "re:") == 0) {
      Result<Pattern> pattern = Pattern::parse(target.name.substr(3));
      if (!pattern)
        return fail(ErrorCode::kUnsupported,
                    "{}.{} holds '{}', which is no regular expression that Vireo understands: {}", where, key,
                    target.name, pattern.error().message);
      target.pattern = std::make_shared<const Pattern>(std::move(*pattern));
    }
    all.push_back(std::move(target));
  }
  return all;
}

}  // namespace

bool Compression::rows_stay() const {
  return std::any_of(groups.begin(), groups.end(), [](const Group& g) { return g.scheme.rows_stay; });
}

const CompressionScheme* Compression::find(const std::string& module, const char* kind) const {
  if (module.size() > kLongestModule) return nullptr;  // no network has such names
  const auto is = [&](const Target& target, int rank) {
    if (target.pattern == nullptr) return rank == 0 ? target.name == module : rank == 2 && target.name == kind;
    return rank == 1 && target.pattern->matches(module);
  };
  for (int rank = 0; rank < 3; ++rank)
    for (const Target& target : ignore)
      if (is(target, rank)) return nullptr;
  for (int rank = 0; rank < 3; ++rank)
    for (const Group& g : groups)
      for (const Target& target : g.targets)
        if (is(target, rank)) return &g.scheme;
  return nullptr;
}

Result<std::shared_ptr<const Compression>> parse_compression(const std::string& config, const std::string& source) {
  const std::shared_ptr<const Compression> none;
  const Json json = config.empty() ? Json() : parse_json(config);
  const Json* q = find_member(json, kConfig);
  if (q == nullptr) q = find_member(json, kOldConfig);
  if (q == nullptr) return none;
  if (!q->is_object())
    return fail(ErrorCode::kCorrupt, "'{}': key '{}' is {}, expected an object", source, kConfig, json_text(*q));
  Fields f(*q, source);
  std::string method = "compressed-tensors", format;
  f.string("quant_method", &method);
  f.string("format", &format);
  VIREO_TRY(f.status());
  if (method == kOwnMethod) return none;  // floats, in an extension's shapes (model/extension.h)
  if (method != "compressed-tensors")
    return fail(ErrorCode::kUnsupported,
                "'{}': {}.quant_method is '{}'; expected compressed-tensors. Use the original checkpoint, for example "
                "with --precision int8",
                source, kConfig, method);
  VIREO_TRY(check_format(format, source));
  if (const Json* sparse = find_member(*q, "sparsity_config"); sparse != nullptr) {
    const Json* how = find_member(*sparse, "format");
    if (how != nullptr && *how != "dense")
      return fail(
          ErrorCode::kUnsupported,
          "'{}': {}.sparsity_config has the format {}; expected dense: Vireo reads no sparse tensors. Use another "
          "checkpoint",
          source, kConfig, json_text(*how));
  }
  auto all = std::make_shared<Compression>();
  all->source = source;
  const std::string where = fmt::format("'{}': {}", source, kConfig);
  VIREO_ASSIGN(all->ignore, targets(*q, "ignore", where));
  const Json* groups = find_member(*q, "config_groups");
  if (groups != nullptr && !groups->is_object())
    return fail(ErrorCode::kCorrupt, "{}.config_groups is {}, expected an object", where, json_text(*groups));
  if (groups != nullptr)
    for (const auto& [name, group] : groups->items()) {
      Compression::Group g;
      const std::string here = where + ".config_groups." + name;
      if (!group.is_object()) return fail(ErrorCode::kCorrupt, "{} is {}, expected an object", here, json_text(group));
      if (const Json* own = find_member(group, "format"); own != nullptr && own->is_string())
        VIREO_TRY(check_format(own->get<std::string>(), source));
      VIREO_ASSIGN(g.targets, targets(group, "targets", here));
      VIREO_ASSIGN(g.scheme, parse_scheme(group, name, source));
      all->groups.push_back(std::move(g));
    }
  // What it may say is looked at with the other sections (model/extension.h).
  if (const Json* own = find_member(*q, "vireo"); own != nullptr && find_member(*own, "rows") != nullptr)
    for (Compression::Group& g : all->groups) g.scheme.wide_rows = true;
  return std::shared_ptr<const Compression>(std::move(all));
}

// ---- tensors

namespace {

Result<std::vector<int64_t>> read_shape(const TensorView& v, const std::string& source) {
  const int64_t n = v.elements();
  if (v.dtype != "I64" || (n != 2 && n != 4))
    return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' is {} of {}, expected I64 of [2] or [4]: the weight's shape",
                v.name, source, v.dtype, shape_text(v.shape));
  std::vector<int64_t> shape(size_t(n), 0);
  VIREO_TRY(v.read(0, v.bytes, shape.data()));
  double elements = 1;
  for (const int64_t d : shape) elements *= double(d);
  if (*std::min_element(shape.begin(), shape.end()) < 1 || elements > 1e12)
    return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' says that a weight has the shape {}", v.name, source,
                shape_text(shape));
  return shape;
}

}  // namespace

Result<std::map<std::string, CodedTensor>> find_coded(std::map<std::string, TensorView>* tensors,
                                                      const std::string& source) {
  std::map<std::string, CodedTensor> all;
  const auto take = [&](const std::string& name, TensorView* to) {
    const auto it = tensors->find(name);
    if (it == tensors->end()) return;
    *to = std::move(it->second);
    tensors->erase(it);
  };
  std::vector<std::string> names;
  for (const auto& [name, view] : *tensors)
    if (ends_with(name, ".weight_packed") || (ends_with(name, ".weight") && view.dtype == "I8")) names.push_back(name);
  for (const std::string& name : names) {
    CodedTensor t;
    t.packed = ends_with(name, "_packed");
    const std::string weight = t.packed ? name.substr(0, name.size() - std::strlen("_packed")) : name;
    if (t.packed && tensors->count(weight) != 0)
      return fail(ErrorCode::kCorrupt, "'{}' holds both '{}' and '{}'; expected one of them", source, weight, name);
    // Another method's codes: what quant_method says of it comes first.
    if (!t.packed && tensors->count(weight + "_scale") == 0) continue;
    if (tensors->count(weight + "_scale") == 0)
      return fail(
          ErrorCode::kCorrupt,
          "tensor '{}' in '{}' holds codes, but '{}_scale' is missing, without which they mean nothing; download "
          "the checkpoint again",
          name, source, weight);
    take(name, &t.codes);
    take(weight + "_scale", &t.scale);
    take(weight + "_zero_point", &t.zero);
    take(weight + "_g_idx", &t.order);
    take(weight + "_shape", &t.extent);
    take(weight + "_wide_rows", &t.wide);
    const std::string module = weight.substr(0, weight.size() - std::strlen("weight"));
    take(module + "input_scale", &t.input_scale);
    take(module + "input_zero_point", &t.input_zero);
    if (t.extent.bytes != 0) {
      VIREO_ASSIGN(t.shape, read_shape(t.extent, source));
    } else if (t.packed) {
      return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' is packed, but '{}_shape' is missing; download it again",
                  name, source, weight);
    } else {
      t.shape = t.codes.shape;
    }
    TensorView view;
    view.name = weight;
    view.dtype = kCodes;
    view.shape = t.shape;
    tensors->emplace(weight, std::move(view));
    all.emplace(weight, std::move(t));
  }
  return all;
}

std::map<std::string, TensorView> stored_tensors(const std::string& name, const CodedTensor& t) {
  std::map<std::string, TensorView> all;
  all[name + (t.packed ? "_packed" : "")] = t.codes;
  all[name + "_scale"] = t.scale;
  if (t.zero.bytes != 0) all[name + "_zero_point"] = t.zero;
  if (t.order.bytes != 0) all[name + "_g_idx"] = t.order;
  if (t.extent.bytes != 0) all[name + "_shape"] = t.extent;
  if (t.wide.bytes != 0) all[name + "_wide_rows"] = t.wide;
  const std::string module = name.substr(0, name.size() - std::strlen("weight"));
  if (t.input_scale.bytes != 0) all[module + "input_scale"] = t.input_scale;
  if (t.input_zero.bytes != 0) all[module + "input_zero_point"] = t.input_zero;
  return all;
}

namespace {

int8_t unpack(const uint32_t* words, int64_t at, int bits) {
  const int64_t bit = at * bits;
  uint64_t two = words[bit / 32];
  if (bit % 32 + bits > 32) two |= uint64_t(words[bit / 32 + 1]) << 32;
  return int8_t(int(two >> (bit % 32) & ((1u << bits) - 1)) - (1 << (bits - 1)));
}

/// Rows of a coded weight, read from the file when they are asked for. Scales and zero points are small and kept.
class CodedRows final : public Constant {
 public:
  CodedRows(const CodedTensor& t, const Grid& grid, std::shared_ptr<const void> owner, int64_t first_row, int64_t rows,
            int64_t cols)
      : Constant(rows, cols),
        codes_(t.codes),
        packed_(t.packed),
        grid_(grid),
        owner_(std::move(owner)),
        first_(first_row) {}

  std::vector<float> scales;    // [rows][groups], or one
  std::vector<int8_t> zeros;    // the same; empty without zero points
  std::vector<int32_t> groups;  // of each column, where they are not neighbours; else empty
  std::vector<int64_t> high;    // of each row, where the file has its high parts; -1: its codes have 4 bits
  RowCodes rows_codes;

  void read(int64_t first, int64_t count, float* out) const override {
    if (groups.empty()) return read_decoded(*this, first, count, out);
    std::vector<int8_t> row(static_cast<size_t>(cols()));
    const int64_t n = grid_.groups(cols());
    for (int64_t r = 0; r < count; ++r) {
      read_row(first + r, row.data());
      for (int64_t c = 0; c < cols(); ++c) {
        const size_t at = size_t((first + r) * n + groups[size_t(c)]);
        out[r * cols() + c] = decode(row[size_t(c)], zeros.empty() ? 0 : zeros[at], scales[at]);
      }
    }
  }
  /// Columns of groups that are no neighbours are numbers to everybody else.
  Grid grid() const override { return groups.empty() ? grid_ : Grid{}; }
  bool wide(int64_t row) const override { return !high.empty() && high[size_t(row)] >= 0; }
  RowCodes row_codes() const override { return rows_codes; }
  void read_codes(int64_t first, int64_t count, int8_t* codes, float* to, int8_t* zeros_to) const override {
    const int64_t n = grid_.groups(cols());
    for (int64_t r = 0; r < count; ++r) {
      read_row(first + r, codes + r * cols());
      const int64_t at = grid_.scope == Scope::kTensor ? 0 : (first + r) * n;
      std::copy_n(scales.data() + at, n, to + r * n);
      if (grid_.zero_points) std::copy_n(zeros.data() + at, n, zeros_to + r * n);
    }
  }

 private:
  void read_row(int64_t row, int8_t* out) const {
    const auto must = [](const Result<void>& done) {
      if (!done) throw Failure(done.error());
    };
    const int64_t at = first_ + row;
    if (!packed_) return must(codes_.read(size_t(at * cols()), size_t(cols()), out));
    const int64_t words = div_up(cols() * grid_.bits, 32);
    std::vector<uint32_t> raw(size_t(words) + 1, 0u);
    must(codes_.read(size_t(at * words) * 4, size_t(words) * 4, raw.data()));
    for (int64_t c = 0; c < cols(); ++c) out[c] = unpack(raw.data(), c, grid_.bits);
    if (!wide(row)) return;
    must(codes_.read(size_t(high[size_t(row)] * words) * 4, size_t(words) * 4, raw.data()));
    for (int64_t c = 0; c < cols(); ++c) out[c] = int8_t(out[c] + 8 + 16 * unpack(raw.data(), c, grid_.bits));
  }

  TensorView codes_;
  bool packed_;
  Grid grid_;
  std::shared_ptr<const void> owner_;
  int64_t first_;
};

}  // namespace

namespace {

/// Rows of a weight of 4 bits whose codes have 8.
Result<std::vector<int32_t>> read_wide_rows(const CodedTensor& t, const CompressionScheme& scheme,
                                            const std::string& source, int64_t out) {
  std::vector<int32_t> rows;
  const TensorView& v = t.wide;
  if (v.bytes == 0) return rows;
  if (!scheme.wide_rows)
    return fail(ErrorCode::kCorrupt,
                "'{}' holds '{}', of which {} says nothing (vireo.rows); weights and configuration do not belong "
                "together",
                source, v.name, kConfig);
  if (!t.packed || scheme.weights.bits != 4 || scheme.weights.scope == Scope::kTensor || scheme.weights.zero_points)
    return fail(
        ErrorCode::kUnsupported,
        "tensor '{}' in '{}' says that rows have 8 bits, which this Vireo reads of packed weights of 4 bits with "
        "scales per channel or group and no zero points",
        v.name, source);
  if (v.dtype != "I32" || v.shape.size() != 1 || v.elements() > out)
    return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' is {} of {}, expected I32 of at most [{}]: numbers of rows",
                v.name, source, v.dtype, shape_text(v.shape), out);
  rows.resize(size_t(v.elements()));
  VIREO_TRY(v.read(0, v.bytes, rows.data()));
  for (size_t i = 0; i < rows.size(); ++i)
    if (rows[i] < 0 || rows[i] >= out || (i > 0 && rows[i] <= rows[i - 1]))
      return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' names row {} at {}, expected rising numbers below {}",
                  v.name, source, rows[i], i, out);
  return rows;
}

/// The scale and zero point of a module's rows.
Result<void> read_input_grid(const CodedTensor& t, const std::shared_ptr<const void>& owner, const std::string& source,
                             RowCodes* rows) {
  const TensorView &scale = t.input_scale, &zero = t.input_zero;
  if (scale.bytes == 0)
    return fail(ErrorCode::kCorrupt,
                "tensor '{}' in '{}' multiplies rows with a scale of their own by {}, but its input_scale is missing; "
                "download the checkpoint again",
                t.codes.name, source, kConfig);
  if (!is_weight_dtype(scale.dtype) || scale.elements() != 1)
    return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' is {} of {}, expected one float", scale.name, source,
                scale.dtype, shape_text(scale.shape));
  tensor_constant(scale, owner, 0, 1, 1)->read(0, 1, &rows->scale);
  if (!(rows->scale > 0) || !std::isfinite(rows->scale))
    return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' holds the scale {}, expected a finite number above 0",
                scale.name, source, rows->scale);
  if (zero.bytes == 0) return {};
  int8_t code = 0;
  if (zero.dtype != "I8" || zero.elements() != 1)
    return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' is {} of {}, expected one I8", zero.name, source, zero.dtype,
                shape_text(zero.shape));
  VIREO_TRY(zero.read(0, 1, &code));
  rows->zero = code;
  return {};
}

}  // namespace

Result<ConstantPtr> coded_tensor(const CodedTensor& t, const CompressionScheme& scheme,
                                 std::shared_ptr<const void> owner, const std::string& source, int64_t first_row,
                                 int64_t rows, int64_t cols) {
  int64_t elements = 1;
  for (const int64_t d : t.shape) elements *= d;
  const int64_t out = t.shape.empty() ? 1 : t.shape[0], in = elements / std::max<int64_t>(out, 1);
  const auto wrong = [&](const TensorView& v, const std::string& expected) {
    return fail(ErrorCode::kCorrupt,
                "tensor '{}' in '{}' is {} of {}, expected {}: {} says codes of {} bits, {} for a weight of {}", v.name,
                source, v.dtype, shape_text(v.shape), expected, kConfig, scheme.weights.bits,
                scheme.weights.scope == Scope::kTensor ? "one scale"
                : scheme.weights.scope == Scope::kRow  ? "a scale per output channel"
                                                       : fmt::format("a scale per {} columns", scheme.weights.group),
                shape_text(t.shape));
  };
  if (t.shape.size() < 2 || cols != in || first_row + rows > out)
    return fail(ErrorCode::kUnsupported, "tensor '{}' in '{}' holds codes, but the model reads it as [{}, {}]",
                t.codes.name, source, rows, cols);
  Grid grid = scheme.weights;
  const int64_t bits = grid.bits;
  if (grid.scope == Scope::kGroup && grid.group >= in) grid.group = int32_t(in);  // one group
  if (grid.scope == Scope::kGroup && in % grid.group != 0)
    return fail(ErrorCode::kCorrupt,
                "tensor '{}' in '{}' has {} columns, which groups of {} do not divide; expected a multiple of it",
                t.codes.name, source, in, grid.group);
  const int64_t groups = grid.groups(in);

  VIREO_ASSIGN(const std::vector<int32_t> wide, read_wide_rows(t, scheme, source, out));
  if (t.packed) {
    const std::vector<int64_t> shape = {out + int64_t(wide.size()), (in * bits + 31) / 32};
    if (t.codes.dtype != "I32" || t.codes.shape != shape) return wrong(t.codes, "I32 of " + shape_text(shape));
  } else if (t.codes.dtype != "I8" || t.codes.elements() != elements) {
    return wrong(t.codes, "I8 of " + shape_text(t.shape));
  }
  const int64_t all_scales = grid.scope == Scope::kTensor ? 1 : out * groups;
  if (!is_weight_dtype(t.scale.dtype) || t.scale.elements() != all_scales)
    return wrong(t.scale, fmt::format("{} floats", all_scales));

  const int64_t first = grid.scope == Scope::kTensor ? 0 : first_row * groups;
  const int64_t count = grid.scope == Scope::kTensor ? 1 : rows * groups;
  std::vector<int64_t> high(wide.empty() ? 0 : size_t(rows), -1);
  for (size_t i = 0; i < wide.size(); ++i)
    if (wide[i] >= first_row && wide[i] < first_row + rows)
      high[size_t(wide[i] - first_row)] = out + int64_t(i), ++grid.wide;
  auto c = std::make_shared<CodedRows>(t, grid, owner, first_row, rows, cols);
  c->high = std::move(high);
  c->scales.resize(size_t(count));
  {
    std::vector<float> every(static_cast<size_t>(all_scales));
    tensor_constant(t.scale, owner, 0, 1, all_scales)->read(0, 1, every.data());
    for (int64_t i = 0; i < all_scales; ++i)
      if (!(every[size_t(i)] > 0) || !std::isfinite(every[size_t(i)]))
        return fail(ErrorCode::kCorrupt,
                    "tensor '{}' in '{}' holds the scale {} at {}, expected finite numbers above 0; the checkpoint is "
                    "damaged",
                    t.scale.name, source, every[size_t(i)], i);
    std::copy_n(every.data() + first, count, c->scales.data());
  }

  if (grid.zero_points && t.zero.bytes == 0)
    return fail(
        ErrorCode::kCorrupt,
        "tensor '{}' in '{}' is asymmetric, but its weight_zero_point is missing; download the checkpoint again",
        t.codes.name, source);
  if (!grid.zero_points && t.zero.bytes != 0) {
    // Written all the same by some versions; of a symmetric grid it must be 0.
    std::vector<uint8_t> raw(t.zero.bytes);
    VIREO_TRY(t.zero.read(0, t.zero.bytes, raw.data()));
    if (t.zero.dtype == "I8" && std::any_of(raw.begin(), raw.end(), [](uint8_t b) { return b != 0; }))
      return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' holds zero points, but {} calls the weight symmetric",
                  t.zero.name, source, kConfig);
  }
  if (grid.zero_points) {
    c->zeros.resize(size_t(count));
    std::vector<int8_t> every(static_cast<size_t>(all_scales));
    if (t.packed && t.zero.dtype == "I32") {  // packed along the rows of [out, groups]
      const int64_t lines = (out * bits + 31) / 32;
      if (grid.scope == Scope::kTensor || t.zero.elements() != lines * groups)
        return wrong(t.zero, fmt::format("I32 of [{}, {}]", lines, groups));
      std::vector<uint32_t> raw(size_t(lines * groups)), column(size_t(lines) + 1, 0u);
      VIREO_TRY(t.zero.read(0, t.zero.bytes, raw.data()));
      for (int64_t g = 0; g < groups; ++g) {
        for (int64_t l = 0; l < lines; ++l) column[size_t(l)] = raw[size_t(l * groups + g)];
        for (int64_t r = 0; r < out; ++r) every[size_t(r * groups + g)] = unpack(column.data(), r, int(bits));
      }
    } else if (t.zero.dtype == "I8" && t.zero.elements() == all_scales) {
      VIREO_TRY(t.zero.read(0, t.zero.bytes, every.data()));
    } else {
      return wrong(t.zero, fmt::format("{} codes", all_scales));
    }
    const int low = -(1 << (bits - 1)), high = -low - 1;
    for (int64_t i = 0; i < all_scales; ++i)
      if (every[size_t(i)] < low || every[size_t(i)] > high)
        return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' holds the zero point {} at {}, expected {} to {}",
                    t.zero.name, source, int(every[size_t(i)]), i, low, high);
    std::copy_n(every.data() + first, count, c->zeros.data());
  }

  if (scheme.by_index && t.order.bytes != 0 && grid.scope == Scope::kGroup) {
    if (t.order.dtype != "I32" || t.order.elements() != in) return wrong(t.order, fmt::format("I32 of [{}]", in));
    c->groups.resize(size_t(in));
    VIREO_TRY(t.order.read(0, t.order.bytes, c->groups.data()));
    for (int64_t i = 0; i < in; ++i)
      if (c->groups[size_t(i)] < 0 || c->groups[size_t(i)] >= groups)
        return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' puts column {} into group {}, expected 0 to {}",
                    t.order.name, source, i, c->groups[size_t(i)], groups - 1);
  }
  c->rows_codes = scheme.rows;
  if (scheme.rows.kind == RowCodes::Kind::kStatic) VIREO_TRY(read_input_grid(t, owner, source, &c->rows_codes));

  if (!t.packed && bits < 8) {  // a code that its bits cannot hold
    std::vector<int8_t> row(static_cast<size_t>(in));
    const int low = -(1 << (bits - 1)), high = -low - 1;
    for (int64_t r = 0; r < out; ++r) {
      VIREO_TRY(t.codes.read(size_t(r * in), size_t(in), row.data()));
      for (int64_t i = 0; i < in; ++i)
        if (row[size_t(i)] < low || row[size_t(i)] > high)
          return fail(ErrorCode::kCorrupt, "tensor '{}' in '{}' holds the code {} at [{}, {}], expected {} to {}",
                      t.codes.name, source, int(row[size_t(i)]), r, i, low, high);
    }
  }
  return ConstantPtr(std::move(c));
}

}  // namespace vireo
