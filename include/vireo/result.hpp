// Result<T> and Error: how every fallible call of Vireo answers.
// No exception crosses the API; nothing is printed; an ignored Result is a compiler warning.
#ifndef VIREO_RESULT_HPP
#define VIREO_RESULT_HPP

#include <string>
#include <utility>
#include <variant>

#include <vireo/types.hpp>

namespace vireo {

/// What kind of failure an Error is; the sentence for people is in Error::message.
enum class ErrorCode {
  kInvalidArgument,  ///< the caller's argument is wrong (shape, range, option)
  kNotFound,         ///< a file, tensor, device or name does not exist
  kIo,               ///< reading or writing failed
  kCorrupt,          ///< a file's content is damaged or contradicts itself
  kUnsupported,      ///< understood, but this build, device or model family cannot do it
  kOutOfMemory,      ///< host or device memory ran out
  kDeviceLost,       ///< the GPU stopped answering
  kInternal,         ///< a defect of Vireo's own; please report it
};

/// Stable lower-case name of a code ("invalid_argument", ...).
VIREO_API const char* to_string(ErrorCode code) noexcept;

/// A failure: who, what, got, expected, what now, in one sentence or two.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

/// Either a T or an Error. Test with `if (!r)`, then use `*r`, `r->` or `r.error()`.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  T& operator*() & { return *std::get_if<0>(&state_); }
  const T& operator*() const& { return *std::get_if<0>(&state_); }
  T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }
  Error& error() { return *std::get_if<1>(&state_); }
  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

/// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}

  bool ok() const noexcept { return !failed_; }
  explicit operator bool() const noexcept { return ok(); }
  Error& error() { return error_; }
  const Error& error() const { return error_; }

 private:
  bool failed_ = false;
  Error error_;
};

}  // namespace vireo

#endif  // VIREO_RESULT_HPP
