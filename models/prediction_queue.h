// prediction_queue.h: single images, asked by many threads, answered in batches.
//
// Images that wait at the same time go through the net together, whatever their tasks are (task_set.h). So the busier it is,
// the larger are its batches; an image that comes alone is not kept waiting for others.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "models/task_set.h"

namespace vitrine {

class PredictionQueue {
 public:
  // At most `most_waiting` images wait, at most `batch` are asked together. The set must outlive the queue. Batches are computed
  // by a thread of the queue's own, with as many threads as the one that makes it (parallel.h).
  PredictionQueue(const TaskSet& set, size_t most_waiting, size_t batch);
  // Answers all that wait.
  ~PredictionQueue();
  PredictionQueue(const PredictionQueue&) = delete;
  PredictionQueue& operator=(const PredictionQueue&) = delete;

  // An image (3, H, W) and a task of the set. The future gives its logits (C), or throws what computing them threw. Nothing,
  // at once, if so many wait already.
  std::optional<std::future<Tensor>> ask(const Tensor& image, std::shared_ptr<const ReadyTask> task);

  struct Statistics {
    size_t waiting = 0;
    uint64_t images = 0, batches = 0;  // that were computed
    uint64_t refused = 0;              // images
    double seconds = 0;                // of computing
  };
  Statistics statistics() const;

 private:
  struct Waiting {
    Tensor image;
    std::shared_ptr<const ReadyTask> task;
    std::promise<Tensor> answer;
  };
  void work(int threads);
  static void answer(const TaskSet& set, std::deque<Waiting>& batch);

  const TaskSet& set_;
  const size_t most_waiting_, batch_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Waiting> waiting_;
  bool ending_ = false;
  Statistics statistics_;
  std::thread worker_;  // last: it uses all of the above
};

}  // namespace vitrine
