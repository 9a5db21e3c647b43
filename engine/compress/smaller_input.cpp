#include "compress/smaller_input.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "model/input_size.h"

namespace vireo::compress {
namespace {

/// The patches of a ViT's input, [1, rows, columns, width]; null where the network is none.
const TensorDesc* patches_of(const Graph& g) {
  for (const Node& n : g.nodes)
    if (n.op == OpKind::kTokens) return &g.value(n.inputs[0]).desc;
  return nullptr;
}

/// `size` and `crop_size` of a preprocessor_config.json in which everything else stays.
Result<std::string> said(const LoadedModel& model, const PreprocessConfig& c) {
  OrderedJson json = read_ordered_json(model.preprocessor_text());
  if (!json.is_object())
    return fail(
        ErrorCode::kUnsupported,
        "compress: '{}' has no preprocessor_config.json, in which another input size is said; add one, or leave "
        "out the recipe of a smaller input",
        model.source().path);
  const auto both = [](int64_t h, int64_t w) { return OrderedJson{{"height", h}, {"width", w}}; };
  if (c.resize == PreprocessConfig::Resize::kExact) json["size"] = both(c.resize_h, c.resize_w);
  if (c.resize == PreprocessConfig::Resize::kShortestEdge) {
    json["size"] = OrderedJson{{"shortest_edge", c.shortest}};
    if (c.longest > 0) json["size"]["longest_edge"] = c.longest;
  }
  if (c.crop) json["crop_size"] = both(c.crop_h, c.crop_w);
  return write_json(json, 2) + "\n";
}

}  // namespace

Result<LoadedModel> with_smaller_input(const LoadedModel& model, double percent) {
  const PreprocessConfig& own = model.preprocess();
  VIREO_ASSIGN(const Graph g, model.build(model.has_classes() ? Head::kLogits : Head::kFeatures, 1));
  const TensorDesc* const patches = patches_of(g);
  const bool fixed = !keeps_proportions(own) && (own.crop || own.resize == PreprocessConfig::Resize::kExact);
  if (patches == nullptr || model.task() == Task::kSegmentation || !fixed)
    return fail(ErrorCode::kUnsupported,
                "compress: '{}' ({}) cannot have a smaller input: {}. A ViT, DeiT or DINOv2 whose pictures all get one "
                "size can have it",
                model.source().path, model.architecture(),
                patches == nullptr                    ? "it has no table of positions to fit to fewer patches"
                : model.task() == Task::kSegmentation ? "it answers for every pixel of its input"
                                                      : "each picture keeps its own proportions");
  const int64_t rows = patches->shape.h(), cols = patches->shape.w();
  const auto fewer = [&](int64_t n) { return std::max<int64_t>(1, std::llround(double(n) * percent / 100)); };
  if (fewer(rows) >= rows || fewer(cols) >= cols)
    return fail(
        ErrorCode::kInvalidArgument,
        "compress: '{}' sees {} x {} patches, of which {:g} % of each side are as many; leave out the recipe of "
        "a smaller input, or choose a smaller one",
        model.source().path, rows, cols, percent);
  const int64_t h = fewer(rows) * (model.input_h() / rows), w = fewer(cols) * (model.input_w() / cols);
  VIREO_ASSIGN(std::string text, said(model, preprocess_for(own, h, w)));
  return LoadedModel::from_parts(model.source(), std::move(text), model.source().path);
}

}  // namespace vireo::compress
