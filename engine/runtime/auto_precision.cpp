// Precision::kAuto: the fastest of fp32, fp16 and int8. Times are predicted where the device has a description, and
// else measured; which answers may be trusted is asked of the device itself, with a test picture.
#include <algorithm>
#include <cmath>

#include "runtime/model_impl.h"
#include "runtime/session_impl.h"

#include <vireo/predict.hpp>

namespace vireo {
namespace {

/// Preprocessed pixels of lines, slopes and grain, of a few units as those of photographs are.
std::vector<float> test_picture(size_t n, int width) {
  std::vector<float> p(n);
  uint32_t noise = 1;
  for (size_t i = 0; i < n; ++i) {
    noise = noise * 1664525u + 1013904223u;
    const double x = double(i % size_t(width)), y = double(i / size_t(width));
    p[i] =
        float(std::sin(0.06 * x + 0.002 * y) + 0.6 * std::sin(0.17 * y) + 0.4 * (double(noise >> 8) / (1 << 23) - 1));
  }
  return p;
}

/// How far an answer is from fp32's: the largest difference as a part of the largest value, or the share of pixels that
/// have another class.
double distance(Head head, const std::vector<float>& got, const std::vector<float>& expected) {
  double largest = 0, worst = 0, other = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::fabs(double(got[i]) - double(expected[i]));
    // No answer at all: scores that are no numbers are class -1 of a map.
    if (std::isnan(error) || (head == Head::kClassMap && !(got[i] >= 0))) return INFINITY;
    worst = std::max(worst, error);
    largest = std::max(largest, std::fabs(double(expected[i])));
    other += got[i] != expected[i];
  }
  if (head == Head::kClassMap) return other / double(expected.size());
  return largest > 0 ? worst / largest : worst;
}

/// "int8 38.2 ms, fp16 39.0 ms, fp32 64.5 ms"
std::string times_text(const PrecisionTimes& times) {
  std::string s;
  for (const auto& [precision, us] : times)
    s += fmt::format("{}{} {:.1f} ms", s.empty() ? "" : ", ", to_string(precision), us / 1e3);
  return s;
}

void sort_by_time(PrecisionTimes& times) {
  std::stable_sort(times.begin(), times.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
}

}  // namespace

Result<PrecisionTimes> predicted_times(const Model& model, const std::string& caps_text, const SessionOptions& options,
                                       const std::string& machine) {
  PrecisionTimes times;
  for (const Precision p : kAutoPrecisions) {
    PredictOptions o;
    o.session = options;
    o.session.precision = p;
    o.machine = machine;
    VIREO_ASSIGN(const Prediction made, predict(model, caps_text, o));
    times.push_back({p, made.us});
  }
  sort_by_time(times);
  return times;
}

Result<SessionOptions> with_precision(const Model& model, const std::string& caps_text, SessionOptions options,
                                      const std::string& machine, std::vector<std::string>* notes) {
  if (options.precision != Precision::kAuto || !options.policy.empty()) return resolved(model, options);
  Result<PrecisionTimes> times = predicted_times(model, caps_text, options, machine);
  if (!times)
    return fail(times.error().code, "precision auto needs the times of fp32, fp16 and int8 on the device: {}",
                times.error().message);
  options.precision = times->front().first;
  notes->push_back(
      fmt::format("precision auto is {}, predicted: {}; a session asks the device for their accuracy first",
                  to_string(options.precision), times_text(*times)));
  return options;
}

Result<std::vector<float>> Session::Impl::answer_to(const std::vector<float>& pixels) {
  Slot& s = slots[0];
  s.pixels = pixels;
  const auto ask = [&]() -> Result<void> {
    VIREO_TRY(start(0));
#if VIREO_VULKAN
    if (gpu) VIREO_TRY(gpu->wait(0));
#endif
    return check_validation();
  };
  Result<void> done = ask();
  if (!done && options.fallback && !cpu && may_fall_back(done.error())) {
    VIREO_TRY(fall_back(done.error()));
    done = ask();
  }
  VIREO_TRY(done);
  gather(0);
  return s.result;
}

Result<std::unique_ptr<Session::Impl>> Session::Impl::open_fastest(const Model& model, const Device& device,
                                                                   const SessionOptions& options) {
  const auto open_in = [&](Precision p) {
    SessionOptions o = options;
    o.precision = p;
    return opened(model, device, o);
  };
  VIREO_ASSIGN(std::unique_ptr<Impl> exact, open_in(Precision::kFp32));
  const std::vector<float> pixels = test_picture(exact->input_floats(), exact->width);
  VIREO_ASSIGN(const std::vector<float> expected, exact->answer_to(pixels));

  Result<PrecisionTimes> predicted = predicted_times(model, device.caps_text(), options, "");
  PrecisionTimes times;
  std::string left_out;
  if (predicted) {
    times = std::move(*predicted);
  } else {
    constexpr int kRuns = 3;  // the fastest of them counts, behind one that warms up
    for (const Precision p : kAutoPrecisions) {
      std::unique_ptr<Impl> other;
      if (p != Precision::kFp32) {
        Result<std::unique_ptr<Impl>> made = open_in(p);
        if (!made) {
          left_out += fmt::format("; not {}: {}", to_string(p), made.error().message);
          continue;
        }
        other = std::move(*made);
      }
      Impl& session = other ? *other : *exact;
      double best = INFINITY;
      for (int i = 0; i <= kRuns; ++i) {
        const auto start = Clock::now();
        VIREO_TRY(session.answer_to(pixels));
        if (i > 0) best = std::min(best, std::chrono::duration<double, std::micro>(Clock::now() - start).count());
      }
      times.push_back({p, best});
    }
    sort_by_time(times);
  }

  for (const auto& each : times) {
    const Precision p = each.first;
    double off = 0;
    std::unique_ptr<Impl> session;
    std::string why;
    if (p == Precision::kFp32) {
      session = std::move(exact);
      if (!session) {
        VIREO_ASSIGN(session, open_in(p));
      }
    } else {
      exact.reset();  // a board has no room for the weights of both
      Result<std::unique_ptr<Impl>> made = open_in(p);
      if (made) {
        const Result<std::vector<float>> got = (*made)->answer_to(pixels);
        if (!got) return got.error();
        off = distance(options.head, *got, expected);
        if (off <= default_tolerance(p)) session = std::move(*made);
        else
          why = fmt::format("its answer to a test picture is off by {:.2g} where {} is allowed", off,
                            default_tolerance(p));
      } else {
        why = made.error().message;
      }
    }
    if (!session) {
      left_out += fmt::format("; not {}: {}", to_string(p), why);
      continue;
    }
    session->precision_reason = fmt::format(
        "auto: {} ({}){}{}", predicted ? "predicted" : "measured", times_text(times), left_out,
        p == Precision::kFp32 ? ""
                              : fmt::format("; {}'s answer to a test picture is off by {:.2g}, {} is allowed",
                                            to_string(p), off, default_tolerance(p)));
    return session;
  }
  return fail(ErrorCode::kInternal, "precision auto: fp32 is not among the choices");
}

}  // namespace vireo
