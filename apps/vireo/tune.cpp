// vireo tune: finds the fastest kernels for a model on a Vulkan device and writes them down for later sessions.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "cli.h"
#include "interrupt.h"
#include "measure.h"

namespace cli {
namespace {

struct TuneArgs {
  Common common;
  int batch = 1;
  double budget = 120;
  std::string out;
};

/// One line on a terminal, redrawn as the work goes on. How long it takes at most is the budget, which the bar shows.
class Show {
 public:
  explicit Show(double budget_s) : budget_s_(budget_s), shows_(isatty(STDERR_FILENO) != 0) {}
  ~Show() { clear(); }
  Show(const Show&) = delete;
  Show& operator=(const Show&) = delete;

  bool shows() const { return shows_; }
  void step(const vireo::TuneProgress& p) {
    const double seconds = ms_since(start_) / 1000;
    if (p.step != step_) {
      step_ = p.step;
      before_ += tried_;
    }
    tried_ = p.tried;
    const size_t width = 24, full = std::min(width, size_t(double(width) * std::min(1.0, seconds / budget_s_)));
    const int tried = before_ + tried_;
    std::fprintf(stderr, "\r\033[K[%s%s] step %d/%d, %d tried (%.1f/s), %s left at most, %s",
                 std::string(full, '#').c_str(), std::string(width - full, '.').c_str(), p.step + 1, p.steps, tried,
                 seconds > 0 ? tried / seconds : 0.0, clock_text(budget_s_ - seconds).c_str(), p.name);
    if (p.tried > 0) std::fprintf(stderr, ": %.2f ms (default %.2f)", p.best_ms, p.default_ms);
    std::fflush(stderr);
    drawn_ = true;
  }
  void clear() {
    if (drawn_) std::fputs("\r\033[K", stderr);
    drawn_ = false;
  }

 private:
  const double budget_s_;
  const bool shows_;
  const Clock::time_point start_ = Clock::now();
  int step_ = 0, tried_ = 0, before_ = 0;  // candidates of this step and of those before it
  bool drawn_ = false;
};

void run(TuneArgs& args) {
  if (!args.out.empty()) check_writable(args.out);
  const vireo::Model model = open_model(args.common);
  const vireo::Device device = open_device(args.common.device, args.common.threads);
  vireo::TuneOptions options;
  options.session = session_options(args.common, args.common.device);
  options.session.on_compile = nullptr;  // all that it does is to compile and to try; its progress says so
  options.session.batch = args.batch;
  options.session.head = default_head(model);
  options.budget_s = args.budget;
  options.file = args.out;
  const Interruptible meanwhile;
  options.stop = interrupted;
  Show show(args.budget);
  if (show.shows()) options.progress = [&](const vireo::TuneProgress& p) { show.step(p); };
  vireo::Result<vireo::TuneReport> tuned = vireo::tune(model, device, options);
  show.clear();
  const vireo::TuneReport report = need(std::move(tuned));

  const auto check = [&report] {
    if (interrupted() && !report.complete)
      throw Interrupted("interrupted after " + std::to_string(report.steps.size()) +
                        " of the model's kinds of steps; what was found is in " + report.file);
  };
  double before = 0, after = 0;
  for (const auto& s : report.steps) before += s.default_ms * s.times, after += s.ms * s.times;
  if (args.common.json) {
    Json steps = Json::array();
    for (const auto& s : report.steps)
      steps.push_back({{"name", s.name},
                       {"key", s.key},
                       {"times", s.times},
                       {"use", s.use},
                       {"ms", s.ms},
                       {"default_ms", s.default_ms},
                       {"tried", s.tried},
                       {"rejected", s.rejected}});
    Json json{{"device", device.name()},
              {"file", report.file},
              {"complete", report.complete},
              {"seconds", report.seconds},
              {"ms", after},
              {"default_ms", before},
              {"steps", steps}};
    if (!report.notes.empty()) json["notes"] = report.notes;
    print_json(json);
    return check();
  }
  std::printf("%s on %s, %.0f s\n", model.name().c_str(), device.name().c_str(), report.seconds);
  for (const std::string& n : report.notes) std::printf("note: %s\n", n.c_str());
  std::printf("%10s %10s %6s %6s  %-28s %s\n", "default ms", "tuned ms", "times", "tried", "first of these steps",
              "constants");
  for (const auto& s : report.steps) {
    std::printf("%10.3f %10.3f %6d %6d  %-28s %s\n", s.default_ms, s.ms, s.times, s.tried, s.name.c_str(),
                s.use.empty() ? "the default" : s.use.c_str());
    if (s.rejected > 0)
      std::printf("%37s%d candidates failed or gave a wrong answer and were left out\n", "", s.rejected);
  }
  std::printf("these steps together: %.2f ms, with the defaults %.2f ms\n", after, before);
  if (!report.complete && !interrupted())
    std::printf(
        "note: the time was up before every candidate was measured; --budget gives more, a second run keeps what this "
        "one found\n");
  std::printf("written to %s\n", report.file.c_str());
  check();
}

}  // namespace

void add_tune(CLI::App& app) {
  auto args = std::make_shared<TuneArgs>();
  CLI::App* verb = app.add_subcommand("tune", "find the fastest kernels for a model on a Vulkan device");
  add_common(*verb, args->common, kModel | kRandom | kDevice | kSession | kJson);
  verb->add_option("--batch", args->batch, "images per inference")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb->add_option("--budget", args->budget, "seconds to spend")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  verb->add_option(
          "--out", args->out,
          "tuning file; the default is the one that sessions read: VIREO_TUNING, or a file in the cache folder")
      ->type_name("FILE");
  add_examples(*verb, {"vireo tune --model models/fashion-vit --precision fp16 --budget 300"});
  verb->callback([args] { run(*args); });
}

}  // namespace cli
