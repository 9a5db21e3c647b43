#include "compress/structure.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/names.h"
#include "compress/partial.h"
#include "compress/recipe.h"

namespace vireo::compress {
namespace {

// Levels are measured on every fifth picture and made of the others: what was fitted to a picture looks better on it
// than on any other.
constexpr size_t kEvery = 5;
constexpr uint64_t kLeastOfAPass = 64ull << 20;
// Seconds of work as compress.cpp counts them: of a picture's moments, of a block's eliminations, of a picture's
// measurements.
constexpr double kPictureWork = 0.05, kBlockWork = 0.3, kMeasureWork = 0.8;

/// Widths that are tried, as shares of the whole. Queries and keys first lose what their scores hardly need.
const std::vector<double>& shares(Part p) {
  static const std::vector<double> qk = {0.75, 0.625, 0.5, 0.375, 0.25}, v = {0.875, 0.75, 0.5},
                                   mlp = {0.9375, 0.875, 0.75, 0.625, 0.5, 0.375};
  return p == Part::kQk ? qk : p == Part::kV ? v : mlp;
}

/// Whole groups of 4 channels, so that kernels keep reading them as such; of an MLP 16. What the linear behind reads of
/// all heads, or of the MLP, is a multiple of `columns` too.
std::vector<int64_t> widths_of(const Block& b, Part p, int64_t columns) {
  const int64_t whole = b.width(p);
  int64_t step = p == Part::kMlp ? 16 : 4;
  if (p == Part::kMlp) step = std::lcm(step, columns);
  if (p == Part::kV) step = std::lcm(step, columns / std::gcd(columns, b.whole.heads));
  std::vector<int64_t> all;
  for (const double share : shares(p)) {
    const int64_t width = int64_t(std::lround(share * double(whole) / double(step))) * step;
    if (width > 0 && width < whole && (all.empty() || width < all.back())) all.push_back(width);
  }
  return all;
}

class Maker {
 public:
  Maker(const LoadedModel& model, const StructureChoice& choice, const std::vector<std::vector<float>>& pictures,
        const Device::Impl& device, ThreadPool& pool, const Progress& step)
      : model_(model), choice_(choice), pictures_(pictures), device_(device), pool_(pool), step_(step) {}

  Result<Narrowing> run() {
    VIREO_ASSIGN(graph_, build());
    layers_ = find_layers(model_, graph_);
    blocks_ = find_blocks(model_, graph_);
    moments_.resize(blocks_.size());
    sizes_.reserve(blocks_.size());
    for (const Block& b : blocks_) sizes_.push_back(b.whole);
    kl_.assign(blocks_.size(), -1.0);
    VIREO_TRY(choice_.rules.empty() ? search() : apply_rules());
    return finish();
  }

 private:
  Result<Graph> build() const { return model_.build(model_.has_classes() ? Head::kLogits : Head::kFeatures, 1); }

  /// Block 0 keeps its queries and keys: every later block reads what it makes of the pixels.
  bool may(size_t block, Part p) const {
    return blocks_[block].has(p) && (p != Part::kQk || block > 0) &&
           std::find(choice_.parts.begin(), choice_.parts.end(), p) != choice_.parts.end();
  }

  Result<std::vector<float>> weight_behind(const Block& b, Part p) const {
    if (p == Part::kQk) return std::vector<float>();
    const std::string& name = p == Part::kV ? b.proj_value : b.fc2_value;
    for (const Node& n : graph_.nodes)
      if (graph_.value(n.output).name == name) return graph_.value(n.inputs[1]).constant->read_all();
    return fail(ErrorCode::kInternal, "structure: the graph has no '{}'", name);
  }

  // ---- calibration

