// first_token_attention.cpp: self-attention of which only the first token's row is wanted, for frozen weights.
//
// One question per image needs neither keys nor values of the T rows X = norm([prompts, tokens]) that are asked:
// per head, the scores X (W_k^T q) multiply the rows themselves, and W_v (sum a_j X_j) + b_v projects one row for
// all of them, for the weights a sum to one. b_k adds the same to every score and drops out. That is 2 T D
// multiply-adds per head where the projections take 2 T D^2 for all. Backward is of the same kind: the gradient of X
// has rank two per head. Each task is an image, whose rows are normalised anew in the cache.
#include <algorithm>
#include <cmath>

#include "engine/check.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/rows.h"
#include "engine/gpu/run.h"
#include "engine/ops.h"
#include "engine/ops/weight.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

using cpu::data_of;
using cpu::kernels;
using cpu::Scratch;

// What both directions need: sizes, inputs, constants. `width` is a head's, `prompts` may have none.
struct Problem {
  int64_t batch, tokens, prompts, heads, width;
  Tensor x, prompt_rows;  // (B, T, D); (P, D), (B, P, D) or undefined
  Tensor gamma, beta, weight, bias;
  double epsilon;
  int64_t model() const { return heads * width; }
  int64_t keys() const { return prompts + tokens; }
  Memory memory() const { return x.memory(); }
};

enum Third { queries = 0, keys = 1, values = 2 };  // of the joint projection

// (D, D), or one head's rows of it
Tensor part_of(const Problem& p, Third third, int64_t first, int64_t rows) {
  const int64_t at = third * p.model() + first;
  return p.weight.rows(at, at + rows);
}

template <class T>
const T* bias_of(const Problem& p, Third third) {
  return p.bias.defined() ? data_of<T>(p.bias) + third * p.model() : nullptr;
}

// Row j of an image, prompts first.
template <class T>
const T* row_of(const Problem& p, int64_t b, int64_t j) {
  if (j >= p.prompts) return data_of<T>(p.x) + (b * p.tokens + j - p.prompts) * p.model();
  return data_of<T>(p.prompt_rows) +
         ((p.prompt_rows.shape().rank() == 3 ? b * p.prompts : 0) + j) * p.model();
}

template <class T>
void norm_row(const Problem& p, int64_t b, int64_t j, T* to, T& mean, T& rstd) {
  kernels<T>().layer_norm(row_of<T>(p, b, j), p.model(), data_of<T>(p.gamma), data_of<T>(p.beta),
                          static_cast<T>(p.epsilon), to, &mean, &rstd);
}

// For each head h: to_h (B, D) = from_h (B, width) W_h (`for_backward`), or to_h (B, width) = from_h (B, D) W_h^T
// (`for_forward`), a bias added.
template <class T>
void project_heads(const Problem& p, Third third, PackedForm form, const Tensor& from, Tensor& to,
                   const T* bias = nullptr) {
  const int64_t k = form == for_forward ? p.model() : p.width, n = form == for_forward ? p.width : p.model();
  const T* in = data_of<T>(from);
  T* out = data_of<T>(to);
  std::vector<PackedWeight<T>> packed;
  for (int64_t h = 0; h < p.heads; ++h)
    packed.push_back(packed_weight<T>(part_of(p, third, h * p.width, p.width), form, p.memory()));
  parallel_for(p.heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      cpu::multiply_packed_serially<T>({p.batch,
                                        n,
                                        k,
                                        {in + h * k, p.heads * k, 1},
                                        out + h * n,
                                        p.heads * n,
                                        false,
                                        bias ? bias + h * p.width : nullptr},
                                       packed[h].panels);
    }
  });
}

template <class T>
void multiply_all(Tensor& x, T factor) {
  kernels<T>().scale(data_of<T>(x), x.numel(), factor, data_of<T>(x));
}

template <class T>
T score_factor(const Problem& p) {
  return T(1) / std::sqrt(static_cast<T>(p.width));
}

