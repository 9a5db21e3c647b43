// The CPU kernels of attention: attention.simd.
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
  return l;
}

void cpu(const CpuCall& call) {
  const OpCall& c = *call.op;
  if (sizes(c).plain) {
    simd::AttentionArgs a = args_of(c, call.in[kX], call.out);
    if (const TensorDesc* keys = c.input(kKeyBias)) {
      // One row serves all heads and queries of an image.
      a.bias = call.in[kKeyBias], a.bias_batch = a.batch, a.bias_batch_stride = keys->row_stride();
      a.bias_head_stride = a.bias_ld = 0;
    }
    return run_kernel(call, call.kernels->attention, a);
  }
  simd::GroupAttentionArgs a = group_args_of(c);
  a.x = call.in[kX], a.out = call.out;
  int next = 0;
  if (c.input(kBias)) a.bias = reinterpret_cast<const float*>(call.consts[next++]);
  if (c.input(kPad)) a.pad = reinterpret_cast<const float*>(call.consts[next++]);
  run_kernel(call, call.kernels->group_attention, a);
}

}  // namespace

extern const KernelDef kAttentionCpu;
const KernelDef kAttentionCpu = [] {
  KernelDef k = cpu_kernel("attention.simd", OpKind::kAttention, lower_cpu, cpu);
  k.exponentials = [](const OpCall& c) {
    return op_def(OpKind::kAttention).cost(c).flops / (2 * double(sizes(c).dim + sizes(c).vdim));
  };
  return k;
}();

}  // namespace vireo
