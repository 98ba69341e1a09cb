// A run that is cut short: the first interrupt or termination lets it finish what it is at and write its record, then
// the process ends as the signal would have ended it; a second one ends it at once.
#pragma once

#include <string>

namespace plumb::cli {

class interruption {
 public:
  /// From here on, until destruction, SIGINT and SIGTERM are noted.
  interruption();
  ~interruption();
  interruption(const interruption&) = delete;
  interruption& operator=(const interruption&) = delete;

  /// The signal's name once one has come; empty before.
  static std::string seen();
  /// Ends the process by the signal that came, if one did: whoever waits for it sees that.
  static void end_if_seen();
};

}  // namespace plumb::cli
