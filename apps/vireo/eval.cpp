// vireo eval: how often a model is right on labelled pictures. (--segmentation: eval_segmentation.cpp.)
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "base/divergence.h"
#include "cli.h"
#include "dataset.h"
#include "eval_segmentation.h"
#include "interrupt.h"
#include "measure.h"
#include "npy.h"
#include "pictures.h"
#include "sessions.h"

namespace cli {
namespace {

struct EvalArgs {
  Common common;
  std::string data, fashion, logits, compare;
  bool use_fashion = false, keeps_logits = false;
  int64_t limit = 0;
  SegmentationEval segmentation;
  bool has_split = false, has_ignore = false, has_map_resize = false;
};

/// Whether `label` is among the k largest scores; ties go to the smaller index.
bool within(const float* scores, int classes, int label, int k) {
  if (label >= classes || std::isnan(scores[label])) return false;
  int before = 0;
  for (int i = 0; i < classes; ++i)
    if (scores[i] > scores[label] || (scores[i] == scores[label] && i < label)) ++before;
  return before < k;
}

/// "12.3 %".
std::string percent(size_t part, size_t all) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", all ? 100.0 * double(part) / double(all) : 0.0);
  return text;
}

int best_class(const float* scores, int classes) { return int(std::max_element(scores, scores + classes) - scores); }

/// Differences from the logits of another runtime.
struct Comparison {
  NpyArray reference;
  double largest = 0, divergence = 0, squares = 0;
  size_t agree = 0, count = 0;

  void add(size_t row, const float* scores, int classes) {
    const float* other = &reference.data[row * size_t(classes)];
    divergence += vireo::kl_divergence(other, scores, classes);
    for (int i = 0; i < classes; ++i) {
      const double far = std::fabs(double(scores[i]) - double(other[i]));
      largest = std::isnan(far) ? INFINITY : std::max(largest, far);
      squares += far * far / classes;
    }
    if (best_class(scores, classes) == best_class(other, classes)) ++agree;
    ++count;
  }

  double kl() const { return divergence / double(std::max<size_t>(count, 1)); }
  double mse() const { return squares / double(std::max<size_t>(count, 1)); }
};

Comparison open_comparison(const std::string& path, size_t rows, int classes) {
  Comparison c;
  c.reference = need(read_npy(path));
  const std::vector<int64_t>& shape = c.reference.shape;
  if (shape.size() != 2 || shape[0] < int64_t(rows) || shape[1] != classes)
    throw Failure("'" + path + "' does not hold at least " + std::to_string(rows) + " rows of " +
                  std::to_string(classes) + " class scores");
  return c;
}

Dataset open_data(const EvalArgs& args, const vireo::Model& model) {
  Dataset data = args.use_fashion ? open_fashion_mnist(args.fashion.empty() ? kFashionMnistFolder : args.fashion)
                                  : open_folder(args.data, model);
  if (args.use_fashion && model.classes() != 10)
    throw Failure("model '" + model.name() + "' has " + std::to_string(model.classes()) +
                  " classes; Fashion-MNIST needs one trained on its 10");
  if (args.limit > 0 && size_t(args.limit) < data.samples.size()) data.samples.resize(size_t(args.limit));
  return data;
}

struct Totals {
  size_t top1 = 0, top5 = 0, done = 0;
  double ms = 0, inference_ms = 0;
};

void print_text(const EvalArgs& args, const vireo::Model& model, const vireo::Session& session, const Totals& t,
                const Reasons& reasons, const Comparison* compared) {
  const double n = double(std::max<size_t>(t.done, 1));
  std::printf("%s, %s, %zu pictures\n%s\n", model.name().c_str(), precision_text(args.common).c_str(), t.done,
              device_line(session.device()).c_str());
  print_notes(model);
  reasons.print(t.done, session.device());
  std::printf("top-1     %7.2f %%\ntop-5     %7.2f %%\n", 100 * double(t.top1) / n, 100 * double(t.top5) / n);
  std::printf("images/s  %7.2f   (inference alone %.2f ms per picture)\n",
              t.ms > 0 ? 1000 * double(t.done) / t.ms : 0.0, t.inference_ms / n);
  if (compared)
    std::printf(
        "against %s: largest logit difference %.3g, mean square %.3g, mean KL divergence %.3g, same top-1 on %zu of "
        "%zu\n",
        args.compare.c_str(), compared->largest, compared->mse(), compared->kl(), compared->agree, compared->count);
}

Json result_json(const EvalArgs& args, const vireo::Session& session, const Totals& t, const Comparison* compared) {
  const double n = double(std::max<size_t>(t.done, 1));
  Json json{{"device", device_json(session.device())},
            {"precision", precision_text(args.common)},
            {"images", t.done},
            {"top1", double(t.top1) / n},
            {"top5", double(t.top5) / n},
            {"images_per_s", t.ms > 0 ? 1000 * double(t.done) / t.ms : 0.0},
            {"inference_ms", t.inference_ms / n}};
  if (compared)
    json["compared"] = Json{{"images", compared->count},
                            {"max_abs", compared->largest},
                            {"mse", compared->mse()},
                            {"kl", compared->kl()},
                            {"same_top1", compared->agree}};
  return json;
}

void run(EvalArgs& args) {
  const bool segments = !args.segmentation.folder.empty();
  if (int(args.use_fashion) + int(!args.data.empty()) + int(segments) != 1)
    throw UsageError("eval needs one of --data DIR, --fashion-mnist and --segmentation DIR");
  if (segments) {
    if (args.keeps_logits || !args.compare.empty())
      throw UsageError("--logits and --compare-logits are for classification; --segmentation has no such file");
    SegmentationEval what = args.segmentation;
    what.limit = args.limit;
    return eval_segmentation(args.common, what);
  }
  if (args.has_split || args.has_ignore || args.has_map_resize)
    throw UsageError("--split, --ignore and --map-resize go with --segmentation DIR");
  if (args.keeps_logits) check_writable(args.logits);
  const vireo::Model model = open_model(args.common);
  if (model.task() == vireo::Task::kSegmentation)
    throw Failure("'" + model.name() + "' segments pictures; vireo eval --segmentation DIR scores it");
  const int classes = model.classes();
  if (classes == 0) throw Failure("'" + model.name() + "' has no classification head: there is no answer to score");
  const Dataset data = open_data(args, model);
  std::vector<std::string> inputs = model_files(args.common);
  inputs.push_back(args.compare);
  for (const Sample& sample : data.samples) inputs.push_back(sample.path);
  check_outputs("eval", inputs, {args.logits});
  const size_t total = data.samples.size();
  std::unique_ptr<Comparison> compared;
  if (!args.compare.empty()) compared = std::make_unique<Comparison>(open_comparison(args.compare, total, classes));
  Sessions sessions(model, args.common, vireo::Head::kLogits);
  Reasons reasons;

  std::vector<float> logits;
  if (args.keeps_logits) logits.assign(total * size_t(classes), std::nanf(""));
  Totals t;
  ImageErrors errors;
  PictureNotes notes;
  Json failed = Json::array();
  size_t i = 0;
  {
    const Interruptible meanwhile;
    Progress progress(total);
    const Clock::time_point start = Clock::now();
    for (; i < total && !interrupted(); ++i) {
      const Sample& sample = data.samples[i];
      const auto refuse = [&](const vireo::Error& error) {
        errors.add(sample.name, error.message);
        failed.push_back(Json{{"image", sample.name}, {"error", error.message}});
      };
      const auto picture = data.load(sample, read_options(args.common));
      if (interrupted()) break;  // a pipe may have been left unread
      if (!picture) {
        refuse(picture.error());
        continue;
      }
      notes.add(sample.name, picture->note);
      const auto result = run_one(sessions, *picture, reasons);
      if (!result) {
        refuse(result.error());
        continue;
      }
      const vireo::Output& out = *result;
      t.inference_ms += out.ms;
      reasons.add(out.device);
      t.top1 += within(out.data, classes, sample.label, 1) ? 1 : 0;
      t.top5 += within(out.data, classes, sample.label, 5) ? 1 : 0;
      ++t.done;
      if (args.keeps_logits) std::copy(out.data, out.data + classes, &logits[i * size_t(classes)]);
      if (compared) compared->add(i, out.data, classes);
      if (progress.due(i + 1)) progress.step(i + 1, "top-1 " + percent(t.top1, t.done));
    }
    t.ms = ms_since(start);
  }
  if (args.common.json) {
    Json json = result_json(args, sessions.last(), t, compared.get());
    reasons.add_to(json);
    if (!failed.empty()) json["errors"] = failed;
    add_notes(json, model);
    if (i < total) json["interrupted"] = true;
    print_json(json);
  } else {
    print_text(args, model, sessions.last(), t, reasons, compared.get());
  }
  if (args.keeps_logits) {
    need(write_npy(args.logits, logits.data(), {int64_t(i), int64_t(classes)}));
  }
  errors.check(i, total, "the figures are of these");
}

}  // namespace

