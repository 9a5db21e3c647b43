#include "model/number_grids.h"

#include <algorithm>
#include <cmath>

#include "base/names.h"
#include "model/json.h"
#include "ops/attention.h"

namespace vireo {
namespace {

constexpr size_t kMostFits = 4096, kMostNumbers = 1 << 20;

struct RoundingName {
  const char* name;
  Rounding NumberGrids::*to;
};
constexpr RoundingName kRoundings[] = {{"rows", &NumberGrids::rows},
                                       {"gelu", &NumberGrids::gelu},
                                       {"operands", &NumberGrids::operands},
                                       {"softmax", &NumberGrids::softmax},
                                       {"layernorm", &NumberGrids::layernorm}};
struct FunctionName {
  const char* name;
  IntegerFunction NumberGrids::*to;
  int most_bits;
};
constexpr FunctionName kFunctions[] = {{"softmax", &NumberGrids::integer_softmax, 8},
                                       {"gelu", &NumberGrids::integer_gelu, 8},
                                       {"layernorm", &NumberGrids::integer_layernorm, 16}};

Error unknown(const std::string& where, const std::string& key, const std::vector<std::string>& known) {
  return fail(ErrorCode::kUnsupported, "{} has the key '{}', which this Vireo does not know{}. Use a newer Vireo",
              where, key, known_names(key, known));
}

/// "scope": "token" (the default) or "tensor".
Result<bool> is_tensor(const std::string& scope, const std::string& where) {
  if (scope != "token" && scope != "tensor")
    return fail(ErrorCode::kUnsupported,
                "{} has the scope '{}'; this Vireo knows 'token' and 'tensor'. Use a newer Vireo", where, scope);
  return scope == "tensor";
}

Result<void> parse_rounding(const Json& json, const std::string& where, const std::string& source, Rounding* to) {
  for (const auto& [key, value] : json.items())
    if (key != "grid" && key != "bits" && key != "scope") return unknown(where, key, {"grid", "bits", "scope"});
  std::string grid, scope = "token";
  int64_t bits = 0;
  Fields f(json, source);
  f.string("grid", &grid);
  f.string("scope", &scope);
  f.integer("bits", &bits, 2, 8);
  VIREO_TRY(f.status());
  to->grid = find_row_grid(grid);
  if (to->grid == nullptr) {
    std::vector<std::string> known;
    for (const RowGrid* g : row_grids()) known.push_back(g->name);
    return fail(ErrorCode::kUnsupported, "{} has the grid '{}', which this Vireo does not know{}. Use a newer Vireo",
                where, grid, known_names(grid, known));
  }
  if (bits == 0) return fail(ErrorCode::kCorrupt, "{} says no bits, expected 2 to 8", where);
  to->bits = int(bits);
  VIREO_ASSIGN(to->tensor, is_tensor(scope, where));
  return {};
}

Result<void> parse_function(const Json& json, const std::string& where, const std::string& source, int most,
                            IntegerFunction* to) {
  for (const auto& [key, value] : json.items())
    if (key != "bits" && key != "scope") return unknown(where, key, {"bits", "scope"});
  std::string scope = "token";
  int64_t bits = 0;
  Fields f(json, source);
  f.string("scope", &scope);
  f.integer("bits", &bits, 2, most);
  VIREO_TRY(f.status());
  if (bits == 0) return fail(ErrorCode::kCorrupt, "{} says no bits, expected 2 to {}", where, most);
  to->bits = int(bits);
  VIREO_ASSIGN(to->tensor, is_tensor(scope, where));
  return {};
}

Result<void> parse_fits(const Json& json, const std::string& where, NumberGrids* grids) {
  if (!json.is_object() || json.size() > kMostFits)
    return fail(ErrorCode::kCorrupt, "{} is {}, expected lists of numbers by name, at most {}", where,
                json.is_object() ? "too long" : json_text(json), kMostFits);
  for (const auto& [name, list] : json.items()) {
    if (!list.is_array() || list.size() > kMostNumbers ||
        !std::all_of(list.begin(), list.end(), [](const Json& n) { return n.is_number(); }))
      return fail(ErrorCode::kCorrupt, "{}.{} is {}, expected a list of numbers", where, name, json_text(list));
    std::vector<double>& fit = grids->fits[name];
    for (const Json& n : list) fit.push_back(n.get<double>());
  }
  return {};
}

/// A graph's nodes in a new order with new ones among them.
class Rewriter {
 public:
  Rewriter(const NumberGrids& grids, const std::string& source, Graph* graph)
      : grids_(grids), source_(source), g_(*graph) {}

