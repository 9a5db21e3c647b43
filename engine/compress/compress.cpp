// vireo::Compressor: pictures through the model, layer by layer into codes, and the folder.
#include <vireo/compress.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "base/names.h"
#include "compress/encode.h"
#include "compress/extend.h"
#include "compress/kept.h"
#include "compress/moments.h"
#include "compress/sensitivity.h"
#include "compress/structure.h"
#include "compress/tokens.h"
#include "runtime/model_impl.h"

namespace vireo {

using namespace compress;

std::vector<CompressEntry> compress_recipes() {
  std::vector<CompressEntry> all;
  for (const Recipe& r : recipes())
    all.push_back({r.name, r.what, r.source, r.inner, compress::to_string(r.rows), r.attention});
  return all;
}

std::vector<CompressEntry> compress_methods() {
  std::vector<CompressEntry> all;
  for (const Method* m : methods()) all.push_back({m->name, m->what, m->source, "", ""});
  for (const Narrower* n : narrowers()) all.push_back({n->name, n->what, n->source, "", ""});
  return all;
}

namespace {

constexpr size_t kLeastPictures = 8, kFewPictures = 32;
constexpr uint64_t kLeastMoments = 64ull << 20;

/// How far the work is, in seconds as they were once measured: only their ratios matter.
constexpr double kPictureWork = 0.02, kLayerWork = 0.06;

Head head_of(const LoadedModel& m) { return m.has_classes() ? Head::kLogits : Head::kFeatures; }

/// Of a safetensors file with these tensors.
uint64_t file_bytes(const std::vector<TensorView>& views) {
  uint64_t bytes = safetensors_header(views, {{"format", "pt"}}).size();
  for (const TensorView& v : views) bytes += v.bytes;
  return bytes;
}

bool needs_products(const Scheme& s) { return s.method != nullptr && s.method->needs_pictures; }
bool looks_at_pictures(const Scheme& s) { return needs_products(s) || s.rows == RowScales::kStatic; }

/// The squared error of the layer's output over its square, from H; without one, of the weight.
double relative_error(const Weight& w, const Coded& c, ThreadPool& pool) {
  const int64_t n = w.cols, span = span_of(c.grid, n), groups = div_up(n, span);
  std::vector<double> errors(size_t(w.rows)), squares(size_t(w.rows));
  pool.parallel_for(w.rows, 4, [&](int64_t begin, int64_t end, int) {
    std::vector<double> off(static_cast<size_t>(n));
    const auto square = [&](const double* x) {
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        double with = 0;
        if (w.hessian == nullptr) with = x[i];
        else
          for (int64_t j = 0; j < n; ++j) with += w.hessian[i * n + j] * x[j];
        sum += x[i] * with;
      }
      return sum;
    };
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t k = 0; k < n; ++k) off[size_t(k)] = double(w.values[r * n + k]);
      squares[size_t(r)] = square(off.data());
      for (int64_t k = 0; k < n; ++k)
        off[size_t(k)] -= double(decode(c.codes[size_t(r * n + k)], 0, c.scales[size_t(r * groups + k / span)]));
      errors[size_t(r)] = square(off.data());
    }
  });
  double error = 0, all = 0;
  for (int64_t r = 0; r < w.rows; ++r) error += errors[size_t(r)], all += squares[size_t(r)];
  return all > 0 ? std::max(0.0, error) / all : 0;
}

}  // namespace

struct Compressor::Impl {
  Model model;
  CompressOptions options;
  Choice choice;
  Layers layers;
  std::vector<Scheme> schemes;
  std::vector<std::string> notes;
  std::vector<int64_t> merged;  // tokens by block, where a recipe asks for it
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
    return choice.structure.any() || std::any_of(schemes.begin(), schemes.end(), looks_at_pictures);
  }

  /// One more step of the work is done; an error where the caller wants to stop.
  Result<void> step(const std::string& what, double seconds) {
    done += seconds;
    if (options.progress) options.progress(what, std::min(1.0, done / std::max(work, 1e-9)));
    if (options.stop && options.stop())
      return fail(ErrorCode::kInvalidArgument, "compress: stopped before the model was written");
    return {};
  }

  Result<void> shrink(CompressReport* report);
  std::vector<std::vector<size_t>> groups() const;
  bool has_products(const std::string& input) const;
  Result<void> calibrate(const std::vector<size_t>& group, std::map<std::string, Moments>* moments);
  Key everything() const;
  Key key_of(const Key& all, size_t layer) const;
  Result<KeptLayer> code(size_t layer, const Moments* moments);
  void take(size_t layer, const KeptLayer& found, std::vector<std::vector<StoredTensor>>* coded,
            CompressReport* report);
  Result<CompressReport> write(const std::string& folder);
};

