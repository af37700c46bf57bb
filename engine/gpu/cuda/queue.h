// queue.h: a CUDA device as the entries of this folder see it.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <array>
#include <map>
#include <string>

#include "engine/gpu/cuda/plan_file.h"
#include "engine/gpu/cuda/plans.h"
#include "engine/gpu/entries.h"
#include "engine/gpu/notes.h"

namespace vitrine::gpu {

// Pinned memory through which uploads go, so that the host need not wait for the stream. Its parts are used in turn; one
// is filled again only when the copies out of it are done.
class Staging {
 public:
  Staging() = default;
  Staging(const Staging&) = delete;
  ~Staging();
  Result open();
  // `from` is free to use at return.
  Result upload(cudaStream_t stream, void* to, const void* from, size_t bytes);

 private:
  Result next_part(cudaStream_t stream);

  static constexpr size_t part_bytes = 1 << 20;
  static constexpr int parts = 4;
  unsigned char* memory_ = nullptr;
  std::array<cudaEvent_t, parts> copied_{};  // all that went out of the part so far
  int part_ = 0;
  size_t used_ = 0;  // of the part
};

// One thread at a time uses a queue; it need not be always the same.
struct Queue {
  explicit Queue(const Options& given);
  Queue(const Queue&) = delete;
  ~Queue();
  Result open();

  Options options;
  cudaStream_t stream = nullptr;
  cublasLtHandle_t products = nullptr;
  void* workspace = nullptr;  // of products
  size_t workspace_bytes = 0;
  size_t most_shared_bytes = 0;  // of a block
  Staging staging;
  // Uploads beside the work of `stream`, and when the last of them has come.
  cudaStream_t uploads = nullptr;
  Staging staging_ahead;
  cudaEvent_t uploaded = nullptr;
  bool recording = false;
  std::string name;         // of the device
  std::string description;  // for describe_queue
  std::map<PlanKey, Plan> plans;
  PlanFile plan_file;
  Notes notes;
};

// Keeps a sentence until the next one of this thread.
Result sentence(std::string text);
// Null if all is well, else "cuda: CALL: why".
Result failure(cudaError_t error, const char* call);
Result failure(cublasStatus_t status, const char* call);

// Memory may be allocated while a stream records: such calls are no part of the recording.
class AllowedWhileRecording {
 public:
  AllowedWhileRecording() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  AllowedWhileRecording(const AllowedWhileRecording&) = delete;
  ~AllowedWhileRecording() { cudaThreadExchangeStreamCaptureMode(&mode_); }

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace vitrine::gpu
