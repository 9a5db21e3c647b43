#include "compress_report.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vireo/predict.hpp>

#include "base/divergence.h"
#include "interrupt.h"
#include "machines.h"
#include "made.h"
#include "measure.h"
#include "pictures.h"
#include "sessions.h"

namespace cli {
namespace {

constexpr size_t kListed = 100;  // changed answers in a report

int best(const float* x, int n) { return int(std::max_element(x, x + n) - x); }

double median_of(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x.empty() ? 0 : median(x);
}

bool has_folders(const std::string& folder) {
  bool found = false;
  if (DIR* dir = opendir(folder.c_str())) {
    while (const dirent* e = readdir(dir)) {
      struct stat s {};
      found |= e->d_name[0] != '.' && stat((folder + "/" + e->d_name).c_str(), &s) == 0 && S_ISDIR(s.st_mode);
    }
    closedir(dir);
  }
  return found;
}

}  // namespace

PictureSet open_pictures(const std::string& folder, const vireo::Model& model, const Common& common) {
  PictureSet set;
  struct stat s {};
  if (stat((folder + "/labels.csv").c_str(), &s) == 0) {
    set.data = open_folder(folder, model);
    set.labelled = true;
    return set;
  }
  if (stat(folder.c_str(), &s) != 0 || !S_ISDIR(s.st_mode)) throw Failure("'" + folder + "' is no folder of pictures");
  const Pictures pictures("compress", {folder}, common);
  Frame first;
  for (const std::string& name : pictures.names())
    if (name != folder) set.data.samples.push_back({name, name, 0, -1});
  if (!set.data.samples.empty() || model.classes() == 0 || !has_folders(folder)) return set;
  set.data = open_folder(folder, model);
  set.labelled = true;
  return set;
}

std::vector<Sample> spread(const std::vector<Sample>& samples, size_t most) {
  if (samples.size() <= most) return samples;
  std::vector<Sample> some;
  for (size_t i = 0; i < most; ++i) some.push_back(samples[i * samples.size() / most]);
  return some;
}

Comparison compare_models(const vireo::Model& before, const vireo::Model& after, const Common& common,
                          const PictureSet& set, const std::vector<Sample>& samples) {
  Comparison c;
  c.labelled = set.labelled;
  Common as_stored = common;
  as_stored.precision = vireo::Precision::kCheckpoint;
  const vireo::Head head = before.classes() > 0 ? vireo::Head::kLogits : vireo::Head::kFeatures;
  Sessions first(before, as_stored, head), second(after, as_stored, head);
  Reasons reasons;
  std::vector<double> ms_before, ms_after;
  std::vector<float> answer;
  Progress progress(samples.size());
  for (size_t i = 0; i < samples.size() && !interrupted(); ++i) {
    const auto picture = set.data.load(samples[i], read_options(common));
    if (!picture) {
      c.errors.push_back(picture.error().message);
      continue;
    }
    const auto a = run_one(first, *picture, reasons);
    if (!a) {
      c.errors.push_back(a.error().message);
      continue;
    }
    answer.assign(a->data, a->data + size_t(a->rows) * size_t(a->cols));
    ms_before.push_back(a->ms);
    const auto b = run_one(second, *picture, reasons);
    if (!b) {
      c.errors.push_back(b.error().message);
      continue;
    }
    ms_after.push_back(b->ms);
    double kl = 0, squares = 0, square = 0;
    int agree = 0;
    const int n = b->cols;
    for (int r = 0; r < b->rows; ++r) {
      const float *const p = answer.data() + size_t(r) * size_t(n), *const q = b->data + size_t(r) * size_t(n);
      kl += vireo::kl_divergence(p, q, n);
      for (int k = 0; k < n; ++k) {
        const double off = double(p[k]) - double(q[k]);
        squares += off * off, square += double(p[k]) * double(p[k]);
      }
      agree += best(p, n) == best(q, n) ? 1 : 0;
    }
    // Features are no scores: their difference is held against their own square.
    c.kl += before.classes() > 0 ? kl / b->rows : square > 0 ? squares / square : 0;
    c.mse += squares / b->rows / n;
    c.agreement += double(agree) / b->rows;
    ++c.pictures;
    if (b->rows == 1 && before.classes() > 0) {
      const int was = best(answer.data(), n), is = best(b->data, n), label = set.labelled ? samples[i].label : -1;
      c.top1_before += was == label ? 1 : 0;
      c.top1_after += is == label ? 1 : 0;
      if (was != is) c.changed.push_back({samples[i].name, was, is, label});
    }
    progress.step(i + 1, "comparing");
  }
  const double n = double(std::max<size_t>(c.pictures, 1));
  c.kl /= n, c.mse /= n, c.agreement /= n;
  c.ms_before = median_of(ms_before), c.ms_after = median_of(ms_after);
  return c;
}

Predicted predict_both(const vireo::Model& before, const vireo::Model& after, const std::string& machine,
                       const std::string& caps_file, std::vector<std::string>* notes) {
  Predicted p;
  p.machine = machine;
  vireo::PredictOptions options;
  options.machine = machine_argument(machine), options.caps_name = machine, options.counts = vireo::shader_counts();
  const std::vector<std::string> built_in = vireo::machine_names();
  const bool known = std::find(built_in.begin(), built_in.end(), machine) != built_in.end();
  // A description that is a file was fitted somewhere, most often here.
  const std::string caps = !caps_file.empty() ? caps_argument(caps_file)
                           : known            ? caps_argument(machine)
                                              : open_device("cpu", 0).caps_text();
  const auto predict = [&](const vireo::Model& model, vireo::Precision precision) {
    options.session.precision = precision;
    options.session.head = default_head(model);
    const auto made = vireo::predict(model, caps, options);
    if (!made) notes->push_back("no prediction: " + made.error().message);
    return made ? made->us / 1000 : 0;
  };
  p.before_ms = predict(before, vireo::Precision::kFp32);
  p.before_half_ms = predict(before, vireo::Precision::kFp16);
  p.after_ms = predict(after, vireo::Precision::kCheckpoint);
  return p;
}

Json compression_json(const Compressed& c, const vireo::Model& model) {
  const vireo::CompressReport& r = c.report;
  Json j{{"schema", "vireo-compression/1"},
         {"model", c.model},
         {"out", c.out},
         {"recipe", c.recipe},
         {"activations", r.activations},
         {"attention", r.attention.empty() ? Json(nullptr) : Json(r.attention)},
         {"calibration_pictures", r.pictures},
         {"passes", r.passes},
         {"resumed_layers", r.found},
         {"macs", r.macs},
         {"macs_before", r.macs_before},
         {"tokens_merged", r.merged},
         {"bytes_before", r.bytes_before},
         {"bytes_after", r.bytes_after},
         {"size_ratio", r.bytes_before > 0 ? double(r.bytes_after) / double(r.bytes_before) : 0.0},
         {"seconds", c.seconds},
         {"peak_rss_mib", peak_rss_mib()},
         {"compared", nullptr},
         {"predicted", nullptr}};
  if (c.comparison != nullptr && c.comparison->pictures > 0) {
    const Comparison& o = *c.comparison;
    Json compared{
        {"pictures", o.pictures}, {"calibration", o.calibration}, {model.classes() > 0 ? "kl" : "difference", o.kl},
        {"mse", o.mse},           {"agreement", o.agreement},     {"ms_before", o.ms_before},
        {"ms_after", o.ms_after}};
    if (o.labelled) {
      compared["top1_before"] = double(o.top1_before) / double(o.pictures);
      compared["top1_after"] = double(o.top1_after) / double(o.pictures);
    }
    Json changed = Json::array();
    for (size_t i = 0; i < std::min(kListed, o.changed.size()); ++i) {
      const ChangedAnswer& a = o.changed[i];
      Json one{{"picture", a.picture}, {"before", model.label(a.before)}, {"after", model.label(a.after)}};
      if (a.label >= 0) one["label"] = model.label(a.label);
      changed.push_back(one);
    }
    compared["changed"] = changed;
    if (!o.errors.empty()) compared["errors"] = o.errors;
    j["compared"] = compared;
  }
  if (!c.predicted.machine.empty() && c.predicted.before_ms > 0)
    j["predicted"] = Json{{"machine", c.predicted.machine},
                          {"fp32_ms", c.predicted.before_ms},
                          {"fp16_ms", c.predicted.before_half_ms},
                          {"ms", c.predicted.after_ms}};
  if (!r.blocks.empty()) {
    j["parameters_before"] = r.parameters_before, j["parameters_after"] = r.parameters_after;
    const auto sizes = [](const vireo::CompressedBlock::Sizes& s) {
      return Json{{"heads", s.heads}, {"qk", s.qk}, {"v", s.v}, {"mlp", s.mlp}};
    };
    j["blocks"] = Json::array();
    for (const vireo::CompressedBlock& b : r.blocks)
      j["blocks"].push_back(Json{{"block", b.block},
                                 {"before", sizes(b.before)},
                                 {"after", sizes(b.after)},
                                 {"kl", b.kl < 0 ? Json(nullptr) : Json(b.kl)}});
  }
  j["layers"] = Json::array();
  for (const vireo::CompressedLayer& l : r.layers)
    j["layers"].push_back(Json{{"tensor", l.tensor},
                               {"node", l.node},
                               {"kind", l.kind},
                               {"format", l.format},
                               {"method", l.method},
                               {"rows", l.rows},
                               {"cols", l.cols},
                               {"bytes", l.bytes},
                               {"macs", l.macs},
                               {"error", l.error},
                               {"kl", l.kl < 0 ? Json(nullptr) : Json(l.kl)}});
  j["kept"] = r.kept;
  j["notes"] = r.notes;
  if (r.input_height > 0) j["input_height"] = r.input_height, j["input_width"] = r.input_width;
  if (!c.policy.empty()) j["policy"] = c.policy;
  if (!c.options.empty()) j["options"] = c.options;
  if (c.front != nullptr) j["search"] = *c.front;
  return with_made(j, made_on(c.caps));
}

void print_compression(const Compressed& c, const vireo::Model& model) {
  const vireo::CompressReport& r = c.report;
  std::printf("%s by %s: %zu weights, %.1f MiB to %.1f MiB (%.3f of it), %.2f GMACs of %.2f, in %.1f s\n",
              c.model.c_str(), c.recipe.c_str(), r.layers.size(), mib(r.bytes_before), mib(r.bytes_after),
              r.bytes_before > 0 ? double(r.bytes_after) / double(r.bytes_before) : 0.0, r.macs / 1e9,
              r.macs_before / 1e9, c.seconds);
  if (!r.blocks.empty())
    std::printf("%zu blocks are smaller: %.2f million parameters to %.2f\n", r.blocks.size(),
                double(r.parameters_before) / 1e6, double(r.parameters_after) / 1e6);
  if (c.comparison != nullptr && c.comparison->pictures > 0) {
    const Comparison& o = *c.comparison;
    std::printf("on %zu pictures%s: %s %.3g, same answer on %.1f %%", o.pictures,
                o.calibration ? " (those it was calibrated with)" : "",
                model.classes() > 0 ? "mean KL divergence" : "difference of features", o.kl, 100 * o.agreement);
    if (o.labelled)
      std::printf(", top-1 %.1f %% to %.1f %%", 100 * double(o.top1_before) / double(o.pictures),
                  100 * double(o.top1_after) / double(o.pictures));
    std::printf("\nhere: %.2f ms to %.2f ms per picture\n", o.ms_before, o.ms_after);
  }
  if (!c.predicted.machine.empty() && c.predicted.before_ms > 0)
    std::printf("predicted on %s: %.1f ms in fp32, %.1f in fp16, to %.1f ms\n", c.predicted.machine.c_str(),
                c.predicted.before_ms, c.predicted.before_half_ms, c.predicted.after_ms);
  for (const std::string& n : r.notes) std::printf("note: %s\n", n.c_str());
  std::printf("written to %s (report.html shows it layer by layer)\n", c.out.c_str());
}

}  // namespace cli
