// rows: which bytes a value's rows take, and whether two of them share any. Pure geometry: order, which decides on barriers, and verify,
// which checks them, ask here, and a test counts the bytes one by one.
#include "plan/plan.h"

namespace vireo {

RowBytes row_bytes(const PlanValue& v) {
  if (v.desc.layout == Layout::kPlanar) return {v.where, v.where.bytes, v.where.bytes};
  const uint64_t element = dtype_size(v.desc.dtype);
  return {v.where, uint64_t(round_up(v.desc.shape.c(), 4)) * element, uint64_t(v.desc.row_stride()) * element};
}

bool meet(const RowBytes& a, const RowBytes& b) {
  if (a.where.region != b.where.region || a.where.offset >= b.where.offset + b.where.bytes || b.where.offset >= a.where.offset + a.where.bytes)
    return false;
  if (a.stride != b.stride || a.stride == 0) return true;
  // From a column of a to the next of b, wherever the rows begin: b must start behind a's columns and end before a's next ones.
  const uint64_t s = a.stride, from = (b.where.offset % s + s - a.where.offset % s) % s;
  return from < a.width || from + b.width > s;
}

}  // namespace vireo
