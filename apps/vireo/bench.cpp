// vireo bench: how long an inference takes, and what it needs.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "cli.h"
#include "measure.h"

namespace cli {
namespace {

struct Args {
  Common common;
  int batch = 1, iters = 20, warmup = 3;
};

void run(const Args& args) {
  const Clock::time_point start = Clock::now();
  const vireo::Model model = open_model(args.common);
  const vireo::Head head = default_head(model);
  vireo::Session session = open_session(model, args.common, head, args.batch);
  const double load_ms = ms_since(start);

  const std::vector<float> pixels = random_pixels(pixel_count(model, session), 1);
  const auto once = [&] {
    const Clock::time_point begin = Clock::now();
    (void)need(session.run(pixels.data(), pixels.size()));
    return ms_since(begin);
  };
  const double first_ms = once();
  for (int i = 1; i < args.warmup; ++i) once();
  std::vector<double> times(size_t(args.iters), 0.0);
  for (double& t : times) t = once();
  std::sort(times.begin(), times.end());

  const double mid = median(times);
  const double images_per_s = mid > 0 ? 1000.0 * args.batch / mid : 0;
  const vireo::Session::Footprint size = session.footprint();
  const double mib = 1.0 / (1024 * 1024);
  if (args.common.json) {
    Json json{{"model", model.name()},
              {"device", device_json(session.device())},
              {"precision", vireo::to_string(args.common.precision)},
              {"batch", args.batch},
              {"iters", args.iters},
              {"height", session.input_height()},
              {"width", session.input_width()},
              {"median_ms", mid},
              {"min_ms", times.front()},
              {"p95_ms", percentile(times, 0.95)},
              {"images_per_s", images_per_s},
              {"load_ms", load_ms},
              {"first_ms", first_ms},
              {"peak_rss_mib", peak_rss_mib()},
              {"arena_mib", double(size.arena_bytes) * mib},
              {"weights_mib", double(size.weights_bytes) * mib},
              {"dispatches", size.dispatches}};
    add_notes(json, model);
    print_json(json);
    return;
  }
  std::printf("%s, %s, batch %d, %dx%d\n", model.name().c_str(), vireo::to_string(args.common.precision), args.batch,
              session.input_height(), session.input_width());
  std::printf("%s\n", device_line(session.device()).c_str());
  print_notes(model);
  std::printf("median   %10.2f ms of %d runs, %.2f images/s\n", mid, args.iters, images_per_s);
  std::printf("min      %10.2f ms\np95      %10.2f ms\n", times.front(), percentile(times, 0.95));
  std::printf("first    %10.2f ms\nload     %10.2f ms\n", first_ms, load_ms);
  std::printf("memory   %10.1f MiB peak resident, arena %.2f MiB, weights %.2f MiB\n", peak_rss_mib(),
              double(size.arena_bytes) * mib, double(size.weights_bytes) * mib);
  std::printf("plan     %10llu dispatches, %llu barriers\n", static_cast<unsigned long long>(size.dispatches),
              static_cast<unsigned long long>(size.barriers));
}

}  // namespace

void add_bench(CLI::App& app) {
  auto args = std::make_shared<Args>();
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
  verb->callback([args] { run(*args); });
}

}  // namespace cli