// What one task works with: an image's rows, and room to pack them either way or two rows per head.
template <class T>
int64_t packed_elements(const Problem& p) {
  return std::max({cpu::packed_size<T>(p.model(), p.keys()), cpu::packed_size<T>(p.keys(), p.model()),
                   cpu::packed_size<T>(p.heads, p.model())});
}
template <class T>
int64_t work_elements(const Problem& p) {
  return (p.model() + p.heads + 2) * p.keys() + packed_elements<T>(p);
}
template <class T>
struct Work {
  Work(const Problem& p, typename Scratch<T>::Part part)
      : rows(part.take(p.keys() * p.model())),
        slopes(part.take(p.heads * p.keys())),
        means(part.take(p.keys())),
        rstds(part.take(p.keys())),
        packed(part.take(packed_elements<T>(p))) {}
  T *rows, *slopes, *means, *rstds, *packed;  // (K, D), (heads, K), (K), (K)

  void norm_rows(const Problem& p, int64_t b) {
    for (int64_t j = 0; j < p.keys(); ++j) norm_row(p, b, j, rows + j * p.model(), means[j], rstds[j]);
  }
  // to (heads, K) = left (heads, D) rows^T
  void across(const Problem& p, const T* left, T* to) {
    cpu::pack<T>(p.model(), p.keys(), {rows, 1, p.model()}, packed);
    cpu::multiply_packed_serially<T>({p.heads, p.keys(), p.model(), {left, p.model(), 1}, to, p.keys()},
                                     packed);
  }
  // to (heads, D) = left (heads, K) rows
  void down(const Problem& p, const T* left, T* to) {
    cpu::pack<T>(p.keys(), p.model(), {rows, p.model(), 1}, packed);
    cpu::multiply_packed_serially<T>({p.heads, p.model(), p.keys(), {left, p.keys(), 1}, to, p.model()},
                                     packed);
  }
};

// absorbed (B, heads, D) = W_k^T q / sqrt(width) and weights (B, heads, K) are kept for backward.
template <class T>
void first_token_forward(const Problem& p, Tensor& absorbed, Tensor& weights, Tensor& out) {
  const int64_t d = p.model(), count = p.keys();
  const Memory memory = p.memory();
  Tensor first = Tensor::empty({p.batch, d}, p.x.dtype(), memory);
  Tensor q = Tensor::empty({p.batch, d}, p.x.dtype(), memory);
  for (int64_t b = 0; b < p.batch; ++b) {
    T mean, rstd;
    norm_row(p, b, p.prompts, data_of<T>(first) + b * d, mean, rstd);
  }
  const PackedWeight<T> packed = packed_weight<T>(part_of(p, queries, 0, d), for_forward, memory);
  cpu::multiply_packed<T>(
      {p.batch, d, d, {data_of<T>(first), d, 1}, data_of<T>(q), d, false, bias_of<T>(p, queries)},
      packed.panels);
  multiply_all(q, score_factor<T>(p));
  project_heads<T>(p, keys, for_backward, q, absorbed);

  Tensor sums = Tensor::empty({p.batch, p.heads, d}, p.x.dtype(), memory);
  const T* question = data_of<T>(absorbed);
  T *to = data_of<T>(sums), *all = data_of<T>(weights);
  const Scratch<T> scratch(work_elements<T>(p), memory);
  parallel_for_threads(p.batch, 1, [&](int thread, int64_t begin, int64_t end) {
    Work<T> work(p, scratch.of(thread));
    for (int64_t b = begin; b < end; ++b) {
      T* own = all + b * p.heads * count;
      work.norm_rows(p, b);
      work.across(p, question + b * p.heads * d, own);
      for (int64_t h = 0; h < p.heads; ++h) {
        T *row = own + h * count, greatest;
        kernels<T>().scale(row, count, T(1) / kernels<T>().softmax_terms(row, count, T(1), &greatest), row);
      }
      work.down(p, own, to + b * p.heads * d);
    }
  });
  project_heads<T>(p, values, for_forward, sums, out, bias_of<T>(p, values));
}

struct Kept {
  Problem problem;
  Tensor absorbed, weights;
  bool wants_x, wants_prompts;
};

