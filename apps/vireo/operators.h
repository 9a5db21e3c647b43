// The sum per operator that closes the tables of `profile` and `predict`.
#pragma once

#include <string>
#include <vector>

namespace cli {

struct OperatorSum {
  std::string op;
  int count = 0;  // dispatches
  double us = 0, flops = 0;
};

/// The sums of a profile's or a prediction's dispatches (`time`: which of their members counts), longest first.
template <typename Dispatch>
std::vector<OperatorSum> operator_sums(const std::vector<Dispatch>& dispatches, double Dispatch::*time) {
  std::vector<OperatorSum> sums;
  for (const Dispatch& d : dispatches) {
    OperatorSum* sum = nullptr;
    for (OperatorSum& s : sums)
      if (s.op == d.op) sum = &s;
    if (!sum) sum = &sums.emplace_back(OperatorSum{d.op, 0, 0, 0});
    ++sum->count, sum->us += d.*time, sum->flops += d.flops;
  }
  return sums;
}

/// Prints them with a line for all; `all_us` is what a share is of.
void print_operators(std::vector<OperatorSum> sums, double all_us);

}  // namespace cli
