// Specialisation constants and push constants by name: every module has names, a name that is wrong, missing or there
// twice is an error that lists those that there are, and shaders/README.md lists the same ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "plan/plan.h"
#include "shader/modules.h"
#include "shader/reflect.h"
#include "shader/words.h"

namespace vireo {
namespace {

using shader::Words;

shader::Reflection reflection_of(const std::string& name) {
  const shader::Module* m = shader::find(name);
  EXPECT_NE(m, nullptr) << name;
  Result<shader::Reflection> r = shader::reflect(*m);
  EXPECT_TRUE(r.ok());
  return r ? *r : shader::Reflection{};
}

std::string spec_names(const shader::Reflection& r) {
  std::string s;
  for (const shader::SpecConstant& c : r.spec_constants) s += (s.empty() ? "" : ", ") + c.name;
  return s;
}

std::string push_names(const shader::Reflection& r) {
  std::string s;
  for (const shader::PushConstant& c : r.push_constants)
    s += std::string(s.empty() ? "" : ", ") + (c.is_float ? "f " : "u ") + c.name;
  return s;
}

TEST(ShaderWords, EveryModuleNamesWhatItDeclares) {
  for (const shader::Module& m : shader::all()) {
    SCOPED_TRACE(m.name);
    const shader::Reflection r = reflection_of(m.name);
    std::set<std::string> names;
    for (const shader::SpecConstant& c : r.spec_constants) {
      EXPECT_FALSE(c.name.empty()) << "specialisation constant " << c.id;
      EXPECT_TRUE(names.insert(c.name).second) << c.name;
    }
    names.clear();
    for (const shader::PushConstant& c : r.push_constants) EXPECT_TRUE(names.insert(c.name).second) << c.name;
    EXPECT_EQ(r.push_constants.size() * 4, r.push_constant_bytes);
    for (size_t i = 0; i < r.push_constants.size(); ++i) EXPECT_EQ(r.push_constants[i].offset, i * 4);
  }
}

TEST(ShaderWords, SizesOfWorkgroupsHaveNamesToo) {
  EXPECT_EQ(spec_names(reflection_of("probe.fma")), "LX");  // the GLSL does not use its size, and so does not name it
  EXPECT_EQ(spec_names(reflection_of("mean")), "LX, IN_TYPE, OUT_TYPE, LY");
  EXPECT_EQ(push_names(reflection_of("layer_norm")), "u rows, u C, u i_ld4, u o_ld4, u r_ld4, u i_off4, f eps");
}

TEST(ShaderWords, GoWhereTheModuleWantsThem) {
  const shader::Reflection r = reflection_of("mean");
  const auto spec = shader::spec_by_id("mean", r, {{"LY", 8}, {"OUT_TYPE", 1}, {"LX", 4}, {"IN_TYPE", 0}});
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(*spec, (std::vector<uint32_t>{4, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8}));
  EXPECT_EQ(shader::spec_text(r, *spec), "LX=4 IN_TYPE=0 OUT_TYPE=1 LY=8");
  const auto push =
      shader::push_by_word("mean", r, {{"ld4", 48}, {"B", 2}, {"last", 197}, {"first", 1}, {"tokens", 197}});
  ASSERT_TRUE(push.ok()) << push.error().message;
  EXPECT_EQ(*push, (std::vector<uint32_t>{2, 197, 1, 197, 48}));
  EXPECT_EQ(shader::push_text(r, *push), "B=2 tokens=197 first=1 last=197 ld4=48");
}

TEST(ShaderWords, WrongMissingAndDoubledNamesAreErrors) {
  const shader::Reflection r = reflection_of("merge");
  const auto spec = [&](const Words& w) {
    const auto done = shader::spec_by_id("merge", r, w);
    return done ? "accepted" : done.error().message;
  };
  const std::string tail = "; its specialisation constants are LX, IN_TYPE, OUT_TYPE";
  EXPECT_EQ(spec({{"LX", 64}, {"IN_TYPE", 0}, {"OUT_TYPE", 0}}), "accepted");
  EXPECT_EQ(spec({{"LX", 64}, {"IN_TYP", 0}, {"OUT_TYPE", 0}}),
            "shader 'merge': it has no specialisation constant 'IN_TYP'" + tail);
  EXPECT_EQ(spec({{"LX", 64}, {"IN_TYPE", 0}}),
            "shader 'merge': specialisation constant 'OUT_TYPE' is not given" + tail);
  EXPECT_EQ(spec({{"LX", 64}, {"IN_TYPE", 0}, {"OUT_TYPE", 0}, {"LX", 64}}),
            "shader 'merge': specialisation constant 'LX' is given twice" + tail);
  EXPECT_EQ(spec({}), "shader 'merge': specialisation constant 'LX' is not given" + tail);
  const auto push = [&](const Words& w) {
    const auto done = shader::push_by_word("merge", r, w);
    return done ? "accepted" : done.error().message;
  };
  const std::string words = "; its push constants are B, IH, IW, C";
  EXPECT_EQ(push({{"B", 1}, {"IH", 2}, {"IW", 3}, {"C", 4}}), "accepted");
  EXPECT_EQ(push({{"B", 1}, {"IH", 2}, {"IW", 3}, {"c", 4}}), "shader 'merge': it has no push constant 'c'" + words);
  EXPECT_EQ(push({{"B", 1}, {"IH", 2}, {"C", 4}}), "shader 'merge': push constant 'IW' is not given" + words);
  EXPECT_EQ(push({{"C", 4}, {"IH", 2}, {"IH", 2}}), "shader 'merge': push constant 'IH' is given twice" + words);
}

TEST(ShaderWords, APlanNamesTheStep) {
  Dispatch d;
  d.shader = "merge";
  d.spec = {{"LX", 64}, {"IN_TYPE", 0}, {"OUT_TYPE", 0}, {"BM", 104}};
  d.push = {{"B", 1}, {"IH", 2}, {"IW", 3}, {"C", 4}};
  const Result<PlanDispatch> wrong = resolve_words("stages.1.merge", d);
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().code, ErrorCode::kInternal);
  EXPECT_EQ(
      wrong.error().message,
      "step 'stages.1.merge': shader 'merge': it has no specialisation constant 'BM'; its specialisation constants "
      "are LX, IN_TYPE, OUT_TYPE");
  d.shader = "no such shader";
  EXPECT_NE(resolve_words("x", d).error().message.find("no shader module 'no such shader'"), std::string::npos);
}

// ---- shaders/README.md -------------------------------------------------------------------------------------------

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream in(line.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) {
    const size_t first = cell.find_first_not_of(' ');
    cells.push_back(first == std::string::npos ? "" : cell.substr(first, cell.find_last_not_of(' ') - first + 1));
  }
  return cells;
}

