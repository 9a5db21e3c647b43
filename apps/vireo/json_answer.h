// JSON of verbs that answer picture after picture.
#pragma once

#include "cli.h"

namespace cli {

/// The answer of --json: an object with the array "results". Those of a stream, which may have no end, are printed as
/// they come and not kept.
class JsonAnswer {
 public:
  /// `at_once`: of a stream.
  explicit JsonAnswer(bool at_once) : at_once_(at_once) {}
  /// Closes what was begun, where finish() was not reached.
  ~JsonAnswer();
  JsonAnswer(const JsonAnswer&) = delete;
  JsonAnswer& operator=(const JsonAnswer&) = delete;
  void add(const Json& entry);
  /// With the other fields.
  void finish(const Json& rest);

 private:
  void begin();
  const bool at_once_;
  bool begun_ = false, finished_ = false;
  size_t printed_ = 0;
  Json kept_ = Json::array();
};

}  // namespace cli
