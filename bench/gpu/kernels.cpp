// kernels.cpp: vitrine_gpu_kernels: what a device can do at most (copies, one large product), and how near each kernel
// comes to its floor: the time in which that bandwidth moves what it has to move, or that peak computes it.
//
//   vitrine_gpu_kernels --device cuda --json kernels.jsonl
//
// Each line of the file is one finished measurement; those that are in it are not made again.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "cases.h"
#include "engine/check.h"
#include "engine/text.h"

namespace vitrine::bench {

Sizes Sizes::full() {
  return {.images = 128,
          .tokens = 197,
          .width = 768,
          .heads = 12,
          .wide = 1024,
          .side = 224,
          .patch = 16,
          .map = 56,
          .swin_width = 128,
          .swin_heads = 4,
          .stages = 4,
          .window = 7,
          .prompts = {0, 10, 50, 100},
          .classes = 100,
          .square = 8192,
          .copied = size_t{512} << 20,
          .rotated = size_t{256} << 20,
          .period = 1'000'003};
}
Sizes Sizes::tiny() {
  return {.images = 2,
          .tokens = 10,
          .width = 64,
          .heads = 2,
          .wide = 96,
          .side = 12,
          .patch = 4,
          .map = 6,
          .swin_width = 32,
          .swin_heads = 1,
          .stages = 2,
          .window = 3,
          .prompts = {0, 3},
          .classes = 5,
          .square = 32,
          .copied = size_t{1} << 20,
          .rotated = 1,
          .period = 1009};
}

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string device = "cuda", sizes = "full", json;
  bool describe = false;
};

constexpr const char* usage =
    "vitrine_gpu_kernels [--device D] [--sizes full|tiny] [--json FILE] [--describe]\n"
    "Measures a device's ceilings, and each kernel against its floor.\n\n"
    "  --device D      cuda, cuda:1 (the second one) or emulator [cuda]\n"
    "  --sizes S       full: as in training; tiny: a few rows, to see that all of it works [full]\n"
    "  --json FILE     a line of JSON for each measurement is added to it; what it holds is not measured "
    "again\n"
    "  --describe      says what the device is, and measures nothing\n";

std::optional<Options> read_options(int count, char** words) {
  Options o;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--help") return std::nullopt;
    if (word == "--describe") {
      o.describe = true;
      continue;
    }
    const std::map<std::string, std::string*> known{
        {"--device", &o.device}, {"--sizes", &o.sizes}, {"--json", &o.json}};
    const auto at = known.find(word);
    check(at != known.end(), "unknown option {}; --help names them", quote(word));
    check(i + 1 < count, "{}: expected a value after it", word);
    *at->second = words[++i];
  }
  check(o.sizes == "full" || o.sizes == "tiny", "--sizes: expected full or tiny, got {}", quote(o.sizes));
  return o;
}

// The file of measurements. A line that was cut off is left behind.
class Log {
 public:
  explicit Log(const std::string& path) : path_(path) {
    if (path.empty()) return;
    std::ifstream file(path);
    std::string line;
    while (std::getline(file, line)) {
      const Json one = Json::parse(line, nullptr, false);
      if (one.is_object() && one.contains("kernel") && !one.contains("failed")) done_[one["kernel"]] = one;
      whole_ = !file.eof();
    }
  }
  const Json* find(const std::string& name) const {
    const auto at = done_.find(name);
    return at == done_.end() ? nullptr : &at->second;
  }
  void add(const std::string& name, const Json& one) {
    if (!one.contains("failed")) done_[name] = one;
    if (path_.empty()) return;
    std::ofstream file(path_, std::ios::app);
    file << (whole_ ? "" : "\n") << one.dump() << std::endl;
    whole_ = true;
    if (!file) fail(Fault::output, "{}: cannot be written", path_);
  }

 private:
  std::string path_;
  std::map<std::string, Json> done_;
  bool whole_ = true;  // the file ends with a whole line
};

