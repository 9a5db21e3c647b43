// PyTorch's rules for where a resized row or column is read from (torch.nn.functional.interpolate without antialiasing).

const uint NEAREST = 0u, BILINEAR = 1u, BICUBIC = 2u;

// The first of two positions and the weight of the second. ratio: input positions per output position.
uint linear_from(uint i, float ratio, bool align_corners, uint size, out float f)
{
    const float from = max(align_corners ? float(i) * ratio : (float(i) + 0.5) * ratio - 0.5, 0.0);
    const uint first = min(uint(from), size - 1u);
    f = from - float(first);
    return first;
}

// The second of four positions (they run from the one before to two behind) and the weights of all: Keys' cubic with a = -0.75.
int cubic_from(uint i, float ratio, bool align_corners, out vec4 weight)
{
    const float a = -0.75;
    const float from = align_corners ? float(i) * ratio : (float(i) + 0.5) * ratio - 0.5;
    const float first = floor(from), f = from - first;
    const vec2 far = vec2(f + 1.0, 2.0 - f), near = vec2(f, 1.0 - f);
    const vec2 w_far = ((a * far - 5.0 * a) * far + 8.0 * a) * far - 4.0 * a;
    const vec2 w_near = ((a + 2.0) * near - (a + 3.0)) * near * near + 1.0;
    weight = vec4(w_far.x, w_near.x, w_near.y, w_far.y);
    return int(first);
}
