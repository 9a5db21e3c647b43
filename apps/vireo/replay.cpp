// vireo replay: runs what `vireo capture` wrote and says how far the answer is from the captured one.
#include <vireo/capture.hpp>

#include <cmath>
#include <cstdio>
#include <memory>

#include "cli.h"

namespace cli {
namespace {

struct ReplayArgs {
  std::string file, device = "auto";
  int threads = 0;
  vireo::ReplayOptions options;
  bool all = false, print = false, json = false;
};

std::string short_number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", v);
  return text;
}

std::string index_text(const vireo::ReplayDifference& d) {
  std::string text;
  for (int i = 0; i < 4; ++i) text += (i ? ", " : "[") + std::to_string(d.at[i]);
  return text + "]";
}

/// "largest difference 0.1 at [0, 0, 0, 3] (captured 1, here 1.1), 0.05 of the largest magnitude 2".
std::string sentence(const vireo::ReplayDifference& d) {
  if (!d.problem.empty()) return d.problem;
  if (d.identical) return "identical, bit by bit";
  const std::string samples = "of " + std::to_string(d.compared) + " compared";
  if (d.unequal == 0) return "equal where it was sampled (" + samples + "), but not bit by bit";
  return std::to_string(d.unequal) + " " + samples + " are unequal; largest difference " + short_number(d.largest) +
         " at " + index_text(d) + " (captured " + short_number(double(d.captured)) + ", here " +
         short_number(double(d.here)) + "), " + short_number(d.scale > 0 ? d.largest / d.scale : INFINITY) +
         " of the largest magnitude " + short_number(d.scale);
}

Json difference_json(const vireo::ReplayDifference& d) {
  Json json{{"name", d.name},           {"shape", {d.shape[0], d.shape[1], d.shape[2], d.shape[3]}},
            {"compared", d.compared},   {"unequal", d.unequal},
            {"identical", d.identical}, {"differs", d.differs},
            {"max_abs", d.largest},     {"max_value", d.scale},
            {"distance", d.distance}};
  if (!d.problem.empty()) json["problem"] = d.problem;
  if (d.unequal > 0) json.update(Json{{"at", index_text(d)}, {"captured", d.captured}, {"here", d.here}});
  return json;
}

Json info_json(const vireo::CaptureInfo& i) {
  const vireo::SessionOptions& o = i.options;
  Json json{{"model", i.model},
            {"architecture", i.architecture},
            {"vireo", i.vireo},
            {"note", i.note},
            {"device",
             {{"kind", i.device_kind}, {"name", i.device_name}, {"reason", i.device_reason}, {"threads", i.threads}}},
            {"precision", o.policy.empty() ? vireo::to_string(o.precision) : "policy"},
            {"head", vireo::to_string(o.head)},
            {"batch", o.batch},
            {"height", o.height},
            {"width", o.width},
            {"keep_all", o.keep_all},
            {"cpu_ops", o.cpu_ops},
            {"fused", i.fused},
            {"weights", i.random_weights ? Json() : Json(i.weights)}};
  if (i.random_weights) json["seed"] = i.seed;
  return json;
}

/// What the file is of, in a few lines.
void print_head(const vireo::CaptureInfo& i) {
  const vireo::SessionOptions& o = i.options;
  std::printf("%s (%s), %s, %s, batch %d, %dx%d, captured by Vireo %s\n", printable(i.model).c_str(),
              printable(i.architecture).c_str(), o.policy.empty() ? vireo::to_string(o.precision) : "policy",
              vireo::to_string(o.head), o.batch, o.height, o.width, printable(i.vireo).c_str());
  if (i.random_weights) std::printf("weights  random, seed %llu\n", static_cast<unsigned long long>(i.seed));
  else
    std::printf("weights  %llu tensors, %.2f MiB\n", static_cast<unsigned long long>(i.weights),
                double(i.weights_bytes) / (1024 * 1024));
  if (!i.note.empty()) std::printf("note     %s\n", printable(i.note).c_str());
  std::printf("captured on %s: %s\n", printable(i.device_kind).c_str(), printable(i.device_name).c_str());
  if (!i.device_reason.empty()) std::printf("  %s\n", printable(i.device_reason).c_str());
}

void print(const ReplayArgs& args, const vireo::CaptureInfo& i) {
  if (args.json) {
    Json json = info_json(i);
    json.update(Json{{"input", i.input_shape},
                     {"output", i.output_shape},
                     {"values", i.values},
                     {"caps", i.caps},
                     {"plan", i.plan},
                     {"tuning", i.tuning}});
    return print_json(json);
  }
  print_head(i);
  std::printf("values   %zu\n\ncapabilities\n%s\n", i.values.size(), i.caps.c_str());
  if (!i.tuning.empty()) std::printf("tuning\n%s\n", i.tuning.c_str());
  std::printf("%s", i.plan.c_str());
}

void run(const ReplayArgs& args) {
  const vireo::CaptureInfo info = need(vireo::read_capture(args.file));
  if (args.print) return print(args, info);
  // Of the captured kind: a software driver too, which auto would pass over.
  std::string name = args.device;
  if (name == "auto" && info.device_kind == "cpu") name = "cpu";
  if (name == "auto" && info.device_kind == "vulkan" && vireo::Device::best_vulkan(args.threads)) name = "vulkan";
  const vireo::Device device = open_device(name, args.threads);
  const vireo::ReplayReport r = need(vireo::replay(args.file, device, args.options));
  if (args.json) {
    Json json{{"capture", info_json(info)},
              {"device", {{"kind", r.device_kind}, {"name", r.device_name}, {"reason", r.device_reason}}},
              {"captured_plan", r.captured_plan},
              {"plan_reason", r.plan_reason},
              {"ms", r.ms},
              {"tolerance", r.tolerance},
              {"same", r.same()},
              {"output", difference_json(r.output)},
              {"values", r.values.size()},
              {"first", r.first >= 0 ? difference_json(r.values[size_t(r.first)]) : Json()},
              {"notes", r.notes}};
    if (args.all) {
      json["all"] = Json::array();
      for (const vireo::ReplayDifference& d : r.values) json["all"].push_back(difference_json(d));
    }
    print_json(json);
  } else {
    print_head(info);
    std::printf("replayed on %s: %s (%.2f ms)\n", r.device_kind.c_str(), r.device_name.c_str(), r.ms);
    if (!r.device_reason.empty()) std::printf("  %s\n", r.device_reason.c_str());
    std::printf("plan     %s%s\n",
                r.captured_plan ? "the captured one" : "not the captured one: ", r.plan_reason.c_str());
    for (const std::string& note : r.notes) std::printf("note: %s\n", printable(note).c_str());
    if (args.all)
      for (const vireo::ReplayDifference& d : r.values)
        std::printf("%c %-40s %s\n", d.differs ? '!' : ' ', d.name.c_str(), sentence(d).c_str());
    std::printf("output   %s\n", sentence(r.output).c_str());
    size_t identical = 0, differing = 0;
    for (const vireo::ReplayDifference& d : r.values) identical += d.identical, differing += d.differs;
    std::printf("values   %zu compared, %zu identical, %zu differ beyond %s\n", r.values.size(), identical, differing,
                short_number(r.tolerance).c_str());
  }
  if (r.first >= 0)
    throw Failure("'" + r.values[size_t(r.first)].name +
                  "' is the first value that differs: " + sentence(r.values[size_t(r.first)]));
  if (r.output.differs) throw Failure("the output differs: " + sentence(r.output));
}

}  // namespace

