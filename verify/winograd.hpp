// Winograd's minimal filtering F(m×m, 3×3) for whoever judges it: how large the numbers are that such a kernel adds.
// Its tile of outputs is  Aᵀ [ Σ_c (G g_c Gᵀ) ⊙ (Bᵀ d_c B) ] A, so with every matrix and operand replaced by its
// magnitudes the same formula gives, element by element,
//   S_W = |Aᵀ| [ Σ_c (|G||g_c||Gᵀ|) ⊙ (|Bᵀ||d_c||B|) ] |A| + |bias|,      error ≤ γ_K·S_W
// where K counts the roundings between an operand and the output. In one dimension F(4,3) rounds at most 4 times in G
// (a coefficient, its product, two sums), 4 in Bᵀ (5·d, three sums), 4 in Aᵀ (four sums; its coefficients are powers
// of two), F(2,3) 2, 1 and 2 times; twice that in two dimensions, and C times in the products and their sum, once for
// the bias: K = C + 25 and C + 11. Points 0, ±1, ∞ and 0, ±1, ±2, ∞; tiles begin at output 0. Lavin & Gray 2016;
// Barabasz, Anderson, Soodhalter & Gregg 2020, "Error analysis and improving the accuracy of Winograd convolution".
#pragma once

#include "verify/oracle.hpp"
#include "verify/transformed.hpp"

namespace plumb {

/// For `outputs` = m of 2 or 4. `reads` holds what the pass reads, `t` the truth of the tensor that it writes.
transformed_sizes sizes_of_winograd(const layer& l, const pass_spec& pass, const tensor_set<double>& reads,
                                    const truths& t, int outputs, int threads = 1);

}  // namespace plumb
