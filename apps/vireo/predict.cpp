// vireo predict: latency and memory on a device that is only a caps file and a description; fits descriptions, sweeps
// models.
#include <vireo/predict.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <optional>

#include "base/names.h"
#include "cli.h"
#include "interrupt.h"
#include "machines.h"
#include "made.h"
#include "measure.h"
#include "operators.h"
#include "page.h"
#include "predict_sweep.h"

namespace cli {
namespace {

struct PredictArgs {
  Common common;
  int batch = 1;
  std::string caps, machine, csv, html;
  std::string fit, probe;
  std::vector<std::string> fit_on;
  std::vector<std::string> fit_precisions{"fp32", "fp16", "int8"};
  int rounds = 6;
  bool all = false, sweep = false, list = false;
  const CLI::App* verb = nullptr;  // to tell what was given from what is the default
  Sweep what;
};

void print_prediction(const vireo::Prediction& p, bool all) {
  std::printf("%s, %s, batch %d, %dx%d on %s (%s)\n", p.model.c_str(), p.precision.c_str(), p.batch, p.height, p.width,
              p.machine.c_str(), p.device.c_str());
  std::printf("predicted %.1f ms (%.1f to %.1f), %.1f images/s; plan's memory %.1f MiB (weights %.1f, arena %.1f)\n",
              p.us / 1000, p.low_us / 1000, p.high_us / 1000, p.us > 0 ? p.batch / p.us * 1e6 : 0,
              double(p.ram_bytes) / 1048576, double(p.weights_bytes) / 1048576, double(p.arena_bytes) / 1048576);
  std::printf("uncertainty: %s\n", p.uncertainty.c_str());
  if (!p.lost.empty()) {
    std::printf("\n%-44s %10.2f ms\n", "roofline (FLOPs or bytes, whichever is more)", p.roof_us / 1000);
    static const std::pair<const char*, const char*> kWhy[] = {{"padding", "+ multiply-adds beyond edges, idle lanes"},
                                                               {"issue", "+ issue slots of other instructions"},
                                                               {"convert", "+ conversions, special functions"},
                                                               {"shared", "+ shared memory and load slots"},
                                                               {"memory", "+ bandwidth"},
                                                               {"latency", "+ latency, too few subgroups"},
                                                               {"compiler", "+ what compilers lose (assumed)"},
                                                               {"dispatch", "+ dispatches and submission"}};
    for (const auto& l : p.lost)
      for (const auto& why : kWhy)
        if (l.first == why.first) std::printf("%-44s %10.2f ms\n", why.second, l.second / 1000);
  }
  std::vector<size_t> order(p.dispatches.size());
  std::iota(order.begin(), order.end(), size_t(0));
  if (!all) {
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return p.dispatches[a].us > p.dispatches[b].us; });
    order.resize(std::min<size_t>(order.size(), 20));
  }
  // Descriptions by cores have no roofs.
  const auto roof = [](double us) {
    char text[16] = "-";
    if (us > 0) std::snprintf(text, sizeof text, "%.3f", us / 1000);
    return std::string(text);
  };
  std::printf("\n%10s %6s %10s %9s  %-34s %s\n", "ms", "share", "roof ms", "GFLOP/s", "step", "kernel");
  for (size_t i : order) {
    const vireo::PredictedDispatch& d = p.dispatches[i];
    const std::string name = d.part ? d.name + " (" + std::to_string(d.part) + ")" : d.name;
    std::printf("%10.3f %5.1f%% %10s %9.2f  %-34s %s\n", d.us / 1000, p.us > 0 ? 100 * d.us / p.us : 0,
                roof(d.roof_us).c_str(), d.us > 0 ? d.flops / d.us * 1e-3 : 0, name.c_str(), d.kernel.c_str());
  }
  if (order.size() < p.dispatches.size())
    std::printf("%10s of %zu dispatches; --all shows every one, in order\n", "", p.dispatches.size());
  if (!p.preprocessing.empty()) {
    std::printf("\n%10.3f ms (%.3f to %.3f) beside these: a picture of --frame to the network's input\n",
                p.preprocessing_us / 1000, p.preprocessing_low_us / 1000, p.preprocessing_high_us / 1000);
    for (const vireo::PredictedDispatch& d : p.preprocessing)
      std::printf("%10.3f %6s %10s %9s  %s\n", d.us / 1000, "", roof(d.roof_us).c_str(), "", d.kernel.c_str());
  }
  print_operators(operator_sums(p.dispatches, &vireo::PredictedDispatch::us), p.us);
  for (const std::string& n : p.notes) std::printf("note: %s\n", n.c_str());
}

