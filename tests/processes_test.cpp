// processes_test.cpp: several processes on one run: what they exchange, how they fail together, and that they train the bits
// of one. Here they are threads; tests/mpi_test.sh starts real ones.
#include "models/training/processes.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <new>
#include <set>

#include "engine/file.h"
#include "engine/ops.h"
#include "models/training/gradient_sum.h"
#include "models/training/message.h"
#include "tests/thread_processes.h"
#include "tests/tune_runs.h"

using namespace vitrine;
using namespace vitrine::testing;
namespace fs = std::filesystem;

namespace {

Processes::Bytes bytes_of(const std::string& words) {
  const auto bytes = std::as_bytes(std::span(words));
  return {bytes.begin(), bytes.end()};
}
std::string words_of(const Processes::Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Sets variables of the environment as long as it lives.
class Environment {
 public:
  explicit Environment(std::initializer_list<std::pair<const char*, const char*>> variables) {
    for (const auto& [name, value] : variables) {
      setenv(name, value, 1);
      names_.push_back(name);
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    for (const char* name : names_) unsetenv(name);
  }

 private:
  std::vector<const char*> names_;
};

// Loops on one thread as long as it lives: the same bits, sooner where many wait for few cores.
class OneThread {
 public:
  OneThread() { set_thread_count(1); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() { set_thread_count(before_); }

 private:
  int before_ = thread_count();
};

// What a run leaves, and what it told.
struct Run {
  std::string task, metrics, epochs, notes, thrown;
  bool stopped = false;
  bool operator==(const Run&) const = default;
};

// The lines of metrics.jsonl without their last field, the seconds.
std::string metrics_of(const std::string& folder) {
  std::ifstream lines(folder + "/metrics.jsonl");
  std::string out;
  for (std::string line; std::getline(lines, line);) out += line.substr(0, line.find(",\"seconds\"")) + "\n";
  return out;
}

// A run on so many processes, 0: without any. All of them end with the same task, and only the first one says anything.
// `stop`: whether process `rank` wants to stop after `done` steps.
Run run_on(int count, const Backbone& backbone, const TuneData& data, const TuneConfig& config,
           const std::string& folder = "", bool resume = false,
           const std::function<bool(int rank, int done)>& stop = {}) {
  std::vector<Run> runs(static_cast<size_t>(std::max(count, 1)));
  const auto body = [&](Processes* processes) {
    const int rank = processes == nullptr ? 0 : processes->rank();
    Run& run = runs[static_cast<size_t>(rank)];
    TuneHooks hooks;
    int done = 0;
    hooks.note = [&](const std::string& words) { run.notes += words + "\n"; };
    hooks.epoch = [&](const EpochReport& r) {
      run.epochs += text("{} {} {} {}\n", r.epoch, r.loss, r.accuracy, r.val ? r.val->loss : 0);
    };
    if (stop) hooks.stop = [&] { return stop(rank, ++done); };
    hooks.processes = processes;
    const TuneResult result = tune(backbone, data, config, folder, resume, hooks);
    run.stopped = result.stopped;
    if (!result.stopped) run.task = digest(result.task);
  };
  std::vector<std::string> thrown(1);
  const OneThread quick;
  if (count > 0)
    thrown = in_processes(count, [&](Processes& processes) { body(&processes); });
  else
    try {
      body(nullptr);
    } catch (const Error& error) {
      thrown[0] = text("{} {}", static_cast<int>(error.fault()), error.what());
    }
  for (size_t rank = 1; rank < runs.size(); ++rank) {
    CHECK(runs[rank].task == runs[0].task);
    CHECK(runs[rank].stopped == runs[0].stopped);
    CHECK(thrown[rank] == thrown[0]);
    CHECK(runs[rank].notes.empty());
    CHECK(runs[rank].epochs.empty());
  }
  runs[0].thrown = thrown[0];
  if (!folder.empty()) runs[0].metrics = metrics_of(folder);
  return runs[0];
}

TuneConfig config_of(const std::string& method, int64_t accumulate) {
  TuneConfig config = small_config();
  const TunedConfig with_prompts = config.model;
  config.model = method_from_text(method);
  config.model.paper_head = true;
  config.model.drop_path = with_prompts.drop_path;
  if (prompt_kind(config.model.method) != PromptKind::none) config.model.prompts = with_prompts.prompts;
  config.epochs = 2;
  config.batch = 12;  // of 40 images: the last batch has 4
  config.accumulate = accumulate;
  config.balance_classes = true;
  return config;
}

}  // namespace

TEST_CASE("processes: everybody gets everybody's bytes, in the order of ranks") {
  for (const int count : {1, 2, 3, 4}) {
    CAPTURE(count);
    std::vector<std::string> got(static_cast<size_t>(count)), firsts(got);
    std::vector<std::array<bool, 3>> any(got.size());
    const auto thrown = in_processes(count, [&](Processes& processes) {
      const auto rank = static_cast<size_t>(processes.rank());
      processes.together([&] {
        for (int round = 0; round < 50; ++round) {
          got[rank].clear();
          // Of different lengths, the first one's empty.
          const std::string own = std::string(3 * rank, 'a') + (rank > 0 ? std::to_string(round) : "");
          for (const auto& bytes : processes.exchange(bytes_of(own))) got[rank] += words_of(bytes) + "|";
        }
        firsts[rank] = words_of(processes.from_first(bytes_of(text("from {}", rank))));
        any[rank] = {processes.any(false), processes.any(rank + 1 == got.size()), processes.any(true)};
      });
    });
    std::string expected;
    for (size_t rank = 0; rank < got.size(); ++rank)
      expected += std::string(3 * rank, 'a') + (rank > 0 ? "49" : "") + "|";
    for (size_t rank = 0; rank < got.size(); ++rank) {
      CHECK(thrown[rank].empty());
      CHECK(got[rank] == expected);
      CHECK(firsts[rank] == "from 0");
      CHECK(any[rank] == std::array{false, true, true});
    }
  }
}

TEST_CASE("processes: one that comes to its end before the others ends all, and they may go on after it") {
  for (const int early : {0, 1, 2})
    for (const bool inner : {false, true}) {
      CAPTURE(early);
      CAPTURE(inner);
      std::vector<int> after(3, 0);
      const auto thrown = in_processes(3, [&](Processes& processes) {
        const auto exchanges = [&] {
          if (processes.rank() == early) return;
          for (int i = 0; i < 3; ++i) processes.exchange(bytes_of("x"));
        };
        std::string caught;
        try {
          processes.together([&] {
            if (inner)
              processes.together(exchanges);
            else
              exchanges();
          });
        } catch (const Error& error) {
          caught = error.what();
        }
        // Nobody is left alone.
        processes.together([&] {
          after[static_cast<size_t>(processes.rank())] =
              static_cast<int>(processes.exchange(bytes_of("y")).size());
        });
        check(caught.empty(), "{}", caught);
      });
      const std::string expected = text("1 process {} of 3 is done, or elsewhere, where process {} goes on",
                                        early, early == 0 ? 1 : 0);
      for (size_t rank = 0; rank < 3; ++rank) {
        CHECK_MESSAGE(thrown[rank].find(expected.substr(2)) != std::string::npos, thrown[rank]);
        CHECK(after[rank] == 3);
      }
    }
}

TEST_CASE("processes: what one throws anywhere, all throw, and they may go on after it") {
  for (const int fails_in :
       {0, 1, 2, 3}) {  // before, between and after the exchanges of the inner body, or outside of it
    CAPTURE(fails_in);
    std::vector<int> reached(3, 0);
    const auto thrown = in_processes(3, [&](Processes& processes) {
      const auto rank = static_cast<size_t>(processes.rank());
      const auto may_fail = [&](int place) {
        if (rank == 1 && place == fails_in) fail(Fault::output, "disk full");
      };
      std::string caught;
      try {
        processes.together([&] {
          processes.together([&] {
            may_fail(0);
            processes.exchange({});
            may_fail(1);
            // Whoever swallows it has it again at the next exchange.
            try {
              processes.exchange({});
            } catch (const Error&) {
            }
            may_fail(2);
          });
          may_fail(3);
        });
      } catch (const Error& error) {
        caught = error.what();
      }
      processes.together([&] {
        if (processes.exchange({}).size() == 3 && caught == "disk full (in process 1)") reached[rank] = 1;
      });
      throw Error(Fault::input, caught);
    });
    CHECK(reached == std::vector<int>{1, 1, 1});
    for (const std::string& words : thrown) CHECK(words == "1 disk full (in process 1)");
  }
  // The inner body's failure may be caught between the two; that of the outer body, which some did not leave, may not.
  std::vector<int> after(2, 0);
  in_processes(2, [&](Processes& processes) {
    processes.together([&] {
      try {
        processes.together([&] {
          if (processes.rank() == 0) throw std::bad_alloc();
          processes.exchange({});
        });
      } catch (const Error& error) {
        if (error.fault() == Fault::resources && processes.exchange({}).size() == 2)
          after[static_cast<size_t>(processes.rank())] = 1;
      }
    });
  });
  CHECK(after == std::vector<int>{1, 1});
  const auto thrown = in_processes(2, [&](Processes& processes) {
    processes.together([&] {
      if (processes.rank() == 0) throw std::runtime_error("outside");
      try {
        processes.together([&] { processes.exchange({}); });
      } catch (const Error&) {
      }
      processes.exchange({});
    });
  });
  CHECK(thrown == std::vector<std::string>(2, "1 unexpected: outside"));
  // Two at once: that of the first in order.
  CHECK(in_processes(3, [](Processes& processes) {
          processes.together([&] {
            if (processes.rank() > 0) fail(Fault::diverged, "number {}", processes.rank());
          });
        }) == std::vector<std::string>(3, "3 number 1 (in process 1)"));
  CHECK(in_processes(2, [](Processes& processes) { processes.exchange({}); })[1].find("only inside") !=
        std::string::npos);
}

TEST_CASE("processes: where the connection breaks, nobody waits for the others") {
  class Broken final : public Processes {
   public:
    int rank() const override { return 0; }
    int count() const override { return 2; }

   protected:
    std::vector<Bytes> gather(std::span<const std::byte> /*own*/) override {
      fail(Fault::resources, "MPI: gone");
    }
  } broken;
  for (int i = 0; i < 2; ++i)
    CHECK_THROWS_WITH_AS(broken.together([&] { broken.exchange({}); }), "MPI: gone", Error);
  CHECK_THROWS_WITH_AS(broken.together([] { fail(Fault::output, "disk full"); }), "disk full", Error);
}

TEST_CASE("messages: what was put in comes out; one that is too short is refused") {
  const std::vector<double> numbers{1, -0.0, 3};
  MessageWriter writer;
  writer.put(7).put_text("words").put_all(std::span(numbers)).put_text("");
  MessageReader reader(writer.bytes());
  CHECK(reader.get<int>() == 7);
  CHECK(reader.get_text() == "words");
  CHECK(reader.get_all<double>() == numbers);
  CHECK(reader.get_text().empty());
  CHECK(reader.at_end());
  CHECK_THROWS_AS(reader.get<char>(), Error);
  MessageReader shorter(std::span(writer.bytes()).first(10));
  shorter.get<int>();
  CHECK_THROWS_AS(shorter.get_text(), Error);
}

TEST_CASE("gradient sum: each micro-batch's gradient is rounded by itself, on any number of processes") {
  // Two uses of a leaf give 2^25 and -2^25 and cancel; added to 1 one by one they would swallow it.
  const double large = 1 << 25;
  const auto micro_batch = [&](const Variable& x, int64_t part) {
    if (part == 0) return scale(x, 1.0);
    return add(scale(x, large), scale(x, -large));
  };
  const auto sum_on = [&](Processes& processes) {
    Parameters parameters;
    parameters.add({"x", Role::weight, Variable::leaf(Tensor::of<float>({1}, {1}))});
    parameters.add({"unused", Role::weight, Variable::leaf(Tensor::of<float>({1}, {1}))});
    const Variable x = parameters.all()[0].value;
    GradientSum sum(parameters, processes);
    for (int64_t first = 0; first < 5; first += processes.count()) {
      if (first + processes.rank() < 5) backward(micro_batch(x, first + processes.rank()));
      sum.add();
    }
    sum.finish();
    CHECK_FALSE(parameters.all()[1].value.gradient().defined());
    return x.gradient().item();
  };
  const Variable direct = Variable::leaf(Tensor::of<float>({1}, {1}));
  for (const int64_t part : {0, 1}) backward(micro_batch(direct, part));
  CHECK(direct.gradient().item() == 0);
  OneProcess alone;
  CHECK(sum_on(alone) == 1);
  for (const int count : {2, 3, 4, 7}) {
    std::vector<double> sums(static_cast<size_t>(count));
    in_processes(count, [&](Processes& processes) {
      processes.together([&] { sums[static_cast<size_t>(processes.rank())] = sum_on(processes); });
    });
    CHECK(sums == std::vector<double>(static_cast<size_t>(count), 1.0));
  }
}

TEST_CASE("processes: a run on 2, 3 and 4 has the bits of one that accumulates, whatever is trained") {
  for (const bool swin : {false, true}) {
    const Backbone backbone = swin ? small_swin() : small_backbone();
    const TuneData data = small_data(backbone);
    for (const std::string method :
         {"vpt-deep", "vpt-shallow", "linear", "full", "partial-1", "mlp-3", "sidetune", "bias", "adapter-4",
          "vpt-deep+bias", "lora-2", "ssf", "vpt-gated"}) {
      CAPTURE(swin);
      CAPTURE(method);
      const TuneConfig config = config_of(method, 4);
      const Folder alone("alone");
      const Run expected = run_on(0, backbone, data, config, alone.path);
      REQUIRE(expected.thrown.empty());
      for (const int count : method == "vpt-deep" ? std::vector{1, 2, 3, 4} : std::vector{swin ? 4 : 3}) {
        CAPTURE(count);
        const Folder folder("together");
        CHECK(run_on(count, backbone, data, config, folder.path) == expected);
        CHECK(read_file(folder.path + "/task.safetensors") == read_file(alone.path + "/task.safetensors"));
      }
    }
  }
}

TEST_CASE("processes: a prompt projection, kept features, workers, more micro-batches than processes") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  TuneConfig projected = config_of("vpt-deep", 5);
  projected.model.prompts.projection = 4;
  projected.workers = 2;
  projected.keep_best = false;
  TuneConfig kept = config_of("linear", 12);  // so many that the last batch has fewer images
  kept.model.drop_path = 0;
  kept.augment = {};
  REQUIRE(keeps_features(kept));
  TuneConfig layers = kept;  // which remember what all micro-batches showed
  layers.model = method_from_text("mlp-3");
  REQUIRE(keeps_features(layers));
  for (const TuneConfig& config : {projected, kept, layers}) {
    const Run expected = run_on(0, backbone, data, config);
    for (const int count : {2, 4}) CHECK(run_on(count, backbone, data, config) == expected);
  }
}

TEST_CASE(
    "processes: stopped by one of them and gone on with on any number, a run ends with the same bytes") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const TuneConfig config = config_of("vpt-deep", 4);
  const Folder whole("whole");
  const Run expected = run_on(0, backbone, data, config, whole.path);
  const int counts[] = {0, 4, 2, 3};
  for (int stop_after = 1; stop_after <= 5; ++stop_after) {  // of 8 steps, 4 an epoch
    const int before = counts[stop_after % 4], after = counts[(stop_after + 1) % 4];
    CAPTURE(before);
    CAPTURE(after);
    const Folder folder("stopped");
    const int who = std::max(before, 1) - 1;
    CHECK(run_on(before, backbone, data, config, folder.path, false, [&](int rank, int done) {
            return rank == who && done == stop_after;
          }).stopped);
    CHECK(fs::exists(folder.path + text("/checkpoint-{}.safetensors", stop_after)));
    const Run rest = run_on(after, backbone, data, config, folder.path, true);
    CHECK(rest.task == expected.task);
    CHECK(rest.metrics == expected.metrics);
    CHECK(rest.notes == text("going on after step {} ({}{} done)\n", stop_after, (stop_after - 1) / 4,
                             (stop_after - 1) / 4 == 1 ? " epoch" : " epochs"));
  }
}

TEST_CASE("processes: damaged images are left out by all, or one too many ends all with the words of one") {
  const Backbone backbone = small_backbone();
  TuneData data = small_data(backbone);
  const std::set<int64_t> damaged{data.train[1], data.train[5], data.train[6], data.train[30], data.val[2]};
  data.dataset = std::make_shared<Damaged>(data.dataset, [=](int64_t i) { return damaged.contains(i); });
  TuneConfig config = config_of("vpt-deep", 4);
  for (const int64_t max_bad : {4, 3, 1, 0}) {
    CAPTURE(max_bad);
    config.max_bad = max_bad;
    const Run expected = run_on(0, backbone, data, config);
    CHECK(expected.thrown.empty() == (max_bad == 4));
    CHECK(std::ranges::count(expected.notes, '\n') == std::min<int64_t>(max_bad, 4));
    for (const int count : {2, 3, 4})
      for (const int workers : {0, 2}) {
        CAPTURE(count);
        config.workers = workers;
        CHECK(run_on(count, backbone, data, config) == expected);
      }
  }
  // Validation's count is one of its own.
  std::erase_if(data.train, [&](int64_t i) { return damaged.contains(i); });
  config.max_bad = 0;
  const Run expected = run_on(0, backbone, data, config);
  CHECK(expected.thrown == text("1 picture {} is damaged; --max-bad N leaves such out", data.val[2]));
  CHECK(run_on(3, backbone, data, config) == expected);
}

TEST_CASE("processes: class tokens from which prompts start are found together, to the same bits and words") {
  const Backbone backbone = small_backbone();
  TuneData data = small_data(backbone);
  TuneConfig config = config_of("vpt-deep", 4);
  config.model.prompts.start = PromptStart::class_tokens;
  config.model.prompts.count = 0;
  config.keep_best = false;
  const std::set<int64_t> damaged{data.train[1], data.train[5], data.train[6], data.train[30]};
  const auto whole = data.dataset;
  for (const int64_t max_bad : {0, 2, 4}) {
    CAPTURE(max_bad);
    config.max_bad = max_bad;
    if (max_bad > 0)
      data.dataset = std::make_shared<Damaged>(whole, [=](int64_t i) { return damaged.contains(i); });
    const Run expected = run_on(0, backbone, data, config);
    CHECK(expected.thrown.empty() == (max_bad != 2));
    for (const int count : {2, 3, 4}) CHECK(run_on(count, backbone, data, config) == expected);
  }
}

TEST_CASE("processes: pictures that only one of them cannot read are left out by all, or end all") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  TuneConfig config = config_of("vpt-deep", 4);
  config.max_bad = 40;
  config.keep_best = false;
  for (const bool many : {false, true}) {
    CAPTURE(many);
    std::vector<std::string> tasks(2), notes(2);
    const auto thrown = in_processes(2, [&](Processes& processes) {
      const auto rank = static_cast<size_t>(processes.rank());
      TuneData own = data;
      own.val = {};
      own.dataset = std::make_shared<Damaged>(data.dataset, [&, rank](int64_t i) {
        return rank == 1 && (many ? i % 7 == 0 : i == data.train[3] || i == data.train[4]);
      });
      TuneHooks hooks;
      hooks.processes = &processes;
      hooks.note = [&](const std::string& words) { notes[rank] += words + "\n"; };
      tasks[rank] = digest(tune(backbone, own, config, "", false, hooks).task);
    });
    CHECK(thrown[0] == thrown[1]);
    CHECK(tasks[0] == tasks[1]);
    // When the others of its batch move up, one of many comes to the process that cannot read it.
    CHECK(thrown[0].ends_with("is damaged (in process 1)") == many);
    CHECK(std::ranges::count(notes[0], '\n') >= 1);
  }
}

