// Typed members of JSON objects: types are checked before values are taken, and messages name the file and the key.
// Does without nlohmann's header, which takes a second to compile.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/error.h"

namespace vireo {

template <typename T>
struct JsonAllocator;  // base/json.h, which says what it is for
using Json = nlohmann::basic_json<std::map, std::vector, std::string, bool, int64_t, uint64_t, double, JsonAllocator>;

/// The member `key`, or null when it is absent or JSON null.
const Json* find_member(const Json& object, const char* key);

/// Short text of a value for an error message.
std::string json_text(const Json& value);

/// Typed members of one JSON object. A getter leaves `out` alone when the key is absent or null; the first bad value
/// becomes the error and later calls do nothing, so a parser reads all its keys and checks once.
class Fields {
 public:
  Fields(const Json& object, std::string source) : object_(object), source_(std::move(source)) {}

  const Json* find(const char* key) const { return find_member(object_, key); }
  const std::string& source() const { return source_; }
  const Result<void>& status() const { return status_; }

  void integer(const char* key, int64_t* out, int64_t low, int64_t high);
  void number(const char* key, double* out, double low, double high);
  void boolean(const char* key, bool* out);
  void string(const char* key, std::string* out);
  /// 224 or [height, width].
  void size(const char* key, int64_t* height, int64_t* width, int64_t low, int64_t high);
  void set_error(Error error) {
    if (status_) status_ = std::move(error);
  }
  void reject(const char* key, const Json& value, const std::string& expected);

 private:
  const Json* start(const char* key) const { return status_ ? find_member(object_, key) : nullptr; }
  void take_integer(const char* key, const Json& v, int64_t* out, int64_t low, int64_t high);

  const Json& object_;
  std::string source_;
  Result<void> status_;
};

}  // namespace vireo
