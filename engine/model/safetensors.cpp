#include "model/safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_set>
#include <utility>

#include "base/json.h"

#include "base/half.h"

namespace vireo {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation
constexpr size_t kMaxTensors = 1 << 17;       // what a header costs in memory stays below 100 MB
constexpr size_t kMaxRank = 16;
constexpr uint64_t kMaxDimension = uint64_t(1)
                                   << 40;  // sums and squares of a few stay within 64 bits even for empty tensors

struct DtypeRow {
  const char* name;
  int bits;
};
constexpr DtypeRow kDtypes[] = {
    {"F64", 64},        {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"I64", 64},    {"I32", 32},
    {"I16", 16},        {"I8", 8},      {"U64", 64},    {"U32", 32},    {"U16", 16},    {"U8", 8},
    {"BOOL", 8},        {"C64", 64},    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},      {"F4_E2M1", 4},
};

int dtype_bits(const std::string& name) {
  for (const DtypeRow& row : kDtypes) {
    if (name == row.name) return row.bits;
  }
  return 0;
}

/// Cuts a name from a hostile file to a printable length.
std::string quote_name(const std::string& name) {
  std::string text;
  for (char c : name.substr(0, 120)) text += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return name.size() > 120 ? "'" + text + "...'" : "'" + text + "'";
}

struct Entry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

/// Reads the header event by event: no document is built, and duplicate names, which a map would merge, are seen.
class HeaderReader {
 public:
  using json = nlohmann::json;

  explicit HeaderReader(bool keep_metadata) : keep_metadata_(keep_metadata) {}

  std::vector<Entry> take_entries() { return std::move(entries_); }
  std::map<std::string, std::string> take_metadata() { return std::move(metadata_); }
  const std::string& problem() const { return problem_; }

  bool null() { return scalar("null"); }
  bool boolean(bool) { return scalar("a boolean"); }
  bool number_integer(int64_t) { return scalar("a negative number"); }
  bool number_unsigned(uint64_t v) {
    if (skip_depth_ > 0) return true;
    if (state_ == State::kShapeItems) {
      if (v > kMaxDimension) return fail_with("has a dimension beyond 2^40");
      if (entry().shape.size() >= kMaxRank) return fail_with("has more than 16 dimensions");
      entry().shape.push_back(int64_t(v));
      return true;
    }
    if (state_ == State::kOffsetItems) {
      if (entry().offsets.size() >= 2) return fail_with("has more than two data_offsets");
      entry().offsets.push_back(v);
      return true;
    }
    return scalar("a number");
  }
  bool number_float(double, const std::string&) { return scalar("a fractional number"); }
  bool string(std::string& text) {
    if (skip_depth_ == 0 && state_ == State::kDtypeValue) {
      entry().dtype = text;
      state_ = State::kTensor;
      return true;
    }
    if (keep_metadata_ && in_metadata_ && skip_depth_ == 1) metadata_[metadata_key_] = text;
    return scalar("a string");
  }
  bool binary(json::binary_t&) { return scalar("binary data"); }

  bool start_object(std::size_t) {
    if (skip_depth_ > 0) return ++skip_depth_, true;
    switch (state_) {
      case State::kStart: state_ = State::kTop; return true;
      case State::kTensorValue: state_ = State::kTensor; return true;
      case State::kSkipValue: skip_depth_ = 1; return true;
      default: return fail_with("holds an object where a value was expected");
    }
  }
  bool end_object() {
    if (skip_depth_ > 0) return end_skip();
    if (state_ == State::kTensor) {
      state_ = State::kTop;
      const Entry& e = entry();
      if (!e.has_dtype) return fail_with("has no 'dtype'");
      if (!e.has_shape) return fail_with("has no 'shape'");
      if (!e.has_offsets || e.offsets.size() != 2) return fail_with("needs 'data_offsets' with two numbers");
      in_tensor_ = false;
      return true;
    }
    state_ = State::kDone;
    return true;
  }
  bool start_array(std::size_t) {
    if (skip_depth_ > 0) return ++skip_depth_, true;
    switch (state_) {
      case State::kShapeValue: state_ = State::kShapeItems; return true;
      case State::kOffsetValue: state_ = State::kOffsetItems; return true;
      case State::kSkipValue: skip_depth_ = 1; return true;
      case State::kStart: return fail_with("the table is an array, expected an object of tensors");
      default: return fail_with("holds an array where a value was expected");
    }
  }
  bool end_array() {
    if (skip_depth_ > 0) return end_skip();
    state_ = State::kTensor;
    return true;
  }