/// Structure comes first: what is rounded then are the weights that are left.
Result<void> Compressor::Impl::shrink(CompressReport* report) {
  if (!choice.structure.any()) return {};
  VIREO_ASSIGN(Smaller s,
               make_smaller(loaded(), choice.structure, pictures, *device, pool,
                            [this](const std::string& what, double seconds) { return step(what, seconds); }));
  report->passes = s.passes;
  report->parameters_before = s.parameters_before, report->parameters_after = s.parameters_after;
  for (const SmallerBlock& b : s.blocks) {
    CompressedBlock to;
    to.block = b.block, to.kl = b.kl;
    const auto sizes = [](const BlockSizes& x) { return CompressedBlock::Sizes{x.heads, x.qk, x.v, x.mlp}; };
    to.before = sizes(b.before), to.after = sizes(b.after);
    report->blocks.push_back(to);
  }
  smaller = std::move(s.model);
  if (choice.tokens > 0) {
    // Behind structure: what is measured there could not see what narrower keys do to the choice of tokens.
    VIREO_ASSIGN(MergedModel m, merge_tokens(loaded(), head_of(loaded()), choice.tokens));
    merged = std::move(m.schedule);
    smaller = std::make_shared<const LoadedModel>(std::move(m.model));
  }
  VIREO_ASSIGN(const Graph g, graph());
  layers = find_layers(loaded(), g);
  notes.clear();  // schemes() says them again
  VIREO_ASSIGN(schemes, choice.schemes(layers, &notes));
  return {};
}

/// Layers whose moments fit into memory at once, by index; those of one input stay together.
std::vector<std::vector<size_t>> Compressor::Impl::groups() const {
  uint64_t stored = 0;
  for (const auto& [name, view] : loaded().source().weights->tensors()) stored += view.bytes;
  const uint64_t most = std::max(kLeastMoments, stored / 2);
  std::vector<std::vector<size_t>> all;
  std::set<std::string> inputs;  // of the last group
  uint64_t used = 0;
  for (size_t i = 0; i < layers.all.size(); ++i) {
    if (!looks_at_pictures(schemes[i])) continue;
    const bool more = has_products(layers.all[i].input) && inputs.count(layers.all[i].input) == 0;
    const uint64_t bytes = more ? Moments::bytes(layers.all[i].cols) : 0;
    if (all.empty() || used + bytes > most) all.emplace_back(), inputs.clear(), used = 0;
    all.back().push_back(i);
    if (more) inputs.insert(layers.all[i].input), used += bytes;
  }
  return all;
}

/// Whether a layer that multiplies this value needs its second moments.
bool Compressor::Impl::has_products(const std::string& input) const {
  for (size_t i = 0; i < layers.all.size(); ++i)
    if (layers.all[i].input == input && needs_products(schemes[i])) return true;
  return false;
}

