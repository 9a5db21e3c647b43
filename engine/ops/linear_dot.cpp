// linear.dot: codes times codes on Vulkan, where the device multiplies four pairs of bytes at once.
#include "ops/common.h"
#include "ops/linear.h"

namespace vireo {
namespace {
using namespace ops;
using linear::add_vectors, linear::sizes;
using linear::Consts, linear::Sizes;
using linear::kAct, linear::kNorm;
using linear::kX, linear::kWeight, linear::kResidualIn;

constexpr int64_t kTileRows = 32, kTileCols = 64;  // the shader's

Result<void> dot_accepts(const OpCall& c, const LowerContext& ctx) {
  const auto no = [](const char* why) { return fail(ErrorCode::kUnsupported, "{}", why); };
  const TensorDesc& w = *c.in[kWeight];
  if (!ctx.caps->integer_dot) return no("the device has no VK_KHR_shader_integer_dot_product");
  if (!ctx.caps->integer_dot_fast) return no("the device reports no accelerated dot product of signed bytes");
  if (!w.grid.coded() || !w.rows.coded()) return no("the policy leaves weight or rows floats");
  if (w.grid.scope == Scope::kGroup || w.grid.zero_points || w.grid.bits <= 4)
    return no("it takes codes of more than 4 bits with a scale per row and no zero points");
  if (c.iattr(kNorm) != 0) return no("it normalises no rows");
  if (sizes(c).k > (w.rows.zero != 0 ? 32768 : 65536)) return no("sums of so many products do not fit 32 bits");
  return {};
}

Result<Lowering> lower_dot(const OpCall& c, const LowerContext& ctx) {
  const Sizes s = sizes(c);
  const TensorDesc &x = *c.in[kX], *residual = c.input(kResidualIn);
  const RowCodes& rows = c.in[kWeight]->rows;
  const bool dynamic = rows.kind == RowCodes::Kind::kDynamic;
  Lowering l;
  l.consts.push_back(gpu_dots(kWeight, s.n, s.k, *c.in[kWeight]));
  const Consts at = add_vectors(c, s.n, l);
  Dispatch d;
  d.shader = "linear.dot";
  d.spec = {{"LX", 64},
            {"IN_TYPE", type_code(x.dtype)},
            {"W_TYPE", type_code(DType::kI8)},
            {"OUT_TYPE", type_code(c.out.dtype)},
            {"RES_TYPE", residual ? type_code(residual->dtype) : 0},
            {"ACT", u32(c.iattr(kAct))},
            {"BIAS", at.bias >= 0},
            {"COLSCALE", at.scale >= 0},
            {"RESIDUAL", residual != nullptr},
            {"DYNAMIC", dynamic},
            {"SUMS", l.consts[0].column_sums}};
  d.push = {{"M", u32(s.m)},
            {"N", u32(s.n)},
            {"K", u32(s.k)},
            {"a_ld4", u32(stride4(x))},
            {"o_ld4", u32(stride4(c.out))},
            {"r_ld4", u32(residual ? stride4(*residual) : groups4(s.n))},
            {"zero", u32(rows.zero)},
            {"row_scale", float_word(double(rows.scale))}};
  d.operands = {input(kX),
                constant(0),
                scales(0),
                at.bias >= 0 ? constant(at.bias) : dummy(),
                at.scale >= 0 ? constant(at.scale) : dummy(),
                residual ? input(kResidualIn) : dummy(),
                output()};
  d.groups[1] = u32(div_up(s.n, kTileCols));
  l.kernel = fmt::format("linear.dot {}x{}, rows by {}", kTileRows, kTileCols, dynamic ? "token" : "tensor");
  const double each = 2.0 * double(s.n) * double(s.k);
  const auto issued = [&](int64_t count) {
    return 2.0 * double(round_up(count, kTileRows) * round_up(s.n, kTileCols) * round_up(s.k, 32));
  };
  VIREO_TRY(cut_rows(c, ctx, d, s.m, kTileRows, each, issued, &l));
  return l;
}

}  // namespace

// Costs nothing to the planner, as linear.texel does, and stands before it.
extern const KernelDef kLinearDot;
const KernelDef kLinearDot = {"linear.dot", OpKind::kLinear, DeviceKind::kVulkan, dot_accepts, lower_dot, nullptr,
                              nullptr,      nullptr,         Rate::kInt8};

}  // namespace vireo
