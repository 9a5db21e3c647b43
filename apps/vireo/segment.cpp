// vireo segment: pictures, a folder of frames or raw frames from a pipe in; class maps, overlays and shares out.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <set>

#include "cli.h"
#include "flights.h"
#include "frames.h"
#include "interrupt.h"
#include "measure.h"
#include "overlay.h"
#include "pictures.h"
#include "segmenter.h"

namespace cli {
namespace {

struct SegmentArgs {
  Common common;
  std::vector<std::string> images;
  std::string out_dir;  // empty: not given
  std::string maps;     // --maps; empty: not given
  bool overlay = false;
  MapResize map_resize = MapResize::kBilinear;
  Governing governing;
};

// ----------------------------------------------------------------------------------------------- what is to be done

struct Job {
  bool raw = false;     // frames from a pipe
  bool stream = false;  // a folder or raw frames: results of single frames go to files and JSON only
  std::vector<std::string> paths;
  std::string folder;  // for outputs; empty: nothing is written
  std::vector<std::string> notes;

  std::string out_path(const std::string& name, const char* ending) const {
    return (folder == "." ? "" : folder + "/") + (name == "-" ? "stdin" : stem_of(name)) + ending;
  }
};

/// Throws Failure when a result would replace an input or the result of another input.
void check_names(const Job& job, bool overlay) {
  std::set<std::pair<dev_t, ino_t>> inputs;
  std::map<std::string, std::string> stems;
  struct stat info {};
  for (const std::string& path : job.paths) {
    if (stat(path.c_str(), &info) == 0) inputs.emplace(info.st_dev, info.st_ino);
    const auto [it, fresh] = stems.emplace(job.out_path(path, ""), path);
    if (!fresh)
      throw Failure("'" + it->second + "' and '" + path + "' would both become '" + job.out_path(path, kMapEnding) +
                    "'; nothing was done: segment them one by one with different --out-dir");
  }
  for (const std::string& path : job.paths) {
    for (const char* ending : {kMapEnding, kOverlayEnding}) {
      if (!overlay && ending == kOverlayEnding) continue;
      const std::string out = job.out_path(path, ending);
      if (stat(out.c_str(), &info) == 0 && inputs.count({info.st_dev, info.st_ino}) > 0)
        throw Failure("the result of '" + path + "', '" + out +
                      "', would replace an input; nothing was done: choose another --out-dir");
    }
  }
}

void make_folder(const std::string& folder) {
  if (!is_folder(folder) && mkdir(folder.c_str(), 0777) != 0)
    throw Failure("cannot make the folder '" + folder + "' (--out-dir): " + std::strerror(errno));
  if (access(folder.c_str(), W_OK | X_OK) != 0)
    throw Failure("cannot write into the folder '" + folder + "': " + std::strerror(errno) +
                  "; choose another --out-dir");
}

Job plan_job(const SegmentArgs& args, const Pictures& pictures) {
  Job job;
  job.raw = pictures.raw();
  job.paths = pictures.names();
  job.notes = pictures.notes();
  job.stream = job.raw || pictures.folders();
  // Frames of a pipe have no end: they become files only when a folder is named.
  job.folder = !args.out_dir.empty() ? args.out_dir : job.raw || !args.maps.empty() ? "" : ".";
  if (!job.raw && !job.folder.empty()) check_names(job, args.overlay);
  if (job.folder.empty() && args.overlay)
    throw UsageError(std::string("--overlay ") + (job.raw ? "of frames of a stream" : "with --maps") +
                     " needs --out-dir DIR");
  return job;
}

// -------------------------------------------------------------------------------------------------------- reporting

/// One frame's answer; kept and refilled.
struct Segmented {
  std::string name, error;
  int width = 0, height = 0;
  std::vector<uint64_t> counts;  // pixels per class
  double ms = 0;
  std::string map_path, overlay_path, note;
  double latency = -1;  // since the frame came; negative: no stream's
  int level = -1;       // negative: there is one alone
};

double share(uint64_t part, uint64_t all) { return all > 0 ? double(part) / double(all) : 0; }

/// Prints each answer at once and keeps only sums, so that any number of frames takes the same memory.
class Report {
 public:
  Report(const SegmentArgs& args, const Job& job, Segmenter& segmenter)
      : json_(args.common.json),
        lines_(args.common.json_lines),
        mute_(args.maps == "-"),
        stream_(job.stream),
        args_(args),
        job_(job),
        segmenter_(segmenter),
        labels_(segmenter.labels()),
        sums_(labels_.size(), 0) {
    if (json_) {
      std::printf("{\n  \"results\": [");
      return;
    }
    if (lines_ || mute_) {
      for (const std::string& note : job.notes) std::fprintf(stderr, "note: %s\n", note.c_str());
      return;
    }
    tell_device();
    print_notes(segmenter.model());
    for (const std::string& note : job.notes) std::printf("note: %s\n", note.c_str());
  }

