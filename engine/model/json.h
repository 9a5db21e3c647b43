// Reading JSON without exceptions: types are checked before values are taken, and messages name the file and the key.
// Included by .cpp files only; nlohmann's header is slow to compile.
#pragma once

#include <cmath>
#include <string>

#include "base/error.h"
#include "base/json.h"

namespace vireo {

using Json = SortedJson;

constexpr size_t kMaxConfigBytes = 4u << 20;  // id2label and label2id of 21k classes are less than 2 MB
constexpr size_t kMaxIndexBytes = 16u << 20;  // a line for each tensor

/// Parses a stranger's text; discarded (is_discarded()) where it is no JSON, or has more values or nests deeper than
/// any model's files do. What it costs is bounded: a document takes a few dozen times the bytes of a text that is made
/// for it.
Json parse_json(const std::string& text);
/// The same; the result is an object or a kCorrupt error naming `source`.
Result<Json> parse_json_object(const std::string& text, const std::string& source);

/// The member `key`, or null when it is absent or JSON null.
inline const Json* find_member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

/// Short text of a value for an error message.
inline std::string json_text(const Json& value) {
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

/// Typed members of one JSON object. A getter leaves `out` alone when the key is absent or null; the first bad value
/// becomes the error and later calls do nothing, so a parser reads all its keys and checks once.
class Fields {
 public:
  Fields(const Json& object, std::string source) : object_(object), source_(std::move(source)) {}

  const Json* find(const char* key) const { return find_member(object_, key); }
  const std::string& source() const { return source_; }
  const Result<void>& status() const { return status_; }

  void integer(const char* key, int64_t* out, int64_t low, int64_t high) {
    if (const Json* v = start(key)) take_integer(key, *v, out, low, high);
  }
  void number(const char* key, double* out, double low, double high) {
    const Json* v = start(key);
    if (v == nullptr) return;
    const double got = v->is_number() ? v->get<double>() : NAN;
    if (!(got >= low && got <= high)) {
      reject(key, *v, fmt::format("a number from {} to {}", low, high));
    } else {
      *out = got;
    }
  }
  void boolean(const char* key, bool* out) {
    const Json* v = start(key);
    if (v == nullptr) return;
    if (!v->is_boolean()) return reject(key, *v, "true or false");
    *out = v->get<bool>();
  }
  void string(const char* key, std::string* out) {
    const Json* v = start(key);
    if (v == nullptr) return;
    if (!v->is_string()) return reject(key, *v, "a string");
    *out = v->get<std::string>();
  }
  /// 224 or [height, width].
  void size(const char* key, int64_t* height, int64_t* width, int64_t low, int64_t high) {
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
  void set_error(Error error) {
    if (status_) status_ = std::move(error);
  }
  void reject(const char* key, const Json& value, const std::string& expected) {
    set_error(fail(ErrorCode::kCorrupt, "'{}': key '{}' is {}, expected {}", source_, key, json_text(value), expected));
  }

 private:
  const Json* start(const char* key) const { return status_ ? find_member(object_, key) : nullptr; }
  void take_integer(const char* key, const Json& v, int64_t* out, int64_t low, int64_t high) {
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

  const Json& object_;
  std::string source_;
  Result<void> status_;
};

}  // namespace vireo