void fit(const PredictArgs& args) {
  check_writable(args.fit);
  std::vector<vireo::Model> models;
  for (const std::string& path : args.fit_on) models.push_back(need(vireo::Model::random(path, 1)));
  if (models.empty()) models = calibration_models();
  vireo::FitOptions options;
  options.session = session_options(args.common, args.common.device);
  options.session.on_compile = nullptr;  // of many sessions; the bar says that it takes long
  options.rounds = args.rounds;
  const std::optional<vireo::Model> probe =
      args.probe.empty() ? std::nullopt : std::optional<vireo::Model>(need(vireo::Model::random(args.probe, 1)));
  options.probe = probe ? &*probe : nullptr;
  options.base = machine_argument(args.machine);
  options.precisions.clear();
  for (const std::string& name : args.fit_precisions) {
    vireo::Precision p = vireo::Precision::kFp32;
    (void)vireo::parse_precision(name, &p);  // one: the option's check saw to it
    options.precisions.push_back(p);
  }
  const size_t slash = args.fit.find_last_of('/');
  options.name = args.fit.substr(slash == std::string::npos ? 0 : slash + 1);
  if (const size_t dot = options.name.rfind('.'); dot != std::string::npos && dot > 0) options.name.resize(dot);
  std::unique_ptr<Progress> progress;
  options.progress = [&progress](const std::string& what, int done, int all) {
    if (progress == nullptr) progress = std::make_unique<Progress>(size_t(all));
    progress->step(size_t(done), what);
  };
  const Interruptible meanwhile;
  bool cut = false;
  options.stop = [&cut] { return cut = cut || interrupted(); };
  const vireo::Device device = open_device(args.common.device, args.common.threads);
  const vireo::Result<std::string> fitted = vireo::fit_machine(models, device, options);
  progress.reset();
  if (!fitted && cut) throw Interrupted("interrupted; " + fitted.error().message);
  const std::string text = need(fitted);
  write_file(args.fit, text.data(), text.size());
  const size_t scale = text.find("scale inference: ");
  const double rest = scale == std::string::npos ? 1 : std::atof(text.c_str() + scale + 17);
  if (args.common.json) {
    print_json(Json{{"file", args.fit},
                    {"device", {{"kind", device.kind()}, {"name", device.name()}, {"reason", device.reason()}}},
                    {"inference_to_steps", rest}});
  } else {
    std::printf("%s: %s\nwritten to %s\n", device.kind(), device.name().c_str(), args.fit.c_str());
    const bool cpu = std::string(device.kind()) == "cpu";
    std::printf(
        "use it:  vireo devices --caps %s%s > caps.txt;  vireo predict --caps caps.txt --machine %s --model DIR\n",
        cpu ? "cpu" : std::to_string(device.index()).c_str(),
        cpu && args.common.threads ? (" --threads " + std::to_string(args.common.threads)).c_str() : "",
        args.fit.c_str());
    if (rest > 1.1)
      std::printf(
          "note: inferences took %.0f %% more than the sum of their steps; was the machine busy? Fit again when it is "
          "quiet\n",
          100 * (rest - 1));
  }
  if (cut)
    throw Interrupted("interrupted before the last of " + std::to_string(args.rounds) + " rounds; '" + args.fit +
                      "' is of those done");
}

