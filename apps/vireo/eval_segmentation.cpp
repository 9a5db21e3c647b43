// Segmentation on labelled pictures: see eval_segmentation.h.
#include "eval_segmentation.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "classmap.h"
#include "image.h"
#include "interrupt.h"
#include "measure.h"
#include "pictures.h"
#include "segmenter.h"

namespace cli {
namespace {

struct Pair {
  std::string name, image, label;
};

struct Pairs {
  std::vector<Pair> list;
  std::vector<std::string> notes;
};

struct Layout {
  std::string images, labels;  // folders
};

/// Where pictures and labels may be, relative to the folder; `split` may be empty.
std::vector<Layout> layouts(const std::string& split) {
  if (split.empty()) return {{"images", "labels"}, {"images", "annotations"}, {"test", "testannot"}};
  return {{split, split + "annot"},
          {"images/" + split, "labels/" + split},
          {"images/" + split, "annotations/" + split},
          {split + "/images", split + "/labels"}};
}

Layout find_layout(const std::string& folder, const std::string& split) {
  if (!is_folder(folder))
    throw Failure("'" + folder + "' is no folder; expected one with pictures and their label PNGs");
  std::string bare = folder;
  while (bare.size() > 1 && bare.back() == '/') bare.pop_back();
  std::string expected;
  for (const Layout& l : layouts(split)) {
    if (is_folder(folder + "/" + l.images) && is_folder(folder + "/" + l.labels))
      return {folder + "/" + l.images, folder + "/" + l.labels};
    expected += (expected.empty() ? "" : ", or ") + l.images + " and " + l.labels;
  }
  if (split.empty() && is_folder(bare + "annot")) return {bare, bare + "annot"};  // CamVid's test, beside testannot
  throw Failure("'" + folder + "' has no folders of pictures and labels" +
                (split.empty() ? "" : " of the split '" + split + "'") + "; expected " + expected +
                (split.empty() ? " (or name one with --split)" : ""));
}

/// Each picture with the label file of its name.
Pairs find_pairs(const SegmentationEval& what) {
  const Layout layout = find_layout(what.folder, what.split);
  std::map<std::string, std::string> labels;
  for (const std::string& name : need(list_pictures(layout.labels))) {
    const auto [it, fresh] = labels.emplace(stem_of(name), name);
    if (!fresh)
      throw Failure("'" + layout.labels + "' has two labels of one name, '" + it->second + "' and '" + name + "'");
  }
  Pairs pairs;
  std::vector<std::string> lacking;
  for (const std::string& name : need(list_pictures(layout.images))) {
    const auto label = labels.find(stem_of(name));
    if (label == labels.end()) {
      lacking.push_back(name);
      continue;
    }
    pairs.list.push_back({name, layout.images + "/" + name, layout.labels + "/" + label->second});
  }
  if (!lacking.empty())
    throw Failure(std::to_string(lacking.size()) + (lacking.size() == 1 ? " picture" : " pictures") + " in '" +
                  layout.images + "' without a label: '" + layout.labels + "' has no " + stem_of(lacking.front()) +
                  ".png");
  if (pairs.list.empty()) throw Failure("'" + layout.images + "' has no picture");
  if (labels.size() > pairs.list.size())
    pairs.notes.push_back(std::to_string(labels.size() - pairs.list.size()) + " labels in '" + layout.labels +
                          "' have no picture");
  if (what.limit > 0 && size_t(what.limit) < pairs.list.size()) pairs.list.resize(size_t(what.limit));
  return pairs;
}

/// What is wrong with the values of a label; empty when nothing is.
std::string bad_value(const ClassMap& label, const std::string& path, int classes, int ignore) {
  size_t count = 0, first = 0;
  for (size_t i = 0; i < label.index.size(); ++i) {
    if (label.index[i] < classes || label.index[i] == ignore) continue;
    if (count++ == 0) first = i;
  }
  if (count == 0) return {};
  const std::string value = std::to_string(label.index[first]);
  const size_t width = size_t(label.width);
  return "label '" + path + "' has the value " + value + " at pixel (" + std::to_string(first % width) + ", " +
         std::to_string(first / width) + "), " + std::to_string(count) +
         " such values in all; expected classes from 0 to " + std::to_string(classes - 1) + ", or " +
         std::to_string(ignore) + " for pixels that do not count (--ignore " + value + " if this one means that)";
}

struct SegmentationTotals {
  Confusion confusion;
  std::vector<double> times;  // ms of each inference
  double ms = 0;              // of everything
};

/// One picture; the error or nothing.
std::string score(Segmenter& segmenter, const Pair& pair, int ignore, const ReadOptions& options, PictureNotes* notes,
                  SegmentationTotals* t) {
  // The label first: a wrong one costs no inference.
  const auto label = load_labels(pair.label, options);
  if (!label) return label.error().message;
  if (std::string wrong = bad_value(*label, pair.label, segmenter.classes(), ignore); !wrong.empty()) return wrong;
  const auto picture = load_image(pair.image, options);
  if (!picture) return picture.error().message;
  notes->add(pair.image, picture->note);
  // Another size is compared at the label's; another shape is a label of something else.
  const double by = double(label->width) * picture->height / (double(label->height) * picture->width);
  if (by > 1.02 || by < 1 / 1.02)
    return "label '" + pair.label + "' has " + std::to_string(label->width) + "x" + std::to_string(label->height) +
           " pixels, which is not the shape of the picture, " + std::to_string(picture->width) + "x" +
           std::to_string(picture->height) + "; expected the same size, or one of the same proportions";
  ClassMap map;
  double ms = 0;
  if (const auto done = segmenter.segment(vireo::Image{picture->rgb.data(), picture->width, picture->height, 0},
                                          label->width, label->height, &map, &ms);
      !done)
    return done.error().message;
  t->confusion.add(*label, map, ignore);
  t->times.push_back(ms);
  return {};
}

void print_text(const Common& common, Segmenter& segmenter, const Pairs& pairs, const SegmentationTotals& t,
                const Reasons& reasons, const std::vector<double>& sorted) {
  std::printf("%s, %s, %zu pictures\n%s\n", segmenter.model().name().c_str(), precision_text(common).c_str(),
              t.times.size(), device_line(segmenter.session().device()).c_str());
  print_notes(segmenter.model());
  reasons.print(t.times.size(), segmenter.session().device());
  for (const std::string& note : pairs.notes) std::printf("note: %s\n", note.c_str());
  std::printf("mIoU            %7.2f %%\npixel accuracy  %7.2f %%\n\n    IoU   labels  predicted  class\n",
              100 * t.confusion.mean_iou(), 100 * t.confusion.accuracy());
  const double all = double(std::max<uint64_t>(t.confusion.pixels(), 1));
  for (int c = 0; c < segmenter.classes(); ++c) {
    const double iou = t.confusion.iou(c);
    char text[32] = "      -";
    if (iou >= 0) std::snprintf(text, sizeof text, "%5.2f %%", 100 * iou);
    std::printf("%s  %5.2f %%    %5.2f %%  %s\n", text, 100 * double(t.confusion.labelled(c)) / all,
                100 * double(t.confusion.predicted(c)) / all, segmenter.model().label(c).c_str());
  }
  std::printf("\nimages/s  %7.2f   (inference alone %.2f ms per picture, median)\n",
              t.ms > 0 ? 1000 * double(t.times.size()) / t.ms : 0.0, sorted.empty() ? 0.0 : median(sorted));
  std::printf("memory    %7.1f MiB peak resident\n", peak_rss_mib());
}

Json result_json(const Common& common, const SegmentationEval& what, Segmenter& segmenter, const SegmentationTotals& t,
                 const std::vector<double>& sorted) {
  Json classes = Json::array();
  for (int c = 0; c < segmenter.classes(); ++c) {
    const double iou = t.confusion.iou(c);
    classes.push_back(Json{{"index", c},
                           {"label", segmenter.model().label(c)},
                           {"iou", iou >= 0 ? Json(iou) : Json(nullptr)},
                           {"labelled", t.confusion.labelled(c)},
                           {"predicted", t.confusion.predicted(c)}});
  }
  return Json{{"device", device_json(segmenter.session().device())},
              {"precision", precision_text(common)},
              {"height", segmenter.session().input_height()},
              {"width", segmenter.session().input_width()},
              {"images", t.times.size()},
              {"ignore", what.ignore},
              {"pixels", t.confusion.pixels()},
              {"miou", t.confusion.mean_iou()},
              {"pixel_accuracy", t.confusion.accuracy()},
              {"classes", classes},
              {"images_per_s", t.ms > 0 ? 1000 * double(t.times.size()) / t.ms : 0.0},
              {"median_ms", sorted.empty() ? 0.0 : median(sorted)},
              {"p95_ms", sorted.empty() ? 0.0 : percentile(sorted, 0.95)},
              {"peak_rss_mib", peak_rss_mib()}};
}

}  // namespace

void eval_segmentation(Common& common, const SegmentationEval& what) {
  const Pairs pairs = find_pairs(what);
  Segmenter segmenter(common, what.map_resize);
  SegmentationTotals t{Confusion(segmenter.classes()), {}, 0};
  Reasons reasons(segmenter.session());
  ImageErrors errors;
  Json failed = Json::array();
  PictureNotes notes;
  size_t i = 0;
  {
    const Interruptible meanwhile;
    Progress progress(pairs.list.size());
    const Clock::time_point start = Clock::now();
    for (; i < pairs.list.size() && !interrupted(); ++i) {
      const Pair& pair = pairs.list[i];
      const std::string error = score(segmenter, pair, what.ignore, read_options(common), &notes, &t);
      if (error.empty()) reasons.add(segmenter.session().device());
      if (!error.empty()) {
        errors.add(pair.name, error);
        failed.push_back(Json{{"image", pair.name}, {"error", error}});
      }
      if (!progress.due(i + 1)) continue;
      char text[48];
      std::snprintf(text, sizeof text, "mIoU %.1f %%", 100 * t.confusion.mean_iou());
      progress.step(i + 1, text);
    }
    t.ms = ms_since(start);
  }
  std::vector<double> sorted = t.times;
  std::sort(sorted.begin(), sorted.end());
  if (common.json) {
    Json json = result_json(common, what, segmenter, t, sorted);
    reasons.add_to(json);
    if (!failed.empty()) json["errors"] = failed;
    Json said = segmenter.model().warnings();
    for (const std::string& note : pairs.notes) said.push_back(note);
    if (!said.empty()) json["warnings"] = said;
    if (i < pairs.list.size()) json["interrupted"] = true;
    print_json(json);
  } else if (!t.times.empty()) {
    print_text(common, segmenter, pairs, t, reasons, sorted);
  }
  errors.check(i, pairs.list.size(), "the figures are of these");
}

}  // namespace cli
