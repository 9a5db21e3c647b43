// On a terminal the tool says for what it waits when a driver compiles pipelines for the first time; elsewhere nothing.
#include <gtest/gtest.h>

#include <cstdlib>

#include "cli/running.h"

namespace cli_test {
namespace {

const std::string kModel = std::string(VIREO_TEST_DATA) + "/cases/hf-vit";

/// stderr of `vireo ARGUMENTS` on a terminal.
std::string shown(const std::vector<std::string>& arguments) {
  Running::Options options;
  options.terminal = true;
  Running tool(arguments, options);
  const Answer run = tool.finish();
  EXPECT_EQ(run.code, 0) << run.text();
  return run.err;
}

TEST(CompileLine, TheFirstTimeOnATerminal) {
  if (run_cli({"bench", "--model", kModel, "--device", "vulkan", "--iters", "1"}).code != 0)
    GTEST_SKIP() << "no Vulkan device";
  const Scratch scratch;
  const std::vector<std::string> plain = {"bench", "--model", kModel, "--device", "vulkan", "--iters", "1"};
  const char* before = std::getenv("VIREO_CACHE_DIR");
  const std::string folder = before != nullptr ? before : "";
  setenv("VIREO_CACHE_DIR", scratch.path("cache").c_str(), 1);
  const std::string first = shown(plain), second = shown(plain);
  setenv("VIREO_CACHE_DIR", "-", 1);
  const std::string uncached = shown(plain);
  if (before != nullptr) setenv("VIREO_CACHE_DIR", folder.c_str(), 1);
  else unsetenv("VIREO_CACHE_DIR");

  EXPECT_EQ(first.find("compiling "), 0u) << first;
  EXPECT_NE(first.find(" pipelines for "), std::string::npos) << first;
  EXPECT_NE(first.find("; kept in " + scratch.path("cache") + "/pipelines-"), std::string::npos) << first;
  EXPECT_EQ(second.find("compiling"), std::string::npos) << second;
  EXPECT_NE(uncached.find("no cache folder (VIREO_CACHE_DIR)"), std::string::npos) << uncached;

  const Answer piped = run_cli(plain, {{"VIREO_CACHE_DIR", scratch.path("other")}});
  EXPECT_EQ(piped.err.find("compiling"), std::string::npos) << piped.text();
}

TEST(CompileLine, NotOnTheCpu) {
  EXPECT_EQ(shown({"bench", "--model", kModel, "--device", "cpu", "--iters", "1"}).find("compiling"),
            std::string::npos);
}

}  // namespace
}  // namespace cli_test
