// CPU kernels: one table of function pointers per instruction set, picked once at run time.
// All matrices are rows of fp32 with a stride (ld, in floats); an operator's CPU path (engine/ops) calls them, and
// tests.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/blocking.h"
#include "simd/picture.h"
#include "tensor/format.h"

namespace vireo::simd {

/// Element-wise functions. kGeluErf is x/2 (1 + erf(x/sqrt 2)); kGeluTanh its tanh form; kHardswish is
/// x min(max(x + 3, 0), 6) / 6 (Howard et al. 2019). All map 0 to 0 and NaN to NaN.
enum class Act : int { kNone, kGeluErf, kGeluTanh, kSilu, kRelu, kTanh, kHardswish };

/// Columns of a packed weight panel: the same on every target, so that plans do not depend on the CPU.
constexpr int64_t kPanel = 32;

/// bfloat16 rows and weights are padded with zeros to a multiple of this along k: one tile of 32 x 16 values.
constexpr int64_t kBf16Step = 32;

/// A kernel: `items` independent work items; run() does items [begin, end) and may be called from several threads at
/// once, each with its own `scratch` of scratch_bytes() (64-byte aligned; null when that is 0), which is never larger
/// for fewer rows: a step's is planned for the most that it does at once. Kernels never allocate. Rows: the operands
/// have ld >= round_up(columns, 4) and a kernel writes columns c .. round_up(c, 4) of `out` as zero. What stands in the
/// padding of inputs never matters. Pointers need 4-byte alignment only.
template <typename Args>
struct Kernel {
  int64_t (*items)(const Args&);
  size_t (*scratch_bytes)(const Args&);
  void (*run)(const Args&, int64_t begin, int64_t end, void* scratch);
};

/// out[m,n] = residual + col_scale * act(b_scales * (a[m,k] W[n,k]^T) + bias).
/// Everything but a, b, out may be null. out may be residual (same ld), never a.
struct GemmArgs {
  const float* a = nullptr;  // [m, k], lda >= k
  int64_t lda = 0;
  int64_t m = 0, n = 0, k = 0;
  const void* b = nullptr;  // W as pack_weight() left it
  DType type = DType::kF32;
  const float* b_scales = nullptr;   // kI8: [n]; with b_group one for each group of columns k, [groups][n to a panel]
  int64_t b_group = 0;               // columns k that share a scale; 0: all, and the scale is applied to the sum
  const float* b_offsets = nullptr;  // like b_scales with b_group: W = scale * code + offset; null: all 0
  bool b_nibbles = false;            // with b_group: two codes in a byte, as pack_weight_i4() left them
  const int32_t* b_wide = nullptr;   // with b_nibbles: [n to a panel], rows of codes of 8 bits: where among b_high
                                     // their high parts are, those of other rows -1; null: there are none
  const uint32_t* b_high = nullptr;  // [rows][k / 8], as PackedConst::wide_offset says
  const float* bias = nullptr;       // [n]
  Act act = Act::kNone;
  const float* col_scale = nullptr;  // [n]
  const float* residual = nullptr;   // [m, n]
  int64_t ldr = 0;
  float* out = nullptr;  // [m, n]
  int64_t ldo = 0;
  Caches caches;
};

/// GEMM on bfloat16 rows of A, sums in fp32; weights kBF16, or kI8 with b_scales (an integer of 8 bits is exact in
/// bfloat16: a panel is converted when it is first read). gemm.a and lda are ignored.
struct Bf16GemmArgs {
  GemmArgs gemm;
  const uint16_t* a = nullptr;  // [m, round_up(k, kBf16Step)], zero past k, as to_bf16 writes it
  int64_t lda = 0;              // in values
};

/// out = x as bfloat16 (round to nearest even), zero up to round_up(cols, kBf16Step). With `normalise`, each row is
/// normalised first, (x - mean) / sqrt(var + eps), in fp32.
struct ToBf16Args {
  const float* x = nullptr;
  int64_t ldx = 0;
  int64_t rows = 0, cols = 0;
  bool normalise = false;
  float eps = 1e-6f;
  const float* gain = nullptr;    // [cols] or null, of normalised rows
  const float* offset = nullptr;  // [cols] or null, beside a gain
  uint16_t* out = nullptr;
  int64_t ldo = 0;  // in values, >= round_up(cols, kBf16Step)
};

/// int8 rows and weights are padded with zeros to a multiple of this along k.
constexpr int64_t kI8Step = 4;

/// Rows of x as int8 codes with a scale each. Dynamic quantisation per token, as compressed-tensors states it: scale =
/// max|x| / 127.5, code = clamp(round_half_even(x / scale), -128, 127), with -max|x| as the tie that it is; a row of
/// zeros has scale 1. Static: `fixed` is the scale of all rows, and code = clamp(round_half_even(x / fixed + zero),
/// -128, 127). With `normalise` each row is normalised first, gain * (x - mean) / sqrt(var + eps) + offset. A NaN makes
/// its row's scale NaN.
struct ToI8Args {
  const float* x = nullptr;
  int64_t ldx = 0;
  int64_t rows = 0, cols = 0;
  bool normalise = false;
  float eps = 1e-6f;
  const float* gain = nullptr;    // [cols] or null, of normalised rows
  const float* offset = nullptr;  // [cols] or null, beside a gain
  float fixed = 0;                // 0: dynamic
  int32_t zero = 0;               // of `fixed`
  int64_t group = 0;              // columns of a sum; 0: all
  void* out = nullptr;            // codes as the same table's gemm_i8 reads them, ldo values apart
  int64_t ldo = 0;                // >= round_up(cols, kI8Step)
  float* scales = nullptr;        // [rows]
  int32_t* sums = nullptr;        // [rows][groups of columns] of the row's codes
};

/// GEMM on int8 rows. Products of codes a and w are summed in 32 bits, exact for k up to 65,536, over all of k or over
/// each group of columns; (a - a_zero) (w - b_zero) follows from that sum and those of a and w alone, exactly. Then
/// out = residual + col_scale * act(row_scale * sum over groups of b_scales * group's sum + bias), the sum over groups
/// in fp32 from the first to the last, each product rounded, the same on every CPU. gemm.b is what
/// pack_weight_integer() left; a and lda are ignored, b_scales is [n], or [groups][n to whole panels] if gemm.b_group
/// != 0, which is a multiple of kI8Step that divides k; with gemm.b_nibbles of 8.
struct I8GemmArgs {
  GemmArgs gemm;
  const void* a = nullptr;  // as to_i8 of the same table wrote it
  int64_t lda = 0;          // in values
  const float* scales = nullptr;
  const int32_t* sums = nullptr;     // [m][groups]
  const int32_t* b_zeros = nullptr;  // [groups][n to whole panels] or null
  int32_t a_zero = 0;
  const int32_t* b_sums = nullptr;  // where a_zero != 0: [groups][n to whole panels] of w - b_zero
};

/// Where convolution reads its patches. Output position (oy, ox) sees input (oy*stride_y - pad_y + ky*dilation_y, ...),
/// zero outside.
struct ConvGeometry {
  const float* x = nullptr;  // NHWC rows [n*h*w, c] with stride ldx, or planar [n, c, h, w] dense
  int64_t ldx = 0;           // NHWC only
  bool planar = false;
  int64_t n = 1, h = 0, w = 0, c = 0;
  int64_t kernel_h = 1, kernel_w = 1, stride_y = 1, stride_x = 1;
  int64_t pad_y = 0, pad_x = 0, dilation_y = 1, dilation_x = 1;
  int64_t out_h = 0, out_w = 0;
  int64_t rows() const { return n * out_h * out_w; }
  int64_t k() const { return kernel_h * kernel_w * c; }  // order (ky, kx, c) for NHWC rows, (c, ky, kx) for planar
};

/// conv2d as an implicit GEMM: gemm.a/lda/m/k are ignored (m = rows(), k = k()); patches are gathered block by block.
/// The weight rows' K order is that of ConvGeometry::k().
struct ConvArgs {
  ConvGeometry geometry;
  GemmArgs gemm;
};

/// Products per pair of channels and tile of 2 x 2 outputs of the `winograd` kernel: ConvArgs with NHWC rows, a 3 x 3
/// kernel of stride and dilation 1, kF32 weights as pack_winograd() leaves them, and neither col_scale nor residual.
constexpr int64_t kWinogradProducts = 16;

/// Rows [first, first + count) of the patch matrix, written dense with stride ldo (zero padded to round_up(k, 4)).
struct Im2colArgs {
  ConvGeometry geometry;
  int64_t first = 0, count = 0;
  float* out = nullptr;
  int64_t ldo = 0;
};

/// Depthwise conv2d on NHWC rows: out = act(sum w[ky,kx,c] x + bias). weight is [kernel_h*kernel_w, c] with stride ldw.
struct DepthwiseArgs {
  ConvGeometry geometry;  // planar = false
  const float* weight = nullptr;
  int64_t ldw = 0;              // >= c
  const float* bias = nullptr;  // [c] or null
  Act act = Act::kNone;
  float* out = nullptr;  // NHWC rows [n*out_h*out_w, c]
  int64_t ldo = 0;
};

/// softmax(scale * Q K^T + bias) V per (batch, head), online in fp32; memory per thread does not grow with tokens.
/// Row of q: heads * head_dim floats (head h at h*head_dim); the same for k, and with values() for v and out. Rows:
/// batch * tokens.
struct AttentionArgs {
  const float* q = nullptr;
  int64_t ldq = 0;
  const float* k = nullptr;
  int64_t ldk = 0;
  const float* v = nullptr;
  int64_t ldv = 0;
  int64_t batch = 1, tokens = 0, kv_tokens = 0, heads = 1, head_dim = 0;  // head_dim 1..128
  int64_t value_dim = 0;                                                  // 1..128; 0: head_dim
  float scale = 1.0f;
  // Added to score (b, h, i, j): bias[(b % bias_batch) * bias_batch_stride + h * bias_head_stride + i * bias_ld + j].
  const float* bias = nullptr;
  int64_t bias_batch = 1, bias_batch_stride = 0, bias_head_stride = 0, bias_ld = 0;
  float* out = nullptr;  // [batch * tokens, heads * values()]; never an input
  int64_t ldo = 0;
  Caches caches;

