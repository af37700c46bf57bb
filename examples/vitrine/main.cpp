// main.cpp: reads the command line, runs the command, turns errors into one line and an exit status.
#include <fcntl.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <new>

#include "commands.h"
#include "engine/instruction_set.h"
#include "engine/parallel.h"
#include "signals.h"

namespace vitrine::cli {

namespace {

constexpr int most_threads = 1024;  // an environment may ask for more than a stack can bear

// A file opened later must not become standard output because that was closed: its place is taken by
// something that cannot be written.
void hold_standard_streams() {
  for (int stream = 0; stream <= 2; ++stream)
    if (::fcntl(stream, F_GETFD) == -1) ::open("/dev/null", O_RDONLY);
}

// One overload for each command.
int run(const TuneOptions& o, Console& console) { return tune(o, console); }
int run(const EvalOptions& o, Console& console) { return eval(o, console); }
int run(const PredictOptions& o, Console& console) { return predict(o, console); }
int run(const PretrainOptions& o, Console& console) { return pretrain(o, console); }
int run(const InspectOptions& o, Console& console) { return inspect(o, console); }
int run(const ConvertOptions& o, Console& console) { return convert(o, console); }
int run(const BenchOptions& o, Console& console) { return bench(o, console); }
int run(const GemmBenchOptions& o, Console& console) { return bench_gemm(o, console); }
int run(const SweepOptions& o, Console& console) { return sweep(o, console); }
int run(const TableOptions& o, Console& console) { return table(o, console); }
int run(const LoadBenchOptions& o, Console& console) { return bench_load(o, console); }
int run(const MemoryOptions& o, Console& console) { return bench_memory(o, console); }

struct Runner {
  std::string program;
  int operator()(const Show& show) const {
    Console console(Common{});
    console.line(std::string_view(show.text).substr(0, show.text.size() - 1));
    console.finish();
    return 0;
  }
  template <class Options>
  int operator()(const Options& options) const {
    if (options.common.threads) set_thread_count(*options.common.threads);
    if (options.common.instructions) use_instruction_set(*options.common.instructions);
    Common common = options.common;
    common.program = program;
    Console console(common);
    const int status = run(options, console);
    console.finish();
    return status;
  }
};

int report(const std::string& command, std::string_view words, Fault fault) {
  // library and command share the name
  if (words.starts_with(command + ": ")) words.remove_prefix(command.size() + 2);
  Common common;
  common.command = command;
  if (!words.empty()) Console(common).error(words);
  return static_cast<int>(fault);
}

}  // namespace

int main(int argc, const char* const* argv) {
  hold_standard_streams();
  ignore_broken_pipes();
  set_thread_count(std::min(thread_count(), most_threads));
  std::string command;
  try {
    return std::visit(Runner{argc > 0 ? shell_word(argv[0]) : "vitrine"}, parse(argc, argv, command));
  } catch (const Error& e) {
    return report(command, e.what(), e.fault());
  } catch (const std::bad_alloc&) {
    return report(command, "not enough memory", Fault::resources);
  } catch (const std::filesystem::filesystem_error& e) {
    return report(command, e.what(), Fault::output);
  } catch (const std::exception& e) {
    return report(command, std::string("unexpected: ") + e.what(), Fault::input);
  }
}

}  // namespace vitrine::cli

int main(int argc, char** argv) { return vitrine::cli::main(argc, argv); }
