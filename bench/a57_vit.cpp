// The kernels of a ViT-Ti/16 as a plan for the CPU calls them, with the groups of a Cortex-A57's caches, one thread,
// and without the graph around them: a program of few files, so that bench/a57_counts.sh can build it as a release is.
// a57_vit fp32|w8a8 INFERENCES
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "simd/kernels.h"
#include "tensor/tensor.h"

namespace {
using namespace vireo::simd;

constexpr int64_t kTokens = 197, kWidth = 192, kHeads = 3, kHidden = 768, kClasses = 1000, kBlocks = 12;
constexpr Caches kCaches{32 << 10, 512 << 10};

const Kernels& kernels() { return best(); }

/// Small numbers; never freed.
template <typename T = float>
T* room(int64_t count) {
  void* p = nullptr;
  if (posix_memalign(&p, 64, size_t(count + 64) * sizeof(T)) != 0) std::exit(1);
  T* const to = static_cast<T*>(p);
  for (int64_t i = 0; i < count + 64; ++i) to[i] = T(double(i * 7 % 13 - 6) / 8);
  return to;
}

template <typename Args>
void run(const Kernel<Args>& kernel, Args args) {
  static char* const scratch = room<char>(8 << 20);
  if (Caches* c = caches_of(args)) *c = kCaches;
  if (kernel.scratch_bytes(args) > 8u << 20) std::exit(1);
  kernel.run(args, 0, kernel.items(args), scratch);
}

struct Network {
  explicit Network(bool integers) : codes(integers) {}

  const bool codes;
  float* const x = room(kTokens * kWidth);
  float* const normal = room(kTokens * kWidth);
  float* const qkv = room(kTokens * 3 * kWidth);
  float* const heads = room(kTokens * kWidth);
  float* const hidden = room(kTokens * kHidden);
  float* const logits = room(kClasses);
  const float* const picture = room(3 * 224 * 224);
  const float* const vectors = room(4096);
  const float* const weights = room(kHidden * kHidden + 64 * 1024);
  int8_t* const rows = room<int8_t>(2 * kTokens * kHidden);
  float* const scales = room(kTokens);
  int32_t* const sums = room<int32_t>(kTokens);

  void linear(const float* in, int64_t m, int64_t n, int64_t k, Act act, bool norm, bool residual, float* out) {
    GemmArgs a;
    a.a = in, a.lda = k, a.m = m, a.n = n, a.k = k, a.b = weights, a.bias = vectors, a.act = act, a.out = out,
    a.ldo = n;
    if (residual) a.residual = x, a.ldr = n;
    if (codes) {
      ToI8Args to;
      to.x = in, to.ldx = k, to.rows = m, to.cols = k, to.normalise = norm, to.out = rows, to.ldo = k;
      to.scales = scales, to.sums = sums;
      run(kernels().to_i8, to);
      a.type = vireo::DType::kI8, a.b_scales = vectors;
      return run(kernels().gemm_i8, I8GemmArgs{a, rows, k, scales, sums});
    }
    if (norm) {
      normalise(in, m);
      a.a = normal;
    }
    run(kernels().gemm, a);
  }

  void normalise(const float* in, int64_t m) {
    LayerNormArgs n;
    n.x = in, n.ldx = n.cols = n.ldo = kWidth, n.rows = m, n.out = normal;
    run(kernels().layer_norm, n);
  }

  void inference() {
    ConvArgs c;
    c.geometry.x = picture, c.geometry.planar = true, c.geometry.c = 3, c.geometry.h = c.geometry.w = 224;
    c.geometry.kernel_h = c.geometry.kernel_w = c.geometry.stride_y = c.geometry.stride_x = 16;
    c.geometry.out_h = c.geometry.out_w = 14;
    c.gemm.n = kWidth, c.gemm.b = weights, c.gemm.bias = vectors, c.gemm.out = x + kWidth, c.gemm.ldo = kWidth;
    run(kernels().conv, c);
    AddArgs position;
    position.a = x, position.lda = position.ldb = position.ldo = position.cols = kWidth, position.b = weights;
    position.b_rows = position.rows = kTokens, position.out = x;
    run(kernels().add, position);
    for (int64_t block = 0; block < kBlocks; ++block) {
      linear(x, kTokens, 3 * kWidth, kWidth, Act::kNone, true, false, qkv);
      run(kernels().attention,
          AttentionArgs::from_qkv(qkv, 3 * kWidth, 1, kTokens, kHeads, kWidth / kHeads, 0.125f, heads, kWidth));
      linear(heads, kTokens, kWidth, kWidth, Act::kNone, false, true, x);
      linear(x, kTokens, kHidden, kWidth, Act::kGeluErf, true, false, hidden);
      linear(hidden, kTokens, kWidth, kHidden, Act::kNone, false, true, x);
    }
    normalise(x, 1);
    linear(normal, 1, kClasses, kWidth, Act::kNone, false, false, logits);
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || (std::strcmp(argv[1], "fp32") != 0 && std::strcmp(argv[1], "w8a8") != 0)) return 2;
  static Network network(std::strcmp(argv[1], "w8a8") == 0);
  for (int i = std::atoi(argv[2]); i > 0; --i) network.inference();
  std::printf("%g\n", double(network.logits[0]));
  return 0;
}