TEST_CASE(
    "processes: a loss that is not finite ends all with the words of one; a class without images ends none") {
  Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  TuneConfig wild = config_of("linear", 4);
  wild.optimizer = {.kind = OptimizerKind::sgd, .weight_decay = 1e5};
  wild.learning_rate = 1e5;
  wild.clip = 0;
  wild.epochs = 8;
  const Run expected = run_on(0, backbone, data, wild);
  CHECK(expected.thrown.starts_with("3 tune: "));
  for (const int count : {2, 4}) CHECK(run_on(count, backbone, data, wild) == expected);
  TuneData fewer = data;
  std::erase_if(fewer.train, [&](int64_t i) { return data.dataset->label(i) == 1; });
  const Run alone = run_on(0, backbone, fewer, config_of("linear", 2));
  CHECK(alone.notes.starts_with("1 of 8 classes has no training images"));
  CHECK(run_on(2, backbone, fewer, config_of("linear", 2)) == alone);
}

TEST_CASE("processes: what must be the same in all of them is asked before the first step") {
  const Backbone backbone = small_backbone(), other = small_descendant(Pooling::token);
  const TuneData data = small_data(backbone);
  // Process 1 is called with something else.
  const auto refused = [&](const auto& change) {
    return in_processes(2, [&](Processes& processes) {
      TuneConfig config = config_of("vpt-deep", 2);
      TuneData own = data;
      const Backbone* net = &backbone;
      if (processes.rank() == 1) change(config, own, net);
      TuneHooks hooks;
      hooks.processes = &processes;
      tune(*net, own, config, "", false, hooks);
    });
  };
  const auto both = [&](const std::vector<std::string>& thrown, const std::string& words) {
    CAPTURE(thrown[0]);
    CHECK(thrown[0].find(words) != std::string::npos);
    CHECK(thrown[1] == thrown[0]);
  };
  both(refused([](TuneConfig& c, TuneData&, const Backbone*&) { c.seed = 5; }),
       "process 1 of 2 has other settings than process 0: seed 0, given 5");
  both(refused([](TuneConfig&, TuneData& d, const Backbone*&) { d.train.pop_back(); }), "other data");
  both(refused([&](TuneConfig&, TuneData&, const Backbone*& net) { net = &other; }), "another backbone");
  both(refused([](TuneConfig& c, TuneData&, const Backbone*&) { c.batch = 0; }), "(in process 1)");
  const Folder folder("resumed-in-one");
  const auto resumed = in_processes(2, [&](Processes& processes) {
    TuneHooks hooks;
    hooks.processes = &processes;
    tune(backbone, data, config_of("vpt-deep", 2), folder.path, processes.rank() == 1, hooks);
  });
  both(resumed, "process 1 of 2 and process 0: only one of them is to resume");
  const std::string too_few = run_on(3, backbone, data, config_of("vpt-deep", 2)).thrown;
  CHECK(too_few.find("3 processes share the micro-batches of each step, but there are only 2") !=
        std::string::npos);
}

