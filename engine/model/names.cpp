#include "model/names.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/text.h"

namespace vireo {
namespace {

constexpr size_t kListed = 6;  // networks that a message names

// ---- parts of a name, which dots separate

bool is_number(const std::string& part) {
  return !part.empty() && part.size() <= 6 && part.find_first_not_of("0123456789") == std::string::npos;
}

std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> parts(1);
  for (char c : name) {
    if (c == '.') parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

/// Parts from `first` on, each followed by a dot but for the last.
std::string joined(const std::vector<std::string>& parts, size_t first) {
  std::string text;
  for (size_t i = first; i < parts.size(); ++i) text += (i > first ? "." : "") + parts[i];
  return text;
}

/// "model.vit." -> "vit"; nothing of nothing.
std::string last_word(const std::string& prefix) {
  if (prefix.empty()) return prefix;
  const size_t dot = prefix.size() < 2 ? std::string::npos : prefix.rfind('.', prefix.size() - 2);
  return prefix.substr(dot == std::string::npos ? 0 : dot + 1,
                       prefix.size() - 1 - (dot == std::string::npos ? 0 : dot + 1));
}
std::string without_last_word(const std::string& prefix) {
  return prefix.substr(0, prefix.size() - last_word(prefix).size() - 1);
}

bool any_of(const std::string& word, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(), [&](const char* w) { return word == w; });
}

/// Wrappers of parts of a network stand in the middle of names (torch.compile, FSDP, activation checkpoints,
/// fairscale).
std::string without_inner_wrappers(const std::string& name) {
  static constexpr const char* kWrappers[] = {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                              "_fpw_module."};
  std::string text = name;
  for (const char* wrapper : kWrappers) {
    const std::string word = wrapper;
    for (size_t at = 0; (at = text.find(word, at)) != std::string::npos;) {
      if (at == 0 || text[at - 1] == '.') text.erase(at, word.size());
      else ++at;
    }
  }
  return text;
}

// ---- networks

/// Whose table of spellings a trunk follows.
enum class Dialect { kTransformers, kMobileVit, kTimm, kPlain };

/// The tensor that every network of its kind has once, by the end of its name.
struct Anchor {
  const char* tensor;
  Dialect dialect;
};
constexpr Anchor kAnchors[] = {
    {"embeddings.patch_embeddings.projection.weight", Dialect::kTransformers},
    {"conv_stem.convolution.weight", Dialect::kMobileVit},
    {"patch_embed.proj.weight", Dialect::kTimm},
    {"stem.conv.weight", Dialect::kPlain},     // timm's MobileViT
    {"features.0.0.weight", Dialect::kPlain},  // torchvision's Swin
};

struct Network {
  std::string root;   // before all of its names: "student."
  std::string trunk;  // before those of its trunk: "student.vit."
  std::string keep;   // what stays of the trunk's prefix: "vit."
  Dialect dialect = Dialect::kPlain;
  bool optimizer = false;       // moments of an optimizer have a network's names and are none
  std::set<std::string> kinds;  // its names with # for numbers: a network of 3 blocks has as many kinds as one of 12
  bool dino = false;            // its blocks have norm1, not layernorm_before
};

std::string kind_of(const std::string& name) {
  std::string text;
  for (const std::string& part : split(name)) text += (is_number(part) ? "#" : part) + ".";
  return text;
}

/// Beside a dense head the trunk is called "backbone.", and that is its canonical prefix.
bool has_dense_head(const std::set<std::string>& names, const std::string& root) {
  for (const char* head : {"decode_head.", "PPN."}) {
    const auto at = names.lower_bound(root + head);
    if (at != names.end() && starts_with(*at, root + head)) return true;
  }
  return false;
}

Network network_of(const std::set<std::string>& names, const std::string& trunk, Dialect dialect) {
  Network n;
  n.trunk = n.root = trunk;
  n.dialect = dialect;
  const bool transformers = dialect == Dialect::kTransformers || dialect == Dialect::kMobileVit;
  std::string word;
  if (transformers &&
      any_of(last_word(trunk), {"vit", "deit", "dinov2", "dinov2_with_registers", "mobilevit", "swin", "swinv2"})) {
    word = last_word(trunk) + ".";
    n.root = without_last_word(n.root);
    n.keep = word;
  }
  if (last_word(n.root) == "backbone" && has_dense_head(names, without_last_word(n.root))) {
    n.root = without_last_word(n.root);
    n.keep = "backbone.";  // Transformers v5 has "backbone.swin." here
  }
  for (const std::string& part : split(trunk)) {
    if (any_of(part, {"optimizer", "optim", "optimizer_state", "optimizer_state_dict", "exp_avg", "exp_avg_sq",
                      "momentum_buffer", "grad", "grads"})) {
      n.optimizer = true;
    }
  }
  return n;
}

/// The longest prefix of `name` that is the root of a network.
Network* owner_of(std::map<std::string, Network>& networks, const std::string& name) {
  for (size_t dot = name.rfind('.'); dot != std::string::npos && dot > 0; dot = name.rfind('.', dot - 1)) {
    const auto it = networks.find(name.substr(0, dot + 1));
    if (it != networks.end()) return &it->second;
  }
  const auto it = networks.find("");
  return it == networks.end() ? nullptr : &it->second;
}

/// All networks by their roots. Parts of a network that have an anchor of their own (a convolutional stem) are none.
std::map<std::string, Network> find_networks(const std::set<std::string>& names) {
  std::map<std::string, Dialect> trunks;
  for (const Anchor& anchor : kAnchors) {
    const std::string tensor = anchor.tensor;
    for (const std::string& name : names) {
      if (name.size() < tensor.size() || name.compare(name.size() - tensor.size(), tensor.size(), tensor) != 0)
        continue;
      const std::string trunk = name.substr(0, name.size() - tensor.size());
      if (trunk.empty() || trunk.back() == '.') trunks.emplace(trunk, anchor.dialect);
    }
  }
  std::map<std::string, int> users;
  std::vector<Network> found;
  for (const auto& [trunk, dialect] : trunks) {
    found.push_back(network_of(names, trunk, dialect));
    ++users[found.back().root];
  }
  std::map<std::string, Network> networks;
  for (Network& n : found) {
    if (users[n.root] > 1) n.root = n.trunk, n.keep.clear();  // two trunks side by side: each by its own prefix
    std::string root = n.root;
    networks.emplace(std::move(root), std::move(n));
  }
  for (const std::string& name : names) {
    if (Network* n = owner_of(networks, name)) n->kinds.insert(kind_of(name.substr(n->root.size())));
  }
  // A network inside another one: a copy of it ("ema." beside no prefix) shares its names, a part of it does not.
  std::vector<std::string> parts;
  for (auto& [root, n] : networks) {
    if (root.empty()) continue;
    Network* outer = owner_of(networks, root.substr(0, root.size() - 1));
    if (outer == nullptr || outer == &n) continue;
    const auto shared =
        std::count_if(n.kinds.begin(), n.kinds.end(), [&](const std::string& k) { return outer->kinds.count(k) > 0; });
    if (2 * size_t(shared) < std::min(n.kinds.size(), outer->kinds.size())) parts.push_back(root);
  }
  for (const std::string& root : parts) networks.erase(root);
  return networks;
}

std::string shown(const std::string& root) { return root.empty() ? "." : root; }

Error ask(const std::vector<const Network*>& networks, const std::string& source, const std::string& select) {
  std::string list, example = shown(networks.back()->root);
  for (size_t i = 0; i < networks.size(); ++i) {
    const std::string& root = networks[i]->root;
    if (i < kListed)
      list += (i == 0                     ? ""
               : i + 1 == networks.size() ? " and "
                                          : ", ") +
              (root.empty() ? std::string("'.' (names without a prefix)") : "'" + root + "'");
    if (root.find("teacher") != std::string::npos || root.find("ema") != std::string::npos) example = root;
  }
  if (networks.size() > kListed) list += fmt::format(" and {} more", networks.size() - kListed);
  if (!select.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "'{}' has no network that is unmistakably called '{}'; expected --weights (ModelOptions::weights) to "
                "be one of {}",
                source, select.substr(0, 120), list);
  }
  return fail(ErrorCode::kInvalidArgument,
              "'{}' holds {} networks, whose tensors are named {}; which one is meant is not for Vireo to "
              "guess: choose with --weights (ModelOptions::weights), for example --weights {}",
              source, networks.size(), list, example);
}

/// The network to read: the only complete one, or the one that `select` names. Null: there is none by these names.
Result<const Network*> choose(const std::map<std::string, Network>& networks, const std::string& select,
                              const std::string& source) {
  std::vector<const Network*> all, complete;
  size_t most = 0;
  for (const auto& [root, n] : networks) {
    if (!n.optimizer) most = std::max(most, n.kinds.size());
  }
  for (const auto& [root, n] : networks) {
    all.push_back(&n);
    if (!n.optimizer && 2 * n.kinds.size() >= most) complete.push_back(&n);
  }
  if (all.empty()) return static_cast<const Network*>(nullptr);
  if (select.empty()) {
    if (complete.size() > 1) return ask(complete, source, select);
    return complete.empty() ? all[0] : complete[0];
  }
  const std::string wish = select == "." ? "" : select.back() == '.' ? select : select + ".";
  const Network* match = nullptr;
  size_t matches = 0;
  for (const Network* n : all) {
    if (n->root == wish || (!wish.empty() && n->trunk == wish)) return n;
    if (!wish.empty() && starts_with(n->root, wish)) match = n, ++matches;
  }
  if (matches != 1) return ask(complete.empty() ? all : complete, source, select);
  return match;
}

// ---- spellings

struct Spelling {
  const char* theirs;
  const char* ours;
};
/// Transformers v5 to v4, within a block.
constexpr Spelling kVitBlock[] = {
    {"attention.q_proj", "attention.attention.query"},
    {"attention.k_proj", "attention.attention.key"},
    {"attention.v_proj", "attention.attention.value"},
    {"attention.o_proj", "attention.output.dense"},
};
constexpr Spelling kVitMlp[] = {{"mlp.fc1", "intermediate.dense"},
                                {"mlp.fc2", "output.dense"}};  // DINOv2 has had mlp.fc1 all along
constexpr Spelling kSwinBlock[] = {
    {"attention.q_proj", "attention.self.query"},
    {"attention.k_proj", "attention.self.key"},
    {"attention.v_proj", "attention.self.value"},
    {"attention.o_proj", "attention.output.dense"},
    {"attention.relative_position_bias", "attention.self"},  // a module of its own around the table
    {"attention.relative_position_bias_table", "attention.self.relative_position_bias_table"},
    {"attention.relative_position_index", "attention.self.relative_position_index"},
    {"attention.relative_coords_table", "attention.self.relative_coords_table"},
    {"attention.continuous_position_bias_mlp", "attention.self.continuous_position_bias_mlp"},
    {"attention.logit_scale", "attention.self.logit_scale"},
    {"mlp.fc1", "intermediate.dense"},
    {"mlp.fc2", "output.dense"},
};

template <size_t n>
bool respell(const Spelling (&table)[n], std::string* name) {
  for (const Spelling& s : table) {
    const std::string theirs = s.theirs;
    if (!starts_with(*name, theirs) || (name->size() > theirs.size() && (*name)[theirs.size()] != '.')) continue;
    *name = s.ours + name->substr(theirs.size());
    return true;
  }
  return false;
}

std::string vit_block(std::string name, bool dino) {
  if (!respell(kVitBlock, &name) && !dino) respell(kVitMlp, &name);
  return name;
}

/// A tensor's name after its trunk's prefix.
std::string trunk_name(const std::string& name, const Network& n) {
  const std::vector<std::string> parts = split(name);
  const auto number_at = [&](size_t i) { return i < parts.size() && is_number(parts[i]); };
  const auto word_at = [&](size_t i, const char* word) { return i < parts.size() && parts[i] == word; };
  if (n.dialect == Dialect::kTimm) {
    // DINOv2's training wraps blocks into chunks for FSDP; the second number counts through all of them.
    return parts[0] == "blocks" && number_at(1) && number_at(2) ? "blocks." + joined(parts, 2) : name;
  }
  if (n.dialect == Dialect::kPlain) return name;
  const size_t at = parts[0] == "encoder" ? 1 : 0;
  if ((!word_at(at, "layer") && !word_at(at, "layers")) || !number_at(at + 1)) return name;
  if (n.dialect == Dialect::kMobileVit) {
    const std::string stage = "encoder.layer." + parts[at + 1] + ".";
    const bool layer =
        word_at(at + 2, "transformer") && (word_at(at + 3, "layer") || word_at(at + 3, "layers")) && number_at(at + 4);
    return layer ? stage + "transformer.layer." + parts[at + 4] + "." + vit_block(joined(parts, at + 5), false)
                 : stage + joined(parts, at + 2);
  }
  if (word_at(at + 2, "blocks") && number_at(at + 3)) {
    std::string rest = joined(parts, at + 4);
    respell(kSwinBlock, &rest);
    return "encoder.layers." + parts[at + 1] + ".blocks." + parts[at + 3] + "." + rest;
  }
  if (word_at(at + 2, "downsample")) return "encoder.layers." + joined(parts, at + 1);
  return "encoder.layer." + parts[at + 1] + "." + vit_block(joined(parts, at + 2), n.dino);
}

std::string network_name(const std::string& name, const Network& n) {
  if (starts_with(name, n.trunk)) return n.keep + trunk_name(name.substr(n.trunk.size()), n);
  return name.substr(n.root.size());
}

bool has_dino_blocks(const std::set<std::string>& names, const Network& n) {
  for (const char* layer : {"encoder.layer.0.norm1.weight", "encoder.layers.0.norm1.weight", "layer.0.norm1.weight",
                            "layers.0.norm1.weight"}) {
    if (names.count(n.trunk + layer) > 0) return true;
  }
  return false;
}

}  // namespace

