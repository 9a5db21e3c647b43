#include "shader/modules.h"

namespace vireo::shader {
namespace {

constexpr uint64_t kFnvStart = 14695981039346656037u;

uint64_t add_word(uint64_t h, uint32_t word) {
  for (int i = 0; i < 4; ++i) h = (h ^ (word >> (8 * i) & 0xff)) * 1099511628211u;
  return h;
}

uint64_t add_words(uint64_t h, const Module& m) {
  for (size_t i = 0; i < m.word_count; ++i) h = add_word(h, m.words[i]);
  return h;
}

}  // namespace

const Module* find(const std::string& name) {
  for (const Module& m : all())
    if (name == m.name) return &m;
  return nullptr;
}

uint64_t hash(const Module& m) { return add_words(kFnvStart, m); }

uint64_t all_hash() {
  uint64_t h = kFnvStart;
  for (const Module& m : all()) {
    for (const char* c = m.name; *c; ++c) h = add_word(h, uint8_t(*c));
    h = add_words(h, m);
  }
  return h;
}

}  // namespace vireo::shader
