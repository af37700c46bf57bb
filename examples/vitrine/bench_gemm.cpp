// bench_gemm.cpp: `vitrine bench gemm`. The matrix product at the shapes of ViTs, weights packed beforehand, as
// a share of the peak that the arithmetic units gave in the same run.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "engine/instruction_set.h"
#include "engine/ops/weight.h"
#include "engine/parallel.h"
#include "engine/random.h"
#include "engine/text.h"
#include "peak.h"

namespace vitrine::cli {

namespace {

struct Size {
  const char *model, *layer;
  int64_t m, n, k;
};
// A ViT's layers, forward and backward, with the rows of a batch of 8 (B) or 32 images (Ti).
constexpr std::array<Size, 10> sizes{{{"vit-b16", "qkv", 1576, 2304, 768},
                                      {"vit-b16", "proj", 1576, 768, 768},
                                      {"vit-b16", "fc1", 1576, 3072, 768},
                                      {"vit-b16", "fc2", 1576, 768, 3072},
                                      {"vit-b16", "qkv backward", 1576, 768, 2304},
                                      {"vit-ti16", "qkv", 6304, 576, 192},
                                      {"vit-ti16", "proj", 6304, 192, 192},
                                      {"vit-ti16", "fc1", 6304, 768, 192},
                                      {"vit-ti16", "fc2", 6304, 192, 768},
                                      {"vit-ti16", "qkv backward", 6304, 192, 576}}};

Tensor random_matrix(int64_t rows, int64_t columns, uint64_t seed) {
  Tensor out = Tensor::empty({rows, columns}, DType::f32);
  Random random(seed, Purpose::test);
  for (float& value : out.mutable_data<float>()) value = static_cast<float>(random.normal());
  return out;
}

// Operations per second of each product within about `seconds`, after one that is not counted.
std::vector<double> time_products(const Size& s, Precision precision, double seconds) {
  const Tensor a = random_matrix(s.m, s.k, 1),
               weight = random_matrix(s.n, s.k, 2).seal().with_precision(precision);
  Tensor c = Tensor::zeros({s.m, s.n}, DType::f32);
  const PackedWeight<float> packed = packed_weight<float>(weight, for_forward, {});
  const cpu::Product<float> product{
      s.m, s.n, s.k, {a.data<float>().data(), s.k, 1}, c.mutable_data<float>().data(), s.n};
  const auto run = [&] {
    const double begin = now();
    cpu::multiply_packed<float>(product, packed.panels);
    return now() - begin;
  };
  run();
  std::vector<double> rates;
  for (const double begin = now(); rates.empty() || now() - begin < seconds;)
    rates.push_back(2 * static_cast<double>(s.m * s.n * s.k) / run());
  return rates;
}

// What the products are made of: only where the processor has pairs does bf16 mean other arithmetic.
Arithmetic arithmetic_of(Precision precision) {
  return precision == Precision::bf16 && instruction_set() == "avx512_bf16" ? Arithmetic::bf16_pairs
                                                                            : Arithmetic::f32;
}

nlohmann::ordered_json on_threads(int threads, Precision precision, double seconds, Console& console) {
  set_thread_count(threads);
  const Arithmetic arithmetic = arithmetic_of(precision);
  Peak peak = measure_peak(threads, seconds, arithmetic);
  std::vector<std::vector<double>> rates;
  for (const Size& size : sizes) {
    rates.push_back(time_products(size, precision, seconds));
    console.progress(static_cast<int64_t>(rates.size()), sizes.size(), 0, plural(threads, "thread"));
  }
  console.clear();
  // The clock may have changed: the higher peak is the measure of all.
  if (const Peak again = measure_peak(threads, seconds, arithmetic); again.operations > peak.operations)
    peak = again;

  const char* unit = arithmetic == Arithmetic::f32 ? "f32" : "bf16";
  console.item("Peak", fmt::format("{:.1f} GFLOP/s in {} on {} ({}): {:.1f} % of {}", peak.operations / 1e9,
                                   unit, plural(threads, "thread"), peak.instructions, 100 * peak.share(),
                                   peak.assumption()));
  if (!peak.sound()) console.note("this peak is not within 5 % of what it should be: the shares are void");
  auto shapes = nlohmann::ordered_json::array();
  for (size_t i = 0; i < sizes.size(); ++i) {
    const Size& s = sizes[i];
    const double middle = median(rates[i]);
    console.item(s.model, fmt::format("{:.1f} % of the peak, {:.1f} GFLOP/s: {}, {} x {} x {}",
                                      100 * middle / peak.operations, middle / 1e9, s.layer, s.m, s.n, s.k));
    shapes.push_back({{"model", s.model},
                      {"layer", s.layer},
                      {"m", s.m},
                      {"n", s.n},
                      {"k", s.k},
                      {"flops", middle},
                      {"flops_min", *std::ranges::min_element(rates[i])},
                      {"flops_max", *std::ranges::max_element(rates[i])},
                      {"share_of_peak", middle / peak.operations}});
  }
  return {{"threads", threads},
          {"arithmetic", unit},
          {"peak_flops", peak.operations},
          {"instructions", peak.instructions},
          {"clock_hz", peak.clock},
          {"lanes", peak.lanes},
          {"units", peak.units},
          {"share_of_nominal", peak.share()},
          {"nominal", peak.assumption()},
          {"sound", peak.sound()},
          {"shapes", std::move(shapes)}};
}

double least_share(const nlohmann::ordered_json& run) {
  double least = 1;
  for (const auto& shape : run["shapes"]) least = std::min(least, shape["share_of_peak"].get<double>());
  return least;
}

}  // namespace

int bench_gemm(const GemmBenchOptions& o, Console& console) {
  const int threads = thread_count();
  auto runs = nlohmann::ordered_json::array();
  if (o.precision == Precision::bf16 && arithmetic_of(o.precision) == Arithmetic::f32)
    console.note(
        "the instructions in use multiply no pairs of bf16: weights are expanded, and sums and peak are f32");
  if (threads > 1) runs.push_back(on_threads(1, o.precision, o.seconds, console));
  runs.push_back(on_threads(threads, o.precision, o.seconds, console));
  if (threads > 1 && least_share(runs[1]) < 0.7 * least_share(runs[0]))
    console.note(
        "with several threads a product reached less than 70 % of its share with one: something else was "
        "running, or the threads shared a core; these shares are void");
  console.result({{"command", "bench gemm"},
                  {"threads", threads},
                  {"precision", name_of(o.precision)},
                  {"runs", std::move(runs)}});
  return 0;
}

}  // namespace vitrine::cli
