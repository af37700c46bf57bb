// no_autograd.cpp: autograd.h in a build without VITRINE_TRAINING, where every Variable is a constant.
#include "engine/autograd.h"
#include "engine/check.h"

namespace vitrine {

struct Variable::Node {};

namespace {
constexpr const char* option = "VITRINE_TRAINING";
}

Variable Variable::leaf(Tensor) { left_out("leaf: a trainable", option); }
const Tensor& Variable::gradient() const { left_out("gradient", option); }
void Variable::clear_gradient() {}
void Variable::set_gradient(Tensor) { left_out("gradient", option); }

Variable record(Tensor y, std::initializer_list<Edge>) { return y; }
Variable record_jointly(Tensor y, const std::vector<Variable>&, const MakeJointRule&) { return y; }

void backward(const Variable&, Tensor) { left_out("backward", option); }

Variable recompute(const std::vector<Variable>& inputs, const Recomputed& body) { return body(inputs); }

}  // namespace vitrine
