#include "graph/constant.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace vireo {

void Constant::read_codes(int64_t, int64_t, int8_t*, float*, int8_t*) const {
  throw Failure(fail(ErrorCode::kInternal, "codes were asked of a constant that is stored as floats"));
}

void read_decoded(const Constant& c, int64_t first, int64_t count, float* out) {
  const Grid grid = c.grid();
  const int64_t cols = c.cols(), groups = grid.groups(cols), span = grid.scope == Scope::kGroup ? grid.group : cols;
  std::vector<int8_t> codes(static_cast<size_t>(cols)), zeros(static_cast<size_t>(groups), 0);
  std::vector<float> scales(static_cast<size_t>(groups));
  for (int64_t r = 0; r < count; ++r) {
    c.read_codes(first + r, 1, codes.data(), scales.data(), zeros.data());
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t k = g * span; k < std::min(cols, (g + 1) * span); ++k)
        out[r * cols + k] = decode(codes[size_t(k)], zeros[size_t(g)], scales[size_t(g)]);
  }
}

namespace {

/// One scale for all is the same scale for every row: what a grid becomes once rows are scaled or stacked.
Grid by_row(Grid g) {
  if (g.coded() && g.scope == Scope::kTensor) g.scope = Scope::kRow;
  return g;
}

class Coded final : public Constant {
 public:
  Coded(int64_t rows, int64_t cols, Grid grid, std::vector<int8_t> codes, std::vector<float> scales,
        std::vector<int8_t> zeros, std::vector<bool> wide)
      : Constant(rows, cols),
        grid_(grid),
        codes_(std::move(codes)),
        scales_(std::move(scales)),
        zeros_(std::move(zeros)),
        wide_(std::move(wide)) {}
  void read(int64_t first, int64_t count, float* out) const override { read_decoded(*this, first, count, out); }
  Grid grid() const override { return grid_; }
  void read_codes(int64_t first, int64_t count, int8_t* codes, float* scales, int8_t* zeros) const override {
    const int64_t groups = grid_.groups(cols());
    std::copy_n(codes_.data() + first * cols(), count * cols(), codes);
    std::copy_n(scales_.data() + first * groups, count * groups, scales);
    if (grid_.zero_points) std::copy_n(zeros_.data() + first * groups, count * groups, zeros);
  }
  bool wide(int64_t row) const override { return grid_.wide > 0 && wide_[size_t(row)]; }

 private:
  Grid grid_;
  std::vector<int8_t> codes_;
  std::vector<float> scales_;
  std::vector<int8_t> zeros_;
  std::vector<bool> wide_;
};

class Owned final : public Constant {
 public:
  Owned(int64_t rows, int64_t cols, std::vector<float> v) : Constant(rows, cols), values_(std::move(v)) {}
  void read(int64_t first, int64_t count, float* out) const override {
    std::copy_n(values_.data() + first * cols(), size_t(count * cols()), out);
  }

 private:
  std::vector<float> values_;
};

class Fill final : public Constant {
 public:
  Fill(int64_t rows, int64_t cols, float v) : Constant(rows, cols), value_(v) {}
  void read(int64_t, int64_t count, float* out) const override { std::fill_n(out, size_t(count * cols()), value_); }

 private:
  float value_;
};

// SplitMix64 (Steele, Lea, Flood 2014): a bijective mix, so element i needs no predecessor.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

class Random final : public Constant {
 public:
  Random(int64_t rows, int64_t cols, uint64_t seed, float sigma, float mean)
      : Constant(rows, cols), seed_(mix(seed)), sigma_(sigma), mean_(mean) {}
  void read(int64_t first, int64_t count, float* out) const override {
    // Sum of eight 16-bit uniforms: close enough to a normal for benchmark weights, and exact integer arithmetic, so
    // every machine and compiler gives the same bits. Variance of the sum is 8 * (2^32 - 1) / 12.
    const uint64_t start = uint64_t(first * cols());
    const float unit = sigma_ / 53509.92f;  // sqrt(8 * (2^32 - 1) / 12)
    for (int64_t i = 0; i < count * cols(); ++i) {
      const uint64_t a = mix(seed_ ^ (start + uint64_t(i))), b = mix(a);
      int64_t sum = 0;
      for (int s = 0; s < 64; s += 16) sum += int64_t((a >> s) & 0xffff) + int64_t((b >> s) & 0xffff);
      out[i] = mean_ + unit * float(sum - 4 * 65535);
    }
  }

