// The writer of files: names, permissions, orphans, links. What it does when calls fail is in tests/faults.
#include "base/write_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>
#include <vector>

#include "test_model_files.h"

namespace vireo {
namespace {

std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> names(const std::string& folder) {
  std::vector<std::string> found;
  if (DIR* dir = opendir(folder.c_str())) {
    while (const dirent* entry = readdir(dir))
      if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) found.push_back(entry->d_name);
    closedir(dir);
  }
  std::sort(found.begin(), found.end());
  return found;
}

mode_t mode_of(const std::string& path) {
  struct stat s {};
  return lstat(path.c_str(), &s) == 0 ? s.st_mode & 07777 : mode_t(-1);
}

bool is_link(const std::string& path) {
  struct stat s {};
  return lstat(path.c_str(), &s) == 0 && S_ISLNK(s.st_mode);
}

struct Umask {
  explicit Umask(mode_t m) : before(umask(m)) {}
  ~Umask() { umask(before); }
  mode_t before;
};

class WriteFile : public ::testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string put(const std::string& name, const std::string& bytes, mode_t mode = 0644) const {
    std::ofstream(at(name), std::ios::binary) << bytes;
    chmod(at(name).c_str(), mode);
    return at(name);
  }
  /// "" or why not.
  static std::string write(const std::string& path, const std::string& bytes, unsigned options = NewFile::kPlain) {
    NewFile file;
    std::string why = file.open(path, options);
    for (size_t i = 0; i < bytes.size() && why.empty(); i += 3)
      why = file.write(bytes.data() + i, std::min<size_t>(3, bytes.size() - i));
    return why.empty() ? file.commit() : why;
  }
  /// Makes a file look as if it had last been written so long ago.
  static void age(const std::string& path, time_t seconds) {
    const timespec t[2] = {{time(nullptr) - seconds, 0}, {time(nullptr) - seconds, 0}};
    utimensat(AT_FDCWD, path.c_str(), t, AT_SYMLINK_NOFOLLOW);
  }

  test::TempDir folder_;
};

TEST_F(WriteFile, NothingIsThereBeforeCommitNorWithoutIt) {
  for (const bool replaces : {false, true}) {
    if (replaces) put("a", "old");
    const std::vector<std::string> before = names(folder_.path());
    {
      NewFile file;
      ASSERT_EQ(file.open(at("a")), "");
      ASSERT_EQ(file.write("new", 3), "");
      EXPECT_EQ(slurp(at("a")), replaces ? "old" : "");
    }
    EXPECT_EQ(names(folder_.path()), before);
    EXPECT_EQ(slurp(at("a")), replaces ? "old" : "");
  }
  EXPECT_EQ(write(at("a"), "newer content"), "");
  EXPECT_EQ(slurp(at("a")), "newer content");
  EXPECT_EQ(write(at("empty"), ""), "");
  EXPECT_EQ(names(folder_.path()), (std::vector<std::string>{"a", "empty"}));
}

TEST_F(WriteFile, NewFilesFollowTheUmask) {
  int i = 0;
  for (const mode_t mask : {022, 002, 077, 027, 0}) {
    const Umask own(mask);
    const std::string name = "f" + std::to_string(i++);
    EXPECT_EQ(write(at(name), "x"), "");
    EXPECT_EQ(mode_of(at(name)), 0666u & ~mask) << std::oct << mask;
    EXPECT_EQ(write_whole_file(at(name + "d/e"), "f", "x", 1), "");
    EXPECT_EQ(mode_of(at(name + "d/e/f")), 0666u & ~mask) << std::oct << mask;
  }
}

TEST_F(WriteFile, PermissionsOfTheOldFileStay) {
  for (const mode_t mask : {022, 077, 0}) {
    const Umask own(mask);
    for (const mode_t mode : {0600, 0640, 0644, 0664, 0666, 0755, 0400, 0444}) {
      put("a", "old", mode);
      EXPECT_EQ(write(at("a"), "new"), "");
      EXPECT_EQ(mode_of(at("a")), mode) << std::oct << mode;
      EXPECT_EQ(slurp(at("a")), "new");
      unlink(at("a").c_str());
    }
  }
}

