// The table of operators, from ops.def.
#include "ops/op.h"

namespace vireo {

#define OP(kind, def) extern const OpDef def;
#include "ops/ops.def"
#undef OP

namespace {
const OpDef* const kDefs[] = {
#define OP(kind, def) &def,
#include "ops/ops.def"
#undef OP
};
}  // namespace

const OpDef& op_def(OpKind kind) { return *kDefs[size_t(kind)]; }

const std::vector<OpKind>& all_ops() {
  static const std::vector<OpKind> kinds = {
#define OP(kind, def) OpKind::k##kind,
#include "ops/ops.def"
#undef OP
  };
  return kinds;
}

Result<Attrs> make_attrs(OpKind kind, const std::vector<std::pair<const char*, double>>& named) {
  const OpDef& def = op_def(kind);
  Attrs a{};
  for (int i = 0; def.attrs[i].name; ++i) a[size_t(i)] = def.attrs[i].initial;
  for (const auto& [name, value] : named) {
    int i = 0;
    while (def.attrs[i].name && std::string(def.attrs[i].name) != name) ++i;
    if (!def.attrs[i].name) return fail(ErrorCode::kInternal, "operator {} has no attribute '{}'", def.name, name);
    a[size_t(i)] = value;
  }
  return a;
}

const char* to_string(Precision p) {
  switch (p) {
    case Precision::kFp32: return "fp32";
    case Precision::kFp16: return "fp16";
    case Precision::kInt8: return "int8";
    case Precision::kCheckpoint: return "checkpoint";
    case Precision::kW8A8: return "w8a8";
    case Precision::kAuto: return "auto";
  }
  return "?";
}

}  // namespace vireo
