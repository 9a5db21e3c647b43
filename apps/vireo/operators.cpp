#include "operators.h"

#include <algorithm>
#include <cstdio>

namespace cli {

void print_operators(std::vector<OperatorSum> sums, double all_us) {
  std::stable_sort(sums.begin(), sums.end(), [](const auto& a, const auto& b) { return a.us > b.us; });
  const auto line = [all_us](const OperatorSum& s) {
    std::printf("%10.3f %5.1f%% %10.4f %9.2f %6d  %s\n", s.us / 1000, all_us > 0 ? 100 * s.us / all_us : 0,
                s.flops * 1e-9, s.us > 0 ? s.flops / s.us * 1e-3 : 0, s.count, s.op.c_str());
  };
  std::printf("\n%10s %6s %10s %9s %6s  %s\n", "ms", "share", "GFLOP", "GFLOP/s", "count", "operator");
  OperatorSum all{"all", 0, 0, 0};
  for (const OperatorSum& s : sums) {
    line(s);
    all.count += s.count, all.us += s.us, all.flops += s.flops;
  }
  line(all);
}

}  // namespace cli