TEST_F(WriteFile, TheOwnerOfTheOldFileStays) {
  if (geteuid() != 0) GTEST_SKIP() << "for anybody but root: a file cannot be given away";
  put("a", "old", 0640);
  ASSERT_EQ(chown(at("a").c_str(), 1234, 4321), 0);
  EXPECT_EQ(write(at("a"), "new"), "");
  struct stat s {};
  ASSERT_EQ(stat(at("a").c_str(), &s), 0);
  EXPECT_EQ(s.st_uid, 1234u);
  EXPECT_EQ(s.st_gid, 4321u);
  EXPECT_EQ(s.st_mode & 07777, 0640u);
}

/// Runs f in a process of another user; its answer is whether f was content.
template <typename F>
bool as_nobody(F f) {
  const pid_t child = fork();
  if (child == 0) {
    const bool changed = setgid(65534) == 0 && setuid(65534) == 0;
    _exit(changed && f() ? 0 : 1);
  }
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(WriteFile, AnotherGroupGetsNoMoreThanEverybody) {
  if (geteuid() != 0) GTEST_SKIP() << "for anybody but root: there is no second user";
  chmod(folder_.path().c_str(), 0777);
  const std::pair<mode_t, mode_t> cases[] = {{0660, 0600}, {0664, 0644}, {0666, 0666}, {0640, 0600}};
  for (const auto& [old, kept] : cases) {
    put("a", "old", old);  // root's
    EXPECT_TRUE(as_nobody([&] { return write(at("a"), "new").empty(); }));
    EXPECT_EQ(slurp(at("a")), "new");
    EXPECT_EQ(mode_of(at("a")), kept) << std::oct << old;
    unlink(at("a").c_str());
  }
}

TEST_F(WriteFile, AFolderThatMayNotBeWrittenOrRead) {
  if (geteuid() != 0) GTEST_SKIP() << "for anybody but root: root may do everything, and there is no second user";
  put("a", "old");
  chmod(folder_.path().c_str(), 0755);
  EXPECT_TRUE(as_nobody([&] { return !write(at("a"), "new").empty() && !write(at("b"), "new").empty(); }));
  EXPECT_EQ(names(folder_.path()), std::vector<std::string>{"a"});
  EXPECT_EQ(slurp(at("a")), "old");
  chmod(folder_.path().c_str(), 0733);  // write but not read: it cannot be synced
  EXPECT_TRUE(as_nobody([&] { return write(at("b"), "new").empty(); }));
  chmod(folder_.path().c_str(), 0755);
  EXPECT_EQ(names(folder_.path()), (std::vector<std::string>{"a", "b"}));
}

TEST_F(WriteFile, LinksOfTheFinalNameAreReplacedNotFollowed) {
  put("victim", "precious", 0600);
  ASSERT_EQ(symlink("victim", at("link").c_str()), 0);
  ASSERT_EQ(symlink("nowhere", at("dangling").c_str()), 0);
  ASSERT_EQ(symlink("loop", at("loop").c_str()), 0);
  for (const char* name : {"link", "dangling", "loop"}) {
    EXPECT_EQ(write(at(name), "new"), "") << name;
    EXPECT_FALSE(is_link(at(name))) << name;
    EXPECT_EQ(slurp(at(name)), "new") << name;
  }
  EXPECT_EQ(mode_of(at("link")), 0600u);  // what the link led to was private
  EXPECT_EQ(slurp(at("victim")), "precious");
  EXPECT_EQ(names(folder_.path()), (std::vector<std::string>{"dangling", "link", "loop", "victim"}));
  // The old names of temporary files, which could be foreseen, are nothing special.
  const std::string foreseen = at("out") + "." + std::to_string(getpid()) + ".tmp";
  ASSERT_EQ(symlink("victim", foreseen.c_str()), 0);
  EXPECT_EQ(write(at("out"), "new"), "");
  EXPECT_EQ(slurp(at("victim")), "precious");
  EXPECT_TRUE(is_link(foreseen));
}

TEST_F(WriteFile, OtherLinksOfTheOldFileKeepTheOldContent) {
  put("a", "old");
  ASSERT_EQ(link(at("a").c_str(), at("b").c_str()), 0);
  EXPECT_EQ(write(at("a"), "new"), "");
  EXPECT_EQ(slurp(at("b")), "old");
}

TEST_F(WriteFile, NamesAsLongAsNamesCanBe) {
  const std::string longest(255, 'n');
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(write(at(longest), "new"), "");
    EXPECT_EQ(slurp(at(longest)), "new");
  }
  EXPECT_NE(write(at(longest + "n"), "new"), "");
  EXPECT_EQ(names(folder_.path()), std::vector<std::string>{longest});
}