  /// Bytes that a block's moments and levels take.
  uint64_t bytes_of(size_t i, const std::set<Part>& parts) const {
    const Block& b = blocks_[i];
    uint64_t bytes = 0;
    for (const Part p : parts) {
      if (p == Part::kQk) continue;
      const uint64_t cols = uint64_t(p == Part::kV ? b.whole.heads * b.whole.v : b.whole.mlp);
      bytes += Moments::bytes(int64_t(cols)) + cols * cols / 4 * shares(p).size() * sizeof(float);
    }
    return bytes;
  }

  /// Blocks whose moments fit into memory at once, in order.
  std::vector<std::vector<size_t>> groups(const std::vector<std::set<Part>>& wanted) const {
    uint64_t stored = 0;
    for (const auto& [name, view] : model_.source().weights->tensors()) stored += view.bytes;
    std::vector<std::vector<size_t>> all;
    uint64_t used = 0;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      if (wanted[i].empty()) continue;
      const uint64_t bytes = bytes_of(i, wanted[i]);
      if (all.empty() || used + bytes > std::max(kLeastOfAPass, stored)) all.emplace_back(), used = 0;
      all.back().push_back(i);
      used += bytes;
    }
    return all;
  }

  Result<void> calibrate(Runner& runner, const std::vector<size_t>& group, const std::vector<std::set<Part>>& wanted) {
    ++passes_;
    for (const size_t i : group) {
      const Block& b = blocks_[i];
      BlockMoments& m = moments_[i];
      m = BlockMoments();
      const auto fresh = [&](const std::string& value, int64_t cols) -> Result<std::unique_ptr<Moments>> {
        VIREO_ASSIGN(const Rows rows, runner.value(value));
        return std::make_unique<Moments>(cols,
                                         rows.rows >= layers_.tokens ? layers_.answer_tokens : std::vector<int64_t>());
      };
      if (wanted[i].count(Part::kV) > 0) {
        VIREO_ASSIGN(m.mixed, fresh(b.mixed_value, b.whole.heads * b.whole.v));
      }
      if (wanted[i].count(Part::kMlp) > 0) {
        VIREO_ASSIGN(m.hidden, fresh(b.act_value, b.whole.mlp));
      }
    }
    for (size_t p = 0; p < pictures_.size(); ++p) {
      if (held_out_ && p % kEvery == 0) continue;
      runner.run(pictures_[p]);
      for (const size_t i : group) {
        const Block& b = blocks_[i];
        BlockMoments& m = moments_[i];
        bool finite = true;
        if (wanted[i].count(Part::kQk) > 0) {
          VIREO_ASSIGN(const Rows x, runner.value(b.qkv_value));
          for (int64_t r = 0; r < x.rows; ++r)
            for (int64_t c = 0; c < x.cols; ++c) finite = finite && std::isfinite(x.data[r * x.stride + c]);
          if (finite) m.add_qkv(x, b.whole, pool_);
        }
        for (const Part part : {Part::kV, Part::kMlp}) {
          if (!finite || wanted[i].count(part) == 0) continue;
          VIREO_ASSIGN(const Rows x, runner.value(part == Part::kV ? b.mixed_value : b.act_value));
          finite = (part == Part::kV ? m.mixed : m.hidden)->add(x, *device_.kernels, pool_);
        }
        if (!finite)
          return fail(
              ErrorCode::kCorrupt,
              "model '{}': block '{}' is not finite for picture {} of {}; nothing can be calibrated with it. The "
              "model overflows in fp32: use another checkpoint or other pictures",
              model_.source().path, b.name, p + 1, pictures_.size());
      }
      VIREO_TRY(step_(fmt::format("picture {} of {}", p + 1, pictures_.size()), kPictureWork));
    }
    return {};
  }

  Result<Narrowed> narrow(size_t i, Part p, const std::vector<int64_t>& heads, const std::vector<int64_t>& widths) {
    VIREO_ASSIGN(const std::vector<float> weight, weight_behind(blocks_[i], p));
    VIREO_ASSIGN(Narrowed n, narrower_of(p).run(blocks_[i], moments_[i], weight, heads, widths, pool_));
    n.block = i;
    return n;
  }

