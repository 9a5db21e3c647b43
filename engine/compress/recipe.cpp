#include "compress/recipe.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/names.h"
#include "compress/number_lines.h"

namespace vireo::compress {
namespace {

Format format_of(const std::string& text) {
  Format f;
  (void)parse_format(text, &f);  // one: the table's own
  return f;
}

/// Fewer bits are worth the pictures. A convolution of several pixels does not multiply rows that calibration could
/// see.
const Method* method_for(const Layer& l, const Format& f) {
  const bool rows = !l.conv() || (l.kind == LayerKind::kConvolution && l.shape[2] == 1 && l.shape[3] == 1);
  return f.grid.bits >= 8 || !rows ? &kRtn : &kGptq;
}

Recipe token_recipe(const char* name, const char* what, const char* source, double percent, bool searched = false) {
  Recipe r{name, what, source, "", "", RowScales::kNone};
  r.tokens = percent, r.searched = searched;
  return r;
}

Recipe input_recipe(const char* name, const char* what, const char* source, double percent) {
  Recipe r{name, what, source, "", "", RowScales::kNone};
  r.input = percent;
  return r;
}

Recipe attention_recipe(const char* name, const char* what, const char* source, const char* format) {
  Recipe r{name, what, source, "", "", RowScales::kNone};
  r.attention = format;
  return r;
}

Recipe rows_recipe(const char* name, const char* what, const char* source, const char* inner, const char* others,
                   double percent) {
  Recipe r{name, what, source, inner, others, RowScales::kNone};
  r.wide = percent;
  return r;
}

/// "25" of "w4w8rows:25".
Result<double> percent_of(const std::string& recipe, const std::string& text) {
  char* end = nullptr;
  const double percent = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(percent > 0 && percent < 100))
    return fail(ErrorCode::kInvalidArgument,
                "compress: '{}' is no percentage of rows; expected one between 0 and 100, as in '{}:25'", text, recipe);
  return percent;
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const Recipe& r : recipes()) names.push_back(r.name);
  return names;
}

/// The names that a policy's pattern may mean: as the file has them, and as plans print them.
std::vector<std::string> names_of(const Layer& l) { return {l.tensor, l.module, l.node, l.node + ".weight"}; }

bool any_matches(const std::string& pattern, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& n) { return pattern_matches(pattern, n); });
}

/// Whether a pattern of some rows means the matrix of a plan, in which rows of query, key and value follow one another.
/// One that matches its name there does, so that the same line means the same rows to compress and to a session; else
/// it is the file's tensor.
bool means_matrix(const std::string& pattern, const Layer& l) {
  return any_matches(pattern, {l.matrix, l.node, l.node + ".weight"});
}

/// The rule as it concerns this layer, whatever its name; false where it does not.
Result<bool> concerns(const FormatPolicy::Rule& r, const Layer& l, FormatPolicy::Rule* own) {
  *own = r;
  own->pattern = "*";
  if (!r.some_rows()) return any_matches(r.pattern, names_of(l));
  if (!means_matrix(r.pattern, l)) return any_matches(r.pattern, names_of(l));
  if (r.end_row > l.matrix_rows)
    return fail(ErrorCode::kInvalidArgument, "policy, line {}: '{}' has {} rows, not the {} to {} of [{}:{}]", r.line,
                l.matrix, l.matrix_rows, r.first_row, r.end_row - 1, r.first_row, r.end_row);
  own->first_row = std::max<int64_t>(0, r.first_row - l.matrix_row);
  own->end_row = std::min(l.rows, r.end_row - l.matrix_row);
  return own->first_row < own->end_row;
}

Result<void> check_written(const Format& f, const std::string& what) {
  if (f.grid.coded() && (f.grid.zero_points || f.grid.scope == Scope::kTensor))
    return fail(ErrorCode::kInvalidArgument,
                "policy: {} has the format '{}', which no method writes; expected f32, or i2 to i8 by itself or in "
                "groups as in i4g32",
                what, to_string(f));
  if (!f.grid.coded() && f.dtype != DType::kF32)
    return fail(ErrorCode::kInvalidArgument,
                "policy: {} has the format '{}'; a checkpoint's floats stay as they are stored: write f32", what,
                to_string(f));
  return {};
}

}  // namespace

bool pattern_matches(const std::string& pattern, const std::string& name) {
  FormatPolicy one;
  one.rules.push_back({pattern, format_of("i8"), false, {}});
  return one.of(name, Grid{}).grid.coded();
}

const char* to_string(RowScales r) {
  switch (r) {
    case RowScales::kNone: return "";
    case RowScales::kDynamic: return "dynamic";
    case RowScales::kStatic: return "static";
    case RowScales::kMixed: return "mixed";
  }
  return "";
}

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all = {
#define RECIPE(...) Recipe{__VA_ARGS__},
#define TOKENS(...) token_recipe(__VA_ARGS__),
#define INPUT(...) input_recipe(__VA_ARGS__),
#define ATTENTION(...) attention_recipe(__VA_ARGS__),
#define ROWS(...) rows_recipe(__VA_ARGS__),
#include "compress/recipes.def"
#undef ROWS
#undef ATTENTION
#undef INPUT
#undef TOKENS
#undef RECIPE
  };
  return all;
}