/// "LX (groups), IN_TYPE" -> {"LX", "IN_TYPE"}
std::set<std::string> names_in(const std::string& cell) {
  std::string plain;
  int depth = 0;
  for (char c : cell) {
    depth += c == '(';
    if (depth == 0) plain += c;
    depth -= c == ')';
  }
  std::set<std::string> names;
  std::istringstream in(plain);
  for (std::string name; std::getline(in, name, ',');) {
    name.erase(0, name.find_first_not_of(' '));
    name.erase(name.find_last_not_of(' ') + 1);
    names.insert(name);
  }
  return names;
}

/// Every table of the file that has the columns `shader`, `spec` and `push constants`; variants of a shader stand in
/// its row, which has what any of them declares. A shader that no table has is an error.
TEST(ShaderWords, TablesOfTheReadmeSayWhatTheModulesDeclare) {
  std::ifstream file(std::string(VIREO_SOURCE_DIR) + "/shaders/README.md");
  ASSERT_TRUE(file.good());
  std::set<std::string> missing;
  for (const shader::Module& m : shader::all())
    if (std::string(m.name).find("PHASES=1") == std::string::npos) missing.insert(m.name);
  size_t spec = 0, push = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] != '|') {
      spec = push = 0;
      continue;
    }
    const std::vector<std::string> cells = cells_of(line);
    if (cells[0] == "shader") {
      for (size_t i = 0; i < cells.size(); ++i)
        if (cells[i] == "spec") spec = i;
        else if (cells[i] == "push constants") push = i;
      continue;
    }
    if (!spec || !push || cells[0].find("---") == 0) continue;
    SCOPED_TRACE(line);
    std::set<std::string> specs, words;
    for (const std::string& name : names_in(cells[0])) {
      ASSERT_NE(shader::find(name), nullptr) << name;
      const shader::Reflection r = reflection_of(name);
      for (const std::string& s : names_in(spec_names(r))) specs.insert(s);
      for (const std::string& s : names_in(push_names(r))) words.insert(s);
      missing.erase(name);
    }
    EXPECT_EQ(names_in(cells[spec]), specs);
    EXPECT_EQ(names_in(cells[push]), words);
  }
  for (const std::string& name : missing)
    ADD_FAILURE() << "no table has this row:\n| " << name << " | " << spec_names(reflection_of(name)) << " | "
                  << push_names(reflection_of(name)) << " |";
}

}  // namespace
}  // namespace vireo
