#include "runtime/roofline.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>

#include "base/aligned.h"
#include "base/input_file.h"
#include "base/write_file.h"
#include "profile/probes.h"
#include "profile/roofs_file.h"
#include "shader/modules.h"
#include "simd/fma_probe.h"
#if VIREO_VULKAN
#include "vk/executable.h"
#endif

namespace vireo {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32] = "";
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &utc);
  return text;
}

/// Errors: kNotFound (no such file), others say in one sentence why it is not used.
Result<KeptRoofs> load_roofs(const std::string& path, const RoofsId& id) {
  constexpr size_t kMaxFile = 1 << 16;
  if (path_kind(path) == PathKind::kMissing) return fail(ErrorCode::kNotFound, "there is no file '{}'", path);
  const Result<std::string> text = read_text_file(path, kMaxFile);
  if (!text) return fail(ErrorCode::kIo, "kept roofs are not used: {}", text.error().message);
  Result<KeptRoofs> kept = parse_roofs(*text, id);
  if (!kept) return fail(ErrorCode::kCorrupt, "kept roofs '{}' are not used: {}", path, kept.error().message);
  return kept;
}

}  // namespace

Result<DeviceRoofs> kept_roofs(const DeviceCaps& caps, const std::string& dir, bool anew,
                               const std::function<Result<DeviceRoofs>()>& measure, std::vector<std::string>* notes) {
  if (dir.empty()) return measure();
  const RoofsId id = roofs_id(caps, shader::all_hash());
  const std::string path = dir + "/" + id.file;
  const Result<KeptRoofs> kept = load_roofs(path, id);
  if (kept && !anew) {
    notes->push_back(
        fmt::format("roofs as measured {}, kept in '{}'; --measure-roofs measures anew", kept->date, path));
    return kept->roofs;
  }
  if (!kept && kept.error().code != ErrorCode::kNotFound) notes->push_back(kept.error().message);
  VIREO_ASSIGN(DeviceRoofs r, measure());
  if (kept) {
    r = best_of(r, kept->roofs);
    notes->push_back(fmt::format(
        "roofs are the best of those measured now and before ({}); to forget those delete '{}'", kept->date, path));
  }
  if (!(r.fma_gflops > 0) || !(r.copy_gbs > 0)) return r;  // not all of it could be measured: next time again
  const std::string text = roofs_text(id, {r, date_now()});
  const std::string why = write_whole_file(dir, id.file, text.data(), text.size());
  if (!why.empty()) notes->push_back(fmt::format("roofs were not kept in '{}': {}", path, why));
  return r;
}

DeviceRoofs measure_cpu_roofline(ThreadPool& pool) {
  constexpr int kCalls = 40, kRounds = 7;       // about 4 ms a round
  constexpr int64_t kCopy = int64_t(64) << 20;  // beyond most second and third caches
  DeviceRoofs r;
  const double flops = fma_probe();
  for (int round = 0; round < kRounds; ++round) {
    const Clock::time_point start = Clock::now();
    pool.parallel_for(int64_t(kCalls) * pool.threads(), kCalls, [](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) fma_probe();
    });
    r.fma_gflops = std::max(r.fma_gflops, flops * kCalls * pool.threads() / seconds_since(start) * 1e-9);
  }
  AlignedBuffer from = AlignedBuffer::zeroed(size_t(kCopy)), to = AlignedBuffer::zeroed(size_t(kCopy));
  if (!from || !to) return r;
  for (int round = 0; round < kRounds; ++round) {
    const Clock::time_point start = Clock::now();
    pool.parallel_for(kCopy >> 20, 4, [&](int64_t begin, int64_t end, int) {
      std::memcpy(to.as<uint8_t>() + (begin << 20), from.as<uint8_t>() + (begin << 20), size_t(end - begin) << 20);
    });
    r.copy_gbs = std::max(r.copy_gbs, 2.0 * double(kCopy) / seconds_since(start) * 1e-9);
  }
  return r;
}

#if VIREO_VULKAN
namespace {

using probes::Probe;

constexpr double kLong = 0.02;  // seconds: far above what a submission costs, far below what a driver kills
constexpr int kRuns = 5;
constexpr uint32_t kMaxScale = 1u << 20, kMaxSteps = 256;

struct Timed {
  double seconds = 0, work = 0;
};

/// The shortest of several runs of a probe.
Result<Timed> run(const std::shared_ptr<vk::Gpu>& gpu, ThreadPool& pool, Probe probe, uint32_t scale, int runs) {
  const probes::ProbePlan p = probes::probe_plan(probe, gpu->caps(), scale);
  const Graph nothing;
  VIREO_ASSIGN(const auto e, vk::Executable::create(gpu, p.plan, nothing, pool, {}));
  Timed t{INFINITY, p.work};
  for (int i = 0; i < runs; ++i) {
    const Clock::time_point start = Clock::now();
    VIREO_TRY(e->submit(0));
    VIREO_TRY(e->wait(0));
    t.seconds = std::min(t.seconds, seconds_since(start));
  }
  return t;
}

/// Work per second, of a run long enough for the submission not to matter.
Result<double> rate(const std::shared_ptr<vk::Gpu>& gpu, ThreadPool& pool, Probe probe) {
  const uint32_t most = probe == Probe::kCopy ? kMaxSteps : kMaxScale;
  for (uint32_t scale = 1;;) {
    VIREO_ASSIGN(const Timed first, run(gpu, pool, probe, scale, 2));
    if (first.seconds >= kLong / 2 || scale == most) {
      VIREO_ASSIGN(const Timed t, run(gpu, pool, probe, scale, kRuns));
      return t.work / std::min(first.seconds, t.seconds);
    }
    const double more = std::min(16.0, 1.5 * kLong / first.seconds);
    scale = uint32_t(std::min<double>(most, std::max(scale + 1.0, scale * more)));
  }
}

}  // namespace

Result<DeviceRoofs> measure_roofline(const std::shared_ptr<vk::Gpu>& gpu, ThreadPool& pool) {
  DeviceRoofs r;
  VIREO_ASSIGN(const double fma, rate(gpu, pool, Probe::kFma));
  VIREO_ASSIGN(const double copy, rate(gpu, pool, Probe::kCopy));
  VIREO_ASSIGN(const double shared, rate(gpu, pool, Probe::kShared));
  r.fma_gflops = fma * 1e-9;
  r.copy_gbs = copy * 1e-9;
  r.shared_gbs = shared * 1e-9;
  if (gpu->caps().shader_float16) {
    VIREO_ASSIGN(const double half, rate(gpu, pool, Probe::kHalfFma));
    r.half_fma_gflops = half * 1e-9;
  }
  VIREO_ASSIGN(const Timed one, run(gpu, pool, Probe::kDispatch, 1, 4 * kRuns));
  VIREO_ASSIGN(const Timed many, run(gpu, pool, Probe::kDispatch, kMaxSteps, 4 * kRuns));
  r.submit_us = one.seconds * 1e6;
  r.dispatch_us = std::max(0.0, many.seconds - one.seconds) / (kMaxSteps - 1) * 1e6;
  return r;
}

#endif

}  // namespace vireo