// dx, and the prompts' gradient for each image.
template <class T>
std::vector<Tensor> first_token_backward(const Kept& kept, const Tensor& dy) {
  const Problem& p = kept.problem;
  const int64_t d = p.model(), count = p.keys();
  const Memory memory = dy.memory();
  const auto empty = [&](const Shape& shape) { return Tensor::empty(shape, dy.dtype(), memory); };
  Tensor slope = empty({p.batch, p.heads, d});  // of the weighted sums
  project_heads<T>(p, values, for_backward, dy, slope);
  Tensor dx = kept.wants_x ? cpu::over(p.x) : Tensor(), dquestion, first;
  if (kept.wants_x) dquestion = empty({p.batch, p.heads, d}), first = empty({p.batch, d});
  Tensor dprompts = kept.wants_prompts ? empty({p.batch, p.prompts, d}) : Tensor();

  const T *question = data_of<T>(kept.absorbed), *weights = data_of<T>(kept.weights),
          *gamma = data_of<T>(p.gamma), *slopes = data_of<T>(slope);
  T *to_x = data_of<T>(dx), *to_prompts = data_of<T>(dprompts), *to_question = data_of<T>(dquestion),
    *to_first = data_of<T>(first);
  const Scratch<T> scratch(work_elements<T>(p), memory);
  parallel_for_threads(p.batch, 1, [&](int thread, int64_t begin, int64_t end) {
    Work<T> work(p, scratch.of(thread));
    for (int64_t b = begin; b < end; ++b) {
      const T *a = weights + b * p.heads * count, *u = question + b * p.heads * d,
              *w = slopes + b * p.heads * d;
      T* ds = work.slopes;
      work.norm_rows(p, b);
      work.across(p, w, ds);
      for (int64_t h = 0; h < p.heads; ++h) {
        const T* weight = a + h * count;
        T* row = ds + h * count;
        kernels<T>().softmax_slope(weight, count, kernels<T>().dot(weight, row, count), T(1), row);
      }
      if (kept.wants_x) work.down(p, ds, to_question + b * p.heads * d);
      // dX = ds^T u + a^T w, over X; of the prompts alone if no token asks
      const int64_t wanted = kept.wants_x ? count : p.prompts;
      cpu::pack<T>(p.heads, d, {u, d, 1}, work.packed);
      cpu::multiply_packed_serially<T>({wanted, d, p.heads, {ds, 1, count}, work.rows, d}, work.packed);
      cpu::pack<T>(p.heads, d, {w, d, 1}, work.packed);
      cpu::multiply_packed_serially<T>({wanted, d, p.heads, {a, 1, count}, work.rows, d, true}, work.packed);
      for (int64_t j = kept.wants_prompts ? 0 : p.prompts; j < wanted; ++j) {
        const T* from = work.rows + j * d;
        if (j == p.prompts) {  // the first token has also asked: see below
          std::copy_n(from, d, to_first + b * d);
          continue;
        }
        T* to =
            j < p.prompts ? to_prompts + (b * p.prompts + j) * d : to_x + (b * p.tokens + j - p.prompts) * d;
        kernels<T>().layer_norm_backward(row_of<T>(p, b, j), from, d, gamma, work.means[j], work.rstds[j],
                                         to);
      }
    }
  });

  if (kept.wants_x) {
    Tensor dq = empty({p.batch, d});
    project_heads<T>(p, keys, for_forward, dquestion, dq);
    multiply_all(dq, score_factor<T>(p));
    const PackedWeight<T> packed = packed_weight<T>(part_of(p, queries, 0, d), for_backward, memory);
    cpu::multiply_packed<T>({p.batch, d, d, {data_of<T>(dq), d, 1}, to_first, d, true}, packed.panels);
    T* normed = data_of<T>(dq);  // not needed any more
    for (int64_t b = 0; b < p.batch; ++b) {
      T mean, rstd;
      norm_row(p, b, p.prompts, normed, mean, rstd);
      kernels<T>().layer_norm_backward(row_of<T>(p, b, p.prompts), to_first + b * d, d, gamma, mean, rstd,
                                       to_x + b * p.tokens * d);
    }
  }
  if (kept.wants_prompts && p.prompt_rows.shape().rank() == 2) dprompts = cpu::sum_images<T>(dprompts);
  return {dx, dprompts};
}

// The same on a device, as products of whole batches. The normed rows X (B, K, D), prompts first, are made anew in
// backward.
struct OnDevice {
  const Device& device;
  const Problem& p;

  Tensor empty(const Shape& shape) const { return Tensor::empty(shape, p.x.dtype(), p.memory()); }