  void add(const Segmented& a) {
    ++frames_;
    if (!a.error.empty()) {
      errors_.add(a.name, a.error);
    } else {
      const Clock::time_point now = Clock::now();
      if (done_++ == 0) first_ = now;
      last_ = now;
      times_.add(a.ms);
      for (size_t c = 0; c < sums_.size(); ++c) sums_[c] += a.counts[c];
    }
    if (mute_) {
      if (!a.error.empty()) std::fprintf(stderr, "%s: error: %s\n", a.name.c_str(), a.error.c_str());
      return;
    }
    if (lines_) return print_json_line(entry_of(a));
    if (!json_ && device_ != device_line(segmenter_.session().device()))
      tell_device();  // it fell back, or fp32 had to answer
    json_ ? add_json(a) : add_text(a);
    if (stream_) flush_output();
  }

  /// Frames per second from the first answer on: what is loaded and compiled once does not count.
  double fps() const {
    const double s = std::chrono::duration<double>(last_ - first_).count();
    return done_ > 1 && s > 0 ? double(done_ - 1) / s : 0;
  }
  size_t frames() const { return frames_; }
  FrameTimes& latency() { return latency_; }

  /// `cut`: by Ctrl-C. What was begun on stdout is closed, also where the work failed.
  void finish(uint64_t dropped, bool cut) {
    if (json_) finish_json(dropped, cut);
    else if (!lines_ && !mute_) finish_text(dropped);
    else if (dropped > 0)
      std::fprintf(stderr, "note: %llu frames gave way to newer ones\n", static_cast<unsigned long long>(dropped));
    if (lines_ && latency_.any()) std::fprintf(stderr, "note: %s\n", latency_.text().c_str());
  }
  /// Throws Failure or Interrupted.
  void check() const { errors_.check(frames_, job_.paths.size(), "their results are above and written"); }

 private:
  void tell_device() {
    device_ = device_line(segmenter_.session().device());
    std::printf("%s\n", device_.c_str());
  }

  void add_text(const Segmented& a) {
    if (!a.error.empty()) {
      std::printf("%s: error: %s\n", a.name.c_str(), a.error.c_str());
      return;
    }
    if (stream_) return;
    std::printf("%s: %dx%d (%.1f ms)", a.name.c_str(), a.width, a.height, a.ms);
    if (!a.map_path.empty()) std::printf(" -> %s", a.map_path.c_str());
    if (!a.overlay_path.empty()) std::printf(", %s", a.overlay_path.c_str());
    std::printf("\n");
    print_shares(a.counts);
  }

  void print_shares(const std::vector<uint64_t>& counts) const {
    uint64_t all = 0;
    for (const uint64_t n : counts) all += n;
    for (size_t c = 0; c < counts.size(); ++c)
      if (counts[c] > 0) std::printf("  %6.2f %%  %s\n", 100 * share(counts[c], all), printable(labels_[c]).c_str());
  }

  Json shares_json(const std::vector<uint64_t>& counts) const {
    uint64_t all = 0;
    for (const uint64_t n : counts) all += n;
    Json list = Json::array();
    for (size_t c = 0; c < counts.size(); ++c)
      if (counts[c] > 0)
        list.push_back(
            Json{{"index", c}, {"label", labels_[c]}, {"pixels", counts[c]}, {"share", share(counts[c], all)}});
    return list;
  }

