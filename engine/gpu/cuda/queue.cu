// queue.cu: a CUDA device: opening it, its memory, its stream, and sequences of work that are recorded once.
#include "engine/gpu/cuda/queue.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "engine/gpu/port.h"

namespace vitrine::gpu {

const char* const device_kind = "cuda";
void (*const spoil)(Queue*, void*, size_t) = nullptr;

struct Graph {
  Graph() = default;
  Graph(const Graph&) = delete;
  ~Graph() {
    if (work != nullptr) cudaGraphExecDestroy(work);
  }
  cudaGraphExec_t work = nullptr;
};

Result sentence(std::string text) {
  thread_local std::string kept;  // a queue that could not be opened has no place for it
  kept = std::move(text);
  return kept.c_str();
}
Result failure(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return nullptr;
  cudaGetLastError();  // it would be found again by the next check
  return sentence(std::string("cuda: ") + call + ": " + cudaGetErrorString(error));
}
Result failure(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return nullptr;
  return sentence(std::string("cuda: ") + call + ": " + cublasLtGetStatusString(status));
}

// --- uploads ------------------------------------------------------------------------------------------------

Result Staging::open() {
  for (cudaEvent_t& event : copied_) {
    if (Result wrong = failure(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate")) {
      return wrong;
    }
  }
  return failure(cudaMallocHost(reinterpret_cast<void**>(&memory_), parts * part_bytes), "cudaMallocHost");
}

Staging::~Staging() {
  for (cudaEvent_t event : copied_) {
    if (event != nullptr) cudaEventDestroy(event);
  }
  if (memory_ != nullptr) cudaFreeHost(memory_);
}

Result Staging::next_part(cudaStream_t stream) {
  if (Result wrong = failure(cudaEventRecord(copied_[part_], stream), "cudaEventRecord")) return wrong;
  part_ = (part_ + 1) % parts;
  used_ = 0;
  return failure(cudaEventSynchronize(copied_[part_]), "cudaEventSynchronize");
}

Result Staging::upload(cudaStream_t stream, void* to, const void* from, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    if (used_ == part_bytes) {
      if (Result wrong = next_part(stream)) return wrong;
    }
    unsigned char* place = memory_ + part_ * part_bytes + used_;
    const size_t now = std::min(bytes - done, part_bytes - used_);
    std::memcpy(place, static_cast<const unsigned char*>(from) + done, now);
    constexpr size_t alignment = 64;
    used_ = std::min(part_bytes, (used_ + now + alignment - 1) / alignment * alignment);
    const cudaError_t error =
        cudaMemcpyAsync(static_cast<unsigned char*>(to) + done, place, now, cudaMemcpyHostToDevice, stream);
    if (Result wrong = failure(error, "cudaMemcpyAsync to the device")) return wrong;
    done += now;
  }
  return nullptr;
}

// --- opening and closing --------------------------------------------------------------------------------------

namespace {

__global__ void nothing() {}

std::string version_text(int version) {  // 13000: 13.0
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

constexpr int oldest_compute_capability = 8;  // bf16 products and asynchronous copies

}  // namespace

Queue::Queue(const Options& given) : options(given), plan_file(plan_path()) {}

Result Queue::open() {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
    cudaGetLastError();
    int driver = 0;  // 0 stays where none is installed, which the error calls an old one
    if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
      return "cuda: no device: this machine has no NVIDIA driver";
    return sentence(std::string("cuda: no device: ") +
                    cudaGetErrorString(error == cudaSuccess ? cudaErrorNoDevice : error));
  }
  if (options.device < 0 || options.device >= count) {
    return sentence("cuda: no device " + std::to_string(options.device) + ": there are " +
                    std::to_string(count) + ", counted from 0");
  }
  cudaDeviceProp properties{};
  if (Result wrong =
          failure(cudaGetDeviceProperties(&properties, options.device), "cudaGetDeviceProperties")) {
    return wrong;
  }
  name = properties.name;
  const std::string capability = std::to_string(properties.major) + "." + std::to_string(properties.minor);
  if (properties.major < oldest_compute_capability) {
    return sentence("cuda: " + name + ": its compute capability is " + capability + ", at least " +
                    std::to_string(oldest_compute_capability) + ".0 is needed");
  }
  if (Result wrong = failure(cudaSetDevice(options.device), "cudaSetDevice")) return wrong;
  cudaFuncAttributes attributes{};
  if (const cudaError_t error = cudaFuncGetAttributes(&attributes, nothing); error != cudaSuccess) {
    cudaGetLastError();
    return sentence("cuda: " + name + ": this build has no code for compute capability " + capability + " (" +
                    cudaGetErrorString(error) + "); CMAKE_CUDA_ARCHITECTURES says for which it is built");
  }
  if (Result wrong = failure(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate")) {
    return wrong;
  }
  if (Result wrong =
          failure(cudaStreamCreateWithFlags(&uploads, cudaStreamNonBlocking), "cudaStreamCreate")) {
    return wrong;
  }
  if (Result wrong =
          failure(cudaEventCreateWithFlags(&uploaded, cudaEventDisableTiming), "cudaEventCreate")) {
    return wrong;
  }
  if (Result wrong = staging.open()) return wrong;
  if (Result wrong = staging_ahead.open()) return wrong;
  if (Result wrong = failure(cublasLtCreate(&products), "cublasLtCreate")) return wrong;
  most_shared_bytes = properties.sharedMemPerBlockOptin;
  // What cuBLAS takes for itself, too.
  workspace_bytes = size_t{properties.major >= 9 ? 32u : 4u} << 20;
  if (Result wrong = failure(cudaMalloc(&workspace, workspace_bytes), "cudaMalloc of the workspace"))
    return wrong;

  int runtime = 0;
  if (Result wrong = failure(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion")) return wrong;
  description = name + ", " + std::to_string(properties.totalGlobalMem >> 30) + " GiB, compute capability " +
                capability + ", CUDA " + version_text(runtime) + ", cuBLASLt " +
                std::to_string(cublasLtGetVersion());
  return nullptr;
}

Queue::~Queue() {
  if (stream == nullptr) return;  // it is opened before all the rest
  cudaSetDevice(options.device);
  if (recording) {
    cudaGraph_t unfinished = nullptr;
    if (cudaStreamEndCapture(stream, &unfinished) == cudaSuccess) cudaGraphDestroy(unfinished);
  }
  cudaStreamSynchronize(stream);
  if (uploads != nullptr) {
    cudaStreamSynchronize(uploads);
    cudaStreamDestroy(uploads);
  }
  if (uploaded != nullptr) cudaEventDestroy(uploaded);
  cudaStreamDestroy(stream);
  if (products != nullptr) cublasLtDestroy(products);
  if (workspace != nullptr) cudaFree(workspace);
  cudaGetLastError();
}

Result open_queue(const Options& options, Queue** queue) {
  auto opened = std::make_unique<Queue>(options);
  if (Result wrong = opened->open()) return wrong;
  *queue = opened.release();
  return nullptr;
}
void close_queue(Queue* queue) { std::unique_ptr<Queue>{queue}; }
const char* describe_queue(Queue* queue) { return queue->description.c_str(); }
void note(Queue* queue, std::string sentence) { queue->notes.add(std::move(sentence)); }
const char* take_note(Queue* queue) { return queue->notes.take(); }
size_t most_shared_bytes(Queue* queue) { return queue->most_shared_bytes; }

// Captured launches keep to what the kernel may have when they are replayed, so it is never lowered.
Result allow_shared_bytes(Queue* queue, const void* kernel, size_t bytes) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, size_t> allowed;  // by device and kernel, whatever the queue
  const std::lock_guard lock(mutex);
  size_t& most = allowed[{queue->options.device, kernel}];
  if (bytes <= most) return nullptr;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error == cudaSuccess) most = bytes;
  return failure(error, "cudaFuncSetAttribute");
}

// Every entry comes by here, from whatever thread; the device is a property of the thread.
cudaStream_t stream_of(Queue* queue) {
  cudaSetDevice(queue->options.device);
  return queue->stream;
}

// --- memory --------------------------------------------------------------------------------------------------

Result allocate(Queue* queue, size_t bytes, void** to) {
  *to = nullptr;
  cudaSetDevice(queue->options.device);
  const AllowedWhileRecording allowed;
  const cudaError_t error = cudaMalloc(to, bytes);
  if (error != cudaErrorMemoryAllocation) return failure(error, "cudaMalloc");
  cudaGetLastError();
  *to = nullptr;
  return nullptr;
}

// cudaFree waits for all work, so what still uses the block comes to its end.
void release(Queue* queue, void* block) {
  cudaSetDevice(queue->options.device);
  const AllowedWhileRecording allowed;
  if (cudaFree(block) != cudaSuccess) cudaGetLastError();
}

size_t free_memory(Queue* queue) {
  cudaSetDevice(queue->options.device);
  size_t free = 0, total = 0;
  return cudaMemGetInfo(&free, &total) == cudaSuccess ? free : 0;
}

Result upload(Queue* queue, void* to, const void* from, size_t bytes) {
  if (queue->recording) return "cuda: no upload can be recorded: its bytes would be those of today";
  return queue->staging.upload(stream_of(queue), to, from, bytes);
}

Result upload_ahead(Queue* queue, void* to, const void* from, size_t bytes) {
  if (queue->recording) return "cuda: no upload can be recorded: its bytes would be those of today";
  const cudaStream_t stream = stream_of(queue);
  if (Result wrong = queue->staging_ahead.upload(queue->uploads, to, from, bytes)) return wrong;
  if (Result wrong = failure(cudaEventRecord(queue->uploaded, queue->uploads), "cudaEventRecord"))
    return wrong;
  return failure(cudaStreamWaitEvent(stream, queue->uploaded), "cudaStreamWaitEvent");
}

Result download(Queue* queue, void* to, const void* from, size_t bytes) {
  if (queue->recording) return "cuda: no download can be recorded: there is nothing yet to be had";
  if (bytes == 0) return nullptr;
  if (Result wrong = failure(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(queue)),
                             "cudaMemcpyAsync to the host")) {
    return wrong;
  }
  return wait(queue);
}

Result copy(Queue* queue, void* to, const void* from, size_t bytes) {
  if (bytes == 0) return nullptr;
  return failure(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(queue)),
                 "cudaMemcpyAsync");
}

