#include "engine/gpu/cuda/plans.h"

#include <algorithm>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "engine/gpu/cuda/queue.h"
#include "engine/gpu/port.h"

namespace vitrine::gpu {

namespace {

constexpr int most_candidates = 16;
constexpr float worth_it = 0.98f;  // of the time: less would be noise

// Steps between things of which there is one mean nothing.
int64_t step_of(int64_t count, int64_t step) { return count == 1 ? 0 : step; }

int64_t alignment_of(const void* data) {  // up to 16 bytes, which is all that any algorithm asks for
  const uintptr_t bits = reinterpret_cast<uintptr_t>(data) | 16;
  return static_cast<int64_t>(bits & (~bits + 1));
}

PlanKey key_of(const Queue& queue, const Sums& sums) {
  const Product& p = sums.product;
  const bool added = p.added != nullptr;
  return {p.batch,
          p.m,
          p.n,
          p.k,
          static_cast<int64_t>(p.a.dtype),
          static_cast<int64_t>(p.out_type),
          step_of(p.a.transposed ? p.k : p.m, p.a.step),
          step_of(p.batch, p.a.image),
          p.a.transposed,
          step_of(p.b.transposed ? p.n : p.k, p.b.step),
          step_of(p.batch, p.b.image),
          p.b.transposed,
          step_of(p.m, p.out_step),
          step_of(p.batch, p.out_image),
          added ? step_of(p.m, sums.added_step) : -1,
          added ? step_of(p.batch, sums.added_image) : -1,
          added && p.added == p.out,
          p.bias != nullptr,
          static_cast<int64_t>(p.epilogue),
          queue.options.tf32 && p.a.dtype == DType::f32,
          alignment_of(p.a.data),
          alignment_of(p.b.data),
          alignment_of(p.out),
          added ? alignment_of(p.added) : 0,
          alignment_of(p.bias),
          alignment_of(p.inner),
          static_cast<int64_t>(queue.workspace_bytes)};
}

std::string text_of(const Queue& queue, const PlanKey& key) {
  std::ostringstream text;
  text << queue.name << ", cuBLASLt " << cublasLtGetVersion() << ":";
  for (int64_t number : key) text << ' ' << number;
  return text.str();
}

// --- descriptions ----------------------------------------------------------------------------------------------

// Keeps the first of several calls that fails.
struct Calls {
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  void operator()(cublasStatus_t next) {
    if (status == CUBLAS_STATUS_SUCCESS) status = next;
  }
};

template <class T>
cublasStatus_t set(cublasLtMatmulDescOpaque_t& work, cublasLtMatmulDescAttributes_t attribute,
                   const T& value) {
  return cublasLtMatmulDescSetAttribute(&work, attribute, &value, sizeof value);
}
template <class T>
cublasStatus_t set(cublasLtMatmulPreferenceOpaque_t& wish, cublasLtMatmulPreferenceAttributes_t attribute,
                   const T& value) {
  return cublasLtMatmulPreferenceSetAttribute(&wish, attribute, &value, sizeof value);
}

cudaDataType_t type_of(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// A matrix stored by rows is its transpose stored by columns, which is what cuBLASLt calls a matrix.
cublasStatus_t describe(cublasLtMatrixLayoutOpaque_t& layout, DType dtype, int64_t rows, int64_t columns,
                        int64_t step, int64_t batch, int64_t image) {
  Calls call;
  if (rows == 1) step = columns;
  if (batch == 1) image = 0;
  call(cublasLtMatrixLayoutInit(&layout, type_of(dtype), static_cast<uint64_t>(columns),
                                static_cast<uint64_t>(rows), step));
  const int32_t count = static_cast<int32_t>(batch);
  call(cublasLtMatrixLayoutSetAttribute(&layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
  call(cublasLtMatrixLayoutSetAttribute(&layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &image,
                                        sizeof image));
  return call.status;
}

// Where bias and `inner` lie is said before each run.
cublasStatus_t set_pointers(Plan& plan, const Product& p) {
  Calls call;
  if (p.bias != nullptr) call(set(plan.work, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias));
  if (p.epilogue != Epilogue::none) call(set(plan.work, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.inner));
  return call.status;
}

// out^T = b^T a^T: our b is cuBLASLt's first factor.
cublasStatus_t describe(Plan& plan, const Queue& queue, const Sums& sums) {
  const Product& p = sums.product;
  const bool tf32 = queue.options.tf32 && p.a.dtype == DType::f32;
  Calls call;
  call(cublasLtMatmulDescInit(&plan.work, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                              CUDA_R_32F));
  const cublasOperation_t first = p.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = p.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  call(set(plan.work, CUBLASLT_MATMUL_DESC_TRANSA, first));
  call(set(plan.work, CUBLASLT_MATMUL_DESC_TRANSB, second));
  cublasLtEpilogue_t epilogue = p.bias != nullptr ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  if (p.epilogue == Epilogue::gelu) {
    epilogue = p.bias != nullptr ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  }
  if (p.epilogue == Epilogue::gelu_backward) epilogue = CUBLASLT_EPILOGUE_DGELU;
  call(set(plan.work, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue));
  if (p.epilogue != Epilogue::none) {
    call(set(plan.work, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.n));
    call(set(plan.work, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, p.m * p.n));
  }
  call(set_pointers(plan, p));
  const auto stored = [](const Matrix& x, int64_t rows, int64_t columns) {
    return x.transposed ? std::array{columns, rows} : std::array{rows, columns};
  };
  const auto a = stored(p.a, p.m, p.k), b = stored(p.b, p.k, p.n);
  call(describe(plan.a, p.a.dtype, a[0], a[1], p.a.step, p.batch, p.a.image));
  call(describe(plan.b, p.b.dtype, b[0], b[1], p.b.step, p.batch, p.b.image));
  call(describe(plan.out, p.out_type, p.m, p.n, p.out_step, p.batch, p.out_image));
  call(p.added == nullptr
           ? describe(plan.added, p.out_type, p.m, p.n, p.out_step, p.batch, p.out_image)
           : describe(plan.added, p.out_type, p.m, p.n, sums.added_step, p.batch, sums.added_image));
  return call.status;
}

// --- candidates ------------------------------------------------------------------------------------------------

// What distinguishes an algorithm, as numbers: this is what the plan file holds. A damaged line names no candidate.
std::string settings_of(const cublasLtMatmulAlgo_t& algorithm) {
  std::string text;
  for (const auto attribute :
       {CUBLASLT_ALGO_CONFIG_ID, CUBLASLT_ALGO_CONFIG_TILE_ID, CUBLASLT_ALGO_CONFIG_SPLITK_NUM,
        CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING,
        CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, CUBLASLT_ALGO_CONFIG_STAGES_ID,
        CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID}) {
    uint32_t value = 0;  // of two or four bytes
    size_t written = 0;
    const bool known = cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value,
                                                            &written) == CUBLAS_STATUS_SUCCESS ||
                       cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(uint16_t),
                                                            &written) == CUBLAS_STATUS_SUCCESS;
    text += (text.empty() ? "" : " ") + (known ? std::to_string(value) : "?");
  }
  return text;
}

bool splits_sums(const cublasLtMatmulAlgo_t& algorithm) {
  int32_t parts = 1;
  uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
  size_t written = 0;
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &parts, sizeof parts,
                                       &written);
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                                       sizeof scheme, &written);
  return parts > 1 || scheme != CUBLASLT_REDUCTION_SCHEME_NONE;
}

struct Candidate {
  cublasLtMatmulAlgo_t algorithm;
  std::string settings;
};

// In cuBLASLt's order, the most promising first.
Result candidates_for(Queue* queue, Plan& plan, const Sums& sums, std::vector<Candidate>* candidates) {
  const Product& p = sums.product;
  cublasLtMatmulPreferenceOpaque_t wish{};
  Calls call;
  call(cublasLtMatmulPreferenceInit(&wish));
  call(set(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, queue->workspace_bytes));
  call(set(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE)));
  const auto alignment = [](const void* data) { return static_cast<uint32_t>(alignment_of(data)); };
  call(set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(p.b.data)));
  call(set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(p.a.data)));
  call(
      set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(p.added == nullptr ? p.out : p.added)));
  call(set(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(p.out)));
  if (Result wrong = failure(call.status, "cublasLtMatmulPreferenceSetAttribute")) return wrong;

  cublasLtMatmulHeuristicResult_t found[most_candidates] = {};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(queue->products, &plan.work, &plan.b, &plan.a, &plan.added, &plan.out,
                                     &wish, most_candidates, found, &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE)
    return nullptr;  // it has none
  if (Result wrong = failure(status, "cublasLtMatmulAlgoGetHeuristic")) return wrong;
  for (int i = 0; i < count; ++i) {
    const cublasLtMatmulHeuristicResult_t& one = found[i];
    if (one.state != CUBLAS_STATUS_SUCCESS || one.workspaceSize > queue->workspace_bytes ||
        splits_sums(one.algo)) {
      continue;
    }
    std::string settings = settings_of(one.algo);
    const bool known = std::any_of(candidates->begin(), candidates->end(),
                                   [&](const Candidate& other) { return other.settings == settings; });
    if (!known) candidates->push_back({one.algo, std::move(settings)});
  }
  return nullptr;
}

