// attentions.cpp: attention of a ViT and of Swin's windows, forward and backward.
#include "cases.h"
#include "engine/text.h"

namespace vitrine::bench {

namespace {

enum class Way { forward, backward, prefix_backward };

const char* name_of(Way way) {
  return way == Way::forward ? "forward" : way == Way::backward ? "backward" : "backward of the prefix alone";
}

// Products of matrices that a way needs, of queries x keys x width each: scores and their use; backward makes the
// scores again, and of the prefix alone it needs no gradient of queries.
double products_of(Way way) { return way == Way::forward ? 2 : way == Way::backward ? 5 : 4; }

// Elements of a row of tokens that are read and written: q, k, v, out; and dy and their gradients; q, out and dy.
double rows_of(Way way) { return way == Way::forward ? 4 : way == Way::backward ? 8 : 3; }

const std::byte* at(const Tensor& x, int64_t element) {
  return static_cast<const std::byte*>(x.address()) +
         element * static_cast<int64_t>(vitrine::size_of(x.dtype()));
}
std::byte* at(Tensor& x, int64_t element) {
  return static_cast<std::byte*>(x.mutable_address()) +
         element * static_cast<int64_t>(vitrine::size_of(x.dtype()));
}

struct Plain {
  int64_t batch, tokens, heads, width, prompts;
  int64_t model() const { return heads * width; }
};

Call attention_call(const Operands& o, const Plain& s, Way way) {
  const int64_t d = s.model(), image = s.tokens * 3 * d;
  const Device& device = o.device();
  const Tensor qkv = o.random({s.batch, s.tokens, 3 * d}, DType::bf16);
  Tensor out = o.empty({s.batch, s.tokens, d}, DType::bf16);
  Tensor log_sum_exp = o.empty({s.batch, s.heads, s.tokens}, DType::f32);
  Tensor prefix_k, prefix_v;
  gpu::Attention a{.dtype = DType::bf16,
                   .batch = s.batch,
                   .heads = s.heads,
                   .width = s.width,
                   .queries = s.tokens,
                   .tokens = s.tokens,
                   .prefix = s.prompts,
                   .q = {at(qkv, 0), image, 3 * d},
                   .k = {at(qkv, d), image, 3 * d},
                   .v = {at(qkv, 2 * d), image, 3 * d},
                   .prefix_k = {},
                   .prefix_v = {},
                   .out = out.mutable_address(),
                   .log_sum_exp = gpu::out<float>(device, log_sum_exp)};
  if (s.prompts > 0) {
    prefix_k = o.random({s.prompts, d}, DType::bf16);
    prefix_v = o.random({s.prompts, d}, DType::bf16);
    a.prefix_k = {prefix_k.address(), 0, d};
    a.prefix_v = {prefix_v.address(), 0, d};
  }
  if (way == Way::forward)
    return [&device, a, kept = std::vector{qkv, out, log_sum_exp, prefix_k, prefix_v}] {
      device.run(&gpu::Kernels::attention, a);
    };

  device.run(&gpu::Kernels::attention, a);  // backward needs what it leaves
  const Tensor dy = o.random({s.batch, s.tokens, d}, DType::bf16);
  Tensor dots = o.empty(log_sum_exp.shape(), DType::f32), dqkv, queries, dprefix_k, dprefix_v;
  gpu::AttentionBackward b{.forward = a,
                           .dy = dy.address(),
                           .dq = {},
                           .dk = {},
                           .dv = {},
                           .dprefix_k = nullptr,
                           .dprefix_v = nullptr,
                           .slices = 0,
                           .dots = gpu::out<float>(device, dots)};
  if (way == Way::backward) {
    dqkv = o.empty(qkv.shape(), DType::bf16);
    b.dq = {at(dqkv, 0), image, 3 * d};
    b.dk = {at(dqkv, d), image, 3 * d};
    b.dv = {at(dqkv, 2 * d), image, 3 * d};
  } else {  // as the model does it: it keeps the queries alone
    queries = o.empty({s.batch, s.tokens, d}, DType::bf16);
    gpu::move(qkv, queries, queries.shape(), {{image, 3 * d, 1}});
    b.forward.q = {queries.address(), s.tokens * d, d};
    b.forward.k = b.forward.v = {nullptr, s.tokens * d, d};
  }
  b.slices = device.table().attention_slices(device.queue(), b);
  if (s.prompts > 0) {
    dprefix_k = o.empty({b.slices, s.prompts, d}, DType::f32);
    dprefix_v = o.empty({b.slices, s.prompts, d}, DType::f32);
    b.dprefix_k = gpu::out<float>(device, dprefix_k);
    b.dprefix_v = gpu::out<float>(device, dprefix_v);
  }
  const Tensor kept_qkv = way == Way::backward ? qkv : queries;
  return [&device, b,
          kept = std::vector{kept_qkv, out, log_sum_exp, prefix_k, prefix_v, dy, dots, dqkv, dprefix_k,
                             dprefix_v}] { device.run(&gpu::Kernels::attention_backward, b); };
}

Case attention_case(const Plain& s, Way way) {
  const double d = static_cast<double>(s.model()), rows = static_cast<double>(s.batch * s.tokens),
               prompts = static_cast<double>(s.prompts);
  const double keys = way == Way::prefix_backward ? prompts : static_cast<double>(s.tokens) + prompts;
  const double tables = f32_bytes * rows * static_cast<double>(s.heads);  // the log-sum-exps
  const double of_prefix =
      (way == Way::forward ? 2 * bf16_bytes : 2 * (bf16_bytes + f32_bytes)) * prompts * d;
  return {.group = "attention",
          .name = text("{}, B {} H {} N {} D {} p {}", name_of(way), s.batch, s.heads, s.tokens, s.width,
                       s.prompts),
          .bytes = bf16_bytes * rows_of(way) * rows * d + tables + of_prefix,
          .flops = 2 * products_of(way) * rows * keys * d,
          .make = [=](const Operands& o) { return attention_call(o, s, way); }};
}

// --- windows ---------------------------------------------------------------------------------------------------

struct Windows {
  int64_t batch, side, window, shift, heads, width, prompts;
  int64_t model() const { return heads * width; }
  int64_t count() const { return (side + window - 1) / window * ((side + window - 1) / window); }
  int64_t slots() const { return window * window; }
};

Call window_call(const Operands& o, const Windows& s, Way way) {
  const int64_t d = s.model(), tokens = s.side * s.side;
  const Device& device = o.device();
  const Tensor qkv = o.random({s.batch, tokens, 3 * d}, DType::bf16);
  const Tensor bias = o.random({(2 * s.window - 1) * (2 * s.window - 1), s.heads}, DType::bf16, 0.02);
  Tensor out = o.empty({s.batch, tokens, d}, DType::bf16);
  Tensor prompts_out = o.empty({s.batch, s.count(), 0, d}, DType::f32);
  Tensor log_sum_exp = o.empty({s.batch, s.count(), s.heads, s.slots()}, DType::f32);
  Tensor prefix_k, prefix_v;
  gpu::WindowAttention a{.dtype = DType::bf16,
                         .batch = s.batch,
                         .tokens = tokens,
                         .prompts = 0,
                         .heads = s.heads,
                         .width = s.width,
                         .prefix = s.prompts,
                         .rows = s.side,
                         .columns = s.side,
                         .window = s.window,
                         .shift = s.shift,
                         .filled_after_roll = false,
                         .qkv = qkv.address(),
                         .bias = bias.address(),
                         .padding = nullptr,
                         .prefix_k = {},
                         .prefix_v = {},
                         .out = out.mutable_address(),
                         .prompts_out = gpu::out<float>(device, prompts_out),
                         .log_sum_exp = gpu::out<float>(device, log_sum_exp)};
  if (s.prompts > 0) {
    prefix_k = o.random({s.prompts, d}, DType::bf16);
    prefix_v = o.random({s.prompts, d}, DType::bf16);
    a.prefix_k = {prefix_k.address(), 0, d};
    a.prefix_v = {prefix_v.address(), 0, d};
  }
  if (way == Way::forward)
    return [&device, a, kept = std::vector{qkv, bias, out, prompts_out, log_sum_exp, prefix_k, prefix_v}] {
      device.run(&gpu::Kernels::window_attention, a);
    };

  device.run(&gpu::Kernels::window_attention, a);
  const Tensor dy = o.random({s.batch, tokens, d}, DType::bf16);
  Tensor dots = o.empty(log_sum_exp.shape(), DType::f32), kept_qkv = qkv, dqkv, dprompts, dprefix_k,
         dprefix_v;
  gpu::WindowAttentionBackward b{.forward = a,
                                 .dy = dy.address(),
                                 .dqkv = nullptr,
                                 .dprompts = nullptr,
                                 .dbias = nullptr,
                                 .dpadding = nullptr,
                                 .dprefix_k = nullptr,
                                 .dprefix_v = nullptr,
                                 .slices = 0,
                                 .dots = gpu::out<float>(device, dots)};
  if (way == Way::backward) {
    dqkv = o.empty(qkv.shape(), DType::bf16);
    dprompts = o.empty({s.batch, s.count(), 0, 3 * d}, DType::f32);
    b.dqkv = dqkv.mutable_address();
    b.dprompts = gpu::out<float>(device, dprompts);
  } else {
    kept_qkv = o.empty({s.batch, tokens, d}, DType::bf16);
    gpu::move(qkv, kept_qkv, kept_qkv.shape(), {{tokens * 3 * d, 3 * d, 1}});
    b.forward.qkv = kept_qkv.address();
  }
  b.slices = device.table().window_attention_slices(device.queue(), b);
  if (s.prompts > 0) {
    dprefix_k = o.empty({b.slices, s.prompts, d}, DType::f32);
    dprefix_v = o.empty({b.slices, s.prompts, d}, DType::f32);
    b.dprefix_k = gpu::out<float>(device, dprefix_k);
    b.dprefix_v = gpu::out<float>(device, dprefix_v);
  }
  return [&device, b,
          kept = std::vector{kept_qkv, bias, out, prompts_out, log_sum_exp, prefix_k, prefix_v, dy, dots,
                             dqkv, dprompts, dprefix_k, dprefix_v}] {
    device.run(&gpu::Kernels::window_attention_backward, b);
  };
}

Case window_case(const Windows& s, Way way) {
  const double d = static_cast<double>(s.model()), rows = static_cast<double>(s.batch * s.side * s.side),
               prompts = static_cast<double>(s.prompts);
  const double keys = way == Way::prefix_backward ? prompts : static_cast<double>(s.slots()) + prompts;
  const double tables = f32_bytes * rows * static_cast<double>(s.heads);
  const double of_prefix =
      (way == Way::forward ? 2 * bf16_bytes : 2 * (bf16_bytes + f32_bytes)) * prompts * d;
  return {.group = "windows",
          .name = text("{}, B {} map {} window {} shift {} H {} D {} p {}", name_of(way), s.batch, s.side,
                       s.window, s.shift, s.heads, s.width, s.prompts),
          .bytes = bf16_bytes * rows_of(way) * rows * d + tables + of_prefix,
          .flops = 2 * products_of(way) * rows * keys * d,
          .make = [=](const Operands& o) { return window_call(o, s, way); }};
}

}  // namespace

std::vector<Case> attention_cases(const Sizes& sizes) {
  std::vector<Case> out;
  for (const int64_t p : sizes.prompts) {
    const Plain s{sizes.images, sizes.tokens, sizes.heads, sizes.width / sizes.heads, p};
    out.push_back(attention_case(s, Way::forward));
    out.push_back(attention_case(s, Way::backward));
    if (p > 0) out.push_back(attention_case(s, Way::prefix_backward));
  }
  return out;
}

std::vector<Case> window_cases(const Sizes& sizes) {
  std::vector<Case> out;
  const int64_t none = sizes.prompts.front(), some = sizes.prompts[sizes.prompts.size() / 2];
  for (int stage = 0; stage < sizes.stages; ++stage) {
    const int64_t side = sizes.map >> stage, heads = sizes.swin_heads << stage;
    for (const int64_t p : {none, some}) {
      const int64_t shift =
          p == none || side <= sizes.window ? 0 : sizes.window / 2;  // each with one of the two
      const Windows s{sizes.images, side, sizes.window, shift, heads, sizes.swin_width / sizes.swin_heads, p};
      out.push_back(window_case(s, Way::forward));
      out.push_back(window_case(s, Way::backward));
      if (p > 0 && stage == 0) out.push_back(window_case(s, Way::prefix_backward));
    }
  }
  return out;
}

}  // namespace vitrine::bench
