// What becomes of which weight: named recipes, and policies that say it by name.
#pragma once

#include <string>
#include <vector>

#include "compress/layers.h"
#include "compress/method.h"
#include "plan/policy.h"

namespace vireo::compress {

/// A line of recipes.def: how weights are stored, or that activations are quantised, or both.
struct Recipe {
  const char* name;
  const char* what;
  const char* source;
  const char* inner;   // format of linears within the network; "" leaves weights alone
  const char* others;  // of head, embedding and convolutions
  bool activations;    // int8, a scale per row, found while running
};
const std::vector<Recipe>& recipes();

/// What a layer becomes.
struct Scheme {
  Format format;  // of floats: it stays as it is
  const Method* method = nullptr;
  bool activations = false;
};

/// A recipe or a policy, checked.
struct Choice {
  std::string name;  // for configurations and messages
  std::string inner, others;
  bool activations = false;
  const Method* method = nullptr;  // of linears within the network, instead of what their format suggests
  FormatPolicy policy;             // instead of the formats above
  bool by_policy = false;

  /// Errors: kInvalidArgument (no recipe of that name, or two that contradict each other).
  static Result<Choice> of_recipe(const std::string& names);
  /// Errors: those of parse_policy; formats that no method writes.
  static Result<Choice> of_policy(const std::string& text);

  /// What each layer becomes; `notes` receives what turned out otherwise. Errors: kInvalidArgument (a rule that matches
  /// no layer; nothing is compressed).
  Result<std::vector<Scheme>> schemes(const Layers& layers, std::vector<std::string>* notes) const;
};

}  // namespace vireo::compress
