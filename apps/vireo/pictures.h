// The pictures that a verb is given: files, folders, pipes, and raw frames on standard input.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli.h"
#include "frames.h"
#include "measure.h"

namespace cli {

/// Endings of what `segment` writes; in a folder, such files are results and no pictures.
constexpr const char* kMapEnding = ".classes.png";
constexpr const char* kOverlayEnding = ".overlay.png";

/// In the order of the names: "-" and /dev/stdin are standard input; a folder is its pictures, sorted by name (one
/// without any is a bad picture). What comes through a pipe is a picture when it begins like one, frames without end
/// where it is Y4M, and else, with --frame, raw frames.
class Pictures : public FrameSource {
 public:
  /// Lists folders and looks at the first bytes of pipes. Throws UsageError or Failure with what is wrong with the
  /// names.
  Pictures(const char* verb, const std::vector<std::string>& names, const Common& common);
  bool next(Frame* frame) override;
  /// 0 for frames of a stream.
  size_t total() const override { return raw_ ? 0 : items_.size(); }
  uint64_t dropped() const override { return raw_ ? raw_->dropped() : 0; }
  void stop() override;

  /// Frames of a stream, and nothing else.
  bool raw() const { return raw_ != nullptr; }
  /// Of a camera.
  bool live() const { return live_; }
  /// What frames are expected: "raw RGB24 frames of 640x480".
  const std::string& expected() const { return expected_; }
  /// A folder was among the names.
  bool folders() const { return folders_; }
  /// The pictures' names, for results; empty for frames of a stream.
  std::vector<std::string> names() const;
  /// All files that are read, those of streams as well: no result may replace one.
  std::vector<std::string> inputs() const;
  /// Ctrl-C ended the frames of a stream before their end. Valid when there is no next one.
  bool cut() const { return cut_; }
  /// What people should know of the folders.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Item {
    std::string path;
    std::unique_ptr<Stream> stream{};  // else a file
    std::string error{};               // a folder without pictures
  };
  void add_folder(const std::string& folder);
  void add_stream(const char* verb, const std::string& name, std::unique_ptr<Stream> stream, bool alone,
                  const Common& common);
  void read_stream(Stream& stream, Frame* frame);

  std::vector<std::string> streams_;  // their files
  ReadOptions options_;
  std::vector<Item> items_;
  std::unique_ptr<FrameSource> raw_;
  uint64_t limit_ = 0, given_ = 0;  // frames of a stream
  std::string expected_;
  std::vector<std::string> notes_;
  bool folders_ = false, live_ = false, cut_ = false;
  size_t at_ = 0;
  Wake wake_;
};

/// --ignore-exif of the common options, and pipes that Ctrl-C ends.
ReadOptions read_options(const Common& common);
/// One picture for a verb that takes no folders; of raw frames the first. Throws UsageError or Failure.
Rgb8 one_picture(const char* verb, const std::string& name, const Common& common);
/// Throws Failure where raw frames were to come and none came, Interrupted where that is Ctrl-C's doing. Their sender's
/// end or Ctrl-C is otherwise how they end, and no error.
void check_frames_came(const Pictures& pictures, size_t count);
/// Says on stderr that Ctrl-C ended a stream, which is no failure: it may have no end of its own.
void tell_cut(const Pictures& pictures, size_t count);
/// Throws UsageError where an option says how frames lie, and none are taken.
void check_no_frame_options(const char* verb, const Common& common);
bool is_standard_input(const std::string& name);
bool is_folder(const std::string& path);

/// The frames of a verb, one after the other. Those of a pipe are read ahead by a thread of their own, and with `ahead`
/// all are, a camera's so that the newest gives; else pictures, and a camera's frames, are read when they are taken.
class FrameReader {
 public:
  FrameReader(Pictures& pictures, const Common& common, bool ahead);
  /// The next frame, until it is given back; nullptr at the end, and without `wait` where none is at hand.
  Frame* take(bool wait);
  void give_back(Frame* frame);
  /// How many may be out at once.
  int room() const { return queue_ != nullptr ? int(FrameQueue::kTaken) : 1; }
  uint64_t dropped() const { return pictures_.dropped() + (queue_ != nullptr ? queue_->dropped() : 0); }

 private:
  Pictures& pictures_;
  std::unique_ptr<FrameQueue> queue_;
  Frame own_;
};

/// Tells people the notes of pictures on stderr: the first few, then how many more there were.
class PictureNotes {
 public:
  void add(const std::string& name, const std::string& note);
  ~PictureNotes();

 private:
  size_t count_ = 0;
};

}  // namespace cli
