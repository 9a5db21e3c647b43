#include "cpu/executable.h"

#include <mutex>

namespace vireo::cpu {

struct Executable::Weights final : WeightMemory {
  explicit Weights(AlignedBuffer b) : buffer(std::move(b)) {}
  const uint8_t* bytes() const override { return buffer.as<uint8_t>(); }
  AlignedBuffer buffer;
};

Memory Executable::memory(int slot) const {
  Memory m;
  auto bytes = [](const AlignedBuffer& b) { return const_cast<uint8_t*>(b.as<uint8_t>()); };
  uint8_t* const staging = bytes(staging_) + uint64_t(slot) * (plan_->input_bytes + plan_->output_bytes);
  m.base[size_t(Region::kArena)] = bytes(arena_);
  m.base[size_t(Region::kWeights)] = places_.shared() ? nullptr : bytes(weights_->buffer);
  m.consts = consts_.data();
  m.base[size_t(Region::kInput)] = staging;
  m.base[size_t(Region::kOutput)] = staging + plan_->input_bytes;
  return m;
}

Result<std::unique_ptr<Executable>> Executable::create(const Plan& plan, const Graph& graph, ThreadPool& pool,
                                                       const simd::Kernels& kernels, int slots, WeightStore* store) {
  std::unique_ptr<Executable> e(new Executable);
  e->plan_ = &plan;
  const uint64_t staging = (plan.input_bytes + plan.output_bytes) * uint64_t(slots);
  const void* const device = &kernels;  // a table of its own by instruction set; what reads it may read others' packing
  VIREO_ASSIGN(e->places_, place_weights(plan, graph, pool, store, device));
  const uint64_t own = std::max<uint64_t>(e->places_.own_bytes, 64);
  e->weights_ = std::make_shared<Weights>(store != nullptr ? AlignedBuffer::zeroed(own) : AlignedBuffer(own));
  e->arena_ = AlignedBuffer::zeroed(std::max<uint64_t>(plan.arena_bytes, 64));
  e->staging_ = AlignedBuffer::zeroed(std::max<uint64_t>(staging, 64));
  if (!e->weights_->buffer || !e->arena_ || !e->staging_)
    return fail(ErrorCode::kOutOfMemory,
                "model '{}' needs {} bytes of weights, {} of arena and {} of staging memory; the system refused",
                plan.model, own, plan.arena_bytes, staging);

  uint8_t* const weights = e->weights_->buffer.as<uint8_t>();
  for (const WeightPlaces::Place& p : e->places_.consts)
    e->consts_.push_back((p.in != nullptr ? p.in->bytes() : weights) + p.offset);

  std::mutex mutex;
  Result<void> status;  // the first failure
  pool.parallel_for(int64_t(plan.consts.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const WeightPlaces::Place& place = e->places_.consts[size_t(i)];
      if (place.in != nullptr) continue;
      Result<void> r = no_throw([&] { return pack_constant(plan, graph, size_t(i), weights + place.offset); });
      if (r) continue;
      const std::lock_guard<std::mutex> lock(mutex);
      if (status) status = std::move(r);
    }
  });
  if (!status) return status.error();
  if (store != nullptr) offer_weights(plan, e->places_, device, e->weights_, *store);

  e->runners_.resize(size_t(slots));
  for (int slot = 0; slot < slots; ++slot)
    for (const Step& s : plan.steps) e->runners_[size_t(slot)].emplace_back(plan, s, e->memory(slot), kernels);
  return e;
}

void Executable::run(int slot, ThreadPool& pool, const SizedOutput* sized) {
  std::vector<StepRunner>& runners = runners_[size_t(slot)];
  for (StepRunner& r : runners) r.run(pool, &r == &runners.back() ? sized : nullptr);
}

}  // namespace vireo::cpu