void add_replay(CLI::App& app) {
  auto args = std::make_shared<ReplayArgs>();
  CLI::App* verb =
      app.add_subcommand("replay", "run a file of `vireo capture` on this machine and compare with what was captured");
  verb->add_option("file", args->file, "the capture")->type_name("FILE")->required();
  verb->add_option("--device", args->device, "auto (of the captured kind, else the CPU), cpu, vulkan or vulkan:N")
      ->type_name("NAME")
      ->check(check_device)
      ->capture_default_str();
  verb->add_option("--threads", args->threads, "CPU threads of a plan made here; 0 = all cores")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  verb->add_option(
          "--tolerance", args->options.tolerance,
          "largest difference allowed, as a part of the value's largest magnitude; of a class map, the share of pixels "
          "[0.001; fp16 and int8: 0.02]")
      ->type_name("T")
      ->check(CLI::NonNegativeNumber);
  verb->add_flag("--plan-anew", args->options.plan_anew, "plan for this device even where the captured plan could run");
  verb->add_flag("--print", args->print, "only print what is in the file: options, capabilities, plan; runs nothing");
  verb->add_flag("--all", args->all, "print every intermediate value");
  verb->add_flag("--json", args->json, "print JSON");
  add_examples(*verb, {"vireo replay bug.vireo --device cpu --all"});
  verb->callback([args] { run(*args); });
}

}  // namespace cli
