// From view to text through the Mustache library of Debian (kainjow).
#include "reports/render.hpp"

#include <kainjow/mustache.hpp>
#include <stdexcept>

#include "reports/assets.hpp"

namespace plumb::reports {

namespace {

using mustache_data = kainjow::mustache::data;

mustache_data to_mustache(const json& value) {
  switch (value.type()) {
    case json::value_t::object: {
      mustache_data object(mustache_data::type::object);
      for (const auto& [key, member] : value.items()) {
        object.set(key, to_mustache(member));
        if (member.is_array()) object.set("any_" + key, mustache_data(!member.empty()));
      }
      return object;
    }
    case json::value_t::array: {
      mustache_data list(mustache_data::type::list);
      for (const json& member : value) list.push_back(to_mustache(member));
      return list;
    }
    case json::value_t::boolean:
      return mustache_data(value.get<bool>());
    case json::value_t::string: {
      // An empty text is "no": its section is left out, and an outer value of the same name does not shine
      // through.
      const std::string text = value.get<std::string>();
      return text.empty() ? mustache_data(false) : mustache_data(text);
    }
    default:
      throw std::logic_error("a view holds text, flags, lists and objects, not " + value.dump());
  }
}

}  // namespace

std::string render_template(const std::string& name, const json& view, const escape_function& escape) {
  mustache_data data = to_mustache(view);
  for (const char* partial : {"failure", "replay", "tensor", "matrix", "worst", "heat", "kernel", "layer",
                              "bench", "comparison", "audit", "fingerprint", "sweep", "oracle"}) {
    if (!name.ends_with(".html")) break;
    // Partials are looked up like values: a name that no view key has, or a kernel's name would be run as a
    // template.
    data.set("part_" + std::string(partial), mustache_data(kainjow::mustache::partial([partial] {
               return std::string(asset(std::string(partial) + ".html"));
             })));
  }
  kainjow::mustache::mustache page{std::string(asset(name))};
  page.set_custom_escape(escape);
  std::string text = page.render(data);
  if (!page.is_valid()) throw std::logic_error("template " + name + ": " + page.error_message());
  return text;
}

}  // namespace plumb::reports
