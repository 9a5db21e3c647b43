#include "compress/kept_structure.h"

#include <cstring>

#include "base/json.h"

namespace vireo::compress {
namespace {

// A text of JSON, whose length stands before it, and the bytes of the tensors that it names, one behind the other.

OrderedJson sizes_json(const BlockSizes& s) { return {s.heads, s.qk, s.v, s.mlp}; }

bool read_sizes(const OrderedJson& j, BlockSizes* s) {
  if (!j.is_array() || j.size() != 4) return false;
  int64_t* const to[] = {&s->heads, &s->qk, &s->v, &s->mlp};
  for (size_t i = 0; i < 4; ++i) {
    if (!j[i].is_number_integer()) return false;
    *to[i] = j[i].get<int64_t>();
  }
  return true;
}

bool read_block(const OrderedJson& j, SmallerBlock* b) {
  if (!j.is_object() || !j.contains("name") || !j["name"].is_string() || !j.contains("kl") || !j["kl"].is_number() ||
      !j.contains("before") || !j.contains("after"))
    return false;
  b->block = j["name"].get<std::string>(), b->kl = j["kl"].get<double>();
  return read_sizes(j["before"], &b->before) && read_sizes(j["after"], &b->after);
}

bool read_tensor(const OrderedJson& j, const uint8_t** at, size_t* left, StoredTensor* t) {
  if (!j.is_object() || !j.contains("name") || !j["name"].is_string() || !j.contains("dtype") ||
      !j["dtype"].is_string() || !j.contains("shape") || !j["shape"].is_array() || !j.contains("bytes") ||
      !j["bytes"].is_number_unsigned())
    return false;
  t->name = j["name"].get<std::string>(), t->dtype = j["dtype"].get<std::string>();
  for (const OrderedJson& d : j["shape"]) {
    if (!d.is_number_integer()) return false;
    t->shape.push_back(d.get<int64_t>());
  }
  const size_t bytes = j["bytes"].get<size_t>();
  if (bytes > *left) return false;
  t->bytes.assign(*at, *at + bytes);
  *at += bytes, *left -= bytes;
  return true;
}

}  // namespace

Result<void> keep(const Kept& kept, const Key& key, const Narrowing& n) {
  if (!kept.on()) return {};
  OrderedJson j{
      {"config", n.config}, {"passes", n.passes}, {"blocks", OrderedJson::array()}, {"tensors", OrderedJson::array()}};
  for (const SmallerBlock& b : n.blocks)
    j["blocks"].push_back(
        {{"name", b.block}, {"kl", b.kl}, {"before", sizes_json(b.before)}, {"after", sizes_json(b.after)}});
  for (const auto& [name, t] : n.tensors)
    j["tensors"].push_back({{"name", t.name}, {"dtype", t.dtype}, {"shape", t.shape}, {"bytes", t.bytes.size()}});
  const std::string text = write_json(j);
  const uint64_t length = text.size();
  std::vector<uint8_t> bytes(sizeof length);
  std::memcpy(bytes.data(), &length, sizeof length);
  bytes.insert(bytes.end(), text.begin(), text.end());
  for (const auto& [name, t] : n.tensors) bytes.insert(bytes.end(), t.bytes.begin(), t.bytes.end());
  return kept.keep(key, std::move(bytes));
}

bool find_kept(const Kept& kept, const Key& key, Narrowing* narrowing) {
  std::vector<uint8_t> bytes;
  uint64_t length = 0;
  if (!kept.find(key, &bytes) || bytes.size() < sizeof length) return false;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > bytes.size() - sizeof length) return false;
  const uint8_t* at = bytes.data() + sizeof length;
  const OrderedJson j = read_ordered_json({reinterpret_cast<const char*>(at), size_t(length)});
  at += length;
  size_t left = bytes.size() - sizeof length - size_t(length);
  if (!j.is_object() || !j.contains("config") || !j["config"].is_string() || !j.contains("passes") ||
      !j["passes"].is_number_unsigned() || !j.contains("blocks") || !j["blocks"].is_array() || !j.contains("tensors") ||
      !j["tensors"].is_array())
    return false;
  Narrowing n;
  n.config = j["config"].get<std::string>(), n.passes = j["passes"].get<size_t>();
  for (const OrderedJson& b : j["blocks"]) {
    n.blocks.emplace_back();
    if (!read_block(b, &n.blocks.back())) return false;
  }
  for (const OrderedJson& t : j["tensors"]) {
    StoredTensor tensor;
    if (!read_tensor(t, &at, &left, &tensor)) return false;
    const std::string name = tensor.name;
    n.tensors[name] = std::move(tensor);
  }
  *narrowing = std::move(n);
  return left == 0;
}

}  // namespace vireo::compress
