// vireo compress: a checkpoint and a handful of pictures in, a smaller model out, and what it cost.
#include <cstdio>
#include <memory>
#include <optional>

#include <vireo/predict.hpp>

#include "cli.h"
#include "compress_report.h"
#include "compress_search.h"
#include "interrupt.h"
#include "machines.h"
#include "measure.h"
#include "new_folder.h"
#include "page.h"
#include "pictures.h"

namespace cli {
namespace {

struct CompressArgs {
  Common common;
  std::string out, calibrate, eval, recipe, policy, method, ranges, caps, html;
  vireo::Budget budget;
  int pictures = 64;
  bool list = false, force = false, no_sensitivity = false, sweep = false, closest = false, resume = false;
  bool awq = false, bias_correction = false, synthetic = false;
  bool searches() const { return sweep || budget.any(); }
};

const std::vector<std::string> kFiles = {"config.json", "model.safetensors", "preprocessor_config.json", "report.json",
                                         "report.html"};

void print_list(bool json) {
  const auto entries = [](const std::vector<vireo::CompressEntry>& all) {
    Json list = Json::array();
    for (const vireo::CompressEntry& e : all)
      list.push_back(Json{{"name", e.name},
                          {"what", e.what},
                          {"source", e.source},
                          {"weights", e.weights},
                          {"rows", e.rows},
                          {"attention", e.attention},
                          {"searches", e.searches}});
    return list;
  };
  if (json)
    return print_json(Json{{"recipes", entries(vireo::compress_recipes())},
                           {"methods", entries(vireo::compress_methods())},
                           {"ranges", entries(vireo::compress_ranges())},
                           {"extras", entries(vireo::compress_extras())}});
  const auto print = [](const char* title, const std::vector<vireo::CompressEntry>& all) {
    std::printf("%s\n", title);
    for (const vireo::CompressEntry& e : all)
      std::printf("  %-8s %s\n  %-8s (%s)\n", e.name.c_str(), e.what.c_str(), "", e.source.c_str());
  };
  print("recipes, which compose with '+':", vireo::compress_recipes());
  print("methods, which recipes choose:", vireo::compress_methods());
  print("how one scale of all rows is found (--ranges):", vireo::compress_ranges());
  print("off by default (--awq, --bias-correction):", vireo::compress_extras());
}

/// Reads the pictures and gives them to the compressor; those that cannot be read are left out, with a note.
std::vector<Sample> calibrate(const CompressArgs& args, const PictureSet& set, vireo::Compressor& compressor,
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

/// Calibrates with pictures of our own; as large as the network's input, so that things in them are.
size_t calibrate_synthetic(const CompressArgs& args, const vireo::Model& model, vireo::Compressor& compressor) {
  const int width = model.input_width(), height = model.input_height();
  Progress progress{size_t(args.pictures)};
  size_t made = 0;
  for (; made < size_t(args.pictures) && !interrupted(); ++made) {
    const std::vector<uint8_t> rgb = vireo::synthetic_picture(made, width, height);
    const auto added = compressor.add(vireo::Image{rgb.data(), width, height, 0});
    if (!added) throw Failure("compress: " + added.error().message);
    progress.step(made + 1, "drawing");
  }
  return made;
}

void stop_where_interrupted() {
  if (interrupted()) throw Interrupted("interrupted; nothing was written");
}

void check(const CompressArgs& args) {
  const bool says = !args.recipe.empty() || !args.policy.empty();
  if (args.searches() && says)
    throw UsageError("compress: a budget or --sweep chooses the recipe; leave out --recipe and --policy");
  if (!args.searches() && !says)
    throw UsageError(
        "compress: say what is wanted: --recipe NAME (see --list; w8 needs no pictures), --policy FILE, or a budget of "
        "--target-fps, --max-size and --max-kl");
  if (args.out.empty() && !args.sweep) throw UsageError("compress: --out DIR is required");
  if (args.searches() && args.calibrate.empty())
    throw UsageError("compress: a budget is met on pictures: give --calibrate DIR, a folder of 32 to 64 of them" +
                     std::string(args.synthetic ? "; drawn ones (--synthetic) cannot judge" : ""));
  if (args.synthetic && !args.calibrate.empty())
    throw UsageError("compress: --synthetic draws the pictures that --calibrate would give; choose one of them");
  if (args.closest && !args.budget.any())
    throw UsageError("compress: --closest goes with a budget: --target-fps, --max-size, --max-kl");
  if (args.searches() && (!args.ranges.empty() || args.awq || args.bias_correction))
    throw UsageError(
        "compress: --ranges, --awq and --bias-correction go with --recipe or --policy, not with a budget, which tries "
        "the first two by itself");
  if (!args.html.empty() && !args.sweep) throw UsageError("compress: --html goes with --sweep");
  if (args.resume && args.out.empty()) throw UsageError("compress: --resume goes with --out DIR");
  if (!args.searches() && (args.budget.machine == "this" || !args.caps.empty()))
    throw UsageError("compress: --machine this and --caps go with a budget or --sweep");
  check_outputs("compress", model_files(args.common), {args.out, args.html});
  if (!args.out.empty() && same_file(args.out, args.common.model))
    throw UsageError("compress: '" + args.out + "' is the model that is read; choose another name");
}

/// The recipe that a budget asks for, into `args` and `options`; false where that was all (--sweep without --out).
bool choose_recipe(CompressArgs& args, const vireo::Model& model, const PictureSet& seen, const WorkFolder& work,
                   vireo::CompressOptions* options, Json* front) {
  SearchOptions how;
  how.budget = args.budget, how.caps = args.caps, how.method = args.method, how.work = work.path();
  how.all = args.sweep;
  const Found found = search(model, args.common, seen, spread(seen.data.samples, size_t(args.pictures)), how);
  *front = front_json(found, model);
  if (!args.html.empty()) {
    const std::string page = html_page("vireo compress --sweep", "front.js", *front);
    write_file(args.html, page.data(), page.size());
  }
  if (args.sweep && args.out.empty()) {
    if (args.common.json) print_json(*front);
    else print_front(found);
    return false;
  }
  const bool writes = found.verdict.met || args.closest || !args.budget.any();
  if (!args.common.json) print_front(found);
  else if (!writes) print_json(*front);
  if (!writes) throw Failure("compress: " + found.verdict.sentence + "; nothing was written (--closest writes it)");
  const vireo::Candidate& c = found.all[found.verdict.chosen];
  args.recipe = c.recipe(), args.ranges = c.ranges, args.awq = c.awq;
  options->policy = c.policy, options->ranges = c.ranges, options->awq = c.awq;
  return true;
}

/// What a search judged was calibrated with half of the pictures, and blocks become narrower by what those say.
void still_within(const vireo::Budget& b, const Compressed& c) {
  const double mb = double(c.report.bytes_after) / 1e6, ms = c.predicted.after_ms;
  char over[160] = "";
  if (b.mb > 0 && mb > b.mb) std::snprintf(over, sizeof over, "has %.3f MB and not --max-size %g", mb, b.mb);
  else if (b.fps > 0 && ms > 1000 / b.fps)
    std::snprintf(over, sizeof over, "takes %.2f ms and not the %.2f of --target-fps %g", ms, 1000 / b.fps, b.fps);
  if (*over != '\0')
    throw Failure("compress: calibrated with all pictures, '" + c.recipe + "' " + over +
                  "; give --closest to have it all the same, or a limit with some room");
}

void run(CompressArgs& args) {
  if (args.list) return print_list(args.common.json);
  check(args);
  const vireo::Model model = open_model(args.common);
  vireo::CompressOptions options;
  options.recipe = args.recipe;
  if (!args.policy.empty()) {
    options.policy = read_text(args.policy, "a format policy");
    if (options.policy.empty()) throw Failure("'" + args.policy + "' is empty, expected a format policy");
  }
  options.method = args.method, options.ranges = args.ranges;
  options.awq = args.awq, options.bias_correction = args.bias_correction;
  if (args.budget.machine != "this") {
    const bool built_in = vireo::machine_caps(args.budget.machine).ok();
    options.machine = machine_argument(args.budget.machine);
    options.caps = built_in ? caps_argument(args.budget.machine) : open_device("cpu", args.common.threads).caps_text();
  }
  options.threads = args.common.threads;
  options.sensitivity = !args.no_sensitivity;
  std::unique_ptr<Progress> progress;
  options.progress = [&progress](const std::string& what, double done) {
    if (progress == nullptr) progress = std::make_unique<Progress>(100);
    progress->step(size_t(100 * done), what);
  };
  options.stop = [] { return interrupted(); };
  std::optional<PictureSet> seen, judged;
  const auto open_sets = [&] {
    if (!args.calibrate.empty()) seen = open_pictures(args.calibrate, model, args.common);
    if (!args.eval.empty()) judged = open_pictures(args.eval, model, args.common);
    if (!args.calibrate.empty() && seen->data.samples.empty())
      throw Failure("'" + args.calibrate + "' holds no pictures to calibrate with");
  };
  std::optional<WorkFolder> work;
  const Interruptible meanwhile;
  Json front;
  if (args.searches()) {
    // What would be wrong at the end is found before the work.
    if (!args.out.empty()) {
      const NewFolder possible("compress", args.out, kFiles, args.force);
    }
    open_sets();
    work.emplace(args.out, args.resume);
    if (!choose_recipe(args, model, *seen, *work, &options, &front)) return;
  }
  options.recipe = args.recipe;
  if (args.resume && !work) {
    const NewFolder possible("compress", args.out, kFiles, args.force);
    work.emplace(args.out, true);
  }
  if (work) options.work = work->path();
  vireo::Compressor compressor = need(vireo::Compressor::create(model, options));
  const bool looks = compressor.least_pictures() > 0;
  if (looks && args.calibrate.empty() && !args.synthetic)
    throw UsageError("compress: '" + (args.recipe.empty() ? args.policy : args.recipe) +
                     "' looks at pictures: give --calibrate DIR, a folder of 32 to 64 of them, or --synthetic where "
                     "there are none");
  if (!args.searches()) open_sets();

  const Clock::time_point start = Clock::now();
  NewFolder folder("compress", args.out, kFiles, args.force);
  std::vector<Sample> used;
  std::vector<std::string> left_out;
  if (seen) used = calibrate(args, *seen, compressor, &left_out);
  if (args.synthetic && looks) {
    const size_t drawn = calibrate_synthetic(args, model, compressor);
    left_out.push_back("calibrated with " + std::to_string(drawn) +
                       " drawn pictures (--synthetic); pictures like those that the model will see are better" +
                       (judged ? "" : ", and --eval says what it cost"));
  } else if (args.synthetic) {
    left_out.emplace_back("this recipe looks at no pictures: --synthetic changed nothing");
  }
  stop_where_interrupted();
  auto written = compressor.write(folder.at());
  progress.reset();
  stop_where_interrupted();
  Compressed c;
  c.report = need(std::move(written));
  c.report.notes.insert(c.report.notes.end(), left_out.begin(), left_out.end());
  c.model = model.name(), c.out = args.out;
  c.recipe = args.recipe.empty() ? args.policy : args.recipe;
  c.policy = args.searches() ? options.policy : "";
  if (!args.ranges.empty()) c.options.push_back("ranges " + args.ranges);
  if (args.awq) c.options.emplace_back("awq");
  if (args.bias_correction) c.options.emplace_back("bias-correction");
  if (args.synthetic && looks) c.options.emplace_back("synthetic");
  c.front = front.is_null() ? nullptr : &front;
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
  if (args.budget.machine != "this")
    c.predicted = predict_both(model, smaller, args.budget.machine, args.caps, &c.report.notes);
  if (args.searches() && !args.closest) still_within(args.budget, c);
  c.seconds = ms_since(start) / 1000;
  const Json report = compression_json(c, model);
  const std::string text = vireo::write_json(report, 2) + "\n";
  write_file(folder.at() + "/report.json", text.data(), text.size());
  const std::string page = html_page("vireo compress", "compress.js", report);
  write_file(folder.at() + "/report.html", page.data(), page.size());
  stop_where_interrupted();
  folder.commit();
  if (work) work->done();
  if (args.common.json) print_json(report);
  else print_notes(model), print_compression(c, model);
}

}  // namespace

void add_compress(CLI::App& app) {
  auto args = std::make_shared<CompressArgs>();
  CLI::App* verb = app.add_subcommand("compress", "a checkpoint and a handful of pictures in, a smaller model out");
  add_common(*verb, args->common, kModel | kJson | kPictures);
  if (CLI::Option* o = find_option(*verb, "--model")) o->required(false);
  verb->add_option("--out", args->out,
                   "the folder to write: config.json, model.safetensors, report.json and report.html")
      ->type_name("DIR");
  verb->add_option("--recipe", args->recipe, "what is done (--list); recipes compose: w4g32+a8")->type_name("NAME");
  verb->add_option(
          "--policy", args->policy,
          "instead: a file with lines `weights FORMAT`, `PATTERN FORMAT [ROWS]`, `products i8` and "
          "`attention i8`, and those of `simulate` about values; beside --recipe without the first and `products`")
      ->type_name("FILE");
  verb->add_option("--method", args->method,
                   "how weights of linears within the network are rounded (--list) [below 8 bits gptq, else rtn]")
      ->type_name("NAME");
  verb->add_option("--ranges", args->ranges,
                   "how one scale of all rows is found, for recipes such as w8a8static (--list) [minmax]")
      ->type_name("NAME");
  verb->add_flag("--awq", args->awq, "scale columns of weights by their inputs before they are rounded");
  verb->add_flag("--bias-correction", args->bias_correction,
                 "move biases by what rounding does to the mean of a linear's answer");
  verb->add_option("--calibrate", args->calibrate, "pictures like those that the model will see")->type_name("DIR");
  verb->add_flag("--synthetic", args->synthetic,
                 "where there are none: calibrate with --pictures drawn ones, things with outlines and textures");
  verb->add_option("--pictures", args->pictures, "at most so many of them, evenly spread")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  verb->add_option("--eval", args->eval,
                   "pictures to compare the two models on, with labels.csv or a folder per class for top-1; default: "
                   "those of --calibrate")
      ->type_name("DIR");
  verb->add_option("--machine", args->budget.machine,
                   "also predict the time on this machine (`vireo predict --list`); of a budget also a file of "
                   "`predict --fit`, or `this`, which is measured")
      ->type_name("NAME|FILE")
      ->capture_default_str();
  verb->add_option("--caps", args->caps, "its device, beside a file [this CPU's]")->type_name("FILE");
  verb->add_option("--target-fps", args->budget.fps, "a budget instead of a recipe: pictures per second on --machine")
      ->type_name("F")
      ->check(CLI::Range(1e-3, 1e6));
  verb->add_option("--max-size", args->budget.mb, "and size of the file, in millions of bytes")
      ->type_name("MB")
      ->check(CLI::Range(1e-3, 1e9));
  verb->add_option("--max-kl", args->budget.kl, "and mean KL divergence from the original")
      ->type_name("X")
      ->check(CLI::Range(1e-9, 1e3));
  verb->add_flag("--closest", args->closest, "write the model that is closest to a budget that cannot be met");
  verb->add_flag("--sweep", args->sweep, "print what can be had: KL against ms against MB; --out is not needed");
  verb->add_option("--html", args->html, "of --sweep: write one page that needs no network")->type_name("FILE");
  verb->add_flag("--resume", args->resume,
                 "keep what was worked out in DIR.resume until the end, and continue what a killed run left there");
  verb->add_option("--threads", args->common.threads, "CPU threads; 0 = all cores")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  verb->add_flag("--no-sensitivity", args->no_sensitivity, "do not measure what each layer costs by itself");
  verb->add_flag("--force", args->force, "replace a folder that this verb wrote");
  verb->add_flag("--list", args->list, "what recipes and methods do, and where they are from");
  add_examples(*verb, {"vireo compress --model vit --out vit-w8 --recipe w8",
                       "vireo compress --model vit --out vit-w4 --recipe w4g64 --calibrate pictures --eval labelled",
                       "vireo compress --model vit --out fits --calibrate pictures --max-size 4 --target-fps 12",
                       "vireo compress --model vit --sweep --calibrate pictures --machine this --html front.html"});
  verb->callback([args] {
    if (!args->list && args->common.model.empty()) throw UsageError("compress: --model DIR is required, or --list");
    args->common.device = "cpu";
    run(*args);
  });
}

}  // namespace cli