  // rows (B, K, D) = [prompts, x]
  Tensor all_rows() const {
    const int64_t d = p.model();
    Tensor rows = empty({p.batch, p.keys(), d});
    const std::vector<int64_t> to{p.keys() * d, 1};
    gpu::move(p.x, rows, {p.batch, p.tokens * d}, {{p.tokens * d, 1}}, {to, p.prompts * d});
    if (p.prompts) {
      const int64_t image = p.prompt_rows.shape().rank() == 3 ? p.prompts * d : 0;
      gpu::move(p.prompt_rows, rows, {p.batch, p.prompts * d}, {{image, 1}}, {to});
    }
    return rows;
  }

  struct Normed {
    Tensor rows, mean, rstd;
  };
  Normed norm(const Tensor& rows) const {
    const int64_t count = rows.shape().rows_before(-1);
    Normed out{empty(rows.shape()), Tensor::empty({count}, DType::f32, p.memory()),
               Tensor::empty({count}, DType::f32, p.memory())};
    device.run(&gpu::Kernels::layer_norm,
               {p.x.dtype(), count, p.model(), gpu::in(device, rows), gpu::in(device, p.gamma),
                gpu::in(device, p.beta), static_cast<float>(p.epsilon), gpu::out(device, out.rows),
                gpu::out<float>(device, out.mean), gpu::out<float>(device, out.rstd)});
    return out;
  }
  // dx over dy
  void norm_backward(const Tensor& rows, const Normed& normed, Tensor& dy) const {
    device.run(&gpu::Kernels::layer_norm_backward,
               {p.x.dtype(), rows.shape().rows_before(-1), p.model(), gpu::in(device, rows),
                gpu::in(device, dy), gpu::in(device, p.gamma), gpu::in<float>(device, normed.mean),
                gpu::in<float>(device, normed.rstd), nullptr, gpu::out(device, dy)});
  }

  // For each image: to (m, n) = a (m, k) b (k, n), each stored with the rows first or, transposed, last.
  struct Side {
    const Tensor& x;
    int64_t image, step;
    bool transposed = false;
  };
  void product(int64_t batch, int64_t m, int64_t n, int64_t k, const Side& a, const Side& b, Tensor& to,
               int64_t to_image, int64_t to_step, const Tensor& bias = {}, bool added = false) const {
    if (batch * m * n == 0) return;
    gpu::Product product = gpu::product_of(device, a.x, b.x, to);
    product.batch = batch, product.m = m, product.n = n, product.k = k;
    product.a.image = a.image, product.a.step = a.step, product.a.transposed = a.transposed;
    product.b.image = b.image, product.b.step = b.step, product.b.transposed = b.transposed;
    product.out_image = to_image, product.out_step = to_step;
    product.bias = gpu::in(device, bias);
    product.added = added ? product.out : nullptr;
    device.run(&gpu::Kernels::product, product);
  }

  Tensor bias(Third third) const {
    return p.bias.defined() ? p.bias.rows(third * p.model(), (third + 1) * p.model()) : Tensor();
  }
  // For each head h: to_h (B, D) = from_h (B, width) W_h, or to_h (B, width) = from_h (B, D) W_h^T
  Tensor project_heads(Third third, PackedForm form, const Tensor& from) const {
    const int64_t d = p.model(), k = form == for_forward ? d : p.width, n = form == for_forward ? p.width : d;
    Tensor to = form == for_forward ? empty({p.batch, d}) : empty({p.batch, p.heads, d});
    product(p.heads, p.batch, n, k, {from, k, p.heads * k},
            {part_of(p, third, 0, d), p.width * d, d, form == for_forward}, to, n, p.heads * n);
    return to;
  }
  // (B, heads, K) = left (B, heads, D) X^T in f32, for exponents want it; (B, heads, D) = left (B, heads, K) X
  Tensor across(const Tensor& left, const Tensor& rows) const {
    const int64_t d = p.model(), count = p.keys();
    Tensor to = Tensor::empty({p.batch, p.heads, count}, DType::f32, p.memory());
    product(p.batch, p.heads, count, d, {left, p.heads * d, d}, {rows, count * d, d, true}, to,
            p.heads * count, count);
    return to;
  }
  Tensor down(const Tensor& left, const Tensor& rows) const {
    const int64_t d = p.model(), count = p.keys();
    Tensor to = empty({p.batch, p.heads, d});
    product(p.batch, p.heads, d, count, {left, p.heads * count, count}, {rows, count * d, d}, to, p.heads * d,
            d);
    return to;
  }
  // The first token's rows of (B, K, D)
  Tensor first_of(const Tensor& rows) const {
    Tensor out = empty({p.batch, p.model()});
    gpu::move(rows, out, out.shape(), {{p.keys() * p.model(), 1}, p.prompts * p.model()});
    return out;
  }
  double factor() const { return 1.0 / std::sqrt(static_cast<double>(p.width)); }

