#include "models/prediction_queue.h"

#include <algorithm>
#include <chrono>

#include "engine/check.h"
#include "engine/parallel.h"

namespace vitrine {

PredictionQueue::PredictionQueue(const TaskSet& set, size_t most_waiting, size_t batch)
    : set_(set), most_waiting_(most_waiting), batch_(batch) {
  check(most_waiting > 0 && batch > 0, "prediction queue: expected room for an image and batches of one");
  worker_ = std::thread([this, threads = thread_count()] { work(threads); });
}

PredictionQueue::~PredictionQueue() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

std::optional<std::future<Tensor>> PredictionQueue::ask(const Tensor& image,
                                                        std::shared_ptr<const ReadyTask> task) {
  std::future<Tensor> out;
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= most_waiting_) {
      ++statistics_.refused;
      return std::nullopt;
    }
    waiting_.push_back({image, std::move(task), {}});
    out = waiting_.back().answer.get_future();
  }
  changed_.notify_one();
  return out;
}

PredictionQueue::Statistics PredictionQueue::statistics() const {
  const std::lock_guard lock(mutex_);
  Statistics out = statistics_;
  out.waiting = waiting_.size();
  return out;
}

// An image that cannot be computed, of a wrong size perhaps, must not take the others' answers from them.
void PredictionQueue::answer(const TaskSet& set, std::deque<Waiting>& batch) {
  std::vector<Tensor> images;
  std::vector<std::shared_ptr<const ReadyTask>> tasks;
  for (const Waiting& one : batch) {
    images.push_back(one.image);
    tasks.push_back(one.task);
  }
  std::vector<Tensor> logits;
  try {
    logits = set.logits(images, tasks);
  } catch (...) {
    if (batch.size() == 1) return batch[0].answer.set_exception(std::current_exception());
    for (Waiting& one : batch) {
      std::deque<Waiting> alone;
      alone.push_back(std::move(one));
      answer(set, alone);
    }
    return;
  }
  for (size_t i = 0; i < batch.size(); ++i) batch[i].answer.set_value(logits[i]);
}

void PredictionQueue::work(int threads) {
  set_thread_count(threads);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const auto count = static_cast<std::ptrdiff_t>(std::min(batch_, waiting_.size()));
    std::deque<Waiting> batch(std::make_move_iterator(waiting_.begin()),
                              std::make_move_iterator(waiting_.begin() + count));
    waiting_.erase(waiting_.begin(), waiting_.begin() + count);
    lock.unlock();
    const auto begin = std::chrono::steady_clock::now();
    answer(set_, batch);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const size_t images = batch.size();
    batch.clear();
    lock.lock();
    statistics_.images += images;
    ++statistics_.batches;
    statistics_.seconds += seconds;
  }
}

}  // namespace vitrine