  int64_t values() const { return value_dim > 0 ? value_dim : head_dim; }

  /// The common case: one matrix whose rows hold all q heads, then all k heads, then all v heads.
  static AttentionArgs from_qkv(const float* qkv, int64_t ld, int64_t batch, int64_t tokens, int64_t heads,
                                int64_t head_dim, float scale, float* out, int64_t ldo, int64_t value_dim = 0) {
    AttentionArgs r;
    r.q = qkv;
    if (qkv) r.k = qkv + heads * head_dim, r.v = qkv + 2 * heads * head_dim;  // null: only the sizes are asked for
    r.ldq = r.ldk = r.ldv = ld;
    r.batch = batch, r.tokens = r.kv_tokens = tokens, r.heads = heads, r.head_dim = head_dim;
    r.value_dim = value_dim;
    r.scale = scale, r.out = out, r.ldo = ldo;
    return r;
  }
};

/// Which pixels of a map [h, w] attend to each other. Along y a group holds group_h tokens, step_h pixels apart: step 1
/// gives windows (Swin), step p the pixels of equal position in p x p patches (MobileViT). The map is padded at the
/// bottom and right to whole groups. shift_h, shift_w (step 1): windows lie on the map rolled by (-shift_h, -shift_w).
struct TokenGroups {
  int64_t h = 1, w = 1;
  int64_t group_h = 1, group_w = 1, step_h = 1, step_w = 1, shift_h = 0, shift_w = 0;

