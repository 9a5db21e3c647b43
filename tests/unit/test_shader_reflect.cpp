// The embedded shaders and what reflection says of them: against the tables of shaders/README.md, and on damaged words.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "shader/modules.h"
#include "shader/reflect.h"

namespace vireo {
namespace {

using shader::BindingKind;

shader::Reflection reflect_named(const std::string& name) {
  const shader::Module* m = shader::find(name);
  EXPECT_NE(m, nullptr) << name;
  if (!m) return {};
  auto r = shader::reflect(*m);
  EXPECT_TRUE(r.ok()) << r.error().message;
  return r ? *r : shader::Reflection{};
}

/// "s" storage, "t" texel; "r", "w": access; one word per binding.
std::string bindings_text(const shader::Reflection& r) {
  std::string s;
  for (const shader::Binding& b : r.bindings) {
    if (!s.empty()) s += ' ';
    s += std::to_string(b.binding);
    s += b.kind == BindingKind::kStorage ? 's' : 't';
    if (b.reads) s += 'r';
    if (b.writes) s += 'w';
  }
  return s;
}

std::string spec_text(const shader::Reflection& r) {
  std::string s;
  for (const shader::SpecConstant& c : r.spec_constants) s += (s.empty() ? "" : " ") + std::to_string(c.id);
  return s;
}

TEST(ShaderModules, TableIsSortedFoundByNameAndSmall) {
  const shader::ModuleList all = shader::all();
  EXPECT_GE(all.size(), 14u);
  EXPECT_LE(all.size(), 72u);
  for (const shader::Module& m : all) {
    EXPECT_EQ(shader::find(m.name), &m);
    EXPECT_TRUE(&m == all.first || std::string((&m)[-1].name) < m.name) << m.name;
  }
  EXPECT_EQ(shader::find("linear"), nullptr);
  EXPECT_EQ(shader::find(""), nullptr);
  EXPECT_EQ(shader::all_hash(), shader::all_hash());
  EXPECT_NE(shader::hash(*shader::find("linear.tile")), shader::hash(*shader::find("linear.texel")));
}

// What every shader promises: one descriptor set, inputs only read, the last binding the output and only written, at
// most 128 bytes of push constants, local size x from constant 0, no capability beyond Vulkan 1.1 core but the subgroup
// operations of SHUFFLE=1, fp16 and the clock of PHASES=1, whose ticks are one more output, behind the last.
TEST(ShaderModules, ConventionsHold) {
  for (const shader::Module& m : shader::all()) {
    SCOPED_TRACE(m.name);
    const shader::Reflection r = reflect_named(m.name);
    EXPECT_EQ(r.entry_point, "main");
    ASSERT_FALSE(r.bindings.empty());
    const bool phases = std::string(m.name).find("PHASES=1") != std::string::npos;
    for (size_t i = 0; i < r.bindings.size(); ++i) {
      const bool last = i + 1 == r.bindings.size() || (phases && i + 2 == r.bindings.size());
      EXPECT_EQ(r.bindings[i].set, 0u);
      EXPECT_EQ(r.bindings[i].binding, i);
      EXPECT_EQ(r.bindings[i].reads, !last) << "binding " << i;
      EXPECT_EQ(r.bindings[i].writes, last) << "binding " << i;
    }
    EXPECT_GT(r.push_constant_bytes, 0u);
    EXPECT_LE(r.push_constant_bytes, 128u);
    EXPECT_EQ(r.push_constant_bytes % 4, 0u);
    EXPECT_EQ(r.local_size_ids[0], 0);
    const bool shuffle = std::string(m.name).find("SHUFFLE=1") != std::string::npos;
    EXPECT_EQ(r.needs(shader::kSubgroupShuffle), shuffle);
    constexpr uint32_t kFloat16 = 9;
    EXPECT_EQ(r.needs(kFloat16),
              std::string(m.name).find(".half") != std::string::npos || std::string(m.name) == "probe.fma.HALF=1");
    constexpr uint32_t kShaderClock = 5055;
    EXPECT_EQ(r.needs(kShaderClock), phases);
    constexpr uint32_t kDotOfWords = 6018, kDotProduct = 6019;
    const bool dots = std::string(m.name) == "linear.dot";
    EXPECT_EQ(r.needs(kDotProduct), dots);
    for (uint32_t c : r.capabilities)
      EXPECT_TRUE(c == 1 || (dots && (c == kDotOfWords || c == kDotProduct)) || c == 46 || c == kFloat16 ||
                  c == kShaderClock || (shuffle && (c == shader::kSubgroupBasic || c == shader::kSubgroupShuffle)))
          << "capability " << c;
  }
}

// A variant differs from its shader in the extra binding alone, so that a plan's dispatch fits both.
TEST(ShaderModules, PhasesAddOneBinding) {
  int variants = 0;
  for (const shader::Module& m : shader::all()) {
    const std::string name = m.name;
    const size_t at = name.find(".PHASES=1");
    if (at == std::string::npos) continue;
    ++variants;
    SCOPED_TRACE(name);
    EXPECT_EQ(at + 9, name.size()) << "the last switch, so that a dispatch's shader leads to it";
    const shader::Reflection with = reflect_named(name), plain = reflect_named(name.substr(0, at));
    EXPECT_EQ(with.bindings.size(), plain.bindings.size() + 1);
    EXPECT_EQ(bindings_text(with), bindings_text(plain) + " " + std::to_string(plain.bindings.size()) + "sw");
    EXPECT_EQ(spec_text(with), spec_text(plain));
    EXPECT_EQ(with.push_constant_bytes, plain.push_constant_bytes);
  }
  EXPECT_EQ(variants, 19);
}

TEST(ShaderReflect, KnownShaders) {
  const shader::Reflection tile = reflect_named("linear.tile");
  EXPECT_EQ(bindings_text(tile), "0sr 1sr 2sr 3sr 4sr 5sr 6sr 7sw");
  EXPECT_EQ(tile.push_constant_bytes, 36u);
  EXPECT_EQ(spec_text(tile), "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19");
  EXPECT_EQ(tile.spec_constants[11].value, 128u);
  EXPECT_TRUE(tile.has_spec(19));
  EXPECT_FALSE(tile.has_spec(20));
  EXPECT_EQ(shader::local_size(tile, {96}), (std::array<uint32_t, 3>{96, 1, 1}));

  const shader::Reflection texel = reflect_named("linear.texel.SHUFFLE=1");
  EXPECT_EQ(bindings_text(texel), "0tr 1tr 2sr 3sr 4sr 5sr 6sr 7sw");
  EXPECT_EQ(spec_text(texel), "0 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17");
  EXPECT_EQ(spec_text(reflect_named("linear.texel")), "0 2 3 4 5 6 7 8 9 10 11 16 17");

  EXPECT_EQ(bindings_text(reflect_named("attention.tile")), "0sr 1sr 2sr 3sw");
  EXPECT_EQ(bindings_text(reflect_named("attention.texel")), "0tr 1tr 2tr 3sw");
  EXPECT_EQ(reflect_named("attention.texel").push_constant_bytes, 48u);
  EXPECT_EQ(bindings_text(reflect_named("attention.tile.PARTITION=2")), "0sr 1sr 2sr 3sr 4sw");
  EXPECT_EQ(bindings_text(reflect_named("attention.texel.PARTITION=2")), "0tr 1tr 2tr 3tr 4sw");

  const shader::Reflection conv = reflect_named("conv2d");
  EXPECT_EQ(bindings_text(conv), "0sr 1sr 2sr 3sr 4sr 5sr 6sw");
  EXPECT_EQ(conv.push_constant_bytes, 76u);
  EXPECT_EQ(conv.local_size_ids, (std::array<int64_t, 3>{0, 12, -1}));
  EXPECT_EQ(shader::local_size(conv, {16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 8}), (std::array<uint32_t, 3>{16, 8, 1}));

  EXPECT_EQ(bindings_text(reflect_named("concat")), "0sr 1sr 2sr 3sr 4sw");
  EXPECT_EQ(reflect_named("concat").push_constant_bytes, 52u);
}

uint64_t shared(const char* name, const std::vector<uint32_t>& spec) {
  auto bytes = shader::shared_bytes(*shader::find(name), spec);
  EXPECT_TRUE(bytes.ok()) << bytes.error().message;
  return bytes ? *bytes : 0;
}

uint64_t up16(uint64_t v) { return (v + 15) / 16 * 16; }

// The formulas of shaders/README.md, variable by variable.
TEST(ShaderReflect, SharedBytesFollowTheConstants) {
  for (uint32_t ln : {0u, 1u})
    for (uint32_t bk : {8u, 16u, 32u}) {
      const uint64_t bm = 64, bn = 128, rows = ln ? bm : 2;
      const std::vector<uint32_t> spec{128, 0, 0, 0, 0, 0, 0, 0, 0, ln, uint32_t(bm), uint32_t(bn), bk, 8, 8, 0};
      EXPECT_EQ(shared("linear.tile", spec), up16(4 * bk * (bm + 5)) + 4 * bk * bn + up16(8 * rows));
    }
  // 1152 groups of weights, staged by 312 invocations four times.
  EXPECT_EQ(shared("linear.tile", {312, 0, 0, 0, 0, 0, 0, 0, 0, 1, 104, 192, 24, 8, 8, 1}),
            up16(4 * 24 * 109) + 16 * 4 * 312 + 8 * 104);
  for (uint32_t hd : {13u, 64u, 128u}) {
    const uint64_t bq = 128 / 8 * 4, bkv = 8 * 4, dc = 16, vc = 16, hd4 = (hd + 3) / 4 * 4;
    // The width of q and k (constant 10) is another than that of v (constant 30), which alone counts.
    std::vector<uint32_t> spec{128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 8, 4, 4, 16, 16, 0, 8, 4};
    spec.resize(30, 0);
    spec.push_back(hd);
    const uint64_t stage = std::max({dc * (bq + bkv + 10), 8 * bq, vc * hd4});
    EXPECT_EQ(shared("attention.tile", spec), up16(4 * stage) + 4 * bkv * (bq + 4) + 16 + 16);
    std::vector<uint32_t> other_rows = spec;
    other_rows[17] = 1, other_rows[18] = 3, other_rows[19] = 2;
    EXPECT_EQ(shared("attention.tile", other_rows), up16(4 * stage) + 4 * bkv * (bq + 4) + 4 * bq + 16);
    // In parts: probabilities lie behind v, and every row has its maximum and what its sums shrink by.
    std::vector<uint32_t> parts = spec;
    parts[0] = 256, parts[12] = parts[18] = parts[16] = 16, parts[13] = parts[19] = 8;
    parts.push_back(1);
    const uint64_t rows = 256 / 16 * 8, keys = 16 * 4;
    const uint64_t in_turns = std::max({dc * (rows + keys + 10), 16 * (rows + 4), 16 * hd4 + 16 * (rows + 4)});
    EXPECT_EQ(shared("attention.tile", parts), up16(4 * in_turns) + 16 + 4 * rows + 4 * rows);
  }
  EXPECT_EQ(shared("attention.texel", {64}), 0u);
  EXPECT_EQ(shared("elementwise", {64}), 0u);
  EXPECT_EQ(shared("mean", {8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4}), 16u * 8 * 4);
  EXPECT_EQ(shared("layer_norm", {64}), 256u);
}

// No read beyond the words (each copy is an exact-size allocation, so AddressSanitizer sees one), no endless loop, an
// Error or an answer.
TEST(ShaderReflect, TruncatedWords) {
  const shader::Module* m = shader::find("attention.tile");
  ASSERT_NE(m, nullptr);
  size_t declarations = 0;
  for (size_t n = 0; n < m->word_count; n += n < 900 ? 1 : 97) {
    const std::vector<uint32_t> words(m->words, m->words + n);
    const shader::Module cut{"cut", words.data(), words.size()};
    declarations += shader::reflect(cut).ok();
    (void)shader::shared_bytes(cut, {64});
  }
  EXPECT_LT(declarations, m->word_count);
  const auto r = shader::reflect({"empty", nullptr, 0});
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(r.error().message.find("'empty'"), std::string::npos);
}

TEST(ShaderReflect, GarbageWords) {
  std::mt19937 random(1);
  for (const char* name : {"linear.tile", "attention.texel", "mean"}) {
    const shader::Module* m = shader::find(name);
    ASSERT_NE(m, nullptr);
    for (int round = 0; round < 1000; ++round) {
      std::vector<uint32_t> words(m->words, m->words + m->word_count);
      const int changes = 1 + round % 4;
      for (int i = 0; i < changes; ++i) {
        const size_t at = random() % std::min<size_t>(words.size(), 1500);
        const uint32_t kinds[] = {uint32_t(random()), uint32_t(random() % 64), words[random() % words.size()],
                                  words[at] ^ (1u << random() % 32)};
        words[at] = kinds[random() % 4];
      }
      const shader::Module broken{"broken", words.data(), words.size()};
      (void)shader::reflect(broken);
      (void)shader::shared_bytes(broken, {uint32_t(random()), 0, 0, 0, 0, 0, 0, 0, 0, 0, uint32_t(random())});
    }
  }
  std::vector<uint32_t> noise(512);
  for (int round = 0; round < 2000; ++round) {
    for (uint32_t& w : noise) w = (1 + random() % 6) << 16 | random() % 80;
    noise[0] = 0x07230203;
    noise[3] = 100;
    (void)shader::reflect({"noise", noise.data(), noise.size()});
    (void)shader::shared_bytes({"noise", noise.data(), noise.size()}, {});
  }
}

}  // namespace
}  // namespace vireo
