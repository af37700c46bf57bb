// no_swin.cpp: swin.h in a build without VITRINE_SWIN. No Swin can be made (Transformer refuses), so that what one would do
// is never called.
#include "engine/check.h"
#include "models/config_json.h"

namespace vitrine {

namespace {
[[noreturn]] void none() { left_out("a Swin", "VITRINE_SWIN"); }
}  // namespace

int64_t SwinConfig::blocks() const { none(); }
PromptPlaces SwinConfig::prompt_places() const { none(); }
void check_config(const SwinConfig&) { none(); }
SwinConfig swin_preset(const std::string&) { none(); }
std::vector<std::string> swin_preset_names() { return {}; }
SwinConfig swin_config_of(const TensorFile&) { none(); }
std::string config_to_json(const SwinConfig&) { none(); }
SwinConfig swin_config_from_json(const Json&) { none(); }
int64_t parameter_count(const SwinConfig&) { none(); }
int64_t multiply_accumulates(const SwinConfig&) { none(); }

std::pair<Variable, WindowGrid> Swin::embed(const Variable&) const { none(); }
Variable Swin::pool(const Variable&, PromptPooling, int64_t) const { none(); }
Variable Swin::features_behind(Variable, WindowGrid, const Prompts&, const Pass&) const { none(); }
Variable Swin::logits(const Variable&) const { none(); }
Variable PatchMerging::operator()(const Variable&, const WindowGrid&) const { none(); }

}  // namespace vitrine