// --- timing ----------------------------------------------------------------------------------------------------

class Clock {
 public:
  Clock() { there_ = cudaEventCreate(&from_) == cudaSuccess && cudaEventCreate(&to_) == cudaSuccess; }
  Clock(const Clock&) = delete;
  ~Clock() {
    if (from_ != nullptr) cudaEventDestroy(from_);
    if (to_ != nullptr) cudaEventDestroy(to_);
  }

  // Milliseconds of the work: the least of a few tries after a first one. Infinity if it fails.
  template <class F>
  float time_of(Queue* queue, const F& work) {
    if (work() != nullptr) return failed;
    float least = run(queue, work, 1);
    const int times = least < 0.2f ? 10 : least < 2.0f ? 3 : 1;
    for (int i = 0; i < 3; ++i) least = std::min(least, run(queue, work, times));
    return least;
  }
  static constexpr float failed = std::numeric_limits<float>::infinity();

 private:
  template <class F>
  float run(Queue* queue, const F& work, int times) {
    float all = 0.0f;
    bool good = there_ && cudaEventRecord(from_, stream_of(queue)) == cudaSuccess;
    for (int i = 0; i < times; ++i) good = good && work() == nullptr;
    good = good && cudaEventRecord(to_, queue->stream) == cudaSuccess &&
           cudaEventSynchronize(to_) == cudaSuccess && cudaEventElapsedTime(&all, from_, to_) == cudaSuccess;
    cudaGetLastError();
    return good ? all / static_cast<float>(times) : failed;
  }

