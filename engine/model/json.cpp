#include "model/json.h"

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
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
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

}  // namespace vireo
