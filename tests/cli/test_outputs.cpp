// Results never replace what the verb reads: pictures, weights, configurations.
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <fstream>

#include "cli/run_cli.h"

namespace cli_test {
namespace {

const std::string kCase = std::string(VIREO_TEST_DATA) + "/cases/hf-vit";

/// A copy of the case's file in the scratch folder.
std::string copied(Scratch& scratch, const std::string& name) {
  return scratch.write(name, read_file(kCase + "/" + name));
}

TEST(Outputs, ReplaceNothingThatIsRead) {
  Scratch scratch;
  const std::string picture = copied(scratch, "0.png"), weights = copied(scratch, "model.safetensors"),
                    config = copied(scratch, "config.json");
  copied(scratch, "preprocessor_config.json");
  scratch.write("labels.csv", "file,label\n0.png,0\n");
  for (const std::string& out : {picture, weights, config}) {
    const std::string before = read_file(out);
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"classify", "--model", scratch.path(), "--device", "cpu", "--logits", out, picture},
          std::vector<std::string>{"embed", "--model", scratch.path(), "--device", "cpu", "--out", out, picture},
          std::vector<std::string>{"eval", "--model", scratch.path(), "--device", "cpu", "--data", scratch.path(),
                                   "--logits", out}}) {
      const Answer a = run_cli(words);
      EXPECT_EQ(a.code, 2) << words[0] << " " << out << a.text();
      EXPECT_NE(a.err.find("would replace"), std::string::npos) << words[0] << a.text();
      EXPECT_EQ(read_file(out), before) << words[0] << " " << out;
    }
  }
}

// In a folder, a pipe that is named like a picture is none: its reading might never end.
TEST(Outputs, PipesInAFolderAreNoPictures) {
  Scratch scratch;
  ASSERT_EQ(mkdir(scratch.path("d").c_str(), 0777), 0);
  scratch.write("d/a.png", read_file(kCase + "/0.png"));
  ASSERT_EQ(mkfifo(scratch.path("d/b.png").c_str(), 0666), 0);
  const Answer a = run_cli({"classify", "--model", kCase, "--device", "cpu", "--json", scratch.path("d")});
  EXPECT_EQ(a.code, 0) << a.text();
  EXPECT_EQ(a.json()["results"].size(), 1u) << a.text();
}

}  // namespace
}  // namespace cli_test