TEST_CASE("processes: a full disk where the first one writes ends all") {
  const Backbone backbone = small_backbone();
  const TuneData data = small_data(backbone);
  const Folder folder("unwritable");
  // The name of the task file is taken by a folder: nothing can be written there after the last step.
  fs::create_directories(folder.path + "/task.safetensors/in the way");
  const Run run = run_on(3, backbone, data, config_of("vpt-deep", 3), folder.path, true);
  CHECK(run.thrown.starts_with("2 "));
}

TEST_CASE("evaluate: processes share the batches, to the same bits") {
  const Backbone backbone = small_backbone();
  TuneData data = small_data(backbone);
  const int64_t damaged = data.train[7];
  data.dataset = std::make_shared<Damaged>(data.dataset, [=](int64_t i) { return i == damaged; });
  TunedConfig config = small_config().model;
  config.classes = data.dataset->classes();
  const TunedModel model(backbone, config, 0, DType::f32);
  for (const int64_t batch : {1, 7, 40, 64}) {
    Tensor logits;
    const Evaluation expected =
        evaluate(model, data.dataset, data.train, data.preprocess, batch, 0, 1, &logits);
    for (const int count : {2, 3, 4}) {
      std::vector<Evaluation> found(static_cast<size_t>(count));
      std::vector<Tensor> all(found.size());
      const auto thrown = in_processes(count, [&](Processes& processes) {
        const auto rank = static_cast<size_t>(processes.rank());
        found[rank] = evaluate(model, data.dataset, data.train, data.preprocess, batch, 0, 1, &all[rank], {},
                               {}, &processes);
      });
      for (size_t rank = 0; rank < found.size(); ++rank) {
        CHECK(thrown[rank].empty());
        CHECK(found[rank].loss == expected.loss);
        CHECK(found[rank].accuracy == expected.accuracy);
        CHECK(found[rank].samples == expected.samples);
        CHECK(found[rank].bad.size() == 1);
        CHECK(std::ranges::equal(all[rank].raw(), logits.raw()));
      }
    }
  }
}