  static std::vector<int64_t> all_heads(const Block& b) {
    std::vector<int64_t> heads(size_t(b.whole.heads));
    std::iota(heads.begin(), heads.end(), int64_t(0));
    return heads;
  }

  // ---- a share of all MACs

  Result<void> search() {
    std::vector<std::set<Part>> wanted(blocks_.size());
    double most = 0;
    for (size_t i = 0; i < blocks_.size(); ++i)
      for (size_t p = 0; p < kParts; ++p)
        if (const std::vector<int64_t> widths = widths_of(blocks_[i], Part(p), choice_.columns);
            may(i, Part(p)) && !widths.empty()) {
          wanted[i].insert(Part(p));
          most += double(blocks_[i].width(Part(p)) - widths.back()) * blocks_[i].macs[p];
        }
    const double macs = choice_.share * layers_.macs;
    if (most < macs)
      return fail(ErrorCode::kInvalidArgument,
                  "compress: {:.0f} % of the MACs are to go, but the blocks that can become narrower have {:.1f} % to "
                  "give: choose less, or another model",
                  100 * choice_.share, layers_.macs > 0 ? 100 * most / layers_.macs : 0.0);
    const std::vector<std::vector<size_t>> by_memory = groups(wanted);
    VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(graph_, device_, pool_, true));
    std::vector<const std::vector<float>*> some;
    for (size_t i = 0; i < pictures_.size(); i += kEvery) some.push_back(&pictures_[i]);
    held_out_ = true;
    std::vector<Narrowed> parts;
    for (const std::vector<size_t>& group : by_memory) {
      VIREO_TRY(calibrate(*runner, group, wanted));
      std::vector<Narrowed> here;
      std::vector<std::vector<float>> weights;
      for (const size_t i : group) {
        VIREO_TRY(step_("narrowing " + blocks_[i].name, kBlockWork));
        for (const Part p : {Part::kQk, Part::kV, Part::kMlp}) {
          if (wanted[i].count(p) == 0) continue;
          VIREO_ASSIGN(Narrowed n, narrow(i, p, all_heads(blocks_[i]), widths_of(blocks_[i], p, choice_.columns)));
          here.push_back(std::move(n));
          VIREO_ASSIGN(std::vector<float> w, weight_behind(blocks_[i], p));
          weights.push_back(std::move(w));
        }
      }
      Partial partial(device_, pool_, model_.has_classes());
      VIREO_TRY(partial.measure(*runner, some, blocks_, weights, &here, [&] {
        return step_("measuring", kMeasureWork * double(group.size()) / double(blocks_.size()));
      }));
      for (Narrowed& n : here) {
        for (Level& l : n.levels) l.weight = {}, l.kept = {};  // made again for what is chosen, of all pictures
        parts.push_back(std::move(n));
      }
      for (const size_t i : group) moments_[i] = BlockMoments();
    }
    const std::vector<int> taken = allocate(blocks_, parts, macs);
    std::vector<std::set<Part>> chosen(blocks_.size());
    for (size_t p = 0; p < parts.size(); ++p) {
      if (taken[p] < 0) continue;
      const Narrowed& n = parts[p];
      const Level& level = n.levels[size_t(taken[p])];
      BlockSizes& s = sizes_[n.block];
      (n.part == Part::kQk ? s.qk : n.part == Part::kV ? s.v : s.mlp) = level.width;
      kl_[n.block] = std::max(0.0, kl_[n.block]) + level.kl;
      chosen[n.block].insert(n.part);
    }
    held_out_ = false;
    return make(*runner, chosen);
  }

