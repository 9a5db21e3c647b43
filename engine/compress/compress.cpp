// vireo::Compressor: pictures through the model, layer by layer into codes, and the folder.
#include <vireo/compress.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/names.h"
#include "compress/awq.h"
#include "compress/bias_correction.h"
#include "compress/calibrate.h"
#include "compress/encode.h"
#include "compress/extend.h"
#include "compress/kept_structure.h"
#include "compress/mix_rows.h"
#include "compress/replace.h"
#include "compress/sensitivity.h"
#include "compress/simulate.h"
#include "compress/smaller_input.h"
#include "compress/token_search.h"
#include "model/number_grids.h"
#include "runtime/model_impl.h"

namespace vireo {

using namespace compress;

std::vector<CompressEntry> compress_recipes() {
  std::vector<CompressEntry> all;
  for (const Recipe& r : recipes())
    all.push_back({r.name, r.what, r.source, std::string(r.inner) + (r.wide > 0 ? "+i8" : ""),
                   compress::to_string(r.rows), r.attention, r.searched});
  return all;
}

std::vector<CompressEntry> compress_methods() {
  std::vector<CompressEntry> all;
  for (const Method* m : methods()) all.push_back({m->name, m->what, m->source, "", ""});
  for (const Narrower* n : narrowers()) all.push_back({n->name, n->what, n->source, "", ""});
  return all;
}

std::vector<CompressEntry> compress_ranges() {
  std::vector<CompressEntry> all;
  for (const RangeMethod* m : range_methods()) all.push_back({m->name, m->what, m->source, "", ""});
  return all;
}

std::vector<CompressEntry> compress_extras() {
  return {{"awq",
           "columns of weights within the network are multiplied by mean |x|^alpha of their inputs before they are "
           "rounded, and the LayerNorm or the values before them divided by it; alpha is searched",
           "AWQ (Lin et al. 2023, arXiv 2306.00978)", "", ""},
          {"bias-correction", "biases make good for what rounding a weight does to the mean of its linear's answer",
           "Nagel et al. 2019 (arXiv 1906.04721), Liu et al. 2021 (arXiv 2106.14156)", "", ""}};
}

namespace {

constexpr size_t kLeastPictures = 8, kFewPictures = 32;

/// Of a layer's codes, in seconds as calibrate.h has them.
constexpr double kLayerWork = 0.06;

Head head_of(const LoadedModel& m) { return m.has_classes() ? Head::kLogits : Head::kFeatures; }

/// Of a safetensors file with these tensors.
uint64_t file_bytes(const std::vector<TensorView>& views) {
  uint64_t bytes = safetensors_header(views, {{"format", "pt"}}).size();
  for (const TensorView& v : views) bytes += v.bytes;
  return bytes;
}

int64_t parameters(const LoadedModel& model) {
  int64_t count = 0;
  for (const auto& [name, view] : model.source().weights->tensors()) count += view.elements();
  return count;
}

bool needs_products(const Scheme& s) { return s.method != nullptr && s.method->needs_pictures; }

/// The squared error of the layer's output over its square, from H; without one, of the weight.
double relative_error(const Weight& w, const Coded& c, ThreadPool& pool) {
  const std::vector<double> whole(w.values, w.values + w.rows * w.cols);
  const double all = output_square(whole, w.rows, w.cols, w.hessian, pool);
  const double error = output_square(rounding_errors(w, c), w.rows, w.cols, w.hessian, pool);
  return all > 0 ? std::max(0.0, error) / all : 0;
}

}  // namespace

struct Compressor::Impl {
  Model model;
  CompressOptions options;
  Choice choice;
  const RangeMethod* ranges = range_methods()[0];
  Layers layers;
  std::vector<Scheme> schemes;
  std::vector<std::string> notes;
  std::optional<MergedModel> merged;  // where a recipe asks for it
  double macs_before = 0;
  std::shared_ptr<const Device::Impl> device;
  ThreadPool pool;
  Preprocessor preprocessor;
  std::vector<std::vector<float>> pictures;

