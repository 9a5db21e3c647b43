// Activations on vec4. NaN goes in, NaN comes out; no intermediate overflow turns a large finite |x| into NaN.

// erf: the rational minimax approximation x P(x^2) / Q(x^2) of Eigen (generic_fast_erf_float; the same in XLA), maximal absolute error
// 1.2e-7 + rounding; +-1 exactly from |x| = 3.8 on (erfc(3.8) = 7.7e-8),
// so that gelu(-large) is 0. The select, unlike clamp(), keeps NaN.
vec4 erf4(vec4 x)
{
    const vec4 t = x * x;
    vec4 p = vec4(-2.72614225801306e-10);
    p = fma(p, t, vec4(2.77068142495902e-08));
    p = fma(p, t, vec4(-2.10102402082508e-06));
    p = fma(p, t, vec4(-5.69250639462346e-05));
    p = fma(p, t, vec4(-7.34990630326855e-04));
    p = fma(p, t, vec4(-2.95459980854025e-03));
    p = fma(p, t, vec4(-1.60960333262415e-02));
    vec4 q = vec4(-1.45660718464996e-05);
    q = fma(q, t, vec4(-2.13374055278905e-04));
    q = fma(q, t, vec4(-1.68282697438203e-03));
    q = fma(q, t, vec4(-7.37332916720468e-03));
    q = fma(q, t, vec4(-1.42647390514189e-02));
    return mix(x * p / q, sign(x), greaterThanEqual(abs(x), vec4(3.8)));
}

// x / (1 + exp(-z)): exp overflowing to infinity gives the limit, -0.
vec4 sigmoid_gate(vec4 x, vec4 z) { return x / (1.0 + exp2(z * -1.44269504)); }

// GELU of what is stored as fp16 and need not be as exact as erf: x / (1 + exp(-x P(x^2))), where x P(x^2) is the logit of the
// normal distribution; GELU's tanh form has the first two of its terms. These make the largest absolute error small, 3.4e-6 (half a
// step of fp16 at 1 is 2.4e-4; where GELU is nearly 0 that is much of it), in half of erf's instructions. P has one sign everywhere;
// its coefficients are times -log2(e). A large |x| ends in x or -0.
vec4 gelu_to_half(vec4 x)
{
    const vec4 t = x * x;
    vec4 p = vec4(-3.2103776e-06);
    p = fma(p, t, vec4(8.7909772e-05));
    p = fma(p, t, vec4(3.6204766e-04));
    p = fma(p, t, vec4(-1.0522997e-01));
    p = fma(p, t, vec4(-2.3020437));
    return x / (1.0 + exp2(x * p));
}

vec4 tanh4(vec4 x)
{
    const vec4 e = exp2(abs(x) * -2.88539008);
    const vec4 large = (1.0 - e) / (1.0 + e);
    const vec4 t = x * x;  // near zero the quotient cancels: x - x^3/3 + 2 x^5/15
    const vec4 small = x * fma(t, fma(t, vec4(0.13333333), vec4(-0.33333333)), vec4(1.0));
    return mix(mix(large, -large, lessThan(x, vec4(0.0))), small, lessThan(abs(x), vec4(0.0625)));
}

// kind: see "act" in shaders/README.md; a specialisation constant, so one branch remains. type: what the value is stored as next.
vec4 activate(vec4 x, uint kind, uint type)
{
    if (kind == 1u && type == F16) return gelu_to_half(x);
    if (kind == 1u) return 0.5 * x * (1.0 + erf4(x * 0.70710678));
    if (kind == 2u) return sigmoid_gate(x, x * fma(x * x, vec4(0.0713548163), vec4(1.59576912)));
    if (kind == 3u) return sigmoid_gate(x, x);
    if (kind == 4u) return mix(x, vec4(0.0), lessThan(x, vec4(0.0)));
    if (kind == 5u) return tanh4(x);
    // The factor is at most 1; a NaN that min() drops comes back through x.
    if (kind == 6u) return mix(x * (min(x + 3.0, 6.0) * 0.16666667), vec4(0.0), lessThan(x, vec4(-3.0)));
    return x;
}
