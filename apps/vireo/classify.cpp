// vireo classify: pictures in, the most probable classes out.
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

struct ClassifyArgs {
  Common common;
  std::vector<std::string> images;
  int topk = 5;
  std::string logits;
  bool keeps_logits = false;
  Governing governing;
};

struct Classified {
  std::vector<vireo::Score> top;
  double ms = 0;
  std::string reason;   // not empty: the answer was had otherwise than the session began
  std::string error;    // not empty: the picture could not be classified
  std::string note;     // of reading it
  double latency = -1;  // since the frame came; negative: no stream's
  int level = -1;       // negative: there is one alone
};

/// `logits`: a row for the scores, or nullptr.
Classified read_answer(const Flights::Landed& landed, int topk, Reasons& reasons, float* logits) {
  Classified answer;
  if (landed.frame.error.empty()) answer.note = landed.frame.picture.note;
  answer.level = landed.level;
  answer.latency = landed.latency_ms;
  if (!landed.out) {
    answer.error = landed.out.error().message;
    return answer;
  }
  const vireo::Output& out = *landed.out;
  answer.top = vireo::top_k(out, topk);
  answer.ms = out.ms;
  answer.reason = reasons.add(out.device);
  if (logits != nullptr) std::copy(out.data, out.data + out.cols, logits);
  return answer;
}

/// `reason`: the answer's before, so that one that goes on is said once.
void print_answer(const vireo::Model& model, const std::string& path, const Classified& answer, std::string* reason) {
  if (!answer.error.empty()) {
    std::printf("%s: error: %s\n", path.c_str(), answer.error.c_str());
    return;
  }
  std::printf("%s (%.1f ms)\n", path.c_str(), answer.ms);
  if (!answer.reason.empty() && answer.reason != *reason) std::printf("  reason: %s\n", answer.reason.c_str());
  *reason = answer.reason;
  for (const vireo::Score& s : answer.top)
    std::printf("  %6.2f %%  %s\n", 100.0 * double(s.value), printable(model.label(s.index)).c_str());
}

Json answer_json(const vireo::Model& model, const std::string& path, const Classified& answer,
                 const FrameTimes& times) {
  Json entry{{"image", path}, {"top", Json::array()}};
  for (const vireo::Score& s : answer.top)
    entry["top"].push_back(Json{{"index", s.index}, {"label", model.label(s.index)}, {"score", s.value}});
  if (answer.error.empty()) {
    entry["ms"] = answer.ms;
    if (!answer.reason.empty()) entry["reason"] = answer.reason;
  } else {
    entry["error"] = answer.error;
  }
  if (!answer.note.empty()) entry["note"] = answer.note;
  if (answer.level >= 0) entry["level"] = answer.level;
  times.add_to(entry, answer.latency);
  return entry;
}

