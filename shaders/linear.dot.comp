#version 450
// Y = epilogue(A W^T) in integers: rows of A become codes of 8 bits while they are staged, W is codes of 8 bits, and four pairs at a time are
// multiplied and added to 32-bit sums (OpSDotKHR, SPV_KHR_integer_dot_product), exactly. A workgroup computes BM x BN outputs, an invocation
// TM x 4 of them. DYNAMIC: a row's scale is max|x| / 127.5, found first; else scale and zero point are the push constants'.
//
// Bindings: 0 A, 1 W, 2 wscale, 3 bias, 4 colscale, 5 residual, 6 out.
// Constants: 0 LX = 64, 1 IN_TYPE, 2 W_TYPE (2), 3 OUT_TYPE, 4 RES_TYPE, 5 ACT, 6 BIAS, 7 COLSCALE, 8 RESIDUAL, 9 DYNAMIC, 10 SUMS (1: behind wscale
//            int sums of W's rows, which a zero point needs).
// Push constants: M, N, K, a_ld4, o_ld4, r_ld4, m0, zero, row_scale.
// Grid: x = ceil((M - m0) / 32), y = ceil(N / 64).
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_spirv_intrinsics : require
#include "types.glsl"
#include "activation.glsl"
#define OUT_BINDING 6
#include "epilogue.glsl"

// GLSL has no words for it. The last operand says that a word holds four bytes.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int dot_bytes(uint a, uint b, spirv_literal int format);

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LX = 64u;
layout(constant_id = 1) const uint IN_TYPE = 0u;
layout(constant_id = 9) const uint DYNAMIC = 1u;
layout(constant_id = 10) const uint SUMS = 0u;

layout(set = 0, binding = 0) readonly buffer A32 { vec4 a32[]; };
layout(set = 0, binding = 0) readonly buffer A16 { uvec2 a16[]; };
layout(set = 0, binding = 1) readonly buffer W { uvec4 w[]; };   // [k / 4][n / 4], a word for each of 4 n
layout(set = 0, binding = 2) readonly buffer WSum { ivec4 wsum[]; };

layout(push_constant) uniform Push { uint M, N, K, a_ld4, o_ld4, r_ld4, m0; int zero; float row_scale; } p;

const uint BM = 32u, BN4 = 16u, BK4 = 8u, TM = 8u;
const uint LDA = BK4 + 1u, LANES = 2u;

shared uint as[BM * LDA];     // as[m][k / 4]
shared uvec4 ws[BK4 * BN4];   // ws[k / 4][n / 4]
shared vec2 rows[BM];         // a row's scale and its max|x|

vec4 load_a(uint g) { return IN_TYPE == F32 ? a32[g] : from_half4(a16[g]); }

uint codes_of(vec4 x, vec2 row)
{
    vec4 q = clamp(roundEven(x / row.x + float(p.zero)), vec4(-128.0), vec4(127.0));
    // -max / (max / 127.5) is a tie, which rounding would decide either way; -128 is the even one.
    if (DYNAMIC != 0u) q = mix(q, vec4(-128.0), equal(x, vec4(-row.y)));
    const ivec4 c = ivec4(q) & 255;
    return uint(c.x | c.y << 8 | c.z << 16 | c.w << 24);
}

void main()
{
    const uint t = gl_LocalInvocationID.x, tx = t % BN4, ty = t / BN4;
    const uint k4 = (p.K + 3u) / 4u, n4 = (p.N + 3u) / 4u;
    const uint m0 = p.m0 + gl_WorkGroupID.x * BM, n = gl_WorkGroupID.y * BN4 + tx;

    if (DYNAMIC != 0u) {
        // As integers, so that a NaN is larger than any number and is not lost.
        const uint from = min(m0 + t / LANES, p.M - 1u) * p.a_ld4;
        uint most = 0u;
        [[dont_unroll]] for (uint k = t % LANES; k < k4; k += LANES) {
            const uvec4 x = floatBitsToUint(load_a(from + k)) & 0x7FFFFFFFu;
            most = max(most, max(max(x.x, x.y), max(x.z, x.w)));
        }
        as[t] = most;
        barrier();
        if (t < BM) {
            most = max(as[t * LANES], as[t * LANES + 1u]);
            const float high = uintBitsToFloat(most);
            rows[t] = most == 0u ? vec2(1.0, -1.0) : vec2(most < 0x7F800000u ? high / 127.5 : uintBitsToFloat(0x7FC00000u), high);
        }
        barrier();
    } else {
        if (t < BM) rows[t] = vec2(p.row_scale, 0.0);
        barrier();
    }

    ivec4 acc[TM];
    [[unroll]] for (uint i = 0u; i < TM; ++i) acc[i] = ivec4(0);
    [[dont_unroll]] for (uint k0 = 0u; k0 < k4; k0 += BK4) {
        [[unroll]] for (uint i = 0u; i < BM * BK4; i += LX) {
            const uint r = (i + t) / BK4, k = k0 + (i + t) % BK4;
            uint codes = 0u;
            if (k < k4) {
                const vec4 x = load_a(min(m0 + r, p.M - 1u) * p.a_ld4 + k);
                codes = codes_of(x, DYNAMIC != 0u ? rows[r] : vec2(p.row_scale, 0.0));
                // A row with a NaN or an infinity is no number, as on the CPU; with DYNAMIC its scale says so already. (All that
                // find one write the same.)
                if (DYNAMIC == 0u && any(greaterThanEqual(floatBitsToUint(x) & 0x7FFFFFFFu, uvec4(0x7F800000u))))
                    rows[r].x = uintBitsToFloat(0x7FC00000u);
            }
            as[r * LDA + (i + t) % BK4] = codes;
        }
        [[unroll]] for (uint i = 0u; i < BK4 * BN4; i += LX) {
            const uint k = k0 + (i + t) / BN4, col = gl_WorkGroupID.y * BN4 + (i + t) % BN4;
            ws[i + t] = k < k4 && col < n4 ? w[k * n4 + col] : uvec4(0u);
        }
        barrier();
        [[unroll]] for (uint k = 0u; k < BK4; ++k) {
            const uvec4 b = ws[k * BN4 + tx];
            [[unroll]] for (uint i = 0u; i < TM; ++i) {
                const uint a = as[(ty * TM + i) * LDA + k];
                acc[i] += ivec4(dot_bytes(a, b.x, 0), dot_bytes(a, b.y, 0), dot_bytes(a, b.z, 0), dot_bytes(a, b.w, 0));
            }
        }
        barrier();
    }

    if (n >= n4) return;
    const Columns cols = load_columns(n, 1.0);
    ivec4 shift = ivec4(0);
    if (SUMS != 0u) shift = p.zero * wsum[n4 + n];   // sum of (a - zero) w
    [[unroll]] for (uint i = 0u; i < TM; ++i) {
        const uint m = m0 + ty * TM + i;
        if (m < p.M) finish(vec4(acc[i] - shift) * rows[ty * TM + i].x, cols, m * p.o_ld4 + n, m * p.r_ld4 + n);
    }
}
