#include "models/training/pretrain_prompts.h"

#include <array>
#include <cmath>

#include "engine/check.h"

namespace vitrine {

namespace {

// Numbers of their own for each use, by lane.
enum Lane : uint32_t { count_lane, values_lane, tasks_lane, sorting_lane };

double bound_of(const PromptPlaces& places) {
  return std::sqrt(6.0 / static_cast<double>(3 * places.patch * places.patch + places.groups.at(0).width));
}

}  // namespace

PretrainPrompts::PretrainPrompts(int64_t tasks, const TransformerConfig& config, uint64_t seed,
                                 const Scope& scope)
    : tasks_(tasks), seed_(seed), places_(prompt_places(config)) {
  check(tasks > 0 && tasks <= 1 << 16, "pretrain: ", tasks, " prompt tasks make no sense");
  for (const PromptPlaces::Group& group : places_.groups)
    tables_.push_back(scope.get("pretrain_prompts" + group.suffix, {tasks, group.layers * most * group.width},
                                Role::prompt, Init::uniform(bound_of(places_))));
  head_ = Linear(feature_width(config), answers, scope / "pretrain_answers");
}

PretrainPrompts::Kind PretrainPrompts::kind_of(int64_t step) const {
  if (tasks_ == 0 || step % 4 == 0) return Kind::none;
  return step % 4 == 1 ? Kind::fresh : Kind::tasks;
}

int64_t PretrainPrompts::count_of(int64_t step) const {
  constexpr std::array<int64_t, 4> counts{1, 2, 5, most};
  return counts[Random(seed_, Purpose::pretrain, 0, static_cast<uint32_t>(step), count_lane).below(4)];
}

Prompts PretrainPrompts::fresh(int64_t step) const {
  Random random(seed_, Purpose::pretrain, 0, static_cast<uint32_t>(step), values_lane);
  const double bound = bound_of(places_);
  std::vector<Variable> groups;
  for (const PromptPlaces::Group& group : places_.groups) {
    Tensor values =
        Tensor::empty({group.layers, count_of(step), group.width}, DType::f32, tables_[0].value().memory());
    for (float& value : values.mutable_data<float>())
      value = static_cast<float>(random.uniform(-bound, bound));
    groups.emplace_back(std::move(values));
  }
  return {PromptKind::deep, std::move(groups), places_};
}

std::vector<int64_t> PretrainPrompts::draw_tasks(int64_t step, int64_t images) const {
  Random random(seed_, Purpose::pretrain, 0, static_cast<uint32_t>(step), tasks_lane);
  std::vector<int64_t> tasks(static_cast<size_t>(images));
  for (int64_t& task : tasks) task = random.below(static_cast<uint32_t>(tasks_));
  return tasks;
}

Prompts PretrainPrompts::of_tasks(int64_t step, const std::vector<int64_t>& tasks) const {
  const auto b = static_cast<int64_t>(tasks.size());
  std::vector<Variable> groups;
  for (size_t g = 0; g < tables_.size(); ++g) {
    const PromptPlaces::Group& group = places_.groups[g];
    const Tensor zeros = Tensor::zeros({b, tables_[g].dim(1)}, DType::f32, tables_[g].value().memory());
    const Variable rows =
        reshape(embedding_add(zeros, tables_[g], tasks), {b, group.layers, most, group.width});
    groups.push_back(permute(slice(rows, 2, 0, count_of(step)), {1, 0, 2, 3}));  // (L, B, P, D)
  }
  return {PromptKind::deep, std::move(groups), places_};
}

Tensor PretrainPrompts::answers_of(const std::vector<int64_t>& tasks, const Tensor& labels) const {
  Tensor out = Tensor::empty(labels.shape(), DType::i64);
  for (size_t i = 0; i < tasks.size(); ++i) {
    const auto label = static_cast<uint32_t>(labels.data<int64_t>()[i]);
    Random sorting(seed_, Purpose::pretrain, static_cast<uint32_t>(tasks[i]), label, sorting_lane);
    out.mutable_data<int64_t>()[i] = sorting.below(static_cast<uint32_t>(answers));
  }
  return out;
}

}  // namespace vitrine
