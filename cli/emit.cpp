#include "cli/emit.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "cli/command.hpp"
#include "reference/layers/catalogue.hpp"
#include "verify/portrait.hpp"

namespace plumb {
extern const char* const abi_text;         // plumb/abi.h, compiled in
extern const char* const reproducer_text;  // cli/reproducer.txt: the program around the data
}  // namespace plumb

namespace plumb::cli {
namespace {

constexpr index_t most_elements = 4'000'000;

std::string literal(double v, dtype type) {
  if (std::isnan(v)) return "NAN";
  if (std::isinf(v)) return v > 0 ? "INFINITY" : "-INFINITY";
  return fmt::format("{:.{}g}", v, type == dtype::f64 ? 17 : 9);
}

std::string joined(const shape& s) {
  std::string text;
  for (const index_t e : s) text += fmt::format("{}{}", text.empty() ? "" : ", ", e);
  return text;
}

bool is_index(const layer& l, const std::string& name) { return l.spec(name).kind == element::index; }

shape strides_of(const layer& l, const test_case& c, const std::string& name) {
  const shape& extents = l.shapes()[name];
  const bool last = c.layout == layout::nhwc && follows_layout(l.spec(name), extents.rank());
  return last ? channels_last(extents) : row_major(extents);
}

/// The elements in the order of memory; none if the problem has no such tensor.
std::string values_text(const layer& l, const test_case& c, const std::string& name,
                        const tensor_set<double>::entry* values) {
  if (values == nullptr || !l.present(name)) return {};
  const bool index = is_index(l, name);
  const shape& extents = l.shapes()[name];
  const shape strides = strides_of(l, c, name);
  std::vector<double> memory(static_cast<std::size_t>(extents.size()));
  index_t flat = 0;
  for_each_index(extents, [&](const shape& at) {
    index_t offset = 0;
    for (int axis = 0; axis < at.rank(); ++axis) offset += at[axis] * strides[axis];
    memory[static_cast<std::size_t>(offset)] =
        index ? static_cast<double>(values->index[flat]) : values->real[flat];
    ++flat;
  });
  std::string data;
  for (const double v : memory)
    data += fmt::format("{}{}", data.empty() ? "" : ", ", literal(v, index ? dtype::i64 : c.type));
  return data;
}

/// `{"x", PLUMB_DL_FLOAT, 32, {1, 2}, {2, 1}, {0.5, 3}}`
std::string tensor_text(const layer& l, const test_case& c, const std::string& name,
                        const tensor_set<double>::entry* values) {
  if (!l.present(name)) return fmt::format("    {{\"{}\", 2, 32, {{}}, {{}}, {{}}, false}},\n", name);
  const bool index = is_index(l, name);
  const dtype type = index ? dtype::i64 : c.type;
  if (type == dtype::bf16 || type == dtype::f16)
    throw usage_error(
        "--emit: 16-bit tensors cannot be written as C++ numbers; expected f32, f64 or i64 data");
  return fmt::format("    {{\"{}\", {}, {}, {{{}}}, {{{}}}, {{{}}}, true}},\n", name,
                     index ? "PLUMB_DL_INT" : "PLUMB_DL_FLOAT", 8 * size_of(type), joined(l.shapes()[name]),
                     joined(strides_of(l, c, name)), values_text(l, c, name, values));
}

/// Of an answer none of whose elements stands out.
judged_element first_element(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                             dtype type, const std::string& tensor) {
  oracle truth;
  truth.evaluate(l, pass, reads, type);
  judged_element e;
  for (const truths& t : truth.results())
    if (t.name == tensor && t.count() > 0) e.at = 0, e.expected = truth_at(t, 0);
  return e;
}

/// The data of each earlier call, tensor by tensor: `{2, {{0.5, 1}, {2}}},`.
std::string earlier_calls(const layer& l, const pass_spec& pass, const test_case& c, const history& before) {
  std::string text;
  for (const history::call& each : before.earlier) {
    const tensor_set<double> reads = materialise(l, pass, each.data, c.type);
    text += fmt::format("    {{{}, {{", each.times);
    for (const std::string& name : pass.reads)
      text += fmt::format("{}{{{}}}", name == pass.reads.front() ? "" : ", ",
                          values_text(l, c, name, reads.find(name)));
    text += "}},\n";
  }
  return text;
}

std::string replaced(std::string text, const std::string& mark, const std::string& by) {
  const std::size_t at = text.find(mark);
  return at == std::string::npos ? text : text.replace(at, mark.size(), by);
}

/// As a string literal of C++.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char ch : text) {
    if (ch == '"' || ch == '\\') result += '\\';
    result += ch;
  }
  return result + "\"";
}

}  // namespace