Result<void> Compressor::Impl::calibrate(const std::vector<size_t>& group, std::map<std::string, Moments>* moments) {
  VIREO_ASSIGN(Graph g, graph());
  VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(std::move(g), *device, pool, true));
  const bool merges = merges_tokens(loaded());
  for (size_t p = 0; p < pictures.size(); ++p) {
    runner->run(pictures[p]);
    for (const size_t i : group) {
      const Layer& l = layers.all[i];
      VIREO_ASSIGN(const Rows rows, runner->value(l.input));
      if (rows.cols != l.cols)
        return fail(ErrorCode::kInternal, "calibration: '{}' has {} columns, expected {}", l.input, rows.cols, l.cols);
      // Where tokens are merged, the last value has the fewest.
      const bool all =
          rows.rows == layers.tokens || (merges && l.kind == LayerKind::kInner && rows.rows >= layers.tokens);
      const auto tokens = all ? layers.answer_tokens : std::vector<int64_t>();
      const auto [m, fresh] = moments->try_emplace(l.input, l.cols, tokens, has_products(l.input));
      if (m->second.pictures() > p) continue;  // several layers read this value
      if (!m->second.add(rows, *device->kernels, pool))
        return fail(ErrorCode::kCorrupt,
                    "model '{}': the input of '{}' is not finite for picture {} of {}; nothing can be calibrated with "
                    "it. The model overflows in fp32: use another checkpoint or other pictures",
                    model.name(), l.node, p + 1, pictures.size());
    }
    VIREO_TRY(step(fmt::format("picture {} of {}", p + 1, pictures.size()), kPictureWork));
  }
  return {};
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
  return key.add(uint64_t(s.rows == RowScales::kStatic));
}

Result<KeptLayer> Compressor::Impl::code(size_t i, const Moments* moments) {
  const Layer& l = layers.all[i];
  const Scheme& s = schemes[i];
  VIREO_ASSIGN(const std::vector<float> values, weight_values(loaded(), l));
  std::vector<double> hessian;
  if (moments != nullptr && s.method->needs_pictures) hessian = moments->hessian(l.last);
  const Weight weight{values.data(), l.rows, l.cols, hessian.empty() ? nullptr : hessian.data()};
  Grid grid = s.format.grid;
  if (grid.scope == Scope::kGroup && grid.group > l.cols) grid.group = int32_t(l.cols);
  KeptLayer k;
  VIREO_ASSIGN(k.coded, s.method->run(weight, grid, pool));
  k.rows = l.rows;
  k.error = relative_error(weight, k.coded, pool);
  k.has_range = s.rows == RowScales::kStatic;
  if (k.has_range) k.least = moments->least(), k.most = moments->most(), k.outlier = moments->has_outlier_column();
  return k;
}

void Compressor::Impl::take(size_t i, const KeptLayer& k, std::vector<std::vector<StoredTensor>>* coded,
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
    for (StoredTensor& t : encode_rows(l, k.least, k.most)) (*coded)[i].push_back(std::move(t));
  for (const StoredTensor& t : (*coded)[i]) r.bytes += t.bytes.size();
  report->layers[i] = std::move(r);
}