void add_eval(CLI::App& app) {
  auto args = std::make_shared<EvalArgs>();
  CLI::App* verb = app.add_subcommand("eval", "measure accuracy on labelled pictures");
  add_common(*verb, args->common, kModel | kDevice | kSession | kJson | kPictures);
  verb->add_option("--data", args->data, "a folder with labels.csv (file,label) or with one folder per class")
      ->type_name("DIR");
  CLI::Option* fashion =
      verb->add_option("--fashion-mnist", args->fashion,
                       std::string("the test set of Fashion-MNIST; by default in ") + kFashionMnistFolder);
  fashion->expected(0, 1)->type_name("[DIR]");
  verb->add_option("--segmentation", args->segmentation.folder,
                   "a folder with images/ and labels/ (PNGs of the same names whose pixel value is the class), or "
                   "test/ and testannot/")
      ->type_name("DIR");
  CLI::Option* split =
      verb->add_option("--split", args->segmentation.split,
                       "with --segmentation: S/ and Sannot/, images/S/ and labels/S/, or S/images/ and S/labels/");
  split->type_name("S");
  CLI::Option* ignore = verb->add_option("--ignore", args->segmentation.ignore,
                                         "with --segmentation: the label value of pixels that do not count");
  ignore->type_name("N")->check(CLI::Range(0, 255))->capture_default_str();
  verb->add_option("--limit", args->limit, "only the first N pictures")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40));
  CLI::Option* logits =
      verb->add_option("--logits", args->logits, "write the class scores, float32 [pictures, classes]");
  logits->type_name("FILE.npy");
  verb->add_option("--compare-logits", args->compare, "compare with these class scores, float32 [pictures, classes]")
      ->type_name("FILE.npy");
  CLI::Option* map_resize = add_map_resize(*verb, args->segmentation.map_resize);
  add_examples(*verb, {"vireo eval --model models/fashion-vit --data pictures --json",
                       "vireo eval --model my-upernet --segmentation camvid --split val"});
  verb->callback([args, fashion, logits, split, ignore, map_resize] {
    args->has_split = split->count() > 0;
    args->has_ignore = ignore->count() > 0;
    args->has_map_resize = map_resize->count() > 0;
    args->keeps_logits = logits->count() > 0;
    args->use_fashion = fashion->count() > 0;
    run(*args);
  });
}

}  // namespace cli
