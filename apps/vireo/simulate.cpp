// vireo simulate: what rounding to any grid would cost, without a kernel or a file for it.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <vireo/simulate.hpp>

#include "base/divergence.h"
#include "cli.h"
#include "compress_report.h"
#include "interrupt.h"
#include "made.h"
#include "measure.h"
#include "pictures.h"

namespace cli {
namespace {

struct SimulateArgs {
  Common common;
  std::string policy, pictures, calibrate;
  int calibration = 64, most = 100000;
  bool list = false;
};

struct Sums {
  size_t pictures = 0, rows = 0, same = 0, labelled = 0, right_before = 0, right_after = 0;
  double kl = 0, difference = 0, mse = 0;
};

void add(const vireo::SimulatedAnswer& a, int classes, int label, Sums* s) {
  const size_t cols = size_t(a.cols), rows = cols > 0 ? a.before.size() / cols : 0;
  double kl = 0, squares = 0, square = 0;
  for (size_t r = 0; r < rows; ++r) {
    const float *before = &a.before[r * cols], *after = &a.after[r * cols];
    if (classes > 0) kl += vireo::kl_divergence(before, after, a.cols);
    const auto best = [&](const float* x) { return std::max_element(x, x + cols) - x; };
    s->same += best(before) == best(after) ? 1 : 0;
    if (label >= 0 && rows == 1) {
      ++s->labelled;
      s->right_before += best(before) == label ? 1 : 0, s->right_after += best(after) == label ? 1 : 0;
    }
  }
  for (size_t i = 0; i < a.before.size(); ++i) {
    const double off = double(a.before[i]) - double(a.after[i]);
    squares += off * off, square += double(a.before[i]) * double(a.before[i]);
  }
  ++s->pictures, s->rows += rows;
  s->kl += kl / double(std::max<size_t>(rows, 1));
  s->mse += squares / double(std::max<size_t>(a.before.size(), 1));
  s->difference += square > 0 ? squares / square : 0;
}

void print_grids(bool json) {
  Json lists = Json::object();
  const auto list = [&](const char* key, const char* title, const std::vector<vireo::CompressEntry>& all) {
    Json entries = Json::array();
    if (!json) std::printf("%s\n", title);
    for (const vireo::CompressEntry& e : all) {
      entries.push_back(Json{{"name", e.name}, {"what", e.what}, {"source", e.source}});
      if (!json) std::printf("  %-13s %s\n  %-13s (%s)\n", e.name.c_str(), e.what.c_str(), "", e.source.c_str());
    }
    lists[key] = entries;
  };
  list("grids", "grids:", vireo::simulate_grids());
  list("functions", "functions in integers (`integer NAME BITS`):", vireo::simulate_functions());
  if (json) print_json(lists);
}

void run(SimulateArgs& args) {
  if (args.list) return print_grids(args.common.json);
  const vireo::Model model = open_model(args.common);
  const std::string policy = read_text(args.policy, "a policy of simulation");
  vireo::Simulator simulator = need(vireo::Simulator::create(model, policy, args.policy, args.common.threads));
  if (simulator.needs_pictures() && args.calibrate.empty())
    throw UsageError("simulate: '" + args.policy +
                     "' looks at pictures: give --calibrate DIR, a folder of 32 to 64 of them");
  const Interruptible meanwhile;
  std::vector<std::string> errors;
  size_t calibrated = 0;
  if (!args.calibrate.empty()) {
    const PictureSet seen = open_pictures(args.calibrate, model, args.common);
    for (const Sample& s : spread(seen.data.samples, size_t(args.calibration))) {
      if (interrupted()) throw Interrupted("interrupted before anything was simulated");
      const auto picture = seen.data.load(s, read_options(args.common));
      const auto added =
          picture ? simulator.calibrate(vireo::Image{picture->rgb.data(), picture->width, picture->height, 0})
                  : vireo::Result<void>(picture.error());
      if (added) ++calibrated;
      else errors.push_back(added.error().message);
    }
    if (calibrated == 0) throw Failure("'" + args.calibrate + "' holds no pictures to calibrate with");
  }
  const PictureSet set = open_pictures(args.pictures, model, args.common);
  const std::vector<Sample> samples = spread(set.data.samples, size_t(args.most));
  if (samples.empty()) throw Failure("'" + args.pictures + "' holds no pictures");
  Sums s;
  {
    Progress progress(samples.size());
    for (size_t i = 0; i < samples.size() && !interrupted(); ++i) {
      const auto picture = set.data.load(samples[i], read_options(args.common));
      if (!picture) {
        errors.push_back(picture.error().message);
        continue;
      }
      const vireo::SimulatedAnswer a =
          need(simulator.run(vireo::Image{picture->rgb.data(), picture->width, picture->height, 0}));
      add(a, model.classes(), set.labelled ? samples[i].label : -1, &s);
      progress.step(i + 1, "simulating");
    }
  }
  if (s.pictures == 0 && !interrupted()) throw Failure("simulate: no picture could be read; first: " + errors.at(0));
  const double n = double(std::max<size_t>(s.pictures, 1));
  const double agreement = s.rows > 0 ? double(s.same) / double(s.rows) : 0;
  const bool top1 = s.labelled > 0;
  const auto share = [&](size_t right) { return double(right) / double(std::max<size_t>(s.labelled, 1)); };
  if (args.common.json) {
    Json j{{"schema", "vireo-simulation/1"},
           {"model", model.name()},
           {"policy", args.policy},
           {"calibration_pictures", calibrated},
           {"pictures", s.pictures}};
    j[model.classes() > 0 ? "kl" : "difference"] = (model.classes() > 0 ? s.kl : s.difference) / n;
    j["mse"] = s.mse / n, j["agreement"] = agreement;
    if (top1) j["top1_before"] = share(s.right_before), j["top1_after"] = share(s.right_after);
    if (!errors.empty()) j["errors"] = errors;
    if (interrupted()) j["interrupted"] = true;
    print_json(with_made(j, made_on(open_device("cpu", args.common.threads).caps_text())));
  } else {
    std::printf("%s by %s on %zu pictures: %s %.4g, MSE %.4g, same answer on %.1f %%", model.name().c_str(),
                args.policy.c_str(), s.pictures, model.classes() > 0 ? "mean KL divergence" : "difference of features",
                (model.classes() > 0 ? s.kl : s.difference) / n, s.mse / n, 100 * agreement);
    if (top1) std::printf(", top-1 %.1f %% to %.1f %%", 100 * share(s.right_before), 100 * share(s.right_after));
    std::printf("\n");
    if (!errors.empty()) std::printf("note: %zu pictures were left out; first: %s\n", errors.size(), errors[0].c_str());
  }
  if (interrupted())
    throw Interrupted("interrupted after " + std::to_string(s.pictures) + " of " + std::to_string(samples.size()) +
                      " pictures; the figures are of those");
}

}  // namespace

void add_simulate(CLI::App& app) {
  auto args = std::make_shared<SimulateArgs>();
  CLI::App* verb = app.add_subcommand("simulate", "what rounding to any bits and grid would cost, on the CPU in fp32");
  add_common(*verb, args->common, kModel | kJson | kPictures);
  if (CLI::Option* o = find_option(*verb, "--model")) o->required(false);
  verb->add_option(
          "--policy", args->policy,
          "a file with lines `weights FORMAT [METHOD]`, `others FORMAT`, `wide PERCENT`, "
          "`rows|gelu|operands|softmax|layernorm GRID "
          "BITS "
          "[token|tensor]`, `integer softmax|gelu|layernorm BITS [token|tensor]`, `fold on`, `answer-rows TIMES TIMES`")
      ->type_name("FILE");
  verb->add_option("--pictures", args->pictures,
                   "what both models answer, with labels.csv or a folder per class for top-1")
      ->type_name("DIR");
  verb->add_option("--calibrate", args->calibrate, "other pictures, where the policy looks at some")->type_name("DIR");
  verb->add_option("--calibration", args->calibration, "at most so many of those, evenly spread")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  verb->add_option("--most", args->most, "at most so many of --pictures, evenly spread")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  verb->add_option("--threads", args->common.threads, "CPU threads; 0 = all cores")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  verb->add_flag("--list", args->list, "grids and functions in integers, and where they are from");
  add_examples(*verb, {"vireo simulate --model vit --policy w6a6.txt --calibrate pictures --pictures labelled",
                       "vireo simulate --list"});
  verb->callback([args] {
    if (!args->list && (args->common.model.empty() || args->policy.empty() || args->pictures.empty()))
      throw UsageError("simulate: --model DIR, --policy FILE and --pictures DIR are required, or --list");
    args->common.device = "cpu";
    run(*args);
  });
}

}  // namespace cli
