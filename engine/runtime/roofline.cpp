#include "runtime/roofline.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>

#include "base/aligned.h"
#include "base/clock.h"
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

Result<UsedRoofs> kept_roofs(const DeviceCaps& caps, const std::string& dir, bool anew,
                             const std::function<Result<MeasuredRoofs>()>& measure, std::vector<std::string>* notes) {
  const auto busy = [&notes](const MeasuredRoofs& m, const char* kept) {
    if (m.undisturbed) return;
    notes->push_back(fmt::format(
        "roofs were measured on a busy machine: other work had {:.0f} % of the cores' time even in the best "
        "rounds, so they are too low, and shares of them too high; they are {}",
        100 * (1 - m.share), kept));
  };
  if (dir.empty()) {
    VIREO_ASSIGN(const MeasuredRoofs m, measure());
    busy(m, "not kept anywhere");
    return UsedRoofs{m.roofs, true, !m.undisturbed};
  }
  const RoofsId id = roofs_id(caps, shader::all_hash());
  const std::string path = dir + "/" + id.file;
  const Result<KeptRoofs> kept = load_roofs(path, id);
  if (kept && !anew) {
    notes->push_back(
        fmt::format("roofs as measured {}, kept in '{}'; --measure-roofs measures anew", kept->date, path));
    return UsedRoofs{kept->roofs, false, false};
  }
  if (!kept && kept.error().code != ErrorCode::kNotFound) notes->push_back(kept.error().message);
  VIREO_ASSIGN(const MeasuredRoofs m, measure());
  UsedRoofs r{m.roofs, true, !kept && !m.undisturbed};
  if (kept) {
    // A busy machine measures rates that are too low, never the reverse: what beats the kept ones is to be believed.
    r.roofs = best_of(r.roofs, kept->roofs);
    notes->push_back(fmt::format(
        "roofs are the best of those measured now and before ({}); to forget those delete '{}'", kept->date, path));
  } else if (!m.undisturbed) {
    busy(m, "not kept; the next profile measures anew");
    return r;
  }
  if (!(r.roofs.fma_gflops > 0) || !(r.roofs.copy_gbs > 0)) return r;  // not all could be measured: next time again
  const std::string text = roofs_text(id, {r.roofs, date_now()});
  const std::string why = write_whole_file(dir, id.file, text.data(), text.size());
  if (!why.empty()) notes->push_back(fmt::format("roofs were not kept in '{}': {}", path, why));
  return r;
}

namespace {

/// Takes a number's best round into account.
double noted(const BestRound& best, MeasuredRoofs* m) {
  m->undisturbed = m->undisturbed && best.undisturbed;
  m->share = std::min(m->share, best.share);
  return best.seconds;
}

}  // namespace

MeasuredRoofs measure_cpu_roofline(ThreadPool& pool, const simd::Kernels& kernels, const RoundWatch& watch) {
  constexpr int kCalls = 40;                    // about 4 ms a round
  constexpr int64_t kCopy = int64_t(64) << 20;  // beyond most second and third caches
  constexpr RoundLimits kLimits{7, 0.4, 0.95};
  MeasuredRoofs m;
  const auto gflops = [&](double (*probe)()) {
    const double flops = probe();
    if (!(flops > 0)) return 0.0;
    const Result<BestRound> best = best_round(kLimits, watch, [&]() -> Result<double> {
      const Clock::time_point start = Clock::now();
      pool.parallel_for(int64_t(kCalls) * pool.threads(), kCalls, [probe](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) probe();
      });
      return seconds_since(start);
    });
    return flops * kCalls * pool.threads() / noted(*best, &m) * 1e-9;
  };
  m.roofs.fma_gflops = gflops(&fma_probe);
  if (kernels.bf16_probe) m.roofs.half_fma_gflops = gflops(kernels.bf16_probe);
  AlignedBuffer from = AlignedBuffer::zeroed(size_t(kCopy)), to = AlignedBuffer::zeroed(size_t(kCopy));
  if (!from || !to) return m;
  const Result<BestRound> best = best_round(kLimits, watch, [&]() -> Result<double> {
    const Clock::time_point start = Clock::now();
    pool.parallel_for(kCopy >> 20, 4, [&](int64_t begin, int64_t end, int) {
      std::memcpy(to.as<uint8_t>() + (begin << 20), from.as<uint8_t>() + (begin << 20), size_t(end - begin) << 20);
    });
    return seconds_since(start);
  });
  m.roofs.copy_gbs = 2.0 * double(kCopy) / noted(*best, &m) * 1e-9;
  return m;
}

