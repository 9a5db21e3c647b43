// The Hugging Face Hub's cache: models--OWNER--NAME/{refs,snapshots,blobs}.
#pragma once

#include <string>

#include "base/error.h"

namespace vireo {

/// `path` itself, or, where it is a model's folder of the cache, the snapshot in it: the one that refs/main names, else
/// the only one. Errors: kNotFound (no snapshot, or several and no refs/main), kCorrupt (a refs/main that is no
/// commit's name), kIo.
Result<std::string> resolve_hub_cache(const std::string& path);

/// The file that `path` stands for: itself, or the blob, where a snapshot's link was copied as the text of its target
/// ("../../blobs/4f0c..."), as Git does where there are no links, and archives and some copying tools.
std::string hub_file(const std::string& path);

}  // namespace vireo
