#include "model/family.h"

#include "model/mobilevit.h"
#include "model/swin.h"
#include "model/upernet.h"
#include "model/vit.h"

namespace vireo {

const std::vector<const Family*>& model_families() {
  static const std::vector<const Family*> families = {
      &kVitFamily,
      &kMobileVitFamily,
      &kSwinFamily,
      &kUperNetFamily,
  };
  return families;
}

Result<ConstantPtr> load_weight(const ModelSource& source, const std::string& name, const std::vector<int64_t>& shape,
                                const std::string& reason, int64_t rows, int64_t cols, WeightInit init) {
  if (source.weights != nullptr) return source.weights->constant(name, shape, reason, 0, rows, cols);
  if (init.sigma == 0.f) return fill_constant(rows, cols, init.mean);
  uint64_t hash = 1469598103934665603ull ^ source.seed;  // FNV-1a: each tensor has its own stream of numbers
  for (char c : name) hash = (hash ^ uint8_t(c)) * 1099511628211ull;
  return random_constant(rows, cols, hash, init.sigma, init.mean);
}

}  // namespace vireo
