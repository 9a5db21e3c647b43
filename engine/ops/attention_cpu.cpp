// The CPU kernels of attention: attention.simd, attention.bf16 and attention.int8.
#include "ops/attention.h"
#include "ops/common.h"

namespace vireo {
namespace {
using namespace ops;
using attention::add_consts, attention::scale_of, attention::sizes, attention::Sizes;
using attention::kX, attention::kBias, attention::kPad, attention::kKeyBias;

simd::AttentionArgs args_of(const OpCall& c, const float* x, float* out) {
  const Sizes s = sizes(c);
  return simd::AttentionArgs::from_qkv(x, c.in[kX]->row_stride(), s.batch, s.tokens, s.heads, s.dim, float(scale_of(c)),
                                       out, c.out.row_stride(), s.vdim);
}

simd::AttentionArgs args_of(const CpuCall& call) {
  const OpCall& c = *call.op;
  simd::AttentionArgs a = args_of(c, call.rows(kX), call.result());
  if (const TensorDesc* keys = c.input(kKeyBias)) {
    // One row serves all heads and queries of an image.
    a.bias = call.rows(kKeyBias), a.bias_batch = a.batch, a.bias_batch_stride = keys->row_stride();
    a.bias_head_stride = a.bias_ld = 0;
  }
  return a;
}

simd::GroupAttentionArgs group_args_of(const OpCall& c) {
  const Sizes s = sizes(c);
  simd::GroupAttentionArgs a;
  a.ldx = c.in[kX]->row_stride(), a.groups = s.groups, a.batch = s.batch, a.heads = s.heads, a.head_dim = s.dim,
  a.value_dim = s.vdim, a.scale = float(scale_of(c));
  a.bias_ld = round_up(s.tokens, 4), a.ldo = c.out.row_stride();
  return a;
}

Result<Lowering> lower_cpu(const OpCall& c, const LowerContext& ctx) {
  Lowering l;
  const Sizes s = sizes(c);
  add_consts(c, s, l);
  const simd::Kernels& k = kernels_for(*ctx.caps);
  l.scratch_bytes = s.plain ? scratch_for(ctx, k.attention, args_of(c, nullptr, nullptr))
                            : scratch_for(ctx, k.group_attention, group_args_of(c));
  l.kernel = c.input(kKeyBias) ? "flash attention, key bias"
             : s.plain         ? "flash attention"
                               : "flash attention in groups";
  if (ctx.attention_asked && ctx.attention != Products::kF32) l.kernel += attention::kStayFloats;
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  if (sizes(c).plain) return run_kernel(call, call.kernels->attention, args_of(call));
  simd::GroupAttentionArgs a = group_args_of(c);
  a.x = call.rows(kX), a.out = call.result();
  int next = 0;
  if (c.input(kBias)) a.bias = reinterpret_cast<const float*>(call.consts[next++]);
  if (c.input(kPad)) a.pad = reinterpret_cast<const float*>(call.consts[next++]);
  run_kernel(call, call.kernels->group_attention, a);
}

double exponentials(const OpCall& c) {
  return op_def(OpKind::kAttention).cost(c).flops / (2 * double(sizes(c).dim + sizes(c).vdim));
}

// ---- attention.int8 and attention.bf16: the factors of both products are rounded

Result<void> accepts(Products wanted, const OpCall& c, const LowerContext& ctx) {
  const auto no = [](const char* why) { return fail(ErrorCode::kUnsupported, "{}", why); };
  if (ctx.attention != wanted) return no("the policy has attention's products otherwise");
  // Not within a Vulkan plan, as for linears.
  if (ctx.caps->kind != DeviceKind::kCpu) return no("steps of a Vulkan plan are the same on every CPU");
  if (!sizes(c).plain) return no("it takes no groups of tokens and no table of biases");
  return {};
}

/// `name`: of the products, in plans.
Lowering lower_rounded(const OpCall& c, const LowerContext& ctx, const simd::Kernel<simd::AttentionArgs>& kernel,
                       const char* name) {
  Lowering l;
  add_consts(c, sizes(c), l);
  l.scratch_bytes = scratch_for(ctx, kernel, args_of(c, nullptr, nullptr));
  l.kernel = fmt::format("attention {}{}", name, c.input(kKeyBias) ? ", key bias" : "");
  return l;
}

Result<void> int8_accepts(const OpCall& c, const LowerContext& ctx) { return accepts(Products::kI8, c, ctx); }
Result<Lowering> lower_int8(const OpCall& c, const LowerContext& ctx) {
  const simd::Kernels& k = kernels_for(*ctx.caps);
  return lower_rounded(c, ctx, k.attention_i8, k.int8_name);
}
void run_int8(const CpuCall& call) { run_kernel(call, call.kernels->attention_i8, args_of(call)); }

Result<void> bf16_accepts(const OpCall& c, const LowerContext& ctx) {
  VIREO_TRY(accepts(Products::kBf16, c, ctx));
  if (kernels_for(*ctx.caps).attention_bf16.run == nullptr)
    return fail(ErrorCode::kUnsupported, "this CPU has no fast dot product of bfloat16");
  return {};
}
Result<Lowering> lower_bf16(const OpCall& c, const LowerContext& ctx) {
  const simd::Kernels& k = kernels_for(*ctx.caps);
  return lower_rounded(c, ctx, k.attention_bf16, k.bf16_name);
}
void run_bf16(const CpuCall& call) { run_kernel(call, call.kernels->attention_bf16, args_of(call)); }

}  // namespace

extern const KernelDef kAttentionInt8Cpu, kAttentionBf16Cpu, kAttentionCpu;
const KernelDef kAttentionInt8Cpu = [] {
  KernelDef k = cpu_kernel("attention.int8", OpKind::kAttention, lower_int8, run_int8);
  k.accepts = int8_accepts, k.cost = integer_cost, k.rate = Rate::kInt8, k.exponentials = exponentials;
  return k;
}();
const KernelDef kAttentionBf16Cpu = [] {
  KernelDef k = cpu_kernel("attention.bf16", OpKind::kAttention, lower_bf16, run_bf16);
  k.accepts = bf16_accepts, k.cost = bf16_cost, k.rate = Rate::kHalf, k.exponentials = exponentials;
  return k;
}();
const KernelDef kAttentionCpu = [] {
  KernelDef k = cpu_kernel("attention.simd", OpKind::kAttention, lower_cpu, cpu);
  k.cost = fp32_cost, k.exponentials = exponentials;
  return k;
}();

}  // namespace vireo
