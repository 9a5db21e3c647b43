// The writer of files (engine/base/write_file.h) with each of its calls failing: either the new file stands there
// whole, or the old state is as it was and one error says why; never anything else in the folder.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/run_cli.h"
#include "faults/run.h"

namespace fault_test {
namespace {

using cli_test::Scratch;

const std::string kOld = "old content";
const std::string kPiece = "0123456789";
constexpr int kPieces = 20000;

class Writer : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::string(VIREO_FAULTS).empty()) GTEST_SKIP() << "never: a sanitizer keeps the calls for itself";
    here_ = scratch_.make_folder("here");
    path_ = here_ + "/file";
    for (int i = 0; i < kPieces; ++i) whole_ += kPiece;
  }

  Ending write(const std::string& fault) {
    return run_faulty({VIREO_FAULT_PROGRAM, "write", path_, kPiece, std::to_string(kPieces)}, fault, scratch_.path());
  }
  void start(bool replaces) {
    unlink(path_.c_str());
    if (!replaces) return;
    spill(path_, kOld);
    chmod(path_.c_str(), 0640);
  }
  mode_t mode() const {
    struct stat s {};
    return stat(path_.c_str(), &s) == 0 ? s.st_mode & 07777 : 0;
  }
  /// What must be true after any run.
  void expect_whole_or_as_before(const Ending& e, bool replaces) {
    if (e.code == 0 && e.signal == 0) {
      EXPECT_EQ(slurp(path_), whole_);
      EXPECT_EQ(names(here_), std::vector<std::string>{"file"});
      return;
    }
    EXPECT_TRUE(e.fails_clearly()) << e.text();
    EXPECT_EQ(names(here_), replaces ? std::vector<std::string>{"file"} : std::vector<std::string>{});
    if (!replaces) return;
    if (e.err.find("it was replaced, but") == std::string::npos) {
      EXPECT_EQ(slurp(path_), kOld);
      EXPECT_EQ(mode(), 0640u);
    } else {
      EXPECT_EQ(slurp(path_), whole_);
    }
  }

  Scratch scratch_;
  std::string here_, path_, whole_;
};

TEST_F(Writer, EveryCallFailingOnceAndFromThenOn) {
  int refused = 0, done = 0;
  for (const bool replaces : {false, true}) {
    start(replaces);
    const auto counts =
        count_calls({VIREO_FAULT_PROGRAM, "write", path_, kPiece, std::to_string(kPieces)}, scratch_.path());
    ASSERT_GT(counts.at("fsync"), 1u);
    for (const auto& [call, count] : counts) {
      if (call == "malloc" || call == "new") continue;  // the loops over the verbs have those
      for (uint64_t n = 1; n <= count; n += n < 30 ? 1 : count / 7) {
        for (const char* how : {"", "+"}) {
          start(replaces);
          const std::string fault = call + ":" + std::to_string(n) + how;
          SCOPED_TRACE(fault + (replaces ? " over an old file" : " as a new file"));
          const Ending e = write(fault);
          expect_whole_or_as_before(e, replaces);
          ++(e.code == 0 ? done : refused);
        }
      }
    }
  }
  EXPECT_GT(refused, 20);
  EXPECT_GT(done, 5);
}

TEST_F(Writer, WhatTheFileSystemMaySay) {
  struct Case {
    const char* fault;
    bool works;
  };
  const Case cases[] = {
      {"tmpfile:1+:EOPNOTSUPP", true},                             // overlayfs, NFS
      {"tmpfile:1+:EISDIR", true},                                 // kernels before O_TMPFILE
      {"tmpfile:1+:EINVAL", true},     {"linkat:1:ENOENT", true},  // no /proc
      {"linkat:1+:EPERM", true},                                   // nor a privilege: copied
      {"linkat:1+:EXDEV", true},       {"fsync:1+:EINVAL", true},  // no such thing here
      {"fsync:1+:ENOSYS", true},       {"write:1:EINTR", true},      {"fsync:1:EINTR", true},
      {"fchmod:1+:EPERM", true},  // FAT
      {"fchown:1+:EPERM", true},       {"open:1+:EROFS", false},     {"open:1+:EACCES", false},
      {"write:1+:ENOSPC", false},      {"write:500+:EDQUOT", false}, {"fsync:1:EIO", false},
      {"fsync:1:ENOSPC", false},  // delayed allocation
      {"close:1+:EIO", false},    // NFS tells only then that the disk is full
  };
  for (const bool replaces : {false, true}) {
    for (const Case& c : cases) {
      SCOPED_TRACE(std::string(c.fault) + (replaces ? " over an old file" : " as a new file"));
      start(replaces);
      const Ending e = write(c.fault);
      expect_whole_or_as_before(e, replaces);
      EXPECT_EQ(e.code == 0, c.works) << e.text();
      if (e.code != 0 || !replaces) continue;
      // Where the permissions cannot be set, the file is as private as it was made.
      EXPECT_EQ(mode(), std::string(c.fault).rfind("fchmod", 0) == 0 ? 0600u : 0640u);
    }
  }
}

TEST_F(Writer, WithoutNamelessFilesAsWell) {
  // Every call of the way that file systems without O_TMPFILE take: names fail twice as often there.
  for (const bool replaces : {false, true}) {
    for (const char* fault : {"write:1:ENOSPC", "write:9000+:ENOSPC", "fsync:1:EIO", "fsync:2:EIO", "close:2:EIO",
                              "close:3:EIO", "rename:1:EIO", "dup:1"}) {
      SCOPED_TRACE(std::string(fault) + (replaces ? " over an old file" : " as a new file"));
      start(replaces);
      const Ending e = run_faulty({VIREO_FAULT_PROGRAM, "write", path_, kPiece, std::to_string(kPieces)}, fault,
                                  scratch_.path(), {{"VIREO_FAULT_TMPFILE", "1"}});
      expect_whole_or_as_before(e, replaces);
    }
    start(replaces);
    const Ending e = run_faulty({VIREO_FAULT_PROGRAM, "write", path_, kPiece, std::to_string(kPieces)}, "",
                                scratch_.path(), {{"VIREO_FAULT_TMPFILE", "1"}});
    EXPECT_EQ(e.code, 0) << e.text();
    expect_whole_or_as_before(e, replaces);
    EXPECT_EQ(mode() == 0640u, replaces);
  }
}

}  // namespace
}  // namespace fault_test