Result clear(Queue* queue, void* to, size_t bytes) {
  if (bytes == 0) return nullptr;
  return failure(cudaMemsetAsync(to, 0, bytes, stream_of(queue)), "cudaMemsetAsync");
}

Result wait(Queue* queue) {
  if (queue->recording) return "cuda: nothing to wait for: work is being recorded, not done";
  return failure(cudaStreamSynchronize(stream_of(queue)), "cudaStreamSynchronize");
}

// --- recording -----------------------------------------------------------------------------------------------

Result begin_record(Queue* queue) {
  if (queue->recording) return "cuda: a recording is under way already";
  if (Result wrong = failure(cudaStreamBeginCapture(stream_of(queue), cudaStreamCaptureModeRelaxed),
                             "cudaStreamBeginCapture")) {
    return wrong;
  }
  queue->recording = true;
  return nullptr;
}

Result end_record(Queue* queue, Graph** graph) {
  *graph = nullptr;
  if (!queue->recording) return "cuda: no recording is under way";
  queue->recording = false;
  cudaGraph_t recorded = nullptr;
  if (Result wrong = failure(cudaStreamEndCapture(stream_of(queue), &recorded), "cudaStreamEndCapture"))
    return wrong;
  auto made = std::make_unique<Graph>();
  const cudaError_t error = cudaGraphInstantiate(&made->work, recorded, 0);
  cudaGraphDestroy(recorded);
  if (Result wrong = failure(error, "cudaGraphInstantiate")) return wrong;
  *graph = made.release();
  return nullptr;
}

Result replay(Queue* queue, Graph* graph) {
  if (queue->recording) return "cuda: a recording cannot be part of another";
  return failure(cudaGraphLaunch(graph->work, stream_of(queue)), "cudaGraphLaunch");
}

void drop(Queue* queue, Graph* graph) {
  cudaSetDevice(queue->options.device);
  std::unique_ptr<Graph>{graph};
}

}  // namespace vitrine::gpu
