// plumb verify --in: kernels judged on data from a training run, beside the generated ones. Regime `captured`.
#pragma once

#include "cli/judging.hpp"

namespace plumb::cli {

/// One problem with the tensors that a training run had for it.
struct captured_sample {
  std::string origin;  ///< the file
  std::shared_ptr<const layer> about;
  tensor_set<double> tensors;
};

/// An .npz archive, or every .npz in a folder. The problem is the one in the file of the same stem with `.txt`, else the
/// problem given on the command line whose shapes fit, else that of the arrays' shapes with all attributes at their
/// defaults. Arrays that the layer does not know are ignored. Throws usage_error.
std::vector<captured_sample> load_captured(const std::string& path, const selection& s);

/// Judges every kernel whose pass the sample has the tensors for, and adds the cases to the kernels' results.
/// A failure is shrunk as any other.
void judge_captured(sandbox& box, const std::vector<captured_sample>& samples, const selection& s,
                    const verify_options& options, record::verify_section& section);

}  // namespace plumb::cli
