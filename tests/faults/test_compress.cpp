// `vireo compress` while calls of the system fail: a full disk above all. The model is there whole, or one line says
// why and nothing has the wanted name.
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/run_cli.h"
#include "faults/run.h"

namespace fault_test {
namespace {

using cli_test::Scratch;

const std::string kModel = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";

TEST(Compress, AFullDiskLeavesNothing) {
  const Scratch scratch;
  const std::vector<std::string> command{VIREO_CLI,           "compress", "--model", kModel,      "--out",
                                         scratch.path("out"), "--recipe", "w8",      "--threads", "1"};
  const Ending good = run_faulty(command, "", scratch.path());
  if (std::string(VIREO_FAULTS).empty()) GTEST_SKIP() << "sanitizers keep these calls for themselves";
  ASSERT_EQ(good.code, 0) << good.text();
  const std::vector<std::string> whole = names(scratch.path("out"));
  int failed = 0;
  for (const char* fault : {"write:1+:ENOSPC", "write:2+:ENOSPC", "write:5+:ENOSPC", "write:20+:ENOSPC", "write:5:EIO",
                            "fsync:1:ENOSPC", "fsync:2:EIO", "fsync:4:EIO", "rename:1+:EIO", "rename:2:EACCES",
                            "open:30+:EMFILE", "malloc:20000+", "thread:1+"}) {
    const Scratch own;
    std::vector<std::string> here = command;
    here[5] = own.path("out");
    const Ending e = run_faulty(here, fault, own.path());
    EXPECT_EQ(e.signal, 0) << fault << "\n" << e.text();
    std::vector<std::string> left = names(own.path());
    if (e.code == 0) {
      EXPECT_EQ(names(own.path("out")), whole) << fault;
      continue;
    }
    ++failed;
    EXPECT_TRUE(e.fails_clearly()) << fault << "\n" << e.text();
    EXPECT_EQ(std::count(left.begin(), left.end(), "out"), 0) << fault << "\n" << e.text();
  }
  EXPECT_GE(failed, 5);
}

}  // namespace
}  // namespace fault_test
