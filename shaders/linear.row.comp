#version 450
// Y = epilogue(A W^T) for few rows, which wait for W alone: a workgroup computes the PANEL columns of one panel, and its invocations share out K,
// neighbours along the columns, so that a subgroup reads one piece of W. The rows are staged whole, as floats.
// LN: they are normalised there, mean before variance; GAIN: then times gain[k].
//
// Bindings: 0 A, 1 W, 2 wscale, 3 bias, 4 colscale, 5 residual, 6 gain, 7 out.
// Constants: 0 LX, 1 IN_TYPE, 2 W_TYPE (0 to 2), 3 OUT_TYPE, 4 RES_TYPE, 5 ACT, 6 BIAS, 7 COLSCALE, 8 RESIDUAL, 9 LN, 10 ROWS (M at most),
//            11 PANEL (columns; it, LX and LX / (PANEL / 4) are powers of two), 12 K4 = ceil(K / 4), 13 GAIN.
// Push constants: as linear.tile. Grid: x = 1, y = ceil(N / PANEL).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "types.glsl"
#include "activation.glsl"
#define OUT_BINDING 7
#include "epilogue.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 128u;
layout(constant_id = 1) const uint IN_TYPE = 0u;
layout(constant_id = 9) const uint LN = 0u;
layout(constant_id = 10) const uint ROWS = 1u;
layout(constant_id = 11) const uint PANEL = 32u;
layout(constant_id = 12) const uint K4 = 1u;
layout(constant_id = 13) const uint GAIN = 0u;

layout(set = 0, binding = 0) readonly buffer A32 { vec4 a32[]; };
layout(set = 0, binding = 0) readonly buffer A16 { uvec2 a16[]; };
layout(set = 0, binding = 1) readonly buffer W32 { vec4 w32[]; };
layout(set = 0, binding = 1) readonly buffer W16 { uvec2 w16[]; };
layout(set = 0, binding = 1) readonly buffer W8 { uint w8[]; };
layout(set = 0, binding = 6) readonly buffer Gain { vec4 gain[]; };

layout(push_constant) uniform Push { uint M, N, K, a_ld4, o_ld4, r_ld4, a_off4, m0; float eps; } p;

const uint PANEL4 = PANEL / 4u, PARTS = LX / PANEL4;   // invocations that share a group of columns
const uint UNROLL = 4u;                                // loads of W in flight
const uint TRIPS = (K4 * 4u + PARTS * UNROLL - 1u) / (PARTS * UNROLL), STAGED4 = (TRIPS * PARTS * UNROLL + 3u) / 4u;
shared float xs[ROWS * STAGED4 * 4u];   // zeros behind K
shared vec4 sums[LX];

vec4 staged(uint g) { return vec4(xs[g * 4u], xs[g * 4u + 1u], xs[g * 4u + 2u], xs[g * 4u + 3u]); }
void stage(uint g, vec4 v)
{
    [[unroll]] for (uint i = 0u; i < 4u; ++i) xs[g * 4u + i] = v[i];
}
vec4 load_w(uint g)
{
    if (W_TYPE == F32) return w32[g];
    return W_TYPE == F16 ? from_half4(w16[g]) : from_int8x4(w8[g]);
}
// Of all invocations.
float total(float mine)
{
    const uint t = gl_LocalInvocationID.x;
    sums[t].x = mine;
    barrier();
    [[unroll]] for (uint s = LX / 2u; s > 0u; s /= 2u) {
        if (t < s) sums[t].x += sums[t + s].x;
        barrier();
    }
    const float all = sums[0].x;
    barrier();
    return all;
}

void main()
{
    const uint t = gl_LocalInvocationID.x, column = t % PANEL4, part = t / PANEL4;
    const uint rows = min(p.M - p.m0, ROWS), n4 = (p.N + 3u) / 4u;
    [[unroll]] for (uint r = 0u; r < ROWS; ++r) {
        const uint start = p.a_off4 + (p.m0 + min(r, rows - 1u)) * p.a_ld4;
        vec4 sum = vec4(0.0);
        [[unroll]] for (uint first = 0u; first < STAGED4; first += LX) {
            const uint g = first + t;
            if (g < STAGED4) {
                vec4 v = vec4(0.0);
                if (g < K4) v = IN_TYPE == F32 ? a32[start + g] : from_half4(a16[start + g]);
                [[unroll]] for (uint i = 0u; i < 4u; ++i)
                    if (g * 4u + i >= p.K) v[i] = 0.0;
                stage(r * STAGED4 + g, v);
                sum += v;
            }
        }
        if (LN != 0u) {
            const float mean = total(dot(sum, vec4(1.0))) / float(p.K);
            float squares = 0.0;
            [[unroll]] for (uint first = 0u; first < K4; first += LX) {
                const uint g = first + t;
                if (g < K4) {
                    vec4 v = staged(r * STAGED4 + g) - mean;
                    [[unroll]] for (uint i = 0u; i < 4u; ++i)
                        if (g * 4u + i >= p.K) v[i] = 0.0;
                    squares += dot(v, v);
                    stage(r * STAGED4 + g, v);
                }
            }
            const float scale = inversesqrt(total(squares) / float(p.K) + p.eps);
            [[unroll]] for (uint first = 0u; first < K4; first += LX) {
                const uint g = first + t;
                if (g < K4) stage(r * STAGED4 + g, staged(r * STAGED4 + g) * (GAIN != 0u ? gain[g] * scale : vec4(scale)));
            }
        }
    }
    barrier();

    vec4 acc[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; ++r) acc[r] = vec4(0.0);
    const uint w0 = gl_WorkGroupID.y * (K4 * 4u * PANEL4) + column;
    [[dont_unroll]] for (uint trip = 0u; trip < TRIPS; ++trip) {
        const uint k0 = trip * (PARTS * UNROLL) + part;
        [[unroll]] for (uint i = 0u; i < UNROLL; ++i) {
            const uint k = k0 + i * PARTS;
            const vec4 w = load_w(w0 + min(k, K4 * 4u - 1u) * PANEL4);   // behind K times zero
            [[unroll]] for (uint r = 0u; r < ROWS; ++r) acc[r] = fma(vec4(xs[r * STAGED4 * 4u + k]), w, acc[r]);
        }
    }

    const uint n = gl_WorkGroupID.y * PANEL4 + column;
    [[unroll]] for (uint r = 0u; r < ROWS; ++r) {
        sums[t] = acc[r];
        barrier();
        [[unroll]] for (uint s = PARTS / 2u; s > 0u; s /= 2u) {
            if (part < s) sums[t] += sums[t + s * PANEL4];
            barrier();
        }
        if (part == 0u && n < n4 && r < rows) {
            const uint m = p.m0 + r;
            finish(sums[t], load_columns(n, 1.0), m * p.o_ld4 + n, m * p.r_ld4 + n);
        }
        barrier();
    }
}
