// Constants that executables hold in common: what one has packed another may read, where the bytes are the same.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "base/thread_pool.h"
#include "plan/plan.h"

namespace vireo {

/// Packed constants of one executable in memory that the host sees, alive as long as anyone reads them.
struct WeightMemory {
  virtual ~WeightMemory() = default;
  virtual const uint8_t* bytes() const = 0;
};

/// Which constants lie where. Does not keep memory alive. Thread-safe.
class WeightStore {
 public:
  struct Found {
    std::shared_ptr<const WeightMemory> in;
    uint64_t offset = 0;
  };
  /// Those of this name and size in memory of `device`: an address that stands for what can read it.
  std::vector<Found> find(const void* device, const std::string& name, uint64_t bytes) const;
  void add(const void* device, const std::string& name, uint64_t bytes,
           const std::shared_ptr<const WeightMemory>& memory, uint64_t offset);

 private:
  struct Key {
    const void* device;
    std::string name;
    uint64_t bytes;
    bool operator<(const Key& o) const { return std::tie(device, name, bytes) < std::tie(o.device, o.name, o.bytes); }
  };
  struct Entry {
    std::weak_ptr<const WeightMemory> memory;
    uint64_t offset;
  };
  mutable std::mutex mutex_;
  std::multimap<Key, Entry> entries_;
};

/// Where the constants of a plan lie, in the order of Plan::consts.
struct WeightPlaces {
  struct Place {
    std::shared_ptr<const WeightMemory> in;  // null: the executable's own
    uint64_t offset = 0;
  };
  std::vector<Place> consts;
  uint64_t own_bytes = 0;     // Plan::weights_bytes where nothing is shared; else the own ones close up
  uint64_t shared_bytes = 0;  // in memory of others

  bool shared() const { return shared_bytes > 0; }
};

/// Packs the constants of which `store` (null: none) has one of that name and size, and shares those that are the same
/// to the byte. Errors: those of pack_constant().
Result<WeightPlaces> place_weights(const Plan& plan, const Graph& graph, ThreadPool& pool, const WeightStore* store,
                                   const void* device);
/// Puts the own constants of a plan, packed into `own`, where others find them.
void offer_weights(const Plan& plan, const WeightPlaces& places, const void* device,
                   const std::shared_ptr<const WeightMemory>& own, WeightStore& store);

}  // namespace vireo
