// Which number format the planner gives every value: `--precision` as data. Text, like caps and tuning files.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "graph/graph.h"
#include "ops/op.h"
#include "tensor/format.h"

#include <vireo/types.hpp>

namespace vireo {

/// The three precisions and `checkpoint` are policies with names; a file is any other.
struct FormatPolicy {
  /// Of the matrices whose names match: `pattern` is a constant's name as `vireo plan` prints it, with * for any
  /// characters and ? for one. The last rule that matches counts, for every row of the matrix by itself.
  struct Rule {
    std::string pattern;
    Format format;
    bool says_rows = false;  // else as the policy has it for all
    RowCodes rows;
    int line = 0;                         // of the policy's text, for messages
    int64_t first_row = 0, end_row = -1;  // of a range of rows; -1: of all rows

    bool some_rows() const { return end_row >= 0; }
  };
  std::string name = "fp32";        // for the plan's text
  DType activations = DType::kF32;  // of values between a GPU's steps; a CPU computes on fp32 rows
  bool half_beside_codes = false;   // ... but fp16 where a kernel of the GPU multiplies codes by such rows: settled()
  Format matrices;                  // of weights that the checkpoint holds as floats
  Products products =
      Products::kF32;  // what the factors of a product may be rounded to where a CPU multiplies that faster
  std::optional<Products> attention;  // the same for attention's two products: kF32, kBf16 or kI8; none: as the
                                      // checkpoint says where its codes stay, else no coarser than `products`
  bool gpu_integers = false;          // not said by a policy: the device is one whose shaders multiply codes by codes
  bool decode = true;  // codes of the checkpoint become numbers in the format of `matrices`; else they stay
  std::vector<Rule> rules;

  /// What becomes of the rows that a coded weight multiplies: codes where products are of int8, with the scale that the
  /// checkpoint says or else one for each row; as the checkpoint says where its codes stay.
  RowCodes rows_of(const std::string& constant, const RowCodes& stored) const;
  /// Of attention, where the checkpoint says `stored`.
  Products attention_of(Products stored) const {
    if (attention) return *attention;
    if (!decode && stored != Products::kF32) return stored;
    // Never of int8 unasked: that costs as much accuracy as codes for the rows of every linear do.
    return products == Products::kF32 ? Products::kF32 : Products::kBf16;
  }
  /// The format of a weight matrix, but for rules of some rows: by a rule; the checkpoint's own codes; `matrices`. A
  /// rule that asks for codes does not touch what the checkpoint holds as codes: nothing is quantised twice.
  Format of(const std::string& constant, const Grid& stored) const;
  /// That of a matrix of floats with these rows, rules of some rows counted: a grid of at most 4 bits with wide rows
  /// where both are said. `wide`: by row; empty where there are none. Errors: kInvalidArgument (a range beyond the
  /// rows; formats that one matrix cannot have together).
  Result<Format> of_rows(const std::string& constant, int64_t rows, std::vector<bool>* wide) const;
};

FormatPolicy policy_of(Precision p);
/// The policy on a device: its activations are what the kernels that `tuning` leaves it want them to be.
FormatPolicy settled(FormatPolicy policy, const DeviceCaps& caps, const Tuning& tuning);
/// The first rule whose pattern matches none of the graphs' matrices; null if each matches one.
const FormatPolicy::Rule* unmatched(const FormatPolicy& policy, const std::vector<const Graph*>& graphs);
/// Lines of a policy file, # begins a comment: `activations f32|f16|auto`, `products f32|bf16|i8`, `attention
/// f32|bf16|i8`, `weights FORMAT`, `checkpoint keep|decode`, `PATTERN FORMAT [ROWS]` with ROWS `f32`, `i8` (a scale for
/// each row) or `i8:SCALE[:ZERO]`, and `PATTERN[FIRST:END] FORMAT` of rows FIRST to END - 1 of the weight alone.
/// Errors: kInvalidArgument, with the line.
Result<FormatPolicy> parse_policy(const std::string& text, const std::string& source);

}  // namespace vireo
