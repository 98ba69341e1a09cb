// Timing on a device that cannot be gamed: a number is given only when the device's events and the host's clock tell the
// same story, on inputs that change, with outputs that are looked at afterwards.
//
//   hold       before the start event a kernel waits for a flag of the host's, so that everything timed is in the queue
//              before the first of it runs: launches cost nothing, and a call that waits for the device cannot hide
//   two clocks from the release of that kernel until the whole device has finished passes host time; the events'
//              time may be shorter by the cost of the release only. Work on another stream, or after the stop event, is
//              seen by the host and not by the events
//   cold       the L2 cache is overwritten before every sample and its persisting part given back
//   inputs     sets rotate, and a few elements of each change places between samples; whether is drawn
//   outputs    poisoned before, compared bit for bit afterwards with those of an untimed run: a result that is
//              remembered by address or by count, or that comes late, is the wrong one
//   clocks     samples during which the card throttled are dropped; too many of them, and there is no number
//   floor      a time below what the bytes and operations take at the card's own best is an error, not a record
//   order      contestants take turns, in an order drawn for each round, so that ratios are formed within a round
// Everything the rules need of a device is behind `timing_device`, so that they are tested on one that cheats.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace plumb::cuda {

/// What a card could do at best, by its own numbers.
struct card {
  std::string name = {};
  int capability = 0;  ///< ten times the compute capability
  int multiprocessors = 0;
  double clock = 0;      ///< of a multiprocessor at most, in Hz
  double bandwidth = 0;  ///< of its memory, in bytes a second
};

/// Seconds that a kernel of this arithmetic needs at least for so many operations, counted as a direct sum would do them,
/// and for reading so many bytes that no cache holds. What it writes may still lie in a cache when it ends. 0 for a card of
/// which nothing is known.
/// NVIDIA A100 and H100 white papers: operations a multiprocessor and cycle without sparsity; of later cards twice as many
/// as of the H100 are allowed.
double floor_seconds(const card& on, const std::string& arithmetic, double operations, double bytes_read);

class timing_device {
 public:
  virtual ~timing_device() = default;
  virtual card about() = 0;
  virtual void hold() = 0;        ///< what follows on the stream waits for release(), or a second at most
  virtual bool release() = 0;     ///< false: the second had passed before
  virtual void mark_start() = 0;  ///< events on the stream
  virtual void mark_stop() = 0;
  virtual double marked_seconds() = 0;  ///< between the two
  virtual std::string finish() = 0;     ///< waits for the whole device; empty, or what went wrong
  virtual void flush_cache() = 0;
  virtual double host_seconds() = 0;
  virtual bool throttled() = 0;  ///< since the last call
};

struct contestant {
  std::string name;
  std::function<std::string(int set)> run;  ///< enqueues one call; empty, or why it could not
  std::function<void(int set)> exchange;    ///< a few elements of the set's inputs change places
  std::function<void(int set)> poison;      ///< fills the set's outputs
  std::function<std::string(int set, bool exchanged)> check;  ///< empty, or how the outputs are wrong
  double floor_seconds = 0;                                   ///< the roofs' time for one call
};

struct timing_request {
  int rounds = 15;
  int sets = 3;
  bool cold = true;
  std::uint64_t seed = 0;
};

struct timed {
  std::string name;
  std::vector<double> seconds;  ///< of one call, by the events
  std::vector<int> rounds;      ///< in which each was taken
  int throttled = 0;            ///< samples dropped
  std::string trouble;          ///< not empty: no number is to be shown, and why
};

/// Between the clocks: the cost of release and synchronisation, and a share.
constexpr double release_seconds = 50e-6, clock_share = 0.05;
/// A time this much below its floor is an error of the roof or of the timing.
constexpr double floor_share = 1 / 1.1;

std::vector<timed> time_contest(timing_device& on, const timing_request& how,
                                const std::vector<contestant>& contestants);

/// Median and a 95 % interval of the ratios mine/theirs within rounds; `faster`, `slower`, `same` (within 3 %) or
/// `ambiguous`. Fewer than six common rounds are ambiguous.
struct ratio {
  double median = 0, low = 0, high = 0;
  std::string verdict = "ambiguous";
};
ratio compare(const timed& mine, const timed& theirs);

}  // namespace plumb::cuda