  std::vector<std::string> own_scales;  // nodes whose rows keep scales of their own although one for all was asked for

  double work = 0, done = 0;  // in seconds

  Impl(Model m, CompressOptions o, std::shared_ptr<const Device::Impl> d)
      : model(std::move(m)),
        options(std::move(o)),
        device(std::move(d)),
        pool(device->threads),
        preprocessor(model.impl().loaded.preprocess()) {}

  std::shared_ptr<const LoadedModel> smaller;  // with narrower blocks, where that was asked for

  const LoadedModel& loaded() const { return smaller != nullptr ? *smaller : model.impl().loaded; }
  Result<Graph> graph() const { return loaded().build(head_of(loaded()), 1); }
  bool needs_pictures() const {
    const std::vector<Needs> all = needs();
    return choice.structure.any() || choice.searched || options.awq || choice.grids.fitted() ||
           std::any_of(all.begin(), all.end(), [](const Needs& n) { return n.looks; });
  }

  /// One more step of the work is done; an error where the caller wants to stop.
  Result<void> step(const std::string& what, double seconds) {
    done += seconds;
    if (options.progress) options.progress(what, std::min(1.0, done / std::max(work, 1e-9)));
    if (options.stop && options.stop())
      return fail(ErrorCode::kInvalidArgument, "compress: stopped before the model was written");
    return {};
  }

  Progress progress() {
    return [this](const std::string& what, double seconds) { return step(what, seconds); };
  }

  Result<void> shrink(const Kept& kept, CompressReport* report);
  Result<void> search_tokens(CompressReport* report);
  Result<void> look_again();
  Result<void> scale(const Kept& kept, CompressReport* report);
  bool corrects(size_t layer) const;
  std::vector<Needs> needs() const;
  Result<Range> range_of(const std::string& value, const Seen& seen);
  Key everything() const;
  Key key_of(const Key& all, size_t layer) const;
  Result<std::string> with_grids(const std::string& config, CompressReport* report);
  Result<KeptLayer> code(size_t layer, const Seen* seen, Range range);
  Result<void> take(size_t layer, const KeptLayer& found, std::vector<std::vector<StoredTensor>>* coded,
                    CompressReport* report);
  Result<CompressReport> write(const std::string& folder);
};

/// Structure comes first: what is rounded then are the weights that are left.
Result<void> Compressor::Impl::shrink(const Kept& kept, CompressReport* report) {
  if (!choice.structure.any()) return {};
  const LoadedModel& whole = loaded();
  const Key key = kept.on() ? everything().add("structure " + choice.structure.text()) : Key();
  Narrowing n;
  if (find_kept(kept, key, &n)) {
    VIREO_TRY(step("structure", structure_work(choice.structure, pictures.size())));
  } else {
    VIREO_ASSIGN(n, find_narrowing(whole, choice.structure, pictures, *device, pool, progress()));
    VIREO_TRY(keep(kept, key, n));
  }
  report->passes = n.passes;
  for (const SmallerBlock& b : n.blocks) {
    CompressedBlock to;
    to.block = b.block, to.kl = b.kl;
    const auto sizes = [](const BlockSizes& x) { return CompressedBlock::Sizes{x.heads, x.qk, x.v, x.mlp}; };
    to.before = sizes(b.before), to.after = sizes(b.after);
    report->blocks.push_back(to);
  }
  report->parameters_before = parameters(whole);
  VIREO_ASSIGN(smaller, with_tensors(whole, n.config, std::move(n.tensors)));
  report->parameters_after = parameters(loaded());
  if (choice.tokens > 0) {
    // Behind structure: what is measured there could not see what narrower keys do to the choice of tokens.
    VIREO_ASSIGN(MergedModel m, merge_tokens(loaded(), head_of(loaded()), choice.tokens));
    smaller = std::make_shared<const LoadedModel>(m.model);
    merged = std::move(m);
  }
  return look_again();
}

/// Another network: its layers, and what becomes of them.
Result<void> Compressor::Impl::look_again() {
  VIREO_ASSIGN(const Graph g, graph());
  layers = find_layers(loaded(), g);
  notes.clear();  // schemes() says them again
  VIREO_ASSIGN(schemes, choice.schemes(layers, &notes));
  return {};
}

Result<void> Compressor::Impl::search_tokens(CompressReport* report) {
  if (!choice.searched) return {};
  VIREO_ASSIGN(const ScheduleSearch found, find_schedule(*merged, head_of(loaded()), options.machine, options.caps,
                                                         pictures, *device, pool, progress()));
  ++report->passes;
  merged->schedule = found.schedule;
  VIREO_ASSIGN(LoadedModel m, with_schedule(merged->model, found.schedule));
  smaller = std::make_shared<const LoadedModel>(std::move(m));
  VIREO_TRY(look_again());
  notes.push_back(
      fmt::format("which tokens merge was searched: KL {:.3g} of the pictures that were looked at, {:.3g} with equally "
                  "many in each "
                  "block; predicted {:.2f} ms in fp16, and {:.2f}",
                  found.kl, found.kl_before, found.ms, found.ms_before));
  return {};
}

/// Behind structure too, and before anything is rounded.
Result<void> Compressor::Impl::scale(const Kept& kept, CompressReport* report) {
  if (!options.awq) return {};
  VIREO_ASSIGN(AwqScaled s, scale_by_awq(
                                loaded(), layers, schemes, pictures, *device, pool,
                                [this](const std::string& what, double seconds) { return step(what, seconds); }, kept,
                                kept.on() ? everything() : Key()));
  report->passes += s.passes;
  notes.push_back(s.scaled == 0
                      ? fmt::format("awq: of {} values whose columns can be scaled none gains by it", s.places)
                      : fmt::format("awq: columns of {} of {} values are scaled, alpha {:.2f} to {:.2f}", s.scaled,
                                    s.places, s.least, s.most));
  if (s.model != nullptr) smaller = std::move(s.model);
  return {};
}

/// Whether rounding this layer's weight moves its bias.
bool Compressor::Impl::corrects(size_t i) const {
  return options.bias_correction && schemes[i].method != nullptr && !layers.all[i].conv() &&
         has_bias(loaded(), layers.all[i]);
}

std::vector<Needs> Compressor::Impl::needs() const {
  std::vector<Needs> all(layers.all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].products = needs_products(schemes[i]);
    if (schemes[i].rows == RowScales::kStatic) all[i].range = ranges;
    all[i].looks = all[i].products || all[i].range != nullptr || corrects(i);
  }
  return all;
}

