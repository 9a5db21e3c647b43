// assign: weights that a checkpoint holds as floats and a policy wants as codes become codes, the same on every device;
// a kernel that does not take such codes multiplies the numbers that they stand for.
#include <algorithm>
#include <cmath>

#include "base/rounding.h"
#include "plan/plan.h"
#include "plan/quantise.h"

namespace vireo {
namespace {

/// Another constant's rows, rounded when they are read (quantise_group).
class Rounded final : public Constant {
 public:
  Rounded(std::string name, ConstantPtr inner, Grid grid, std::vector<bool> wide)
      : Constant(inner->rows(), inner->cols()),
        name_(std::move(name)),
        inner_(std::move(inner)),
        grid_(grid),
        wide_(std::move(wide)) {
    if (grid_.scope != Scope::kTensor) return;
    std::vector<float> row(static_cast<size_t>(cols()));
    float range[2] = {0, 0};
    for (int64_t r = 0; r < rows(); ++r) {
      read_row(r, row.data());
      for (const float w : row) range[0] = std::min(range[0], w), range[1] = std::max(range[1], w);
    }
    int8_t ends[2];
    scale_ = quantise_group(range, 2, grid_.bits, grid_.zero_points, ends, &zero_);
  }

  void read(int64_t first, int64_t count, float* out) const override { read_decoded(*this, first, count, out); }
  Grid grid() const override { return grid_; }
  bool wide(int64_t row) const override { return grid_.wide > 0 && wide_[size_t(row)]; }
  void read_codes(int64_t first, int64_t count, int8_t* codes, float* scales, int8_t* zeros) const override {
    const int64_t groups = grid_.groups(cols()), span = grid_.scope == Scope::kGroup ? grid_.group : cols();
    std::vector<float> row(static_cast<size_t>(cols()));
    for (int64_t r = 0; r < count; ++r) {
      read_row(first + r, row.data());
      int8_t* const q = codes + r * cols();
      const int bits = wide(first + r) ? 8 : grid_.bits;
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t at = g * span, n = std::min(span, cols() - at);
        int8_t zero = zero_;
        if (grid_.scope == Scope::kTensor) round_group(row.data(), n, q);
        scales[r * groups + g] = grid_.scope == Scope::kTensor
                                     ? scale_
                                     : quantise_group(row.data() + at, n, bits, grid_.zero_points, q + at, &zero);
        if (grid_.zero_points) zeros[r * groups + g] = zero;
      }
    }
  }

 private:
  void read_row(int64_t row, float* out) const {
    inner_->read(row, 1, out);
    for (int64_t i = 0; i < cols(); ++i)
      if (!std::isfinite(out[i]))
        throw Failure(fail(ErrorCode::kCorrupt,
                           "weight '{}' holds {} at [{}, {}]; the checkpoint is damaged or training diverged", name_,
                           out[i], row, i));
  }
  void round_group(const float* w, int64_t n, int8_t* q) const {
    const float least = -float(1 << (grid_.bits - 1)), most = -least - 1;
    round_to_codes(w, n, scale_, float(zero_), least, most, q);
  }

  std::string name_;
  ConstantPtr inner_;
  Grid grid_;
  std::vector<bool> wide_;
  float scale_ = 1;  // of Scope::kTensor
  int8_t zero_ = 0;
};

}  // namespace

Result<void> assign(Graph& graph, const FormatPolicy& policy) {
  for (const Node& n : graph.nodes) {
    const int m = op_def(n.op).matrix;
    if (m < 0 || size_t(m) >= n.inputs.size() || n.inputs[size_t(m)] == kNoValue) continue;
    Value& v = graph.values[size_t(n.inputs[size_t(m)])];
    if (!v.constant || v.constant->grid().coded()) continue;
    std::vector<bool> wide;
    VIREO_ASSIGN(const Format f, policy.of_rows(v.name, v.constant->rows(), &wide));
    // Vireo's own int8 is rounded while it is packed: it needs to know the kernel (quantise.h).
    if (f.grid.coded() && f.grid.lowest)
      v.constant = std::make_shared<Rounded>(v.name, v.constant, f.grid, std::move(wide));
  }
  return {};
}

}  // namespace vireo
