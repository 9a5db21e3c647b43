// vireo embed: pictures in, feature vectors out.
#include <cmath>
#include <cstdio>
#include <memory>

#include "cli.h"
#include "flights.h"
#include "governed.h"
#include "interrupt.h"
#include "json_answer.h"
#include "measure.h"
#include "npy.h"
#include "pictures.h"

namespace cli {
namespace {

struct EmbedArgs {
  Common common;
  std::vector<std::string> images;
  std::string out;
  bool tokens = false;
  Governing governing;
};

struct Features {
  std::vector<float> data;
  int rows = 0, cols = 0;  // of one picture; 0 until the first is done
};

/// Appends picture `index`; rows of pictures that failed are NaN.
void keep(Features& all, size_t index, const vireo::Output& out) {
  all.rows = out.rows;
  all.cols = out.cols;
  const size_t size = size_t(out.rows) * size_t(out.cols);
  all.data.resize(index * size, std::nanf(""));
  all.data.insert(all.data.end(), out.data, out.data + size);
}

/// Writes what there is; returns its shape.
std::vector<int64_t> write_features(const EmbedArgs& args, Features* all, size_t count) {
  std::vector<int64_t> shape{int64_t(count)};
  if (args.tokens) shape.push_back(all->rows);
  shape.push_back(all->cols);
  if (all->data.empty()) return shape;
  all->data.resize(count * size_t(all->rows) * size_t(all->cols), std::nanf(""));
  need(write_npy(args.out, all->data.data(), shape));
  return shape;
}

void run(EmbedArgs& args) {
  if (args.out.empty() && !args.common.json_lines)
    throw UsageError("embed: --out FILE.npy is required, or --jsonl, which prints the vectors");
  if (args.out.empty() && args.tokens) throw UsageError("embed: --tokens needs --out FILE.npy: they are many numbers");
  check_governing("embed", args.governing);
  if (args.tokens && args.governing.fps > 0)
    throw UsageError("embed: --tokens and --hold-fps do not go together: levels give other numbers of tokens");
  if (!args.out.empty()) check_writable(args.out), outlive_readers();
  Pictures pictures("embed", args.images, args.common);
  std::vector<std::string> inputs = pictures.inputs();
  for (const std::string& file : model_files(args.common)) inputs.push_back(file);
  check_outputs("embed", inputs, {args.out});
  const vireo::Model model = open_model(args.common);
  if (model.task() == vireo::Task::kSegmentation)
    throw Failure("'" + model.name() + "' segments pictures and has no feature vector; vireo segment runs it");
  GovernedSessions levels(model, args.common, args.tokens ? vireo::Head::kTokens : vireo::Head::kFeatures,
                          args.governing);

  Features all;
  JsonAnswer results(pictures.raw());
  ImageErrors errors;
  PictureNotes notes;
  double total_ms = 0;
  FrameTimes latency(args.common);
  Reasons reasons;
  size_t count = 0;
  for (const std::string& note : pictures.notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
  const Interruptible meanwhile(&pictures);
  Progress progress(pictures.total());
  Flights flights(pictures, args.common, levels, latency);
  const auto begin = [&](const Frame&, const vireo::Session& session) {
    reasons.begin(session);
    return vireo::MapSize{};
  };
  flights.run(begin, [&](const Flights::Landed& landed) {
    const Frame& frame = landed.frame;
    const auto& out = landed.out;
    const std::string& path = frame.name;
    Json entry{{"image", path}};
    std::string error = out ? "" : out.error().message;
    if (frame.error.empty()) {
      if (out && all.rows > 0 && out->rows != all.rows) {
        error = "it gives " + std::to_string(out->rows) + " tokens and the first picture gave " +
                std::to_string(all.rows) + ", which one array cannot hold; embed pictures of one shape at a time";
      } else if (out && all.cols > 0 && out->cols != all.cols) {
        error = "model '" + args.governing.faster[size_t(landed.level) - 1] + "' gives " + std::to_string(out->cols) +
                " numbers and the first gave " + std::to_string(all.cols) +
                ": --faster takes models that answer the same question";
      } else if (out) {
        all.cols = out->cols;
        if (!args.out.empty()) keep(all, count, *out);
        else entry["features"] = std::vector<float>(out->data, out->data + out->cols);
        entry["ms"] = out->ms;
        latency.add_to(entry, landed.latency_ms);
        if (const std::string reason = reasons.add(out->device); !reason.empty()) entry["reason"] = reason;
        total_ms += out->ms;
        if (landed.level >= 0) entry["level"] = landed.level;
      }
      notes.add(path, frame.picture.note);
      if (!frame.picture.note.empty()) entry["note"] = frame.picture.note;
    }
    if (!error.empty()) {
      errors.add(path, error);
      entry["error"] = error;
    }
    ++count;
    try {
      if (args.common.json_lines) print_json_line(entry);
      else if (args.common.json) results.add(entry);
    } catch (const Failure& failure) {
      // Nobody listens any more; what was asked to be kept is kept.
      if (all.data.empty()) throw;
      write_features(args, &all, count);
      throw Failure(std::string(failure.what()) + "; the rows of " + std::to_string(count) + " pictures are in " +
                    args.out);
    }
    progress.step(count, "");
  });
  progress.clear();
  if (args.common.json_lines && latency.any()) std::fprintf(stderr, "note: %s\n", latency.text().c_str());
  tell_cut(pictures, count);
  tell_preprocessing(args.common, levels.sessions().last());
  if (!args.common.json && flights.dropped() > 0)
    std::fprintf(stderr, "note: %llu frames gave way to newer ones\n",
                 static_cast<unsigned long long>(flights.dropped()));
  check_frames_came(pictures, count);
  const std::vector<int64_t> shape = write_features(args, &all, count);

  if (args.common.json) {
    Json json{{"device", device_json(levels.sessions().last().device())},
              {"precision", precision_text(args.common)},
              {"out", args.out},
              {"shape", shape}};
    add_preprocessing(json, levels.sessions().last());
    add_notes(json, model);
    latency.add_to(json);
    levels.add_to(json);
    if (flights.dropped() > 0) json["dropped"] = flights.dropped();
    if (count < pictures.total() || pictures.cut()) json["interrupted"] = true;
    results.finish(json);
  } else if (!args.common.json_lines) {
    std::printf("%s\n", device_line(levels.sessions().last().device()).c_str());
    print_notes(model);
    reasons.print(count, levels.sessions().last().device());
    if (!all.data.empty()) {
      std::printf("%s: float32 [%zu", args.out.c_str(), count);
      for (size_t i = 1; i < shape.size(); ++i) std::printf(", %lld", static_cast<long long>(shape[i]));
      std::printf("], %.1f ms per picture\n", total_ms / double(count - errors.count()));
    }
    if (latency.any()) std::printf("%s\n", latency.text().c_str());
  }
  errors.check(count, pictures.total(),
               args.out.empty()   ? "their vectors are above"
               : all.data.empty() ? "nothing was written"
                                  : "their rows are in " + args.out);
}

}  // namespace

void add_embed(CLI::App& app) {
  auto args = std::make_shared<EmbedArgs>();
  CLI::App* verb = app.add_subcommand("embed", "write the feature vectors of pictures");
  verb->add_option("images", args->images,
                   "pictures and folders of pictures; - is standard input: a picture, Y4M, or with --frame raw frames")
      ->required()
      ->type_name("IMAGE...");
  add_common(*verb, args->common, kModel | kDevice | kSession | kJson | kPictures | kFrames | kLines);
  verb->add_option("--out", args->out,
                   "float32 [images, width], or with --tokens [images, tokens, width]; with --jsonl it may be left "
                   "out: then the lines have the vectors")
      ->type_name("FILE.npy");
  verb->add_flag("--tokens", args->tokens, "every token after the final norm instead of the pooled vector");
  add_governing(*verb, args->governing);
  add_examples(*verb, {"vireo embed --model models/fashion-vit --out features.npy pictures",
                       "ffmpeg -i drive.mp4 -f yuv4mpegpipe - | vireo embed --model models/fashion-vit --jsonl -",
                       "vireo embed --model models/fashion-vit --out features.npy --hold-fps 30 "
                       "--faster models/fashion-vit@16x16 models/fashion-vit/samples"});
  verb->callback([args] { run(*args); });
}

}  // namespace cli