void run(ClassifyArgs& args) {
  check_governing("classify", args.governing);
  if (args.keeps_logits) check_writable(args.logits), outlive_readers();
  Pictures pictures("classify", args.images, args.common);
  std::vector<std::string> inputs = pictures.inputs();
  for (const std::string& file : model_files(args.common)) inputs.push_back(file);
  check_outputs("classify", inputs, {args.logits});

  const vireo::Model model = open_model(args.common);
  if (model.task() == vireo::Task::kSegmentation)
    throw Failure("'" + model.name() + "' has a class for every pixel, not one for the picture; vireo segment runs it");
  if (model.classes() == 0)
    throw Failure("'" + model.name() + "' has no classification head; vireo embed gives its feature vector");
  GovernedSessions levels(model, args.common, vireo::Head::kLogits, args.governing);

  const size_t classes = size_t(model.classes());
  std::vector<float> logits;
  JsonAnswer results(pictures.raw());
  ImageErrors errors;
  if (!args.common.quiet()) {
    if (!model.keeps_proportions()) {
      std::printf("%s\n", device_line(levels.sessions().last().device()).c_str());
      print_precision_reason(args.common);
    }
    print_notes(model);
    if (model.scores() == vireo::Scores::kSigmoid)
      std::printf("scores are sigmoid, one per label: they do not add up to 100 %%\n");
  }
  for (const std::string& note : pictures.notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
  PictureNotes notes;
  Reasons reasons;
  std::string reason;
  FrameTimes latency(args.common);
  bool said = !model.keeps_proportions();  // which device it is
  size_t count = 0;
  const Interruptible meanwhile(&pictures);
  Flights flights(pictures, args.common, levels, latency);
  const auto begin = [&](const Frame&, const vireo::Session& session) {
    reasons.begin(session);
    return vireo::MapSize{};
  };
  flights.run(begin, [&](const Flights::Landed& landed) {
    const std::string& path = landed.frame.name;
    // Rows of pictures that fail stay NaN, so that row i belongs to picture i.
    if (args.keeps_logits) logits.resize((count + 1) * classes, std::nanf(""));
    const Classified answer =
        read_answer(landed, args.topk, reasons, args.keeps_logits ? &logits[count * classes] : nullptr);
    notes.add(path, answer.note);
    if (!answer.error.empty()) errors.add(path, answer.error);
    if (!said && !args.common.quiet() && answer.error.empty()) {
      std::printf("%s\n", device_line(levels.sessions().last().device()).c_str());
      print_precision_reason(args.common);
      said = true;
    }
    ++count;
    try {
      if (args.common.json_lines) {
        print_json_line(answer_json(model, path, answer, latency));
      } else if (args.common.json) {
        results.add(answer_json(model, path, answer, latency));
      } else {
        print_answer(model, path, answer, &reason);
        if (pictures.raw()) flush_output();  // somebody may read along
      }
    } catch (const Failure& failure) {
      // Nobody listens any more; what was asked to be kept is kept.
      if (!args.keeps_logits) throw;
      need(write_npy(args.logits, logits.data(), {int64_t(count), int64_t(classes)}));
      throw Failure(std::string(failure.what()) + "; the scores of " + std::to_string(count) + " pictures are in " +
                    args.logits);
    }
  });
  if (!args.common.quiet() && latency.any()) std::printf("%s\n", latency.text().c_str());
  if (args.common.json_lines && latency.any()) std::fprintf(stderr, "note: %s\n", latency.text().c_str());
  tell_cut(pictures, count);
  tell_preprocessing(args.common, levels.sessions().last());
  if (!args.common.json && flights.dropped() > 0)
    std::fprintf(stderr, "note: %llu frames gave way to newer ones\n",
                 static_cast<unsigned long long>(flights.dropped()));
  if (args.common.json) {
    Json json{{"device", device_json(levels.sessions().last().device())},
              {"precision", precision_text(args.common)},
              {"scores", vireo::to_string(model.scores())}};
    add_preprocessing(json, levels.sessions().last());
    add_precision_reason(json, args.common);
    add_notes(json, model);
    latency.add_to(json);
    levels.add_to(json);
    if (flights.dropped() > 0) json["dropped"] = flights.dropped();
    if (count < pictures.total() || pictures.cut()) json["interrupted"] = true;
    results.finish(json);
  }
  if (args.keeps_logits) {
    need(write_npy(args.logits, logits.data(), {int64_t(count), int64_t(classes)}));
  }
  errors.check(count, pictures.total(), "they are above" + (args.keeps_logits ? " and in " + args.logits : ""));
  check_frames_came(pictures, count);
}

}  // namespace

void add_classify(CLI::App& app) {
  auto args = std::make_shared<ClassifyArgs>();
  CLI::App* verb = app.add_subcommand("classify", "classify pictures (JPEG, PNG and others)");
  verb->add_option("images", args->images,
                   "pictures and folders of pictures; - is standard input: a picture, Y4M, or with --frame raw frames")
      ->required()
      ->type_name("IMAGE...");
  add_common(*verb, args->common, kModel | kDevice | kSession | kJson | kPictures | kFrames | kLines);
  verb->add_option("--topk", args->topk, "how many classes to print")
      ->type_name("K")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  CLI::Option* logits = verb->add_option("--logits", args->logits,
                                         "write the class scores before softmax or sigmoid, float32 [images, classes]");
  logits->type_name("FILE.npy");
  add_governing(*verb, args->governing);
  add_examples(*verb, {"vireo classify --model models/fashion-vit models/fashion-vit/samples",
                       "vireo classify --model models/fashion-vit --topk 3 --json picture.jpg",
                       "ffmpeg -i drive.mp4 -f yuv4mpegpipe - | vireo classify --model models/fashion-vit --jsonl -",
                       "vireo classify --model models/fashion-vit --hold-fps 30 --faster models/fashion-vit-small "
                       "models/fashion-vit/samples"});
  verb->callback([args, logits] {
    args->keeps_logits = logits->count() > 0;
    run(*args);
  });
}

}  // namespace cli