/// Of a value, for all layers that multiply it by one scale: the runtime multiplies them as one linear.
Result<Range> Compressor::Impl::range_of(const std::string& value, const Seen& seen) {
  std::vector<std::vector<float>> weights;
  std::vector<RangeReader> readers;
  for (size_t i = 0; i < layers.all.size(); ++i) {
    if (layers.all[i].input != value || schemes[i].rows != RowScales::kStatic) continue;
    VIREO_ASSIGN(std::vector<float> w, weight_values(loaded(), layers.all[i]));
    weights.push_back(std::move(w));
    readers.push_back({weights.back().data(), layers.all[i].rows});
  }
  return ranges->find(seen.range, readers, *device->kernels, pool);
}

/// Of what every layer's codes depend on: the network, its numbers and the pictures.
Key Compressor::Impl::everything() const {
  Key key;
  key.add(std::string(version())).add(loaded().source().config).add(loaded().architecture());
  std::vector<uint8_t> block;
  for (const auto& [name, view] : loaded().source().weights->tensors()) {
    key.add(name).add(view.dtype);
    for (size_t at = 0; at < view.bytes; at += kTensorBlock) {
      block.resize(std::min(kTensorBlock, view.bytes - at));
      if (view.read(at, block.size(), block.data())) key.add(block.data(), block.size());
    }
  }
  key.add(uint64_t(pictures.size()));
  for (const std::vector<float>& p : pictures) key.add(p.data(), p.size() * sizeof(float));
  return key;
}