  Json entry_of(const Segmented& a) {
    Json entry{{"image", a.name}};
    if (a.error.empty()) {
      entry["width"] = a.width;
      entry["height"] = a.height;
      entry["classes"] = shares_json(a.counts);
      if (!a.map_path.empty()) entry["map"] = a.map_path;
      if (!a.overlay_path.empty()) entry["overlay"] = a.overlay_path;
      entry["ms"] = a.ms;
      if (a.level >= 0) entry["level"] = a.level;
      if (const std::string reason = reasons_.add(segmenter_.session().device()); !reason.empty())
        entry["reason"] = reason;
      if (!a.note.empty()) entry["note"] = a.note;
      latency_.add_to(entry, a.latency);
    } else {
      entry["classes"] = Json::array();
      entry["error"] = a.error;
    }
    return entry;
  }

  void add_json(const Segmented& a) {
    // One line per frame: names and labels that are not UTF-8 are replaced rather than refused.
    const std::string line = vireo::write_json(entry_of(a));
    std::printf("%s\n    %s", frames_ > 1 ? "," : "", line.c_str());
  }

  void finish_json(uint64_t dropped, bool cut) {
    Json tail{{"device", device_json(segmenter_.session().device())},
              {"precision", precision_text(args_.common)},
              {"height", segmenter_.session().input_height()},
              {"width", segmenter_.session().input_width()},
              {"frames", frames_},
              {"failed", errors_.count()},
              {"dropped", dropped},
              {"fps", fps()},
              {"median_ms", times_.quantile(0.5)},
              {"p95_ms", times_.quantile(0.95)},
              {"peak_rss_mib", peak_rss_mib()},
              {"classes", shares_json(sums_)}};
    add_preprocessing(tail, segmenter_.session());
    latency_.add_to(tail);
    segmenter_.levels().add_to(tail);
    Json notes = segmenter_.model().warnings();
    for (const std::string& note : job_.notes) notes.push_back(note);
    if (!notes.empty()) tail["warnings"] = notes;
    if (cut || (interrupted() && frames_ < job_.paths.size())) tail["interrupted"] = true;
    const std::string text = vireo::write_json(tail, 2);
    std::printf("%s],%s\n", frames_ > 0 ? "\n  " : "", text.c_str() + 1);  // goes on in the object begun above
  }

  void finish_text(uint64_t dropped) const {
    if (!stream_ && frames_ < 2) return;
    std::printf("%zu frames, %zu failed, %llu dropped", frames_, errors_.count(),
                static_cast<unsigned long long>(dropped));
    if (done_ > 1) std::printf("; %.2f frames/s after the first", fps());
    if (done_ > 0) std::printf("; inference %.1f ms median, %.1f ms p95", times_.quantile(0.5), times_.quantile(0.95));
    std::printf("\n");
    if (latency_.any()) std::printf("%s\n", latency_.text().c_str());
    if (!stream_ || done_ == 0) return;
    if (!job_.folder.empty())
      std::printf("class maps%s in %s\n", args_.overlay ? " and overlays" : "",
                  job_.folder == "." ? "the current folder" : job_.folder.c_str());
    std::printf("shares of all pixels\n");
    print_shares(sums_);
  }

  const bool json_, lines_, mute_, stream_;
  const SegmentArgs& args_;
  const Job& job_;
  Segmenter& segmenter_;
  const std::vector<std::string> labels_;
  std::vector<uint64_t> sums_;
  Times times_;
  FrameTimes latency_{args_.common};
  ImageErrors errors_;
  std::string device_;  // what was said of it last
  Reasons reasons_{segmenter_.session()};
  size_t frames_ = 0, done_ = 0;
  Clock::time_point first_, last_;
};

// ---------------------------------------------------------------------------------------------------------- working

/// --maps: class maps one after the other, a byte for each pixel.
class MapStream {
 public:
  explicit MapStream(const std::string& path) : path_(path) {
    if (path.empty()) return;
    outlive_readers();
    file_ = path == "-" ? stdout : std::fopen(path.c_str(), "wb");
    if (file_ == nullptr) throw Failure("cannot write '" + path + "' (--maps): " + std::strerror(errno));
  }
  ~MapStream() {
    if (file_ != nullptr && file_ != stdout) std::fclose(file_);
  }
  MapStream(const MapStream&) = delete;
  MapStream& operator=(const MapStream&) = delete;

