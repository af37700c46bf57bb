// rows.cpp: the kernels between the products: rows, elements, moves and sums, the loss and the optimizer's step.
#include "cases.h"
#include "engine/text.h"

namespace vitrine::bench {

namespace {

using gpu::GeluForm;

// A call of an entry on tensors that live as long as it.
template <class Arguments>
Call call_of(const Operands& o, gpu::Result (*gpu::Kernels::*entry)(gpu::Queue*, const Arguments&),
             const std::type_identity_t<Arguments>& arguments, std::vector<Tensor> kept) {
  return [&device = o.device(), entry, arguments, kept = std::move(kept)] { device.run(entry, arguments); };
}

double count_of(const Shape& shape) { return static_cast<double>(shape.numel()); }

// A case that moves this many tensors of a shape, in bf16, and does nothing that counts as arithmetic.
Case moving(const std::string& name, const Shape& shape, double tensors,
            std::function<Call(const Operands&)> make) {
  return {.group = "rows",
          .name = text("{} {}", name, shape),
          .bytes = bf16_bytes * tensors * count_of(shape),
          .flops = 0,
          .make = std::move(make)};
}

// --- rows ------------------------------------------------------------------------------------------------------

struct NormOperands {
  Tensor x, dy, residual, gamma, beta, out, mean, rstd;
  NormOperands(const Operands& o, const Shape& shape)
      : x(o.random(shape, DType::bf16)),
        dy(o.random(shape, DType::bf16)),
        residual(o.random(shape, DType::bf16)),
        gamma(o.random({shape.dim(1)}, DType::bf16)),
        beta(o.random({shape.dim(1)}, DType::bf16)),
        out(o.empty(shape, DType::bf16)),
        mean(o.random({shape.dim(0)}, DType::f32)),
        rstd(o.filled({shape.dim(0)}, 1, DType::f32)) {}
  std::vector<Tensor> all() const { return {x, dy, residual, gamma, beta, out, mean, rstd}; }
};

void add_norms(const Shape& shape, std::vector<Case>& to) {
  const int64_t rows = shape.dim(0), width = shape.dim(1);
  to.push_back(moving("layer_norm", shape, 2, [=](const Operands& o) {
    NormOperands n(o, shape);
    return call_of(
        o, &gpu::Kernels::layer_norm,
        {DType::bf16, rows, width, n.x.address(), n.gamma.address(), n.beta.address(), 1e-6f,
         n.out.mutable_address(), gpu::out<float>(o.device(), n.mean), gpu::out<float>(o.device(), n.rstd)},
        n.all());
  }));
  for (const bool added : {false, true})
    to.push_back(moving(added ? "layer_norm backward + residual" : "layer_norm backward", shape,
                        added ? 4 : 3, [=](const Operands& o) {
                          NormOperands n(o, shape);
                          return call_of(
                              o, &gpu::Kernels::layer_norm_backward,
                              {DType::bf16, rows, width, n.x.address(), n.dy.address(), n.gamma.address(),
                               gpu::in<float>(o.device(), n.mean), gpu::in<float>(o.device(), n.rstd),
                               added ? n.residual.address() : nullptr, n.out.mutable_address()},
                              n.all());
                        }));
  to.push_back(moving("layer_norm weights' gradients", shape, 2, [=](const Operands& o) {
    NormOperands n(o, shape);
    return call_of(
        o, &gpu::Kernels::layer_norm_weights,
        {DType::bf16, rows, width, n.x.address(), n.dy.address(), gpu::in<float>(o.device(), n.mean),
         gpu::in<float>(o.device(), n.rstd), n.gamma.mutable_address(), n.beta.mutable_address()},
        n.all());
  }));
}

void add_softmax(const Shape& shape, std::vector<Case>& to) {
  const int64_t width = shape.dim(1), rows = shape.dim(0);
  to.push_back(moving("softmax", shape, 2, [=](const Operands& o) {
    const Tensor x = o.random(shape, DType::bf16);
    Tensor y = o.empty(shape, DType::bf16);
    return call_of(o, &gpu::Kernels::softmax,
                   {DType::bf16, rows, width, 0.125f, x.address(), y.mutable_address()}, {x, y});
  }));
  to.push_back(moving("softmax backward", shape, 3, [=](const Operands& o) {
    const Tensor y = o.random(shape, DType::bf16), dy = o.random(shape, DType::bf16);
    Tensor dx = o.empty(shape, DType::bf16);
    return call_of(o, &gpu::Kernels::softmax_backward,
                   {DType::bf16, rows, width, 0.125f, y.address(), dy.address(), dx.mutable_address()},
                   {y, dy, dx});
  }));
}

// --- elements --------------------------------------------------------------------------------------------------

void add_elements(const Shape& shape, std::vector<Case>& to) {
  const int64_t count = shape.numel();
  for (const auto& [form, name] : {std::pair{GeluForm::erf, "erf"}, std::pair{GeluForm::tanh, "tanh"}}) {
    to.push_back(moving(text("gelu ({})", name), shape, 2, [=, form = form](const Operands& o) {
      const Tensor x = o.random(shape, DType::bf16);
      Tensor y = o.empty(shape, DType::bf16);
      return call_of(o, &gpu::Kernels::gelu, {DType::bf16, form, count, x.address(), y.mutable_address()},
                     {x, y});
    }));
    to.push_back(moving(text("gelu backward ({})", name), shape, 3, [=, form = form](const Operands& o) {
      const Tensor x = o.random(shape, DType::bf16), dy = o.random(shape, DType::bf16);
      Tensor dx = o.empty(shape, DType::bf16);
      return call_of(o, &gpu::Kernels::gelu_backward,
                     {DType::bf16, form, count, x.address(), dy.address(), dx.mutable_address()},
                     {x, dy, dx});
    }));
  }
  to.push_back(moving("relu", shape, 2, [=](const Operands& o) {
    const Tensor x = o.random(shape, DType::bf16);
    Tensor y = o.empty(shape, DType::bf16);
    return call_of(o, &gpu::Kernels::map,
                   {DType::bf16, gpu::Unary::relu, count, x.address(), y.mutable_address()}, {x, y});
  }));
}

gpu::Combine combine_of(const Shape& shape, const std::vector<int64_t>& y_stride, const Tensor& x,
                        const Tensor& y, Tensor& out) {
  gpu::Combine a{.dtype = DType::bf16,
                 .op = gpu::Binary::add,
                 .rank = shape.rank(),
                 .extents = {},
                 .x_stride = {},
                 .y_stride = {},
                 .x = x.address(),
                 .y = y.address(),
                 .out = out.mutable_address()};
  std::fill_n(a.extents, gpu::max_rank, 1);
  std::ranges::copy(shape.extents(), a.extents);
  std::ranges::copy(gpu::strides_of(shape), a.x_stride);
  std::ranges::copy(y_stride, a.y_stride);
  return a;
}

void add_tokens(const Shape& shape, std::vector<Case>& to) {  // (images, tokens, width)
  const int64_t images = shape.dim(0), tokens = shape.dim(1), width = shape.dim(2);
  to.push_back(moving("add", shape, 3, [=](const Operands& o) {
    const Tensor x = o.random(shape, DType::bf16), y = o.random(shape, DType::bf16);
    Tensor out = o.empty(shape, DType::bf16);
    return call_of(o, &gpu::Kernels::combine, combine_of(shape, gpu::strides_of(shape), x, y, out),
                   {x, y, out});
  }));
  to.push_back(moving("add a row", shape, 2, [=](const Operands& o) {
    const Tensor x = o.random(shape, DType::bf16), y = o.random({width}, DType::bf16);
    Tensor out = o.empty(shape, DType::bf16);
    return call_of(o, &gpu::Kernels::combine, combine_of(shape, {0, 0, 1}, x, y, out), {x, y, out});
  }));
  to.push_back(moving("embedding_add", shape, 2, [=](const Operands& o) {
    const Tensor x = o.random(shape, DType::bf16), table = o.random({tokens, width}, DType::bf16);
    Tensor out = o.empty(shape, DType::bf16);
    return call_of(
        o, &gpu::Kernels::embedding_add,
        {DType::bf16, images, tokens, width, x.address(), table.address(), nullptr, out.mutable_address()},
        {x, table, out});
  }));
  to.push_back(moving("embedding_sum", shape, 1, [=](const Operands& o) {
    const Tensor dy = o.random(shape, DType::bf16);
    Tensor table = o.empty({tokens, width}, DType::bf16);
    return call_of(
        o, &gpu::Kernels::embedding_sum,
        {DType::bf16, images, tokens, width, tokens, dy.address(), nullptr, table.mutable_address()},
        {dy, table});
  }));
  to.push_back(moving("dropout", shape, 2, [=](const Operands& o) {
    const Tensor x = o.random(shape, DType::bf16), key = o.whole_numbers({images + 1}, 1000);
    Tensor out = o.empty(shape, DType::bf16);
    return call_of(o, &gpu::Kernels::dropout,
                   {DType::bf16, images, tokens * width, 1, 0.1, 1, static_cast<uint32_t>(Purpose::dropout),
                    0, gpu::in<int64_t>(o.device(), key), x.address(), out.mutable_address()},
                   {x, key, out});
  }));
}

// --- moves and sums --------------------------------------------------------------------------------------------

Call move_call(const Operands& o, const Shape& from_shape, DType from_type, DType to_type,
               const Shape& extents, const gpu::Layout& layout) {
  const Tensor from = o.random(from_shape, from_type);
  Tensor to = o.empty(extents, to_type);
  return [=]() mutable { gpu::move(from, to, extents, layout); };
}

void add_moves(const Sizes& s, std::vector<Case>& to) {
  const int64_t grid = s.side / s.patch, patches = grid * grid;
  const Shape images{s.images, 3, s.side, s.side}, cut{s.images, grid, grid, 3, s.patch, s.patch};
  const gpu::Layout by_patch{{3 * s.side * s.side, s.patch * s.side, s.patch, s.side * s.side, s.side, 1}};
  to.push_back(moving("patches of images", images, 2, [=](const Operands& o) {
    return move_call(o, images, DType::bf16, DType::bf16, cut, by_patch);
  }));
  to.push_back(moving("convert f32 to bf16", images, 3, [=](const Operands& o) {
    return move_call(o, images, DType::f32, DType::bf16, {images.numel()}, {{1}});
  }));
  const Shape kept{s.images, patches, s.width};
  to.push_back(moving("slice without the class token", kept, 2, [=](const Operands& o) {
    const int64_t tokens = patches + 1;
    return move_call(o, {s.images, tokens, s.width}, DType::bf16, DType::bf16, kept,
                     {{tokens * s.width, s.width, 1}, s.width});
  }));
  const Shape heads{s.images, s.heads, s.tokens, s.width / s.heads};
  to.push_back(moving("permute to heads", heads, 2, [=](const Operands& o) {
    const int64_t head = s.width / s.heads;
    return move_call(o, {s.images, s.tokens, s.width}, DType::bf16, DType::bf16, heads,
                     {{s.tokens * s.width, head, s.width, 1}});
  }));
}

// A batch of pictures out of four times as many, and their planes.
void add_pictures(const Sizes& s, std::vector<Case>& to) {
  const Shape batch{s.images, s.side, s.side, 3};
  to.push_back(moving("gather pictures", batch, 1, [=](const Operands& o) {
    const Tensor table = o.empty(batch.with(0, 4 * s.images), DType::u8),
                 index = o.whole_numbers({s.images}, static_cast<uint32_t>(4 * s.images));
    Tensor out = o.empty(batch, DType::u8);
    return call_of(o, &gpu::Kernels::gather,
                   {s.images, batch.columns_from(1), table.address(), gpu::in<int64_t>(o.device(), index),
                    out.mutable_address()},
                   {table, index, out});
  }));
  to.push_back(moving("planes of pictures", batch, 1.5, [=](const Operands& o) {
    const Tensor pixels = o.empty(batch, DType::u8), values = o.random({3, 256}, DType::f32);
    Tensor out = o.empty({s.images, 3, s.side, s.side}, DType::bf16);
    return call_of(o, &gpu::Kernels::planes,
                   {DType::bf16, s.images, s.side * s.side, 3, gpu::in<uint8_t>(o.device(), pixels),
                    gpu::in<float>(o.device(), values), out.mutable_address()},
                   {pixels, values, out});
  }));
}

void add_sums(const Sizes& s, std::vector<Case>& to) {
  const auto sum = [](const Shape& shape, DType type, const std::vector<bool>& kept, const Shape& left) {
    return [=](const Operands& o) -> Call {
      const Tensor from = o.random(shape, type);
      Tensor out = o.empty(left, DType::bf16);
      return [=]() mutable { gpu::sum(from, out, kept); };
    };
  };
  const Shape tokens{s.images, s.tokens, s.width}, slices{s.images, s.prompts.back(), s.width};
  to.push_back(moving("sum over images and tokens", tokens, 1,
                      sum(tokens, DType::bf16, {false, false, true}, {s.width})));
  to.push_back(moving("sum over tokens", tokens, 1,
                      sum(tokens, DType::bf16, {true, false, true}, {s.images, s.width})));
  to.push_back(moving("sum over slices in f32", slices, 2,
                      sum(slices, DType::f32, {false, true, true}, {s.prompts.back(), s.width})));
}

// --- loss and steps ----------------------------------------------------------------------------------------------

void add_loss(const Sizes& s, std::vector<Case>& to) {
  const Shape shape{s.images, s.classes};
  for (const bool backward : {false, true})
    to.push_back({.group = "rows",
                  .name = text("{}{}", backward ? "cross_entropy backward " : "cross_entropy ", shape),
                  .bytes = 2 * f32_bytes * count_of(shape),
                  .flops = 0,
                  .make = [=](const Operands& o) -> Call {
                    const Tensor logits = o.random(shape, DType::f32),
                                 labels = o.whole_numbers({s.images}, static_cast<uint32_t>(s.classes)),
                                 dloss = o.filled({1}, 1, DType::f32);
                    Tensor loss = o.empty({1}, DType::f32), probabilities = o.empty(shape, DType::f32),
                           weights = o.empty({2}, DType::f32), dlogits = o.empty(shape, DType::f32);
                    const gpu::CrossEntropy forward{DType::f32,
                                                    s.images,
                                                    s.classes,
                                                    logits.address(),
                                                    gpu::in<int64_t>(o.device(), labels),
                                                    nullptr,
                                                    0,
                                                    loss.mutable_address(),
                                                    gpu::out<float>(o.device(), probabilities),
                                                    gpu::out<float>(o.device(), weights)};
                    const std::vector<Tensor> kept{logits,        labels,  dloss,  loss,
                                                   probabilities, weights, dlogits};
                    if (!backward) return call_of(o, &gpu::Kernels::cross_entropy, forward, kept);
                    o.device().run(&gpu::Kernels::cross_entropy, forward);
                    return call_of(o, &gpu::Kernels::cross_entropy_backward,
                                   {forward, dloss.address(), dlogits.mutable_address()}, kept);
                  }});
}

// The prompts of twelve layers, and the head's weight and bias.
void add_steps(const Sizes& s, std::vector<Case>& to) {
  const std::vector<int64_t> counts{12 * s.prompts[s.prompts.size() / 2] * s.width, s.classes * s.width,
                                    s.classes};
  int64_t all = 0;
  for (const int64_t count : counts) all += count;
  const auto items_on = [=](const Operands& o, std::vector<Tensor>& kept) {
    std::vector<gpu::StepItem> items;
    for (const int64_t count : counts) {
      const auto numbers = [&] {
        kept.push_back(o.random({count}, DType::f32, 0.02));
        return gpu::out<float>(o.device(), kept.back());
      };
      float* const second = numbers();
      gpu::move(Tensor(), kept.back(), 1);  // a second moment is positive
      items.push_back({numbers(), numbers(), numbers(), second, count, 1e-4f});
    }
    return items;
  };
  for (const bool adamw : {false, true})
    to.push_back({.group = "rows",
                  .name = text("{}{}", adamw ? "optimizer_step (adamw) " : "optimizer_step (sgd) ", all),
                  .bytes = f32_bytes * (adamw ? 7 : 5) * static_cast<double>(all),
                  .flops = 0,
                  .make = [=](const Operands& o) -> Call {
                    std::vector<Tensor> kept{o.filled({3}, 1e-6, DType::f32)};
                    const float* rates = gpu::in<float>(o.device(), kept[0]);
                    const std::vector<gpu::StepItem> items = items_on(o, kept);
                    return [&device = o.device(), adamw, items, kept, rates] {
                      device.run(&gpu::Kernels::optimizer_step,
                                 {adamw, static_cast<int64_t>(items.size()), items.data(), 0.9f, 0.9f, 0.999f,
                                  1e-8f, rates});
                    };
                  }});
  to.push_back({.group = "rows",
                .name = text("square_sum {}", all),
                .bytes = f32_bytes * static_cast<double>(all),
                .flops = 0,
                .make = [=](const Operands& o) -> Call {
                  const auto parts = static_cast<int64_t>(counts.size()) * gpu::square_sum_parts;
                  std::vector<Tensor> kept{o.empty({1 + parts}, DType::f64)};
                  auto* const sums = gpu::out<double>(o.device(), kept[0]);
                  const std::vector<gpu::StepItem> items = items_on(o, kept);
                  return [&device = o.device(), items, kept, sums] {
                    device.run(&gpu::Kernels::square_sum,
                               {static_cast<int64_t>(items.size()), items.data(), sums, sums + 1});
                  };
                }});
  to.push_back({.group = "rows",
                .name = text("clip_gradients {}", all),
                .bytes = 2 * f32_bytes * static_cast<double>(all),
                .flops = 0,
                .make = [=](const Operands& o) -> Call {
                  // A norm hardly above what is allowed: the gradients are written, and stay what they are.
                  std::vector<Tensor> kept{o.filled({1}, 1e6, DType::f64)};
                  const auto* const sum = gpu::in<double>(o.device(), kept[0]);
                  const std::vector<gpu::StepItem> items = items_on(o, kept);
                  return [&device = o.device(), items, kept, sum] {
                    device.run(&gpu::Kernels::clip_gradients,
                               {static_cast<int64_t>(items.size()), items.data(), sum, 999.999f});
                  };
                }});
}

}  // namespace

std::vector<Case> row_cases(const Sizes& s) {
  std::vector<Case> out;
  for (const int64_t width : {s.width, s.wide}) add_norms({s.rows(), width}, out);
  add_elements({s.rows(), 4 * s.width}, out);
  add_softmax({s.rows() * s.heads, s.tokens}, out);
  add_tokens({s.images, s.tokens, s.width}, out);
  add_moves(s, out);
  add_pictures(s, out);
  add_sums(s, out);
  add_loss(s, out);
  add_steps(s, out);
  return out;
}

}  // namespace vitrine::bench