#if VIREO_VULKAN
namespace {

using probes::Probe;

constexpr double kLong = 0.02;  // seconds: far above what a submission costs, far below what a driver kills
constexpr uint32_t kMaxScale = 1u << 20, kMaxSteps = 256;

struct Timed {
  BestRound best;
  double work = 0;
};

/// The shortest of several runs of a probe.
Result<Timed> run(const std::shared_ptr<vk::Gpu>& gpu, ThreadPool& pool, Probe probe, uint32_t scale,
                  const RoundLimits& limits, const RoundWatch& watch) {
  const probes::ProbePlan p = probes::probe_plan(probe, gpu->caps(), scale);
  const Graph nothing;
  VIREO_ASSIGN(const auto e, vk::Executable::create(gpu, p.plan, nothing, pool, {}));
  VIREO_ASSIGN(const BestRound best, best_round(limits, watch, [&]() -> Result<double> {
                 const Clock::time_point start = Clock::now();
                 VIREO_TRY(e->submit(0));
                 VIREO_TRY(e->wait(0));
                 return seconds_since(start);
               }));
  return Timed{best, p.work};
}

/// Work per second, of a run long enough for the submission not to matter.
Result<double> rate(const std::shared_ptr<vk::Gpu>& gpu, ThreadPool& pool, Probe probe, const RoundWatch& watch,
                    MeasuredRoofs* m) {
  const uint32_t most = probe == Probe::kCopy ? kMaxSteps : kMaxScale;
  for (uint32_t scale = 1;;) {
    VIREO_ASSIGN(const Timed first, run(gpu, pool, probe, scale, {2, 0, 0}, watch));
    const double seconds = first.best.seconds;
    if (seconds >= kLong / 2 || scale == most) {
      VIREO_ASSIGN(const Timed t, run(gpu, pool, probe, scale, {5, 0.6, 0.95}, watch));
      return t.work / std::min(seconds, noted(t.best, m));
    }
    const double more = std::min(16.0, 1.5 * kLong / seconds);
    scale = uint32_t(std::min<double>(most, std::max(scale + 1.0, scale * more)));
  }
}

}  // namespace

Result<MeasuredRoofs> measure_roofline(const std::shared_ptr<vk::Gpu>& gpu, ThreadPool& pool, const RoundWatch& watch) {
  MeasuredRoofs m;
  DeviceRoofs& r = m.roofs;
  VIREO_ASSIGN(const double fma, rate(gpu, pool, Probe::kFma, watch, &m));
  VIREO_ASSIGN(const double copy, rate(gpu, pool, Probe::kCopy, watch, &m));
  VIREO_ASSIGN(const double shared, rate(gpu, pool, Probe::kShared, watch, &m));
  r.fma_gflops = fma * 1e-9;
  r.copy_gbs = copy * 1e-9;
  r.shared_gbs = shared * 1e-9;
  if (gpu->caps().shader_float16) {
    VIREO_ASSIGN(const double half, rate(gpu, pool, Probe::kHalfFma, watch, &m));
    r.half_fma_gflops = half * 1e-9;
  }
  // Shorter than a turn on a core: the least of twenty is undisturbed wherever there is any turn.
  constexpr RoundLimits kTwenty{20, 0, 0};
  VIREO_ASSIGN(const Timed one, run(gpu, pool, Probe::kDispatch, 1, kTwenty, watch));
  VIREO_ASSIGN(const Timed many, run(gpu, pool, Probe::kDispatch, kMaxSteps, kTwenty, watch));
  r.submit_us = one.best.seconds * 1e6;
  r.dispatch_us = std::max(0.0, many.best.seconds - one.best.seconds) / (kMaxSteps - 1) * 1e6;
  return m;
}

#endif

}  // namespace vireo