  bool key(std::string& name) {
    if (skip_depth_ > 0) {
      if (keep_metadata_ && in_metadata_ && skip_depth_ == 1) metadata_key_ = name;
      return true;
    }
    if (state_ == State::kTop) {
      if (!names_.insert(name).second) {
        problem_ = fmt::format("lists {} twice", quote_name(name));
        return false;
      }
      if (name == "__metadata__") {
        state_ = State::kSkipValue;
        after_skip_ = State::kTop;
        in_metadata_ = true;
        return true;
      }
      if (entries_.size() == kMaxTensors)
        return fail_with("lists more than 131,072 tensors, more than any model of vision");
      entries_.emplace_back();
      entry().name = name;
      in_tensor_ = true;
      state_ = State::kTensorValue;
      return true;
    }
    Entry& e = entry();
    if (name == "dtype") return begin_field(e.has_dtype, State::kDtypeValue, name);
    if (name == "shape") return begin_field(e.has_shape, State::kShapeValue, name);
    if (name == "data_offsets") return begin_field(e.has_offsets, State::kOffsetValue, name);
    state_ = State::kSkipValue;  // a field of a later version of the format
    after_skip_ = State::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
    problem_ = fmt::format("is not valid JSON (at byte {} of the header)", position);
    return false;
  }

 private:
  enum class State {
    kStart,
    kTop,
    kTensorValue,
    kTensor,
    kDtypeValue,
    kShapeValue,
    kShapeItems,
    kOffsetValue,
    kOffsetItems,
    kSkipValue,
    kDone,
  };

  Entry& entry() { return entries_.back(); }

  bool begin_field(bool& seen, State next, const std::string& field) {
    if (seen) return fail_with(fmt::format("has '{}' twice", field).c_str());
    seen = true;
    state_ = next;
    return true;
  }
  bool scalar(const char* what) {
    if (skip_depth_ > 0) return true;
    if (state_ == State::kSkipValue) {
      state_ = after_skip_;
      in_metadata_ = false;
      return true;
    }
    switch (state_) {
      case State::kDtypeValue: return fail_with(fmt::format("has {} as its dtype, expected a string", what).c_str());
      case State::kShapeValue:
      case State::kShapeItems:
        return fail_with(fmt::format("has {} in its shape, expected whole numbers from 0", what).c_str());
      case State::kOffsetValue:
      case State::kOffsetItems:
        return fail_with(fmt::format("has {} in its data_offsets, expected whole numbers from 0", what).c_str());
      case State::kTensorValue: return fail_with(fmt::format("is {}, expected an object", what).c_str());
      default: return fail_with(fmt::format("the table is {}, expected an object of tensors", what).c_str());
    }
  }
  bool end_skip() {
    if (--skip_depth_ == 0) state_ = after_skip_, in_metadata_ = false;
    return true;
  }
  bool fail_with(const char* what) {
    problem_ = in_tensor_ ? fmt::format("tensor {} {}", quote_name(entry().name), what) : std::string(what);
    return false;
  }

  bool keep_metadata_;
  std::vector<Entry> entries_;
  std::unordered_set<std::string> names_;
  State state_ = State::kStart;
  State after_skip_ = State::kTop;
  int64_t skip_depth_ = 0;
  bool in_tensor_ = false;
  bool in_metadata_ = false;  // its value is skipped but for the strings directly in it
  std::string metadata_key_;
  std::map<std::string, std::string> metadata_;
  std::string problem_;
};

/// bytes = product(shape) * bits / 8; false when that overflows or is no whole number of bytes.
bool tensor_bytes(const std::vector<int64_t>& shape, int bits, uint64_t* bytes) {
  uint64_t total = uint64_t(bits);
  bool zero = false;
  for (int64_t d : shape) {
    if (d == 0) zero = true;
    if (d > 0 && __builtin_mul_overflow(total, uint64_t(d), &total)) return false;
  }
  if (zero) total = 0;
  if (total % 8 != 0) return false;
  *bytes = total / 8;
  return true;
}

Error corrupt_file(const std::string& source, const std::string& what) {
  return fail(ErrorCode::kCorrupt, "'{}' is not a usable safetensors file: {}; download or export it again", source,
              what);
}

