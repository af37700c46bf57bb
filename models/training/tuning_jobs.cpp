#include "models/training/tuning_jobs.h"

#ifdef __linux__
#include <sys/resource.h>
#endif

#include <algorithm>
#include <chrono>

#include "engine/check.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

constexpr size_t remembered = 100;

// What asks a thread of the system for an answer should not wait for one that learns.
void give_way() {
#ifdef __linux__
  ::setpriority(PRIO_PROCESS, 0, 10);  // of this thread, and of those that it starts
#endif
}

}  // namespace

const char* name_of(TuningState::Stage stage) {
  switch (stage) {
    case TuningState::Stage::waiting:
      return "waiting";
    case TuningState::Stage::running:
      return "running";
    case TuningState::Stage::done:
      return "done";
    case TuningState::Stage::failed:
      return "failed";
    case TuningState::Stage::cancelled:
      return "cancelled";
  }
  return "";
}

TuningJobs::TuningJobs(const Backbone& backbone, std::function<void(const std::string&, const Task&)> done,
                       size_t most_waiting, const Memory& memory)
    : backbone_(with_identity(backbone)),
      done_(std::move(done)),
      most_waiting_(most_waiting),
      memory_(memory) {
  worker_ = std::thread([this, threads = thread_count()] { work(threads); });
}

TuningJobs::~TuningJobs() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    for (Job& job : jobs_) job.cancelled = true;
  }
  changed_.notify_all();
  worker_.join();
}

std::optional<int64_t> TuningJobs::submit(const std::string& name, TuneData data, TuneConfig config) {
  check_config(config);
  const std::lock_guard lock(mutex_);
  const auto waiting = static_cast<size_t>(std::ranges::count_if(
      jobs_, [](const Job& job) { return job.state.stage == TuningState::Stage::waiting; }));
  if (waiting >= most_waiting_) return std::nullopt;
  jobs_.push_back({{.id = ++last_id_, .name = name}, std::move(data), std::move(config)});
  auto ended =
      static_cast<size_t>(std::ranges::count_if(jobs_, [](const Job& job) { return job.state.ended(); }));
  for (auto job = jobs_.begin(); job != jobs_.end() && ended > remembered;)
    if (job->state.ended())
      job = jobs_.erase(job), --ended;
    else
      ++job;
  changed_.notify_all();
  return last_id_;
}

bool TuningJobs::cancel(int64_t id) {
  const std::lock_guard lock(mutex_);
  const auto job = std::ranges::find(jobs_, id, [](const Job& each) { return each.state.id; });
  if (job == jobs_.end() || job->state.ended()) return false;
  job->cancelled = true;
  if (job->state.stage == TuningState::Stage::waiting) job->state.stage = TuningState::Stage::cancelled;
  return true;
}

std::vector<TuningState> TuningJobs::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<TuningState> out;
  for (const Job& job : jobs_) out.push_back(job.state);
  return out;
}

std::optional<TuningState> TuningJobs::find(int64_t id) const {
  for (const TuningState& state : all())
    if (state.id == id) return state;
  return std::nullopt;
}

void TuningJobs::work(int threads) {
  set_thread_count(threads);
  give_way();
  std::unique_lock lock(mutex_);
  while (true) {
    const auto next = [&] {
      return std::ranges::find(jobs_, TuningState::Stage::waiting,
                               [](const Job& job) { return job.state.stage; });
    };
    changed_.wait(lock, [&] { return ending_ || next() != jobs_.end(); });
    if (ending_) {
      for (Job& job : jobs_)
        if (!job.state.ended()) job.state.stage = TuningState::Stage::cancelled;
      return;
    }
    run(lock, *next());
  }
}

void TuningJobs::run(std::unique_lock<std::mutex>& lock, Job& job) {
  const TuneData data = std::move(job.data);
  const TuneConfig config = job.config;
  const std::string name = job.state.name;
  job.state.stage = TuningState::Stage::running;
  const auto begin = std::chrono::steady_clock::now();
  const auto told = [&](const auto& tell) {
    const std::lock_guard guard(mutex_);
    tell();
    job.state.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  TuneHooks hooks;
  hooks.step = [&](const StepReport& report) { told([&] { job.state.step = report; }); };
  hooks.epoch = [&](const EpochReport& report) { told([&] { job.state.epoch = report; }); };
  hooks.stop = [&] {
    const std::lock_guard guard(mutex_);
    return job.cancelled;
  };
  lock.unlock();
  auto stage = TuningState::Stage::done;
  std::string why;
  try {
    const TuneResult result = tune(backbone_, data, config, "", false, hooks, nullptr, memory_);
    if (result.stopped)
      stage = TuningState::Stage::cancelled;
    else
      done_(name, result.task);
  } catch (const std::exception& e) {
    stage = TuningState::Stage::failed;
    why = e.what();
  }
  told([&] {
    job.state.stage = stage;
    job.state.why = why;
  });
  lock.lock();
}

}  // namespace vitrine
