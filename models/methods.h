// methods.h: the ways to tune a backbone to a task, those of the paper's table 1 (arXiv 2203.12119) and some that came later,
// and what each of them trains. A method is no more than an answer to the question from which source each weight comes.
#pragma once

#include <string>
#include <vector>

#include "models/prompt.h"
#include "models/transformer.h"

namespace vitrine {

// Beside what stands here each of them trains a head.
enum class Method {
  vpt_deep,     // prompts for every block
  vpt_shallow,  // prompts for the first block
  linear,       // nothing
  full,         // every weight of the backbone
  partial,      // the last k blocks, and what stands behind them
  mlp,  // nothing, but the head has k layers: k - 1 times linear, relu, batch normalisation, dropout of 0.1
  sidetune,  // a small ViT beside the backbone, whose features are mixed with its (the paper's is an AlexNet)
  bias,      // the backbone's biases, those of norms included, and a Swin's tables of biases
  adapter,   // a bottleneck behind each MLP (nn/additions.h), of the width divided by r
  vpt_deep_bias,  // vpt_deep and bias together
  cls,            // the class token
  lora,           // query and value projections, by a product of rank r
  ssf,            // a factor and a summand behind each linear layer and each norm
  vpt_gated       // prompts for the first block, which each block may change as far as its gate lets it
};

struct TunedConfig {
  Method method = Method::vpt_deep;
  int64_t size = 0;        // the method's own number: k of partial and mlp, r of adapter and lora
  PromptConfig prompts{};  // the kind is set from the method
  int64_t classes = 0;
  double drop_path = 0;  // of the backbone, in training
  // The head starts at zeros, which is neutral. The paper's code starts it kaiming normal with fan-out: for
  // narrow backbones and few classes that is large (logits of deviation sqrt(2 D / C)), and few images do not
  // wash it out.
  bool paper_head = false;
};

const char* name_of(Method method);
// "vpt-deep", "partial-1", "mlp-3", "adapter-8", "lora-8", ...: the method and its number.
std::string method_text(const TunedConfig& config);
// The method of that text, with prompts of the right kind and no count; without a number partial is partial-1, mlp mlp-3,
// adapter adapter-8, lora lora-8. Throws for others, with the nearest.
TunedConfig method_from_text(const std::string& text);
std::vector<std::string> method_names();

PromptKind prompt_kind(Method method);  // the prompts of its own that the method trains, or none
// Whether weights inside the backbone learn, or layers are added to it there. (On a device these compute in f32.)
bool trains_inside(Method method);
// Whether the features of an image stay what they are while the head learns.
bool keeps_features(Method method);

// The same for data of so many classes: prompts that start from class tokens are as many, unless their number is given.
TunedConfig for_classes(TunedConfig config, int64_t classes);

// Whether what goes into the first block stays what it is for an image: nothing before it learns, and nothing beside it sees
// the image.
bool keeps_embedding(const TunedConfig& config, const TransformerConfig& backbone);

// Throws unless the method fits the backbone: its number (of blocks at most all, a reduction or a rank at most the width), a class token to train, and prompts that start from class tokens
// one for each class (where the classes are known).
void check_method(const TunedConfig& config, const TransformerConfig& backbone);

// Where weights may come from.
struct WeightSources {
  Scope frozen;  // the backbone's, as constants
  Scope tuned;   // the backbone's, as leaves that start there
  Scope fresh;   // new leaves
};
// What answers for the weights of the backbone and for what is added to it.
Scope backbone_scope(const TunedConfig& config, const TransformerConfig& backbone,
                     const WeightSources& sources);
// The net of side-tuning: as wide as a quarter of the backbone (a multiple of 64), four blocks deep, at the backbone's size
// of images.
VitConfig side_config(const TransformerConfig& backbone);

}  // namespace vitrine
