#version 450
// variants: TEXEL=0|1 PHASES=0|1
// Convolution as an implicit matrix product: an invocation computes R output pixels x 4 channels, so each group of weights is used R times. The
// input is a planar picture (NCHW f32) or rows (NHWC). TEXEL=1 reads input and weights through uniform texel buffers.
//
// Bindings: 0 input, 1 W, 2 wscale, 3 bias, 4 colscale, 5 residual, 6 out rows.
// Constants: 0 LX, 1 IN_TYPE (TEXEL=0), 2 W_TYPE, 3 OUT_TYPE, 4 RES_TYPE, 5 ACT, 6 BIAS, 7 COLSCALE, 8 RESIDUAL, 10 R,
//            11 PLANAR, 12 LY, 13 PADDED (0: there is no padding, so every tap lies in the picture and nothing is checked).
// PLANAR: 0 rows; 1 planar; 2 planar in groups of 4 along x (IW, KW, stride_w, pad_w multiples of 4, dil_w 1).
// K order of the weights: planar (cin, ky, kx); rows (ky, kx, cin padded to a multiple of 4).
// Push constants: M = B * OH * OW, N, IC, IH, IW, OH, OW, KH, KW, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, i_ld4 (of rows), o_ld4, r_ld4,
//            m0.
// Grid: x = ceil((M - m0) / (R * LY)), y = ceil(N4 / LX).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if PHASES
#extension GL_ARB_shader_clock : require
#endif
#include "types.glsl"
#include "activation.glsl"
#define OUT_BINDING 6
#include "epilogue.glsl"
#define PHASES_BINDING 7
#include "phases.glsl"

layout(local_size_x_id = 0, local_size_y_id = 12) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 12) const uint LY = 1u;
layout(constant_id = 10) const uint R = 4u;
layout(constant_id = 11) const uint PLANAR = 0u;
layout(constant_id = 13) const uint PADDED = 1u;

#if TEXEL
layout(set = 0, binding = 0) uniform samplerBuffer x;
layout(set = 0, binding = 1) uniform samplerBuffer w;
#define LOAD1(e) texelFetch(x, int(e)).x
#define LOAD4(g) texelFetch(x, int(g))
#define LOADW(g) texelFetch(w, int(g))
const float UNIT = 127.0;
#else
layout(constant_id = 1) const uint IN_TYPE = 0u;
layout(set = 0, binding = 0) readonly buffer X32s { float x32s[]; };
layout(set = 0, binding = 0) readonly buffer X32 { vec4 x32[]; };
layout(set = 0, binding = 0) readonly buffer X16 { uvec2 x16[]; };
layout(set = 0, binding = 1) readonly buffer W32 { vec4 w32[]; };
layout(set = 0, binding = 1) readonly buffer W16 { uvec2 w16[]; };
layout(set = 0, binding = 1) readonly buffer W8 { uint w8[]; };
vec4 load_w(uint g)
{
    if (W_TYPE == F32) return w32[g];
    if (W_TYPE == F16) return from_half4(w16[g]);
    return from_int8x4(w8[g]);
}
#define LOAD1(e) x32s[e]
#define LOAD4(g) (IN_TYPE == F32 ? x32[g] : from_half4(x16[g]))
#define LOADW(g) load_w(g)
const float UNIT = 1.0;
#endif

layout(push_constant) uniform Push
{
    uint M, N, IC, IH, IW, OH, OW, KH, KW, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, i_ld4, o_ld4, r_ld4, m0;
} p;

