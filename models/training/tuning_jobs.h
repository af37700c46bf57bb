// tuning_jobs.h: tunings that wait for their turn and run behind a program that does something else, one at a time.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "models/training/tune.h"

namespace vitrine {

// What is known of a tuning at some moment.
struct TuningState {
  enum class Stage { waiting, running, done, failed, cancelled };
  int64_t id = 0;
  std::string name;  // of the task that it makes
  Stage stage = Stage::waiting;
  StepReport step{};                   // the last one
  std::optional<EpochReport> epoch{};  // the last one
  std::string why{};                   // it failed
  double seconds = 0;                  // that it has run
  bool ended() const { return stage != Stage::waiting && stage != Stage::running; }
};
const char* name_of(TuningState::Stage stage);

class TuningJobs {
 public:
  // `done` gets each task that was learned, in the thread of the jobs; what it throws makes the job one that failed. At most
  // `most_waiting` wait. They learn with as many threads as the one that makes this has (parallel.h), and give way to other
  // threads of the system where it can be told so (Linux). Nothing is written to files.
  TuningJobs(const Backbone& backbone, std::function<void(const std::string& name, const Task& task)> done,
             size_t most_waiting, const Memory& memory = {});
  // Cancels what waits, and what runs after its present step.
  ~TuningJobs();
  TuningJobs(const TuningJobs&) = delete;
  TuningJobs& operator=(const TuningJobs&) = delete;

  // Its number, from 1 on; nothing if so many wait already. Throws for a configuration that makes no sense.
  std::optional<int64_t> submit(const std::string& name, TuneData data, TuneConfig config);
  // False if there is none of that number, or it has ended. One that runs ends after its present step.
  bool cancel(int64_t id);
  // All that wait and run, and the last hundred that ended, first to last.
  std::vector<TuningState> all() const;
  std::optional<TuningState> find(int64_t id) const;

 private:
  struct Job {
    TuningState state;
    TuneData data;
    TuneConfig config;
    bool cancelled = false;
  };
  void work(int threads);
  void run(std::unique_lock<std::mutex>& lock, Job& job);

  const Backbone backbone_;
  const std::function<void(const std::string&, const Task&)> done_;
  const size_t most_waiting_;
  const Memory memory_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Job> jobs_;  // their places do not change
  int64_t last_id_ = 0;
  bool ending_ = false;
  std::thread worker_;  // last: it uses all of the above
};

}  // namespace vitrine
