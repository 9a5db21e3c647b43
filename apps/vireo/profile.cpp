// vireo profile: where the milliseconds of an inference go, beside what the device can do at most.
#include <vireo/profile.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <numeric>

#include "cli.h"
#include "interrupt.h"
#include "made.h"
#include "operators.h"
#include "profile_compare.h"
#include "profile_page.h"

namespace cli {
namespace {

struct ProfileArgs {
  Common common;
  int batch = 1, runs = 10, warmup = 2, timed_at_once = 0;
  bool all = false, no_roofs = false, measure_roofs = false, no_compiler = false, phases = false;
  std::string json, csv, trace, html;
  std::vector<std::string> compare;
};

void save(const std::string& path, const std::string& text) {
  if (!path.empty()) write_file(path, text.data(), text.size());
}

void compare(const ProfileArgs& args) {
  if (!args.csv.empty() || !args.trace.empty() || args.phases)
    throw UsageError("--compare writes --html and --json; --csv, --trace and --phases are of a measurement");
  for (const std::string* f : {&args.json, &args.html})
    if (!f->empty() && *f != "-") check_writable(*f);
  Json profiles = Json::array();
  for (const std::string& path : args.compare)
    profiles.push_back(parse_profile(read_text(path, "a file that `vireo profile --json` wrote"), path));
  const Json comparison =
      with_made(compare_profiles(profiles[0], profiles[1], args.compare[0], args.compare[1]), made_of());
  if (args.json == "-") print_json(comparison);
  else print_comparison(comparison, args.all);
  const std::string text = vireo::write_json(comparison, 1) + "\n";
  if (args.json != "-") save(args.json, text);
  if (!args.html.empty()) save(args.html, profile_page(profiles, comparison));
}

std::string count(double x) {
  char text[24] = "-";
  if (x >= 0) std::snprintf(text, sizeof text, "%.0f", x);
  return text;
}

/// Shares of loads, arithmetic and stores per operator, each dispatch weighted by its time alone.
void print_phases(const vireo::Profile& p) {
  struct Sum {
    double us = 0, load = 0, compute = 0, store = 0;
    int measured = 0, all = 0;
  };
  std::map<std::string, Sum> ops;
  for (const vireo::DispatchProfile& d : p.dispatches) {
    Sum& s = ops[d.op];
    ++s.all;
    if (!d.phases.workgroups) continue;
    ++s.measured;
    s.us += d.serialised_us;
    s.load += d.serialised_us * d.phases.load.share;
    s.compute += d.serialised_us * d.phases.compute.share;
    s.store += d.serialised_us * d.phases.store.share;
  }
  std::printf("\n");
  for (const auto& [op, s] : ops)
    if (s.us > 0)
      std::printf("phases   %-16s load %3.0f %%  compute %3.0f %%  store %3.0f %%   of %d dispatch%s%s\n", op.c_str(),
                  100 * s.load / s.us, 100 * s.compute / s.us, 100 * s.store / s.us, s.measured,
                  s.measured == 1 ? "" : "es",
                  s.measured < s.all ? (" (" + std::to_string(s.all) + " in all)").c_str() : "");
}

/// A line per shader: what stands in it, and what of it is executed.
void print_instructions(const vireo::Profile& p) {
  struct Sums {
    std::vector<std::pair<std::string, double>> spirv, executed;
    int dispatches = 0;
  };
  std::vector<std::pair<std::string, Sums>> shaders;
  for (const vireo::DispatchProfile& d : p.dispatches) {
    if (d.executed.empty()) continue;
    auto it = std::find_if(shaders.begin(), shaders.end(), [&](const auto& s) { return s.first == d.shader; });
    if (it == shaders.end()) it = shaders.insert(it, {d.shader, {d.spirv, d.executed, 0}});
    else
      for (size_t i = 0; i < it->second.executed.size(); ++i) it->second.executed[i].second += d.executed[i].second;
    ++it->second.dispatches;
  }
  if (shaders.empty()) return;
  struct Column {
    const char* title;
    std::vector<const char*> classes;
  };
  static const Column kColumns[] = {
      {"fma", {"fma", "half"}},
      {"loads", {"shared_load", "global_load", "texel"}},
      {"stores", {"shared_store", "global_store"}},
      {"conv.", {"convert"}},
      {"barr.", {"barrier"}},
      {"other", {"float", "integer", "shift", "multiply", "special", "shuffle", "branch"}}};
  const auto of = [](const std::vector<std::pair<std::string, double>>& mix, const Column& column) {
    double n = 0;
    for (const auto& c : mix)
      for (const char* name : column.classes)
        if (c.first == name) n += c.second;
    return n;
  };
  std::printf("\n%-32s %5s  %s\n%-32s %5s ", "SPIR-V instructions by shader", "", "in the module", "", "times");
  for (const char* unit : {"", " %"})
    for (const Column& c : kColumns) std::printf(" %7s%s", c.title, unit);
  std::printf("  (right: executed, of those issued)\n");
  for (const auto& [name, sums] : shaders) {
    std::printf("%-32s %5d ", name.c_str(), sums.dispatches);
    for (const Column& c : kColumns) std::printf(" %7.0f", of(sums.spirv, c));
    double all = 0;
    for (const Column& c : kColumns) all += of(sums.executed, c);
    for (const Column& c : kColumns) std::printf(" %7.1f %%", all > 0 ? 100 * of(sums.executed, c) / all : 0);
    std::printf("  %.2f M\n", all * 1e-6);
  }
}

void print_table(const vireo::Profile& p, bool all) {
  std::printf("%s, %s, batch %d, %dx%d, %d runs\n", p.model.c_str(), p.precision.c_str(), p.batch, p.height, p.width,
              p.runs);
  std::printf("%s: %s\n", p.device_kind.c_str(), p.device_name.c_str());
  if (!p.device_reason.empty()) std::printf("  %s\n", p.device_reason.c_str());
  if (p.roofs.fma_gflops > 0) {
    std::printf("roofs    fp32 %.1f GFLOP/s", p.roofs.fma_gflops);
    if (p.roofs.half_fma_gflops > 0) std::printf(", fp16 %.1f", p.roofs.half_fma_gflops);
    std::printf(", copy %.2f GB/s", p.roofs.copy_gbs);
    if (p.roofs.shared_gbs > 0)
      std::printf(", shared %.1f GB/s, dispatch %.1f us, submit %.1f us", p.roofs.shared_gbs, p.roofs.dispatch_us,
                  p.roofs.submit_us);
    std::printf("\n");
  }
  std::vector<size_t> order(p.dispatches.size());
  std::iota(order.begin(), order.end(), size_t(0));
  if (!all) {
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return p.dispatches[a].serialised_us > p.dispatches[b].serialised_us; });
    order.resize(std::min<size_t>(order.size(), 20));
  }
  const auto any = [&p](auto&& has) { return std::any_of(p.dispatches.begin(), p.dispatches.end(), has); };
  const bool compiled = any([](const auto&d) { return d.compiler.subgroup_size > 0; }),
             phases = any([](const auto&d) { return d.phases.workgroups > 0; });
  std::printf("\n%10s %10s %6s %9s %8s %7s", "alone ms", "sched. ms", "share", "GFLOP/s", "GB/s", "of roof");
  if (compiled) std::printf(" %5s %6s %7s", "regs", "spills", "instr.");
  if (phases) std::printf(" %15s", "load/comp/store");
  std::printf("  %-34s %s\n", "step", "kernel");
  for (size_t i : order) {
    const vireo::DispatchProfile& d = p.dispatches[i];
    const double us = d.serialised_us;
    std::string name = d.label;
    if (d.part) name += " (" + std::to_string(d.part) + ")";
    if (d.cpu && p.device_kind != "cpu") name += " [cpu]";
    char roof[16] = "-";
    if (us > 0 && d.roof_us > 0)
      std::snprintf(roof, sizeof roof, "%.0f %%%s", 100 * d.roof_us / us, d.above_roof.empty() ? "" : "*");
    std::printf("%10.3f %10.3f %5.1f%% %9.2f %8.2f %7s", us / 1000, d.scheduled_us / 1000,
                p.serialised_us > 0 ? 100 * us / p.serialised_us : 0, us > 0 ? d.flops / us * 1e-3 : 0,
                us > 0 ? d.bytes / us * 1e-3 : 0, roof);
    const vireo::CompilerStatistics& c = d.compiler;
    if (compiled)
      std::printf(" %5s %6s %7s", count(c.registers).c_str(), count(c.spills).c_str(), count(c.instructions).c_str());
    const vireo::PhaseProfile& f = d.phases;
    char parts[24] = "-";
    if (f.workgroups)
      std::snprintf(parts, sizeof parts, "%3.0f/%3.0f/%3.0f %%", 100 * f.load.share, 100 * f.compute.share,
                    100 * f.store.share);
    if (phases) std::printf(" %15s", parts);
    std::printf("  %-34s %s\n", name.c_str(), d.kernel.c_str());
  }
  if (order.size() < p.dispatches.size())
    std::printf("%10s of %zu dispatches; --all shows every one, in order\n", "", p.dispatches.size());
  print_operators(operator_sums(p.dispatches, &vireo::DispatchProfile::serialised_us), p.serialised_us);
  if (phases) print_phases(p);
  print_instructions(p);
  if (!p.no_phases.empty()) std::printf("\nphases   %s\n", p.no_phases.c_str());
  if (!p.no_compiler.empty()) std::printf("%scompiler %s\n", p.no_phases.empty() ? "\n" : "", p.no_compiler.c_str());
  const double host = p.host.upload + p.host.download;
  std::printf("\n%-34s %10.3f ms", "sum of dispatches, each alone", p.serialised_us / 1000);
  if (p.empty_us > 0) {
    std::printf("; timestamps and barrier around nothing take %.1f us, which is taken off every row", p.empty_us);
    if (p.clipped) std::printf(" (%d rows took no longer and are 0)", p.clipped);
  }
  std::printf("\n%-34s %10.3f ms more in a run of them, which medians leave out\n", "disturbances", p.noise_us / 1000);
  std::printf("%-34s %10.3f ms, of which %.3f ms overlapped\n", "as scheduled, first to last", p.scheduled_us / 1000,
              p.overlap_us / 1000);
  std::printf(
      "%-34s %10.3f ms (upload %.3f, submit %.3f, wait %.3f, download %.3f); submit and wait without a dispatch "
      "%.3f\n",
      "host", (host + p.host.submit + p.host.wait) / 1000, p.host.upload / 1000, p.host.submit / 1000,
      p.host.wait / 1000, p.host.download / 1000, p.host.launch / 1000);
  std::printf(
      "%-34s %10.3f ms (alone, disturbances, upload, submit and wait without a dispatch, download): %.0f %% of "
      "the wall\n",
      "accounted for", p.accounted_us / 1000, p.wall_us > 0 ? 100 * p.accounted_us / p.wall_us : 0);
  std::printf("%-34s %10.3f ms, beside these%s\n", "preprocessing, 640x480 pictures", p.host.preprocess / 1000,
              p.preprocessing.empty() ? "" : ": the copy of their bytes, and on the device");
  for (const vireo::DispatchProfile& d : p.preprocessing)
    std::printf("  %-32s %10.3f ms, alone\n", d.kernel.c_str(), d.serialised_us / 1000);
  std::printf("%-34s %10.3f ms; with timestamps %.3f ms\n", "wall, without timestamps", p.wall_us / 1000,
              p.profiled_us / 1000);
}

