// Answers that are no numbers. fp16 ends at 65504, and a network whose activations go beyond gives NaN: such an answer
// is computed again in fp32 by a second session, which is opened when it is first needed, and says so.
#include <algorithm>
#include <cmath>

#include "base/finite.h"
#include "runtime/session_impl.h"

namespace vireo {
namespace {

/// So many answers of fp32 in a row, and the session stays with it: a camera must not pay for two inferences per
/// picture.
constexpr int kSettleAfter = 3;

/// Preprocessed pixels are a few units, or up to 255 where nothing is rescaled.
constexpr float kAbsurdPixel = 1e6f;

bool is_answer(Head head, const std::vector<float>& values) {
  if (head != Head::kClassMap) return all_finite(values.data(), values.size());
  bool classes = true;  // -1 stands for a pixel with a score that is no finite number
  for (const float c : values) classes &= c >= 0;
  return classes;
}

std::string text_of(float v) { return std::isnan(v) ? "nan" : fmt::format("{:.4g}", v); }

}  // namespace

/// The input first: with an absurd one no precision and no model has an answer.
Error Session::Impl::not_finite(const Slot& s) const {
#if VIREO_VULKAN
  const bool seen = buffers.input == VK_NULL_HANDLE;
#else
  const bool seen = true;
#endif
  size_t largest = 0;
  if (seen) {
    const auto before = [](float a, float b) { return std::isnan(b) ? !std::isnan(a) : std::fabs(a) < std::fabs(b); };
    largest = size_t(std::max_element(s.pixels.begin(), s.pixels.end(), before) - s.pixels.begin());
    const float v = s.pixels[largest];
    if (!(std::fabs(v) <= kAbsurdPixel)) {
      const size_t w = size_t(width), h = size_t(height), c = size_t(model.channels());
      return fail(ErrorCode::kInvalidArgument,
                  "session: the answer is no finite number, because the input is none: image {}, channel {}, row {}, "
                  "column {} is {}; expected pixels "
                  "after preprocessing, of a few units",
                  largest / (c * h * w), largest / (h * w) % c, largest / w % h, largest % w, text_of(v));
    }
  }
  const bool map = options.head == Head::kClassMap;
  size_t bad = 0, first = 0;
  for (size_t i = s.result.size(); i-- > 0;)
    if (map ? !(s.result[i] >= 0) : !std::isfinite(s.result[i])) ++bad, first = i;
  const size_t each = s.result.size() / size_t(options.batch);
  const std::string what =
      map ? fmt::format("the scores of {} of {} pixels are no finite numbers (first: image {}, pixel {})", bad,
                        s.result.size(), first / each, first % each)
          : fmt::format("{} of {} values of the answer are no finite numbers (first: image {}, value {} is {})", bad,
                        s.result.size(), first / each, first % each, text_of(s.result[first]));
  if (options.precision != Precision::kFp32 || !options.policy.empty())
    return fail(
        ErrorCode::kInvalidArgument, "model '{}' in {}: {}{}; use fp32, or leave SessionOptions::recompute on",
        model.name(), options.policy.empty() ? to_string(options.precision) : "its policy", what,
        options.precision == Precision::kFp16 || planned.plan.activations == DType::kF16 ? "; fp16 ends at 65504" : "");
  return fail(ErrorCode::kCorrupt,
              "model '{}' in fp32: {}{}; its weights are so large that sums overflow, or the file is damaged: get the "
              "checkpoint anew",
              model.name(), what,
              seen ? fmt::format(" (the largest input is {})", text_of(s.pixels[largest]))
                   : " (the input lies in the application's buffer, which was not looked at)");
}

Result<void> Session::Impl::open_fp32() {
  if (fp32) return {};
  SessionOptions o = options;
  o.precision = Precision::kFp32;
  o.policy.clear();
  o.recompute = false;  // what fp32 cannot do is an error
  o.fallback = false;   // a device that fails here fails for this session, which then goes on with the CPU
  o.keep_all = false;
  o.on_inference = nullptr;
  o.latency_window = 1;
  auto s = std::make_unique<Impl>(model, place == 0 ? device : Device(make_cpu_device(device.impl()->threads, "")),
                                  std::move(o));
  s->unfused = unfused;
#if VIREO_VULKAN
  if (gpu) s->buffers.input = buffers.input, s->buffers.input_offset = buffers.input_offset;
#endif
  VIREO_TRY(s->open());
  for (const std::string& text : s->warnings)
    if (std::find(warnings.begin(), warnings.end(), text) == warnings.end()) warnings.push_back(text);
  fp32 = std::move(s);
  return {};
}

Result<void> Session::Impl::start_in_fp32(Slot& s) {
#if VIREO_VULKAN
  const bool external = fp32->buffers.input != VK_NULL_HANDLE;
#else
  const bool external = false;
#endif
  if (!external) VIREO_TRY(prepare(s));
  VIREO_ASSIGN(s.in_fp32, fp32->submit(external ? nullptr : s.pixels.data(), external ? 0 : s.pixels.size(), 0, s.map));
  return {};
}

Result<void> Session::Impl::finish_in_fp32(Slot& s) {
  const Ticket ticket = s.in_fp32;
  s.in_fp32 = {};
  VIREO_ASSIGN([[maybe_unused]] const Output out, fp32->wait(ticket));
  s.result.swap(
      fp32->slots[size_t(fp32->last_slot)].result);  // the session's own memory: it stays as long as Output says
  Place p{places[place].kind, fp32->places[fp32->place].name, places[place].reason};
  const char* name = options.policy.empty() ? to_string(options.precision) : "the policy";
  const std::string why = options.policy.empty() && planned.plan.activations == DType::kF16
                              ? fmt::format("{} overflowed (values past 65504)", name)
                              : fmt::format("{} gave values that are no finite numbers", name);
  p.reason += fmt::format(
      "{}{}{}", p.reason.empty() ? "" : "; ", why,
      settled ? fmt::format(" {} times in a row; fp32 is used from then on", kSettleAfter) : "; recomputed in fp32");
  const auto same = [&p](const Place& q) { return q.kind == p.kind && q.name == p.name && q.reason == p.reason; };
  auto known = std::find_if(recomputed_places.begin(), recomputed_places.end(), same);
  if (known == recomputed_places.end()) known = recomputed_places.insert(known, std::move(p));
  s.recomputed = &*known;
  return {};
}

Result<void> Session::Impl::answer_is_finite(int slot) const {
#if VIREO_VULKAN
  if (gpu && buffers.output != VK_NULL_HANDLE) return {};
#endif
  const Slot& s = slots[size_t(slot)];
  if (is_answer(options.head, s.result)) return {};
  return not_finite(s);
}

Result<void> Session::Impl::check_answer(int slot) {
  Result<void> finite = answer_is_finite(slot);
  if (finite) {
    recomputed_in_a_row = 0;
    return {};
  }
  Slot& s = slots[size_t(slot)];
  if (s.unprepared) {
    VIREO_TRY(prepare(s));
    finite = answer_is_finite(slot);
  }
  const bool in_fp32 = options.precision == Precision::kFp32 && options.policy.empty();
  if (in_fp32 || !options.recompute || !all_finite(s.pixels.data(), s.pixels.size())) return finite;
  const auto again = [&]() -> Result<void> {
    VIREO_TRY(open_fp32());
    VIREO_TRY(start_in_fp32(s));
    return finish_in_fp32(s);
  };
  if (Result<void> done = again(); !done)
    return fail(done.error().code, "{} gave values that are no finite numbers; computing again in fp32: {}",
                to_string(options.precision), done.error().message);
  if (++recomputed_in_a_row < kSettleAfter || settled || options.keep_all) return {};
  settled = true;
  warnings.push_back(fmt::format("{} answers in a row of {} were no finite numbers: fp32 is used from now on",
                                 kSettleAfter, to_string(options.precision)));
  return {};
}

void Session::Impl::drop_fp32() {
  fp32.reset();
  recomputed = nullptr;
  settled = false;
  recomputed_in_a_row = 0;
  for (Slot& s : slots) s.in_fp32 = {};
}

}  // namespace vireo