Result<Choice> Choice::of_recipe(const std::string& names) {
  Choice c;
  c.name = names;
  std::string weights;  // the recipe that said it
  for (size_t at = 0; at <= names.size();) {
    const size_t end = std::min(names.find('+', at), names.size());
    const std::string whole = names.substr(at, end - at), name = whole.substr(0, whole.find(':'));
    at = end + 1;
    const auto found =
        std::find_if(recipes().begin(), recipes().end(), [&](const Recipe& r) { return name == r.name; });
    if (found == recipes().end())
      return fail(ErrorCode::kInvalidArgument, "compress: there is no recipe '{}'{}", name,
                  known_names(name, recipe_names()));
    double wide = found->wide;
    if (name != whole) {
      if (wide == 0)
        return fail(ErrorCode::kInvalidArgument, "compress: recipe '{}' takes no number, and '{}' gives it one", name,
                    whole);
      VIREO_ASSIGN(wide, percent_of(name, whole.substr(name.size() + 1)));
    }
    if (found->rows != RowScales::kNone) {
      if (c.rows != RowScales::kNone && c.rows != found->rows)
        return fail(ErrorCode::kInvalidArgument,
                    "compress: '{}' asks for rows with scales of their own and for one scale of all rows; give one of "
                    "them",
                    names);
      c.rows = found->rows;
    }
    if (*found->structure != '\0') {
      if (c.structure.any())
        return fail(ErrorCode::kInvalidArgument,
                    "compress: '{}' has two recipes that say what becomes narrower; give one of them", names);
      c.structure = StructureChoice::of_recipe(found->structure);
    }
    if (found->tokens > 0) {
      if (c.tokens > 0 && (c.tokens != found->tokens || c.searched != found->searched))
        return fail(ErrorCode::kInvalidArgument,
                    "compress: '{}' has two recipes that say how tokens are merged; give one of them", names);
      c.tokens = found->tokens, c.searched = found->searched;
    }
    if (found->input > 0) {
      if (c.input > 0 && c.input != found->input)
        return fail(ErrorCode::kInvalidArgument,
                    "compress: '{}' has two recipes that say how large the input is; give one of them", names);
      c.input = found->input;
    }
    if (*found->attention != '\0') c.attention = found->attention;
    if (*found->inner == '\0') continue;
    if (!weights.empty() && (c.inner != found->inner || c.others != found->others || c.wide != wide))
      return fail(ErrorCode::kInvalidArgument,
                  "compress: recipes '{}' and '{}' both say how weights are stored; give one of them", weights, name);
    weights = name, c.inner = found->inner, c.others = found->others, c.wide = wide;
  }
  // What becomes narrower must leave whole groups, or the linears behind it would take 8 bits instead.
  if (const Grid g = format_of(c.inner).grid; !c.inner.empty() && g.scope == Scope::kGroup)
    c.structure.columns = g.group;
  const bool others = c.structure.any() || c.tokens > 0 || c.input > 0 || !c.attention.empty();
  if (weights.empty() && (!others || c.rows != RowScales::kNone))
    return fail(ErrorCode::kInvalidArgument,
                "compress: recipe '{}' says nothing of weights; add one that does, for example 'w8+{}'", names, names);
  return c;
}

Result<Choice> Choice::of_policy(const std::string& text) {
  Choice c;
  c.by_policy = true;
  c.name = "policy";
  std::string formats = text;
  VIREO_ASSIGN(c.structure, StructureChoice::of_policy(&formats));
  VIREO_ASSIGN(c.grids, numbers_of_policy(&formats, "policy"));
  VIREO_ASSIGN(c.policy, parse_policy(formats, "policy"));
  if (c.policy.activations != DType::kF32 || c.policy.half_beside_codes)
    return fail(ErrorCode::kInvalidArgument,
                "policy: 'activations' are said when the model runs (--precision FILE), and a checkpoint does not hold "
                "them; leave this line out");
  if (c.policy.attention == Products::kBf16)
    return fail(ErrorCode::kInvalidArgument,
                "policy: 'attention bf16' is said when the model runs (--precision FILE), since few CPUs have it; a "
                "checkpoint holds 'attention i8' or nothing");
  if (c.policy.attention == Products::kI8) c.attention = "i8";
  if (c.policy.products == Products::kI8) c.rows = RowScales::kDynamic;
  VIREO_TRY(check_written(c.policy.matrices, "'weights'"));
  for (const FormatPolicy::Rule& r : c.policy.rules) {
    VIREO_TRY(check_written(r.format, "'" + r.pattern + "'"));
    if (r.rows.kind == RowCodes::Kind::kStatic)
      return fail(ErrorCode::kInvalidArgument,
                  "policy: '{}' gives its rows a scale, which compress finds on pictures: write i8 for a scale of each "
                  "row, or take a recipe such as w8a8static",
                  r.pattern);
  }
  return c;
}