Key Compressor::Impl::key_of(const Key& all, size_t i) const {
  const Scheme& s = schemes[i];
  Key key = all;
  key.add(layers.all[i].tensor).add(vireo::to_string(s.format)).add(std::string(s.method->name));
  key.add(std::string(s.rows == RowScales::kStatic ? ranges->name : ""));
  // One range is found for all layers that multiply the value by it, so which those are counts too.
  for (size_t o = 0; s.rows == RowScales::kStatic && ranges->looks.rows && o < layers.all.size(); ++o)
    if (schemes[o].rows == RowScales::kStatic && layers.all[o].input == layers.all[i].input)
      key.add(layers.all[o].tensor);
  key.add(s.wide.data(), s.wide.size() * sizeof(int32_t));
  return key.add(uint64_t(corrects(i)));
}

/// `seen`: null where the layer looks at no pictures.
Result<KeptLayer> Compressor::Impl::code(size_t i, const Seen* seen, Range range) {
  const Layer& l = layers.all[i];
  const Scheme& s = schemes[i];
  VIREO_ASSIGN(const std::vector<float> values, weight_values(loaded(), l));
  std::vector<double> hessian;
  if (seen != nullptr && s.method->needs_pictures) hessian = seen->moments.hessian(l.last);
  const Weight weight{values.data(), l.rows, l.cols, hessian.empty() ? nullptr : hessian.data()};
  Grid grid = s.format.grid;
  if (grid.scope == Scope::kGroup && grid.group > l.cols) grid.group = int32_t(l.cols);
  KeptLayer k;
  VIREO_ASSIGN(k.coded, mix_rows(weight, *s.method, grid, s.wide, pool));
  k.rows = l.rows;
  k.error = relative_error(weight, k.coded, pool);
  k.has_range = s.rows == RowScales::kStatic;
  if (k.has_range) k.least = range.least, k.most = range.most, k.outlier = seen->moments.has_outlier_column();
  if (corrects(i)) k.shift = bias_shift(weight, k.coded, seen->moments.means());
  return k;
}

Result<void> Compressor::Impl::take(size_t i, const KeptLayer& k, std::vector<std::vector<StoredTensor>>* coded,
                                    CompressReport* report) {
  const Layer& l = layers.all[i];
  Scheme& s = schemes[i];
  CompressedLayer r;
  r.tensor = l.tensor, r.node = l.node, r.kind = compress::to_string(l.kind);
  r.format = vireo::to_string(s.format), r.method = s.method->name;
  r.rows = l.rows, r.cols = l.cols, r.macs = l.macs;
  r.error = k.error;
  (*coded)[i] = encode(l, k.coded);
  if (s.rows == RowScales::kStatic && k.outlier) {
    s.rows = RowScales::kDynamic;
    own_scales.push_back(l.node);
  }
  if (s.rows == RowScales::kStatic)
    for (StoredTensor& t : encode_rows(l, {k.least, k.most})) (*coded)[i].push_back(std::move(t));
  for (const StoredTensor& t : (*coded)[i]) r.bytes += t.bytes.size();
  if (!k.shift.empty()) {
    VIREO_ASSIGN(StoredTensor bias, moved_bias(loaded(), l, k.shift));
    (*coded)[i].push_back(std::move(bias));
  }
  report->layers[i] = std::move(r);
  return {};
}

/// The configuration that also asks for values to be rounded while the model runs.
Result<std::string> Compressor::Impl::with_grids(const std::string& config, CompressReport* report) {
  NumberGrids grids = choice.grids;
  if (grids.fitted()) {
    SimulatedPolicy alone;
    static_cast<NumberGrids&>(alone) = grids;
    VIREO_ASSIGN(const std::unique_ptr<Simulated> fitted,
                 Simulated::create(loaded(), alone, head_of(loaded()), *device, pool, pictures));
    grids.fits = fitted->fits();
  }
  report->notes.emplace_back(
      "values are rounded to grids, or functions computed in integers, while the model runs: on the CPU, where plans "
      "for "
      "GPUs have these steps too");
  return with_section(config, "grids", number_grids_text(grids));
}