  int64_t down() const { return (h + group_h * step_h - 1) / (group_h * step_h) * step_h; }    // groups along y
  int64_t across() const { return (w + group_w * step_w - 1) / (group_w * step_w) * step_w; }  // groups along x
  int64_t count() const { return down() * across(); }
  int64_t tokens() const { return group_h * group_w; }
  bool padded() const { return down() * group_h != h || across() * group_w != w; }

  /// Pixel (row of the map) of token t of group g, row by row in both; -1 in the padding.
  int64_t pixel(int64_t g, int64_t t) const {
    const int64_t gy = g / across(), gx = g % across(), ty = t / group_w, tx = t % group_w;
    const int64_t y = (gy / step_h * group_h * step_h + ty * step_h + gy % step_h + shift_h) % (down() * group_h);
    const int64_t x = (gx / step_w * group_w * step_w + tx * step_w + gx % step_w + shift_w) % (across() * group_w);
    return y < h && x < w ? y * w + x : -1;
  }
  /// Which side of the seams that rolling makes token t lies on, a bit per axis: Swin's mask keeps them apart.
  int region(int64_t g, int64_t t) const {
    const bool below = g / across() == down() - 1 && t / group_w >= group_h - shift_h;
    const bool right = g % across() == across() - 1 && t % group_w >= group_w - shift_w;
    return (below ? 1 : 0) + (right ? 2 : 0);
  }
};

/// What is added to the score of two tokens of different region (Liu et al. 2021's code).
constexpr float kMaskedScore = -100.0f;

/// Attention within every group of a map's tokens: softmax(scale * q k^T + bias + mask) v.
struct GroupAttentionArgs {
  const float* x = nullptr;  // [batch * h * w, heads * (2 * head_dim + values())]: q, k, v heads side by side
  int64_t ldx = 0;
  const float* pad = nullptr;  // as wide as x, the row of every padding token; null: zeros
  TokenGroups groups;
  int64_t batch = 1, heads = 1, head_dim = 0;  // head_dim 1..128
  int64_t value_dim = 0;                       // 1..128; 0: head_dim
  float scale = 1.0f;
  const float* bias = nullptr;  // [heads * tokens, tokens] or null
  int64_t bias_ld = 0;
  float* out = nullptr;  // [batch * h * w, heads * values()]; never an input
  int64_t ldo = 0;
  Caches caches;

