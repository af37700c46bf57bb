#include "signals.h"

#include <unistd.h>

#include <csignal>
#include <string_view>

namespace vitrine::cli {

namespace {

// A handler can reach nothing else. Only SignalGuard uses them.
volatile std::sig_atomic_t received = 0, silent = 0;
struct sigaction before_int {
}, before_term{};

void on_signal(int number) {
  if (received != 0) _exit(128 + number);
  received = number;
  if (silent != 0) return;
  constexpr std::string_view words = "\nStopping after this step; once more ends the program at once.\n";
  [[maybe_unused]] const auto ignored = ::write(STDERR_FILENO, words.data(), words.size());
}

}  // namespace

SignalGuard::SignalGuard(bool quiet) {
  received = 0;
  silent = quiet ? 1 : 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &before_int);
  sigaction(SIGTERM, &action, &before_term);
}

SignalGuard::~SignalGuard() {
  sigaction(SIGINT, &before_int, nullptr);
  sigaction(SIGTERM, &before_term, nullptr);
}

bool SignalGuard::caught() { return received != 0; }
int SignalGuard::exit_code() { return 128 + received; }

void take_errors_not_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace vitrine::cli