Result<CanonicalNames> canonical_names(const std::vector<std::string>& names, const std::string& select,
                                       const std::string& source) {
  std::vector<std::pair<std::string, const std::string*>> bare;  // without inner wrappers, and the file's own
  std::set<std::string> known;
  for (const std::string& name : names) {
    bare.emplace_back(without_inner_wrappers(name), &name);
    known.insert(bare.back().first);
  }
  std::map<std::string, Network> networks = find_networks(known);
  VIREO_ASSIGN(const Network* found, choose(networks, select, source));
  Network chosen;
  if (found != nullptr) {
    chosen = *found;
    chosen.dino = has_dino_blocks(known, chosen);
  } else if (!select.empty() && select != ".") {
    // No family's anchor is here, so that the prefix is the user's word alone.
    chosen.root = chosen.trunk = select.back() == '.' ? select : select + ".";
    if (std::none_of(known.begin(), known.end(),
                     [&](const std::string& name) { return starts_with(name, chosen.root); })) {
      return fail(ErrorCode::kInvalidArgument,
                  "'{}' has no tensor whose name begins with '{}', which --weights (ModelOptions::weights) asks for; "
                  "expected a prefix of its names, such as that of '{}'",
                  source, chosen.root.substr(0, 120), names.empty() ? "" : names[0].substr(0, 120));
    }
  }

  CanonicalNames result;
  result.prefix = chosen.root;
  for (const auto& [root, n] : networks) {
    if (root != chosen.root) result.others.push_back(root);
  }
  std::map<std::string, bool> inside;  // canonical name -> it is the chosen network's
  for (const auto& [name, own] : bare) {
    const Network* owner = owner_of(networks, name);
    const bool mine =
        owner != nullptr ? owner == found : found == nullptr && !chosen.root.empty() && starts_with(name, chosen.root);
    if (owner != nullptr && !mine) continue;
    const std::string canonical = mine ? network_name(name, chosen) : name;
    const auto [at, added] = result.file_name.emplace(canonical, *own);
    if (added) {
      inside[canonical] = mine;
    } else if (!select.empty() && inside[canonical] != mine) {
      if (mine) at->second = *own, inside[canonical] = true;
    } else {
      std::string way;
      if (select.empty() && inside[canonical] != mine)
        way = fmt::format(", or choose the ones under '{0}' with --weights {0}", chosen.root);
      return fail(ErrorCode::kCorrupt,
                  "'{}': tensors '{}' and '{}' are two spellings of '{}', of which a network has one; export the "
                  "checkpoint again{}",
                  source, at->second.substr(0, 160), own->substr(0, 160), canonical.substr(0, 160), way);
    }
  }
  return result;
}

}  // namespace vireo
