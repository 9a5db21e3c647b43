// Running a program with one of its calls failing (shim.cpp).
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace fault_test {

struct Ending {
  int code = -1;   // exit code
  int signal = 0;  // what killed it; SIGALRM: it hung
  std::string out, err;
  std::string text() const;
  /// The contract of a failure: exit code 1, and one line on stderr that begins with "vireo: ", after notes at most.
  bool fails_clearly() const;
};

using Environment = std::vector<std::pair<std::string, std::string>>;

/// Runs argv (argv[0] is the program) with the shim, both streams kept in files of `folder`. `fault` is VIREO_FAULT, ""
/// for none.
Ending run_faulty(const std::vector<std::string>& argv, const std::string& fault, const std::string& folder,
                  const Environment& environment = {});

/// How often the program makes each group of calls.
std::map<std::string, uint64_t> count_calls(const std::vector<std::string>& argv, const std::string& folder,
                                            const Environment& environment = {});

std::string slurp(const std::string& path);
void spill(const std::string& path, const std::string& bytes);
/// Names in a folder, hidden ones too.
std::vector<std::string> names(const std::string& folder);

}  // namespace fault_test
