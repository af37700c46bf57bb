// serve.h: the parts of `vitrine serve`.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <semaphore>
#include <string>

#include "commands.h"
#include "engine/file.h"
#include "http_server.h"
#include "models/prediction_queue.h"
#include "models/training/tuning_jobs.h"

namespace vitrine::cli {

// An answer other than 200: a status of HTTP and why.
struct Refusal {
  int status;
  std::string why;
};

// Names of tasks come from anywhere and become file names: letters, digits, and behind the first of them . _ -, 64 at most. Throws
// a Refusal (400) for others.
void check_task_name(const std::string& name);

// The tasks that are served: ready in a set, and as files NAME.safetensors in a folder that this program holds.
class KeptTasks {
 public:
  // Opens all that lie in the folder, which is made if it is not there. `note` is told of files that are left out, and why.
  KeptTasks(const Backbone& backbone, const std::string& folder, int64_t most,
            const std::function<void(const std::string&)>& note);

  // True if the name is new. First the task has to be ready, then it is written (whole or not at all), then it takes its place.
  bool put(const std::string& name, const Task& task);
  bool remove(const std::string& name);                                  // whether there was one
  std::shared_ptr<const ReadyTask> find(const std::string& name) const;  // null if there is none
  const TaskSet& set() const { return set_; }

 private:
  std::string path_of(const std::string& name) const;
  const std::string folder_;
  const size_t most_;
  FolderLock lock_;
  TaskSet set_;
  std::mutex changes_;  // one after the other, file and set together
};

// What there is to ask of a server.
class Service {
 public:
  Service(const ServeOptions& options, const Backbone& backbone, std::string token, KeptTasks& tasks);
  // Says which requests there are to the server, which must not outlive this.
  void answer_at(HttpServer& server);
  // Cancels tunings that wait and run, and returns how many when they have ended.
  size_t end_tunings();
  uint64_t answered() const { return answered_; }
  PredictionQueue::Statistics predictions() const { return queue_.statistics(); }

 private:
  using Request = httplib::Request;
  using Response = httplib::Response;
  using Reader = httplib::ContentReader;

  void check_token(const Request& request) const;
  std::string body_of(const Request& request, const Reader& read) const;
  Tensor picture_of(const std::string& bytes, const ReadyTask& task);

  void predict(const std::string& name, const Request& request, Response& response, const Reader& read);
  void put_task(const std::string& name, const Request& request, Response& response, const Reader& read);
  void remove_task(const std::string& name, const Request& request, Response& response);
  void tell_tasks(Response& response) const;
  void tell_task(const std::string& name, Response& response) const;
  void tune(const Request& request, Response& response, const Reader& read);
  void tell_tunings(Response& response) const;
  void tell_tuning(const std::string& id, Response& response) const;
  void cancel_tuning(const std::string& id, const Request& request, Response& response);
  void tell_health(Response& response) const;
  void tell_metrics(const HttpServer& server, Response& response) const;
  void count(const Request& request, const Response& response);

  const ServeOptions& options_;
  const Backbone& backbone_;
  const std::string token_;
  KeptTasks& tasks_;
  const double began_;
  std::counting_semaphore<> decoding_;  // as many pictures are decoded at once as there are threads
  std::atomic<uint64_t> answered_ = 0;
  mutable std::mutex counts_mutex_;
  std::map<std::pair<std::string, int>, uint64_t> counts_;  // answers by kind of request and status
  static constexpr std::array<double, 9> bounds_{0.005, 0.01, 0.025, 0.05, 0.1,
                                                 0.25,  0.5,  1,     2.5};  // seconds
  std::array<uint64_t, bounds_.size()> within_{};  // predictions that took at most so long
  uint64_t predicted_ = 0;
  double predict_seconds_ = 0;
  // Last: their threads use what stands above.
  PredictionQueue queue_;
  TuningJobs tunings_;
};

}  // namespace vitrine::cli
