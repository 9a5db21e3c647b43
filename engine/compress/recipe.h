// What becomes of which weight: named recipes, and policies that say it by name.
#pragma once

#include <string>
#include <vector>

#include "compress/layers.h"
#include "compress/method.h"
#include "compress/structure.h"
#include "ops/rounded.h"
#include "plan/policy.h"

namespace vireo::compress {

/// What becomes of the rows that a linear multiplies: int8 by a scale that each row has of its own, found while
/// running, by one scale that calibration found, or by one except behind an activation function.
enum class RowScales : uint8_t { kNone, kDynamic, kStatic, kMixed };

/// A line of recipes.def: how weights are stored, or that activations are quantised, or both.
struct Recipe {
  const char* name;
  const char* what;
  const char* source;
  const char* inner;   // format of linears within the network; "" leaves weights alone
  const char* others;  // of head, embedding and convolutions
  RowScales rows;      // of linears
  const char* structure =
      "";             // what becomes narrower: `qk,v,mlp 15`, parts of blocks and the percentage of MACs that goes
  double tokens = 0;  // the percentage of MACs that merging tokens takes away
  const char* attention = "";  // what the factors of attention's products are rounded to while running: `i8`
  bool searched = false;       // which blocks merge tokens is searched on pictures
  double wide = 0;             // the percentage of rows of linears within the network that have 8 bits; NAME:PERCENT
  double input = 0;            // the percentage of each side that its input keeps
};
const std::vector<Recipe>& recipes();

/// Whether a name is one of a pattern's: * stands for any characters.
bool pattern_matches(const std::string& pattern, const std::string& name);

/// What a layer becomes.
struct Scheme {
  Format format;  // of floats: it stays as it is
  const Method* method = nullptr;
  RowScales rows = RowScales::kNone;
  std::vector<int32_t> wide = {};  // its rows of 8 bits where a policy says them; else format.grid.wide are chosen
};

/// "", "dynamic", "static", "mixed".
const char* to_string(RowScales r);

/// A recipe, a policy, or a recipe with a policy's rules for single weights, checked.
struct Choice {
  std::string name;  // for configurations and messages
  std::string inner, others;
  RowScales rows = RowScales::kNone;
  const Method* method = nullptr;  // of linears within the network, instead of what their format suggests
  FormatPolicy policy;             // instead of the formats above
  bool by_policy = false;          // without a recipe
  StructureChoice structure;
  double wide = 0;        // percentage of rows, as in a recipe
  double tokens = 0;      // percentage of MACs, likewise
  double input = 0;       // percentage of each side, likewise
  bool searched = false;  // likewise
  std::string attention;  // likewise
  NumberGrids grids;      // of a policy: values that are rounded while the model runs

  /// Errors: kInvalidArgument (no recipe of that name, or two that contradict each other).
  static Result<Choice> of_recipe(const std::string& names);
  /// Errors: those of parse_policy; formats that no method writes.
  static Result<Choice> of_policy(const std::string& text);
  /// Adds the rules of a policy, which count where they name a weight. Errors: those of of_policy; a policy that also
  /// says what the recipe does.
  Result<void> refine(const std::string& text);

  /// What each layer becomes; `notes` receives what turned out otherwise. Errors: kInvalidArgument (a rule that matches
  /// no layer; nothing is compressed).
  Result<std::vector<Scheme>> schemes(const Layers& layers, std::vector<std::string>* notes) const;
};

}  // namespace vireo::compress
