#include "compress/awq.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "compress/blocks.h"
#include "compress/replace.h"

namespace vireo::compress {
namespace {

constexpr int kAwqSteps = 20;
constexpr double kStep = 0.05, kLeastScale = 1e-4;

/// A value whose columns can be scaled.
struct Place {
  std::string value;
  std::vector<size_t> readers;  // layers
  /// Tensors of the file whose entries or rows are divided, from their row `first` on, one for each column.
  std::vector<std::string> divided;
  int64_t first = 0;
};

class AwqFinder {
 public:
  AwqFinder(const LoadedModel& model, const Graph& graph, const Layers& layers, const std::vector<Scheme>& schemes)
      : model_(model), g_(graph), layers_(layers), schemes_(schemes), blocks_(find_blocks(model, graph)) {
    for (const Node& n : g_.nodes) {
      std::set<std::string> names;
      for (const ValueId in : n.inputs) {
        if (in == kNoValue || g_.value(in).constant == nullptr) continue;
        std::vector<std::string> some;
        g_.value(in).constant->tensors(&some);
        names.insert(some.begin(), some.end());
      }
      for (const std::string& t : names) ++uses_[t];
    }
  }

  Result<std::vector<Place>> find() const {
    std::vector<Place> all;
    std::set<std::string> known;
    for (const Layer& l : layers_.all) {
      if (l.kind != LayerKind::kInner || !known.insert(l.input).second) continue;
      Place p;
      p.value = l.input;
      if (!find_readers(&p)) continue;
      VIREO_ASSIGN(const bool can, find_writer(l.cols, &p));
      if (can) all.push_back(std::move(p));
    }
    return all;
  }

 private:
  /// False where anything but weights that are rounded reads the value.
  bool find_readers(Place* p) const {
    for (const Node& n : g_.nodes)
      for (size_t i = 0; i < n.inputs.size(); ++i) {
        if (n.inputs[i] == kNoValue || g_.value(n.inputs[i]).name != p->value) continue;
        if (n.op != OpKind::kLinear || i != 0) return false;
        std::vector<std::string> names;
        if (const ConstantPtr& c = g_.value(n.inputs[1]).constant; c != nullptr) c->tensors(&names);
        if (names.empty()) return false;
        for (const std::string& t : std::set<std::string>(names.begin(), names.end())) {
          const auto layer = std::find_if(layers_.all.begin(), layers_.all.end(),
                                          [&](const Layer& l) { return l.tensor == t && l.input == p->value; });
          if (layer == layers_.all.end() || uses_.at(t) != 1) return false;
          const size_t index = size_t(layer - layers_.all.begin());
          if (!schemes_[index].format.grid.coded()) return false;
          p->readers.push_back(index);
        }
      }
    return !p->readers.empty() &&
           std::none_of(g_.outputs.begin(), g_.outputs.end(), [&](ValueId v) { return g_.value(v).name == p->value; });
  }

  Result<bool> find_writer(int64_t cols, Place* p) const {
    for (const Node& n : g_.nodes) {
      if (g_.value(n.output).name != p->value) continue;
      if (n.op == OpKind::kLayerNorm) return norm(n, cols, p);
      if (n.op == OpKind::kAttention) return values(cols, p);
    }
    return false;
  }

  /// Gain and offset must be tensors of the file as it has them.
  Result<bool> norm(const Node& n, int64_t cols, Place* p) const {
    for (size_t i = 1; i < n.inputs.size(); ++i) {
      if (n.inputs[i] == kNoValue) continue;
      const ConstantPtr& c = g_.value(n.inputs[i]).constant;
      std::vector<std::string> names;
      if (c != nullptr) c->tensors(&names);
      if (names.size() != 1 || uses_.at(names[0]) != 1) return false;
      VIREO_ASSIGN(const std::vector<float> stored, tensor_values(model_, names[0]));
      if (int64_t(stored.size()) != cols || stored != c->read_all()) return false;
      p->divided.push_back(names[0]);
    }
    return p->divided.size() == 2;
  }

  /// Each channel of attention's answer is a mean of one channel of the values.
  Result<bool> values(int64_t cols, Place* p) const {
    for (const Block& b : blocks_) {
      if (b.mixed_value != p->value) continue;
      if (!b.narrow_attention || b.whole.heads * b.whole.v != cols) return false;
      const std::string& module = b.qkv.back();
      if (uses_.count(module + ".weight") == 0 || uses_.at(module + ".weight") != 1) return false;
      p->first = b.qkv.size() == 1 ? 2 * b.whole.heads * b.whole.qk : 0;
      p->divided.push_back(module + ".weight");
      if (find_tensor(model_, module + ".bias") != nullptr) {
        p->divided.push_back(module + ".bias");
        return true;
      }
      // Without one, nothing may be added to the rows under another name.
      for (const Node& n : g_.nodes)
        if (g_.value(n.output).name == b.qkv_value) return n.inputs.size() < 3 || n.inputs[2] == kNoValue;
      return false;
    }
    return false;
  }

