// Filling the memories of an executable: constants packed straight into place, or through a small staging buffer.
#include <algorithm>
#include <cstring>

#include "vk/executable.h"

namespace vireo::vk {
namespace {

constexpr uint64_t kChunk = 16ull << 20;  // large enough to keep the threads packing, small beside the weights

bool reads_constants(const Plan& plan) {
  return std::any_of(plan.steps.begin(), plan.steps.end(),
                     [](const Step& s) { return s.device == DeviceKind::kCpu && !s.consts.empty(); });
}

}  // namespace

Result<void> Executable::clear_arena() {
  // Padding is multiplied by zero weights; NaN bits left from before would survive that.
  if (own_->arena.mapped()) {
    std::memset(own_->arena.mapped(), 0, own_->arena.bytes());
    return {};
  }
  Uploader uploader(gpu_, options_.timeout_s, own_);
  return uploader.run("clearing the activations", [this](VkCommandBuffer c) {
    gpu_->fn().vkCmdFillBuffer(c, own_->arena.handle(), 0, VK_WHOLE_SIZE, 0);
  });
}

Result<void> Executable::allocate_weights(const Graph& graph, ThreadPool& pool) {
  WeightPlaces& places = own_->places;
  VIREO_ASSIGN(places, place_weights(plan_, graph, pool, options_.store.get(), gpu_.get()));
  own_->weights = std::make_shared<Weights>(gpu_);
  Buffer& buffer = own_->weights->buffer;
  const bool for_steps = reads_constants(plan_);
  if (places.own_bytes > 0) {
    VIREO_ASSIGN(buffer,
                 Buffer::create(*gpu_, {"weights", places.own_bytes, kStorageUsage,
                                        for_steps ? MemoryUse::kHostAccess : MemoryUse::kDevice, plan_.model.c_str()}));
    // Gaps within a constant are compared, too.
    if (options_.store && buffer.mapped()) std::memset(buffer.mapped(), 0, places.own_bytes);
  }
  for (const WeightPlaces::Place& p : places.consts) {
    const uint8_t* const from = p.in ? p.in->bytes() : buffer.mapped();
    if (!from) {
      consts_.clear();
      break;
    }
    consts_.push_back(from + p.offset);
  }
  return {};
}

Executable::Range Executable::const_range(const BufferRef& where) const {
  const auto next = std::upper_bound(plan_.consts.begin(), plan_.consts.end(), where.offset,
                                     [](uint64_t offset, const PlanConst& c) { return offset < c.offset; });
  if (next == plan_.consts.begin()) return {own_->weights->buffer.handle(), where.offset, where.bytes};
  const size_t i = size_t(next - plan_.consts.begin()) - 1;  // the constant whose bytes these are
  const WeightPlaces::Place& place = own_->places.consts[i];
  const Weights& memory = place.in ? static_cast<const Weights&>(*place.in) : *own_->weights;
  return {memory.buffer.handle(), place.offset + (where.offset - plan_.consts[i].offset), where.bytes};
}

Result<void> Executable::pack(const Graph& graph, ThreadPool& pool, const std::vector<size_t>& consts, uint64_t base,
                              uint8_t* out) const {
  std::vector<Result<void>> status(consts.size());
  pool.parallel_for(int64_t(status.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t c = consts[size_t(i)];
      status[size_t(i)] =
          no_throw([&] { return pack_constant(plan_, graph, c, out + (own_->places.consts[c].offset - base)); });
    }
  });
  for (Result<void>& s : status) VIREO_TRY(std::move(s));
  return {};
}

Result<void> Executable::upload_weights(const Graph& graph, ThreadPool& pool) {
  std::vector<size_t> own;
  for (size_t i = 0; i < plan_.consts.size(); ++i)
    if (!own_->places.consts[i].in) own.push_back(i);
  if (own.empty()) return {};
  const Buffer& weights = own_->weights->buffer;
  if (weights.mapped()) {
    VIREO_TRY(pack(graph, pool, own, 0, weights.mapped()));
    // Not those that lie where steps on the CPU want them: a GPU may read there slowly.
    if (options_.store && !reads_constants(plan_))
      offer_weights(plan_, own_->places, gpu_.get(), own_->weights, *options_.store);
    return {};
  }

  struct Piece {
    std::vector<size_t> consts;
    uint64_t base, bytes;
  };
  std::vector<Piece> pieces;
  uint64_t largest = 0;
  for (const size_t i : own) {
    const uint64_t begin = own_->places.consts[i].offset, end = begin + plan_.consts[i].pack.bytes;
    if (pieces.empty() || end - pieces.back().base > kChunk) pieces.push_back({{}, begin, 0});
    pieces.back().consts.push_back(i);
    pieces.back().bytes = end - pieces.back().base;
    largest = std::max(largest, pieces.back().bytes);
  }
  struct Copies final : Held {
    explicit Copies(std::shared_ptr<Objects> o) : own(std::move(o)) {}
    uint64_t bytes() const override { return staging.bytes() + own->uncounted(); }
    const std::shared_ptr<Objects> own;
    Buffer staging;
  };
  const auto copies = std::make_shared<Copies>(own_);
  Buffer& staging = copies->staging;
  VIREO_ASSIGN(staging,
               Buffer::create(*gpu_, {"weights on their way to the device", largest, VK_BUFFER_USAGE_TRANSFER_SRC_BIT,
                                      MemoryUse::kHostAccess, plan_.model.c_str()}));
  Uploader uploader(gpu_, options_.timeout_s, copies);
  for (const Piece& p : pieces) {
    VIREO_TRY(pack(graph, pool, p.consts, p.base, staging.mapped()));
    const VkBufferCopy copy{0, p.base, p.bytes};
    VIREO_TRY(uploader.run("uploading weights", [&](VkCommandBuffer c) {
      gpu_->fn().vkCmdCopyBuffer(c, staging.handle(), weights.handle(), 1, &copy);
    }));
  }
  return {};
}

}  // namespace vireo::vk
