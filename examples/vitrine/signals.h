// signals.h: ending a run on SIGINT and SIGTERM after its state is saved.
#pragma once

namespace vitrine::cli {

// While it lives, the first SIGINT or SIGTERM is only remembered and answered with a line on standard error (unless
// `quiet`); a second one ends the program at once.
class SignalGuard {
 public:
  explicit SignalGuard(bool quiet = false);
  ~SignalGuard();  // signals do again what they did before
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

  static bool caught();
  static int exit_code();  // 130 after SIGINT, 143 after SIGTERM
};

// A reader of our output that goes away (console.h), or a file that grows beyond what the shell allows, shall be an error of
// writing and not the end of the program.
void take_errors_not_signals();

}  // namespace vitrine::cli