  void forward(Tensor& absorbed, Tensor& weights, Tensor& out) const {
    const int64_t d = p.model();
    const Normed normed = norm(all_rows());
    Tensor q = empty({p.batch, d});
    product(1, p.batch, d, d, {first_of(normed.rows), 0, d}, {part_of(p, queries, 0, d), 0, d, true}, q, 0, d,
            bias(queries));
    gpu::move(q, q, factor());
    absorbed = project_heads(keys, for_backward, q);
    Tensor scores = across(absorbed, normed.rows);
    device.run(&gpu::Kernels::softmax, {DType::f32, p.batch * p.heads, p.keys(), 1, gpu::in(device, scores),
                                        gpu::out(device, scores)});
    weights = scores.to(p.x.dtype());
    const Tensor sums = down(weights, normed.rows);
    out = project_heads(values, for_forward, sums).reshape({p.batch, 1, d});
    if (p.bias.defined()) out = add(out, bias(values)).value();
  }

  std::vector<Tensor> backward(const Kept& kept, const Tensor& dy) const {
    const int64_t d = p.model(), count = p.keys();
    const Tensor rows = all_rows();
    const Normed normed = norm(rows);
    const Tensor slope = project_heads(values, for_backward, dy);
    Tensor dscores = across(slope, normed.rows);
    device.run(&gpu::Kernels::softmax_backward,
               {DType::f32, p.batch * p.heads, count, 1, gpu::in(device, kept.weights.to(DType::f32)),
                gpu::in(device, dscores), gpu::out(device, dscores)});
    const Tensor ds = dscores.to(p.x.dtype());
    // dX = ds^T u + a^T w
    Tensor drows = empty({p.batch, count, d});
    product(p.batch, count, d, p.heads, {ds, p.heads * count, count, true}, {kept.absorbed, p.heads * d, d},
            drows, count * d, d);
    product(p.batch, count, d, p.heads, {kept.weights, p.heads * count, count, true}, {slope, p.heads * d, d},
            drows, count * d, d, {}, true);
    if (kept.wants_x) {  // the first token has also asked
      Tensor dq = project_heads(keys, for_forward, down(ds, normed.rows));
      gpu::move(dq, dq, factor());
      Tensor dfirst = first_of(drows);
      product(1, p.batch, d, d, {dq, 0, d}, {part_of(p, queries, 0, d), 0, d}, dfirst, 0, d, {}, true);
      gpu::move(dfirst, drows, dfirst.shape(), {gpu::strides_of(dfirst.shape())},
                {{count * d, 1}, p.prompts * d});
    }
    norm_backward(rows, normed, drows);
    std::vector<Tensor> out(2);
    if (kept.wants_x) {
      out[0] = empty({p.batch, p.tokens, d});
      gpu::move(drows, out[0], {p.batch, p.tokens * d}, {{count * d, 1}, p.prompts * d});
    }
    if (kept.wants_prompts) {
      out[1] = empty({p.batch, p.prompts, d});
      gpu::move(drows, out[1], {p.batch, p.prompts * d}, {{count * d, 1}});
      if (p.prompt_rows.shape().rank() == 2) out[1] = gpu::sum_first(out[1], dy.dtype());
    }
    return out;
  }
};

