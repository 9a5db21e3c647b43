// Regular expressions as quantization_config writes them ("re:..."), with the meaning of Python's re.match. They come
// with checkpoints, so from strangers: matching takes time in proportion to the text, whatever the expression, and
// never goes deep. std::regex promises neither, and was the longest file of the library to compile.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace vireo {

/// Knows characters, `.`, classes, \d \w \s \D \W \S, groups (also `(?:`), `|`, `*`, `+`, `?` (also lazy: which of
/// several matches is found makes no difference), `^`, `$`, \A, \Z, \b, \B, and what follows or does not, `(?=` and
/// `(?!`. Bytes are characters.
class Pattern {
 public:
  static constexpr size_t kLongest = 256;

  /// kUnsupported: what is wrong or unknown, and at which character.
  static Result<Pattern> parse(const std::string& text);

  /// Whether the expression matches some beginning of `text`.
  bool matches(const std::string& text) const;

 private:
  friend class PatternParser;
  enum class Op : uint8_t { kSet, kSplit, kJump, kStart, kEnd, kWordEdge, kNoWordEdge, kAhead, kNotAhead, kDone };
  struct Step {
    Op op;
    int32_t next;   // where it goes on
    int32_t other;  // kSplit: or there; kSet: the set; kAhead and kNotAhead: where what is looked at begins
  };
  using Set = std::bitset<256>;

  bool holds(const Step& step, const std::string& text, size_t at, const std::vector<uint8_t>& here,
             const std::vector<uint8_t>& after) const;

  std::vector<Step> steps_;
  std::vector<Set> sets_;
  int32_t first_ = 0;
  std::vector<std::array<int32_t, 2>> parts_;  // the steps of each lookahead, inner ones first; last of all steps
};

}  // namespace vireo
