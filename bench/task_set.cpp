// task_set.cpp: what a batch of mixed tasks costs beside plain batches of the same images, and how long a task takes to come
// and go (models/task_set.h).
//
//   vitrine_bench_tasks [MODEL [BATCH [ROUNDS [THREADS]]]]      # vit-b16, 16, 15, as many as there are cores
//
// MODEL is a preset with random weights, or builtin or builtin-swin. In each round every kind of batch is timed once, so
// that whatever else the machine does meets all alike. The same work in plain batches is, for each image, its share of a batch of which every
// image has a task of its form. Prints tables.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "engine/parallel.h"
#include "engine/text.h"
#include "models/builtin.h"
#include "models/task_set.h"

using namespace vitrine;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of all threads, which what else the machine does hardly changes.
double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

struct Times {
  std::vector<double> wall, processor;
  template <class F>
  void take(bool counts, const F& work) {
    const double begin = now(), began = processor_seconds();
    work();
    if (!counts) return;
    wall.push_back(now() - begin), processor.push_back(processor_seconds() - began);
  }
};

double middle(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

Backbone backbone_of(const std::string& model) {
  if (model == "builtin" || model == "builtin-swin") {
    const auto bytes = model == "builtin" ? builtin_vit() : builtin_swin();
    return make_backbone(
        read_safetensors(bytes, std::shared_ptr<const void>(std::shared_ptr<const void>{}, bytes.data()),
                         model),
        model);
  }
  const TransformerConfig config = with_classes(preset(model), 0);
  Parameters parameters;
  const Transformer net(config, trainable(parameters, 1, DType::f32));
  TensorFile file;
  for (const Parameter& p : parameters.all()) file.tensors[p.name] = p.value.value().seal();
  file.metadata["config"] = config_to_json(config);
  return make_backbone(std::move(file), model);
}

struct Form {
  const char* method;
  int64_t prompts;
  bool operator==(const Form&) const = default;
};

Task task_of(const Backbone& backbone, const Form& form, uint64_t seed) {
  TunedConfig config = method_from_text(form.method);
  config.classes = 10;
  config.paper_head = true;
  config.prompts.count = form.prompts;
  const TunedModel model(backbone, config, seed);
  std::vector<std::string> names;
  for (int i = 0; i < 10; ++i) names.push_back(text("class {}", i));
  return {model.config(),
          names,
          backbone.source,
          identity_of(backbone),
          untold_heads(backbone.config),
          "",
          "",
          "{}",
          "{}",
          model.task_tensors()};
}

struct Mix {
  const char* what;
  std::vector<Form> forms;  // of its images, in turn
};

}  // namespace

