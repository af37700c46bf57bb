// processes.cpp: whether this program is one of several that work together, and whether they were called alike.
#include <algorithm>
#include <array>
#include <set>

#include "commands.h"
#include "engine/check.h"
#include "models/training/message.h"
#ifdef VITRINE_MPI
#include "models/training/mpi/mpi_processes.h"
#endif

namespace vitrine::cli {

std::unique_ptr<Processes> start_processes() {
  const Launched start = launched();
  if (start.count == 1) return std::make_unique<OneProcess>();
#ifdef VITRINE_MPI
  auto processes = mpi_processes();
  check(start.count == 0 || processes->count() == start.count,
        "mpirun started {} processes, but the MPI that this program was built with sees {}; take the mpirun "
        "that belongs to it",
        start.count, processes->count());
  return processes;
#else
  if (start.rank > 0) return nullptr;
  fail(Fault::input,
       "mpirun started {}, but this program was built without MPI; install libopenmpi-dev and openmpi-bin "
       "(Debian's names) and build it in a new folder, or run it without mpirun",
       start.count > 1 ? text("{} processes", start.count) : "this process");
#endif
}

void check_called_alike(Processes& processes, const Common& common) {
  // What belongs to a machine, and changes nothing of what is done.
  constexpr std::array<std::string_view, 5> own{"--threads", "--workers", "--memory-limit", "--instructions",
                                                "--json"};
  MessageWriter message;
  message.put_text(common.command);
  for (const auto& [option, words] : common.given) {
    if (std::ranges::find(own, option) != own.end()) continue;
    std::string all;
    for (const std::string& word : words) all += " " + word;
    message.put_text(option).put_text(all);
  }
  struct Call {
    std::string command;
    std::map<std::string, std::string> given;
  };
  std::vector<Call> calls;
  for (const Processes::Bytes& bytes : processes.exchange(message.bytes())) {
    MessageReader reader(bytes);
    Call& call = calls.emplace_back(Call{reader.get_text(), {}});
    while (!reader.at_end()) {
      const std::string option = reader.get_text();
      call.given[option] = reader.get_text();
    }
  }
  const Call& first = calls.front();
  for (size_t rank = 1; rank < calls.size(); ++rank) {
    const Call& other = calls[rank];
    const std::string who = text("process {} of {} was called ", rank, calls.size());
    check(other.command == first.command, "{}as vitrine {}, process 0 as vitrine {}; all must do the same",
          who, other.command, first.command);
    std::set<std::string> options;
    for (const auto& [option, words] : first.given) options.insert(option);
    for (const auto& [option, words] : other.given) options.insert(option);
    for (const std::string& option : options) {
      const auto words = [&](const Call& call) {
        const auto found = call.given.find(option);
        return found == call.given.end() ? "without it" : text("with {}{}", option, found->second);
      };
      const std::string its = words(other), expected = words(first);
      check(its == expected, "{}{}, process 0 {}; all must do the same", who,
            other.given.contains(option) ? its : text("without {}", option), expected);
    }
  }
}

}  // namespace vitrine::cli