void run(ProfileArgs& args) {
  std::vector<std::string> inputs = model_files(args.common);
  inputs.insert(inputs.end(), args.compare.begin(), args.compare.end());
  for (const std::string* f : {&args.csv, &args.trace, &args.html})
    if (*f == "-") throw UsageError("profile: only --json can be printed with '-'");
  check_outputs("profile", inputs, {args.json, args.csv, args.trace, args.html});
  if (!args.compare.empty()) return compare(args);
  for (const std::string* f : {&args.json, &args.csv, &args.trace, &args.html})
    if (!f->empty() && *f != "-") check_writable(*f);
  const vireo::Model model = open_model(args.common);
  const vireo::Head head = default_head(model);
  std::string caps;
  vireo::Session session = open_session(model, args.common, head, args.batch, &caps);
  const std::vector<float> pixels = random_pixels(pixel_count(model, session), 1);
  vireo::ProfileOptions options;
  options.runs = args.runs;
  options.timed_at_once = args.timed_at_once;
  options.warmup = args.warmup;
  options.roofs = !args.no_roofs;
  options.measure_roofs = args.measure_roofs;
  options.compiler = !args.no_compiler;
  options.phases = args.phases;
  const Interruptible meanwhile;
  options.stop = interrupted;
  const vireo::Profile p = need(session.profile(pixels.data(), pixels.size(), options));
  const Json report = with_made(vireo::read_ordered_json(vireo::profile_json(p)), made_on(caps));
  const std::string json = vireo::write_json(report, 1);
  if (args.json == "-") {
    std::printf("%s\n", json.c_str());
  } else {
    print_table(p, args.all);
    for (const std::string& note : p.notes) std::printf("note: %s\n", note.c_str());
    print_notes(model);
    save(args.json, json + "\n");
  }
  save(args.csv, vireo::profile_csv(p));
  save(args.trace, vireo::profile_trace(p));
  if (!args.html.empty()) save(args.html, profile_page(Json::array({report})));
  if (interrupted() && p.runs < args.runs)
    throw Interrupted("interrupted after " + std::to_string(p.runs) + " of " + std::to_string(args.runs) +
                      " runs; the profile is of these");
}

}  // namespace

