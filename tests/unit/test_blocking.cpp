// Sizes of groups from caches: what large and unknown ones give, what a Cortex-A57's give, and that results stay the
// same.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "ops/op.h"
#include "profile/machine.h"
#include "runtime/cpu_caches.h"
#include "simd/gemm_plan.h"
#include "test_simd.h"

namespace vireo::simd {
namespace {

constexpr int64_t kKiB = 1024;
const Caches kA57{32 * kKiB, 512 * kKiB};

DeviceCaps nano() {
  const Result<DeviceCaps> caps = caps_from_text(embedded_caps("jetson-nano-cpu.txt"), "jetson-nano-cpu.txt");
  EXPECT_TRUE(caps.ok());
  return caps.ok() ? *caps : DeviceCaps();
}

TEST(Blocking, LargeAndUnknownCachesGiveTheSameGroups) {
  for (const Caches& large : {Caches{48 * kKiB, 2048 * kKiB}, Caches{32 * kKiB, 4096 * kKiB}, Caches{64 * kKiB, 0}})
    for (const int64_t m : {1, 50, 197, 1024, 4096})
      for (const int64_t n : {64, 192, 3072})
        for (const int64_t k : {96, 192, 768, 3072})
          for (const bool gathered : {false, true}) {
            const GemmPlan a = plan_gemm(m, n, k, DType::kF32, gathered, 14, Blocking());
            const GemmPlan b = plan_gemm(m, n, k, DType::kF32, gathered, 14, blocking_for(large, false));
            EXPECT_EQ(a.group_blocks, b.group_blocks) << m << " " << n << " " << k;
            EXPECT_EQ(a.group_panels, b.group_panels) << m << " " << n << " " << k;
            EXPECT_EQ(a.chunk, b.chunk) << m << " " << n << " " << k;
          }
  const Blocking here = blocking_for({48 * kKiB, 2048 * kKiB}, true);
  EXPECT_EQ(here.chunk, Blocking().chunk);
  EXPECT_EQ(here.keys, Blocking().keys);
  EXPECT_EQ(here.tile_floats, Blocking().tile_floats);
}

TEST(Blocking, CoresShareWhatIsShared) {
  DeviceCaps caps = nano();
  EXPECT_EQ(caches_for(caps).first, kA57.first);
  EXPECT_EQ(caches_for(caps).rest, kA57.rest);
  caps.threads = 1;
  EXPECT_EQ(caches_for(caps).rest, 2048 * kKiB);
  caps.threads = 2;
  EXPECT_EQ(caches_for(caps).rest, 1024 * kKiB);
  caps.caches.l3_bytes = uint64_t(8192 * kKiB), caps.caches.l3_cores = 8, caps.threads = 64;
  EXPECT_EQ(caches_for(caps).rest, (512 + 1024) * kKiB);
  EXPECT_EQ(caches_for(DeviceCaps()).rest, 0);
}

TEST(Blocking, ACortexA57GetsSmallerGroups) {
  const Blocking b = blocking_for(caches_for(nano()), true);
  EXPECT_EQ(b.chunk, 128);
  EXPECT_EQ(b.keys, 128);
  EXPECT_EQ(b.tile_floats * 4, 128 * kKiB);
  EXPECT_LE(b.chunk * kPanel * 4, kA57.first / 2) << "a panel's chunk";
  // A group of rows over all of k, or its chunk and unfinished sums, fits beside a panel.
  for (const int64_t k : {192, 768, 3072}) {
    const GemmPlan p = plan_gemm(577, 3072, k, DType::kF32, false, 8, b);
    const int64_t row = (k <= 768 ? k : p.chunk + p.group_panels * kPanel) * 4;
    EXPECT_LE(p.group_rows() * row, b.row_bytes) << k;
    EXPECT_EQ(p.chunk, k < 768 ? 96 : 128) << k;
  }
  const auto rows = [](int64_t k, const Blocking& sizes) {
    return plan_gemm(577, 3072, k, DType::kF32, false, 8, sizes).group_rows();
  };
  EXPECT_LT(rows(768, b), rows(768, Blocking()));
  EXPECT_EQ(rows(192, b), rows(192, Blocking())) << "these fit as they are";
  // Threads of four cores have as much to do as before.
  for (const int64_t n : {192, 576, 768})
    EXPECT_GE(plan_gemm(197, n, 192, DType::kF32, false, 8, b).items(),
              plan_gemm(197, n, 192, DType::kF32, false, 8, Blocking()).items());
}

TEST(Blocking, NoCacheIsTooSmall) {
  for (const Caches& tiny : {Caches{1, 1}, Caches{kKiB, 4 * kKiB}, Caches{0, 64}, Caches{64, 0}}) {
    const Blocking b = blocking_for(tiny, true);
    EXPECT_GE(b.chunk, 16);
    EXPECT_EQ(b.keys % 32, 0);
    EXPECT_GE(b.keys, 32);
    const GemmPlan p = plan_gemm(197, 768, 768, DType::kF32, true, 8, b);
    EXPECT_GE(p.group_blocks, 1);
    EXPECT_GE(p.group_blocks * p.row_groups, p.blocks);
  }
}

class BlockingTargets : public Simd {};

TEST_P(BlockingTargets, ProductsAreTheSameBits) {
  const int64_t m = slow() ? 40 : 333, n = 100, kk = 1000;
  Rows a = Rows::random(m, kk, 1);
  std::vector<float> dense(size_t(n * kk));
  Random random(2);
  for (float& x : dense) x = random();
  for (const DType type : {DType::kF32, DType::kF16, DType::kI8}) {
    AlignedBuffer packed(packed_weight_bytes(n, kk, type));
    std::vector<float> scales(size_t(round_up(n, 4)));
    pack_weight(dense.data(), 0, n, n, kk, type, packed.data(), scales.data());
    std::vector<float> first;
    for (const Caches& caches : {Caches(), kA57, Caches{8 * kKiB, 64 * kKiB}}) {
      Rows out = Rows::output(m, n);
      GemmArgs g;
      g.a = a.p(), g.lda = a.ld, g.m = m, g.n = n, g.k = kk, g.b = packed.data(), g.type = type;
      if (type == DType::kI8) g.b_scales = scales.data();
      g.out = out.p(), g.ldo = out.ld, g.caches = caches;
      run(k().gemm, g);
      if (first.empty()) first = out.data;
      EXPECT_EQ(out.data, first) << caches.first;
    }
  }
}

TEST_P(BlockingTargets, AttentionStaysWithinRounding) {
  const int64_t tokens = slow() ? 150 : 400, heads = 2, dim = 40, width = 3 * heads * dim;
  Rows qkv = Rows::random(tokens, width, 3);
  Rows large = Rows::output(tokens, heads * dim), small = Rows::output(tokens, heads * dim);
  AttentionArgs a = AttentionArgs::from_qkv(qkv.p(), qkv.ld, 1, tokens, heads, dim, 0.3f, large.p(), large.ld);
  run(k().attention, a);
  a.out = small.p(), a.caches = {8 * kKiB, 64 * kKiB};
  run(k().attention, a);
  if (k().vector_floats <= 4) {
    EXPECT_LT(k().blocking(a.caches).keys, tokens) << "several blocks of keys";
  }
  // Means of `tokens` values of at most 1, weighted in another order.
  int failures = 0;
  for (int64_t r = 0; r < tokens; ++r)
    for (int64_t c = 0; c < heads * dim; ++c)
      expect_near("attention", small(r, c), double(large(r, c)), 4e-6, r, c, &failures);
}

INSTANTIATE_TEST_SUITE_P(Targets, BlockingTargets, ::testing::ValuesIn(all_targets()));

// ---- what Linux says

class CacheTree : public ::testing::Test {
 protected:
  std::filesystem::path root = std::filesystem::temp_directory_path() / ("vireo-caches-" + std::to_string(::getpid()));
  void TearDown() override { std::filesystem::remove_all(root); }
  void cache(int cpu, int index, const char* level, const char* type, const char* size, const char* shared) {
    const auto at =
        root / ("sys/devices/system/cpu/cpu" + std::to_string(cpu)) / ("cache/index" + std::to_string(index));
    std::filesystem::create_directories(at);
    for (const auto& [name, text] : {std::pair<const char*, const char*>{"level", level},
                                     {"type", type},
                                     {"size", size},
                                     {"shared_cpu_list", shared}})
      std::ofstream(at / name) << text << "\n";
  }
};

TEST_F(CacheTree, FourCoresThatShareTheSecond) {
  for (int cpu = 0; cpu < 4; ++cpu) {
    cache(cpu, 0, "1", "Data", "32K", std::to_string(cpu).c_str());
    cache(cpu, 1, "1", "Instruction", "48K", std::to_string(cpu).c_str());
    cache(cpu, 2, "2", "Unified", "2048K", "0-3");
  }
  const CpuCaches c = read_cpu_caches(root.string());
  EXPECT_EQ(c.l1_bytes, 32u << 10);
  EXPECT_EQ(c.l2_bytes, 2048u << 10);
  EXPECT_EQ(c.l2_cores, 4u);
  EXPECT_EQ(c.l3_bytes, 0u);
}

TEST_F(CacheTree, TheSmallestCoreCounts) {
  cache(0, 0, "1", "Data", "64K", "0");
  cache(0, 1, "2", "Unified", "1M", "0");
  cache(0, 2, "3", "Unified", "8192K", "0-1,4-5");
  cache(1, 0, "1", "Data", "32K", "1");
  cache(1, 1, "2", "Unified", "512K", "1,3");
  cache(1, 2, "3", "Unified", "8192K", "0-1,4-5");
  const CpuCaches c = read_cpu_caches(root.string());
  EXPECT_EQ(c.l1_bytes, 32u << 10);
  EXPECT_EQ(c.l2_bytes, 512u << 10);
  EXPECT_EQ(c.l2_cores, 2u);
  EXPECT_EQ(c.l3_bytes, 8192u << 10);
  EXPECT_EQ(c.l3_cores, 4u);
}

TEST_F(CacheTree, NothingIsGuessed) {
  EXPECT_EQ(read_cpu_caches(root.string()).l1_bytes, 0u);
  cache(0, 0, "1", "Data", "-5K", "x");
  cache(0, 1, "2", "Unified", "", "");
  cache(0, 2, "3", "Unified", "99999999999999999999K", "3-1");
  const CpuCaches c = read_cpu_caches(root.string());
  EXPECT_EQ(c.l1_bytes + c.l2_bytes + c.l3_bytes, 0u);
  EXPECT_EQ(c.l3_cores, 1u);
}

}  // namespace
}  // namespace vireo::simd
