// Reading JSON without exceptions. Included by .cpp files only; nlohmann's header is slow to compile, and what only
// passes JSON on or reads single members includes model/fields.h.
#pragma once

#include <string>

#include "base/error.h"
#include "base/json.h"
#include "model/fields.h"

namespace vireo {

constexpr size_t kMaxConfigBytes = 4u << 20;  // id2label and label2id of 21k classes are less than 2 MB
constexpr size_t kMaxIndexBytes = 16u << 20;  // a line for each tensor

/// Parses a stranger's text; discarded (is_discarded()) where it is no JSON, or has more values or nests deeper than
/// any model's files do. What it costs is bounded: a document takes a few dozen times the bytes of a text that is made
/// for it.
Json parse_json(const std::string& text);
/// The same; the result is an object or a kCorrupt error naming `source`.
Result<Json> parse_json_object(const std::string& text, const std::string& source);

}  // namespace vireo
