// vireo compress: a checkpoint and a handful of pictures in, a smaller model out, and what it cost.
#include <cstdio>
#include <memory>
#include <optional>

#include "cli.h"
#include "compress_report.h"
#include "interrupt.h"
#include "measure.h"
#include "new_folder.h"
#include "page.h"
#include "pictures.h"

namespace cli {
namespace {

struct Args {
  Common common;
  std::string out, calibrate, eval, recipe, policy, method, machine = "jetson-nano";
  int pictures = 64;
  bool list = false, force = false, no_sensitivity = false;
};

const std::vector<std::string> kFiles = {"config.json", "model.safetensors", "preprocessor_config.json", "report.json",
                                         "report.html"};

void print_list(bool json) {
  const auto entries = [](const std::vector<vireo::CompressEntry>& all) {
    Json list = Json::array();
    for (const vireo::CompressEntry& e : all)
      list.push_back(Json{{"name", e.name}, {"what", e.what}, {"source", e.source}});
    return list;
  };
  if (json)
    return print_json(
        Json{{"recipes", entries(vireo::compress_recipes())}, {"methods", entries(vireo::compress_methods())}});
  const auto print = [](const char* title, const std::vector<vireo::CompressEntry>& all) {
    std::printf("%s\n", title);
    for (const vireo::CompressEntry& e : all)
      std::printf("  %-8s %s\n  %-8s (%s)\n", e.name.c_str(), e.what.c_str(), "", e.source.c_str());
  };
  print("recipes, which compose with '+':", vireo::compress_recipes());
  print("methods, which recipes choose:", vireo::compress_methods());
}

/// Reads the pictures and gives them to the compressor; those that cannot be read are left out, with a note.
std::vector<Sample> calibrate(const Args& args, const PictureSet& set, vireo::Compressor& compressor,
                              std::vector<std::string>* left_out) {
  const std::vector<Sample> samples = spread(set.data.samples, size_t(args.pictures));
  std::vector<Sample> used;
  size_t bad = 0;
  std::string first;
  const auto refuse = [&](const vireo::Error& e) {
    if (bad++ == 0) first = e.message;
  };
  PictureNotes notes;
  Progress progress(samples.size());
  for (size_t i = 0; i < samples.size() && !interrupted(); ++i) {
    const auto picture = set.data.load(samples[i], read_options(args.common));
    if (!picture) {
      refuse(picture.error());
      continue;
    }
    notes.add(samples[i].name, picture->note);
    const auto added = compressor.add(vireo::Image{picture->rgb.data(), picture->width, picture->height, 0});
    if (added) used.push_back(samples[i]);
    else refuse(added.error());
    progress.step(i + 1, "reading");
  }
  if (bad > 0)
    left_out->push_back(std::to_string(bad) + " of " + std::to_string(samples.size()) +
                        " pictures to calibrate with were left out; first: " + first);
  return used;
}

void stop_where_interrupted() {
  if (interrupted()) throw Interrupted("interrupted; nothing was written");
}

void run(Args& args) {
  if (args.list) return print_list(args.common.json);
  if (args.out.empty()) throw UsageError("compress: --out DIR is required");
  if (args.recipe.empty() == args.policy.empty())
    throw UsageError("compress: give one of --recipe NAME (see --list) and --policy FILE");
  check_outputs("compress", model_files(args.common), {args.out});
  if (same_file(args.out, args.common.model))
    throw UsageError("compress: '" + args.out + "' is the model that is read; choose another name");
  const vireo::Model model = open_model(args.common);
  vireo::CompressOptions options;
  options.recipe = args.recipe;
  if (!args.policy.empty()) {
    options.policy = read_text(args.policy, "a format policy");
    if (options.policy.empty()) throw Failure("'" + args.policy + "' is empty, expected a format policy");
  }
  options.method = args.method;
  options.threads = args.common.threads;
  options.sensitivity = !args.no_sensitivity;
  std::unique_ptr<Progress> progress;
  options.progress = [&progress](const std::string& what, double done) {
    if (progress == nullptr) progress = std::make_unique<Progress>(100);
    progress->step(size_t(100 * done), what);
  };
  options.stop = [] { return interrupted(); };
  vireo::Compressor compressor = need(vireo::Compressor::create(model, options));
  if (compressor.least_pictures() > 0 && args.calibrate.empty())
    throw UsageError("compress: '" + (args.recipe.empty() ? args.policy : args.recipe) +
                     "' looks at pictures: give --calibrate DIR, a folder of 32 to 64 of them");
  std::optional<PictureSet> seen, judged;
  if (!args.calibrate.empty()) seen = open_pictures(args.calibrate, model, args.common);
  if (!args.eval.empty()) judged = open_pictures(args.eval, model, args.common);
  if (!args.calibrate.empty() && seen->data.samples.empty())
    throw Failure("'" + args.calibrate + "' holds no pictures to calibrate with");

  const Interruptible meanwhile;
  const Clock::time_point start = Clock::now();
  NewFolder folder("compress", args.out, kFiles, args.force);
  std::vector<Sample> used;
  std::vector<std::string> left_out;
  if (seen) used = calibrate(args, *seen, compressor, &left_out);
  stop_where_interrupted();
  auto written = compressor.write(folder.at());
  progress.reset();
  stop_where_interrupted();
  Compressed c;
  c.report = need(std::move(written));
  c.report.notes.insert(c.report.notes.end(), left_out.begin(), left_out.end());
  c.model = model.name(), c.out = args.out;
  c.recipe = args.recipe.empty() ? args.policy : args.recipe;
  c.caps = open_device("cpu", args.common.threads).caps_text();

  const vireo::Model smaller = need(vireo::Model::open(folder.at()));
  Comparison comparison;
  if (judged || seen) {
    const PictureSet& set = judged ? *judged : *seen;
    comparison = compare_models(model, smaller, args.common, set, judged ? judged->data.samples : used);
    comparison.calibration = !judged;
    c.comparison = &comparison;
    if (!comparison.errors.empty())
      c.report.notes.push_back(std::to_string(comparison.errors.size()) +
                               " pictures could not be compared; first: " + comparison.errors[0]);
  }
  stop_where_interrupted();
  c.predicted = predict_both(model, smaller, args.machine, &c.report.notes);
  c.seconds = ms_since(start) / 1000;
  const Json report = compression_json(c, model);
  const std::string text = report.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  write_file(folder.at() + "/report.json", text.data(), text.size());
  const std::string page = html_page("vireo compress", "compress.js", report);
  write_file(folder.at() + "/report.html", page.data(), page.size());
  stop_where_interrupted();
  folder.commit();
  if (args.common.json) print_json(report);
  else print_notes(model), print_compression(c, model);
}

}  // namespace

void add_compress(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("compress", "a checkpoint and a handful of pictures in, a smaller model out");
  add_common(*verb, args->common, kModel | kJson | kPictures);
  if (CLI::Option* o = find_option(*verb, "--model")) o->required(false);
  verb->add_option("--out", args->out,
                   "the folder to write: config.json, model.safetensors, report.json and report.html")
      ->type_name("DIR");
  verb->add_option("--recipe", args->recipe, "what is done (--list); recipes compose: w4g32+a8")->type_name("NAME");
  verb->add_option("--policy", args->policy,
                   "instead: a file with lines `weights FORMAT`, `PATTERN FORMAT [ROWS]` and `products i8`")
      ->type_name("FILE");
  verb->add_option("--method", args->method,
                   "how weights of linears within the network are rounded (--list) [below 8 bits gptq, else rtn]")
      ->type_name("NAME");
  verb->add_option("--calibrate", args->calibrate, "pictures like those that the model will see")->type_name("DIR");
  verb->add_option("--pictures", args->pictures, "at most so many of them, evenly spread")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  verb->add_option("--eval", args->eval,
                   "pictures to compare the two models on, with labels.csv or a folder per class for top-1; default: "
                   "those of --calibrate")
      ->type_name("DIR");
  verb->add_option("--machine", args->machine, "also predict the time on this machine (`vireo predict --list`)")
      ->type_name("NAME")
      ->capture_default_str();
  verb->add_option("--threads", args->common.threads, "CPU threads; 0 = all cores")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  verb->add_flag("--no-sensitivity", args->no_sensitivity, "do not measure what each layer costs by itself");
  verb->add_flag("--force", args->force, "replace a folder that this verb wrote");
  verb->add_flag("--list", args->list, "what recipes and methods do, and where they are from");
  add_examples(*verb, {"vireo compress --model vit --out vit-w8 --recipe w8",
                       "vireo compress --model vit --out vit-w4 --recipe w4g64 --calibrate pictures --eval labelled"});
  verb->callback([args] {
    if (!args->list && args->common.model.empty()) throw UsageError("compress: --model DIR is required, or --list");
    args->common.device = "cpu";
    run(*args);
  });
}

}  // namespace cli
