// Operators with a matrix in every format that a checkpoint may store it in, on every set of CPU kernels and every
// Vulkan device: the answer is that of the numbers that the codes stand for, whatever a kernel makes of them. Rows
// become codes too where the checkpoint says so: they lie on the grid that it gives, so that rounding them changes
// nothing.
#include <gtest/gtest.h>

#include <cmath>

#include "ops/conv2d.h"
#include "ops/linear.h"
#include "ops_conformance.h"
#include "support/reference.h"
#include "support/sample.h"

namespace vireo {
namespace {

using namespace conformance;

/// Codes that fill their grid, the lowest and the highest in every matrix, with scales and zero points of their own.
class Coded final : public Constant {
 public:
  Coded(int64_t rows, int64_t cols, Grid grid, float size, RowCodes wanted)
      : Constant(rows, cols), grid_(grid), wanted_(wanted) {
    const std::vector<double> noise = test::noise(size_t(rows * cols + 2 * rows * grid.groups(cols)), 7, 1);
    const double high = std::ldexp(1.0, grid.bits - 1) - 1;
    size_t at = 0;
    for (int64_t i = 0; i < rows * cols; ++i) {
      const double low = least(i / cols);
      codes_.push_back(int8_t(std::max(low, std::min(-low - 1, std::round(noise[at++] * -low)))));
    }
    for (const int64_t row : {int64_t(0), std::min<int64_t>(1, rows - 1), rows - 1})
      codes_[size_t(row * cols)] = int8_t(least(row)), codes_[size_t((row + 1) * cols - 1)] = int8_t(-least(row) - 1);
    for (int64_t i = 0; i < rows * grid.groups(cols); ++i) {
      const bool first = i == 0 || grid.scope != Scope::kTensor;
      const float step = size / float(-least(i / grid.groups(cols)));
      scales_.push_back(first ? step * float(1 + 0.5 * noise[at++]) : scales_[0]);
      zeros_.push_back(!grid.zero_points ? int8_t(0) : first ? int8_t(std::round(noise[at++] * high)) : zeros_[0]);
    }
  }
  void read(int64_t first, int64_t count, float* out) const override {
    for (int64_t i = 0; i < count * cols(); ++i) out[i] = float(number(first + i / cols(), i % cols()));
  }
  Grid grid() const override { return grid_; }
  RowCodes row_codes() const override { return wanted_; }
  void read_codes(int64_t first, int64_t count, int8_t* codes, float* scales, int8_t* zeros) const override {
    const int64_t groups = grid_.groups(cols());
    std::copy_n(codes_.begin() + first * cols(), count * cols(), codes);
    std::copy_n(scales_.begin() + first * groups, count * groups, scales);
    if (grid_.zero_points) std::copy_n(zeros_.begin() + first * groups, count * groups, zeros);
  }
  bool wide(int64_t row) const override { return grid_.wide > 0 && row % 3 == 1; }
  double number(int64_t row, int64_t col) const {
    const int64_t at = row * grid_.groups(cols()) + (grid_.scope == Scope::kGroup ? col / grid_.group : 0);
    return double(codes_[size_t(row * cols() + col)] - zeros_[size_t(at)]) * double(scales_[size_t(at)]);
  }

 private:
  double least(int64_t row) const { return -std::ldexp(1.0, (wide(row) ? 8 : grid_.bits) - 1); }

