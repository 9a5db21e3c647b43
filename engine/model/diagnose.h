// What a path is that was given as a model and cannot be one, and what to do about it. Asked only after opening failed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace vireo {

/// What bytes (or, where they do not tell, a file's name) are, as the rest of a sentence that begins with the file:
/// "is a Git LFS pointer, not the file itself; run ...". Empty when nothing is recognised. `name` may be a path.
std::string describe_bytes(const uint8_t* data, size_t size, const std::string& name);

/// The error for a file that was to be weights: `fallback`, unless its bytes or name tell more. Reads at most its ends.
Error diagnose_weights(const std::string& file, Error fallback);

/// The error for a model path at which there is nothing, or a folder in which no weights were found.
Error diagnose_path(const std::string& path);
Error diagnose_folder(const std::string& folder);

/// The error for a LoRA or another adapter without its base model merged in. `what` names it: a file or folder.
Error diagnose_adapter(const std::string& what);

/// A link at `path` whose target does not exist: "a link to '...', which does not exist". Empty when it is none.
std::string dangling_link(const std::string& path);

/// The names in a folder in order, without "." and "..".
std::vector<std::string> list_folder(const std::string& folder);

/// The command that converts a PyTorch file to safetensors.
std::string convert_command(const std::string& file);

}  // namespace vireo