/// The header's length from the first 8 bytes of a file of `size` bytes.
Result<uint64_t> header_length(const uint8_t* first, uint64_t size, const std::string& source) {
  uint64_t header = 0;
  for (int i = 7; i >= 0; --i) header = header << 8 | first[i];
  if (header > kMaxHeader) {
    return corrupt_file(source, fmt::format("its header claims {} bytes, expected at most {}", header, kMaxHeader));
  }
  if (header > size - 8) {
    return corrupt_file(
        source, fmt::format("it is truncated: its header claims {} bytes but only {} follow", header, size - 8));
  }
  return header;
}

/// The tensors that the header lists, `offset` counted from the first byte behind it.
Result<std::vector<TensorView>> parse_header(const char* text, uint64_t header, uint64_t data_size,
                                             const std::string& source, std::map<std::string, std::string>* metadata) {
  const auto corrupt = [&](const std::string& what) { return corrupt_file(source, what); };
  if (header < 2 || text[0] != '{') return corrupt("its header does not begin with '{'");

  HeaderReader reader(metadata != nullptr);
  if (!nlohmann::json::sax_parse(text, text + header, &reader)) {
    return corrupt(reader.problem().empty() ? "its header is not valid JSON" : "its header: " + reader.problem());
  }
  std::vector<Entry> entries = reader.take_entries();

  std::vector<std::pair<uint64_t, size_t>> order;  // by begin of the data, then by place in the table
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& e = entries[i];
    const int bits = dtype_bits(e.dtype);
    if (bits == 0) {
      return fail(ErrorCode::kUnsupported,
                  "tensor {} in '{}' has the unknown dtype {}; expected one of safetensors' "
                  "types, such as F32, F16 or BF16",
                  quote_name(e.name), source, quote_name(e.dtype));
    }
    const uint64_t begin = e.offsets[0], end = e.offsets[1];
    if (begin > end) {
      return corrupt(fmt::format("tensor {} has data_offsets [{}, {}], which end before they begin", quote_name(e.name),
                                 begin, end));
    }
    if (end > data_size) {
      return corrupt(
          fmt::format("tensor {} has data_offsets [{}, {}] but the file holds {} bytes of data: it is "
                      "truncated or its header is wrong",
                      quote_name(e.name), begin, end, data_size));
    }
    uint64_t bytes = 0;
    if (!tensor_bytes(e.shape, bits, &bytes)) {
      return corrupt(
          fmt::format("tensor {} has the impossible shape {} of {}", quote_name(e.name), shape_text(e.shape), e.dtype));
    }
    if (bytes != end - begin) {
      return corrupt(
          fmt::format("tensor {} of shape {} and dtype {} needs {} bytes, but its data_offsets [{}, {}] "
                      "hold {}",
                      quote_name(e.name), shape_text(e.shape), e.dtype, bytes, begin, end, end - begin));
    }
    order.emplace_back(begin, i);
  }
  // By end as well: an empty tensor may share its place with the tensor that starts there.
  std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return std::make_pair(entries[a.second].offsets, a.second) < std::make_pair(entries[b.second].offsets, b.second);
  });

  std::vector<TensorView> views;
  views.reserve(entries.size());
  uint64_t expected = 0;
  for (const auto& [begin, index] : order) {
    Entry& e = entries[index];
    if (begin != expected) {
      const std::string previous = views.empty() ? "the start of the data" : "tensor " + quote_name(views.back().name);
      return corrupt(fmt::format("the data of tensor {} begins at {}, expected {}: it {} {}", quote_name(e.name), begin,
                                 expected, begin < expected ? "overlaps" : "leaves a hole after", previous));
    }
    expected = e.offsets[1];
    views.push_back(
        {std::move(e.name), std::move(e.dtype), std::move(e.shape), nullptr, size_t(expected - begin), {}, begin});
  }
  if (expected != data_size) {
    return corrupt(fmt::format("{} bytes follow the data of the last tensor", data_size - expected));
  }
  if (metadata != nullptr) *metadata = reader.take_metadata();
  return views;
}

Error too_short(uint64_t size, const std::string& source) {
  return corrupt_file(source, fmt::format("it has {} bytes, expected at least 8 for the header length", size));
}

}  // namespace

int64_t TensorView::elements() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

