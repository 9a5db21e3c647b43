// One spelling of tensor names for every family. What trainers and libraries put before a network's names, and the
// dialects in which they write them, are undone here, once, when a checkpoint is opened: families see canonical names
// only.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/error.h"

namespace vireo {

struct CanonicalNames {
  std::map<std::string, std::string> file_name;  // canonical name -> the file's own; without the networks not chosen
  std::string prefix;               // what was taken off the chosen network's names: "module.", often nothing
  std::vector<std::string> others;  // prefixes of the networks that were not chosen
};

/// The canonical names of a checkpoint's tensors.
///  - A network is found by the tensor that embeds its patches. What stands before it is taken off, whatever it is
///  ("module.",
///    "_orig_mod.", "model.net.", "timm_model."), but for the name that Transformers gives the trunk ("vit.", and
///    "backbone." beside a dense head). Tensors outside keep their names ("n_averaged", a head beside a wrapped trunk).
///  - Spellings: Transformers v5's become those of v4; DINOv2's chunks of blocks ("blocks.0.3.") are joined
///  ("blocks.3.").
///  - More than one complete network ("student.", "teacher.", "ema.") is an error that lists them, unless `select`
///  names one:
///    its prefix or the unmistakable beginning of it, with or without the last dot, "." for names without a prefix.
///  - Two tensors that would get one name are an error; where `select` chose, the chosen network's comes first.
/// `source` names the file in messages. Errors: kInvalidArgument (networks, select), kCorrupt (names that collide).
/// A canonical name's canonical name is itself.
Result<CanonicalNames> canonical_names(const std::vector<std::string>& names, const std::string& select,
                                       const std::string& source);

}  // namespace vireo