TEST_CASE("processes: what mpirun and a job array say in the environment") {
  CHECK(launched().count == 1);
  CHECK_FALSE(job_array_share().has_value());
  {
    const Environment set{{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_RANK", "2"}, {"PMIX_RANK", "2"}};
    CHECK(launched().count == 4);
    CHECK(launched().rank == 2);
  }
  {
    const Environment set{{"PMI_SIZE", "3"}, {"PMI_RANK", "1"}};
    CHECK(launched().count == 3);
    CHECK(launched().rank == 1);
  }
  {
    const Environment set{{"PMIX_RANK", "5"}};
    CHECK(launched().count == 0);
    CHECK(launched().rank == 5);
  }
  {
    const Environment set{{"PMI_SIZE", "many"}, {"PMI_RANK", "-1"}};
    CHECK(launched().count == 0);
    CHECK(launched().rank == 0);
  }
  const auto share = [](const char* id, const char* count, const char* least, const char* most) {
    const Environment set{{"SLURM_ARRAY_TASK_ID", id},
                          {"SLURM_ARRAY_TASK_COUNT", count},
                          {"SLURM_ARRAY_TASK_MIN", least},
                          {"SLURM_ARRAY_TASK_MAX", most}};
    const Share found = job_array_share().value();
    return std::pair{found.index, found.count};
  };
  CHECK(share("0", "8", "0", "7") == std::pair<int64_t, int64_t>{0, 8});
  CHECK(share("5", "3", "1", "5") == std::pair<int64_t, int64_t>{2, 3});  // --array=1-5:2
  CHECK(share("9", "1", "9", "9") == std::pair<int64_t, int64_t>{0, 1});
  CHECK_THROWS_AS(share("3", "3", "1", "7"), Error);  // --array=1,3,7
  CHECK_THROWS_AS(share("8", "8", "0", "7"), Error);
  CHECK_THROWS_AS(share("x", "8", "0", "7"), Error);
  CHECK_THROWS_AS(share("1", "0", "0", "7"), Error);
}

TEST_CASE("processes: the cores of a machine are shared among its processes") {
  const int cores = [] {
    OneProcess alone;
    return threads_of_each(alone);
  }();
  CHECK(cores >= 1);
  for (const int count : {2, 4, 3 * cores}) {
    std::vector<int> threads(static_cast<size_t>(count));
    in_processes(count, [&](Processes& processes) {
      processes.together(
          [&] { threads[static_cast<size_t>(processes.rank())] = threads_of_each(processes); });
    });
    for (const int each : threads) CHECK(each == std::max(cores / count, 1));
  }
}
