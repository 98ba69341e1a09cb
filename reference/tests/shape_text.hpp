// What problem text comes to: its canonical form, a shape of it, or the sentence that refuses it.
#pragma once

#include <string>
#include <string_view>

#include "reference/layers/catalogue.hpp"

namespace plumb {

inline std::string canonical(std::string_view text) { return plumb::bind(text)->canonical().print(); }
inline std::string output(std::string_view text, const char* tensor = "y") {
  return to_string(plumb::bind(text)->shapes()[tensor]);
}
inline std::string complaint(std::string_view text) {
  try {
    (void)plumb::bind(text);
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

}  // namespace plumb