Result<void> Choice::refine(const std::string& text) {
  VIREO_ASSIGN(Choice said, of_policy(text));
  if (said.policy.matrices != Format() || said.policy.products != Products::kF32)
    return fail(
        ErrorCode::kInvalidArgument,
        "policy: beside recipe '{}' only lines 'PATTERN FORMAT [ROWS]', 'block' and 'attention' count; leave out "
        "'weights' and 'products', which the recipe says",
        name);
  if (said.structure.any() && structure.any())
    return fail(ErrorCode::kInvalidArgument,
                "policy: recipe '{}' says what becomes narrower, and so do lines 'block'; give one of them", name);
  if (said.structure.any()) structure = std::move(said.structure);
  if (said.grids.any()) grids = std::move(said.grids);
  if (said.policy.attention) attention = std::move(said.attention);  // "" of `attention f32`
  policy.rules = std::move(said.policy.rules);
  return {};
}

Result<std::vector<Scheme>> Choice::schemes(const Layers& layers, std::vector<std::string>* notes) const {
  if (!attention.empty() && grids.attends())
    return fail(ErrorCode::kInvalidArgument,
                "compress: attention in int8 and the lines 'operands', 'softmax' or 'integer softmax' both say how "
                "attention is computed; leave one of them out");
  for (const FormatPolicy::Rule& r : policy.rules) {
    const bool used = std::any_of(layers.all.begin(), layers.all.end(), [&](const Layer& l) {
      return any_matches(r.pattern, names_of(l)) || (r.some_rows() && means_matrix(r.pattern, l));
    });
    if (!used)
      return fail(ErrorCode::kInvalidArgument,
                  "policy: '{}' names no weight of this model; expected names such as '{}' or '{}', with * for any "
                  "characters",
                  r.pattern, layers.all.empty() ? "head.weight" : layers.all[0].tensor,
                  layers.all.empty() ? "head" : layers.all[0].node);
  }
  std::vector<Scheme> all;
  size_t coarse = 0;
  std::string first_coarse;
  for (const Layer& l : layers.all) {
    Scheme s;
    RowScales wanted = rows;
    s.format = by_policy ? policy.matrices : format_of(l.kind == LayerKind::kInner ? inner : others);
    FormatPolicy own;  // the rules that name it
    own.name = policy.name, own.matrices = s.format;
    for (const FormatPolicy::Rule& r : policy.rules) {
      FormatPolicy::Rule rule;
      VIREO_ASSIGN(const bool named, concerns(r, l, &rule));
      if (!named) continue;
      if (r.says_rows) wanted = r.rows.coded() ? RowScales::kDynamic : RowScales::kNone;
      own.rules.push_back(std::move(rule));
    }
    std::vector<bool> by_row;
    VIREO_ASSIGN(s.format, own.of_rows(l.tensor, l.rows, &by_row));
    for (size_t r = 0; r < by_row.size(); ++r)
      if (by_row[r]) s.wide.push_back(int32_t(r));
    if (s.format.grid.bits == 4 && s.wide.empty() && l.kind == LayerKind::kInner)
      s.format.grid.wide = int32_t(std::lround(double(l.rows) * wide / 100));
    if (!s.wide.empty() && s.format.grid.bits != 4)
      return fail(
          ErrorCode::kInvalidArgument,
          "policy: rows of '{}' are to be of 8 bits and all others of {}; a checkpoint holds them beside 4 bits",
          l.tensor, s.format.grid.bits);
    if (s.format.grid.scope == Scope::kGroup && l.cols > s.format.grid.group && l.cols % s.format.grid.group != 0) {
      if (coarse++ == 0) first_coarse = l.tensor;
      s.format = format_of("i8");
      s.wide.clear();
    }
    if (s.format.grid.coded())
      s.method = method != nullptr && l.kind == LayerKind::kInner ? method : method_for(l, s.format);
    if (s.format.grid.coded() && !l.conv()) {
      s.rows = wanted;
      if (wanted == RowScales::kMixed) s.rows = l.behind_activation ? RowScales::kDynamic : RowScales::kStatic;
    }
    all.push_back(s);
  }
  if (coarse > 0)
    notes->push_back(
        fmt::format("{} have columns that the groups do not divide and take 8 bits per output channel; "
                    "first: {}",
                    fmt::format("{} of the weights", coarse), first_coarse));
  if (!structure.any() && tokens == 0 && input == 0 && attention.empty() && !grids.any() &&
      std::none_of(all.begin(), all.end(), [](const Scheme& s) { return s.format.grid.coded(); }))
    return fail(ErrorCode::kInvalidArgument, "compress: {} leaves every weight as it is: {}",
                by_policy ? "the policy" : "recipe '" + name + "'",
                layers.all.empty() ? "the model has no linears and convolutions that are compressed"
                                   : "give 'weights FORMAT' or 'PATTERN FORMAT' with a format such as i8 or i4g32");
  return all;
}

}  // namespace vireo::compress