  /// The parts at the sizes that were chosen, group by group.
  Result<void> make(Runner& runner, const std::vector<std::set<Part>>& chosen) {
    for (const std::vector<size_t>& group : groups(chosen)) {
      VIREO_TRY(calibrate(runner, group, chosen));
      for (const size_t i : group) {
        const Block& b = blocks_[i];
        const BlockSizes& s = sizes_[i];
        VIREO_TRY(step_("narrowing " + b.name, kBlockWork));
        std::vector<int64_t> heads = all_heads(b);
        if (s.heads > 0 && s.heads < b.whole.heads) {
          VIREO_ASSIGN(const std::vector<float> proj, weight_behind(b, Part::kV));
          VIREO_ASSIGN(heads, heads_to_keep(b, moments_[i], proj, s.heads, pool_));
        }
        heads_[b.name] = heads;
        for (const Part p : chosen[i]) {
          const int64_t width = p == Part::kQk ? s.qk : p == Part::kV ? s.v : s.mlp;
          VIREO_ASSIGN(Narrowed n, narrow(i, p, heads, {width}));
          parts_.push_back(std::move(n));
        }
        moments_[i] = BlockMoments();
      }
    }
    return {};
  }

  // ---- sizes that were asked for

  Result<void> apply_rules() {
    std::vector<std::set<Part>> chosen(blocks_.size());
    std::vector<std::string> names;
    for (const Block& b : blocks_) names.push_back(b.name);
    for (const StructureChoice::Rule& rule : choice_.rules) {
      bool used = false;
      for (size_t i = 0; i < blocks_.size(); ++i) {
        if (!pattern_matches(rule.pattern, blocks_[i].name)) continue;
        used = true;
        VIREO_TRY(apply(rule, i));
      }
      if (!used)
        return fail(ErrorCode::kInvalidArgument, "policy: '{}' names no transformer block of this model{}",
                    rule.pattern, names.empty() ? "; it has none" : known_names(rule.pattern, names));
    }
    bool measured = false;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const BlockSizes &s = sizes_[i], &was = blocks_[i].whole;
      if (s.heads > 0 && s.qk < was.qk) chosen[i].insert(Part::kQk);
      if (s.heads > 0 && (s.v < was.v || s.heads < was.heads)) chosen[i].insert(Part::kV);
      if (s.mlp > 0 && s.mlp < was.mlp) chosen[i].insert(Part::kMlp);
      measured = measured || !chosen[i].empty();
    }
    if (!measured) return {};  // whole branches go, of which nothing has to be known
    VIREO_ASSIGN(const std::unique_ptr<Runner> runner, Runner::create(graph_, device_, pool_, true));
    return make(*runner, chosen);
  }

  Result<void> apply(const StructureChoice::Rule& rule, size_t i) {
    const Block& b = blocks_[i];
    const auto take = [&](const char* what, int64_t wanted, int64_t whole, bool can, int64_t* to) -> Result<void> {
      if (wanted < 0) return {};
      if (wanted == whole) {  // takes back what an earlier line said
        *to = whole;
        return {};
      }
      if (wanted > whole)
        return fail(ErrorCode::kInvalidArgument, "policy: block '{}' has {} {}, so it cannot keep {}", b.name, whole,
                    what, wanted);
      if (!can)
        return fail(
            ErrorCode::kInvalidArgument,
            "policy: block '{}' cannot have {} {}: what stands beside its attention (norms of queries and keys, "
            "a table of positions for each head, merging of tokens) is made for {}",
            b.name, wanted, what, whole);
      *to = wanted;
      return {};
    };
    const BlockSizes& w = rule.sizes;
    if (i == 0 && (w.heads == 0 || w.mlp == 0))
      return fail(
          ErrorCode::kInvalidArgument,
          "policy: block '{}' is the first, whose attention and MLP cannot go: a checkpoint is recognised by the "
          "names of its tensors. Name a later block",
          b.name);
    if (w.heads == 0 && b.merges)
      return fail(ErrorCode::kInvalidArgument,
                  "policy: block '{}' merges tokens by the keys of its attention, which cannot go", b.name);
    VIREO_TRY(take("heads", w.heads, b.whole.heads, b.plain_heads || w.heads == 0, &sizes_[i].heads));
    VIREO_TRY(take("channels in queries and keys", w.qk, b.whole.qk, b.narrow_attention, &sizes_[i].qk));
    VIREO_TRY(take("channels in values", w.v, b.whole.v, b.narrow_attention, &sizes_[i].v));
    return take("channels in its MLP", w.mlp, b.whole.mlp, true, &sizes_[i].mlp);
  }

  // ---- the model

  Result<Narrowing> finish() {
    std::vector<Chosen> all(blocks_.size());
    for (size_t i = 0; i < blocks_.size(); ++i) {
      all[i].block = &blocks_[i], all[i].sizes = sizes_[i];
      const auto heads = heads_.find(blocks_[i].name);
      all[i].heads = heads == heads_.end() ? all_heads(blocks_[i]) : heads->second;
    }
    for (const Narrowed& n : parts_) {
      Chosen& c = all[n.block];
      c.parts[size_t(n.part)] = &n, c.levels[size_t(n.part)] = n.levels.data();
      VIREO_ASSIGN(c.whole[size_t(n.part)], weight_behind(blocks_[n.block], n.part));
    }
    Narrowing n;
    n.passes = passes_;
    for (size_t i = 0; i < blocks_.size(); ++i)
      if (sizes_[i] != blocks_[i].whole) n.blocks.push_back({blocks_[i].name, blocks_[i].whole, sizes_[i], kl_[i]});
    if (n.blocks.empty())
      return fail(ErrorCode::kInvalidArgument,
                  "compress: every block keeps the sizes that it has; nothing is to be done");
    VIREO_TRY(narrow_tensors(model_, all, &n));
    return n;
  }

  const LoadedModel& model_;
  const StructureChoice& choice_;
  const std::vector<std::vector<float>>& pictures_;
  const Device::Impl& device_;
  ThreadPool& pool_;
  const Progress& step_;
  Graph graph_;
  Layers layers_;
  std::vector<Block> blocks_;
  std::vector<BlockMoments> moments_;  // by block
  std::vector<BlockSizes> sizes_;      // by block: what it becomes
  std::vector<double> kl_;             // by block
  std::vector<Narrowed> parts_;        // those that were chosen, at one level each
  std::map<std::string, std::vector<int64_t>> heads_;
  size_t passes_ = 0;
  bool held_out_ = false;  // every fifth picture is kept for measuring
};

}  // namespace

