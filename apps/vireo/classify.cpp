// vireo classify: pictures in, the most probable classes out.
#include <cmath>
#include <cstdio>
#include <memory>

#include "cli.h"
#include "npy.h"
#include "pictures.h"

namespace cli {
namespace {

struct Args {
  Common common;
  std::vector<std::string> images;
  int topk = 5;
  std::string logits;
  bool keeps_logits = false;
};

struct Answer {
  std::vector<vireo::Score> top;
  double ms = 0;
  std::string error;  // not empty: the picture could not be classified
  std::string note;   // of reading it
};

/// `logits`: a row for the scores, or nullptr.
Answer classify(vireo::Session& session, const Frame& frame, int topk, float* logits) {
  Answer answer;
  answer.error = frame.error;
  if (!answer.error.empty()) return answer;
  answer.note = frame.picture.note;
  auto out = session.run(vireo::Image{frame.picture.rgb.data(), frame.picture.width, frame.picture.height, 0});
  if (!out) {
    answer.error = out.error().message;
    return answer;
  }
  answer.top = vireo::top_k(*out, topk);
  answer.ms = out->ms;
  if (logits != nullptr) std::copy(out->data, out->data + out->cols, logits);
  return answer;
}

void print_answer(const vireo::Model& model, const std::string& path, const Answer& answer) {
  if (!answer.error.empty()) {
    std::printf("%s: error: %s\n", path.c_str(), answer.error.c_str());
    return;
  }
  std::printf("%s (%.1f ms)\n", path.c_str(), answer.ms);
  for (const vireo::Score& s : answer.top)
    std::printf("  %6.2f %%  %s\n", 100.0 * double(s.value), printable(model.label(s.index)).c_str());
}

Json answer_json(const vireo::Model& model, const std::string& path, const Answer& answer) {
  Json entry{{"image", path}, {"top", Json::array()}};
  for (const vireo::Score& s : answer.top)
    entry["top"].push_back(Json{{"index", s.index}, {"label", model.label(s.index)}, {"score", s.value}});
  if (answer.error.empty()) {
    entry["ms"] = answer.ms;
  } else {
    entry["error"] = answer.error;
  }
  if (!answer.note.empty()) entry["note"] = answer.note;
  return entry;
}

void run(const Args& args) {
  if (args.keeps_logits) check_writable(args.logits);
  Pictures pictures("classify", args.images, args.common);

  const vireo::Model model = open_model(args.common);
  if (model.task() == vireo::Task::kSegmentation)
    throw Failure("'" + model.name() + "' has a class for every pixel, not one for the picture; vireo segment runs it");
  if (model.classes() == 0)
    throw Failure("'" + model.name() + "' has no classification head; vireo embed gives its feature vector");
  vireo::Session session = open_session(model, args.common, vireo::Head::kLogits);

  const size_t classes = size_t(model.classes());
  std::vector<float> logits;
  Json results = Json::array();
  ImageErrors errors;
  if (!args.common.json) {
    std::printf("%s\n", device_line(session.device()).c_str());
    print_notes(model);
  }
  for (const std::string& note : pictures.notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
  PictureNotes notes;
  size_t count = 0;
  for (Frame frame; pictures.next(&frame); ++count) {
    const std::string& path = frame.name;
    // Rows of pictures that fail stay NaN, so that row i belongs to picture i.
    if (args.keeps_logits) logits.resize((count + 1) * classes, std::nanf(""));
    const Answer answer = classify(session, frame, args.topk, args.keeps_logits ? &logits[count * classes] : nullptr);
    notes.add(path, answer.note);
    if (!answer.error.empty()) errors.add(path, answer.error);
    if (args.common.json) {
      results.push_back(answer_json(model, path, answer));
    } else {
      print_answer(model, path, answer);
    }
  }
  if (args.common.json) {
    Json json{{"device", device_json(session.device())},
              {"precision", vireo::to_string(args.common.precision)},
              {"results", results}};
    add_notes(json, model);
    print_json(json);
  }
  if (args.keeps_logits) {
    need(write_npy(args.logits, logits.data(), {int64_t(count), int64_t(classes)}));
  }
  errors.check(count);
  if (count == 0) throw Failure("no frame came; expected raw RGB24 frames of " + std::to_string(args.common.frame_width) + "x" + std::to_string(args.common.frame_height));
}

}  // namespace

void add_classify(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("classify", "classify pictures (JPEG, PNG and others)");
  verb->add_option("images", args->images, "pictures and folders of pictures; - is standard input")->required()->type_name("IMAGE...");
  add_common(*verb, args->common, kModel | kDevice | kSession | kJson | kPictures | kFrames);
  verb->add_option("--topk", args->topk, "how many classes to print")
      ->type_name("K")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  CLI::Option* logits =
      verb->add_option("--logits", args->logits, "write the class scores before softmax, float32 [images, classes]");
  logits->type_name("FILE.npy");
  verb->callback([args, logits] {
    args->keeps_logits = logits->count() > 0;
    run(*args);
  });
}

}  // namespace cli
