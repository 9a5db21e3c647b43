// Speed of the CPU kernels on ViT shapes: median GFLOP/s, and its share of the FMA peak measured beside it.
// Names are kernel/shape/type/target/threads; choose with --benchmark_filter.
#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/aligned.h"
#include "base/thread_pool.h"
#include "simd/fma_probe.h"
#include "simd/kernels.h"
#include "tensor/tensor.h"

namespace vireo {
namespace {

/// Seconds: of this thread's own processor time where it works alone, so that being preempted does not count.
double now(bool alone) {
  timespec t{};
  clock_gettime(alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

double median(std::vector<double> v) {
  if (v.empty()) return 0.0;
  std::nth_element(v.begin(), v.begin() + std::ptrdiff_t(v.size() / 2), v.end());
  return v[v.size() / 2];
}

// ---- FMA peak ----

/// Median FLOP/s of `rounds` probes on all threads of the pool at once.
double peak(ThreadPool& pool, int rounds) {
  std::vector<double> rates;
  for (int i = 0; i < rounds; ++i) {
    const int64_t jobs = 4 * pool.threads();
    const double t = now(pool.threads() == 1);
    pool.parallel_for(jobs, 1, [&](int64_t, int64_t, int) { fma_probe(); });
    const double s = now(pool.threads() == 1) - t;
    rates.push_back(2.0 * 16 * 24 * kProbeSteps * double(jobs) / s);
  }
  const double scale = fma_probe() / (2.0 * 16 * 24 * kProbeSteps);
  return median(rates) * scale;
}

// ---- Running a kernel ----

template <typename Args>
struct Runner {
  ThreadPool& pool;
  const simd::Kernel<Args>& kernel;
  AlignedBuffer scratch;
  size_t each = 0;
  Runner(ThreadPool& p, const simd::Kernel<Args>& k, const Args& args) : pool(p), kernel(k) {
    each = (k.scratch_bytes(args) + 127) / 64 * 64;
    scratch = AlignedBuffer(each * size_t(p.threads()));
  }
  void operator()(const Args& args) {
    pool.parallel_for(kernel.items(args), 1, [&](int64_t begin, int64_t end, int thread) {
      kernel.run(args, begin, end, scratch.as<char>() + size_t(thread) * each);
    });
  }
};

template <typename Args>
void measure(benchmark::State& state, ThreadPool& pool, const simd::Kernel<Args>& kernel, const Args& args,
             double flops) {
  Runner<Args> runner(pool, kernel, args);
  // Each iteration stands beside a probe of its own: the clock moves, and neighbours come and go within milliseconds.
  std::vector<double> times, shares;
  times.reserve(100000), shares.reserve(100000);
  double top = 0;
  const bool alone = pool.threads() == 1;
  runner(args);
  for (auto _ : state) {
    const double limit = peak(pool, 1), t = now(alone);
    runner(args);
    const double s = now(alone) - t;
    state.SetIterationTime(s);
    if (times.size() == times.capacity()) continue;
    times.push_back(s);
    if (limit > 0) shares.push_back(flops / s / limit);
    top = std::max(top, limit);
  }
  const double rate = flops / median(times);
  const double best = flops / *std::min_element(times.begin(), times.end());
  state.counters["GFLOP/s"] = rate * 1e-9;
  state.counters["best"] = best * 1e-9;  // of the fastest iteration: what the machine does when left alone
  if (top > 0) {
    state.counters["peak"] = top * 1e-9;
    state.counters["%peak"] = 100.0 * median(shares);
    state.counters["best%"] = 100.0 * best / top;
  }
}

AlignedBuffer random_floats(int64_t count, uint32_t seed) {
  AlignedBuffer b(size_t(count) * 4);
  uint32_t s = seed * 2654435761u + 1u;
  for (int64_t i = 0; i < count; ++i) {
    s = s * 1664525u + 1013904223u;
    b.as<float>()[i] = float(int32_t(s)) * (1.0f / 2147483648.0f);
  }
  return b;
}

void bench_gemm(benchmark::State& state, const simd::Kernels* k, int threads, int64_t m, int64_t n, int64_t kk,
                DType type, simd::Act act) {
  ThreadPool pool(threads);
  const int64_t lda = round_up(kk, 4) + (kk % 1024 == 0 ? 16 : 0);  // the gap that a plan leaves, see plan/lower.cpp
  const AlignedBuffer a = random_floats(m * lda, 1), w = random_floats(n * kk, 2);
  const AlignedBuffer bias = random_floats(n, 3);
  AlignedBuffer packed(simd::packed_weight_bytes(n, kk, type)), scales(size_t(round_up(n, 4)) * 4);
  simd::pack_weight(w.as<float>(), 0, n, n, kk, type, packed.data(), scales.as<float>());
  AlignedBuffer out = AlignedBuffer::zeroed(size_t(m * round_up(n, 4)) * 4);
  simd::GemmArgs g;
  g.a = a.as<float>(), g.lda = lda, g.m = m, g.n = n, g.k = kk;
  g.b = packed.data(), g.type = type, g.b_scales = type == DType::kI8 ? scales.as<float>() : nullptr;
  g.bias = bias.as<float>(), g.act = act, g.out = out.as<float>(), g.ldo = round_up(n, 4);
  measure(state, pool, k->gemm, g, 2.0 * double(m) * double(n) * double(kk));
}

void bench_attention(benchmark::State& state, const simd::Kernels* k, int threads, int64_t tokens, int64_t heads,
                     int64_t head_dim) {
  ThreadPool pool(threads);
  const int64_t d = heads * head_dim;
  const AlignedBuffer qkv = random_floats(tokens * 3 * d, 1);
  AlignedBuffer out = AlignedBuffer::zeroed(size_t(tokens * d) * 4);
  const auto args =
      simd::AttentionArgs::from_qkv(qkv.as<float>(), 3 * d, 1, tokens, heads, head_dim, 0.125f, out.as<float>(), d);
  measure(state, pool, k->attention, args, 4.0 * double(heads) * double(tokens) * double(tokens) * double(head_dim));
}

simd::ConvGeometry same_map(int64_t side, int64_t channels, int64_t kernel, int64_t stride) {
  simd::ConvGeometry g;
  g.ldx = g.c = channels, g.h = g.w = side, g.kernel_h = g.kernel_w = kernel, g.stride_y = g.stride_x = stride;
  g.pad_y = g.pad_x = kernel / 2, g.out_h = g.out_w = (side + stride - 1) / stride;
  return g;
}

void bench_conv(benchmark::State& state, const simd::Kernels* k, int threads, int64_t side, int64_t channels,
                int64_t kernel) {
  ThreadPool pool(threads);
  const AlignedBuffer x = random_floats(side * side * channels, 1),
                      w = random_floats(channels * channels * kernel * kernel, 2);
  simd::ConvArgs a;
  a.geometry = same_map(side, channels, kernel, 1);
  a.geometry.x = x.as<float>();
  AlignedBuffer packed(simd::packed_weight_bytes(channels, a.geometry.k(), DType::kF32));
  simd::pack_weight(w.as<float>(), 0, channels, channels, a.geometry.k(), DType::kF32, packed.data(), nullptr);
  AlignedBuffer out = AlignedBuffer::zeroed(size_t(a.geometry.rows() * channels) * 4);
  a.gemm.n = channels, a.gemm.b = packed.data(), a.gemm.out = out.as<float>(), a.gemm.ldo = channels;
  measure(state, pool, k->conv, a, 2.0 * double(a.geometry.rows() * channels) * double(a.geometry.k()));
}

void bench_depthwise(benchmark::State& state, const simd::Kernels* k, int threads, int64_t side, int64_t channels,
                     int64_t stride) {
  ThreadPool pool(threads);
  const AlignedBuffer x = random_floats(side * side * channels, 1), w = random_floats(9 * channels, 2),
                      bias = random_floats(channels, 3);
  simd::DepthwiseArgs a;
  a.geometry = same_map(side, channels, 3, stride);
  a.geometry.x = x.as<float>();
  AlignedBuffer out = AlignedBuffer::zeroed(size_t(a.geometry.rows() * channels) * 4);
  a.weight = w.as<float>(), a.ldw = channels, a.bias = bias.as<float>(), a.act = simd::Act::kNone;
  a.out = out.as<float>(), a.ldo = channels;
  measure(state, pool, k->depthwise, a, 18.0 * double(a.geometry.rows() * channels));
}

void bench_windows(benchmark::State& state, const simd::Kernels* k, int threads, int64_t side, int64_t window,
                   int64_t heads) {
  ThreadPool pool(threads);
  const int64_t d = heads * 32, tokens = window * window;
  const AlignedBuffer qkv = random_floats(side * side * 3 * d, 1),
                      bias = random_floats(heads * tokens * round_up(tokens, 4), 2);
  AlignedBuffer out = AlignedBuffer::zeroed(size_t(side * side * d) * 4);
  simd::GroupAttentionArgs a;
  a.x = qkv.as<float>(), a.ldx = 3 * d, a.heads = heads, a.head_dim = 32, a.scale = 0.177f;
  a.groups.h = a.groups.w = side, a.groups.group_h = a.groups.group_w = window,
  a.groups.shift_h = a.groups.shift_w = window / 2;
  a.bias = bias.as<float>(), a.bias_ld = round_up(tokens, 4), a.out = out.as<float>(), a.ldo = d;
  measure(state, pool, k->group_attention, a, 4.0 * double(a.groups.count() * heads) * double(tokens * tokens) * 32);
}

void bench_layer_norm(benchmark::State& state, const simd::Kernels* k, int threads, int64_t rows, int64_t cols) {
  ThreadPool pool(threads);
  const AlignedBuffer x = random_floats(rows * cols, 1), gamma = random_floats(cols, 2);
  AlignedBuffer out = AlignedBuffer::zeroed(size_t(rows * cols) * 4);
  simd::LayerNormArgs a;
  a.x = x.as<float>(), a.ldx = a.ldo = cols, a.rows = rows, a.cols = cols;
  a.gamma = a.beta = gamma.as<float>(), a.out = out.as<float>();
  measure(state, pool, k->layer_norm, a, 8.0 * double(rows * cols));
}

void bench_peak(benchmark::State& state, int threads) {
  ThreadPool pool(threads);
  double p = 0.0;
  for (auto _ : state) {
    p = peak(pool, 101);
    state.SetIterationTime(1e-3);
  }
  state.counters["peak"] = p * 1e-9;
}

struct GemmShape {
  const char* name;
  int64_t m, n, k;
  simd::Act act;
};

const GemmShape kGemms[] = {
    {"vit-b.qkv", 197, 2304, 768, simd::Act::kNone},     {"vit-b.proj", 197, 768, 768, simd::Act::kNone},
    {"vit-b.fc1", 197, 3072, 768, simd::Act::kGeluErf},  {"vit-b.fc2", 197, 768, 3072, simd::Act::kNone},
    {"deit-s.qkv", 197, 1152, 384, simd::Act::kNone},    {"deit-s.proj", 197, 384, 384, simd::Act::kNone},
    {"deit-s.fc1", 197, 1536, 384, simd::Act::kGeluErf}, {"deit-s.fc2", 197, 384, 1536, simd::Act::kNone},
    {"deit-ti.qkv", 197, 576, 192, simd::Act::kNone},    {"deit-ti.proj", 197, 192, 192, simd::Act::kNone},
    {"deit-ti.fc1", 197, 768, 192, simd::Act::kGeluErf}, {"deit-ti.fc2", 197, 192, 768, simd::Act::kNone},
    {"vit-l.qkv", 197, 3072, 1024, simd::Act::kNone},    {"vit-b.head", 1, 1000, 768, simd::Act::kNone},
};

void register_all() {
  const int cores = int(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<int> counts{1};
  if (cores >= 2) counts.push_back(2);
  if (cores >= 4) counts.push_back(4);
  for (int threads : counts) {
    const std::string tail = "/threads:" + std::to_string(threads);
    benchmark::RegisterBenchmark(("fma_peak" + tail).c_str(), bench_peak, threads)->UseManualTime()->Iterations(1);
    for (int i = 0; const simd::Kernels* k = simd::supported(i); ++i) {
      const std::string end = std::string("/") + k->name + tail;
      const auto add = [&](const std::string& name, auto f, auto... args) {
        benchmark::RegisterBenchmark((name + end).c_str(), f, k, threads, args...)->UseManualTime();
      };
      const std::pair<const char*, DType> types[] = {{"/f32", DType::kF32}, {"/f16", DType::kF16}, {"/i8", DType::kI8}};
      for (const GemmShape& s : kGemms) {
        for (const auto& t : types) {
          add(std::string("gemm/") + s.name + t.first, bench_gemm, s.m, s.n, s.k, t.second, s.act);
        }
      }
      add("attention/vit-b.197", bench_attention, int64_t(197), int64_t(12), int64_t(64));
      add("attention/vit-b.1370", bench_attention, int64_t(1370), int64_t(12), int64_t(64));
      add("attention/deit-s.197", bench_attention, int64_t(197), int64_t(6), int64_t(64));
      add("attention/deit-ti.197", bench_attention, int64_t(197), int64_t(3), int64_t(64));
      add("attention/swin-t.windows", bench_windows, int64_t(56), int64_t(7), int64_t(3));
      add("conv/mobilevit-s.32x32x96", bench_conv, int64_t(32), int64_t(96), int64_t(3));
      add("conv/upernet.64x64x512", bench_conv, int64_t(64), int64_t(512), int64_t(3));
      add("depthwise/mobilevit-s.128x128x128", bench_depthwise, int64_t(128), int64_t(128), int64_t(1));
      add("depthwise/mobilevit-s.64x64x256.stride2", bench_depthwise, int64_t(64), int64_t(256), int64_t(2));
      add("layer_norm/vit-b", bench_layer_norm, int64_t(197), int64_t(768));
    }
  }
}

}  // namespace
}  // namespace vireo

int main(int argc, char** argv) {
  vireo::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