Result<void> TensorView::read(size_t first, size_t count, void* out) const {
  if (count == 0) return {};  // an empty tensor: its pointers may be null, which memcpy must not see
  if (file) return file->read(offset + first, count, out);
  std::memcpy(out, data + first, count);
  return {};
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

bool is_weight_dtype(const std::string& dtype) {
  return dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "F64";
}

Result<std::vector<TensorView>> parse_safetensors(const uint8_t* data, size_t size, const std::string& source,
                                                  std::map<std::string, std::string>* metadata) {
  if (size < 8) return too_short(size, source);
  VIREO_ASSIGN(const uint64_t header, header_length(data, size, source));
  VIREO_ASSIGN(std::vector<TensorView> views,
               parse_header(reinterpret_cast<const char*>(data) + 8, header, size - 8 - header, source, metadata));
  for (TensorView& view : views) view.data = data + 8 + header + std::exchange(view.offset, 0);
  return views;
}

Result<std::vector<TensorView>> parse_safetensors(std::shared_ptr<const InputFile> file, const std::string& source,
                                                  std::map<std::string, std::string>* metadata) {
  const uint64_t size = file->size();
  if (size < 8) return too_short(size, source);
  uint8_t first[8];
  VIREO_TRY(file->read(0, sizeof first, first));
  VIREO_ASSIGN(const uint64_t header, header_length(first, size, source));
  std::string text(size_t(header), '\0');
  VIREO_TRY(file->read(8, text.size(), &text[0]));
  VIREO_ASSIGN(std::vector<TensorView> views, parse_header(text.data(), header, size - 8 - header, source, metadata));
  for (TensorView& view : views) {
    view.file = file;
    view.offset += 8 + header;
  }
  return views;
}

std::string safetensors_header(const std::vector<TensorView>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  OrderedJson header;
  header["__metadata__"] = metadata;
  uint64_t at = 0;
  for (const TensorView& t : tensors) {
    header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {at, at + t.bytes}}};
    at += t.bytes;
  }
  std::string text = write_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[size_t(i)] = char(uint64_t(text.size()) >> 8 * i & 0xff);
  return bytes + text;
}

// ------------------------------------------------------------------------------------------------------- constants

namespace {

enum class WeightType { kF32, kF16, kBF16, kF64 };

WeightType weight_type(const std::string& dtype) {
  return dtype == "F32"   ? WeightType::kF32
         : dtype == "F16" ? WeightType::kF16
         : dtype == "F64" ? WeightType::kF64
                          : WeightType::kBF16;
}

size_t element_bytes(WeightType type) { return type == WeightType::kF64 ? 8 : type == WeightType::kF32 ? 4 : 2; }

double double_at(const uint8_t* data, int64_t index) {
  double value;
  std::memcpy(&value, data + size_t(index) * 8, 8);
  return value;
}

/// Doubles from here on round to infinity: the largest float and half a unit in its last place.
constexpr double kFloatOverflow = 0x1.ffffffp127;

void to_float(WeightType type, const uint8_t* from, int64_t count, float* out) {
  if (count == 0) return;  // an empty tensor: its pointers may be null, which memcpy must not see
  if (type == WeightType::kF32) {
    std::memcpy(out, from, size_t(count) * 4);
    return;
  }
  if (type == WeightType::kF64) {  // finite after rounding: find_non_finite() comes first
    for (int64_t i = 0; i < count; ++i) out[i] = float(double_at(from, i));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint16_t h;
    std::memcpy(&h, from + 2 * i, 2);
    out[i] = type == WeightType::kF16 ? half_to_float(h) : bf16_to_float(h);
  }
}

class TensorConstant final : public Constant {
 public:
  TensorConstant(TensorView view, int64_t first_row, std::shared_ptr<const void> owner, int64_t rows, int64_t cols)
      : Constant(rows, cols),
        view_(std::move(view)),
        type_(weight_type(view_.dtype)),
        first_(first_row * cols),
        owner_(std::move(owner)) {}

  void read(int64_t first, int64_t count, float* out) const override {
    const size_t element = element_bytes(type_);
    const size_t at = size_t(first_ + first * cols()) * element;
    const int64_t left = count * cols();
    if (view_.data != nullptr) return to_float(type_, view_.data + at, left, out);
    if (type_ == WeightType::kF32) return must(view_.read(at, size_t(left) * element, out));
    if (element > sizeof(float)) return read_wide(at, left, out);
    // Halves wait at the end of `out`, in whose beginning their floats never reach those that are still to be read.
    uint8_t* const halves = reinterpret_cast<uint8_t*>(out) + size_t(left) * (sizeof(float) - element);
    must(view_.read(at, size_t(left) * element, halves));
    uint8_t block[4096];
    const int64_t step = int64_t(sizeof block / element);
    for (int64_t i = 0; i < left; i += step) {
      const int64_t n = std::min(step, left - i);
      std::memcpy(block, halves + size_t(i) * element, size_t(n) * element);
      to_float(type_, block, n, out + i);
    }
  }

