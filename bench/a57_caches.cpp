// One CPU kernel as one thread of several runs it: the first of so many parts of its items. bench/a57_caches.sh counts
// what it misses.
// a57_caches gemm|attention|conv|winograd M N K PARTS FIRST REST
//   gemm: [M, K] times [N, K]; attention: M tokens, N heads of K; conv, winograd: 3 x 3, a map of M x M pixels
//   from K channels to N. FIRST, REST: bytes of caches to choose groups for; 0: large ones.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "simd/kernels.h"
#include "tensor/tensor.h"

namespace {
using namespace vireo::simd;

/// Zeros; never freed.
template <typename T = float>
T* room(int64_t count) {
  void* p = nullptr;
  const size_t bytes = size_t(count + 64) * sizeof(T);
  if (posix_memalign(&p, 64, bytes) != 0) std::exit(1);
  std::memset(p, 0, bytes);
  return static_cast<T*>(p);
}

template <typename Args>
int part_of(const Kernel<Args>& kernel, Args args, const Caches& caches, int64_t parts) {
  *caches_of(args) = caches;
  const int64_t items = kernel.items(args);
  kernel.run(args, 0, vireo::div_up(items, parts), room<char>(int64_t(kernel.scratch_bytes(args))));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  const std::string what = argv[1];
  const int64_t m = std::atol(argv[2]), n = std::atol(argv[3]), k = std::atol(argv[4]), parts = std::atol(argv[5]);
  const Caches caches{std::atol(argv[6]), std::atol(argv[7])};
  const int64_t wide = vireo::round_up(n, kPanel), ld = k % 1024 == 0 ? k + 16 : k;
  const Kernels& kernels = best();
  if (what == "gemm") {
    GemmArgs a;
    a.m = m, a.n = n, a.k = k, a.a = room(m * ld), a.lda = ld, a.b = room(wide * k), a.out = room(m * n), a.ldo = n;
    return part_of(kernels.gemm, a, caches, parts);
  }
  if (what == "attention") {
    const int64_t width = n * k;
    return part_of(kernels.attention,
                   AttentionArgs::from_qkv(room(3 * m * width), 3 * width, 1, m, n, k, 0.1f, room(m * width), width),
                   caches, parts);
  }
  if (what != "conv" && what != "winograd") return 2;
  ConvArgs a;
  a.geometry.x = room(m * m * k), a.geometry.ldx = k, a.geometry.c = k;
  a.geometry.h = a.geometry.w = a.geometry.out_h = a.geometry.out_w = m;
  a.geometry.kernel_h = a.geometry.kernel_w = 3, a.geometry.pad_x = a.geometry.pad_y = 1;
  a.gemm.n = n, a.gemm.b = room(wide * k * kWinogradProducts), a.gemm.out = room(m * m * n), a.gemm.ldo = n;
  return part_of(what == "conv" ? kernels.conv : kernels.winograd, a, caches, parts);
}
