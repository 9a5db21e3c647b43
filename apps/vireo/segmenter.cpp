// Segmenting: see segmenter.h.
#include "segmenter.h"

namespace cli {
namespace {

vireo::Model open_segmentation_model(const Common& common) {
  vireo::Model model = open_model(common);
  if (model.task() != vireo::Task::kSegmentation)
    throw Failure("'" + model.name() + "' does not segment: it is " + model.architecture() + ", for " +
                  vireo::to_string(model.task()) + "; expected a model like UperNetForSemanticSegmentation (" +
                  (model.classes() > 0 ? "vireo classify" : "vireo embed") + " runs this one)");
  if (model.classes() > kMaxClasses)
    throw Failure("'" + model.name() + "' has " + std::to_string(model.classes()) +
                  " classes; class maps hold at most " + std::to_string(kMaxClasses));
  return model;
}

}  // namespace

Segmenter::Segmenter(const Common& common)
    : model_(open_segmentation_model(common)), session_(open_session(model_, common, vireo::Head::kClassMap)) {}

std::vector<std::string> Segmenter::labels() const {
  std::vector<std::string> labels;
  for (int c = 0; c < classes(); ++c) labels.push_back(model_.label(c));
  return labels;
}

int Segmenter::depth() const { return 1; }

vireo::Result<vireo::Ticket> Segmenter::submit(const Rgb8& picture) {
  const vireo::Result<vireo::Output> out =
      session_.run(vireo::Image{picture.rgb.data(), picture.width, picture.height, 0});
  if (!out) return out.error();
  output_ = *out;
  return vireo::Ticket{1};
}

vireo::Result<void> Segmenter::wait(vireo::Ticket, ClassMap* map, double* ms) {
  *ms = output_.ms;
  return read_class_map(output_, 0, classes(), map);
}

}  // namespace cli