int main(int argc, char** argv) try {
  const std::string model = argc > 1 ? argv[1] : "vit-b16";
  const int64_t batch = argc > 2 ? std::atoll(argv[2]) : 16;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 15;
  if (argc > 4) set_thread_count(std::atoi(argv[4]));
  const Backbone backbone = with_identity(backbone_of(model));
  const int64_t side = image_size(backbone.config);
  Tensor images = Tensor::empty({batch, 3, side, side}, DType::f32);
  Random random(1, Purpose::test);
  for (float& value : images.mutable_data<float>()) value = static_cast<float>(random.normal());

  const std::vector<Mix> mixes{
      {"10 deep prompts each", {{"vpt-deep", 10}}},
      {"50 deep prompts each", {{"vpt-deep", 50}}},
      {"5, 10, 20 and 50 deep prompts",
       {{"vpt-deep", 5}, {"vpt-deep", 10}, {"vpt-deep", 20}, {"vpt-deep", 50}}},
      {"linear, 10 deep, 10 shallow", {{"linear", 0}, {"vpt-deep", 10}, {"vpt-shallow", 10}}}};
  TaskSet set(backbone);
  struct Plain {
    Form form;
    std::unique_ptr<TunedModel> model;
    Times times{};
  };
  std::vector<Plain> plains;
  struct Mixed {
    std::vector<std::shared_ptr<const ReadyTask>> tasks;
    std::vector<size_t> plain;  // of each image
    Times times{};
  };
  std::vector<Mixed> mixed(mixes.size());
  for (size_t m = 0; m < mixes.size(); ++m)
    for (int64_t i = 0; i < batch; ++i) {
      const Form& form = mixes[m].forms[static_cast<size_t>(i) % mixes[m].forms.size()];
      const auto found = std::ranges::find(plains, form, &Plain::form);
      mixed[m].plain.push_back(static_cast<size_t>(found - plains.begin()));
      const Task task = task_of(backbone, form, static_cast<uint64_t>(i) + 1);
      if (found == plains.end())
        plains.push_back(
            {form, std::make_unique<TunedModel>(backbone, task, DType::f32, Memory(), Use::prediction)});
      mixed[m].tasks.push_back(set.put(text("{} {}", m, i), task));
    }

  for (int round = -1; round < rounds; ++round) {  // the first one packs weights
    for (Plain& plain : plains)
      plain.times.take(round >= 0, [&] { plain.model->logits(images, {.history = false}); });
    for (Mixed& mix : mixed) mix.times.take(round >= 0, [&] { set.logits(Variable(images), mix.tasks); });
  }
  std::printf("%s, batch %lld, each image of another task, %d rounds, %d threads\n\n", model.c_str(),
              static_cast<long long>(batch), rounds, thread_count());
  std::printf(
      "| tasks of the batch | mixed, ms | plain, ms | mixed / plain | least to most in a round | mixed / "
      "plain, of processor time |\n|---|---|---|---|---|---|\n");
  for (size_t m = 0; m < mixes.size(); ++m) {
    std::vector<double> plain(static_cast<size_t>(rounds), 0), processor = plain, ratios;
    for (size_t r = 0; r < plain.size(); ++r) {
      for (const size_t p : mixed[m].plain) {
        plain[r] += plains[p].times.wall[r] / static_cast<double>(batch);
        processor[r] += plains[p].times.processor[r] / static_cast<double>(batch);
      }
      ratios.push_back(mixed[m].times.wall[r] / plain[r]);
    }
    std::printf("| %s | %.1f | %.1f | %.3f | %.3f to %.3f | %.3f |\n", mixes[m].what,
                1e3 * middle(mixed[m].times.wall), 1e3 * middle(plain),
                middle(mixed[m].times.wall) / middle(plain), *std::ranges::min_element(ratios),
                *std::ranges::max_element(ratios), middle(mixed[m].times.processor) / middle(processor));
  }

  std::printf(
      "\n| task | file, KB | kept, KB | from bytes to ready, ms (middle; most) | gone, ms (middle; most) "
      "|\n|---|---|---|---|---|\n");
  for (const Form& form :
       {Form{"linear", 0}, Form{"vpt-shallow", 10}, Form{"vpt-deep", 10}, Form{"vpt-deep", 50}}) {
    const std::vector<std::byte> bytes = write_safetensors(to_file(task_of(backbone, form, 1)));
    std::vector<double> come, go;
    size_t kept = 0;
    for (int i = 0; i < 50; ++i) {
      const double begin = now();
      kept = set.put("new", task_from_file(read_safetensors(bytes, nullptr, "task")))->bytes;
      const double ready = now();
      set.remove("new");
      come.push_back(ready - begin), go.push_back(now() - ready);
    }
    std::printf("| %s%s | %.1f | %.1f | %.2f; %.2f | %.3f; %.3f |\n", form.method,
                form.prompts ? text(", {} prompts", form.prompts).c_str() : "",
                static_cast<double>(bytes.size()) / 1e3, static_cast<double>(kept) / 1e3, 1e3 * middle(come),
                1e3 * *std::ranges::max_element(come), 1e3 * middle(go), 1e3 * *std::ranges::max_element(go));
  }
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
