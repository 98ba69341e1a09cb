#include "verify/sandbox/bench_wire.hpp"

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace plumb::bench {

using json = nlohmann::json;

namespace {

std::vector<index_t> list_of(const shape& s) { return {s.begin(), s.end()}; }
shape shape_of(const std::vector<index_t>& list) { return shape(std::span<const index_t>(list)); }

}  // namespace

static void to_json(json& j, const tensor_place& t) {
  j = {{"name", t.name},
       {"present", t.present},
       {"type", name_of(t.type)},
       {"extents", list_of(t.extents)},
       {"strides", list_of(t.strides)},
       {"offset", t.offset},
       {"step", t.step}};
}

static void from_json(const json& j, tensor_place& t) {
  t.name = j.at("name");
  t.present = j.at("present");
  t.type = parse_dtype(j.at("type").get<std::string>()).value();
  t.extents = shape_of(j.at("extents"));
  t.strides = shape_of(j.at("strides"));
  t.offset = j.at("offset");
  t.step = j.at("step");
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(element_picks, count, numbers, values, step)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(outcome, trouble, declined, deterministic, implementation, prepare_seconds,
                                   calls, samples, fastest, rounds, cold)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(answer, kernels, gflops_samples, gbytes_samples, memory_gbytes_samples)

std::string encode(const request& r) {
  return json{{"file", r.file},
              {"file_bytes", r.file_bytes},
              {"resolved", r.resolved},
              {"canonical", r.canonical},
              {"nhwc", r.layout == layout::nhwc},
              {"type", name_of(r.type)},
              {"threads", r.threads},
              {"sets", r.sets},
              {"reads", r.reads},
              {"writes", r.writes},
              {"picks", r.picks},
              {"kernels", r.kernels},
              {"rounds", r.rounds},
              {"seconds_per_kernel", r.seconds_per_kernel},
              {"seed", r.seed},
              {"traffic", r.traffic},
              {"memory_roof", r.memory_roof}}
      .dump();
}

std::string encode(const answer& a) { return json(a).dump(); }

request decode_request(const std::string& text) {
  const json j = json::parse(text);
  request r;
  r.file = j.at("file");
  r.file_bytes = j.at("file_bytes");
  r.resolved = j.at("resolved");
  r.canonical = j.at("canonical");
  r.layout = j.at("nhwc").get<bool>() ? layout::nhwc : layout::nchw;
  r.type = parse_dtype(j.at("type").get<std::string>()).value();
  r.threads = j.at("threads");
  r.sets = j.at("sets");
  r.reads = j.at("reads").get<std::vector<tensor_place>>();
  r.writes = j.at("writes").get<std::vector<tensor_place>>();
  r.picks = j.at("picks").get<std::vector<element_picks>>();
  r.kernels = j.at("kernels").get<std::vector<std::string>>();
  r.rounds = j.at("rounds");
  r.seconds_per_kernel = j.at("seconds_per_kernel");
  r.seed = j.at("seed");
  r.traffic = j.at("traffic");
  r.memory_roof = j.at("memory_roof");
  return r;
}

answer decode_answer(const std::string& text) { return json::parse(text).get<answer>(); }

}  // namespace plumb::bench
