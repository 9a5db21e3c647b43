// Which blocks become how narrow, kept between runs: it is most of the work of a recipe that makes tensors smaller, and
// the candidates of a search share it.
#pragma once

#include "compress/kept.h"
#include "compress/structure.h"

namespace vireo::compress {

/// False where nothing is kept under this key, or what is there is no narrowing: it is worked out again then.
bool find_kept(const Kept& kept, const Key& key, Narrowing* narrowing);
/// Errors: kIo, with what the system says.
Result<void> keep(const Kept& kept, const Key& key, const Narrowing& narrowing);

}  // namespace vireo::compress
