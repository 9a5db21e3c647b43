// LN of linear.*: mean and variance of the rows that a workgroup computes, in one pass. The file that includes this declares LX, BM,
// LN, the push constants p and load_a, and defines SCRATCH_STORE(i, x) and SCRATCH_LOAD(i) on 2 * BM * LANES floats of shared
// memory that nobody uses yet.

shared vec2 row_norm[LN != 0u ? BM : 2u];   // a normalised element is x * row_norm.x + row_norm.y

// LANES neighbours share a row, each with every LANES-th group: one pass that sums differences from the mean of the lane's
// own first group (so that neither a large mean nor one large value costs digits), then the lanes' means and squares are
// joined (Chan et al. 1983).
const uint LANES = LX > BM ? LX / BM : 1u;

// Elements of a row that lane `lane` sees; the group that holds the row's end may be partial.
uint lane_elements(uint lane)
{
    const uint groups = (p.K + 3u) / 4u;
    const uint mine = (groups + LANES - 1u - lane) / LANES;
    return mine * 4u - ((groups - 1u) % LANES == lane ? groups * 4u - p.K : 0u);
}

void row_statistics(uint m)
{
    const uint t = gl_LocalInvocationID.x;
    const uint lane = t % LANES, full = p.K / 4u;
    [[unroll]] for (uint first = 0u; first < BM * LANES; first += LX) {
        const uint r = (first + t) / LANES;
        if (r < BM) {
            const uint start = p.a_off4 + min(m + r, p.M - 1u) * p.a_ld4;
            const float shift = dot(load_a(start + min(lane, (p.K - 1u) / 4u)), vec4(0.25));
            vec4 sum = vec4(0.0), squares = vec4(0.0);
            uint k = lane;
            [[dont_unroll]] for (; k + 3u * LANES < full; k += 4u * LANES)
                [[unroll]] for (uint i = 0u; i < 4u; ++i) {
                    const vec4 d = load_a(start + k + i * LANES) - shift;
                    sum += d;
                    squares = fma(d, d, squares);
                }
            [[dont_unroll]] for (; k * 4u < p.K; k += LANES) {
                vec4 d = load_a(start + k) - shift;
                d = mix(vec4(0.0), d, lessThan(uvec4(k * 4u) + uvec4(0u, 1u, 2u, 3u), uvec4(p.K)));
                sum += d;
                squares = fma(d, d, squares);
            }
            const float total = dot(sum, vec4(1.0)), n = float(max(lane_elements(lane), 1u));
            SCRATCH_STORE(r * LANES + lane, shift + total / n);
            SCRATCH_STORE((BM + r) * LANES + lane, dot(squares, vec4(1.0)) - total * total / n);
        }
    }
    barrier();
    [[unroll]] for (uint first = 0u; first < BM; first += LX) {
        const uint r = first + t;
        if (r < BM) {
            float mean = 0.0, squares = 0.0;
            [[unroll]] for (uint i = 0u; i < LANES; ++i) mean = fma(float(lane_elements(i)), SCRATCH_LOAD(r * LANES + i), mean);
            mean /= float(p.K);
            [[unroll]] for (uint i = 0u; i < LANES; ++i) {
                const float d = SCRATCH_LOAD(r * LANES + i) - mean;
                squares += fma(float(lane_elements(i)) * d, d, SCRATCH_LOAD((BM + r) * LANES + i));
            }
            const float rstd = inversesqrt(squares / float(p.K) + p.eps);
            row_norm[r] = vec2(rstd, -mean * rstd);
        }
    }
    barrier();
}
