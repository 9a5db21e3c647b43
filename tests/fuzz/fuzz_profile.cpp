// libFuzzer target: the JSON of a profile (profile --compare) from a stranger. What is accepted makes a page from which
// no text of the file can break out, or it is a sentence.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "profile_compare.h"
#include "profile_page.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using cli::Json;
  try {
    const Json profile = cli::parse_profile(std::string(reinterpret_cast<const char*>(data), size), "fuzz.json");
    static const size_t tags = [] {
      const std::string empty = cli::profile_page(Json::array());
      size_t n = 0;
      for (size_t at = 0; (at = empty.find('<', at)) != std::string::npos; ++at) ++n;
      return n;
    }();
    const std::string page = cli::profile_page(Json::array({profile, profile}),
                                               cli::compare_profiles(profile, profile, "fuzz.json", "fuzz.json"));
    size_t n = 0;
    for (size_t at = 0; (at = page.find('<', at)) != std::string::npos; ++at) ++n;
    if (n != tags) std::abort();
  } catch (const cli::Failure& refusal) {
    if (std::string(refusal.what()).find("fuzz.json") == std::string::npos) std::abort();
  }
  return 0;
}
