#include "model/token_merging.h"

#include <algorithm>

namespace vireo {

int64_t most_merged(int64_t tokens, int64_t prefix) {
  const int64_t even = (tokens + 1) / 2 - (prefix + 1) / 2, odd = tokens / 2 - prefix / 2;
  return odd > 0 ? std::max<int64_t>(0, even) : 0;
}

TokenMerging::TokenMerging(ModelBuilder& b, int64_t blocks, int64_t prefix)
    : b_(b), schedule_(b.merge_schedule()), prefix_(prefix) {
  if (schedule_.empty()) return;
  if (int64_t(schedule_.size()) != blocks) {
    b_.set_error(fail(ErrorCode::kCorrupt,
                      "'{}': quantization_config.vireo.tokens.merge has {} numbers, expected one for each of the {} "
                      "blocks of {}",
                      b.source().config_path, schedule_.size(), blocks, b.source().path));
    schedule_.clear();
    return;
  }
  any_ = std::any_of(schedule_.begin(), schedule_.end(), [](int64_t n) { return n > 0; });
}

void TokenMerging::match(ValueId qkv, int64_t index, const BlockSizes& s, const std::string& block) {
  if (!b_.ok() || count(index) == 0) return;
  const int64_t tokens = b_.shape(qkv).w(), most = most_merged(tokens, prefix_);
  if (count(index) > most) {
    b_.set_error(fail(ErrorCode::kInvalidArgument,
                      "'{}': quantization_config.vireo.tokens merges {} tokens in {}, which has {} at this size of "
                      "pictures; expected at most {}",
                      b_.source().config_path, count(index), block, tokens, most));
    return;
  }
  ValueId v = b_.add(OpKind::kTokenMatch, block + ".merge.match", {qkv},
                     {{"heads", double(s.heads)}, {"prefix", double(prefix_)}, {"qk_dim", double(s.qk)}});
  lists_ = b_.add(OpKind::kTokenRoute, block + ".merge.route", {v},
                  {{"tokens", double(tokens)}, {"count", double(count(index))}});
  rows_ = tokens - count(index);
}

ValueId TokenMerging::merge(ValueId x, const std::string& block) {
  if (!b_.ok() || lists_ == kNoValue) return x;
  x = b_.add(OpKind::kTokenMerge, block + ".merge", {x, lists_, key_bias()}, {{"rows", double(rows_)}});
  waiting_ = lists_;
  waiting_name_ = block + ".merge.sizes";
  lists_ = kNoValue;
  return x;
}

ValueId TokenMerging::key_bias() {
  if (waiting_ != kNoValue)
    sizes_ = b_.add(OpKind::kTokenSizes, waiting_name_, {waiting_, sizes_}, {{"rows", double(rows_)}});
  waiting_ = kNoValue;
  return sizes_;
}

ValueId TokenMerging::mean(ValueId x, int64_t start, const std::string& name) {
  if (key_bias() == kNoValue) return b_.mean(x, start, name);
  return b_.add(OpKind::kTokenMerge, name, {x, kNoValue, key_bias()}, {{"rows", 1.0}, {"start", double(start)}});
}

}  // namespace vireo
