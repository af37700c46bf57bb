// thread_processes.h: processes that are threads of one, to test what they do together.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "engine/check.h"
#include "engine/parallel.h"
#include "models/training/processes.h"

namespace vitrine::testing {

// Where they meet.
class Meeting {
 public:
  explicit Meeting(int count) : own_(static_cast<size_t>(count)) {}
  std::vector<Processes::Bytes> gather(size_t rank, std::span<const std::byte> own) {
    std::unique_lock lock(mutex_);
    own_[rank].assign(own.begin(), own.end());
    const int64_t round = round_;
    if (++here_ == own_.size()) {
      all_ = own_;
      here_ = 0;
      ++round_;
      everybody_.notify_all();
    } else {
      everybody_.wait(lock, [&] { return round_ != round; });
    }
    return all_;  // no later round can have ended: it would have needed this one
  }

 private:
  std::mutex mutex_;
  std::condition_variable everybody_;
  std::vector<Processes::Bytes> own_, all_;
  size_t here_ = 0;
  int64_t round_ = 0;
};

class ThreadProcesses final : public Processes {
 public:
  ThreadProcesses(Meeting& meeting, int rank, int count) : meeting_(meeting), rank_(rank), count_(count) {}
  int rank() const override { return rank_; }
  int count() const override { return count_; }

 protected:
  std::vector<Bytes> gather(std::span<const std::byte> own) override {
    return meeting_.gather(static_cast<size_t>(rank_), own);
  }

 private:
  Meeting& meeting_;
  int rank_, count_;
};

// The body in so many of them at once. Returns what each threw: empty if nothing.
inline std::vector<std::string> in_processes(int count, const std::function<void(Processes&)>& body) {
  Meeting meeting(count);
  std::vector<std::string> thrown(static_cast<size_t>(count));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < count; ++rank)
    threads.emplace_back([&, rank] {
      set_thread_count(1);
      ThreadProcesses processes(meeting, rank, count);
      try {
        body(processes);
      } catch (const Error& error) {
        thrown[static_cast<size_t>(rank)] = text("{} {}", static_cast<int>(error.fault()), error.what());
      } catch (const std::exception& error) {
        thrown[static_cast<size_t>(rank)] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return thrown;
}

}  // namespace vitrine::testing
