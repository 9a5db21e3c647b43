#include "base/json.h"

namespace vireo {
namespace {

template <typename J>
std::string written(const J& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, J::error_handler_t::replace);
}
template <typename J>
J read(std::string_view text) {
  return J::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

}  // namespace

std::string write_json(const SortedJson& json, int indent) { return written(json, indent); }
std::string write_json(const OrderedJson& json, int indent) { return written(json, indent); }
SortedJson read_sorted_json(std::string_view text) { return read<SortedJson>(text); }
OrderedJson read_ordered_json(std::string_view text) { return read<OrderedJson>(text); }

}  // namespace vireo
