#version 450
// variants: TEXEL=0|1
// NHWC rows at another size by PyTorch's rules, plus an optional residual of the output's shape. An invocation makes 4 channels of a pixel.
// TEXEL=1 reads the input through a uniform texel buffer.
//
// Bindings: 0 x rows [B*IH*IW], 1 residual rows [B*OH*OW] (RESIDUAL), 2 out rows [B*OH*OW].
// Constants: 0 LX, 1 IN_TYPE (TEXEL=0), 3 OUT_TYPE, 4 RES_TYPE, 8 RESIDUAL, 10 MODE (0 nearest, 1 bilinear, 2 bicubic), 11 ALIGN (corners).
// Push constants: B, IH, IW, OH, OW, c4 (groups of channels), i_ld4, o_ld4, r_ld4, ratio_h, ratio_w (float: input positions per output position).
// Grid: flat, ceil(B * OH * OW * c4 / LX) workgroups.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#include "interpolate.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 3) const uint OUT_TYPE = 0u;
layout(constant_id = 4) const uint RES_TYPE = 0u;
layout(constant_id = 8) const uint RESIDUAL = 0u;
layout(constant_id = 10) const uint MODE = 1u;
layout(constant_id = 11) const uint ALIGN = 0u;

#if TEXEL
layout(set = 0, binding = 0) uniform samplerBuffer x;
#define LOAD_X(g) texelFetch(x, int(g))
#else
layout(constant_id = 1) const uint IN_TYPE = 0u;
layout(set = 0, binding = 0) readonly buffer X32 { vec4 x32[]; };
layout(set = 0, binding = 0) readonly buffer X16 { uvec2 x16[]; };
#define LOAD_X(g) (IN_TYPE == F32 ? x32[g] : from_half4(x16[g]))
#endif
layout(set = 0, binding = 1) readonly buffer Res32 { vec4 res32[]; };
layout(set = 0, binding = 1) readonly buffer Res16 { uvec2 res16[]; };
layout(set = 0, binding = 2) writeonly buffer Out32 { vec4 out32[]; };
layout(set = 0, binding = 2) writeonly buffer Out16 { uvec2 out16[]; };

layout(push_constant) uniform Push { uint B, IH, IW, OH, OW, c4, i_ld4, o_ld4, r_ld4; float ratio_h, ratio_w; } p;

void main()
{
    const uint i = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * LX + gl_LocalInvocationID.x;
    const uint g = i % p.c4, pixel = i / p.c4;
    const uint ox = pixel % p.OW, line = pixel / p.OW, oy = line % p.OH, image = line / p.OH;
    if (image >= p.B) return;
    const uint first = image * p.IH * p.IW;

    vec4 v = vec4(0.0);
    if (MODE == NEAREST) {
        const uint y = min(uint(floor(float(oy) * p.ratio_h)), p.IH - 1u), x0 = min(uint(floor(float(ox) * p.ratio_w)), p.IW - 1u);
        v = LOAD_X((first + y * p.IW + x0) * p.i_ld4 + g);
    } else if (MODE == BILINEAR) {
        float fy, fx;
        const uint y0 = linear_from(oy, p.ratio_h, ALIGN != 0u, p.IH, fy), x0 = linear_from(ox, p.ratio_w, ALIGN != 0u, p.IW, fx);
        const uint y1 = min(y0 + 1u, p.IH - 1u), x1 = min(x0 + 1u, p.IW - 1u);
        const uint a = first + y0 * p.IW, b = first + y1 * p.IW;
        const vec4 upper = LOAD_X((a + x0) * p.i_ld4 + g) * (1.0 - fx) + LOAD_X((a + x1) * p.i_ld4 + g) * fx;
        const vec4 lower = LOAD_X((b + x0) * p.i_ld4 + g) * (1.0 - fx) + LOAD_X((b + x1) * p.i_ld4 + g) * fx;
        v = upper * (1.0 - fy) + lower * fy;
    } else {
        vec4 wy, wx;
        const int y0 = cubic_from(oy, p.ratio_h, ALIGN != 0u, wy) - 1, x0 = cubic_from(ox, p.ratio_w, ALIGN != 0u, wx) - 1;
        [[unroll]] for (int y = 0; y < 4; ++y) {
            const uint start = first + uint(clamp(y0 + y, 0, int(p.IH) - 1)) * p.IW;
            vec4 row = vec4(0.0);
            [[unroll]] for (int j = 0; j < 4; ++j) row += LOAD_X((start + uint(clamp(x0 + j, 0, int(p.IW) - 1))) * p.i_ld4 + g) * wx[j];
            v += row * wy[y];
        }
    }
    if (RESIDUAL != 0u) {
        const uint from = pixel * p.r_ld4 + g;
        v += RES_TYPE == F32 ? res32[from] : from_half4(res16[from]);
    }
    const uint to = pixel * p.o_ld4 + g;
    if (OUT_TYPE == F32) out32[to] = v;
    else out16[to] = to_half4(v);
}
