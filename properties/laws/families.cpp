#include "verify/law.hpp"
namespace plumb {}  // namespace plumb
namespace plumb {
std::vector<law> max_pool_laws() { return {}; }
}  // namespace plumb
namespace plumb {
std::vector<law> cross_entropy_laws() { return {}; }
}  // namespace plumb
namespace plumb {
std::vector<law> linear_laws() { return {}; }
}  // namespace plumb
namespace plumb {
std::vector<law> relu_laws() { return {}; }
}  // namespace plumb
namespace plumb {
std::vector<law> sigmoid_laws() { return {}; }
}  // namespace plumb
