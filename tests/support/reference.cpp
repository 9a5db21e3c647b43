#include "support/reference.h"

#include <random>

namespace vireo::test {

std::vector<std::vector<double>> run_reference(
    const Graph& g, const std::vector<std::vector<double>>& inputs,
    const std::function<void(const Node&, size_t, std::vector<double>&, int64_t)>& storage) {
  std::vector<std::vector<double>> v(g.values.size());
  for (size_t i = 0; i < g.inputs.size(); ++i) v[size_t(g.inputs[i])] = inputs[i];
  for (const Node& n : g.nodes) {
    OpCall call;
    call.name = n.name.c_str();
    call.attrs = &n.attrs;
    RefCall ref;
    std::vector<std::vector<double>> constants(n.inputs.size());
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      const ValueId id = n.inputs[i];
      call.in.push_back(id == kNoValue ? nullptr : &g.value(id).desc);
      if (id != kNoValue && g.value(id).constant) {
        const std::vector<float> f = g.value(id).constant->read_all();
        constants[i].assign(f.begin(), f.end());
        if (storage) storage(n, i, constants[i], g.value(id).constant->cols());
        ref.in.push_back(&constants[i]);
      } else {
        ref.in.push_back(id == kNoValue ? nullptr : &v[size_t(id)]);
      }
    }
    call.out = g.value(n.output).desc;
    v[size_t(n.output)].assign(size_t(call.out.shape.elements()), 0.0);
    ref.op = &call;
    ref.out = &v[size_t(n.output)];
    op_def(n.op).reference(ref);
  }
  return v;
}

std::vector<double> noise(size_t n, uint64_t seed, double scale) {
  std::mt19937_64 engine(seed);
  std::vector<double> out(n);
  for (double& x : out)
    x = double(float((double(engine() >> 11) * 0x1p-52 - 1.0) * scale));  // floats exactly, so devices see the same
  return out;
}

}  // namespace vireo::test
