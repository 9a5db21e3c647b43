// Filling the memories of an executable: constants packed straight into place, or through a small staging buffer.
#include <algorithm>
#include <cstring>

#include "vk/executable.h"

namespace vireo::vk {
namespace {

constexpr uint64_t kChunk = 16ull << 20;  // large enough to keep the threads packing, small beside the weights

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

Result<void> Executable::pack(const Graph& graph, ThreadPool& pool, size_t first, size_t last, uint64_t base,
                              uint8_t* out) const {
  std::vector<Result<void>> status(last - first);
  pool.parallel_for(int64_t(status.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t c = first + size_t(i);
      status[size_t(i)] =
          no_throw([&] { return pack_constant(plan_, graph, c, out + (plan_.consts[c].offset - base)); });
    }
  });
  for (Result<void>& s : status) VIREO_TRY(std::move(s));
  return {};
}

Result<void> Executable::upload_weights(const Graph& graph, ThreadPool& pool) {
  if (plan_.consts.empty()) return {};
  if (own_->weights.mapped()) return pack(graph, pool, 0, plan_.consts.size(), 0, own_->weights.mapped());

  struct Piece {
    size_t first, last;
    uint64_t base, bytes;
  };
  std::vector<Piece> pieces;
  uint64_t largest = 0;
  for (size_t i = 0; i < plan_.consts.size(); ++i) {
    const PlanConst& c = plan_.consts[i];
    const uint64_t end = c.offset + c.pack.bytes;
    if (i && c.offset < pieces.back().base + pieces.back().bytes)
      return fail(ErrorCode::kInternal, "plan '{}': constant '{}' is not placed after the one before it", plan_.model,
                  c.name);
    if (pieces.empty() || end - pieces.back().base > kChunk) pieces.push_back({i, i, c.offset, 0});
    pieces.back().last = i + 1;
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
    VIREO_TRY(pack(graph, pool, p.first, p.last, p.base, staging.mapped()));
    const VkBufferCopy copy{0, p.base, p.bytes};
    VIREO_TRY(uploader.run("uploading weights", [&](VkCommandBuffer c) {
      gpu_->fn().vkCmdCopyBuffer(c, staging.handle(), own_->weights.handle(), 1, &copy);
    }));
  }
  return {};
}

}  // namespace vireo::vk