const std::vector<const Narrower*>& narrowers() {
  static const std::vector<const Narrower*> all = {
#define STRUCTURE(name) &name,
#include "compress/structures.def"
#undef STRUCTURE
  };
  return all;
}

const Narrower& narrower_of(Part part) {
  for (const Narrower* n : narrowers())
    if (n->part == part) return *n;
  return *narrowers()[0];
}

Level level_of(const Elimination& e, int64_t width) {
  Level level;
  level.width = width, level.loss = e.total(), level.weight = e.weight();
  for (int64_t k = 0; k < e.cols(); ++k)
    if (!e.gone(k)) level.kept.push_back(k);
  return level;
}

double structure_work(const StructureChoice& choice, size_t pictures) {
  if (!choice.any()) return 0;
  const double blocks = 12;  // of most: what is shown is a share
  return kPictureWork * double(pictures) + kBlockWork * blocks +
         (choice.share > 0 ? kMeasureWork * double(pictures / kEvery) : 0);
}

Result<Narrowing> find_narrowing(const LoadedModel& model, const StructureChoice& choice,
                                 const std::vector<std::vector<float>>& pictures, const Device::Impl& device,
                                 ThreadPool& pool, const Progress& step) {
  return Maker(model, choice, pictures, device, pool, step).run();
}

}  // namespace vireo::compress
