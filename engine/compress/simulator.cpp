// vireo::Simulator: the original and the simulated model side by side.
#include <algorithm>
#include <cmath>

#include "compress/simulate.h"
#include "runtime/model_impl.h"

#include <vireo/simulate.hpp>

namespace vireo {

using namespace compress;

std::vector<CompressEntry> simulate_grids() {
  std::vector<CompressEntry> all;
  for (const RowGrid* g : row_grids()) all.push_back({g->name, g->what, g->source, "", ""});
  return all;
}

std::vector<CompressEntry> simulate_functions() {
  const char* const source = "I-ViT (Li and Gu 2023, arXiv 2207.01405)";
  return {{"softmax", "Shiftmax: powers of 2 by shifts, one division a row; answers of 16 bits", source, "", ""},
          {"gelu", "ShiftGELU: x sigmoid(1.702 x) by the same shifts; a sigmoid of 8 bits", source, "", ""},
          {"layernorm", "I-LayerNorm: a root by 10 steps of Newton's iteration, one division a row", source, "", ""}};
}

struct Simulator::Impl {
  Model model;
  SimulatedPolicy policy;
  std::shared_ptr<const Device::Impl> device;
  ThreadPool pool;
  Preprocessor preprocessor;
  std::vector<std::vector<float>> pictures;
  std::unique_ptr<Runner> original;
  std::unique_ptr<Simulated> simulated;

  Impl(Model m, SimulatedPolicy p, std::shared_ptr<const Device::Impl> d)
      : model(std::move(m)),
        policy(std::move(p)),
        device(std::move(d)),
        pool(device->threads),
        preprocessor(model.impl().loaded.preprocess()) {}

  Head head() const { return model.impl().loaded.has_classes() ? Head::kLogits : Head::kFeatures; }
  Result<std::vector<float>> pixels(const Image& picture) {
    std::vector<float> p(size_t(preprocessor.output_size()));
    VIREO_TRY(preprocessor.run(picture, p.data(), &pool));
    return p;
  }
  Result<SimulatedAnswer> run(const Image& picture);
};

Result<SimulatedAnswer> Simulator::Impl::run(const Image& picture) {
  const LoadedModel& loaded = model.impl().loaded;
  VIREO_ASSIGN(const std::vector<float> x, pixels(picture));
  if (simulated == nullptr) {
    VIREO_ASSIGN(Graph g, loaded.build(head(), 1));
    VIREO_ASSIGN(original, Runner::create(std::move(g), *device, pool, false));
    VIREO_ASSIGN(simulated, Simulated::create(loaded, policy, head(), *device, pool, pictures));
    pictures.clear();
  }
  SimulatedAnswer a;
  a.cols = int(original->outputs());
  const auto take = [&](const Runner& runner, const float* from, std::vector<float>* to) {
    for (int64_t r = 0; r < runner.output_rows(); ++r)
      to->insert(to->end(), from + r * runner.output_stride(), from + r * runner.output_stride() + runner.outputs());
  };
  take(*original, original->run(x), &a.before);
  take(simulated->runner(), simulated->run(x), &a.after);
  for (const std::vector<float>* side : {&a.before, &a.after})
    if (!std::all_of(side->begin(), side->end(), [](float v) { return std::isfinite(v); }))
      return fail(ErrorCode::kCorrupt, "simulate: '{}' gives an answer that is not finite {}", model.name(),
                  side == &a.before ? "in fp32 already" : "when it is rounded so");
  return a;
}

Simulator::Simulator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Simulator::Simulator(Simulator&&) noexcept = default;
Simulator& Simulator::operator=(Simulator&&) noexcept = default;
Simulator::~Simulator() = default;

Result<Simulator> Simulator::create(const Model& model, const std::string& policy, const std::string& source,
                                    int threads) {
  return no_throw([&]() -> Result<Simulator> {
    const std::shared_ptr<const Checkpoint>& weights = model.impl().loaded.source().weights;
    if (weights == nullptr)
      return fail(ErrorCode::kUnsupported, "simulate: '{}' has random weights, which answer nothing", model.name());
    if (weights->coded())
      return fail(ErrorCode::kUnsupported,
                  "simulate: '{}' is compressed already (quantization_config); its codes would be rounded twice. Use "
                  "the original checkpoint",
                  model.name());
    const auto& extension = model.impl().loaded.source().extension;
    if (extension != nullptr && extension->grids.any())
      return fail(ErrorCode::kUnsupported,
                  "simulate: '{}' rounds values while it runs already (quantization_config.vireo.grids). Use the "
                  "original checkpoint",
                  model.name());
    VIREO_ASSIGN(const SimulatedPolicy p, parse_simulated_policy(policy, source));
    return Simulator(std::make_unique<Impl>(model, p, make_cpu_device(threads, "")));
  });
}

bool Simulator::needs_pictures() const { return impl_->policy.needs_pictures(); }

Result<void> Simulator::calibrate(const Image& picture) {
  return no_throw([&]() -> Result<void> {
    VIREO_ASSIGN(std::vector<float> p, impl_->pixels(picture));
    impl_->pictures.push_back(std::move(p));
    return {};
  });
}

Result<SimulatedAnswer> Simulator::run(const Image& picture) {
  return no_throw([&] { return impl_->run(picture); });
}

}  // namespace vireo