void run(PredictArgs& args) {
  if (args.list) {
    if (args.common.json) return print_json(Json{{"machines", vireo::machine_names()}});
    for (const std::string& name : vireo::machine_names()) std::printf("%s\n", name.c_str());
    return;
  }
  const auto goes_with = [](bool given, const char* option, const char* what) {
    if (given) throw UsageError(std::string("predict: ") + option + " goes with " + what);
  };
  const bool one_model = !args.common.model.empty() || !args.common.config.empty();
  goes_with((args.sweep || !args.fit.empty()) && one_model, "--model or --config",
            "a single prediction; --sweep takes --models and --fit takes --fit-on");
  goes_with(args.sweep && !args.fit.empty(), "--sweep", "predictions, not with --fit");
  goes_with(!args.fit.empty() && (!args.csv.empty() || !args.html.empty() || !args.caps.empty()),
            "--caps, --csv or --html", "predictions, not with --fit");
  const auto given = [&](const char* option) { return args.verb->count(option) > 0; };
  for (const char* option : {"--fit-on", "--fit-precisions", "--probe", "--rounds", "--device", "--threads"})
    goes_with(args.fit.empty() && given(option), option, "--fit; predictions take the device from --caps");
  for (const char* option : {"--precision", "--size", "--all", "--cpu-ops", "--frame"})
    goes_with(args.sweep && given(option), option, "a single prediction; --sweep takes --precisions and --sizes");
  for (const char* option : {"--models", "--precisions", "--sizes"})
    goes_with(!args.sweep && given(option), option, "--sweep");
  goes_with(args.csv == "-" || args.html == "-", "'-'", "nothing here: give --csv and --html the name of a file");
  std::vector<std::string> inputs = model_files(args.common);
  inputs.insert(inputs.end(), {args.caps, args.machine, args.probe});
  for (const auto* list : {&args.fit_on, &args.what.models})
    for (const std::string& path : *list) {
      Common folder;
      folder.model = path;
      for (std::string& file : model_files(folder)) inputs.push_back(std::move(file));
    }
  // --fit may write the description anew that it adapts.
  if (!args.fit.empty()) inputs.erase(std::remove(inputs.begin(), inputs.end(), args.machine), inputs.end());
  check_outputs("predict", inputs, {args.fit, args.csv, args.html});
  if (!args.fit.empty()) return fit(args);
  // A built-in description knows its device.
  const std::vector<std::string> built_in = vireo::machine_names();
  const bool known = std::find(built_in.begin(), built_in.end(), args.machine) != built_in.end();
  if (args.caps.empty() && !known && args.machine.empty())
    throw UsageError("predict: --machine NAME (" + machine_list() +
                     ") or --caps FILE is required (write one with `vireo devices --caps`), or --fit FILE, or --list");
  const std::string machine = machine_argument(args.machine);
  if (args.caps.empty() && !known)
    throw UsageError(
        "predict: --caps FILE is required beside a description that is a file: what `vireo devices --caps` "
        "prints on that device");
  for (const std::string* f : {&args.csv, &args.html})
    if (!f->empty()) check_writable(*f);
  const std::string caps = caps_argument(args.caps.empty() ? args.machine : args.caps);
  vireo::PredictOptions options;
  options.machine = machine;
  options.caps_name = args.caps.empty() ? args.machine : args.caps;
  if (args.sweep) {
    args.what.batch = args.batch;
    sweep(args.what, caps, options, args.common.json, args.csv, args.html);
    return;
  }
  const vireo::Model model = open_model(args.common);
  options.session = session_options(args.common, "auto");
  options.session.batch = args.batch;
  options.session.head = default_head(model);
  options.session.frame = frame_shape(args.common);
  const vireo::Prediction p = need(vireo::predict(model, caps, options));
  const Json report = with_made(vireo::read_ordered_json(vireo::prediction_json(p)), made_for(caps));
  if (args.common.json) print_json(report);
  else print_prediction(p, args.all), print_notes(model);
  if (!args.csv.empty()) {
    const std::string csv = vireo::prediction_csv(p);
    write_file(args.csv, csv.data(), csv.size());
  }
  if (!args.html.empty()) {
    const std::string page = html_page("vireo predict", "predict.js", report);
    write_file(args.html, page.data(), page.size());
  }
}

}  // namespace

