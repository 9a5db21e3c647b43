// Segmenting: see segmenter.h.
#include "segmenter.h"

namespace cli {
namespace {

vireo::Model open_segmentation_model(Common& common) {
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

CLI::Option* add_map_resize(CLI::App& verb, MapResize& resize) {
  return verb
      .add_option_function<std::string>(
          "--map-resize",
          [&resize](const std::string& text) {
            resize = text == "nearest" ? MapResize::kNearest : MapResize::kBilinear;
          },
          "how the class map gets its size: bilinear (the scores at that size, then the largest, as Transformers' "
          "post_process_semantic_segmentation) or nearest (the classes of the model's input, the nearest pixel's) "
          "[bilinear]")
      ->check(one_of("way to resize a map", {"bilinear", "nearest"}))
      ->type_name("HOW");
}

Segmenter::Segmenter(Common& common, MapResize resize, const Governing& governing)
    : model_(open_segmentation_model(common)),
      levels_(model_, common, vireo::Head::kClassMap, governing),
      resize_(resize) {}

std::vector<std::string> Segmenter::labels() const {
  std::vector<std::string> labels;
  for (int c = 0; c < classes(); ++c) labels.push_back(model_.label(c));
  return labels;
}

vireo::Result<void> Segmenter::read(const vireo::Output& out, int width, int height, ClassMap* map) {
  if (resize_ == MapResize::kBilinear) return read_class_map(out, 0, classes(), map);
  if (auto read = read_class_map(out, 0, classes(), &small_); !read) return read;
  resize_nearest(small_, width, height, map);
  return {};
}

vireo::Result<void> Segmenter::segment(const vireo::Image& picture, int width, int height, ClassMap* map,
                                       double* ms) try {
  vireo::Session& session = levels_.sessions().for_picture(picture.upright_width(), picture.upright_height());
  const auto ticket = session.submit(&picture, 1, map_size(width, height));
  if (!ticket) return ticket.error();
  const vireo::Result<vireo::Output> out = session.wait(*ticket);
  if (!out) return out.error();
  *ms = out->ms;
  return read(*out, width, height, map);
} catch (const Failure& failure) {  // no session for this picture's size
  return vireo::Error{vireo::ErrorCode::kInvalidArgument, failure.what()};
}

}  // namespace cli