  Result<void> run() {
    std::vector<Node> before = std::move(g_.nodes);
    g_.nodes.clear();
    for (Node& n : before) VIREO_TRY(take(std::move(n)));
    return validate(g_);
  }

 private:
  bool is_activation(ValueId v) const {
    return std::any_of(g_.nodes.begin(), g_.nodes.end(), [&](const Node& n) {
      return n.output == v && (op_def(n.op).activation > 0 || n.op == OpKind::kSwiglu || n.op == OpKind::kIntegerGelu);
    });
  }

  Result<void> take(Node n) {
    if (n.op == OpKind::kLinear) VIREO_TRY(round_linear(&n));
    if (n.op == OpKind::kLayerNorm) VIREO_TRY(norm(&n));
    if ((n.op == OpKind::kGeluErf || n.op == OpKind::kGeluTanh) && grids_.integer_gelu.bits > 0)
      n.op = OpKind::kIntegerGelu,
      n.attrs = attrs({double(grids_.integer_gelu.bits), double(grids_.integer_gelu.tensor)});
    if (n.op == OpKind::kAttention && grids_.attends()) VIREO_TRY(attend(&n));
    g_.nodes.push_back(std::move(n));
    return {};
  }

  /// Linears within the network: not what gives the answer, and not on one row of a picture.
  Result<void> round_linear(Node* n) {
    const bool answers = std::find(g_.outputs.begin(), g_.outputs.end(), n->output) != g_.outputs.end();
    if (answers || g_.value(n->inputs[0]).desc.shape.h() * g_.value(n->inputs[0]).desc.shape.w() == 1) return {};
    const Rounding& r = is_activation(n->inputs[0]) && grids_.gelu.grid != nullptr ? grids_.gelu : grids_.rows;
    return r.grid != nullptr ? round(r, g_.value(n->inputs[0]).name, n) : Result<void>();
  }

  Result<void> norm(Node* n) {
    if (grids_.layernorm.grid != nullptr) return round(grids_.layernorm, n->name + " in", n);
    if (grids_.integer_layernorm.bits == 0) return {};
    if (n->inputs.size() > 3 && n->inputs[3] != kNoValue)
      return fail(ErrorCode::kUnsupported,
                  "'{}': '{}' adds what it normalises to another value, which is not computed in integers", source_,
                  n->name);
    n->op = OpKind::kIntegerNorm;
    n->inputs.resize(3);
    n->attrs = attrs({double(grids_.integer_layernorm.bits), double(grids_.integer_layernorm.tensor)});
    return {};
  }

  Result<void> attend(Node* n) {
    const OpCall call = op_call(g_, *n);
    const attention::Sizes s = attention::sizes(call);
    if (!s.plain || call.input(attention::kPad) != nullptr)
      return fail(ErrorCode::kUnsupported,
                  "'{}': '{}' attends in windows or with a bias, whose operands and probabilities are not rounded",
                  source_, n->name);
    ValueId fit = kNoValue;
    if (grids_.softmax.fitted()) {
      VIREO_ASSIGN(fit, fitted(grids_.softmax, n->name + " in", s.tokens));
    }
    const ValueId keys = n->inputs.size() > attention::kKeyBias ? n->inputs[attention::kKeyBias] : kNoValue;
    n->op = OpKind::kRoundedAttention;
    n->attrs = attrs({double(s.heads), attention::scale_of(call), double(s.dim), number(grids_.operands) + 1,
                      double(grids_.operands.bits), double(grids_.operands.tensor), number(grids_.softmax) + 1,
                      double(grids_.softmax.bits), double(grids_.softmax.tensor), double(grids_.integer_softmax.bits),
                      double(grids_.integer_softmax.tensor)});
    n->inputs = {n->inputs[0], fit, keys};
    return {};
  }

  /// Its first operand becomes rounded for it alone.
  Result<void> round(const Rounding& r, const std::string& key, Node* n) {
    const ValueId x = n->inputs[0];
    ValueId fit = kNoValue;
    if (r.fitted()) {
      VIREO_ASSIGN(fit, fitted(r, key, g_.value(x).desc.shape.c()));
    }
    Node rounding;
    rounding.name = n->name + ".rounded", rounding.op = OpKind::kRound;
    rounding.attrs = attrs({number(r), double(r.bits), double(r.tensor)});
    rounding.inputs = {x, fit};
    Value v;
    v.name = rounding.name, v.desc.shape = g_.value(x).desc.shape;
    g_.values.push_back(std::move(v));
    rounding.output = n->inputs[0] = ValueId(g_.values.size() - 1);
    g_.nodes.push_back(std::move(rounding));
    return {};
  }

