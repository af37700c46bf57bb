// ops.cpp: how fast each op of the table is, forward and backward in f32, and the matrix product
// at the shapes of ViTs.
//
//   vitrine_bench --benchmark_filter=gemm
#include <benchmark/benchmark.h>

#include "engine/cpu/gemm.h"
#include "op_cases.h"

using namespace vitrine;

namespace {

void run_op(benchmark::State& state, const testing::OpCase& op) {
  const Memory memory = Memory::counted();
  const std::vector<Tensor> inputs = testing::inputs_of(op, DType::f32, memory);
  const std::vector<bool> wanted = testing::all_wanted(op);
  for (auto step : state) benchmark::DoNotOptimize(testing::evaluate(op, inputs, wanted).value.raw().data());
}

// c (m, n) = a (m, k) b (k, n) with b packed beforehand, as a frozen weight is.
void run_gemm(benchmark::State& state, int64_t m, int64_t n, int64_t k) {
  const Tensor a = testing::random_tensor({m, k}, DType::f32, 1),
               b = testing::random_tensor({k, n}, DType::f32, 2);
  Tensor c = Tensor::zeros({m, n}, DType::f32),
         packed = Tensor::empty({cpu::packed_size<float>(k, n)}, DType::f32);
  cpu::pack<float>(k, n, {b.data<float>().data(), n, 1}, packed.mutable_data<float>().data());
  for (auto step : state) {
    cpu::multiply_packed<float>({m, n, k, {a.data<float>().data(), k, 1}, c.mutable_data<float>().data(), n},
                                packed.data<float>().data());
  }
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * static_cast<double>(m * n * k),
                                                 benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

int main(int argc, char** argv) {
  for (const testing::OpCase& op : testing::op_cases())
    benchmark::RegisterBenchmark(("op/" + op.name).c_str(), [op](benchmark::State& state) {
      run_op(state, op);
    })->UseRealTime();
  struct Size {
    const char* what;
    int64_t m, n, k;
  };
  for (const Size& s :
       {Size{"vit-b16 qkv, 8 images", 1576, 2304, 768}, Size{"vit-b16 fc1, 8 images", 1576, 3072, 768},
        Size{"vit-b16 fc2, 8 images", 1576, 768, 3072}, Size{"vit-ti16 fc1, 32 images", 6304, 768, 192},
        Size{"builtin fc1, 32 images", 2080, 512, 128}}) {
    benchmark::RegisterBenchmark(("gemm/" + std::string(s.what)).c_str(), [s](benchmark::State& state) {
      run_gemm(state, s.m, s.n, s.k);
    })->UseRealTime();
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