  cudaEvent_t from_ = nullptr, to_ = nullptr;
  bool there_ = false;
};

// What `out` is while products are tried: itself, unless an operand lies there, which must be left as it is.
class TrialOut {
 public:
  explicit TrialOut(const Product& p) : place_(p.out) {
    if (p.added == nullptr && p.epilogue != Epilogue::gelu_backward) return;
    const int64_t elements = (p.batch - 1) * p.out_image + (p.m - 1) * p.out_step + p.n;
    const size_t bytes = static_cast<size_t>(elements) * (p.out_type == DType::bf16 ? 2 : 4);
    if (cudaMalloc(&own_, bytes) != cudaSuccess) {
      own_ = nullptr;
      cudaGetLastError();
    }
    place_ = own_;
  }
  TrialOut(const TrialOut&) = delete;
  ~TrialOut() {
    if (own_ != nullptr) cudaFree(own_);
  }
  void* place() const { return place_; }  // null: there is no memory for it

 private:
  void* place_ = nullptr;
  void* own_ = nullptr;
};

constexpr const char* apart_is_faster = "apart";

// The settings of the fastest candidate, or `apart_is_faster`; empty if nothing could be timed.
std::string fastest(Queue* queue, Plan& plan, const Sums& sums, const std::vector<Candidate>& candidates,
                    Result (*apart)(Queue*, const Product&)) {
  Sums trial = sums;
  const TrialOut out(sums.product);
  Clock clock;
  if (out.place() == nullptr) return "";
  trial.product.out = out.place();
  std::string best;
  float least = Clock::failed;
  for (const Candidate& candidate : candidates) {
    plan.algorithm = candidate.algorithm;
    const float time = clock.time_of(queue, [&] { return run_plan(queue, plan, trial); });
    if (best.empty() ? time < least : time < least * worth_it) {
      least = time;
      best = candidate.settings;
    }
  }
  if (apart == nullptr) return best;
  const float time = clock.time_of(queue, [&] { return apart(queue, trial.product); });
  return time != Clock::failed && !(least < time * worth_it) ? apart_is_faster : best;
}