  const LoadedModel& model_;
  const Graph& g_;
  const Layers& layers_;
  const std::vector<Scheme>& schemes_;
  std::vector<Block> blocks_;
  std::map<std::string, int> uses_;  // nodes, by tensor
};

/// Tensors as numbers while they are scaled.
class Changed {
 public:
  explicit Changed(const LoadedModel& model) : model_(model) {}

  Result<std::vector<float>*> of(const std::string& tensor) {
    const auto found = values_.find(tensor);
    if (found != values_.end()) return &found->second;
    VIREO_ASSIGN(std::vector<float> read, tensor_values(model_, tensor));
    return &values_.emplace(tensor, std::move(read)).first->second;
  }

  /// In the floats that the file has, but for `whole` in fp32.
  Replaced take(const std::set<std::string>& whole) {
    Replaced all;
    for (auto& [name, values] : values_) {
      const TensorView& view = *find_tensor(model_, name);
      all[name] = as_floats(name, whole.count(name) > 0 ? "F32" : view.dtype, view.shape, values);
      values = {};
    }
    return all;
  }

 private:
  const LoadedModel& model_;
  std::map<std::string, std::vector<float>> values_;
};

}  // namespace

std::vector<double> awq_scales(const std::vector<double>& magnitudes, double alpha) {
  std::vector<double> s;
  for (const double m : magnitudes) s.push_back(std::max(kLeastScale, std::pow(m, alpha)));
  const auto [least, most] = std::minmax_element(s.begin(), s.end());
  const double middle = std::sqrt(*least * *most);
  for (double& v : s) v /= middle;
  return s;
}

Result<AwqChoice> search_awq(const std::vector<AwqWeight>& weights, const std::vector<double>& magnitudes,
                             const double* hessian, ThreadPool& pool) {
  const int64_t cols = int64_t(magnitudes.size());
  AwqChoice best;
  for (int step = 0; step < kAwqSteps; ++step) {
    const std::vector<double> s = awq_scales(magnitudes, kStep * step);
    double error = 0;
    for (const AwqWeight& w : weights) {
      std::vector<float> scaled(size_t(w.rows * cols));
      for (int64_t r = 0; r < w.rows; ++r)
        for (int64_t k = 0; k < cols; ++k)
          scaled[size_t(r * cols + k)] = float(double(w.values[r * cols + k]) * s[size_t(k)]);
      const Weight weight{scaled.data(), w.rows, cols, nullptr};
      Grid grid = w.grid;
      if (grid.scope == Scope::kGroup && grid.group > cols) grid.group = int32_t(cols);
      VIREO_ASSIGN(const Coded coded, kRtn.run(weight, grid, pool));
      std::vector<double> off = rounding_errors(weight, coded);
      for (size_t i = 0; i < off.size(); ++i) off[i] /= s[i % size_t(cols)];
      error += output_square(off, w.rows, cols, hessian, pool);
    }
    if (step == 0) best.before = best.after = error;
    if (error < best.after) best.after = error, best.alpha = kStep * step;
  }
  return best;
}

namespace {

/// What a place's columns are multiplied by; nothing where no alpha above 0 gains.
struct Scales {
  double alpha = 0;
  std::vector<double> by;
};

bool find_kept(const Kept& kept, const Key& key, const std::vector<Place>& places, const Layers& layers,
               std::vector<Scales>* all) {
  std::vector<uint8_t> bytes;
  if (!kept.find(key, &bytes)) return false;
  std::vector<Scales> found(places.size());
  size_t at = 0;
  const auto take = [&](double* to, size_t count) {
    if (bytes.size() - at < count * sizeof *to) return false;
    if (count > 0) std::memcpy(to, bytes.data() + at, count * sizeof *to);
    at += count * sizeof *to;
    return true;
  };
  for (size_t i = 0; i < places.size(); ++i) {
    if (!take(&found[i].alpha, 1)) return false;
    if (found[i].alpha > 0) found[i].by.resize(size_t(layers.all[places[i].readers[0]].cols));
    if (!take(found[i].by.data(), found[i].by.size())) return false;
  }
  *all = std::move(found);
  return at == bytes.size();
}

Result<void> keep(const Kept& kept, const Key& key, const std::vector<Scales>& all) {
  std::vector<uint8_t> bytes;
  const auto append = [&bytes](const double* from, size_t count) {
    const auto* const b = reinterpret_cast<const uint8_t*>(from);
    bytes.insert(bytes.end(), b, b + count * sizeof *from);
  };
  for (const Scales& s : all) append(&s.alpha, 1), append(s.by.data(), s.by.size());
  return kept.keep(key, std::move(bytes));
}

}  // namespace

Result<AwqScaled> scale_by_awq(const LoadedModel& model, const Layers& layers, const std::vector<Scheme>& schemes,
                               const std::vector<std::vector<float>>& pictures, const Device::Impl& device,
                               ThreadPool& pool, const Progress& step, const Kept& kept, Key key) {
  VIREO_ASSIGN(const Graph graph, model.build(model.has_classes() ? Head::kLogits : Head::kFeatures, 1));
  VIREO_ASSIGN(const std::vector<Place> places, AwqFinder(model, graph, layers, schemes).find());
  AwqScaled done;
  done.places = places.size();
  key.add(std::string("awq"));
  for (size_t i = 0; i < layers.all.size(); ++i) key.add(layers.all[i].tensor).add(vireo::to_string(schemes[i].format));
  std::vector<Scales> scales(places.size());
  if (!find_kept(kept, key, places, layers, &scales)) {
    std::vector<Needs> needs(layers.all.size());
    for (const Place& p : places)
      for (const size_t i : p.readers) needs[i].looks = needs[i].products = true;
    const Calibration calibration(model, layers, needs, pictures, device, pool);
    for (const std::vector<size_t>& group : calibration.groups()) {
      VIREO_ASSIGN(const SeenValues seen, calibration.run(group, step));
      ++done.passes;
      for (size_t at = 0; at < places.size(); ++at) {
        const Place& p = places[at];
        const auto found = seen.find(p.value);
        if (found == seen.end()) continue;
        VIREO_TRY(step("scales of " + p.value, kCalibrationWork));
        const Moments& moments = found->second.moments;
        std::vector<std::vector<float>> read;
        std::vector<AwqWeight> weights;
        for (const size_t i : p.readers) {
          VIREO_ASSIGN(std::vector<float> w, weight_values(model, layers.all[i]));
          read.push_back(std::move(w));
          weights.push_back({read.back().data(), layers.all[i].rows, schemes[i].format.grid});
        }
        const std::vector<double> hessian = moments.hessian(layers.all[p.readers[0]].last);
        VIREO_ASSIGN(const AwqChoice choice, search_awq(weights, moments.mean_magnitudes(), hessian.data(), pool));
        if (choice.alpha > 0) scales[at] = {choice.alpha, awq_scales(moments.mean_magnitudes(), choice.alpha)};
      }
    }
    VIREO_TRY(keep(kept, key, scales));
  }

  std::set<std::string> coded;  // what becomes codes is never written as floats, and keeps all digits until then
  for (size_t i = 0; i < layers.all.size(); ++i)
    if (schemes[i].format.grid.coded()) coded.insert(layers.all[i].tensor);
  Changed changed(model);
  for (size_t at = 0; at < places.size(); ++at) {
    const Place& p = places[at];
    const Scales& s = scales[at];
    if (s.by.empty()) continue;
    done.least = done.scaled == 0 ? s.alpha : std::min(done.least, s.alpha);
    done.most = std::max(done.most, s.alpha);
    ++done.scaled;
    const size_t cols = s.by.size();
    for (const size_t i : p.readers) {
      VIREO_ASSIGN(std::vector<float>* const w, changed.of(layers.all[i].tensor));
      for (size_t k = 0; k < w->size(); ++k) (*w)[k] = float(double((*w)[k]) * s.by[k % cols]);
    }
    for (const std::string& tensor : p.divided) {
      VIREO_ASSIGN(std::vector<float>* const w, changed.of(tensor));
      const std::vector<int64_t>& shape = find_tensor(model, tensor)->shape;
      const size_t wide = w->size() / size_t(shape[0]);  // of a row; 1 of gains, offsets and biases
      for (size_t k = 0; k < cols; ++k)
        for (size_t c = 0; c < wide; ++c) {
          float& v = (*w)[(size_t(p.first) + k) * wide + c];
          v = float(double(v) / s.by[k]);
        }
    }
  }
  if (done.scaled == 0) return done;
  VIREO_ASSIGN(done.model, with_tensors(model, model.source().config, changed.take(coded)));
  return done;
}

}  // namespace vireo::compress
