// Result<T>: a value or an error, moved, copied and destroyed as often as it is made.
#include <gtest/gtest.h>

#include <memory>
#include <type_traits>
#include <vector>

#include <vireo/result.hpp>

namespace vireo {
namespace {

// Counts those alive, so that a value that is never destroyed, or twice, is seen.
struct Counted {
  explicit Counted(int number) : number(number) { ++alive; }
  Counted(const Counted& other) : number(other.number) { ++alive; }
  Counted(Counted&& other) noexcept : number(other.number) {
    other.number = -1;
    ++alive;
  }
  ~Counted() { --alive; }
  Counted& operator=(const Counted&) = default;
  Counted& operator=(Counted&&) = default;

  int number;
  static int alive;
};
int Counted::alive = 0;

Error failure(const char* message) { return {ErrorCode::kNotFound, message}; }

TEST(ResultValue, IsDestroyedOnce) {
  {
    Result<Counted> value = Counted(7);
    Result<Counted> copy = value;
    EXPECT_EQ(copy->number, 7);
    EXPECT_EQ(value->number, 7);
    Result<Counted> moved = std::move(value);
    EXPECT_EQ(moved->number, 7);
    EXPECT_EQ(Counted::alive, 3);

    const Counted taken = *std::move(moved);
    EXPECT_EQ(taken.number, 7);
  }
  EXPECT_EQ(Counted::alive, 0);
}

TEST(ResultValue, EveryAssignmentBetweenValuesAndErrors) {
  {
    for (const bool from_value : {false, true}) {
      for (const bool to_value : {false, true}) {
        const auto make = [](bool value, int number, const char* message) -> Result<Counted> {
          if (value) return Counted(number);
          return failure(message);
        };
        const auto expect = [&](const Result<Counted>& result) {
          ASSERT_EQ(result.ok(), from_value);
          if (from_value) {
            EXPECT_EQ(result->number, 1);
          } else {
            EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
            EXPECT_EQ(result.error().message, "a sentence longer than a short string's buffer");
          }
        };
        Result<Counted> source = make(from_value, 1, "a sentence longer than a short string's buffer");
        Result<Counted> target = make(to_value, 2, "another sentence, as long as the first one of them");
        target = source;
        expect(target);
        expect(source);
        Result<Counted> other = make(to_value, 3, "a third sentence, as long as the others have been");
        other = std::move(source);
        expect(other);
        Result<Counted>& itself = other;
        other = itself;
        expect(other);
      }
    }
  }
  EXPECT_EQ(Counted::alive, 0);
}

TEST(ResultValue, IsCopiedOnlyWhereItsValueIs) {
  using Owner = Result<std::unique_ptr<int>>;
  static_assert(!std::is_copy_constructible<Owner>::value && !std::is_copy_assignable<Owner>::value, "");
  static_assert(std::is_nothrow_move_constructible<Owner>::value && std::is_nothrow_move_assignable<Owner>::value, "");
  static_assert(std::is_copy_constructible<Result<std::string>>::value, "");
  std::vector<Owner> owners;
  for (int i = 0; i < 20; ++i) owners.push_back(std::make_unique<int>(i));  // grows by moving
  owners[3] = failure("none");
  EXPECT_FALSE(owners[3].ok());
  EXPECT_EQ(**owners[19], 19);
}

}  // namespace
}  // namespace vireo