Result<CompressReport> Compressor::Impl::write(const std::string& folder) {
  const bool looks = needs_pictures();
  if (looks && pictures.size() < kLeastPictures)
    return fail(ErrorCode::kInvalidArgument,
                "compress: '{}' was given {} to calibrate with and needs at least {}; 32 to 64 are usual", choice.name,
                pictures.size() == 1 ? "1 picture" : fmt::format("{} pictures", pictures.size()), kLeastPictures);
  CompressReport report;
  work = structure_work(choice.structure, pictures.size()) +
         (choice.searched ? (kScheduleWork * kUsualSchedules + kPredictionWork * kUsualPredictions) : 0) +
         kLayerWork * double(layers.all.size()) + kCalibrationWork * double(pictures.size());
  report.bytes_before =
      file_bytes(all_views(loaded(), std::vector<std::vector<StoredTensor>>(layers.all.size()), layers));
  const Kept kept(options.work);
  VIREO_TRY(shrink(kept, &report));
  VIREO_TRY(search_tokens(&report));
  VIREO_TRY(scale(kept, &report));
  report.notes = notes;
  report.attention = choice.attention;
  report.activations = choice.rows != RowScales::kNone;
  report.pictures = looks ? pictures.size() : 0;
  report.macs = layers.macs;
  report.macs_before = macs_before;
  if (merged) report.merged = merged->schedule;
  if (choice.input > 0) {
    report.input_height = int(loaded().input_h()), report.input_width = int(loaded().input_w());
    report.notes.push_back(
        fmt::format("the input is {} x {}, and the table of positions stays that of the whole one: it is fitted when "
                    "the model is opened (Transformers: interpolate_pos_encoding=True)",
                    loaded().input_h(), loaded().input_w()));
  }
  if (looks && pictures.size() < kFewPictures)
    report.notes.push_back(
        fmt::format("calibrated with {} pictures; 32 to 64 are usual, and fewer cost accuracy", pictures.size()));
  report.layers.resize(layers.all.size());
  std::vector<std::vector<StoredTensor>> coded(layers.all.size());
  const Calibration calibration(loaded(), layers, needs(), pictures, *device, pool);
  const std::vector<std::vector<size_t>> by_memory = calibration.groups();
  report.passes += by_memory.size();
  const size_t tested = options.sensitivity ? std::min(pictures.size(), kSensitivityPictures) : 0;
  const std::vector<std::vector<size_t>> by_node = layers_by_node(layers, schemes);
  work = done + kLayerWork * double(layers.all.size()) + kCalibrationWork * double(by_memory.size() * pictures.size());
  if (tested > 0) work += kSensitivityWork * double(tested * by_node.size());

  std::set<size_t> waiting;
  for (size_t i = 0; i < layers.all.size(); ++i)
    if (schemes[i].method != nullptr) waiting.insert(i);
  const Key all = kept.on() ? everything() : Key();
  for (const std::vector<size_t>& group : by_memory) {
    std::vector<size_t> missing;
    for (const size_t i : group) {
      waiting.erase(i);
      KeptLayer k;
      if (!kept.find(key_of(all, i), layers.all[i].rows, layers.all[i].cols, &k)) {
        missing.push_back(i);
        continue;
      }
      VIREO_TRY(step(layers.all[i].node, kLayerWork));
      VIREO_TRY(take(i, k, &coded, &report));
      ++report.found;
    }
    if (missing.empty()) {
      VIREO_TRY(step("pictures", kCalibrationWork * double(pictures.size())));
      continue;
    }
    VIREO_ASSIGN(const SeenValues seen, calibration.run(missing, progress()));
    std::map<std::string, Range> found;
    for (const size_t i : missing) {
      VIREO_TRY(step(layers.all[i].node, kLayerWork));
      const std::string& input = layers.all[i].input;
      if (schemes[i].rows == RowScales::kStatic && found.count(input) == 0) {
        VIREO_ASSIGN(found[input], range_of(input, seen.at(input)));
      }
      const Key key = key_of(all, i);
      VIREO_ASSIGN(const KeptLayer k, code(i, &seen.at(input), found[input]));
      VIREO_TRY(kept.keep(key, k));
      VIREO_TRY(take(i, k, &coded, &report));
    }
  }
  for (const size_t i : waiting) {
    VIREO_TRY(step(layers.all[i].node, kLayerWork));
    VIREO_ASSIGN(const KeptLayer k, code(i, nullptr, {}));
    VIREO_TRY(take(i, k, &coded, &report));
  }

  VIREO_ASSIGN(std::string config, configuration(loaded(), layers, schemes));
  if (!own_scales.empty())
    report.notes.push_back(fmt::format("rows with an outlier column keep a scale each, in {} of the linears; first: {}",
                                       own_scales.size(), own_scales[0]));
  report.kept = kept_modules(loaded(), layers, schemes);
  const std::vector<TensorView> views = all_views(loaded(), coded, layers);
  // What will be written must be what this library reads; with a model that has no config.json that is not certain.
  VIREO_TRY(open_coded(loaded(), config, views));

  if (tested > 0 && !by_node.empty()) {
    Sensitivity s(loaded(), layers, config, coded, *device, pool);
    VIREO_TRY(s.begin(pictures, tested, head_of(loaded())));
    for (const std::vector<size_t>& node : by_node) {
      VIREO_TRY(step("sensitivity of " + layers.all[node[0]].node, kSensitivityWork * double(tested)));
      Key key = all;
      for (const size_t i : node) {
        key.add(std::string("moves")).add(uint64_t(tested)).add(compress::to_string(schemes[i].rows));
        for (const StoredTensor& t : coded[i]) key.add(t.name).add(t.bytes.data(), t.bytes.size());
      }
      double kl = 0;
      if (!kept.find(key, &kl)) {
        VIREO_ASSIGN(kl, s.of(node));
        VIREO_TRY(kept.keep(key, kl));
      }
      for (const size_t i : node) report.layers[i].kl = kl;
    }
  }
  if (choice.grids.any()) {  // last, so that what a layer costs by itself is without them
    VIREO_ASSIGN(config, with_grids(config, &report));
    VIREO_TRY(open_coded(loaded(), config, views));
  }
  VIREO_TRY(step("writing", 0));
  VIREO_ASSIGN(report.bytes_after, write_tensors(folder, "model.safetensors", views));
  if (!loaded().preprocessor_text().empty())
    VIREO_TRY(write_text(folder, "preprocessor_config.json", loaded().preprocessor_text()));
  VIREO_TRY(write_text(folder, "config.json", config));
  std::vector<CompressedLayer> only;
  for (CompressedLayer& l : report.layers)
    if (!l.tensor.empty()) only.push_back(std::move(l));
  report.layers = std::move(only);
  return report;
}

