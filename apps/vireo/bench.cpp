// vireo bench: how long an inference takes, and what it needs.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli.h"
#include "interrupt.h"
#include "made.h"
#include "measure.h"

namespace cli {
namespace {

struct BenchArgs {
  Common common;
  int batch = 1, iters = 20, warmup = 3;
  std::string beside;
};

/// Another model that runs between the measured inferences, so that what the machine does meanwhile concerns both.
class Beside {
 public:
  Beside(const BenchArgs& args, double measured_ms) : model_(need(vireo::Model::random(args.beside, 1))) {
    Common common = args.common;
    common.precision = vireo::Precision::kFp32;
    common.policy.clear(), common.policy_file.clear();
    common.height = common.width = 0;
    session_.emplace(open_session(model_, common, default_head(model_), 1));
    pixels_ = random_pixels(pixel_count(model_, *session_), 1);
    once();
    // About a fifth of the time: long enough to see what a long inference saw. Three at least, as the first finds cold
    // caches.
    runs_ = std::max(3, std::min(10, int(0.2 * measured_ms / std::max(1e-3, once()))));
  }
  /// Median of its runs at this moment, ms.
  double measure() {
    std::vector<double> times;
    for (int i = 0; i < runs_; ++i) times.push_back(once());
    std::sort(times.begin(), times.end());
    all_.push_back(median(times));
    return all_.back();
  }
  double median_ms() {
    std::sort(all_.begin(), all_.end());
    return median(all_);
  }
  std::string name() const { return model_.name(); }

 private:
  double once() {
    const Clock::time_point begin = Clock::now();
    (void)need(session_->run(pixels_.data(), pixels_.size()));
    return ms_since(begin);
  }
  vireo::Model model_;
  std::optional<vireo::Session> session_;
  std::vector<float> pixels_;
  std::vector<double> all_;
  int runs_ = 3;
};

void run(BenchArgs& args) {
  const Clock::time_point start = Clock::now();
  const vireo::Model model = open_model(args.common);
  const vireo::Head head = default_head(model);
  std::string caps;
  vireo::Session session = open_session(model, args.common, head, args.batch, &caps);
  const double load_ms = ms_since(start), loaded_mib = rss_mib();

  const std::vector<float> pixels = random_pixels(pixel_count(model, session), 1);
  const auto once = [&] {
    const Clock::time_point begin = Clock::now();
    (void)need(session.run(pixels.data(), pixels.size()));
    return ms_since(begin);
  };
  const Interruptible meanwhile;
  const double first_ms = once();
  for (int i = 1; i < args.warmup && !interrupted(); ++i) once();
  std::vector<double> times, ratios;
  std::optional<Beside> beside;
  if (!args.beside.empty()) beside.emplace(args, once());
  double before = beside ? beside->measure() : 0;
  while (int(times.size()) < args.iters && (times.empty() || !interrupted())) {
    const double t = once();
    times.push_back(t);
    if (!beside) continue;
    const double after = beside->measure();
    ratios.push_back(2 * t / (before + after));
    before = after;
  }
  const int iters = int(times.size());
  const auto check = [&] {
    if (iters < args.iters)
      throw Interrupted("interrupted after " + std::to_string(iters) + " of " + std::to_string(args.iters) +
                        " measured inferences; the figures are of these");
  };
  std::sort(times.begin(), times.end());
  std::sort(ratios.begin(), ratios.end());

  const double mid = median(times);
  const double images_per_s = mid > 0 ? 1000.0 * args.batch / mid : 0;
  const vireo::Session::Footprint size = session.footprint();
  const double mib = 1.0 / (1024 * 1024);
  if (args.common.json) {
    Json json{{"model", model.name()},
              {"device", device_json(session.device())},
              {"precision", precision_text(args.common)},
              {"batch", args.batch},
              {"iters", iters},
              {"height", session.input_height()},
              {"width", session.input_width()},
              {"median_ms", mid},
              {"min_ms", times.front()},
              {"p95_ms", percentile(times, 0.95)},
              {"images_per_s", images_per_s},
              {"load_ms", load_ms},
              {"first_ms", first_ms},
              {"peak_rss_mib", peak_rss_mib()},
              {"loaded_rss_mib", loaded_mib},
              {"arena_mib", double(size.arena_bytes) * mib},
              {"weights_mib", double(size.weights_bytes) * mib},
              {"dispatches", size.dispatches}};
    add_precision_reason(json, args.common);
    if (beside)
      json["beside"] = {{"model", beside->name()}, {"median_ms", beside->median_ms()}, {"ratio", median(ratios)}};
    add_notes(json, model);
    if (iters < args.iters) json["interrupted"] = true;
    print_json(with_made(json, made_on(caps)));
    return check();
  }
  std::printf("%s, %s, batch %d, %dx%d\n", model.name().c_str(), precision_text(args.common).c_str(), args.batch,
              session.input_height(), session.input_width());
  std::printf("%s\n", device_line(session.device()).c_str());
  print_precision_reason(args.common);
  print_notes(model);
  std::printf("median   %10.2f ms of %d runs, %.2f images/s\n", mid, iters, images_per_s);
  std::printf("min      %10.2f ms\np95      %10.2f ms\n", times.front(), percentile(times, 0.95));
  if (beside)
    std::printf("ratio    %10.3f to %s, %.2f ms, in the median of the pairs\n", median(ratios), beside->name().c_str(),
                beside->median_ms());
  std::printf("first    %10.2f ms\nload     %10.2f ms\n", first_ms, load_ms);
  std::printf("memory   %10.1f MiB peak resident, %.1f after loading; arena %.2f MiB, weights %.2f MiB\n",
              peak_rss_mib(), loaded_mib, double(size.arena_bytes) * mib, double(size.weights_bytes) * mib);
  std::printf("plan     %10llu dispatches, %llu barriers\n", static_cast<unsigned long long>(size.dispatches),
              static_cast<unsigned long long>(size.barriers));
  check();
}

}  // namespace

void add_bench(CLI::App& app) {
  auto args = std::make_shared<BenchArgs>();
  CLI::App* verb = app.add_subcommand("bench", "measure inference time and memory");
  add_common(*verb, args->common, kModel | kRandom | kDevice | kSession | kJson);
  verb->add_option("--batch", args->batch, "images per inference")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb->add_option("--iters", args->iters, "measured inferences")
      ->type_name("N")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  verb->add_option("--warmup", args->warmup,
                   "inferences before measuring; the first is reported as first_ms and is always run")
      ->type_name("N")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  verb->add_option("--beside", args->beside,
                   "config.json of another model (random weights, fp32) to run between the measured inferences: the "
                   "ratio is less noisy than a time")
      ->type_name("FILE");
  add_examples(*verb, {"vireo bench --model models/fashion-vit --precision fp16 --iters 50"});
  verb->callback([args] { run(*args); });
}

}  // namespace cli