void add_profile(CLI::App& app) {
  auto args = std::make_shared<ProfileArgs>();
  CLI::App* verb = app.add_subcommand("profile", "where the milliseconds of an inference go, dispatch by dispatch");
  add_common(*verb, args->common, kModel | kRandom | kDevice | kSession);
  verb->add_option("--batch", args->batch, "images per inference")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  verb->add_option("--runs", args->runs,
                   "runs of each kind: plain, as scheduled, each dispatch alone; medians are shown")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  verb->add_option("--warmup", args->warmup, "inferences before them")
      ->type_name("N")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  verb->add_option("--timed-at-once", args->timed_at_once,
                   "dispatches with timestamps in one run as scheduled; 0 = all, or as few as change the whole by 2 % "
                   "or less where timestamps are dear")
      ->type_name("N")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  verb->add_flag("--all", args->all, "every dispatch in order, not only the twenty longest");
  CLI::Option* no_roofs = verb->add_flag("--no-roofs", args->no_roofs, "leave out what the device can do at most");
  verb->add_flag(
          "--measure-roofs", args->measure_roofs,
          "measure that again (a second) instead of taking what is kept in the cache folder; the best seen counts")
      ->excludes(no_roofs);
  verb->add_flag("--no-compiler", args->no_compiler,
                 "do not compile the pipelines once more to ask the driver for registers, spills and instructions");
  verb->add_flag("--phases", args->phases,
                 "also the share of loads, arithmetic and stores inside the hot shaders, by the device's shader clock");
  verb->add_option("--json", args->json,
                   "write the profile as JSON (schema vireo-profile/1); '-' prints it instead of the table")
      ->type_name("FILE")
      ->expected(0, 1)
      ->default_str("-");
  verb->add_option("--csv", args->csv, "write one line per dispatch")->type_name("FILE");
  verb->add_option("--trace", args->trace, "write a trace for Perfetto or chrome://tracing")->type_name("FILE");
  verb->add_option("--html", args->html, "write one page that needs no network")->type_name("FILE");
  CLI::Option* compare =
      verb->add_option("--compare", args->compare,
                       "two files of --json instead of a model: what each step takes more or less, as a table, in "
                       "--json, and side by side in --html");
  compare->type_name("A.json B.json")->expected(2);
  for (const char* name : {"--model", "--config"})
    if (CLI::Option* o = find_option(*verb, name)) o->required(false), compare->excludes(o);
  add_examples(*verb, {"vireo profile --model models/fashion-vit --html profile.html",
                       "vireo profile --compare before.json after.json --html both.html"});
  verb->callback([args] {
    if (args->compare.empty() && args->common.model.empty() && args->common.config.empty())
      throw UsageError("profile: --model DIR, --config FILE or --compare A.json B.json is required");
    run(*args);
  });
}

}  // namespace cli
