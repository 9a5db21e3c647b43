// kernel_matrix: every kernel of a device is offered the conformance cases of its operator in every format. What it
// answers is the matrix; nothing here knows a kernel or an operator by name.
#include <algorithm>
#include <map>

#include <vireo/kernels.hpp>

#include "base/error.h"
#include "base/json.h"
#include "ops/kernel.h"
#include "plan/policy.h"

namespace vireo {
namespace {

/// One cell: how the kernel stores such weights ("" without weights), or why it takes none of the cases.
struct Cell {
  bool taken = false;
  bool chosen = false;  // of some case it is the cheapest
  std::string stored, reason;
};

/// What the rows of a product are: their type in memory, or what a CPU may round them to while it packs them.
struct Rows {
  const char* name;
  DType dtype;
  Products products;
  RowCodes::Kind codes = RowCodes::Kind::kNone;
};

constexpr Rows kVulkanRows[] = {{"f32", DType::kF32, Products::kF32},
                                {"f16", DType::kF16, Products::kF32},
                                {"i8", DType::kF32, Products::kI8, RowCodes::Kind::kDynamic}};
constexpr Rows kCpuRows[] = {{"f32", DType::kF32, Products::kF32},
                             {"bf16", DType::kF32, Products::kBf16},
                             {"i8", DType::kF32, Products::kI8, RowCodes::Kind::kDynamic}};
/// Vireo's own i8 has no code -128; those of checkpoints ("i8row") may. "i4+1xi8": a row of 8 bits among those of 4.
constexpr const char* kWeightNames[] = {"f32",    "f16", "i8",    "i8row",  "i8tensor", "u8",
                                        "i8g128", "i4",  "i4g32", "u4g128", "i4+1xi8"};

Result<Format> format_of(const char* name) {
  if (name == std::string("i8")) return Format{DType::kI8, Grid{8, Scope::kRow}};
  Format f;
  const bool mixed = name == std::string("i4+1xi8");
  if (!parse_format(name == std::string("i8row") ? "i8" : mixed ? "i4" : name, &f))
    return fail(ErrorCode::kInternal, "'{}' is no format", name);
  f.grid.wide = mixed ? 1 : 0;
  return f;
}

/// A case as a call; its descriptions live as long as it does.
struct Call {
  Call(const OpDef& def, const OpCase& what, const Rows& rows, const Format* weights) : attrs(what.attrs) {
    descs.resize(what.in.size());
    for (size_t i = 0; i < what.in.size(); ++i) {
      TensorDesc& d = descs[i];
      d.shape = what.in[i];
      d.layout = i == 0 && what.planar ? Layout::kPlanar : Layout::kRows;
      if (!what.constant[i] && d.layout == Layout::kRows) d.dtype = rows.dtype;
      if (!weights || int(i) != def.matrix) continue;
      d.dtype = weights->dtype, d.grid = weights->grid;
      if (d.grid.coded()) d.rows.kind = rows.codes;
    }
    call.name = what.label.c_str();
    call.attrs = &attrs;
    for (size_t i = 0; i < descs.size(); ++i) call.in.push_back(what.in[i].c() == 0 ? nullptr : &descs[i]);
  }
  Attrs attrs;
  std::vector<TensorDesc> descs;
  OpCall call;
};

Result<Cell> cell_of(const KernelDef& k, const Rows& rows, const Format* weights, const LowerContext& ctx) {
  const OpDef& def = op_def(k.op);
  Cell cell;
  for (const OpCase& what : def.cases()) {
    Call c(def, what, rows, weights);
    VIREO_ASSIGN(c.call.out, def.infer(c.call));
    c.call.out.dtype = rows.dtype;
    const Result<void> accepted = k.accepts ? k.accepts(c.call, ctx) : Result<void>();
    const Result<Lowering> lowered = accepted ? k.lower(c.call, ctx) : Result<Lowering>(accepted.error());
    if (!lowered) {
      if (cell.reason.empty()) cell.reason = lowered.error().message;
      continue;
    }
    if (!cell.taken && weights)
      for (const PackedConst& p : lowered->consts)
        if (p.operand == def.matrix) cell.stored = to_string(Format{p.dtype, p.grid});
    cell.taken = true;
    const Result<Lowering> best = lower_op(k.op, k.device, c.call, ctx);
    cell.chosen = cell.chosen || (best && best->by == &k);
    if (cell.chosen) break;
  }
  if (cell.taken) cell.reason.clear();
  return cell;
}

struct Row {
  const KernelDef* kernel = nullptr;
  const char* rows = "";
  const char* weights = "";  // "": the operator has none
  Cell cell;
};

Result<std::vector<Row>> rows_of(const DeviceCaps& caps) {
  const Tuning tuning = tuning_for(caps);
  const bool cpu = caps.kind == DeviceKind::kCpu;
  const Rows* const first = cpu ? std::begin(kCpuRows) : std::begin(kVulkanRows);
  const Rows* const last = cpu ? std::end(kCpuRows) : std::end(kVulkanRows);
  std::vector<Row> all;
  for (const KernelDef* k : all_kernels()) {
    if (k->device != caps.kind) continue;
    const bool matrix = op_def(k->op).matrix >= 0;
    for (const Rows* rows = first; rows != last; ++rows) {
      // Where no shader multiplies codes by codes, rows of codes are what floats are.
      if (!cpu && rows->codes != RowCodes::Kind::kNone && !(matrix && caps.integer_dot_fast)) continue;
      const LowerContext ctx{&caps, &tuning, rows->products, true, rows->products};
      if (!matrix) {
        VIREO_ASSIGN(Cell cell, cell_of(*k, *rows, nullptr, ctx));
        // Most do not care what products are rounded to.
        if (cpu && rows != first && cell.taken == all.back().cell.taken) continue;
        all.push_back({k, rows->name, "", std::move(cell)});
        continue;
      }
      for (const char* name : kWeightNames) {
        VIREO_ASSIGN(const Format weights, format_of(name));
        VIREO_ASSIGN(Cell cell, cell_of(*k, *rows, &weights, ctx));
        all.push_back({k, rows->name, name, std::move(cell)});
      }
    }
  }
  return all;
}

std::string as_json(const DeviceCaps& caps, const std::vector<Row>& rows) {
  using Json = OrderedJson;
  Json list = Json::array();
  for (const Row& r : rows) {
    Json cell = {{"operator", op_def(r.kernel->op).name}, {"kernel", r.kernel->name}, {"rows", r.rows}};
    if (*r.weights) cell["weights"] = r.weights;
    if (!r.cell.stored.empty()) cell["stored"] = r.cell.stored;
    if (r.cell.taken) cell["chosen"] = r.cell.chosen;
    else cell["reason"] = r.cell.reason;
    list.push_back(std::move(cell));
  }
  const Json j = {
      {"device", caps.name}, {"kind", to_string(caps.kind)}, {"class", to_string(caps.device_class)}, {"cells", list}};
  return write_json(j, 1) + "\n";
}

std::string as_text(const DeviceCaps& caps, const std::vector<Row>& rows) {
  std::vector<std::string> reasons;
  const auto text_of = [&reasons](const Cell& c) -> std::string {
    if (c.taken) return (c.stored.empty() ? "yes" : c.stored) + (c.chosen ? "*" : "");
    const auto known = std::find(reasons.begin(), reasons.end(), c.reason);
    const size_t number = size_t(known - reasons.begin()) + 1;
    if (known == reasons.end()) reasons.push_back(c.reason);
    return fmt::format("({})", number);
  };
  std::string s =
      fmt::format("kernels on {} ({}, class {})\n", caps.name, to_string(caps.kind), to_string(caps.device_class));
  s += "A cell says how the weights are stored; * where the planner takes the kernel for some of the operator's "
       "cases.\n";
  // Operators with a matrix: a line per kernel and type of rows.
  const KernelDef* last = nullptr;
  std::string head = fmt::format("\n{:22} {:5}", "kernel", "rows");
  for (const char* w : kWeightNames) head += fmt::format(" {:>8}", w);
  s += head + "\n";
  for (size_t i = 0; i < rows.size();) {
    const Row& r = rows[i];
    if (!*r.weights) {
      ++i;
      continue;
    }
    s += fmt::format("{:22} {:5}", r.kernel == last ? "" : r.kernel->name, r.rows);
    last = r.kernel;
    for (; i < rows.size() && rows[i].kernel == r.kernel && rows[i].rows == r.rows; ++i)
      s += fmt::format(" {:>8}", text_of(rows[i].cell));
    s += "\n";
  }
  s += fmt::format("\n{:22} {}\n", "kernel", "rows");
  for (size_t i = 0; i < rows.size();) {
    const KernelDef* k = rows[i].kernel;
    std::string line = fmt::format("{:22}", k->name);
    const bool shown = !*rows[i].weights;
    for (; i < rows.size() && rows[i].kernel == k; ++i)
      if (shown) line += fmt::format(" {} {:5}", rows[i].rows, text_of(rows[i].cell));
    if (!shown) continue;
    while (line.back() == ' ') line.pop_back();
    s += line + "\n";
  }
  if (!reasons.empty()) s += "\n";
  for (size_t i = 0; i < reasons.size(); ++i) s += fmt::format("({}) {}\n", i + 1, reasons[i]);
  return s;
}

}  // namespace

Result<std::string> kernel_matrix(const std::string& caps_text, bool json) {
  return no_throw([&]() -> Result<std::string> {
    VIREO_ASSIGN(const DeviceCaps caps, caps_from_text(caps_text, "caps"));
    VIREO_ASSIGN(const std::vector<Row> rows, rows_of(caps));
    return json ? as_json(caps, rows) : as_text(caps, rows);
  });
}

}  // namespace vireo