  void tensors(std::vector<std::string>* names) const override { names->push_back(view_.name); }

 private:
  static void must(const Result<void>& done) {
    if (!done) throw Failure(done.error());
  }

  /// Elements that take more room than the floats they become, through a block.
  void read_wide(size_t at, int64_t count, float* out) const {
    const size_t element = element_bytes(type_);
    uint8_t block[16384];
    const int64_t step = int64_t(sizeof block / element);
    for (int64_t i = 0; i < count; i += step) {
      const int64_t n = std::min(step, count - i);
      must(view_.read(at + size_t(i) * element, size_t(n) * element, block));
      to_float(type_, block, n, out + i);
    }
  }

  TensorView view_;
  WeightType type_;
  int64_t first_;  // element of the tensor
  std::shared_ptr<const void> owner_;
};

template <typename Word>
bool has_exponent(const uint8_t* data, int64_t index, Word mask) {
  Word w;
  std::memcpy(&w, data + size_t(index) * sizeof(Word), sizeof(Word));
  return (w & mask) == mask;
}

template <typename Word>
int64_t find_exponent(const uint8_t* data, int64_t count, Word mask) {
  // Whole blocks without an early exit, so that the compiler can use vectors; the block that holds one is searched.
  constexpr int64_t kBlock = 1024;
  int64_t first = 0;
  for (; first + kBlock <= count; first += kBlock) {
    Word found = 0;
    for (int64_t i = 0; i < kBlock; ++i) found |= Word(has_exponent(data, first + i, mask));
    if (found != 0) break;
  }
  for (; first < count; ++first) {
    if (has_exponent(data, first, mask)) return first;
  }
  return -1;
}

int64_t find_non_finite(WeightType type, const uint8_t* data, int64_t count) {
  switch (type) {  // all exponent bits set: NaN or infinite
    case WeightType::kF32: return find_exponent<uint32_t>(data, count, 0x7f800000u);
    case WeightType::kF16: return find_exponent<uint16_t>(data, count, uint16_t(0x7c00u));
    case WeightType::kBF16: return find_exponent<uint16_t>(data, count, uint16_t(0x7f80u));
    case WeightType::kF64:
      for (int64_t i = 0; i < count; ++i) {
        if (!(std::fabs(double_at(data, i)) < kFloatOverflow)) return i;
      }
      return -1;
  }
  return -1;
}

}  // namespace

ConstantPtr tensor_constant(const TensorView& view, std::shared_ptr<const void> owner, int64_t first_row, int64_t rows,
                            int64_t cols) {
  return std::make_shared<TensorConstant>(view, first_row, std::move(owner), rows, cols);
}

Result<int64_t> find_non_finite(const TensorView& view) {
  const WeightType type = weight_type(view.dtype);
  if (view.data != nullptr) return find_non_finite(type, view.data, view.elements());
  std::vector<uint8_t> block(std::min(kTensorBlock, view.bytes));
  const int64_t step = int64_t(kTensorBlock / element_bytes(type)), all = view.elements();
  for (int64_t first = 0; first < all; first += step) {
    const int64_t count = std::min(step, all - first);
    VIREO_TRY(view.read(size_t(first) * element_bytes(type), size_t(count) * element_bytes(type), block.data()));
    const int64_t found = find_non_finite(type, block.data(), count);
    if (found >= 0) return first + found;
  }
  return int64_t(-1);
}

Result<std::string> non_finite_text(const TensorView& view, int64_t index) {
  const WeightType type = weight_type(view.dtype);
  const size_t element = element_bytes(type);
  uint8_t bytes[sizeof(double)];
  VIREO_TRY(view.read(size_t(index) * element, element, bytes));
  double value = 0;
  if (type == WeightType::kF64) {
    value = double_at(bytes, 0);
  } else {
    float narrow = 0;
    to_float(type, bytes, 1, &narrow);
    value = double(narrow);
  }
  if (std::isnan(value)) return std::string("NaN");
  return std::isinf(value) ? std::string("an infinite value") : fmt::format("{}, beyond what fp32 holds", value);
}

}  // namespace vireo