  /// Throws Failure: a reader that is gone, or a full disk, ends the work.
  void add(const ClassMap& map) {
    if (file_ == nullptr) return;
    if (std::fwrite(map.index.data(), 1, map.index.size(), file_) != map.index.size() || std::fflush(file_) != 0)
      throw Failure((path_ == "-" ? "standard output" : "'" + path_ + "'") + " took no more class maps after " +
                    std::to_string(written_) + ": " + std::strerror(errno));
    ++written_;
  }

 private:
  const std::string path_;
  FILE* file_ = nullptr;
  size_t written_ = 0;
};

/// Each frame's answer into maps, files and the report.
class Writing {
 public:
  Writing(const SegmentArgs& args, const Job& job, Segmenter& segmenter, Report& report, MapStream& maps,
          Progress& progress)
      : args_(args),
        job_(job),
        segmenter_(segmenter),
        report_(report),
        progress_(progress),
        overlay_(segmenter.labels()),
        maps_(maps) {}

  void run(Flights& flights) {
    flights.run(
        [&](const Frame& frame, const vireo::Session&) {
          if (job_.raw && !looked_ && frame.bytes.empty()) {
            looked_ = true;
            if (const std::string doubt = doubt_size(frame.picture); !doubt.empty())
              std::fprintf(stderr, "note: %s\n", doubt.c_str());
          }
          return segmenter_.map_size(frame.picture.width, frame.picture.height);
        },
        [&](const Flights::Landed& landed) { land(landed, flights); });
  }

 private:
  void land(const Flights::Landed& landed, const Flights& flights) {
    Frame& frame = landed.frame;
    answer_.name = frame.name;
    answer_.error.clear();
    answer_.note = frame.error.empty() ? frame.picture.note : "";
    answer_.level = landed.level;
    answer_.latency = landed.latency_ms;
    answer_.width = frame.picture.width;
    answer_.height = frame.picture.height;
    notes_.add(frame.name, answer_.note);
    vireo::Result<void> done =
        landed.out ? segmenter_.read(*landed.out, answer_.width, answer_.height, &map_) : landed.out.error();
    if (done) {
      answer_.ms = landed.out->ms;
      answer_.counts = count_classes(map_, segmenter_.classes());
      maps_.add(map_);
      if (!job_.folder.empty()) write_files(frame);
    } else {
      answer_.error = done.error().message;
    }
    tell(flights);
  }

  /// A full disk must not end the others: its message is the frame's error.
  void write_files(Frame& frame) {
    const auto write = [&](const char* ending, const std::vector<uint8_t>& bytes, std::string* path) {
      *path = job_.out_path(frame.name, ending);
      write_file(*path, bytes.data(), bytes.size());
    };
    try {
      write(kMapEnding, encode_class_png(map_), &answer_.map_path);
      if (!args_.overlay) return;
      const Rgb8& drawn = overlay_.draw(frame.rgb(), map_, answer_.counts);
      write(kOverlayEnding, encode_rgb_png(drawn.rgb.data(), drawn.width, drawn.height), &answer_.overlay_path);
    } catch (const Failure& failure) {
      answer_.error = failure.what();
    }
  }

  void tell(const Flights& flights) {
    if (!answer_.error.empty()) progress_.clear();
    report_.add(answer_);
    if (!job_.stream || !progress_.due(report_.frames())) return;
    char text[80];
    std::snprintf(text, sizeof text, "%.1f frames/s, %llu dropped", report_.fps(),
                  static_cast<unsigned long long>(flights.dropped()));
    progress_.step(report_.frames(), text);
  }

