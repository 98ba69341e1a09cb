// A small strict reader for the XML that the tests look at: elements, attributes in double quotes, text, the
// five named references and numeric ones. No comments, no CDATA, no DTD: our writer uses none.
#pragma once

#include <map>
#include <string>

namespace plumb::reports::testing {

struct xml_counts {
  std::string error;                    ///< empty for well-formed text
  std::map<std::string, int> elements;  ///< how often each name occurs
};

xml_counts read_xml(const std::string& text);

}  // namespace plumb::reports::testing
