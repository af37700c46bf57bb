// unreadable_test.cpp: a tensor that a file holds but that cannot be read is not a tensor that it does not have. Whoever
// took one for the other would build another net: one without a bias, a head or a class token.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/containers/tensor_file.h"
#include "models/backbone.h"
#include "models/checkpoints/checkpoint.h"
#include "models/tuned.h"
#include "tests/golden/numbers.h"
#include "tests/op_checks.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

const std::string dialects_folder = VITRINE_GOLDEN "/dialects/";
const std::string why = "tensors cannot hold complex64";
const Facts told{.heads = 2, .epsilon = 1e-6, .gelu = Gelu::erf};

TensorFile load(const std::string& file) {
  TensorFile out = load_tensors(dialects_folder + file);
  out.name = file;
  return out;
}

// The same file, of which one tensor cannot be read, or is an object.
TensorFile without(const TensorFile& file, const std::string& name, bool object) {
  TensorFile out = file;
  out.tensors.erase(name);
  (object ? out.objects : out.unreadable)[name] = why;
  return out;
}

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    CHECK(e.fault() == Fault::input);
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("unreadable: in every dialect, a tensor that has a place in the net is an error with its reason") {
  size_t refused = 0, let_go = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dialects_folder)) {
    const std::string name = entry.path().filename().string();
    if (name == "expected.safetensors") continue;
    CAPTURE(name);
    const TensorFile file = load(name);
    const Checkpoint whole = canonical_form(file, told);
    for (const auto& [tensor, unused] : file.tensors) {
      CAPTURE(tensor);
      const bool needless = std::ranges::any_of(
          whole.left_out, [&, &tensor = tensor](const LeftOut& out) { return out.name == tensor; });
      for (const bool object : {false, true}) {
        const TensorFile changed = without(file, tensor, object);
        std::string config;
        const std::string message =
            message_of([&] { config = config_to_json(canonical_form(changed, told).config); });
        const bool named = message == name + ": cannot read tensor '" + tensor + "': " + why;
        // What is left out may be missed, or asked for all the same; another net it never makes.
        CHECK((named || (needless && message.empty() && config == config_to_json(whole.config))));
        CHECK(is_checkpoint(changed));
        named ? ++refused : ++let_go;
      }
    }
  }
  CHECK(refused > 1500);
  CHECK(let_go > 100);
}

TEST_CASE("unreadable: of names that no dialect knows, objects are left out aloud and numbers are refused") {
  TensorFile file = load("timm.safetensors");
  file.objects["args"] = "it is an object of 'argparse.Namespace'";
  const Checkpoint found = canonical_form(file, told);
  REQUIRE(found.left_out.size() == 1);
  CHECK(found.left_out[0].name == "args");
  CHECK(found.left_out[0].reason == "it is an object of 'argparse.Namespace'");
  CHECK(found.file.objects.empty());
  file.unreadable["blocks.0.attn.q_norm.weight"] = why;
  CHECK(message_of([&] {
          canonical_form(file, told);
        }).starts_with("timm.safetensors: tensor 'blocks.0.attn.q_norm.weight' belongs to no ViT"));
}

TEST_CASE("unreadable: backbones and tasks are not built of what is left") {
  // Files in canonical names are backbones as they are, too.
  const TensorFile canonical = canonical_form(load("timm.safetensors"), told).file;
  for (const char* name : {"blocks.0.attn.qkv.bias", "head.bias", "patch_embed.proj.bias", "args"})
    for (const bool object : {false, true})
      CHECK(message_of([&] {
              make_backbone(without(canonical, name, object), "x");
            }).ends_with(text("cannot read tensor '{}': {}", name, why)));
  Task task;
  task.config.method = Method::full;
  task.config.classes = 2;
  task.class_names = {"a", "b"};
  task.preprocess = task.settings = "{}";
  task.tensors["head.weight"] = Tensor::zeros({2, 3}, DType::f32);
  task.tensors["head.bias"] = Tensor::zeros({2}, DType::f32);
  task.tensors["delta.norm.bias"] = Tensor::zeros({3}, DType::f32);
  const TensorFile written = to_file(task);
  CHECK(task_from_file(written).tensors.size() == 3);
  CHECK(message_of([&] { task_from_file(without(written, "delta.norm.bias", false)); }) ==
        "cannot read tensor 'delta.norm.bias': " + why);
}