Result<CompressReport> Compressor::Impl::write(const std::string& folder) {
  const bool looks = needs_pictures();
  if (looks && pictures.size() < kLeastPictures)
    return fail(ErrorCode::kInvalidArgument,
                "compress: '{}' was given {} to calibrate with and needs at least {}; 32 to 64 are usual", choice.name,
                pictures.size() == 1 ? "1 picture" : fmt::format("{} pictures", pictures.size()), kLeastPictures);
  CompressReport report;
  work = structure_work(choice.structure, pictures.size()) + kLayerWork * double(layers.all.size()) +
         kPictureWork * double(pictures.size());
  report.bytes_before =
      file_bytes(all_views(loaded(), std::vector<std::vector<StoredTensor>>(layers.all.size()), layers));
  VIREO_TRY(shrink(&report));
  report.notes = notes;
  report.attention = choice.attention;
  report.activations = choice.rows != RowScales::kNone;
  report.pictures = looks ? pictures.size() : 0;
  report.macs = layers.macs;
  report.macs_before = macs_before;
  report.merged = merged;
  if (looks && pictures.size() < kFewPictures)
    report.notes.push_back(
        fmt::format("calibrated with {} pictures; 32 to 64 are usual, and fewer cost accuracy", pictures.size()));
  report.layers.resize(layers.all.size());
  std::vector<std::vector<StoredTensor>> coded(layers.all.size());
  const std::vector<std::vector<size_t>> by_memory = groups();
  report.passes += by_memory.size();
  const size_t tested = options.sensitivity ? std::min(pictures.size(), kSensitivityPictures) : 0;
  const std::vector<std::vector<size_t>> by_node = layers_by_node(layers, schemes);
  work = done + kLayerWork * double(layers.all.size()) + kPictureWork * double(by_memory.size() * pictures.size());
  if (tested > 0) work += kSensitivityWork * double(tested * by_node.size());

  std::set<size_t> waiting;
  for (size_t i = 0; i < layers.all.size(); ++i)
    if (schemes[i].method != nullptr) waiting.insert(i);
  const Kept kept(options.work);
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
      take(i, k, &coded, &report), ++report.found;
    }
    if (missing.empty()) {
      VIREO_TRY(step("pictures", kPictureWork * double(pictures.size())));
      continue;
    }
    std::map<std::string, Moments> moments;
    VIREO_TRY(calibrate(missing, &moments));
    for (const size_t i : missing) {
      VIREO_TRY(step(layers.all[i].node, kLayerWork));
      const Key key = key_of(all, i);
      VIREO_ASSIGN(const KeptLayer k, code(i, &moments.at(layers.all[i].input)));
      VIREO_TRY(kept.keep(key, k));
      take(i, k, &coded, &report);
    }
  }
  for (const size_t i : waiting) {
    VIREO_TRY(step(layers.all[i].node, kLayerWork));
    VIREO_ASSIGN(const KeptLayer k, code(i, nullptr));
    take(i, k, &coded, &report);
  }

  VIREO_ASSIGN(const std::string config, configuration(loaded(), layers, schemes));
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
    auto impl = std::make_unique<Impl>(model, options, make_cpu_device(options.threads, ""));
    VIREO_ASSIGN(impl->choice, options.recipe.empty() && !options.policy.empty() ? Choice::of_policy(options.policy)
                                                                                 : Choice::of_recipe(options.recipe));
    if (!impl->choice.by_policy && !options.policy.empty()) VIREO_TRY(impl->choice.refine(options.policy));
    if (!options.method.empty() && (impl->choice.method = find_method(options.method)) == nullptr) {
      std::vector<std::string> known;
      for (const Method* m : methods()) known.push_back(m->name);
      return fail(ErrorCode::kInvalidArgument, "compress: there is no method '{}'{}", options.method,
                  known_names(options.method, known));
    }
    if (!impl->choice.attention.empty()) {
      VIREO_ASSIGN(LoadedModel m, attention_in(impl->loaded(), impl->choice.attention));
      impl->model = Model::Impl::wrap(std::move(m), model.name());
    }
    if (impl->choice.tokens > 0) {
      VIREO_ASSIGN(const Graph whole, impl->graph());
      impl->macs_before = find_layers(impl->loaded(), whole).macs;
      VIREO_ASSIGN(MergedModel m, merge_tokens(impl->loaded(), head_of(impl->loaded()), impl->choice.tokens));
      impl->merged = std::move(m.schedule);
      if (!impl->choice.structure.any()) impl->model = Model::Impl::wrap(std::move(m.model), model.name());
    }
    VIREO_ASSIGN(const Graph graph, impl->graph());
    impl->layers = find_layers(impl->loaded(), graph);
    if (impl->choice.tokens == 0) impl->macs_before = impl->layers.macs;
    VIREO_ASSIGN(impl->schemes, impl->choice.schemes(impl->layers, &impl->notes));
    return Compressor(std::move(impl));
  });
}

size_t Compressor::least_pictures() const { return impl_->needs_pictures() ? kLeastPictures : 0; }

Result<void> Compressor::add(const Image& picture) {
  return no_throw([&]() -> Result<void> {
    std::vector<float> pixels(size_t(impl_->preprocessor.output_size()));
    const ptrdiff_t stride = picture.stride ? picture.stride : ptrdiff_t(picture.width) * 3;
    VIREO_TRY(impl_->preprocessor.run(picture.rgb, picture.width, picture.height, stride, pixels.data()));
    impl_->pictures.push_back(std::move(pixels));
    return {};
  });
}

Result<CompressReport> Compressor::write(const std::string& folder) {
  return no_throw([&] { return impl_->write(folder); });
}

}  // namespace vireo