 private:
  uint64_t seed_;
  float sigma_, mean_;
};

class StackRows final : public Constant {
 public:
  StackRows(int64_t rows, int64_t cols, std::vector<ConstantPtr> p) : Constant(rows, cols), parts_(std::move(p)) {}
  void read(int64_t first, int64_t count, float* out) const override {
    int64_t base = 0;
    for (const ConstantPtr& p : parts_) {
      const int64_t from = std::max(first, base), to = std::min(first + count, base + p->rows());
      if (from < to) p->read(from - base, to - from, out + (from - first) * cols());
      base += p->rows();
    }
  }
  Grid grid() const override { return grid_; }
  /// They multiply the same rows, so that one kind of codes is for all.
  RowCodes row_codes() const override {
    for (const ConstantPtr& p : parts_)
      if (!(p->row_codes() == parts_[0]->row_codes())) return {};
    return parts_.empty() ? RowCodes{} : parts_[0]->row_codes();
  }
  void read_codes(int64_t first, int64_t count, int8_t* codes, float* scales, int8_t* zeros) const override {
    const int64_t groups = grid_.groups(cols());
    int64_t base = 0;
    for (const ConstantPtr& p : parts_) {
      const int64_t from = std::max(first, base), to = std::min(first + count, base + p->rows());
      if (from < to)
        p->read_codes(from - base, to - from, codes + (from - first) * cols(), scales + (from - first) * groups,
                      grid_.zero_points ? zeros + (from - first) * groups : zeros);
      base += p->rows();
    }
  }
  bool wide(int64_t row) const override {
    for (const ConstantPtr& p : parts_) {
      if (row < p->rows()) return p->wide(row);
      row -= p->rows();
    }
    return false;
  }
  void tensors(std::vector<std::string>* names) const override {
    for (const ConstantPtr& p : parts_) p->tensors(names);
  }

 private:
  /// The grid that all parts lie on, or none. Rows of fewer bits lie on that of more, but where a part has wide rows
  /// and no part is wide as a whole.
  static Grid common(const std::vector<ConstantPtr>& parts) {
    Grid all;
    int32_t wide = 0;
    for (const ConstantPtr& p : parts) {
      Grid g = by_row(p->grid());
      if (!g.coded()) return {};
      if (!all.coded()) all = g;
      if (g.scope != all.scope || g.group != all.group || g.zero_points != all.zero_points) return {};
      all.bits = std::max(all.bits, g.bits);
      all.lowest = all.lowest || g.lowest;
      wide += g.wide;
    }
    all.wide = all.bits <= 4 ? wide : 0;
    if (wide > 0 && all.wide == 0) all.bits = 8;
    return all;
  }

  std::vector<ConstantPtr> parts_;
  Grid grid_ = common(parts_);
};

// Rows are read from a file a block at a time: a call of the system for every single one would take longer than copying
// it.
constexpr int64_t kBlock = 32;

class StackCols final : public Constant {
 public:
  StackCols(int64_t rows, int64_t cols, std::vector<ConstantPtr> p) : Constant(rows, cols), parts_(std::move(p)) {}
  void read(int64_t first, int64_t count, float* out) const override {
    int64_t base = 0;
    std::vector<float> rows;
    for (const ConstantPtr& p : parts_) {
      rows.resize(size_t(std::min(count, kBlock) * p->cols()));
      for (int64_t r = 0; r < count; ++r) {
        if (r % kBlock == 0) p->read(first + r, std::min(kBlock, count - r), rows.data());
        std::copy_n(rows.data() + r % kBlock * p->cols(), size_t(p->cols()), out + r * cols() + base);
      }
      base += p->cols();
    }
  }

