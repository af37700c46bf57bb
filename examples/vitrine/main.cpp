// main.cpp: reads the command line, runs the command, turns errors into one line and an exit status.
#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
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
int run(const TuneOptions& o, Console& console, Processes& processes) { return tune(o, console, processes); }
int run(const EvalOptions& o, Console& console) { return eval(o, console); }
int run(const PredictOptions& o, Console& console) { return predict(o, console); }
int run(const ServeOptions& o, Console& console) { return serve(o, console); }
int run(const ReportOptions& o, Console& console) { return report(o, console); }
int run(const PretrainOptions& o, Console& console) { return pretrain(o, console); }
int run(const InspectOptions& o, Console& console) { return inspect(o, console); }
int run(const ConvertOptions& o, Console& console) { return convert(o, console); }
int run(const BenchOptions& o, Console& console) { return bench(o, console); }
int run(const GemmBenchOptions& o, Console& console) { return bench_gemm(o, console); }
int run(const TableOptions& o, Console& console) { return table(o, console); }
int run(const LoadBenchOptions& o, Console& console) { return bench_load(o, console); }
int run(const MemoryOptions& o, Console& console) { return bench_memory(o, console); }

// Processes of mpirun share a sweep's folder as any others do, and begin apart.
int run(const SweepOptions& o, Console& console, Processes& processes) {
  std::vector<SweepOptions> own{o};
  own.insert(own.end(), o.then.begin(), o.then.end());
  for (SweepOptions& one : own)
    if (processes.count() > 1) {
      one.part = processes.rank();
      one.parts = processes.count();
    }
  return sweep(own, console);
}

template <class Options>
int run(const Options& o, Console& console, Processes& processes) {
  check(processes.count() == 1,
        "works in one process, but mpirun started {}; they can share the work of vitrine tune and vitrine "
        "sweep",
        processes.count());
  return run(o, console);
}

struct Runner {
  std::string program;
  Processes& processes;
  int operator()(const Show& show) const {
    Common common;
    common.quiet = !processes.first();
    Console console(common);
    console.line(std::string_view(show.text).substr(0, show.text.size() - 1));
    console.finish();
    return 0;
  }
  template <class Options>
  int operator()(const Options& options) const {
    if (processes.count() > 1) check_called_alike(processes, options.common);
    // All of them ask, also those that were told their own.
    const int share = processes.count() > 1 ? threads_of_each(processes) : 0;
    if (options.common.threads)
      set_thread_count(*options.common.threads);
    else if (share > 0 && std::getenv("OMP_NUM_THREADS") == nullptr)
      set_thread_count(std::min({share, most_threads, thread_count()}));
    if (options.common.instructions) use_instruction_set(*options.common.instructions);
    Common common = options.common;
    common.program = program;
    common.quiet = !processes.first();
    Console console(common);
    const int status = run(options, console, processes);
    console.finish();
    return status;
  }
};

int tell(const Processes* processes, const std::string& command, std::string_view words, Fault fault) {
  // library and command share the name
  if (words.starts_with(command + ": ")) words.remove_prefix(command.size() + 2);
  Common common;
  common.command = command;
  common.quiet = processes != nullptr && !processes->first();  // all have the same error
  if (!words.empty()) Console(common).error(words);
  return static_cast<int>(fault);
}

}  // namespace

int main(int argc, const char* const* argv) {
  hold_standard_streams();
  if (argc > 1 && std::string_view(argv[1]) == "serve") become_server(argv);
  take_errors_not_signals();
  set_thread_count(std::min(thread_count(), most_threads));
  std::string command;
  // The last to go, for it waits for the others of them: they end when the first one has said what there is to say.
  std::unique_ptr<Processes> processes;
  try {
    processes = start_processes();
    if (processes == nullptr) return 0;
    int status = 0;
    processes->together([&] {
      status = std::visit(Runner{argc > 0 ? shell_word(argv[0]) : "vitrine", *processes},
                          parse(argc, argv, command));
    });
    return status;
  } catch (const Error& e) {
    return tell(processes.get(), command, e.what(), e.fault());
  } catch (const std::bad_alloc&) {
    return tell(processes.get(), command, "not enough memory", Fault::resources);
  } catch (const std::filesystem::filesystem_error& e) {
    return tell(processes.get(), command, e.what(), Fault::output);
  } catch (const std::exception& e) {
    return tell(processes.get(), command, std::string("unexpected: ") + e.what(), Fault::input);
  }
}

}  // namespace vitrine::cli

int main(int argc, char** argv) { return vitrine::cli::main(argc, argv); }
