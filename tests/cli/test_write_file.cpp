// What the tool leaves in a folder: links under names that could be foreseen, permissions, orphans, /dev/stdout.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>
#include <ctime>

#include "cli/run_cli.h"

namespace cli_test {
namespace {

const std::string kModel = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";

Words embed(const std::string& out) {
  Words words{"embed", "--model", kModel, "--device", "cpu", "--threads", "1", "--out", out};
  for (const char* name : {"00_t-shirt-top", "01_trouser", "02_pullover", "03_dress", "04_coat", "05_sandal",
                           "06_shirt", "07_sneaker", "08_bag", "09_ankle-boot"})
    words.push_back(kModel + "/samples/" + name + ".png");
  return words;
}

mode_t mode_of(const std::string& path) {
  struct stat s {};
  return lstat(path.c_str(), &s) == 0 ? s.st_mode & 07777 : 0;
}

bool is_link(const std::string& path) {
  struct stat s {};
  return lstat(path.c_str(), &s) == 0 && S_ISLNK(s.st_mode);
}

TEST(WrittenFiles, ALinkUnderANameThatCanBeForeseenLeadsNowhere) {
  const Scratch dir;
  const std::string out = dir.path("out.npy"), victim = dir.write("victim", "precious\n");
  std::string foreseen;
  const Answer run = run_cli(embed(out), {}, "", [&](int, pid_t process) {
    foreseen = out + "." + std::to_string(process) + ".tmp";
    ASSERT_EQ(symlink(victim.c_str(), foreseen.c_str()), 0);
  });
  EXPECT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(read_file(victim), "precious\n");
  EXPECT_FALSE(is_link(out));
  EXPECT_EQ(read_array(out).shape, (std::vector<int64_t>{10, 128}));
  EXPECT_TRUE(is_link(foreseen)) << "it is somebody else's";
}

TEST(WrittenFiles, ALinkUnderTheFinalNameIsReplaced) {
  const Scratch dir;
  const std::string out = dir.path("out.npy"), victim = dir.write("victim", "precious\n");
  ASSERT_EQ(symlink(victim.c_str(), out.c_str()), 0);
  EXPECT_EQ(run_cli(embed(out)).code, 0);
  EXPECT_EQ(read_file(victim), "precious\n");
  EXPECT_FALSE(is_link(out));
  EXPECT_EQ(dir.list(), (Words{"out.npy", "victim"}));
}

TEST(WrittenFiles, PermissionsStayAndNewFilesFollowTheUmask) {
  const Scratch dir;
  const std::string out = dir.path("out.npy");
  const mode_t before = umask(027);
  EXPECT_EQ(run_cli(embed(out)).code, 0);
  EXPECT_EQ(mode_of(out), 0640u);
  umask(0);
  chmod(out.c_str(), 0600);
  EXPECT_EQ(run_cli(embed(out)).code, 0);
  EXPECT_EQ(mode_of(out), 0600u);
  // The library's own files are written by the same writer.
  const std::string capture = dir.path("a.vireo");
  const Words words{"capture", "--model", kModel, "--device", "cpu", "--out", capture};
  EXPECT_EQ(run_cli(words).code, 0);
  EXPECT_EQ(mode_of(capture), 0666u);
  chmod(capture.c_str(), 0600);
  EXPECT_EQ(run_cli(words).code, 0);
  EXPECT_EQ(mode_of(capture), 0600u);
  umask(before);
}

TEST(WrittenFiles, OrphansThatAreADayOldGo) {
  const Scratch dir;
  const std::string old = dir.write(".vireo-0123456789abcdef.tmp", "half"),
                    young = dir.write(".vireo-fedcba9876543210.tmp", "half"),
                    foreign = dir.write("out.npy.123.tmp", "other");
  const time_t then = time(nullptr) - 25 * 3600;
  const timespec times[2] = {{then, 0}, {then, 0}};
  for (const std::string& path : {old, foreign}) ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  EXPECT_EQ(run_cli(embed(dir.path("out.npy"))).code, 0);
  EXPECT_NE(access(old.c_str(), F_OK), 0);
  EXPECT_EQ(access(young.c_str(), F_OK), 0);
  EXPECT_EQ(access(foreign.c_str(), F_OK), 0);
}

TEST(WrittenFiles, StandardOutputThatIsAFile) {
  // A rename would replace the link in /dev, which root may do.
  const Scratch dir;
  const std::string target = dir.write("target", "");
  const bool was_link = is_link("/dev/stdout");
  const Answer run = run_cli(embed("/dev/stdout"), {}, target);
  EXPECT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(is_link("/dev/stdout"), was_link);
  const std::string bytes = read_file(target);
  EXPECT_EQ(bytes.rfind("\x93NUMPY", 0), 0u);
  EXPECT_NE(bytes.find("out"), std::string::npos);  // the text follows
  EXPECT_EQ(dir.list(), Words{"target"});
}

}  // namespace
}  // namespace cli_test