Compressor::Compressor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;
Compressor::~Compressor() = default;

Result<Compressor> Compressor::create(const Model& model, const CompressOptions& options) {
  return no_throw([&]() -> Result<Compressor> {
    const std::shared_ptr<const Checkpoint>& weights = model.impl().loaded.source().weights;
    if (weights == nullptr)
      return fail(ErrorCode::kUnsupported, "compress: '{}' has random weights, of which there is nothing to keep",
                  model.name());
    if (weights->coded())
      return fail(ErrorCode::kUnsupported,
                  "compress: '{}' is compressed already (quantization_config); its codes would be rounded twice. Use "
                  "the original checkpoint",
                  model.name());
    const auto& extension = model.impl().loaded.source().extension;
    if (extension != nullptr && extension->grids.any())
      return fail(ErrorCode::kUnsupported,
                  "compress: '{}' rounds values while it runs already (quantization_config.vireo.grids). Use the "
                  "original checkpoint",
                  model.name());
    VIREO_ASSIGN(Choice choice, options.recipe.empty() && !options.policy.empty() ? Choice::of_policy(options.policy)
                                                                                  : Choice::of_recipe(options.recipe));
    Model seen = model;
    double whole_macs = 0;
    if (choice.input > 0) {  // before anything else, since calibration gives the network what it will be given
      const LoadedModel& whole = model.impl().loaded;
      VIREO_ASSIGN(const Graph g, whole.build(head_of(whole), 1));
      whole_macs = find_layers(whole, g).macs;
      VIREO_ASSIGN(LoadedModel m, with_smaller_input(whole, choice.input));
      seen = Model::Impl::wrap(std::move(m), model.name());
    }
    auto impl = std::make_unique<Impl>(seen, options, make_cpu_device(options.threads, ""));
    impl->choice = std::move(choice);
    if (!impl->choice.by_policy && !options.policy.empty()) VIREO_TRY(impl->choice.refine(options.policy));
    if (!options.method.empty() && (impl->choice.method = find_method(options.method)) == nullptr) {
      std::vector<std::string> known;
      for (const Method* m : methods()) known.push_back(m->name);
      return fail(ErrorCode::kInvalidArgument, "compress: there is no method '{}'{}", options.method,
                  known_names(options.method, known));
    }
    if (!options.ranges.empty() && (impl->ranges = find_range_method(options.ranges)) == nullptr) {
      std::vector<std::string> known;
      for (const RangeMethod* m : range_methods()) known.push_back(m->name);
      return fail(ErrorCode::kInvalidArgument, "compress: there is no way '{}' to find ranges{}", options.ranges,
                  known_names(options.ranges, known));
    }
    if (!impl->choice.attention.empty()) {
      VIREO_ASSIGN(LoadedModel m, attention_in(impl->loaded(), impl->choice.attention));
      impl->model = Model::Impl::wrap(std::move(m), model.name());
    }
    if (impl->choice.tokens > 0) {
      VIREO_ASSIGN(const Graph whole, impl->graph());
      impl->macs_before = find_layers(impl->loaded(), whole).macs;
      VIREO_ASSIGN(MergedModel m, merge_tokens(impl->loaded(), head_of(impl->loaded()), impl->choice.tokens));
      if (!impl->choice.structure.any()) impl->model = Model::Impl::wrap(LoadedModel(m.model), model.name());
      impl->merged = std::move(m);
    }
    VIREO_ASSIGN(const Graph graph, impl->graph());
    impl->layers = find_layers(impl->loaded(), graph);
    if (impl->choice.tokens == 0) impl->macs_before = impl->layers.macs;
    if (impl->choice.input > 0) impl->macs_before = whole_macs;
    VIREO_ASSIGN(impl->schemes, impl->choice.schemes(impl->layers, &impl->notes));
    const auto any = [&](auto what) { return std::any_of(impl->schemes.begin(), impl->schemes.end(), what); };
    if (!options.ranges.empty() && !any([](const Scheme& s) { return s.rows == RowScales::kStatic; }))
      return fail(ErrorCode::kInvalidArgument,
                  "compress: '{}' says how one scale of all rows is found, and no rows get one: take a recipe such as "
                  "w8a8static, or leave it out",
                  options.ranges);
    if ((options.awq || options.bias_correction) && !any([](const Scheme& s) { return s.format.grid.coded(); }))
      return fail(ErrorCode::kInvalidArgument,
                  "compress: no weight is rounded, so {} would change nothing: add a recipe such as w4g32, or leave it "
                  "out",
                  options.awq ? "awq" : "bias correction");
    return Compressor(std::move(impl));
  });
}

size_t Compressor::least_pictures() const { return impl_->needs_pictures() ? kLeastPictures : 0; }

Result<void> Compressor::add(const Image& picture) {
  return no_throw([&]() -> Result<void> {
    std::vector<float> pixels(size_t(impl_->preprocessor.output_size()));
    VIREO_TRY(impl_->preprocessor.run(picture, pixels.data(), &impl_->pool));
    impl_->pictures.push_back(std::move(pixels));
    return {};
  });
}

Result<CompressReport> Compressor::write(const std::string& folder) {
  return no_throw([&] { return impl_->write(folder); });
}

}  // namespace vireo
