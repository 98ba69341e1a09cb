// The project keeps its own rules, and the rules catch what they are for: violations are planted in a small
// project of their own. Tests run in the root of the project.
#include "tests/project_rules.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

namespace fs = std::filesystem;
using namespace plumb::project;

namespace {

class planted_project : public testing::Test {
 protected:
  planted_project()
      : root_(fs::temp_directory_path() / ("plumb-rules-" + std::to_string(std::random_device{}()))) {
    fs::create_directories(root_);
  }
  ~planted_project() override { fs::remove_all(root_); }

  void write(const std::string& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }

  const fs::path root_;
};

TEST(this_project, has_sources_to_look_at) { EXPECT_GT(sources(fs::current_path()).size(), 20u); }

TEST(this_project, includes_along_the_arrows) {
  EXPECT_EQ(print(forbidden_includes(fs::current_path())), "");
}

TEST(this_project, lists_every_kernel_file) { EXPECT_EQ(print(kernel_inventory(fs::current_path())), ""); }

TEST(this_project, lists_every_layer) { EXPECT_EQ(print(layer_inventory(fs::current_path())), ""); }

class arrows : public planted_project {
 protected:
  arrows() {
    for (const char* header :
         {"reference/core/shape.hpp", "reference/core/record.hpp", "reference/core/include/plumb/abi.h",
          "reference/scalars/dual.hpp", "reference/layers/conv.hpp", "reference/graph/graph.hpp",
          "verify/oracle.hpp", "properties/laws.hpp", "bench/timer.hpp", "optimized/kernels.hpp",
          "optimized/cuda/host_async.hpp", "optimized/cuda/host_launch.hpp", "reports/html.hpp",
          "verify/sandbox/plugin_loader.hpp", "verify/tests/helper.hpp", "tests/support.hpp"})
      write(header, "");
  }