  int64_t values() const { return value_dim > 0 ? value_dim : head_dim; }
};

/// out = residual + (x - mean) / sqrt(var + eps) * gamma + beta per row; var is a second pass around the mean. out may
/// be x.
struct LayerNormArgs {
  const float* x = nullptr;
  int64_t ldx = 0;
  int64_t rows = 0, cols = 0;
  const float* gamma = nullptr;  // [cols] or null
  const float* beta = nullptr;   // [cols] or null
  float eps = 1e-6f;
  const float* residual = nullptr;  // [rows, cols] or null
  int64_t ldr = 0;
  float* out = nullptr;
  int64_t ldo = 0;
};

/// out = act(x). out may be x.
struct UnaryArgs {
  const float* x = nullptr;
  int64_t ldx = 0;
  int64_t rows = 0, cols = 0;
  Act act = Act::kNone;
  float* out = nullptr;
  int64_t ldo = 0;
};

/// out = a + b; row i of a meets row i % b_rows of b (rows: plain addition; 1: a bias; tokens: a position table).
struct AddArgs {
  const float* a = nullptr;
  int64_t lda = 0;
  const float* b = nullptr;
  int64_t ldb = 0;
  int64_t b_rows = 1;
  int64_t rows = 0, cols = 0;
  float* out = nullptr;
  int64_t ldo = 0;
};

/// out = x * scale + shift per column (LayerScale, folded batch norm). out may be x.
struct AffineArgs {
  const float* x = nullptr;
  int64_t ldx = 0;
  int64_t rows = 0, cols = 0;
  const float* scale = nullptr;  // [cols] or null
  const float* shift = nullptr;  // [cols] or null
  float* out = nullptr;
  int64_t ldo = 0;
};

/// out[rows, hidden] = silu(x[:, :hidden]) * x[:, hidden : 2 hidden]. Never in place.
struct SwigluArgs {
  const float* x = nullptr;  // [rows, 2 * hidden]
  int64_t ldx = 0;
  int64_t rows = 0, hidden = 0;
  float* out = nullptr;
  int64_t ldo = 0;
};

/// out row g = mean of rows g*group_rows + first ... + count of x.
struct MeanArgs {
  const float* x = nullptr;
  int64_t ldx = 0;
  int64_t groups = 1, group_rows = 0, first = 0, count = 0, cols = 0;
  float* out = nullptr;  // [groups, cols]
  int64_t ldo = 0;
};

/// Average or maximum over windows of NHWC rows. Padding never wins a maximum; an average divides by the number of
/// positions inside the image, or by kernel_h*kernel_w with count_include_pad. A window that sees no position at all
/// yields 0 (average) or -inf (maximum).
struct PoolArgs {
  ConvGeometry geometry;  // planar = false
  bool average = true;
  bool count_include_pad = false;
  float* out = nullptr;  // NHWC rows [n*out_h*out_w, c]
  int64_t ldo = 0;
};

/// Copies rows: row r of group g goes from src + (g*src_group_rows + r)*lds to dst + (g*dst_group_rows + r)*ldd,
/// `cols` floats each, then zero_cols zeros (padding is zeroed by that only). src_group_rows = 0 repeats the same rows
/// (a class token). For concatenation, slices, windows.
struct CopyArgs {
  const float* src = nullptr;
  int64_t lds = 0, src_group_rows = 0;
  float* dst = nullptr;
  int64_t ldd = 0, dst_group_rows = 0;
  int64_t groups = 1, rows = 0, cols = 0, zero_cols = 0;
};

/// Rows [q | k | v] of `heads` heads each: q and k of every head divided by their Euclidean norm (at least 1e-12), q
/// then multiplied by scale[head]; v as it is. Never in place.
struct HeadNormArgs {
  const float* x = nullptr;  // [rows, 3 * heads * head_dim]
  int64_t ldx = 0;
  int64_t rows = 0, heads = 1, head_dim = 0;
  const float* scale = nullptr;  // [heads]
  float* out = nullptr;
  int64_t ldo = 0;
};

/// Token merging (Bolya et al. 2023), which even token of an image is most like which odd one: for each even token, the
/// cosine between its key and that of its best partner, and the partner's number among the odd tokens (token 2 p + 1);
/// keys are means over the heads. Even tokens below `prefix` get the score kNeverMerged, odd ones are nobody's partner;
/// of equal partners the first. A score that is no number counts as less than all that are one.
struct TokenMatchArgs {
  const float* keys = nullptr;  // [batch * tokens]: the heads' keys side by side
  int64_t ld = 0;
  int64_t batch = 1, tokens = 0, heads = 1, dim = 0;  // dim: of a head's keys
  int64_t prefix = 0;
  float* out = nullptr;  // [batch * ceil(tokens / 2), 2]
  int64_t ldo = 0;
};
constexpr float kNeverMerged = -3.0f, kNoCosine = -2.0f;

/// Rows of several tokens: the mean of their rows, weighted by how many tokens each stands for already. The tokens of
/// row j are lists[2 b][j], and behind token i comes lists[2 b + 1][i], larger than i; anything else ends the row's.
/// Without lists the one row has the tokens from `start` on.
struct TokenMergeArgs {
  const float* x = nullptr;  // [batch * tokens, cols]
  int64_t ldx = 0;
  const float* lists = nullptr;  // [batch * 2, tokens] or null
  int64_t ldl = 0;
  const float* log_sizes = nullptr;  // [batch, tokens]; null: each stands for itself
  int64_t lds = 0;
  int64_t batch = 1, tokens = 0, rows = 0, cols = 0, start = 0;  // rows: of each image's result
  float* out = nullptr;                                          // [batch * rows, cols]
  int64_t ldo = 0;
};

enum class Interpolation : int { kNearest, kBilinear, kBicubic };

/// NHWC rows to another size by PyTorch's rules (interpolate.h), plus residual.
struct ResizeArgs {
  const float* x = nullptr;  // [n * h * w, c]
  int64_t ldx = 0;
  int64_t n = 1, h = 0, w = 0, c = 0, out_h = 0, out_w = 0;
  Interpolation mode = Interpolation::kNearest;
  bool align_corners = false;
  const float* residual = nullptr;  // [n * out_h * out_w, c] or null
  int64_t ldr = 0;
  float* out = nullptr;  // [n * out_h * out_w, c]
  int64_t ldo = 0;
};

/// Averages over out_h x out_w bins: bin i of `in` positions is floor(i in / out) .. ceil((i + 1) in / out).
struct AdaptivePoolArgs {
  const float* x = nullptr;  // [n * h * w, c]
  int64_t ldx = 0;
  int64_t n = 1, h = 0, w = 0, c = 0, out_h = 0, out_w = 0;
  float* out = nullptr;  // [n * out_h * out_w, c]
  int64_t ldo = 0;
};

/// Space to depth, 2 x 2: the channels of pixels (2y, 2x), (2y + 1, 2x), (2y, 2x + 1), (2y + 1, 2x + 1); zeros outside.
struct MergeArgs {
  const float* x = nullptr;  // [n * h * w, c]
  int64_t ldx = 0;
  int64_t n = 1, h = 0, w = 0, c = 0;
  float* out = nullptr;  // [n * ceil(h/2) * ceil(w/2), 4 c]
  int64_t ldo = 0;
};

/// The number of the largest channel, the first of equals, of x resized bilinearly (align_corners off) to mid_h x mid_w
/// and then to out_h x out_w; -1 where a channel is no finite number.
struct ArgmaxArgs {
  const float* x = nullptr;  // [n * h * w, c]
  int64_t ldx = 0;
  int64_t n = 1, h = 0, w = 0, c = 0, mid_h = 0, mid_w = 0, out_h = 0, out_w = 0;
  float* out = nullptr;  // [n * out_h * out_w, 1]
  int64_t ldo = 0;       // a multiple of 4 with zeros behind each value, or 1
};

/// fp32 -> IEEE binary16 rows (round to nearest even) and back. Half rows have a stride in halves and the same padding.
struct ToHalfArgs {
  const float* x = nullptr;
  int64_t ldx = 0;
  int64_t rows = 0, cols = 0;
  uint16_t* out = nullptr;
  int64_t ldo = 0;
};
struct FromHalfArgs {
  const uint16_t* x = nullptr;
  int64_t ldx = 0;
  int64_t rows = 0, cols = 0;
  float* out = nullptr;
  int64_t ldo = 0;
};

/// The caches of a kernel whose groups follow from them; null of others.
template <typename Args>
Caches* caches_of(Args&) {
  return nullptr;
}
inline Caches* caches_of(GemmArgs& a) { return &a.caches; }
inline Caches* caches_of(ConvArgs& a) { return &a.gemm.caches; }
inline Caches* caches_of(AttentionArgs& a) { return &a.caches; }
inline Caches* caches_of(GroupAttentionArgs& a) { return &a.caches; }

/// Does products of bfloat16 on registers for about 0.1 ms and gives their FLOPs: the peak that gemm_bf16 is held
/// against.
using Bf16Probe = double (*)();

/// Everything one instruction set offers.
struct Kernels {
  const char* name;  // "amx", "avx512_bf16", "avx512", "avx2", "sse4", "neon_dot", "neon", "portable"
  int vector_floats;
  Blocking (*blocking)(const Caches&);
  // bfloat16 products for Precision::kFp16, or null: "amx" and "avx512_bf16" are "avx512" and these.
  const char* bf16_name;  // for plans: "bf16 amx"; empty without
  Kernel<ToBf16Args> to_bf16;
  Kernel<Bf16GemmArgs> gemm_bf16;
  /// attention with queries (times scale), keys, values and powers rounded to bfloat16 and fp32 sums; null without
  /// products of bfloat16.
  Kernel<AttentionArgs> attention_bf16;
  const char* int8_name;  // for plans: "int8 amx", "int8 vnni", "int8 dot"
  Bf16Probe bf16_probe;
  Kernel<GemmArgs> gemm;
  Kernel<ConvArgs> conv;
  Kernel<ConvArgs> winograd;
  Kernel<Im2colArgs> im2col;
  Kernel<DepthwiseArgs> depthwise;
  Kernel<AttentionArgs> attention;
  Kernel<GroupAttentionArgs> group_attention;
  /// attention with int8 codes of q and k per token and head (scale max|x| / 127, k less the mean of its channel), of v
  /// per channel likewise, less the middle of its range, and codes round(255 p) of the powers, relative to the maximum
  /// of each 256 keys; sums in 32 bits, exact, divided by the sum of the powers themselves. The same bits on every CPU.
  Kernel<AttentionArgs> attention_i8;
  Kernel<LayerNormArgs> layer_norm;
  Kernel<UnaryArgs> unary;
  Kernel<AddArgs> add;
  Kernel<AffineArgs> affine;
  Kernel<SwigluArgs> swiglu;
  Kernel<MeanArgs> mean;
  Kernel<PoolArgs> pool;
  Kernel<CopyArgs> copy;
  Kernel<HeadNormArgs> head_norm;
  Kernel<TokenMatchArgs> token_match;
  Kernel<TokenMergeArgs> token_merge;
  Kernel<ResizeArgs> resize;
  Kernel<AdaptivePoolArgs> adaptive_pool;
  Kernel<MergeArgs> merge;
  Kernel<ArgmaxArgs> argmax;
  Kernel<PictureArgs> picture;  // picture.h
  Kernel<PictureRowsArgs> picture_rows;
  Kernel<ToI8Args> to_i8;
  Kernel<I8GemmArgs> gemm_i8;
  Kernel<ToHalfArgs> to_half;
  Kernel<FromHalfArgs> from_half;
};

/// The fastest table this CPU (and operating system) can run.
const Kernels& best();

/// The table called `name`, or null when it is not built in or this CPU cannot run it.
const Kernels* find(const char* name);

/// The tables this CPU can run, fastest first; null past the end.
const Kernels* supported(int index);

/// Bytes of a packed weight matrix W [n, k]: [ceil(n/32)][k][32] elements, columns past n zero. Align it to 64 bytes.
/// kBF16: [ceil(n/32)][ceil(k/32) * 16][32][2], pairs of k together and zero past k.
size_t packed_weight_bytes(int64_t n, int64_t k, DType type);

/// Packs `count` dense fp32 rows `rows` = W[first .. first+count) into their place. first must be a multiple of 32, and
/// count too unless the range ends at n; such ranges may be packed from several threads (the last one also writes the
/// zero padding). kF16, kBF16: round to nearest even. kI8: symmetric per row, scales[row] = max|w| / 127,
/// q = round_half_even(w / scale), a zero row has scale 0; `scales` holds round_up(n, 4) floats (padding zeroed).
void pack_weight(const float* rows, int64_t first, int64_t count, int64_t n, int64_t k, DType type, void* packed,
                 float* scales);

/// The same for int8 values that come quantised (a compressed checkpoint): dense rows into the kI8 layout.
void pack_weight_i8(const int8_t* rows, int64_t first, int64_t count, int64_t n, int64_t k, void* packed);
/// The same for codes of at most 4 bits, two in a byte: of a panel's row k, byte c holds column c in its lower half and
/// column c + 16 in its upper one. Half of packed_weight_bytes(n, k, DType::kI8).
void pack_weight_i4(const int8_t* rows, int64_t first, int64_t count, int64_t n, int64_t k, void* packed);

/// Bytes of W [n, k] for gemm_i8: [ceil(n/32)][ceil(k/4)][32][4] codes plus 128, columns past n and k 128. `nibbles`:
/// codes of at most 4 bits plus 8, [ceil(n/32)][ceil(k/8)][32][4], a byte holding column k of 8 in its lower half and k
/// + 4 in its upper one.
size_t integer_weight_bytes(int64_t n, int64_t k, bool nibbles = false);
/// Dense rows of codes into that layout; `first` and `count` as for pack_weight.
void pack_weight_integer(const int8_t* rows, int64_t first, int64_t count, int64_t n, int64_t k, void* packed,
                         bool nibbles = false);

/// Bytes of the weights of a 3 x 3 convolution as the winograd kernel reads them: [ceil(n/32)][16][c][32] fp32 values,
/// the 4 x 4 products of each pair of channels apart, columns past n zero. Align them to 64 bytes.
size_t winograd_weight_bytes(int64_t n, int64_t c);

/// Transforms `count` dense rows (3, 3, c) of n; `first` and `count` as for pack_weight.
void pack_winograd(const float* rows, int64_t first, int64_t count, int64_t c, float* packed);

}  // namespace vireo::simd