  Grid grid_;
  RowCodes wanted_;
  std::vector<int8_t> codes_, zeros_;
  std::vector<float> scales_;
};

constexpr const char* kFormats[] = {"i8",    "i8tensor", "u8",     "u8tensor", "i8g16", "u8g32", "i6", "i5g16",
                                    "i4",    "u4",       "i4g32",  "u4g16",    "u4g8",  "i3g8",  "u3", "i2",
                                    "u2g16", "i4+",      "i4g32+", "u4g16+",   "i3g8+"};  // +: every third row has 8
                                                                                          // bits

Grid grid_of(const std::string& name, int64_t rows) {
  Format f;
  const bool wide = name.back() == '+';
  EXPECT_TRUE(parse_format(wide ? name.substr(0, name.size() - 1) : name, &f)) << name;
  if (wide) f.grid.wide = int32_t((rows + 1) / 3);
  return f.grid;
}

/// A case of one of these formats; `rows`: its rows are codes as well.
struct FormatCase {
  OpKind op;
  const OpCase* spec;
  const char* format;
  bool rows;
};

Prepared prepare(const FormatCase& c, const Grid& grid) {
  Prepared p;
  const OpDef& def = op_def(c.op);
  RowCodes wanted;
  if (c.rows) {
    wanted.kind = RowCodes::Kind::kStatic, wanted.zero = -3;
    wanted.scale = float(std::ldexp(1.0, int(std::ceil(std::log2(double(c.spec->scale)))) - 7));
  }
  GraphBuilder b("case");
  std::vector<ValueId> operands;
  std::shared_ptr<const Coded> matrix;
  for (size_t i = 0; i < c.spec->in.size(); ++i) {
    const Shape& s = c.spec->in[i];
    if (s.c() == 0) {
      operands.push_back(kNoValue);
      continue;
    }
    if (int(i) == def.matrix) {
      matrix = std::make_shared<Coded>(s.w(), s.c(), grid, c.spec->scale, wanted);
      operands.push_back(b.constant("matrix", matrix));
      continue;
    }
    std::vector<double> values = test::noise(size_t(s.elements()), 100 + i, c.spec->scale);
    if (c.spec->constant[i]) {
      operands.push_back(b.constant(fmt::format("const{}", i),
                                    make_constant(s.w(), s.c(), std::vector<float>(values.begin(), values.end()))));
      continue;
    }
    if (c.rows && i == 0)
      for (double& v : values)
        v = (std::max(-128.0, std::min(127.0, std::round(v / double(wanted.scale)))) - wanted.zero) *
            double(wanted.scale);
    TensorDesc d;
    d.shape = s;
    d.layout = i == 0 && c.spec->planar ? Layout::kPlanar : Layout::kRows;
    operands.push_back(b.input(fmt::format("in{}", i), d));
    p.inputs.push_back(std::move(values));
  }
  std::vector<std::pair<const char*, double>> attrs;
  for (int a = 0; def.attrs[a].name; ++a) attrs.push_back({def.attrs[a].name, c.spec->attrs[size_t(a)]});
  b.output(b.add(c.op, "node", operands, attrs));
  Result<Graph> g = b.finish();
  EXPECT_TRUE(g.ok()) << g.error().message;
  p.graph = std::move(*g);
  const auto numbers = [&](const Node&, size_t operand, std::vector<double>& w, int64_t cols) {
    if (int(operand) != def.matrix) return;
    for (size_t i = 0; i < w.size(); ++i) w[i] = matrix->number(int64_t(i) / cols, int64_t(i) % cols);
  };
  p.expected = test::run_reference(p.graph, p.inputs, numbers)[size_t(p.graph.outputs[0])];
  double largest = 1;
  for (double v : p.expected) largest = std::max(largest, std::fabs(v));
  OpCall call;
  const Node& n = p.graph.nodes[0];
  call.name = n.name.c_str(), call.attrs = &n.attrs;
  for (ValueId v : n.inputs) call.in.push_back(v == kNoValue ? nullptr : &p.graph.value(v).desc);
  call.out = p.graph.value(n.output).desc;
  p.bound = def.tolerance(call) * largest;
  return p;
}

/// Whether a target does the case with rows of codes: a GPU where linear.dot can be had, which is then forced.
bool multiplies_codes(const FormatCase& c, const Target& t) {
  if (!t.gpu) return true;
  const Grid grid = grid_of(c.format, 1);
  return t.caps.integer_dot && c.op == OpKind::kLinear && grid.scope != Scope::kGroup && !grid.zero_points &&
         grid.bits > 4;
}

/// The same runs of a case on every target; `kernel` receives what the plan says of the step.
void run(const Prepared& p, const Target& t, bool codes, const std::string& where, std::string* kernel) {
  PlanOptions options;
  options.precision = Precision::kCheckpoint;
  options.fuse = false;
  DeviceCaps caps = t.caps;
  caps.integer_dot_fast = caps.integer_dot && codes;
  const Result<Planned> planned = make_plan(p.graph, caps, options);
  ASSERT_TRUE(planned.ok()) << where << ": " << planned.error().message;
  const Plan& plan = planned->plan;
  ASSERT_FALSE(t.gpu && plan.has_cpu_steps()) << where << ": " << plan.steps[0].reason;
  *kernel = plan.steps[0].kernel;
  ThreadPool pool(2);
  std::unique_ptr<cpu::Executable> on_cpu;
  std::unique_ptr<vk::Executable> on_gpu;
  const float* got = nullptr;
  if (t.kernels) {
    auto e = cpu::Executable::create(plan, planned->graph, pool, *t.kernels, 1);
    ASSERT_TRUE(e.ok()) << where << ": " << e.error().message;
    on_cpu = std::move(*e);
    fill_input(plan, p, reinterpret_cast<uint8_t*>(on_cpu->input(0)));
    on_cpu->run(0, pool);
    got = on_cpu->output(0);
  } else {
    auto e = vk::Executable::create(t.gpu, plan, planned->graph, pool, {});
    ASSERT_TRUE(e.ok()) << where << ": " << e.error().message;
    on_gpu = std::move(*e);
    fill_input(plan, p, reinterpret_cast<uint8_t*>(on_gpu->input(0)));
    ASSERT_TRUE(on_gpu->submit(0).ok() && on_gpu->wait(0).ok()) << where;
    got = on_gpu->output(0);
  }
  const TensorDesc& d = plan.values[size_t(plan.outputs[0])].desc;
  double worst = 0;
  for (int64_t r = 0; r < d.shape.rows(); ++r)
    for (int64_t c = 0; c < d.shape.c(); ++c) {
      const double error = std::fabs(double(got[r * d.row_stride() + c]) - p.expected[size_t(r * d.shape.c() + c)]);
      ASSERT_FALSE(std::isnan(error)) << where << ": row " << r << ", column " << c;
      worst = std::max(worst, error);
    }
  EXPECT_LE(worst, p.bound) << where << " [" << *kernel << "]";
}

TEST(ConformanceOfFormats, EveryMatrixInEveryFormatOnEveryTarget) {
  std::vector<const Target*> on;
  for (const Target& t : targets())
    if (!t.tuning && t.gap == 0) on.push_back(&t);  // where rows start has nothing to do with a format
  std::vector<std::vector<OpCase>> kept;
  std::vector<FormatCase> all;
  for (const OpKind op : all_ops()) {
    if (op_def(op).matrix < 0) continue;
    kept.push_back(op_def(op).cases());
  }
  size_t which = 0;
  for (const OpKind op : all_ops()) {
    if (op_def(op).matrix < 0) continue;
    for (const OpCase& spec : kept[which])
      for (const char* format : kFormats)
        for (const bool rows : {false, true}) {
          const Shape& w = spec.in[size_t(op_def(op).matrix)];
          const Grid grid = grid_of(format, w.w());
          if (grid.scope == Scope::kGroup && grid.group < w.c() && w.c() % grid.group != 0) continue;
          // Normalised rows lie on no grid.
          const int norm = op_def(op).slots.norm;
          if (rows && norm >= 0 && spec.attrs[size_t(norm)] != 0) continue;
          all.push_back({op, &spec, format, rows});
        }
    ++which;
  }
  size_t runs = 0;
  for (const FormatCase& c : all)
    for (const Target* t : on) runs += !c.rows || multiplies_codes(c, *t);  // else rows stay floats: the case without
  const test::Sample sample(4 * runs);  // a quarter of what the operators' own runs are cut down to
  std::printf("[   INFO   ] %zu runs (case, format, target); every %zuth is done\n", runs, sample.stride());
  size_t integers = 0, tried = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const FormatCase& c = all[i];
    std::optional<Prepared> p;
    size_t k = 0;
    for (const Target* t : on) {
      if ((c.rows && !multiplies_codes(c, *t)) || !sample.takes(i, k++)) continue;
      if (!p) p = prepare(c, grid_of(c.format, c.spec->in[size_t(op_def(c.op).matrix)].w()));
      std::string kernel;
      run(*p, *t, c.rows,
          fmt::format("{} / {} / {}{} / {}", op_def(c.op).name, c.spec->label, c.format, c.rows ? " i8" : "", t->label),
          &kernel);
      if (HasFatalFailure()) return;
      if (c.rows) ++tried, integers += kernel.find(t->gpu ? "linear.dot" : "int8") != std::string::npos;
    }
  }
  EXPECT_GT(integers, tried / 4) << "products of integers are the case, of " << tried;
  EXPECT_EQ(vulkan().messages, "") << "the validation layer must stay silent";
}

}  // namespace
}  // namespace vireo