void add_predict(CLI::App& app) {
  auto args = std::make_shared<PredictArgs>();
  CLI::App* verb = app.add_subcommand("predict", "latency and memory on a device that need not be here");
  args->verb = verb;
  add_common(*verb, args->common, kModel | kRandom | kDevice | kSession | kJson | kShape);
  for (const char* name : {"--model", "--config"})
    if (CLI::Option* o = find_option(*verb, name)) o->required(false);
  verb->add_option("--caps", args->caps,
                   "the device, as `vireo devices --caps` prints it, or a built-in one's name; default: that of a "
                   "built-in --machine")
      ->type_name("FILE|NAME");
  verb->add_option(
          "--machine", args->machine,
          "its description: a built-in name (--list) or a file of --fit; default: the built-in one for the device")
      ->type_name("NAME|FILE");
  verb->add_flag("--list", args->list, "names of the built-in descriptions");
  verb->add_option("--batch", args->batch, "images per inference")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb->add_flag("--all", args->all, "every dispatch in order, not only the twenty longest");
  verb->add_option("--csv", args->csv, "write one line per dispatch, with --sweep one per model")->type_name("FILE");
  verb->add_flag("--sweep", args->sweep, "a table over models, precisions and input sizes instead of one model");
  verb->add_option("--models", args->what.models,
                   "of --sweep: folders or config.json files; default: ViT-Ti, -S, -B, MobileViT-S, Swin-T and UPerNet "
                   "on MobileViT-S")
      ->type_name("PATH,...")
      ->delimiter(',');
  verb->add_option("--precisions", args->what.precisions, "of --sweep")
      ->type_name("P,...")
      ->delimiter(',')
      ->check(one_of("precision", vireo::precision_names()))
      ->capture_default_str();
  verb->add_option("--sizes", args->what.sizes, "of --sweep: sides of square inputs")
      ->type_name("N,...")
      ->delimiter(',')
      ->check(CLI::Range(32, 4096))
      ->capture_default_str();
  verb->add_option("--html", args->html, "write one page that needs no network: of the model, or of the sweep")
      ->type_name("FILE");
  verb->add_option("--fit", args->fit,
                   "measure models on --device instead, and write its description to FILE; with --machine, bring that "
                   "description to the measurements")
      ->type_name("FILE");
  verb->add_option("--fit-on", args->fit_on, "config.json files to measure; default: a few small models of each family")
      ->type_name("FILE,...")
      ->delimiter(',');
  std::vector<std::string> measured = vireo::precision_names();
  measured.pop_back();  // auto, which is one of the others
  verb->add_option("--fit-precisions", args->fit_precisions, "of --fit")
      ->type_name("P,...")
      ->delimiter(',')
      ->check(one_of("precision", measured))
      ->capture_default_str();
  verb->add_option("--probe", args->probe,
                   "config.json of what --fit runs before and after each model, to see how slow the machine is just "
                   "then; default: the first of --fit-on")
      ->type_name("FILE");
  verb->add_option("--rounds", args->rounds, "of --fit: how often the models are measured in turns")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  add_examples(*verb,
               {"vireo predict --model models/fashion-vit --machine jetson-nano",
                "vireo predict --model models/disaster-upernet --machine jetson-nano --frame 1920x1080 --format nv12",
                "vireo predict --sweep --caps caps.txt --precisions fp32,fp16 --html sweep.html",
                "vireo predict --fit mine.txt --device cpu --fit-on a/config.json,b/config.json"});
  verb->callback([args] {
    if (args->fit.empty() && !args->sweep && !args->list && args->common.model.empty() && args->common.config.empty())
      throw UsageError("predict: --model DIR, --config FILE, --sweep, --fit FILE or --list is required");
    run(*args);
  });
}

}  // namespace cli
