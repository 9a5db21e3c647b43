#include "model/json.h"

#include <cmath>
#include <string>

namespace vireo {
namespace {

// A model's configuration with 21,000 labels has about 45,000 values; the index of 100,000 tensors as many. What a
// value costs in memory is bounded by these two and by the file's size, whatever the file says.
constexpr size_t kMaxValues = 1 << 18;
constexpr size_t kMaxDepth = 64;

/// Counts a text's values without building them.
class Census {
 public:
  const char* problem() const { return problem_; }

  bool null() { return value(); }
  bool boolean(bool) { return value(); }
  bool number_integer(int64_t) { return value(); }
  bool number_unsigned(uint64_t) { return value(); }
  bool number_float(double, const std::string&) { return value(); }
  bool string(std::string&) { return value(); }
  bool binary(Json::binary_t&) { return value(); }
  bool key(std::string&) { return true; }
  bool start_object(std::size_t) { return open(); }
  bool start_array(std::size_t) { return open(); }
  bool end_object() { return --depth_, true; }
  bool end_array() { return --depth_, true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) {
    problem_ = "is not valid JSON; download or export it again";
    return false;
  }

 private:
  bool value() {
    if (++values_ <= kMaxValues) return true;
    problem_ = "holds more than 262,144 values, more than any model's configuration; is it the right file?";
    return false;
  }
  bool open() {
    if (++depth_ > kMaxDepth) {
      problem_ = "nests lists or objects more than 64 deep; is it the right file?";
      return false;
    }
    return value();
  }

  size_t values_ = 0, depth_ = 0;
  const char* problem_ = nullptr;
};

Json parse_bounded(const std::string& text, const char** problem) {
  Census census;
  if (!Json::sax_parse(text, &census)) {
    *problem = census.problem() != nullptr ? census.problem() : "is not valid JSON; download or export it again";
    return Json(Json::value_t::discarded);
  }
  return read_sorted_json(text);
}

}  // namespace

Json parse_json(const std::string& text) {
  const char* problem = nullptr;
  return parse_bounded(text, &problem);
}

Result<Json> parse_json_object(const std::string& text, const std::string& source) {
  const char* problem = "is not valid JSON; download or export it again";
  Json json = parse_bounded(text, &problem);
  if (json.is_discarded()) return fail(ErrorCode::kCorrupt, "'{}' {}", source, problem);
  if (!json.is_object())
    return fail(ErrorCode::kCorrupt, "'{}' holds {}, expected a JSON object", source, json.type_name());
  return json;
}

const Json* find_member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::string json_text(const Json& value) {
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  std::string text = write_json(value);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

void Fields::integer(const char* key, int64_t* out, int64_t low, int64_t high) {
  if (const Json* v = start(key)) take_integer(key, *v, out, low, high);
}

void Fields::number(const char* key, double* out, double low, double high) {
  const Json* v = start(key);
  if (v == nullptr) return;
  const double got = v->is_number() ? v->get<double>() : NAN;
  if (!(got >= low && got <= high)) {
    reject(key, *v, fmt::format("a number from {} to {}", low, high));
  } else {
    *out = got;
  }
}

void Fields::boolean(const char* key, bool* out) {
  const Json* v = start(key);
  if (v == nullptr) return;
  if (!v->is_boolean()) return reject(key, *v, "true or false");
  *out = v->get<bool>();
}

void Fields::string(const char* key, std::string* out) {
  const Json* v = start(key);
  if (v == nullptr) return;
  if (!v->is_string()) return reject(key, *v, "a string");
  *out = v->get<std::string>();
}

void Fields::size(const char* key, int64_t* height, int64_t* width, int64_t low, int64_t high) {
  const Json* v = start(key);
  if (v == nullptr) return;
  if (v->is_array() && v->size() == 2) {
    take_integer(key, (*v)[0], height, low, high);
    if (status_) take_integer(key, (*v)[1], width, low, high);
  } else if (v->is_array() && v->size() == 1) {
    take_integer(key, (*v)[0], height, low, high);
    *width = *height;
  } else if (v->is_array()) {
    reject(key, *v, "a whole number or [height, width]");
  } else {
    take_integer(key, *v, height, low, high);
    *width = *height;
  }
}

void Fields::reject(const char* key, const Json& value, const std::string& expected) {
  set_error(fail(ErrorCode::kCorrupt, "'{}': key '{}' is {}, expected {}", source_, key, json_text(value), expected));
}

void Fields::take_integer(const char* key, const Json& v, int64_t* out, int64_t low, int64_t high) {
  int64_t got = 0;
  bool ok = false;
  if (v.is_number_unsigned()) {
    const uint64_t u = v.get<uint64_t>();
    ok = u <= uint64_t(INT64_MAX);
    got = ok ? int64_t(u) : 0;
  } else if (v.is_number_integer()) {
    got = v.get<int64_t>();
    ok = true;
  } else if (v.is_number_float()) {  // 224.0
    const double d = v.get<double>();
    ok = std::fabs(d) < 9e15 && d == std::floor(d);
    got = ok ? int64_t(d) : 0;
  }
  if (!ok || got < low || got > high) {
    reject(key, v, fmt::format("a whole number from {} to {}", low, high));
  } else {
    *out = got;
  }
}

}  // namespace vireo