TEST_F(WriteFile, WhatIsNoFileIsRefused) {
  mkdir(at("folder").c_str(), 0755);
  mkfifo(at("pipe").c_str(), 0644);
  ASSERT_EQ(symlink("/dev/null", at("device").c_str()), 0);
  for (const std::string& path :
       {at("folder"), at("folder/"), at("pipe"), at("device"), at("no/such/folder"), at("new/"), std::string(),
        std::string("/dev/null"), std::string("/dev/stdout"), std::string("/dev/fd/1"), std::string("/proc/self/fd/1"),
        std::string("/dev/./stdout")})
    EXPECT_NE(write(path, "x"), "") << path;
  EXPECT_EQ(names(folder_.path()), (std::vector<std::string>{"device", "folder", "pipe"}));
  EXPECT_TRUE(is_link(at("device")));
}

TEST_F(WriteFile, PipesAndDevicesAreWrittenDirectlyWhereAskedFor) {
  EXPECT_EQ(write("/dev/null", "text", NewFile::kSpecial), "");
  ASSERT_EQ(symlink("/dev/null", at("device").c_str()), 0);
  EXPECT_EQ(write(at("device"), "text", NewFile::kSpecial), "");
  EXPECT_TRUE(is_link(at("device")));
  if (access("/dev/full", W_OK) == 0) {
    EXPECT_NE(write("/dev/full", "text", NewFile::kSpecial), "");
  }

  ASSERT_EQ(mkfifo(at("pipe").c_str(), 0644), 0);
  const int reader = open(at("pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  EXPECT_EQ(write(at("pipe"), "through the pipe", NewFile::kSpecial), "");
  char text[64];
  EXPECT_EQ(read(reader, text, sizeof text), 16);
  close(reader);
  EXPECT_EQ(names(folder_.path()), (std::vector<std::string>{"device", "pipe"}));
}

TEST_F(WriteFile, NamesOfDescriptorsAreTheirFiles) {
  // As `--out /dev/stdout >file` and `3>file`: what was written before stays, and the links in /dev are not replaced.
  const int fd = open(at("redirected").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_EQ(::write(fd, "before ", 7), 7);
  const std::string n = std::to_string(fd);
  EXPECT_EQ(write("/dev/fd/" + n, "one ", NewFile::kSpecial), "");
  EXPECT_EQ(write("/proc/self/fd/" + n, "two ", NewFile::kSpecial), "");
  ASSERT_EQ(symlink(("/proc/self/fd/" + n).c_str(), at("link").c_str()), 0);
  EXPECT_EQ(write(at("link"), "three", NewFile::kSpecial), "");
  EXPECT_EQ(::write(fd, " after", 6), 6);
  close(fd);
  EXPECT_EQ(slurp(at("redirected")), "before one two three after");
  EXPECT_TRUE(is_link(at("link")));
  EXPECT_NE(write("/dev/fd/" + n, "closed", NewFile::kSpecial), "");
}

TEST_F(WriteFile, OrphansOfOursThatAreOldGo) {
  const std::string ours = ".vireo-0123456789abcdef.tmp";
  put(ours, "half a file");
  age(at(ours), 25 * 3600);
  EXPECT_EQ(write(at("a"), "x"), "");
  EXPECT_EQ(names(folder_.path()), std::vector<std::string>{"a"});
}

TEST_F(WriteFile, WhatMayNotBeAnOrphanStays) {
  const std::string young = ".vireo-00112233445566ff.tmp";
  put(young, "somebody writes it just now");
  age(at(young), 23 * 3600);
  std::vector<std::string> kept{"a", young};
  // Foreign patterns, all of them old.
  for (const char* name :
       {"vireo-0123456789abcdef.tmp", ".vireo-0123456789abcde.tmp", ".vireo-0123456789abcdef0.tmp",
        ".vireo-0123456789ABCDEF.tmp", ".vireo-0123456789abcdef.tmpx", ".vireo-0123456789abcdeg.tmp",
        ".vireo-0123456789abcdef", ".vireo-.tmp", "a.123.tmp", "a.Xb12fg", ".vireo-0123456789abcdef.bak"}) {
    put(name, "other");
    age(at(name), 100 * 86400);
    kept.push_back(name);
  }
  const std::string link = ".vireo-1111111111111111.tmp", folder = ".vireo-2222222222222222.tmp",
                    pipe = ".vireo-3333333333333333.tmp", foreign = ".vireo-4444444444444444.tmp";
  ASSERT_EQ(symlink(at("a").c_str(), at(link).c_str()), 0);
  mkdir(at(folder).c_str(), 0755);
  mkfifo(at(pipe).c_str(), 0644);
  kept.insert(kept.end(), {link, folder, pipe});
  if (geteuid() == 0) {
    put(foreign, "another user's");
    ASSERT_EQ(chown(at(foreign).c_str(), 1234, 4321), 0);
    kept.push_back(foreign);
  }
  for (const std::string& name : {link, folder, pipe, foreign}) age(at(name), 100 * 86400);
  EXPECT_EQ(write(at("a"), "x"), "");
  std::sort(kept.begin(), kept.end());
  EXPECT_EQ(names(folder_.path()), kept);
}

TEST_F(WriteFile, OrphansStayWhereTheCallerHasSearched) {
  const std::string ours = ".vireo-0123456789abcdef.tmp";
  put(ours, "half a file");
  age(at(ours), 25 * 3600);
  EXPECT_EQ(write(at("a"), "x", NewFile::kKeepOrphans), "");
  EXPECT_EQ(names(folder_.path()), (std::vector<std::string>{ours, "a"}));
  remove_orphans(folder_.path());
  EXPECT_EQ(names(folder_.path()), std::vector<std::string>{"a"});
}

TEST_F(WriteFile, AProcessThatIsKilledLeavesNothingOfANewFile) {
  const int nameless = open(folder_.path().c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (nameless < 0)
    GTEST_SKIP() << "where the file system has no O_TMPFILE: the file needs a name, and a later writer removes it";
  close(nameless);
  const pid_t child = fork();
  if (child == 0) {
    NewFile file;
    if (!file.open(at("a")).empty() || !file.write("half", 4).empty()) _exit(1);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(names(folder_.path()), std::vector<std::string>{});
}

TEST_F(WriteFile, ManyWritersOfOneName) {
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    children.push_back(fork());
    if (children.back() == 0) {
      bool ok = true;
      for (int k = 0; k < 20 && ok; ++k) ok = write(at("a"), std::string(3000, char('a' + i))).empty();
      _exit(ok ? 0 : 1);
    }
  }
  for (const pid_t child : children) {
    int status = 1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  const std::string text = slurp(at("a"));
  EXPECT_EQ(text, std::string(3000, text.empty() ? '?' : text[0]));
  EXPECT_EQ(names(folder_.path()), std::vector<std::string>{"a"});
}

}  // namespace
}  // namespace vireo