  /// The only finding when `file` includes `target`, or nothing.
  std::string includes(const std::string& file, const std::string& target) {
    write(file, "// a card\n#include <vector>\n#include \"" + target + "\"\n");
    const std::string result = print(forbidden_includes(root_));
    fs::remove(root_ / file);
    return result;
  }
};

TEST_F(arrows, allowed) {
  for (const auto& [file, target] : std::initializer_list<std::pair<const char*, const char*>>{
           {"reference/core/new.cpp", "reference/core/shape.hpp"},
           {"reference/core/new.cpp", "reference/core/record.hpp"},
           {"reference/core/new.cpp", "plumb/abi.h"},
           {"reference/scalars/new.hpp", "reference/core/shape.hpp"},
           {"reference/layers/new.hpp", "reference/scalars/dual.hpp"},
           {"reference/graph/new.hpp", "reference/layers/conv.hpp"},
           {"verify/new.cpp", "reference/layers/conv.hpp"},
           {"verify/new.cpp", "oracle.hpp"},
           {"properties/new.cpp", "verify/oracle.hpp"},
           {"properties/faults/new.cpp", "reference/core/shape.hpp"},
           {"properties/faults/new.cpp", "optimized/cuda/host_launch.hpp"},
           {"properties/faults/new.cpp", "optimized/cuda/host_async.hpp"},
           {"optimized/tools/new.cpp", "verify/sandbox/plugin_loader.hpp"},
           {"bench/new.cpp", "verify/oracle.hpp"},
           {"optimized/cpu/new.cpp", "optimized/kernels.hpp"},
           {"optimized/cpu/new.cpp", "reference/core/shape.hpp"},
           {"optimized/cpu/tests/new.cpp", "reference/layers/conv.hpp"},
           {"optimized/cpu/new.cpp", "no/such/file.hpp"},
           {"reports/new.cpp", "reference/core/record.hpp"},
           {"reports/new.cpp", "reports/html.hpp"},
           {"examples/mine/new.cpp", "plumb/abi.h"},
           {"main.cpp", "reports/html.hpp"},
           {"tests/new.cpp", "optimized/kernels.hpp"}})
    EXPECT_EQ(includes(file, target), "") << file << " includes " << target;
}

TEST_F(arrows, forbidden) {
  for (const auto& [file, target] : std::initializer_list<std::pair<const char*, const char*>>{
           {"reference/core/new.hpp", "reference/scalars/dual.hpp"},
           {"reference/core/new.hpp", "../scalars/dual.hpp"},
           {"reference/core/include/plumb/new.h", "reference/core/shape.hpp"},
           {"reference/scalars/new.hpp", "reference/layers/conv.hpp"},
           {"reference/layers/new.hpp", "reference/graph/graph.hpp"},
           {"reference/layers/new.hpp", "optimized/kernels.hpp"},
           {"reference/graph/new.hpp", "verify/oracle.hpp"},
           {"verify/new.cpp", "optimized/kernels.hpp"},
           {"verify/new.cpp", "properties/laws.hpp"},
           {"verify/new.cpp", "bench/timer.hpp"},
           {"properties/new.cpp", "bench/timer.hpp"},
           {"properties/new.cpp", "optimized/kernels.hpp"},
           {"properties/faults/new.cpp", "verify/oracle.hpp"},
           {"properties/faults/new.cpp", "optimized/kernels.hpp"},
           {"properties/new.cpp", "optimized/cuda/host_launch.hpp"},
           {"bench/new.cpp", "properties/laws.hpp"},
           {"bench/new.cpp", "optimized/kernels.hpp"},
           {"optimized/cpu/new.cpp", "reference/scalars/dual.hpp"},
           {"optimized/cpu/new.cpp", "reference/layers/conv.hpp"},
           {"optimized/new.hpp", "verify/oracle.hpp"},
           {"optimized/cpu/new.cpp", "verify/sandbox/plugin_loader.hpp"},
           {"reports/new.cpp", "reference/core/shape.hpp"},
           {"reports/new.cpp", "verify/oracle.hpp"},
           {"examples/mine/new.cpp", "reference/core/shape.hpp"},
           {"verify/new.cpp", "verify/tests/helper.hpp"},
           {"verify/new.cpp", "tests/support.hpp"}}) {
    const std::string found = includes(file, target);
    EXPECT_TRUE(found.starts_with(std::string(file) + ":3: forbidden arrow "))
        << file << " → " << target << found;
  }
}

TEST_F(arrows, angle_brackets_hide_nothing) {
  write("optimized/cpu/new.cpp", "#  include <reference/layers/conv.hpp> // the reference's arithmetic\n");
  EXPECT_EQ(print(forbidden_includes(root_)),
            "optimized/cpu/new.cpp:1: forbidden arrow optimized → reference/layers/conv.hpp\n");
}

TEST_F(arrows, a_source_outside_the_house) {
  write("utilities/misc.cpp", "");
  EXPECT_EQ(print(forbidden_includes(root_)), "utilities/misc.cpp: lies in no room of the house\n");
}

class kernels : public planted_project {
 protected:
  kernels() {
    write("optimized/cpu/conv.cpp", "void register_conv(registry& r) {}\n");
    write("optimized/cpu/helper.hpp", "");
    write("optimized/cpu/tests/conv_test.cpp", "");
    write("optimized/cpu/shared.cpp", "void pack() {}\n");
    write("optimized/kernels.list", "# file  registration\ncpu/conv.cpp  register_conv\ncpu/shared.cpp  -\n");
  }
};

TEST_F(kernels, complete) { EXPECT_EQ(print(kernel_inventory(root_)), ""); }

TEST_F(kernels, a_file_without_its_row) {
  write("optimized/cuda/conv.cu", "");
  EXPECT_EQ(
      print(kernel_inventory(root_)),
      "optimized/cuda/conv.cu: has no row in optimized/kernels.list, so nothing registers its kernels\n");
}

TEST_F(kernels, a_row_that_forgets_the_registration) {
  write("optimized/kernels.list", "cpu/conv.cpp -\ncpu/shared.cpp -\n");
  EXPECT_EQ(print(kernel_inventory(root_)),
            "optimized/kernels.list:1: optimized/cpu/conv.cpp has a registration function, but its row names "
            "none\n");
}

TEST_F(kernels, rows_that_are_wrong) {
  write("optimized/kernels.list",
        "cpu/conv.cpp  register_conv\ncpu/gone.cpp register_gone\ncpu/conv.cpp "
        "register_pool\ncpu/conv.cpp\ncpu/shared.cpp -\n");
  EXPECT_EQ(print(kernel_inventory(root_)),
            "optimized/kernels.list:2: no such file: optimized/cpu/gone.cpp\n"
            "optimized/kernels.list:3: optimized/cpu/conv.cpp does not define void register_pool(registry&)\n"
            "optimized/kernels.list:3: optimized/cpu/conv.cpp has a row already\n"
            "optimized/kernels.list:4: expected a file and the name of its registration function\n"
            "optimized/kernels.list:4: optimized/cpu/conv.cpp has a row already\n");
}

class layers : public planted_project {
 protected:
  layers() {
    write("reference/layers/model.hpp", "class layer {\n  const signature& describe() const;\n};\n");
    write("reference/layers/conv.hpp",
          "template <int rank>\nstruct conv {\n  signature describe() const;\n};\n");
    write("reference/layers/layers.list",
          "conv1d conv.hpp conv<1> conv\nconv2d conv.hpp conv<2> conv  # two of three\n");
  }
};

TEST_F(layers, complete) { EXPECT_EQ(print(layer_inventory(root_)), ""); }

TEST_F(layers, a_layer_without_its_row) {
  write("reference/layers/pool.hpp", "struct max_pool {\n  signature describe() const;\n};\n");
  EXPECT_EQ(print(layer_inventory(root_)),
            "reference/layers/pool.hpp:2: the layer max_pool has no row in reference/layers/layers.list\n");
}

TEST_F(layers, the_second_layer_of_a_header) {
  write("reference/layers/conv.hpp",
        "template <int rank>\nstruct conv {\n  signature describe() const;\n};\n"
        "struct deconv {\n  signature describe() const;\n};\n");
  EXPECT_EQ(print(layer_inventory(root_)),
            "reference/layers/conv.hpp:6: the layer deconv has no row in reference/layers/layers.list\n");
}

TEST_F(layers, what_layers_are_made_of_needs_no_row) {
  write("reference/layers/base.hpp",
        "template <class L>\nstruct gate {\n  signature describe() const;\n};\n");
  EXPECT_NE(print(layer_inventory(root_)), "");
  write("reference/layers/derived.hpp", "struct conv_gate : gate<conv_gate> {\n};\n");
  EXPECT_EQ(print(layer_inventory(root_)), "");
}

TEST_F(layers, rows_that_are_wrong) {
  write("reference/layers/layers.list",
        "conv2d conv.hpp conv<2> conv\nconv2d gone.hpp conv<3> conv\nconv3d conv.hpp konv<3> conv\nrelu\n");
  EXPECT_EQ(print(layer_inventory(root_)),
            "reference/layers/layers.list:2: conv2d has a row already\n"
            "reference/layers/layers.list:2: no such file: reference/layers/gone.hpp\n"
            "reference/layers/layers.list:3: reference/layers/conv.hpp does not define konv\n"
            "reference/layers/layers.list:4: expected the layer's name, its header, its C++ "
            "type and the file of its laws\n");
}

}  // namespace