void main()
{
    const uint n4 = (p.N + 3u) / 4u;
    const uint n = gl_WorkGroupID.y * LX + gl_LocalInvocationID.x;
    const uint m = p.m0 + (gl_WorkGroupID.x * LY + gl_LocalInvocationID.y) * R;
    if (n >= n4 || m >= p.M) return;
    PHASES_START()

    // Where each pixel's window starts; signed, because of the padding.
    const uint c4 = (p.IC + 3u) / 4u;
    int y0[R], x0[R];
    uint base[R];   // first element (planar) or group (rows) of the image
    [[unroll]] for (uint r = 0u; r < R; ++r) {
        const uint pixel = min(m + r, p.M - 1u);
        const uint image = pixel / (p.OH * p.OW), in_image = pixel % (p.OH * p.OW);
        y0[r] = int(in_image / p.OW * p.stride_h) - int(p.pad_h);
        x0[r] = int(in_image % p.OW * p.stride_w) - int(p.pad_w);
        base[r] = image * (PLANAR == 0u ? p.i_ld4 : p.IC) * p.IH * p.IW;
    }

    vec4 acc[R];
    [[unroll]] for (uint r = 0u; r < R; ++r) acc[r] = vec4(0.0);

    uint wg = n;   // the next group of weights
    if (PLANAR == 1u) {
        for (uint c = 0u; c < p.IC; ++c)
            for (uint ky = 0u; ky < p.KH; ++ky)
                for (uint kx = 0u; kx < p.KW; ++kx) {
                    const vec4 wv = LOADW(wg);
                    wg += n4;
#if PHASES   // all pixels first, to tell reading from arithmetic; likewise below
                    float loaded[R];
                    [[unroll]] for (uint r = 0u; r < R; ++r) {
                        const uint iy = uint(y0[r] + int(ky * p.dil_h)), ix = uint(x0[r] + int(kx * p.dil_w));
                        loaded[r] = 0.0;
                        if (iy < p.IH && ix < p.IW) loaded[r] = LOAD1(base[r] + (c * p.IH + iy) * p.IW + ix);
                    }
                    PHASE_END(LOAD)
                    [[unroll]] for (uint r = 0u; r < R; ++r) acc[r] = fma(vec4(loaded[r]), wv, acc[r]);
                    PHASE_END(COMPUTE)
#else
                    [[unroll]] for (uint r = 0u; r < R; ++r) {
                        const uint iy = uint(y0[r] + int(ky * p.dil_h)), ix = uint(x0[r] + int(kx * p.dil_w));
                        if (iy < p.IH && ix < p.IW) acc[r] = fma(vec4(LOAD1(base[r] + (c * p.IH + iy) * p.IW + ix)), wv, acc[r]);
                    }
#endif
                }
    } else {
        // Four k at a time: along x of one plane, or along the channels of one pixel.
        const uint outer = PLANAR == 2u ? p.IC : p.KH;
        const uint middle = PLANAR == 2u ? p.KH : p.KW;
        const uint inner = PLANAR == 2u ? p.KW / 4u : c4;
        for (uint i = 0u; i < outer; ++i)
            for (uint j = 0u; j < middle; ++j) {
                const uint ky = PLANAR == 2u ? j : i;
                uint at[R];
                bool inside[R];
                [[unroll]] for (uint r = 0u; r < R; ++r) {
                    const uint iy = uint(y0[r] + int(ky * p.dil_h));
                    if (PLANAR == 2u) {
                        inside[r] = PADDED == 0u || iy < p.IH;
                        at[r] = base[r] / 4u + (i * p.IH + iy) * (p.IW / 4u);
                    } else {
                        const uint ix = uint(x0[r] + int(j * p.dil_w));
                        inside[r] = PADDED == 0u || (iy < p.IH && ix < p.IW);
                        at[r] = base[r] + (iy * p.IW + ix) * p.i_ld4;
                    }
                }
                for (uint g = 0u; g < inner; ++g) {
                    const vec4 w0 = LOADW(wg), w1 = LOADW(wg + n4), w2 = LOADW(wg + 2u * n4), w3 = LOADW(wg + 3u * n4);
                    wg += 4u * n4;
#if PHASES
                    vec4 loaded[R];
                    bool there[R];
#endif
                    [[unroll]] for (uint r = 0u; r < R; ++r) {
                        uint from = at[r] + g;
                        bool real = inside[r];
                        if (PLANAR == 2u) {
                            const uint ix4 = uint((x0[r] >> 2) + int(g));
                            real = real && (PADDED == 0u || ix4 < p.IW / 4u);
                            from = at[r] + ix4;
                        }
#if PHASES
                        loaded[r] = LOAD4(real ? from : 0u);
                        there[r] = real;
                    }
                    PHASE_END(LOAD)
                    [[unroll]] for (uint r = 0u; r < R; ++r) {
                        const vec4 v = loaded[r];
                        const bool real = there[r];
#else
                        const vec4 v = LOAD4(real ? from : 0u);
#endif
                        if (real) {
                            acc[r] = fma(vec4(v.x), w0, acc[r]);
                            acc[r] = fma(vec4(v.y), w1, acc[r]);
                            acc[r] = fma(vec4(v.z), w2, acc[r]);
                            acc[r] = fma(vec4(v.w), w3, acc[r]);
                        }
                    }
                    PHASE_END(COMPUTE)
                }
            }
    }

    const Columns cols = load_columns(n, UNIT);
    [[unroll]] for (uint r = 0u; r < R; ++r)
        if (m + r < p.M) finish(acc[r], cols, (m + r) * p.o_ld4 + n, (m + r) * p.r_ld4 + n);
    PHASES_STORE()
}
