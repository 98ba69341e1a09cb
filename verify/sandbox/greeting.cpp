#include "verify/sandbox/greeting.hpp"

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace plumb {
namespace {

using json = nlohmann::json;

template <class T>
std::vector<std::string> names_of(const std::vector<T>& list) {
  std::vector<std::string> names;
  for (const T& value : list) names.emplace_back(name_of(value));
  return names;
}

layout to_layout(const std::string& name) {
  for (const layout l : {layout::nchw, layout::nhwc})
    if (name == name_of(l)) return l;
  throw std::invalid_argument("`" + name + "` is not a layout");
}

json to_json(const kernel_info& k) {
  return {{"name", k.name},
          {"layer", k.layer},
          {"pass", k.pass},
          {"types", names_of(k.types)},
          {"layouts", names_of(k.layouts)},
          {"device", k.device},
          {"arithmetic", k.arithmetic},
          {"ulps", k.accuracy.ulps},
          {"determinism", static_cast<int>(k.determinism)},
          {"any_strides", k.any_strides},
          {"peer", k.peer},
          {"unavailable", k.unavailable},
          {"plugin", k.plugin},
          {"floating_point", k.floating_point}};
}

kernel_info from_json(const json& j) {
  kernel_info k;
  k.name = j.at("name");
  k.layer = j.at("layer");
  k.pass = j.at("pass");
  for (const std::string name : j.at("types")) k.types.push_back(parse_dtype(name).value());
  for (const std::string name : j.at("layouts")) k.layouts.push_back(to_layout(name));
  k.device = j.at("device");
  k.arithmetic = j.at("arithmetic");
  k.accuracy.ulps = j.at("ulps");
  k.determinism = static_cast<determinism>(j.at("determinism").get<int>());
  k.any_strides = j.at("any_strides");
  k.peer = j.at("peer");
  k.unavailable = j.at("unavailable");
  k.plugin = j.at("plugin");
  k.floating_point = j.at("floating_point");
  return k;
}

}  // namespace

kernel_info describe(const kernel& k) {
  kernel_info info;
  info.name = k.name;
  info.layer = k.layer;
  info.pass = k.pass;
  info.types = k.types;
  info.layouts = k.layouts;
  info.device = k.device;
  info.arithmetic = k.arithmetic;
  info.accuracy = k.accuracy;
  info.determinism = k.determinism;
  info.any_strides = k.any_strides;
  info.peer = k.peer;
  info.unavailable = k.unavailable;
  return info;
}

std::string encode(const greeting& hello) {
  json list = json::array();
  for (const kernel_info& k : hello.kernels) list.push_back(to_json(k));
  return json{{"kernels", list}, {"error", hello.error}, {"exit_code", hello.exit_code}}.dump();
}

greeting decode_greeting(const std::string& text) {
  const json j = json::parse(text);
  greeting hello;
  for (const json& k : j.at("kernels")) hello.kernels.push_back(from_json(k));
  hello.error = j.at("error");
  hello.exit_code = j.at("exit_code");
  return hello;
}

}  // namespace plumb
