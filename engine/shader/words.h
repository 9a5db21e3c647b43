// The values of a dispatch, by the names that the shader's GLSL gives them: what a lowering says. Which specialisation
// constant has which id, and where in the push constants a member lies, only the module says.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "shader/reflect.h"

namespace vireo::shader {

/// A value's name and its 32 bits.
struct Word {
  const char* name;  // a literal
  uint32_t bits;
};

/// Values in any order. Each name that the module declares must be there once.
class Words {
 public:
  Words() = default;
  Words(std::initializer_list<Word> words) : words_(words) {}
  void add(const char* name, uint32_t bits) { words_.push_back({name, bits}); }
  void add(std::initializer_list<Word> words) { words_.insert(words_.end(), words); }
  std::vector<Word>::const_iterator begin() const { return words_.begin(); }
  std::vector<Word>::const_iterator end() const { return words_.end(); }

 private:
  std::vector<Word> words_;
};

/// Specialisation constants by id from 0 (ids that the module does not declare are 0), and push constants by word.
/// Errors: kInternal for a name that the module does not declare, for one that is given twice and for one without a
/// value; they list the names that it declares.
Result<std::vector<uint32_t>> spec_by_id(const std::string& module, const Reflection& r, const Words& words);
Result<std::vector<uint32_t>> push_by_word(const std::string& module, const Reflection& r, const Words& words);

/// "LX=64 IN_TYPE=0", "M=197 eps=1e-06": the values with their names, floats as short as they can be told apart.
std::string spec_text(const Reflection& r, const std::vector<uint32_t>& spec);
std::string push_text(const Reflection& r, const std::vector<uint32_t>& push);

}  // namespace vireo::shader
