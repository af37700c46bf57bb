// op_cases.h: THE table of ops: what each is called, how to call it, on what, how exact it is,
// and how much work it is.
//
// One line per op and per variant that takes another path. The table serves the gradient checks
// (op_gradient_test.cpp), f32 against f64 and thread counts (op_table_test.cpp), and whoever compares devices
// or measures speed. A new op is proved by adding its line. Sizes are odd on purpose: 1, 31, 33 and 197 fill
// no tile, register or chunk evenly.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "engine/instruction_set.h"
#include "engine/ops.h"
#include "engine/parallel.h"
#include "engine/random.h"

namespace vitrine::testing {

enum class Fill {
  normal,
  positive,        // 0.5 to 2
  away_from_zero,  // normal, pushed 0.1 away from 0: relu has its kink there
  labels           // whole numbers 0 .. classes - 1, i64
};

struct Input {
  Shape shape;
  Fill fill = Fill::normal;
  bool constant = false;  // never asked for a gradient
  uint32_t classes = 0;   // of labels
};

using Values = std::vector<Variable>;

struct OpCase {
  std::string name;  // the op, then what is special
  std::vector<Input> inputs;
  std::function<Variable(const Values&)> run;
  // f32 against f64: |a - b| <= tolerance (|b| + root mean square of all b), result and gradients
  double tolerance;
  double flops;  // of the forward pass; an elementary function counts as one
};

// The numbers come from a stream of their own per `lane` and are rounded to f32, so that f32 and
// f64 see the same ones.
inline Tensor make_input(const Input& input, DType dtype, uint32_t lane, const Memory& memory = {}) {
  Random random(20240229, Purpose::test, 0, 0, lane);
  if (input.fill == Fill::labels) {
    Tensor out = Tensor::empty(input.shape, DType::i64, memory);
    for (int64_t& label : out.mutable_data<int64_t>()) label = random.below(input.classes);
    return out;
  }
  std::vector<float> values(static_cast<size_t>(input.shape.numel()));
  for (float& value : values) {
    if (input.fill == Fill::positive) {
      value = static_cast<float>(random.uniform(0.5, 2));
    } else {
      const double x = random.normal();
      value = static_cast<float>(input.fill == Fill::normal ? x : x + std::copysign(0.1, x));
    }
  }
  Tensor out = Tensor::empty(input.shape, dtype, memory);
  if (dtype == DType::f64) {
    std::copy(values.begin(), values.end(), out.mutable_data<double>().begin());
  } else {
    std::copy(values.begin(), values.end(), out.mutable_data<float>().begin());
  }
  return out;
}

inline Tensor random_tensor(const Shape& shape, DType dtype, uint32_t lane, const Memory& memory = {}) {
  return make_input({shape}, dtype, lane, memory);
}

inline std::vector<Tensor> inputs_of(const OpCase& op, DType dtype, const Memory& memory = {}) {
  std::vector<Tensor> out;
  for (const Input& input : op.inputs)
    out.push_back(make_input(input, dtype, static_cast<uint32_t>(out.size()), memory));
  return out;
}

// The gradient that the checks feed into the result.
inline Tensor make_dy(const Shape& shape, DType dtype) { return random_tensor(shape, dtype, 99); }

struct Outcome {
  Tensor value;
  std::vector<Tensor> gradients;  // one per input, undefined where not wanted
};

// Runs the op forward and backward; inputs that are not wanted are constants.
// Without `held`, the op gets results of another op that nobody else holds: rules may write over them.
// On a device the gradient of the result is brought there.
inline Outcome evaluate(const OpCase& op, const std::vector<Tensor>& inputs, const std::vector<bool>& wanted,
                        bool held = true) {
  Values variables;
  for (size_t i = 0; i < inputs.size(); ++i)
    variables.push_back(wanted[i] ? Variable::leaf(inputs[i]) : Variable(inputs[i]));
  Variable y;
  {
    Values given = variables;
    for (Variable& v : given)
      if (!held && (v.dtype() == DType::f32 || v.dtype() == DType::f64)) v = scale(v, 1);
    y = op.run(given);
  }
  if (y.wants_gradient()) backward(y, make_dy(y.shape(), y.dtype()).copied_to(y.value().memory()));
  Outcome out{y.value(), {}};
  for (size_t i = 0; i < inputs.size(); ++i)
    out.gradients.push_back(wanted[i] ? variables[i].gradient() : Tensor());
  return out;
}

inline std::vector<bool> all_wanted(const OpCase& op) {
  std::vector<bool> out;
  for (const Input& input : op.inputs) out.push_back(!input.constant);
  return out;
}

// Sets the number of threads for as long as it lives.
class Threads {
 public:
  explicit Threads(int count) { set_thread_count(count); }
  ~Threads() { set_thread_count(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_ = thread_count();
};

// Another set of instructions, while it lives.
class Instructions {
 public:
  explicit Instructions(const std::string& set) { use_instruction_set(set); }
  ~Instructions() { use_instruction_set(before_); }
  Instructions(const Instructions&) = delete;
  Instructions& operator=(const Instructions&) = delete;

 private:
  std::string before_ = instruction_set();
};

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.defined() == b.defined() && (!a.defined() || (a.shape() == b.shape() && a.dtype() == b.dtype() &&
                                                         std::ranges::equal(a.raw(), b.raw())));
}

// 4 B h Tq (P + T) w for the two products, 4 per score for softmax.
inline double attention_flops(double batch, double queries, double keys, double heads, double width) {
  return batch * heads * queries * keys * (4 * width + 4);
}

// The query, its way into the keys' rows and the sum's way out take 2 D^2 each; scores and sum 4 D for each key and
// head.
inline double first_token_flops(double batch, double keys, double d, double heads) {
  return batch * (6 * d * d + heads * keys * (4 * d + 4));
}

inline std::vector<OpCase> op_cases() {
  using V = const Values&;
  const auto key = [](int64_t samples) {
    NoiseKey out{7, 3, {}, 1};
    for (int64_t i = 0; i < samples; ++i) out.samples.push_back(100 + i);
    return out;
  };
  const Fill normal = Fill::normal, kink = Fill::away_from_zero;
  const std::vector<int64_t> places{2, 0, 2, 4, 1, 2};
  const auto ce = [](double smoothing) {
    return [smoothing](V v) {
      CrossEntropy options{smoothing, v.size() > 2 ? v[2].value() : Tensor()};
      return cross_entropy(v[0], v[1].value(), options);
    };
  };
  const auto labels = [](int64_t n, uint32_t classes) { return Input{{n}, Fill::labels, true, classes}; };
  const auto weights = [](int64_t n) { return Input{{n}, Fill::positive, true}; };
  const auto sum = [](V v) { return add(v[0], v[1]); };
  const auto product = [](V v) { return mul(v[0], v[1]); };
  const auto mm = [](V v) { return matmul(v[0], v[1]); };
  const auto lin = [](V v) { return v.size() > 2 ? linear(v[0], v[1], v[2]) : linear(v[0], v[1]); };
  // x, w1, b1, w2, b2
  const auto forward = [](Gelu form) {
    return [form](V v) {
      return row_layers(v[0], {.w1 = v[1], .b1 = v[2], .form = form, .w2 = v[3], .b2 = v[4]});
    };
  };
  // x, gamma, beta, w1, b1 and, if there are more, w2, b2 and x added
  const auto normed = [](V v) {
    RowLayers layers{v[1], v[2], 1e-3, v[3], v[4]};
    if (v.size() > 5) layers.w2 = v[5], layers.b2 = v[6];
    return row_layers(v[0], layers, v.size() > 5);
  };
  const auto attend = [](int64_t heads) {
    return [heads](V v) {
      return v.size() > 3 ? attention(v[0], v[1], v[2], heads, {v[3], v[4]})
                          : attention(v[0], v[1], v[2], heads);
    };
  };
  const auto self = [](int64_t heads) {
    return [heads](V v) {
      return v.size() > 1 ? self_attention(v[0], heads, {v[1], v[2]}) : self_attention(v[0], heads);
    };
  };
  // qkv, bias table, padding row, prefix keys, prefix values
  const auto windows = [](int64_t heads, WindowGrid grid) {
    return [heads, grid](V v) {
      return window_attention(v[0], v[1], heads, grid,
                              v.size() > 3 ? KeyValuePrefix{v[3], v[4]} : KeyValuePrefix{},
                              v.size() > 2 ? v[2] : Variable());
    };
  };
  // x, gamma, beta, w1, b1, prompts. As they are, the weights would leave one row all the attention.
  const auto first_token = [](int64_t heads) {
    return [heads](V v) {
      return first_token_attention(v[0], {v[1], v[2], 1e-3, scale(v[3], 0.2), v[4]}, heads,
                                   v.size() > 5 ? v[5] : Variable());
    };
  };
  const auto constant = [](const Shape& shape) { return Input{shape, Fill::normal, true}; };
  const auto norm = [](V v) { return layer_norm(v[0], v[1], v[2], 1e-6); };
  const auto columns = [](V v) { return batch_norm(v[0], v[1], v[2], 1e-3); };

  return {
      // name, inputs, function, tolerance, FLOPs
      {"add same shapes", {{{4, 197, 33}}, {{4, 197, 33}}}, sum, 1e-6, 4. * 197 * 33},
      {"add a row", {{{4, 197, 33}}, {{33}}}, sum, 5e-6, 4. * 197 * 33},
      {"add to a row", {{{33}}, {{2, 31, 33}}}, sum, 5e-6, 2. * 31 * 33},
      {"add per token", {{{3, 31, 5}}, {{1, 31, 5}}}, sum, 1e-6, 3. * 31 * 5},
      {"add a column", {{{2, 31, 33}}, {{2, 31, 1}}}, sum, 1e-6, 2. * 31 * 33},
      {"add outer", {{{31, 1}}, {{1, 33}}}, sum, 1e-6, 31. * 33},
      {"add crossed", {{{2, 1, 3, 1}}, {{5, 1, 7}}}, sum, 1e-6, 2. * 5 * 3 * 7},
      {"add a scalar", {{{3, 5}}, {{}}}, sum, 1e-6, 15.},
      {"mul same shapes", {{{4, 197, 33}}, {{4, 197, 33}}}, product, 1e-6, 4. * 197 * 33},
      {"mul a row", {{{2, 31, 33}}, {{33}}}, product, 5e-6, 2. * 31 * 33},
      {"mul a column", {{{31, 1}}, {{2, 31, 33}}}, product, 5e-6, 2. * 31 * 33},
      {"mul crossed", {{{2, 1, 3, 1}}, {{5, 1, 7}}}, product, 5e-6, 2. * 5 * 3 * 7},
      {"mul scalars", {{{}}, {{1}}}, product, 1e-6, 1.},
      {"scale", {{{2, 31, 33}}}, [](V v) { return scale(v[0], -0.7); }, 1e-6, 2. * 31 * 33},
      {"relu", {{{2, 31, 33}, kink}}, [](V v) { return relu(v[0]); }, 1e-6, 2. * 31 * 33},
      {"sigmoid", {{{2, 31, 33}}}, [](V v) { return sigmoid(v[0]); }, 2e-6, 2. * 31 * 33},
      {"gelu erf", {{{5, 31, 33}}}, [](V v) { return gelu(v[0], Gelu::erf); }, 4e-6, 5. * 31 * 33 * 5},
      {"gelu tanh", {{{5, 31, 33}}}, [](V v) { return gelu(v[0], Gelu::tanh); }, 4e-6, 5. * 31 * 33 * 9},
      {"gelu quick", {{{5, 31, 33}}}, [](V v) { return gelu(v[0], Gelu::quick); }, 4e-6, 5. * 31 * 33 * 5},
      {"swiglu", {{{5, 31, 66}}}, [](V v) { return swiglu(v[0]); }, 4e-6, 5. * 31 * 33 * 5},
      {"swiglu wide", {{{3, 1100}}}, [](V v) { return swiglu(v[0]); }, 4e-6, 3. * 550 * 5},
      {"gelu few", {{{7}}}, [](V v) { return gelu(v[0]); }, 4e-6, 7. * 5},

      {"matmul", {{{197, 33}}, {{33, 31}}}, mm, 5e-6, 2. * 197 * 33 * 31},
      {"matmul long sums", {{{31, 300}}, {{300, 65}}}, mm, 5e-6, 2. * 31 * 300 * 65},
      {"matmul shared", {{{2, 3, 7, 5}}, {{5, 4}}}, mm, 5e-6, 2. * 2 * 3 * 7 * 5 * 4},
      {"matmul batched", {{{2, 3, 5, 7}}, {{2, 3, 7, 4}}}, mm, 5e-6, 2. * 2 * 3 * 5 * 7 * 4},
      {"matmul one", {{{1, 1}}, {{1, 1}}}, mm, 1e-6, 2.},
      {"linear", {{{2, 197, 33}}, {{31, 33}}, {{31}}}, lin, 5e-6, 2. * 2 * 197 * 33 * 31 + 2. * 197 * 31},
      {"linear without bias", {{{2, 31, 33}}, {{17, 33}}}, lin, 5e-6, 2. * 2 * 31 * 33 * 17},
      {"linear long sums", {{{5, 300}}, {{33, 300}}, {{33}}}, lin, 5e-6, 2. * 5 * 300 * 33 + 5. * 33},
      {"linear wide", {{{3, 5}}, {{600, 5}}, {{600}}}, lin, 5e-6, 2. * 3 * 5 * 600 + 3. * 600},
      {"linear with a sum",
       {{{2, 31, 9}}, {{17, 9}}, {{17}}, {{2, 31, 17}}},
       [](V v) { return linear(v[0], v[1], v[2], v[3]); },
       5e-6,
       2. * 2 * 31 * 9 * 17 + 2. * 2 * 31 * 17},
      {"linear of a vector", {{{6}}, {{5, 6}}, {{5}}}, lin, 5e-6, 2. * 6 * 5 + 5.},

      {"row_layers of a block's second half",
       {{{2, 50, 9}}, {{9}}, {{9}}, {{33, 9}}, {{33}}, {{9, 33}}, {{9}}},
       normed,
       5e-6,
       4. * 50 * 33 * (9 + 9)},
      {"row_layers norm and linear",
       {{{2, 50, 9}}, {{9}}, {{9}}, {{20, 9}}, {{20}}},
       normed,
       5e-6,
       4. * 50 * 20 * 9},
      {"row_layers of an MLP",
       {{{2, 197, 9}}, {{33, 9}}, {{33}}, {{5, 33}}, {{5}}},
       forward(Gelu::erf),
       5e-6,
       4. * 197 * 33 * (9 + 5)},
      {"row_layers tanh",
       {{{31, 5}}, {{17, 5}}, {{17}}, {{5, 17}}, {{5}}},
       forward(Gelu::tanh),
       5e-6,
       2. * 31 * 17 * (5 + 5)},
      {"row_layers of a row",
       {{{3}}, {{7, 3}}, {{7}}, {{3, 7}}, {{3}}},
       forward(Gelu::quick),
       5e-6,
       2. * 7 * 6},

      {"layer_norm", {{{4, 197, 33}}, {{33}}, {{33}}}, norm, 5e-6, 4. * 197 * 33 * 8},
      {"batch_norm", {{{31, 33}}, {{33}}, {{33}}}, columns, 1e-5, 31. * 33 * 8},
      {"batch_norm small", {{{5, 3}}, {{3}}, {{3}}}, columns, 1e-5, 5. * 3 * 8},
      {"layer_norm small", {{{3, 5}}, {{5}}, {{5}}}, norm, 5e-6, 3. * 5 * 8},
      {"softmax", {{{197, 197}}}, [](V v) { return softmax(v[0]); }, 5e-6, 197. * 197 * 4},
      {"softmax small", {{{2, 3, 5}}}, [](V v) { return softmax(v[0]); }, 5e-6, 2. * 3 * 5 * 4},
      {"softmax of one", {{{5, 1}}}, [](V v) { return softmax(v[0]); }, 5e-6, 5. * 4},

      {"attention",
       {{{2, 31, 24}}, {{2, 31, 24}}, {{2, 31, 24}}},
       attend(3),
       5e-6,
       attention_flops(2, 31, 31, 3, 8)},
      {"attention small",
       {{{1, 3, 4}}, {{1, 3, 4}}, {{1, 3, 4}}},
       attend(2),
       5e-6,
       attention_flops(1, 3, 3, 2, 2)},
      {"attention of width 1",
       {{{2, 5, 3}}, {{2, 5, 3}}, {{2, 5, 3}}},
       attend(3),
       5e-6,
       attention_flops(2, 5, 5, 3, 1)},
      {"attention many queries",
       {{{1, 197, 14}}, {{1, 33, 14}}, {{1, 33, 14}}},
       attend(2),
       5e-6,
       attention_flops(1, 197, 33, 2, 7)},
      {"attention one query",
       {{{2, 1, 12}}, {{2, 197, 12}}, {{2, 197, 12}}},
       attend(3),
       5e-6,
       attention_flops(2, 1, 197, 3, 4)},
      {"attention shared prefix",
       {{{2, 33, 12}}, {{2, 33, 12}}, {{2, 33, 12}}, {{5, 12}}, {{5, 12}}},
       attend(2),
       5e-6,
       attention_flops(2, 33, 38, 2, 6)},
      {"attention prefix per image",
       {{{2, 31, 12}}, {{2, 33, 12}}, {{2, 33, 12}}, {{2, 7, 12}}, {{2, 7, 12}}},
       attend(3),
       5e-6,
       attention_flops(2, 31, 40, 3, 4)},
      {"attention shared prefix, many queries",
       {{{1, 101, 10}}, {{1, 17, 10}}, {{1, 17, 10}}, {{33, 10}}, {{33, 10}}},
       attend(1),
       5e-6,
       attention_flops(1, 101, 50, 1, 10)},
      {"attention shared prefix, one query",
       {{{2, 1, 4}}, {{2, 5, 4}}, {{2, 5, 4}}, {{3, 4}}, {{3, 4}}},
       attend(2),
       5e-6,
       attention_flops(2, 1, 8, 2, 2)},
      {"attention prefix alone",
       {{{2, 3, 4}}, {{2, 0, 4}}, {{2, 0, 4}}, {{3, 4}}, {{3, 4}}},
       attend(2),
       5e-6,
       attention_flops(2, 3, 3, 2, 2)},
      {"self_attention", {{{1, 197, 36}}}, self(3), 5e-6, attention_flops(1, 197, 197, 3, 4)},
      {"self_attention small", {{{2, 3, 12}}}, self(2), 5e-6, attention_flops(2, 3, 3, 2, 2)},
      {"self_attention one token", {{{2, 1, 12}}}, self(1), 5e-6, attention_flops(2, 1, 1, 1, 4)},
      {"self_attention shared prefix",
       {{{2, 33, 36}}, {{5, 12}}, {{5, 12}}},
       self(2),
       5e-6,
       attention_flops(2, 33, 38, 2, 6)},
      {"self_attention prefix per image",
       {{{2, 33, 36}}, {{2, 7, 12}}, {{2, 7, 12}}},
       self(4),
       5e-6,
       attention_flops(2, 33, 40, 4, 3)},

      {"first_token_attention",
       {{{2, 31, 12}}, constant({12}), constant({12}), constant({36, 12}), constant({36})},
       first_token(3),
       2e-5,
       first_token_flops(2, 31, 12, 3)},
      {"first_token_attention shared prompts",
       {{{3, 33, 12}}, constant({12}), constant({12}), constant({36, 12}), constant({36}), {{5, 12}}},
       first_token(2),
       2e-5,
       first_token_flops(3, 38, 12, 2)},
      {"first_token_attention prompts per image",
       {{{3, 7, 10}}, constant({10}), constant({10}), constant({30, 10}), constant({30}), {{3, 5, 10}}},
       first_token(1),
       2e-5,
       first_token_flops(3, 12, 10, 1)},
      {"first_token_attention of one token",
       {{{2, 1, 3}}, constant({3}), constant({3}), constant({9, 3}), constant({9})},
       first_token(3),
       2e-5,
       first_token_flops(2, 1, 3, 3)},
      {"first_token_attention with weights that learn",
       {constant({2, 5, 6}), {{6}}, {{6}}, {{18, 6}}, {{18}}, constant({3, 6})},
       first_token(2),
       2e-5,
       2 * (2. + 4 * 5) * 6 * 6 + 4. * 3 * 6 * 6 + attention_flops(2, 1, 8, 2, 3)},

      {"window_attention",
       {{{2, 24, 18}}, {{9, 2}}},
       windows(2, {.rows = 4, .columns = 6, .window = 2}),
       5e-6,
       attention_flops(2, 24, 4, 2, 3)},
      {"window_attention shifted",
       {{{2, 54, 12}}, {{25, 2}}},
       windows(2, {.rows = 6, .columns = 9, .window = 3, .shift = 1}),
       5e-6,
       attention_flops(2, 54, 9, 2, 2)},
      {"window_attention filled up",
       {{{2, 35, 18}}, {{25, 2}}, {{18}}},
       windows(2, {.rows = 5, .columns = 7, .window = 3, .shift = 1}),
       5e-6,
       attention_flops(2, 54, 9, 2, 3)},
      {"window_attention rolled, then filled up",
       {{{2, 35, 18}}, {{25, 2}}, {{18}}},
       windows(
           2, {.rows = 5, .columns = 7, .window = 3, .shift = 1, .padding = WindowGrid::Padding::after_roll}),
       5e-6,
       attention_flops(2, 54, 9, 2, 3)},
      {"window_attention of one window",
       {{{3, 12, 12}}, {{81, 1}}, {{12}}},
       windows(1, {.rows = 3, .columns = 4, .window = 5, .shift = 2}),
       5e-6,
       attention_flops(3, 25, 25, 1, 4)},
      {"window_attention prompts",
       {{{2, 19, 18}}, {{25, 2}}, {{18}}},
       windows(2, {.rows = 4, .columns = 4, .window = 3, .shift = 1, .prompts = 3}),
       5e-6,
       attention_flops(2, 48, 12, 2, 3)},
      {"window_attention shared prefix",
       {{{2, 16, 18}}, {{9, 2}}, {{18}}, {{5, 6}}, {{5, 6}}},
       windows(2, {.rows = 4, .columns = 4, .window = 2, .shift = 1}),
       5e-6,
       attention_flops(2, 16, 9, 2, 3)},
      {"window_attention prefix per image",
       {{{2, 20, 12}}, {{25, 2}}, {{12}}, {{2, 7, 4}}, {{2, 7, 4}}},
       windows(2, {.rows = 4, .columns = 5, .window = 3, .shift = 1}),
       5e-6,
       attention_flops(2, 36, 16, 2, 2)},
      {"window_attention prompts and prefix, many queries",
       {{{1, 113, 6}}, {{289, 1}}, {{6}}, {{2, 2}}, {{2, 2}}},
       windows(1, {.rows = 9, .columns = 12, .window = 9, .shift = 4, .prompts = 5}),
       5e-6,
       attention_flops(1, 172, 88, 1, 2)},

      {"reshape",
       {{{2, 31, 6}}},
       [](V v) {
         return reshape(v[0], {31, 12});
       },
       1e-6,
       0.},
      {"permute heads",
       {{{2, 5, 3, 7}}},
       [](V v) {
         return permute(v[0], {0, 2, 1, 3});
       },
       1e-6,
       0.},
      {"permute all",
       {{{2, 3, 5, 7}}},
       [](V v) {
         return permute(v[0], {3, 0, 1, 2});
       },
       1e-6,
       0.},
      {"permute matrix",
       {{{197, 33}}},
       [](V v) {
         return permute(v[0], {1, 0});
       },
       1e-6,
       0.},
      {"slice first axis", {{{5, 3, 4}}}, [](V v) { return slice(v[0], 0, 1, 4); }, 1e-6, 0.},
      {"slice middle axis", {{{2, 31, 5}}}, [](V v) { return slice(v[0], 1, 0, 1); }, 1e-6, 0.},
      {"slice last axis", {{{2, 3, 33}}}, [](V v) { return slice(v[0], -1, 31, 33); }, 1e-6, 0.},
      {"concat first axis", {{{1, 5}}, {{3, 5}}}, [](V v) { return concat(v, 0); }, 1e-6, 0.},
      {"concat tokens", {{{2, 1, 7}}, {{2, 5, 7}}, {{2, 31, 7}}}, [](V v) { return concat(v, 1); }, 1e-6, 0.},
      {"concat last axis", {{{3, 1}}, {{3, 4}}}, [](V v) { return concat(v, -1); }, 1e-6, 0.},
      {"repeat", {{{3, 7}}}, [](V v) { return repeat(v[0], 5); }, 5e-6, 0.},
      {"mean first axis", {{{31, 5}}}, [](V v) { return mean(v[0], 0); }, 5e-6, 31. * 5},
      {"mean tokens", {{{3, 197, 33}}}, [](V v) { return mean(v[0], 1); }, 5e-6, 3. * 197 * 33},
      {"mean last axis", {{{3, 31}}}, [](V v) { return mean(v[0], -1); }, 5e-6, 3. * 31},

      {"embedding_add",
       {{{3, 31, 5}}, {{31, 5}}},
       [](V v) { return embedding_add(v[0], v[1]); },
       1e-6,
       3. * 31 * 5},
      {"embedding_add chosen rows",
       {{{2, 6, 5}}, {{5, 5}}},
       [=](V v) { return embedding_add(v[0], v[1], places); },
       5e-6,
       2. * 6 * 5},

      {"dropout", {{{3, 31, 5}}}, [=](V v) { return dropout(v[0], 0.3, key(3)); }, 1e-6, 3. * 31 * 5},
      {"dropout of prompts",
       {{{2, 5, 6}}},
       [=](V v) { return dropout(v[0], 0.5, key(2), Purpose::prompt_dropout); },
       1e-6,
       2. * 5 * 6},
      {"drop_path", {{{8, 3, 5}}}, [=](V v) { return drop_path(v[0], 0.5, key(8)); }, 1e-6, 8. * 3 * 5},

      {"cross_entropy", {{{31, 10}, normal}, labels(31, 10)}, ce(0), 5e-6, 31. * 10 * 4},
      {"cross_entropy smoothing", {{{5, 7}, normal}, labels(5, 7)}, ce(0.1), 5e-6, 5. * 7 * 6},
      {"cross_entropy weights", {{{5, 7}, normal}, labels(5, 7), weights(7)}, ce(0), 5e-6, 5. * 7 * 4},
      {"cross_entropy smoothing and weights",
       {{{33, 4}, normal}, labels(33, 4), weights(4)},
       ce(0.2),
       5e-6,
       33. * 4 * 6},
      {"cross_entropy one class", {{{3, 1}, normal}, labels(3, 1)}, ce(0.1), 5e-6, 3. * 6},
  };
}

}  // namespace vitrine::testing