// The definition, and the way for weights that are trained.
Variable composed(const Variable& x, const RowLayers& l, int64_t heads, const Variable& prompts) {
  const int64_t d = x.dim(2);
  const auto part = [&](const Variable& rows, Third third) {
    return linear(rows, slice(l.w1, 0, third * d, (third + 1) * d),
                  l.b1.defined() ? slice(l.b1, 0, third * d, (third + 1) * d) : Variable());
  };
  const Variable normed = layer_norm(x, l.gamma, l.beta, l.epsilon);
  KeyValuePrefix prefix;
  if (prompts.defined()) {
    const Variable rows = layer_norm(prompts, l.gamma, l.beta, l.epsilon);
    prefix = {part(rows, keys), part(rows, values)};
  }
  return attention(part(slice(normed, 1, 0, 1), queries), part(normed, keys), part(normed, values), heads,
                   prefix);
}

void check_inputs(const Variable& x, const RowLayers& l, int64_t heads, const Variable& prompts) {
  const char* op = "first_token_attention";
  check(x.shape().rank() == 3 && x.dim(1) > 0 && x.dim(2) > 0,
        "{}: expected x (B, T, D) with T and D at least 1, got {}", op, x.shape());
  const int64_t d = x.dim(2);
  check(heads > 0 && d % heads == 0, "{}: {} heads do not divide width {}", op, heads, d);
  check(!l.w2.defined() && !l.b2.defined(), "{}: expected a norm and one linear", op);
  check(std::isfinite(l.epsilon) && l.epsilon >= 0, "{}: expected a finite epsilon >= 0, got {}", op,
        l.epsilon);
  const auto fits = [&](const Variable& v, const Shape& shape, const char* name) {
    check(v.shape() == shape && v.dtype() == x.dtype(), "{}: expected {} {} {}, got {} {}", op, name, shape,
          name_of(x.dtype()), v.shape(), name_of(v.dtype()));
  };
  fits(l.gamma, {d}, "gamma");
  fits(l.beta, {d}, "beta");
  fits(l.w1, {3 * d, d}, "w1");
  if (l.b1.defined()) fits(l.b1, {3 * d}, "b1");
  if (!prompts.defined()) return;
  check((prompts.shape().rank() == 2 || prompts.shape().rank() == 3) && prompts.dim(-1) == d &&
            (prompts.shape().rank() == 2 || prompts.dim(0) == x.dim(0)) && prompts.dtype() == x.dtype(),
        "{}: expected prompts (P, {}) or ({}, P, {}) {}, got {} {}", op, d, x.dim(0), d, name_of(x.dtype()),
        prompts.shape(), name_of(prompts.dtype()));
}

}  // namespace

Variable first_token_attention(const Variable& x, const RowLayers& l, int64_t heads,
                               const Variable& prompts) {
  check_inputs(x, l, heads, prompts);
  for (const Variable* v : {&l.gamma, &l.beta, &l.w1, &l.b1})
    if (v->wants_gradient()) return composed(x, l, heads, prompts);
  const int64_t d = x.dim(2);
  Problem p{.batch = x.dim(0),
            .tokens = x.dim(1),
            .prompts = prompts.defined() ? prompts.dim(-2) : 0,
            .heads = heads,
            .width = d / heads,
            .x = x.value(),
            .prompt_rows = prompts.value(),
            .gamma = l.gamma.value(),
            .beta = l.beta.value(),
            .weight = l.w1.value(),
            .bias = l.b1.value(),
            .epsilon = l.epsilon};
  const auto empty = [&](const Shape& shape) { return Tensor::empty(shape, x.dtype(), p.memory()); };
  Tensor absorbed = empty({p.batch, heads, d}), weights = empty({p.batch, heads, p.keys()});
  Tensor out = empty({p.batch, 1, d});
  if (const Device* device = device_of(x.value(), "first_token_attention")) {
    OnDevice{*device, p}.forward(absorbed, weights, out);
  } else {
    dispatch(x.dtype(), "first_token_attention",
             [&](auto zero) { first_token_forward<decltype(zero)>(p, absorbed, weights, out); });
  }
  return record_jointly(std::move(out), {x, prompts}, [&](const std::vector<bool>& wanted) -> JointRule {
    return [kept = Kept{std::move(p), absorbed, weights, wanted[0], wanted[1]}](const Tensor& dy) {
      if (const Device* home = dy.device()) return OnDevice{*home, kept.problem}.backward(kept, dy);
      return dispatch(dy.dtype(), "first_token_attention",
                      [&](auto zero) { return first_token_backward<decltype(zero)>(kept, dy); });
    };
  });
}

}  // namespace vitrine
