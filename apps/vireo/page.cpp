#include "page.h"

namespace cli {

/// The text of a file of apps/vireo/page/; null if there is none. (Generated at build time.)
const char* page_part(const std::string& file);

namespace {

std::string part(const std::string& file) {
  const char* text = page_part(file);
  return text ? text : "";
}

std::string escaped(const std::string& s) {
  std::string out;
  for (char c : s) out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

}  // namespace

std::string html_page(const std::string& title, const std::string& script, const Json& data) {
  std::string json = vireo::write_json(data);
  // Within a script element only "</" and "<!--" mean anything to HTML.
  for (size_t at = 0; (at = json.find('<', at)) != std::string::npos; at += 6) json.replace(at, 1, "\\u003c");
  return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         escaped(title) + "</title>\n<style>\n" + part("page.css") +
         "</style>\n</head>\n<body>\n<main id=\"main\"></main>\n<div id=\"tip\" role=\"status\"></div>\n"
         "<noscript>This page draws itself with JavaScript, which is off.</noscript>\n"
         "<script id=\"data\" type=\"application/json\">" +
         json + "</script>\n<script>\n" + part("common.js") + part(script) + "</script>\n</body>\n</html>\n";
}

}  // namespace cli