std::string reproducer(const test_case& c, const history& before, const std::string& library) {
  const answer& a = before.result;
  const auto l = plumb::bind(std::string_view(c.problem));
  const pass_spec& pass = pass_of(*l, c.kernel);
  const tensor_set<double> reads = materialise(*l, pass, {c.regime, c.seed, c.data}, c.type);
  index_t elements = 0;
  std::string reads_text, writes_text;
  for (const auto& e : reads.entries()) elements += e.extents().size();
  elements *= 1 + std::ssize(before.earlier);
  if (elements > most_elements)
    throw usage_error(
        fmt::format("--emit: the case reads {} numbers, too many for a source file (at most {}); "
                    "expected a shrunk replay line",
                    elements, most_elements));
  for (const std::string& name : pass.reads) reads_text += tensor_text(*l, c, name, reads.find(name));
  const std::string earlier_text = earlier_calls(*l, pass, c, before);
  for (const std::string& name : pass.writes) writes_text += tensor_text(*l, c, name, nullptr);

  judged_element wrong = a.result.worst;
  std::string tensor = a.worst_tensor;
  if (a.wrong && a.wrong->element) wrong = *a.wrong->element;
  if (a.wrong && !a.wrong->tensor.empty()) tensor = a.wrong->tensor;
  if (tensor.empty()) tensor = pass.writes.front();
  if (wrong.at < 0) wrong = first_element(*l, pass, reads, c.type, tensor);
  std::size_t which = 0;
  while (which + 1 < pass.writes.size() && pass.writes[which] != tensor) ++which;
  const shape extents = l->shapes()[tensor];
  const shape strides = strides_of(*l, c, tensor);
  index_t offset = 0;
  const index_t at = std::max<index_t>(wrong.at, 0);
  const shape place = unflatten(at, extents);
  for (int axis = 0; axis < place.rank(); ++axis) offset += place[axis] * strides[axis];

  std::string text = reproducer_text;
  // What the kernel promises leads to the bound; a bound of 0 compares with the truth rounded once.
  const double bound = wrong.statistical > 0 ? std::max(wrong.statistical, wrong.proven) : 0;
  const float_format format = format_of(c.type);
  const double expected = bound > 0 || c.type == dtype::i64 ? wrong.expected : format.round(wrong.expected);
  text =
      replaced(text, "@what@",
               a.wrong ? a.wrong->kind + ": " + a.wrong->message : "the worst element of a case that passes");
  text = replaced(text, "@replay@", print(c));
  text = replaced(text, "@abi@", abi_text);
  text = replaced(text, "@library@", quoted(library));
  text = replaced(text, "@kernel@", quoted(c.kernel));
  // Kernels of a plugin see canonical text; ours, exported by our own library, want every attribute.
  const bool ours = std::filesystem::path(library).filename() == "plumb-kernels.so";
  text = replaced(text, "@problem@", quoted(ours ? l->resolved().print() : l->canonical().print()));
  text = replaced(text, "@layout@", quoted(std::string(name_of(c.layout))));
  text = replaced(text, "@threads@", std::to_string(c.threads));
  text = replaced(text, "@bits@", std::to_string(8 * size_of(c.type)));
  text = replaced(text, "@reads@", reads_text);
  text = replaced(text, "@writes@", writes_text);
  text = replaced(text, "@earlier@", earlier_text);
  text = replaced(text, "@same_plan@", before.same_plan ? "true" : "false");
  text = replaced(text, "@repeats@", std::to_string(before.repeats));
  text = replaced(text, "@element@", quoted(element_name(*l, tensor, at)));
  text = replaced(text, "@output@", std::to_string(which));
  text = replaced(text, "@offset@", std::to_string(offset));
  text = replaced(text, "@expected@", literal(expected, dtype::f64));
  text = replaced(text, "@bound@", literal(bound, dtype::f64));
  return text;
}

std::string library_of(const kernel_info& kernel) {
  if (!kernel.plugin.empty()) return std::filesystem::absolute(kernel.plugin).string();
  const std::filesystem::path ours =
      std::filesystem::read_symlink("/proc/self/exe").replace_filename("plumb-kernels.so");
  if (!std::filesystem::exists(ours))
    throw environment_error(
        "there is no " + ours.string() +
        ", through which a reproducer calls the kernels built in: build the target plumb_kernels_plugin");
  return ours.string();
}

void debug(const std::string& file) {
  const std::string program = std::filesystem::path(file).replace_extension("").string() + ".debug";
  const std::string compile = "g++ -std=c++17 -g -O0 '" + file + "' -ldl -o '" + program + "'";
  if (std::system(compile.c_str()) != 0) throw environment_error("--gdb: this did not work: " + compile);
  ::execlp("gdb", "gdb", "-q", "-ex", "break call_kernel", "-ex", "run", "--args",
           std::filesystem::absolute(program).c_str(), static_cast<char*>(nullptr));
  throw environment_error("--gdb: there is no gdb here; " + program + " is what to debug");
}

}  // namespace plumb::cli