 private:
  std::vector<ConstantPtr> parts_;
};

class Scaled final : public Constant {
 public:
  Scaled(ConstantPtr in, float f) : Constant(in->rows(), in->cols()), inner_(std::move(in)), factor_(f) {}
  void read(int64_t first, int64_t count, float* out) const override {
    inner_->read(first, count, out);
    for (int64_t i = 0; i < count * cols(); ++i) out[i] *= factor_;
  }
  RowCodes row_codes() const override { return inner_->row_codes(); }
  bool wide(int64_t row) const override { return inner_->wide(row); }
  // A scale below 0 would not be a scale.
  Grid grid() const override { return factor_ > 0 ? inner_->grid() : Grid{}; }
  void read_codes(int64_t first, int64_t count, int8_t* codes, float* scales, int8_t* zeros) const override {
    inner_->read_codes(first, count, codes, scales, zeros);
    for (int64_t i = 0; i < count * grid().groups(cols()); ++i) scales[i] *= factor_;
  }
  void tensors(std::vector<std::string>* names) const override { inner_->tensors(names); }

 private:
  ConstantPtr inner_;
  float factor_;
};

class ScaledColumns final : public Constant {
 public:
  ScaledColumns(ConstantPtr in, const ConstantPtr& gamma)
      : Constant(in->rows(), in->cols()), inner_(std::move(in)), gamma_(gamma->read_all()) {}
  void read(int64_t first, int64_t count, float* out) const override {
    inner_->read(first, count, out);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < cols(); ++c) out[r * cols() + c] *= gamma_[size_t(c)];
  }

 private:
  ConstantPtr inner_;
  std::vector<float> gamma_;
};

class ScaledRows final : public Constant {
 public:
  ScaledRows(ConstantPtr in, const ConstantPtr& gain)
      : Constant(in->rows(), in->cols()), inner_(std::move(in)), gain_(gain->read_all()) {}
  void read(int64_t first, int64_t count, float* out) const override {
    inner_->read(first, count, out);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < cols(); ++c) out[r * cols() + c] *= gain_[size_t(first + r)];
  }
  RowCodes row_codes() const override { return inner_->row_codes(); }
  Grid grid() const override { return by_row(inner_->grid()); }
  bool wide(int64_t row) const override { return inner_->wide(row); }
  void read_codes(int64_t first, int64_t count, int8_t* codes, float* scales, int8_t* zeros) const override {
    inner_->read_codes(first, count, codes, scales, zeros);
    const int64_t groups = inner_->grid().groups(cols());
    for (int64_t r = 0; r < count; ++r)
      for (int64_t g = 0; g < groups; ++g) scales[r * groups + g] *= gain_[size_t(first + r)];
  }
  void tensors(std::vector<std::string>* names) const override { inner_->tensors(names); }

 private:
  ConstantPtr inner_;
  std::vector<float> gain_;
};

class PaddedKernel final : public Constant {
 public:
  PaddedKernel(ConstantPtr in, int64_t cin, int64_t kh, int64_t kw, int64_t top, int64_t left)
      : Constant(in->rows(), cin * (kh + top) * (kw + left)),
        inner_(std::move(in)),
        cin_(cin),
        kh_(kh),
        kw_(kw),
        top_(top),
        left_(left) {}
  void read(int64_t first, int64_t count, float* out) const override {
    std::vector<float> rows(size_t(std::min(count, kBlock) * inner_->cols()));
    for (int64_t r = 0; r < count; ++r) {
      if (r % kBlock == 0) inner_->read(first + r, std::min(kBlock, count - r), rows.data());
      pad(rows.data() + r % kBlock * inner_->cols(), out + r * cols());
    }
  }
  RowCodes row_codes() const override { return inner_->row_codes(); }
  bool wide(int64_t row) const override { return inner_->wide(row); }
  Grid grid() const override {
    const Grid g = inner_->grid();
    return g.scope == Scope::kGroup || g.zero_points ? Grid{} : g;
  }
  void read_codes(int64_t first, int64_t count, int8_t* codes, float* scales, int8_t* zeros) const override {
    std::vector<int8_t> row(static_cast<size_t>(inner_->cols()));
    for (int64_t r = 0; r < count; ++r) {
      inner_->read_codes(first + r, 1, row.data(), scales + r, zeros);
      pad(row.data(), codes + r * cols());
    }
  }

 private:
  template <typename T>
  void pad(const T* row, T* out) const {
    std::fill_n(out, size_t(cols()), T(0));
    for (int64_t line = 0; line < cin_ * kh_; ++line) {
      const int64_t y = (line / kh_) * (kh_ + top_) + top_ + line % kh_;
      std::copy_n(row + line * kw_, size_t(kw_), out + y * (kw_ + left_) + left_);
    }
  }

