// Result<T> and Error: how every fallible call of Vireo answers.
// No exception crosses the API; nothing is printed; an ignored Result is a compiler warning.
#ifndef VIREO_RESULT_HPP
#define VIREO_RESULT_HPP

#include <new>
#include <string>
#include <type_traits>
#include <utility>

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

namespace detail {

// A T or an Error beside a flag. Not std::variant, which GCC lays out in one way until version 7 and in another since:
// with this, a library compiled by a new GCC serves programs that the GCC 7 of JetPack 4.6 compiles.
template <typename T>
class ValueOrError {
 public:
  explicit ValueOrError(T&& value) : ok_(true) { ::new (&value_) T(std::move(value)); }
  explicit ValueOrError(Error&& error) : ok_(false) { ::new (&error_) Error(std::move(error)); }
  ValueOrError(const ValueOrError& other) : ok_(other.ok_) {
    if (ok_) {
      ::new (&value_) T(other.value_);
    } else {
      ::new (&error_) Error(other.error_);
    }
  }
  ValueOrError(ValueOrError&& other) noexcept : ok_(other.ok_) { take(other); }
  ValueOrError& operator=(const ValueOrError& other) {
    if (this != &other) *this = ValueOrError(other);  // what can throw is done before anything is lost
    return *this;
  }
  ValueOrError& operator=(ValueOrError&& other) noexcept {
    if (this != &other) {
      destroy();
      ok_ = other.ok_;
      take(other);
    }
    return *this;
  }
  ~ValueOrError() { destroy(); }

  bool ok_;
  union {
    T value_;
    Error error_;
  };

 private:
  void take(ValueOrError& other) noexcept {
    static_assert(std::is_nothrow_move_constructible<T>::value, "vireo::Result holds what moves without throwing");
    if (ok_) {
      ::new (&value_) T(std::move(other.value_));
    } else {
      ::new (&error_) Error(std::move(other.error_));
    }
  }
  void destroy() noexcept {
    if (ok_) {
      value_.~T();
    } else {
      error_.~Error();
    }
  }
};

// A member of this type makes a class copyable exactly where its T is.
template <bool kCopyable>
struct Copyable {};
template <>
struct Copyable<false> {
  Copyable() = default;
  Copyable(const Copyable&) = delete;
  Copyable(Copyable&&) = default;
  Copyable& operator=(const Copyable&) = delete;
  Copyable& operator=(Copyable&&) = default;
};

}  // namespace detail

/// Either a T or an Error. Test with `if (!r)`, then use `*r`, `r->` or `r.error()`.
template <typename T>
class [[nodiscard]] Result : private detail::Copyable<std::is_copy_constructible<T>::value> {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}

  bool ok() const noexcept { return state_.ok_; }
  explicit operator bool() const noexcept { return ok(); }

  T& operator*() & { return state_.value_; }
  const T& operator*() const& { return state_.value_; }
  T&& operator*() && { return std::move(state_.value_); }
  T* operator->() { return &state_.value_; }
  const T* operator->() const { return &state_.value_; }
  Error& error() { return state_.error_; }
  const Error& error() const { return state_.error_; }

 private:
  detail::ValueOrError<T> state_;
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