  const SegmentArgs& args_;
  const Job& job_;
  Segmenter& segmenter_;
  Report& report_;
  Progress& progress_;
  Overlay overlay_;
  MapStream& maps_;
  PictureNotes notes_;
  bool looked_ = false;  // at the first raw frame's shape
  ClassMap map_;         // of the picture
  Segmented answer_;
};

void run(SegmentArgs& args) {
  check_governing("segment", args.governing);
  if (args.maps == "-" && args.common.quiet())
    throw UsageError("segment: --maps - and JSON cannot both have standard output; give --maps a file");
  Pictures pictures("segment", args.images, args.common);
  const Job job = plan_job(args, pictures);
  std::vector<std::string> inputs = pictures.inputs();
  for (const std::string& file : model_files(args.common)) inputs.push_back(file);
  check_outputs("segment", inputs, {args.maps});
  Segmenter segmenter(args.common, args.map_resize, args.governing);
  if (!job.folder.empty()) make_folder(job.folder);
  MapStream maps(args.maps);

  Report report(args, job, segmenter);
  uint64_t dropped = 0;
  std::exception_ptr failure;
  {
    const Interruptible meanwhile(&pictures);
    Flights flights(pictures, args.common, segmenter.levels(), report.latency(), true);
    Progress progress(pictures.total());
    try {
      Writing(args, job, segmenter, report, maps, progress).run(flights);
    } catch (...) {
      failure = std::current_exception();
    }
    dropped = flights.dropped();
  }
  report.finish(dropped, pictures.cut());
  if (failure) std::rethrow_exception(failure);
  tell_cut(pictures, report.frames());
  tell_preprocessing(args.common, segmenter.session());
  report.check();
  check_frames_came(pictures, report.frames());
}

}  // namespace

void add_segment(CLI::App& app) {
  auto args = std::make_shared<SegmentArgs>();
  CLI::App* verb =
      app.add_subcommand("segment", "find the class of every pixel: pictures, folders of frames, video from a pipe");
  verb->add_option("images", args->images,
                   "pictures and folders of pictures; - is standard input: a picture, Y4M, or with --frame raw frames")
      ->required()
      ->type_name("IMAGE...");
  add_common(*verb, args->common, kModel | kDevice | kSession | kJson | kPictures | kFrames | kLines);
  verb->add_option("--out-dir", args->out_dir,
                   "where NAME.classes.png (grey, the value is the class) goes; made if absent [the current folder; "
                   "for raw frames: nothing is written]")
      ->type_name("DIR")
      ->check([](const std::string& text) { return text.empty() ? "the folder's name is empty" : std::string(); });
  verb->add_flag("--overlay", args->overlay,
                 "write NAME.overlay.png as well: the picture in the colours of its classes, with a legend");
  verb->add_option_function<std::string>(
          "--input",
          [](const std::string& text) {
            throw CLI::ValidationError("--input",
                                       "the model's input size is --size HxW now, as in every verb: --size " + text +
                                           " (raw frames have --frame WxH)");
          },
          "")
      ->group("");  // hidden: what --size was called once
  add_map_resize(*verb, args->map_resize);
  add_governing(*verb, args->governing);
  verb->add_option("--maps", args->maps,
                   "write the class maps one after the other, a byte for each pixel and no header; - is standard "
                   "output, which then has nothing else")
      ->type_name("FILE")
      ->check([](const std::string& text) { return text.empty() ? "the file's name is empty" : std::string(); });
  add_examples(*verb, {"vireo segment --model my-upernet --overlay --out-dir maps street.jpg",
                       "ffmpeg -i drive.mp4 -f yuv4mpegpipe -pix_fmt yuv420p - | vireo segment --model my-upernet "
                       "--jsonl -",
                       "vireo segment --model models/disaster-upernet --hold-fps 15 "
                       "--faster models/disaster-upernet@128x160 models/disaster-upernet/samples/images"});
  verb->callback([args] { run(*args); });
}

}  // namespace cli