  ConstantPtr inner_;
  int64_t cin_, kh_, kw_, top_, left_;
};

class FoldedBias final : public Constant {
 public:
  FoldedBias(ConstantPtr w, const ConstantPtr& beta, ConstantPtr bias)
      : Constant(1, w->rows()), weight_(std::move(w)), bias_(std::move(bias)), beta_(beta->read_all()) {}
  void read(int64_t, int64_t count, float* out) const override {
    if (count < 1) return;
    if (bias_) bias_->read(0, 1, out);
    else std::fill_n(out, size_t(cols()), 0.f);
    const int64_t inner = weight_->cols();
    std::vector<float> rows(size_t(std::min(cols(), kBlock) * inner));
    for (int64_t first = 0; first < cols(); first += kBlock) {
      const int64_t n = std::min(kBlock, cols() - first);
      weight_->read(first, n, rows.data());
      int64_t r = 0;
      for (; r + 4 <= n; r += 4) add_dots<4>(rows.data() + r * inner, inner, out + first + r);
      for (; r < n; ++r) add_dots<1>(rows.data() + r * inner, inner, out + first + r);
    }
  }

 private:
  /// Several rows side by side: the sum of one, in order, waits for the addition before.
  template <int kRows>
  void add_dots(const float* rows, int64_t inner, float* out) const {
    double sum[kRows];
    for (int r = 0; r < kRows; ++r) sum[r] = double(out[r]);
    for (int64_t c = 0; c < inner; ++c)
      for (int r = 0; r < kRows; ++r) sum[r] += double(rows[r * inner + c]) * double(beta_[size_t(c)]);
    for (int r = 0; r < kRows; ++r) out[r] = float(sum[r]);
  }

  ConstantPtr weight_, bias_;
  std::vector<float> beta_;
};

}  // namespace

ConstantPtr make_constant(int64_t rows, int64_t cols, std::vector<float> values) {
  return std::make_shared<Owned>(rows, cols, std::move(values));
}
ConstantPtr coded_constant(int64_t rows, int64_t cols, Grid grid, std::vector<int8_t> codes, std::vector<float> scales,
                           std::vector<int8_t> zeros, std::vector<bool> wide) {
  return std::make_shared<Coded>(rows, cols, grid, std::move(codes), std::move(scales), std::move(zeros),
                                 std::move(wide));
}
ConstantPtr fill_constant(int64_t rows, int64_t cols, float value) { return std::make_shared<Fill>(rows, cols, value); }
ConstantPtr random_constant(int64_t rows, int64_t cols, uint64_t seed, float sigma, float mean) {
  return std::make_shared<Random>(rows, cols, seed, sigma, mean);
}
ConstantPtr stack_rows(std::vector<ConstantPtr> parts) {
  int64_t rows = 0;
  for (const ConstantPtr& p : parts) rows += p->rows();
  const int64_t cols = parts.empty() ? 0 : parts[0]->cols();
  return std::make_shared<StackRows>(rows, cols, std::move(parts));
}
ConstantPtr stack_cols(std::vector<ConstantPtr> parts) {
  int64_t cols = 0;
  for (const ConstantPtr& p : parts) cols += p->cols();
  const int64_t rows = parts.empty() ? 0 : parts[0]->rows();
  return std::make_shared<StackCols>(rows, cols, std::move(parts));
}
ConstantPtr scale_constant(ConstantPtr inner, float factor) {
  return std::make_shared<Scaled>(std::move(inner), factor);
}
ConstantPtr scale_columns(ConstantPtr inner, ConstantPtr gamma) {
  return std::make_shared<ScaledColumns>(std::move(inner), gamma);
}
ConstantPtr scale_rows(ConstantPtr inner, ConstantPtr gain) {
  return std::make_shared<ScaledRows>(std::move(inner), gain);
}
ConstantPtr pad_kernel(ConstantPtr inner, int64_t cin, int64_t kh, int64_t kw, int64_t top, int64_t left) {
  return std::make_shared<PaddedKernel>(std::move(inner), cin, kh, kw, top, left);
}
ConstantPtr fold_bias(ConstantPtr weight, ConstantPtr beta, ConstantPtr bias) {
  return std::make_shared<FoldedBias>(std::move(weight), beta, std::move(bias));
}

}  // namespace vireo
