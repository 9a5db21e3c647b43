// The one place where fmt's formatting core is compiled. fmt is used as headers only, so that nothing has to be linked;
// but compiling its core in every file would take most of the build's time. So the engine's files see declarations, and
// this file, with FMT_HEADER_ONLY, has the (inline, hence weak) definitions. Taking an address emits vformat, and -O0
// (see Library.cmake) emits whatever it calls instead of inlining it.
#define FMT_HEADER_ONLY
#include <fmt/format.h>

namespace vireo {
extern std::string (*const fmt_core)(fmt::string_view, fmt::format_args);
std::string (*const fmt_core)(fmt::string_view, fmt::format_args) = &fmt::vformat;
// What the templates that other files instantiate call (compiled without optimisation they call more than with it).
extern bool (*const fmt_printable)(uint32_t);
bool (*const fmt_printable)(uint32_t) = &fmt::detail::is_printable;
extern fmt::detail::thousands_sep_result<char> (*const fmt_separator)(fmt::detail::locale_ref);
fmt::detail::thousands_sep_result<char> (*const fmt_separator)(fmt::detail::locale_ref) =
    &fmt::detail::thousands_sep_impl<char>;
}  // namespace vireo
