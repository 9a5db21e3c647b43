#include "plan/weight_store.h"

#include <cstring>
#include <iterator>

namespace vireo {

std::vector<WeightStore::Found> WeightStore::find(const void* device, const std::string& name, uint64_t bytes) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Found> found;
  const auto [begin, end] = entries_.equal_range(Key{device, name, bytes});
  for (auto e = begin; e != end; ++e)
    if (std::shared_ptr<const WeightMemory> memory = e->second.memory.lock())
      found.push_back({std::move(memory), e->second.offset});
  return found;
}

void WeightStore::add(const void* device, const std::string& name, uint64_t bytes,
                      const std::shared_ptr<const WeightMemory>& memory, uint64_t offset) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto [begin, end] = entries_.equal_range(Key{device, name, bytes});
  for (auto e = begin; e != end;) e = e->second.memory.expired() ? entries_.erase(e) : std::next(e);
  entries_.insert({Key{device, name, bytes}, Entry{memory, offset}});
}

Result<WeightPlaces> place_weights(const Plan& plan, const Graph& graph, ThreadPool& pool, const WeightStore* store,
                                   const void* device) {
  WeightPlaces places;
  places.consts.resize(plan.consts.size());
  if (store != nullptr) {
    std::vector<Result<void>> status(plan.consts.size());
    pool.parallel_for(int64_t(plan.consts.size()), 1, [&](int64_t begin, int64_t end, int) {
      std::vector<uint8_t> packed;
      for (int64_t i = begin; i < end; ++i) {
        const PlanConst& c = plan.consts[size_t(i)];
        status[size_t(i)] = no_throw([&]() -> Result<void> {
          const std::vector<WeightStore::Found> candidates = store->find(device, c.name, c.pack.bytes);
          if (candidates.empty()) return {};
          packed.assign(size_t(c.pack.bytes), 0);  // as memory is where constants are shared: gaps compare, too
          VIREO_TRY(pack_constant(plan, graph, size_t(i), packed.data()));
          for (const WeightStore::Found& f : candidates)
            if (std::memcmp(packed.data(), f.in->bytes() + f.offset, packed.size()) == 0) {
              places.consts[size_t(i)] = {f.in, f.offset};
              break;
            }
          return {};
        });
      }
    });
    for (Result<void>& s : status) VIREO_TRY(std::move(s));
  }
  // In the plan's order and at its alignment: without anything shared, where the plan has them.
  uint64_t end_in_plan = 0, gap = 0;
  for (size_t i = 0; i < plan.consts.size(); ++i) {
    const PlanConst& c = plan.consts[i];
    const uint64_t next = i + 1 < plan.consts.size() ? plan.consts[i + 1].offset : plan.weights_bytes;
    if (c.offset < end_in_plan || next < c.offset + c.pack.bytes)
      return fail(ErrorCode::kInternal, "plan '{}': constant '{}' is not placed after the one before it", plan.model,
                  c.name);
    end_in_plan = c.offset + c.pack.bytes;
    if (places.consts[i].in != nullptr) {
      places.shared_bytes += next - c.offset;
      gap += next - c.offset;
    } else {
      places.consts[i].offset = c.offset - gap;
    }
  }
  places.own_bytes = plan.weights_bytes - gap;
  return places;
}

void offer_weights(const Plan& plan, const WeightPlaces& places, const void* device,
                   const std::shared_ptr<const WeightMemory>& own, WeightStore& store) {
  for (size_t i = 0; i < plan.consts.size(); ++i)
    if (places.consts[i].in == nullptr)
      store.add(device, plan.consts[i].name, plan.consts[i].pack.bytes, own, places.consts[i].offset);
}

}  // namespace vireo
