// Rows of several tokens (token_route's lists): constants and walking. The file that includes this defines LISTS_BINDING; sizes stand behind
// them. Needs types.glsl.
// Constants: 4 LIST_TYPE, 5 SIZE_TYPE, 6 SIZES (0: every token has the size 1), 10 TOKENS, 11 ROWS.

layout(constant_id = 4) const uint LIST_TYPE = 0u;
layout(constant_id = 5) const uint SIZE_TYPE = 0u;
layout(constant_id = 6) const uint SIZES = 0u;
layout(constant_id = 10) const uint TOKENS = 197u;
layout(constant_id = 11) const uint ROWS = 181u;

layout(set = 0, binding = LISTS_BINDING) readonly buffer Lists32 { float lists32[]; };
layout(set = 0, binding = LISTS_BINDING) readonly buffer Lists16 { uint lists16[]; };
layout(set = 0, binding = LISTS_BINDING + 1) readonly buffer Sizes32 { float sizes32[]; };
layout(set = 0, binding = LISTS_BINDING + 1) readonly buffer Sizes16 { uint sizes16[]; };

const uint LIST_LD = (TOKENS + 3u) / 4u * 4u;

// What stands in list `row` at i; -1 for what is no token. It is one from `least` on where it is not below that. As a float, because what
// is not known when a shader's instructions are counted is taken to hold there: a loop that ends by such a comparison ends. Loops over a
// row's tokens break at their head: with the break at the end of the body Mesa 22.3's lavapipe gave some rows other tokens.
float token_in(uint row, uint i)
{
    const uint e = row * LIST_LD + i;
    float at;
    if (LIST_TYPE == F32) at = lists32[e];
    else at = unpackHalf2x16(lists16[e / 2u])[e % 2u];
    return at < float(TOKENS) ? at : -1.0;
}

float log_size(uint image, uint token)
{
    const uint e = image * LIST_LD + token;
    if (SIZES == 0u) return 0.0;
    if (SIZE_TYPE == F32) return sizes32[e];
    return unpackHalf2x16(sizes16[e / 2u])[e % 2u];
}