bool choose(Plan& plan, const std::vector<Candidate>& candidates, const std::string& settings) {
  const auto at = std::find_if(candidates.begin(), candidates.end(),
                               [&](const Candidate& candidate) { return candidate.settings == settings; });
  if (at == candidates.end()) return false;
  plan.algorithm = at->algorithm;
  return true;
}

Result make_plan(Queue* queue, Plan& plan, const PlanKey& key, const Sums& sums,
                 Result (*apart)(Queue*, const Product&)) {
  if (sums.product.batch > std::numeric_limits<int32_t>::max()) return nullptr;
  if (Result wrong = failure(describe(plan, *queue, sums), "cublasLtMatmulDescSetAttribute")) return wrong;
  std::vector<Candidate> candidates;
  if (Result wrong = candidates_for(queue, plan, sums, &candidates)) return wrong;
  if (candidates.empty()) return nullptr;
  if (queue->plan_file.keeps()) {
    const std::string text = text_of(*queue, key);
    if (const std::string* kept = queue->plan_file.find(text)) {
      if (apart != nullptr && *kept == apart_is_faster) return nullptr;
      plan.usable = choose(plan, candidates, *kept);
      if (plan.usable) return nullptr;
    }
    if (!queue->recording) {
      const std::string best = fastest(queue, plan, sums, candidates, apart);
      if (!best.empty() && queue->plan_file.remember(text, best)) {
        plan.usable = choose(plan, candidates, best);
        return nullptr;
      }
    }
  }
  plan.algorithm = candidates.front().algorithm;
  plan.usable = apart == nullptr;
  return nullptr;
}

}  // namespace

Result plan_of(Queue* queue, const Sums& sums, Result (*apart)(Queue*, const Product&), Plan** plan) {
  const PlanKey key = key_of(*queue, sums);
  auto at = queue->plans.find(key);
  if (at == queue->plans.end()) {
    cudaSetDevice(queue->options.device);
    at = queue->plans.try_emplace(key).first;  // first: nothing says that descriptions can be copied
    if (Result wrong = make_plan(queue, at->second, key, sums, apart)) {
      queue->plans.erase(at);
      return wrong;
    }
  }
  *plan = &at->second;
  return nullptr;
}

Result run_plan(Queue* queue, Plan& plan, const Sums& sums) {
  const Product& p = sums.product;
  if (Result wrong = failure(set_pointers(plan, p), "cublasLtMatmulDescSetAttribute")) return wrong;
  const float one = 1.0f, share_of_added = p.added == nullptr ? 0.0f : 1.0f;
  const void* added = p.added == nullptr ? p.out : p.added;
  return failure(cublasLtMatmul(queue->products, &plan.work, &one, p.b.data, &plan.b, p.a.data, &plan.a,
                                &share_of_added, added, &plan.added, p.out, &plan.out, &plan.algorithm,
                                queue->workspace, queue->workspace_bytes, stream_of(queue)),
                 "cublasLtMatmul");
}

}  // namespace vitrine::gpu