  /// What the grid found for this value, as a constant.
  Result<ValueId> fitted(const Rounding& r, const std::string& key, int64_t cols) {
    const auto found = grids_.fits.find(key);
    if (found == grids_.fits.end() || !r.grid->sound(found->second, cols))
      return fail(
          ErrorCode::kCorrupt,
          "'{}': quantization_config.vireo.grids.fits has {} '{}', which '{}' rounds; expected {} numbers of that "
          "grid",
          source_, found == grids_.fits.end() ? "nothing for" : "no such numbers for", key, r.grid->name,
          r.grid->numbers(cols));
    Value v;
    v.name = key + ".fit";
    v.constant =
        make_constant(1, int64_t(found->second.size()), std::vector<float>(found->second.begin(), found->second.end()));
    v.desc.shape = Shape{{1, 1, 1, v.constant->cols()}};
    g_.values.push_back(std::move(v));
    return ValueId(g_.values.size() - 1);
  }

  /// Of row_grids(); -1: none.
  static double number(const Rounding& r) {
    const auto& all = row_grids();
    return r.grid == nullptr ? -1 : double(std::find(all.begin(), all.end(), r.grid) - all.begin());
  }
  static Attrs attrs(std::initializer_list<double> values) {
    Attrs a{};
    std::copy(values.begin(), values.end(), a.begin());
    return a;
  }

  const NumberGrids& grids_;
  const std::string& source_;
  Graph& g_;
};

}  // namespace

Result<NumberGrids> parse_number_grids(const Json& section, const std::string& where, const std::string& source) {
  NumberGrids grids;
  for (const auto& [key, value] : section.items()) {
    const std::string here = where + "." + key;
    if (!value.is_object()) return fail(ErrorCode::kCorrupt, "{} is {}, expected an object", here, json_text(value));
    if (key == "fits") {
      VIREO_TRY(parse_fits(value, here, &grids));
      continue;
    }
    if (key == "integer") {
      for (const auto& [name, how] : value.items()) {
        const auto* const f = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                           [&n = name](const FunctionName& each) { return n == each.name; });
        if (f == std::end(kFunctions)) return unknown(here, name, {"softmax", "gelu", "layernorm"});
        if (!how.is_object())
          return fail(ErrorCode::kCorrupt, "{}.{} is {}, expected an object", here, name, json_text(how));
        VIREO_TRY(parse_function(how, here + "." + name, source, f->most_bits, &(grids.*f->to)));
      }
      continue;
    }
    const auto* const r = std::find_if(std::begin(kRoundings), std::end(kRoundings),
                                       [&k = key](const RoundingName& each) { return k == each.name; });
    if (r == std::end(kRoundings))
      return unknown(where, key, {"rows", "gelu", "operands", "softmax", "layernorm", "integer", "fits"});
    VIREO_TRY(parse_rounding(value, here, source, &(grids.*r->to)));
  }
  if (grids.operands.fitted())
    return fail(ErrorCode::kCorrupt, "{}.operands has the grid '{}', which is fitted to rows of one length", where,
                grids.operands.grid->name);
  if (grids.layernorm.grid != nullptr && grids.integer_layernorm.bits > 0)
    return fail(ErrorCode::kCorrupt, "{} says twice what LayerNorms are given: layernorm and integer.layernorm", where);
  return grids;
}

std::string number_grids_text(const NumberGrids& grids) {
  OrderedJson j = OrderedJson::object();
  const auto scope = [](bool tensor) { return tensor ? "tensor" : "token"; };
  for (const RoundingName& r : kRoundings) {
    const Rounding& x = grids.*r.to;
    if (x.grid == nullptr) continue;
    j[r.name] = OrderedJson{{"grid", x.grid->name}, {"bits", x.bits}};
    if (!x.fitted()) j[r.name]["scope"] = scope(x.tensor);
  }
  for (const FunctionName& f : kFunctions) {
    const IntegerFunction& x = grids.*f.to;
    if (x.bits > 0) j["integer"][f.name] = OrderedJson{{"bits", x.bits}, {"scope", scope(x.tensor)}};
  }
  for (const auto& [name, fit] : grids.fits) j["fits"][name] = fit;
  return write_json(j);
}

Result<void> round_numbers(const NumberGrids& grids, const std::string& source, Graph* graph) {
  return Rewriter(grids, source, graph).run();
}

}  // namespace vireo
