#include "models/training/processes.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <new>
#include <string>
#include <string_view>

#include "engine/check.h"
#include "engine/parallel.h"
#include "models/training/message.h"

namespace vitrine {

namespace {

using Bytes = Processes::Bytes;

// The last bytes of what is sent: of an error its fault, of a body that has come to its end that it has; and how many bodies
// have begun, one in the other.
struct Ending {
  uint8_t fault = 0, ended = 0, depth = 0;
};

// As an Error, which can be sent.
Error error_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& e) {
    return e;
  } catch (const std::bad_alloc&) {
    return {Fault::resources, "not enough memory"};
  } catch (const std::filesystem::filesystem_error& e) {
    return {Fault::output, e.what()};
  } catch (const std::exception& e) {
    return {Fault::input, text("unexpected: {}", e.what())};
  } catch (...) {
    return {Fault::input, "unexpected: something was thrown that is no exception"};
  }
}

}  // namespace

void Processes::together(const std::function<void()>& body) {
  if (count() == 1) return body();
  check(depth_ < std::numeric_limits<uint8_t>::max(), "processes: too many bodies in bodies");
  const int depth = ++depth_;
  try {
    body();
    if (failure_) throw Error(*failure_);
    send({}, 0, true);
  } catch (...) {
    if (!failure_ && !broken_) {
      try {
        const Error error = error_of(std::current_exception());
        send(std::as_bytes(std::span(std::string_view(error.what()))), static_cast<uint8_t>(error.fault()),
             true);
      } catch (...) {  // this one, or that of a process before it; or nobody could be told
      }
    }
    if (broken_) {
      --depth_;
      throw;
    }
  }
  --depth_;
  if (!failure_) return;
  const Error error = *failure_;
  if (failed_depth_ == depth) failure_.reset();
  throw error;
}

std::vector<Bytes> Processes::exchange(std::span<const std::byte> own) {
  if (count() == 1) return {Bytes(own.begin(), own.end())};
  check(depth_ > 0, "processes: they exchange only inside together()");
  if (failure_) throw Error(*failure_);
  return send(own, 0, false);
}

std::vector<Bytes> Processes::send(std::span<const std::byte> own, uint8_t fault, bool ended) {
  Bytes message(own.begin(), own.end());
  for (const uint8_t byte : {fault, static_cast<uint8_t>(ended), static_cast<uint8_t>(depth_)})
    message.push_back(std::byte{byte});
  std::vector<Bytes> all;
  try {
    all = gather(message);
  } catch (...) {
    broken_ = true;
    throw;
  }
  std::vector<Ending> endings;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    Bytes& bytes = all[rank];
    const auto byte = [&](int from_end) { return std::to_integer<uint8_t>(bytes.end()[-from_end]); };
    const Ending& told = endings.emplace_back(Ending{byte(3), byte(2), byte(1)});
    bytes.resize(bytes.size() - 3);
    if (told.fault == 0) continue;
    if (!failure_) {
      std::string words(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      // What is wrong for all of them needs no number.
      if (rank > 0 && !words.empty()) words += text(" (in process {})", rank);
      failure_.emplace(static_cast<Fault>(told.fault), words);
      failed_depth_ = told.depth;
    }
    failed_depth_ = std::min<int>(failed_depth_, told.depth);
  }
  if (!failure_) {
    // Who has come to the end of a body where others have not is in another program than they are, and would leave them
    // alone: all end here.
    for (size_t rank = 1; rank < endings.size() && !failure_; ++rank) {
      const Ending &first = endings[0], &other = endings[rank];
      if (other.ended == first.ended && other.depth == first.depth) continue;
      failure_.emplace(Fault::input, text("process {} of {} is done, or elsewhere, where process {} goes on: "
                                          "all processes must be called with the same words",
                                          first.ended ? 0 : rank, endings.size(), first.ended ? rank : 0));
    }
    for (const Ending& one : endings)
      failed_depth_ = &one == endings.data() ? one.depth : std::min<int>(failed_depth_, one.depth);
  }
  if (failure_) throw Error(*failure_);
  return all;
}

Bytes Processes::from_first(std::span<const std::byte> own) {
  return std::move(exchange(first() ? own : std::span<const std::byte>()).front());
}

bool Processes::any(bool own) {
  const std::byte mine{own};
  return std::ranges::any_of(exchange({&mine, 1}), [](const Bytes& one) { return one[0] != std::byte{0}; });
}

std::vector<Bytes> OneProcess::gather(std::span<const std::byte> own) {
  return {Bytes(own.begin(), own.end())};
}

namespace {

// The number in a variable of the environment: empty if there is none, -1 if it holds something else.
std::optional<int64_t> number_of(const char* variable) {
  const char* words = std::getenv(variable);
  if (words == nullptr) return std::nullopt;
  const char* end = words + std::string_view(words).size();
  int64_t number = -1;
  const auto [stop, wrong] = std::from_chars(words, end, number);
  if (wrong != std::errc{} || stop != end || number < 0 || number > std::numeric_limits<int>::max())
    return -1;
  return number;
}

}  // namespace

Launched launched() {
  constexpr const char* names[][2] = {{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                      {"PMI_RANK", "PMI_SIZE"}};
  for (const auto& [rank, size] : names)
    if (const auto count = number_of(size))
      return {static_cast<int>(std::max<int64_t>(number_of(rank).value_or(0), 0)),
              static_cast<int>(std::max<int64_t>(*count, 0))};
  if (const auto rank = number_of("PMIX_RANK")) return {static_cast<int>(std::max<int64_t>(*rank, 0)), 0};
  return {};
}

std::optional<Share> job_array_share() {
  const auto id = number_of("SLURM_ARRAY_TASK_ID");
  if (!id) return std::nullopt;
  const int64_t count = number_of("SLURM_ARRAY_TASK_COUNT").value_or(-1),
                least = number_of("SLURM_ARRAY_TASK_MIN").value_or(0),
                most = number_of("SLURM_ARRAY_TASK_MAX").value_or(least + count - 1);
  const int64_t step = count > 1 ? (most - least) / (count - 1) : 1;
  check(count >= 1 && least >= 0 && step >= 1 && most - least == step * (count - 1) && *id >= least &&
            *id <= most && (*id - least) % step == 0,
        "job array: element {} of {} from {} to {}: expected numbers at equal distances, as --array=0-7 "
        "makes them",
        *id, count, least, most);
  return Share{(*id - least) / step, count};
}

int threads_of_each(Processes& processes) {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  cpu_set_t own{};
  if (sched_getaffinity(0, sizeof own, &own) != 0) own = {};  // more cores than the set can name
  const MessageWriter message = MessageWriter().put_text(host).put(own);
  cpu_set_t all = own;
  int processes_here = 0;  // this one among them
  for (const Bytes& bytes : processes.exchange(message.bytes())) {
    MessageReader other(bytes);
    if (other.get_text() != host) continue;
    const auto its = other.get<cpu_set_t>();
    CPU_OR(&all, &all, &its);
    ++processes_here;
  }
  const int most = CPU_COUNT(&own) > 0 ? CPU_COUNT(&own) : thread_count();
  const int cores = CPU_COUNT(&own) > 0 ? CPU_COUNT(&all) : most;
  return std::clamp(cores / std::max(processes_here, 1), 1, most);
}

}  // namespace vitrine
