// Building and passing on errors inside the engine.
#pragma once

#include <exception>
#include <new>
#include <utility>

#include <fmt/format.h>

#include <vireo/result.hpp>

namespace vireo {

/// fail(ErrorCode::kNotFound, "tensor '{}' ...", name): an Error with a formatted sentence.
template <typename... Args>
[[nodiscard]] Error fail(ErrorCode code, fmt::format_string<Args...> text, Args&&... args) {
  return Error{code, fmt::format(text, std::forward<Args>(args)...)};
}

/// The one error that must be made without memory at hand: its text may have to be one that needs none.
inline Error out_of_memory() noexcept {
  try {
    return {ErrorCode::kOutOfMemory, "the system has no memory left for this model, batch and input size"};
  } catch (...) {
    return {ErrorCode::kOutOfMemory, "out of memory"};  // short enough to lie within the string itself
  }
}

/// An Error on its way out of a function whose signature has no room for one (Constant::read), as far as the next
/// no_throw.
class Failure final : public std::exception {
 public:
  explicit Failure(Error error) : error_(std::move(error)) {}
  const Error& error() const { return error_; }
  const char* what() const noexcept override { return error_.message.c_str(); }

 private:
  Error error_;
};

/// Runs f(), which returns a Result, and turns an exception into an Error: none crosses the API.
template <typename F>
auto no_throw(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const std::exception& e) {
    try {
      if (const auto* failure = dynamic_cast<const Failure*>(&e)) return failure->error();
      return fail(ErrorCode::kInternal, "unexpected: {}", e.what());
    } catch (...) {
      return out_of_memory();
    }
  }
}

}  // namespace vireo

#define VIREO_CONCAT_INNER(a, b) a##b
#define VIREO_CONCAT(a, b) VIREO_CONCAT_INNER(a, b)

/// Passes an Error on to the caller; for expressions of type Result<void>.
#define VIREO_TRY(expr)                                  \
  do {                                                   \
    auto vireo_try = (expr);                             \
    if (!vireo_try) return std::move(vireo_try.error()); \
  } while (false)

/// VIREO_ASSIGN(auto x, f()): declares x from f()'s value or passes its Error on.
#define VIREO_ASSIGN(decl, expr) VIREO_ASSIGN_IMPL(VIREO_CONCAT(vireo_result_, __LINE__), decl, expr)
#define VIREO_ASSIGN_IMPL(tmp, decl, expr) \
  auto tmp = (expr);                       \
  if (!tmp) return std::move(tmp.error()); \
  decl = std::move(*tmp)
