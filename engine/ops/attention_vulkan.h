// What the Vulkan kernels of attention share: operands, constants and push constants that do not depend on the kernel,
// and how a long dispatch is cut.
#pragma once

#include "ops/attention.h"
#include "ops/common.h"

namespace vireo::attention {
using namespace ops;

/// What PARTITION=1 has beside the plain kernels: shaders/include/groups.glsl.
inline void add_groups(const Sizes& s, const Consts& at, bool texel, Dispatch& d) {
  const simd::TokenGroups& g = s.groups;
  d.shader += ".PARTITION=1";
  d.spec.add({{"MAP_H", u32(g.h)},
              {"MAP_W", u32(g.w)},
              {"GROUP_H", u32(g.group_h)},
              {"GROUP_W", u32(g.group_w)},
              {"STEP_H", u32(g.step_h)},
              {"STEP_W", u32(g.step_w)},
              {"SHIFT_H", u32(g.shift_h)},
              {"SHIFT_W", u32(g.shift_w)},
              {"BIAS", at.bias >= 0},
              {"PAD", at.pad >= 0}});
  const BindKind kind = texel ? BindKind::kTexelF32 : BindKind::kStorage;
  d.operands.insert(d.operands.end() - 1, {at.bias >= 0 ? constant(at.bias, kind) : dummy(kind),
                                           at.pad >= 0 ? constant(at.pad, kind) : dummy(kind)});
}

/// What does not depend on the kernel.
struct Attention {
  Attention(const OpCall& c, const LowerContext& context)
      : call(c),
        ctx(context),
        s(sizes(c)),
        x(*c.in[kX]),
        aligned(s.dim % 4 == 0 && s.vdim % 4 == 0),
        at(add_consts(c, s, lowering)) {
    lowering.out_f32 = !aligned;  // two heads would share a 32-bit word of halves
  }

  /// `kind`: how the rows of x are bound.
  Dispatch begin(const char* shader, BindKind kind) const {
    Dispatch d;
    d.shader = shader;
    d.spec = {{"OUT_TYPE", lowering.out_f32 ? type_code(DType::kF32) : type_code(call.out.dtype)},
              {"HD", u32(s.dim)},
              {"VD", u32(s.vdim)},
              {"ALIGNED", aligned}};  // the offsets of k and v are multiples of dim
    d.push = {{"n_q", u32(s.tokens)},
              {"n_kv", u32(s.tokens)},
              {"heads", u32(s.heads)},
              {"q_ld4", u32(groups4(s.row()))},
              {"k_ld4", u32(groups4(s.row()))},
              {"v_ld4", u32(groups4(s.row()))},
              {"o_ld4", u32(groups4(s.width()))},
              {"q_off", 0},
              {"k_off", u32(s.keys_at())},
              {"v_off", u32(s.values_at())},
              {"scale", float_word(scale_of(call))}};
    d.operands = {input(kX, kind), input(kX, kind), input(kX, kind), output()};
    if (!s.plain) add_groups(s, at, kind != BindKind::kStorage, d);
    if (const TensorDesc* keys = call.input(kKeyBias)) {
      d.shader += ".PARTITION=2";
      if (kind == BindKind::kStorage) d.spec.add("KEY_TYPE", type_code(keys->dtype));
      d.operands.insert(d.operands.end() - 1,
                        input(kKeyBias, kind == BindKind::kStorage ? kind : texel_kind(keys->dtype)));
    }
    return d;
  }

  /// A long dispatch is cut along the queries, of which a workgroup has `rows`, or between groups; work(queries, depth)
  /// tells what is computed.
  template <typename Worked>
  Result<Lowering> finish(const Dispatch& whole, int64_t rows, const Worked& work) {
    if (!s.plain)
      lowering.kernel = fmt::format("{}, {}x{} tokens", lowering.kernel, s.groups.group_h, s.groups.group_w);
    if (call.input(kKeyBias)) lowering.kernel += ", key bias";
    if (ctx.attention_asked && ctx.attention != Products::kF32) lowering.kernel += kStayFloats;
    const int64_t all = s.batch * s.groups.count(), blocks = div_up(s.tokens, rows);
    const double flops = 2.0 * double(s.heads * (s.dim + s.vdim)) * double(s.tokens) * double(s.tokens),
                 most = ctx.tuning->max_dispatch_flops;
    const int64_t per_part = blocks_per_dispatch(s.plain ? flops * double(all) : flops, most, blocks);
    const int64_t per_z = s.plain ? all
                                  : std::min<int64_t>(blocks_per_dispatch(flops * double(all), most, all),
                                                      ctx.caps->max_workgroup_count[2]);
    for (int64_t z = 0; z < all; z += per_z)
      for (int64_t first = 0; first < blocks; first += per_part) {
        Dispatch part = whole;
        part.push.add("q0", u32(first * rows));
        if (!s.plain) part.push.add("z0", u32(z));
        const int64_t queries = std::min(s.tokens, (first + per_part) * rows) - first * rows,
                      depth = std::min(per_z, all - z);
        part.work = work(queries, depth);
        part.work.flops = flops * double(depth) * double(queries) / double(s.tokens);
        part.groups = {u32(std::min(per_part, blocks - first)), u32(s.heads), u32(depth)};
        VIREO_TRY(check_grid(call, *ctx.caps, part.groups));
        lowering.dispatches.push_back(std::move(part));
      }
    return std::move(lowering);
  }

  const OpCall& call;
  const LowerContext& ctx;
  Sizes s;
  const TensorDesc& x;
  bool aligned;
  Lowering lowering;
  Consts at;
};

}  // namespace vireo::attention