// How a product was made, if the device keeps a file of its plans (docs/gpu.md) and says it there: a line "<device>:
// <sizes and flags>", a tab, and the choice.
std::string made_by(const Case& one) {
  const char* path = std::getenv("VITRINE_PLANS");
  if (path == nullptr || one.product.empty()) return "";
  std::ifstream file(path);
  std::string line, alone;
  constexpr size_t at_epilogue = 18, at_transposed = 11, at_added = 14, at_bias = 17;
  while (std::getline(file, line)) {
    const size_t tab = line.rfind('\t'), colon = line.rfind(':', tab);
    if (tab == std::string::npos || colon == std::string::npos) continue;
    std::istringstream numbers(line.substr(colon + 1, tab - colon - 1));
    const std::vector<int64_t> key{std::istream_iterator<int64_t>(numbers), {}};
    if (key.size() <= at_epilogue || !std::equal(key.begin(), key.begin() + 4, one.product.begin()) ||
        key[at_transposed] != one.product[5] || (key[at_added] >= 0) != (one.product[6] != 0) ||
        key[at_bias] != one.product[7])
      continue;
    if (key[at_epilogue] == one.product[4])
      return line.substr(tab + 1) == "apart" ? "cuBLASLt, gelu apart" : "cuBLASLt";
    if (key[at_epilogue] == 0) alone = "cuBLASLt, gelu apart";
  }
  return alone;  // nothing: a plain kernel, or a device without plans
}

struct Peaks {
  double bandwidth = 0, flops = 0;  // a second
};

std::string size_text(double bytes) {
  return bytes >= 1e9 ? text("{} GB", std::round(bytes / 1e8) / 10)
                      : text("{} MB", std::round(bytes / 1e4) / 100);
}

class Measurement {
 public:
  Measurement(const Options& o, std::shared_ptr<const Device> device)
      : tiny_(o.sizes == "tiny"),
        sizes_(tiny_ ? Sizes::tiny() : Sizes::full()),
        device_(device),
        operands_(device, sizes_.period),
        log_(o.json) {}

  void run() {
    for (const Case& one : ceilings(sizes_)) {
      const Json line = measure(one);
      double& ceiling = one.flops > 0 ? peaks_.flops : peaks_.bandwidth;
      ceiling = std::max(ceiling, (one.flops > 0 ? one.flops : one.bytes) / line["seconds"].get<double>());
    }
    std::printf("\nCeilings: %.1f GB/s, %.2f TFLOP/s. A kernel's share is that of its floor in its time.\n",
                peaks_.bandwidth / 1e9, peaks_.flops / 1e12);
    for (const auto& cases : {product_cases, attention_cases, window_cases, row_cases})
      for (const Case& one : cases(sizes_)) measure(one);
    probe_gelu();
    check(failed_ == 0, "kernels that failed: {}", failed_);
  }

 private:
  Json measure(const Case& one) {
    if (one.group != group_) std::printf("\n%s\n", one.group.c_str());
    group_ = one.group;
    const std::string name = one.group + ": " + one.name;
    if (const Json* done = log_.find(name)) {
      show(one, *done, true);
      return *done;
    }
    Json line = {{"kernel", name},
                 {"group", one.group},
                 {"device", device_->name()},
                 {"sizes", tiny_ ? "tiny" : "full"}};
    try {
      time(one, line);
    } catch (const Error& e) {  // one kernel that fails is told; the others have their turn
      if (one.group == "ceiling") throw;
      line["failed"] = e.what();
      log_.add(name, line);
      ++failed_;
      std::printf("  %-64s %s\n", one.name.c_str(), e.what());
      return line;
    }
    log_.add(name, line);
    show(one, line, false);
    return line;
  }

  void time(const Case& one, Json& line) {
    const auto most_sets = 64.0, wanted = std::ceil(static_cast<double>(sizes_.rotated) / one.bytes) + 1;
    std::vector<Call> calls;
    for (int i = 0; i < std::min(wanted, most_sets); ++i) calls.push_back(one.make(operands_));
    const Pace pace = tiny_ ? Pace{0, 3, 2} : Pace{0.01, 15, 2000};
    const Timing t = time_calls(*device_, pace, calls);
    line.update({{"seconds", t.median},
                 {"seconds_least", t.least},
                 {"seconds_most", t.most},
                 {"calls", t.calls},
                 {"repeats", t.repeats},
                 {"recorded", t.recorded},
                 {"sets", calls.size()},
                 {"bytes", one.bytes},
                 {"flops", one.flops},
                 {"bytes_per_second", one.bytes / t.median},
                 {"flops_per_second", one.flops / t.median},
                 {"beyond_cache",
                  static_cast<double>(calls.size()) * one.bytes >= static_cast<double>(sizes_.rotated)}});
    if (peaks_.flops > 0) {
      const double floor = std::max(one.bytes / peaks_.bandwidth, one.flops / peaks_.flops);
      line["floor_seconds"] = floor;
      line["share_of_floor"] = floor / t.median;
    }
    if (const std::string how = made_by(one); !how.empty()) line["made_by"] = how;
  }

  static void show(const Case& one, const Json& line, bool kept) {
    const double seconds = line["seconds"],
                 spread = line["seconds_most"].get<double>() - line["seconds_least"].get<double>();
    std::string words;
    if (one.flops > 0) words = text(", {} TFLOP/s", std::round(one.flops / seconds / 1e10) / 100);
    if (line.contains("share_of_floor"))
      words += text(", {}% of the floor", std::round(1000 * line["share_of_floor"].get<double>()) / 10);
    if (line.contains("made_by")) words += ", by " + line["made_by"].get<std::string>();
    if (!line["beyond_cache"].get<bool>()) words += ", in the cache";
    std::printf("  %-64s %10.2f us (+- %.1f%%), %s, %.1f GB/s%s%s\n", one.name.c_str(), 1e6 * seconds,
                50 * spread / seconds, size_text(one.bytes).c_str(), one.bytes / seconds / 1e9, words.c_str(),
                kept ? " (measured before)" : "");
    std::fflush(stdout);
  }

  // gelu(-3) is -0.00405 with erf and -0.00364 with tanh: which of them a product's epilogue gives.
  void probe_gelu() {
    const std::string name = "probe: gelu(-3)";
    if (log_.find(name)) return;
    Json line = {{"kernel", name},
                 {"group", "probe"},
                 {"device", device_->name()},
                 {"sizes", tiny_ ? "tiny" : "full"}};
    std::printf("\nA product's gelu of -3 (erf: -0.00405, tanh: -0.00364)\n");
    for (const auto form : {gpu::GeluForm::erf, gpu::GeluForm::tanh}) {
      const int64_t m = tiny_ ? 16 : 4096, n = 4 * sizes_.width, k = sizes_.width;
      const Tensor a = operands_.filled({m, k}, 0, DType::bf16), b = operands_.filled({n, k}, 0, DType::bf16),
                   bias = operands_.filled({n}, -3, DType::bf16);
      Tensor out = operands_.empty({m, n}, DType::bf16), inner = operands_.empty({m, n}, DType::bf16);
      gpu::Product p = gpu::product_of(*device_, a, b, out);
      p.m = m, p.n = n, p.k = k;
      p.a.step = p.b.step = k, p.b.transposed = true, p.out_step = n;
      p.bias = bias.address(), p.epilogue = gpu::Epilogue::gelu, p.form = form,
      p.inner = inner.mutable_address();
      device_->run(&gpu::Kernels::product, p);
      const auto value = static_cast<double>(out.copied_to({}).to(DType::f32).data<float>()[0]);
      const char* const asked = form == gpu::GeluForm::erf ? "erf" : "tanh";
      const char* const is = std::abs(value + 0.00405) < std::abs(value + 0.00364) ? "erf" : "tanh";
      line[asked] = {{"value", value}, {"is", is}};
      const std::string how =
          made_by({.group = "",
                   .name = "",
                   .bytes = 0,
                   .flops = 0,
                   .make = {},
                   .product = {1, m, n, k, static_cast<int64_t>(gpu::Epilogue::gelu), 1, 0, 1}});
      if (!how.empty()) line[asked]["made_by"] = how;
      std::printf("  asked for %-4s: %.5f, which is %s%s%s\n", asked, value, is, how.empty() ? "" : ", by ",
                  how.c_str());
    }
    log_.add(name, line);
  }

  bool tiny_;
  Sizes sizes_;
  std::shared_ptr<const Device> device_;
  Operands operands_;
  Log log_;
  Peaks peaks_;
  std::string group_;
  int failed_ = 0;
};

int run(int count, char** words) {
  const std::optional<Options> options = read_options(count, words);
  if (!options) return std::printf("%s", usage) < 0;
  const std::shared_ptr<const Device> device = Device::open(options->device);
  std::printf("%s\n", device->description().c_str());
  if (options->describe) return 0;
  Measurement(*options, device).run();
  return 0;
}

}  // namespace

}  // namespace vitrine::bench

int main(int count, char** words) {
  try {
    return vitrine::bench::run(count, words);
  } catch (const vitrine::Error& e) {
    std::fprintf(stderr, "vitrine_gpu_kernels: %s\n", e.what());
    return static_cast<int>(e.fault());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "vitrine_gpu_kernels: %s\n", e.what());
    return 1;
  }
}
