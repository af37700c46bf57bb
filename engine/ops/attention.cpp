// attention.cpp: multi-head attention whose scores are never kept.
//
// One task is one head of one image. Its keys and values (prefix first, then tokens) are packed once; then
// blocks of query rows go through scores, softmax and the weighted sum while they stay in the cache. Backward
// computes the scores again from the log-sum-exp of each row. If only the prefix wants a gradient, backward
// touches no other key.
#include <array>
#include <cmath>

#include "engine/check.h"
#include "engine/cpu/gemm.h"
#include "engine/cpu/rows.h"
#include "engine/gpu/run.h"
#include "engine/ops/prefix.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

constexpr int64_t query_rows = 48;  // one block of query rows; its scores stay in the cache

using cpu::data_of;
using cpu::kernels;
using cpu::Scratch;

struct Sizes {
  int64_t batch, queries, tokens, prefix, heads, width;  // width: of one head
  int64_t model() const { return heads * width; }
  int64_t keys() const { return prefix + tokens; }
};

// One of q, k, v, or their gradients, inside a tensor whose rows may hold more than it (qkv side by side).
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t image = 0;  // from one image to the next, in elements; 0 if all images share
  int64_t row = 0;    // from one token to the next
  T* at(int64_t b, int64_t token, int64_t head_offset) const {
    return data + b * image + token * row + head_offset;
  }
};

template <class T>
struct Inputs {
  Rows<const T> q, k, v, prefix_k, prefix_v;
};

// Where the three operands lie: apart (keys and values may be missing), or side by side in one tensor.
template <class T>
Inputs<T> inputs_of(const Sizes& s, const std::vector<Tensor>& qkv, const Tensor& prefix_k,
                    const Tensor& prefix_v) {
  Inputs<T> in;
  const int64_t d = s.model();
  if (qkv.size() == 1) {
    const T* data = qkv[0].data<T>().data();
    in.q = {data, s.tokens * 3 * d, 3 * d};
    in.k = {data + d, s.tokens * 3 * d, 3 * d};
    in.v = {data + 2 * d, s.tokens * 3 * d, 3 * d};
  } else {
    in.q = {data_of<T>(qkv[0]), s.queries * d, d};
    in.k = {data_of<T>(qkv[1]), s.tokens * d, d};
    in.v = {data_of<T>(qkv[2]), s.tokens * d, d};
  }
  if (s.prefix) {
    const int64_t image = prefix_k.shape().rank() == 3 ? s.prefix * d : 0;
    in.prefix_k = {prefix_k.data<T>().data(), image, d};
    in.prefix_v = {prefix_v.data<T>().data(), image, d};
  }
  return in;
}

// The first `count` keys (or values) of one head, prefix first, as a (count, width) matrix.
template <class T>
void gather(const Sizes& s, const Rows<const T>& prefix, const Rows<const T>& tokens, int64_t b,
            int64_t offset, int64_t count, T* out) {
  for (int64_t j = 0; j < count; ++j) {
    const T* from = j < s.prefix ? prefix.at(b, j, offset) : tokens.at(b, j - s.prefix, offset);
    std::copy_n(from, s.width, out + j * s.width);
  }
}

// out (B, Tq, D); log_sum_exp (B, heads, Tq)
template <class T>
void attention_forward(const Sizes& s, const Inputs<T>& in, Tensor& out, Tensor& log_sum_exp) {
  const int64_t keys = s.keys(), width = s.width, d = s.model();
  const T factor = T(1) / std::sqrt(static_cast<T>(width));
  const int64_t packed_k = cpu::packed_size<T>(width, keys), packed_v = cpu::packed_size<T>(keys, width);
  T *to = out.mutable_data<T>().data(), *lse = log_sum_exp.mutable_data<T>().data();
  const Memory memory = out.memory();
  const Scratch<T> all(keys * width + packed_k + packed_v + query_rows * keys, memory);
  parallel_for_threads(s.batch * s.heads, 1, [&](int thread, int64_t begin, int64_t end) {
    typename Scratch<T>::Part scratch = all.of(thread);
    T *rows = scratch.take(keys * width), *k = scratch.take(packed_k), *v = scratch.take(packed_v);
    T* scores = scratch.take(query_rows * keys);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / s.heads, head = task % s.heads, offset = head * width;
      gather(s, in.prefix_k, in.k, b, offset, keys, rows);
      cpu::pack<T>(width, keys, {rows, 1, width}, k);
      gather(s, in.prefix_v, in.v, b, offset, keys, rows);
      cpu::pack<T>(keys, width, {rows, width, 1}, v);
      for (int64_t i = 0; i < s.queries; i += query_rows) {
        const int64_t n = std::min(query_rows, s.queries - i);
        cpu::multiply_packed_serially<T>({n, keys, width, {in.q.at(b, i, offset), in.q.row, 1}, scores, keys},
                                         k);
        T* y = to + (b * s.queries + i) * d + offset;
        T sums[query_rows];
        for (int64_t r = 0; r < n; ++r) {
          T greatest;
          sums[r] = kernels<T>().softmax_terms(scores + r * keys, keys, factor, &greatest);
          lse[(b * s.heads + head) * s.queries + i + r] = greatest + std::log(sums[r]);
        }
        cpu::multiply_packed_serially<T>({n, width, keys, {scores, keys, 1}, y, d}, v);
        for (int64_t r = 0; r < n; ++r) kernels<T>().scale(y + r * d, width, T(1) / sums[r], y + r * d);
      }
    }
  });
}

template <class T>
struct Gradients {
  Rows<T> q, k, v;             // data is null where not wanted
  Rows<T> prefix_k, prefix_v;  // always per image
  bool tokens() const { return q.data || k.data || v.data; }
};

// A task reads the rows of its head before it writes their gradients, which may lie over them.
// out: the forward result, read only if no token wants a gradient (else it is summed up again).
template <class T>
void attention_backward(const Sizes& s, const Inputs<T>& in, const Tensor& out, const Tensor& log_sum_exp,
                        const Tensor& dy, const Gradients<T>& grad) {
  const int64_t keys = grad.tokens() ? s.keys() : s.prefix, width = s.width, d = s.model();
  const T factor = T(1) / std::sqrt(static_cast<T>(width));
  const int64_t packed_wide = cpu::packed_size<T>(width, keys),
                packed_tall = cpu::packed_size<T>(keys, width);
  const int64_t packed_rows = cpu::packed_size<T>(query_rows, width);
  const T *dys = dy.data<T>().data(), *lse = log_sum_exp.data<T>().data();
  const T* ys = grad.tokens() ? nullptr : out.data<T>().data();
  const bool wants_k = grad.k.data || grad.prefix_k.data, wants_v = grad.v.data || grad.prefix_v.data;
  const Memory memory = dy.memory();
  const Scratch<T> all(3 * keys * width + 2 * packed_wide + packed_tall + packed_rows + 2 * query_rows * keys,
                       memory);
  parallel_for_threads(s.batch * s.heads, 1, [&](int thread, int64_t begin, int64_t end) {
    typename Scratch<T>::Part scratch = all.of(thread);
    T *rows = scratch.take(keys * width), *dk = scratch.take(keys * width), *dv = scratch.take(keys * width);
    T *k_wide = scratch.take(packed_wide), *v_wide = scratch.take(packed_wide),
      *k_tall = scratch.take(packed_tall);
    T *packed = scratch.take(packed_rows), *p = scratch.take(query_rows * keys),
      *ds = scratch.take(query_rows * keys);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / s.heads, head = task % s.heads, offset = head * width;
      gather(s, in.prefix_k, in.k, b, offset, keys, rows);
      cpu::pack<T>(width, keys, {rows, 1, width}, k_wide);
      if (grad.q.data) cpu::pack<T>(keys, width, {rows, width, 1}, k_tall);
      gather(s, in.prefix_v, in.v, b, offset, keys, rows);
      cpu::pack<T>(width, keys, {rows, 1, width}, v_wide);
      if (s.queries == 0) {  // no block below will write them
        std::fill_n(dk, keys * width, T(0));
        std::fill_n(dv, keys * width, T(0));
      }
      for (int64_t i = 0; i < s.queries; i += query_rows) {
        const int64_t n = std::min(query_rows, s.queries - i);
        const cpu::Matrix<T> q{in.q.at(b, i, offset), in.q.row, 1};
        const cpu::Matrix<T> dout{dys + (b * s.queries + i) * d + offset, d, 1};
        cpu::multiply_packed_serially<T>({n, keys, width, q, p, keys}, k_wide);      // scores
        cpu::multiply_packed_serially<T>({n, keys, width, dout, ds, keys}, v_wide);  // dP = dO V^T
        for (int64_t r = 0; r < n; ++r) {
          T *probability = p + r * keys, *slope = ds + r * keys;
          kernels<T>().softmax_again(probability, keys, factor,
                                     lse[(b * s.heads + head) * s.queries + i + r]);
          const T mean = grad.tokens() ? kernels<T>().dot(probability, slope, keys)
                                       : kernels<T>().dot(dout.data + r * d,
                                                          ys + (b * s.queries + i + r) * d + offset, width);
          kernels<T>().softmax_slope(probability, keys, mean, factor, slope);
        }
        if (wants_k) {  // dK = dS^T Q
          cpu::pack<T>(n, width, q, packed);
          cpu::multiply_packed_serially<T>({keys, width, n, {ds, 1, keys}, dk, width, i > 0}, packed);
        }
        if (wants_v) {  // dV = P^T dO
          cpu::pack<T>(n, width, dout, packed);
          cpu::multiply_packed_serially<T>({keys, width, n, {p, 1, keys}, dv, width, i > 0}, packed);
        }
        if (grad.q.data)  // last, for it may lie over q
          cpu::multiply_packed_serially<T>(
              {n, width, keys, {ds, keys, 1}, grad.q.at(b, i, offset), grad.q.row}, k_tall);
      }
      for (int64_t j = 0; j < keys; ++j) {
        const Rows<T>& to_k = j < s.prefix ? grad.prefix_k : grad.k;
        const Rows<T>& to_v = j < s.prefix ? grad.prefix_v : grad.v;
        const int64_t token = j < s.prefix ? j : j - s.prefix;
        if (to_k.data) std::copy_n(dk + j * width, width, to_k.at(b, token, offset));
        if (to_v.data) std::copy_n(dv + j * width, width, to_v.at(b, token, offset));
      }
    }
  });
}

// What backward keeps. qkv holds one tensor or three, as the op got them; the queries alone if no token wants a
// gradient.
struct Kept {
  Sizes sizes;
  std::vector<Tensor> qkv;
  Tensor prefix_k, prefix_v, out, log_sum_exp;
  std::vector<bool> wanted;  // qkv..., prefix keys, prefix values
};

template <class T>
std::vector<Tensor> gradients_of(const Kept& kept, const Tensor& dy) {
  const Sizes& s = kept.sizes;
  const int64_t d = s.model(), operands = static_cast<int64_t>(kept.wanted.size()) - 2;
  std::vector<Tensor> result(operands + 2);
  for (int64_t i = 0; i < operands; ++i)
    if (kept.wanted[i]) result[i] = cpu::over(kept.qkv[i]);
  for (int64_t i = operands; i < operands + 2; ++i)
    if (kept.wanted[i]) result[i] = Tensor::empty({s.batch, s.prefix, d}, dy.dtype(), dy.memory());

  Gradients<T> grad;
  const auto rows = [&](int64_t i, int64_t offset, int64_t tokens, int64_t row) {
    return result[i].defined() ? Rows<T>{result[i].mutable_data<T>().data() + offset, tokens * row, row}
                               : Rows<T>{};
  };
  const bool joined = operands == 1;
  grad.q = rows(0, 0, s.queries, joined ? 3 * d : d);
  grad.k = rows(joined ? 0 : 1, joined ? d : 0, s.tokens, joined ? 3 * d : d);
  grad.v = rows(joined ? 0 : 2, joined ? 2 * d : 0, s.tokens, joined ? 3 * d : d);
  grad.prefix_k = rows(operands, 0, s.prefix, d);
  grad.prefix_v = rows(operands + 1, 0, s.prefix, d);
  attention_backward<T>(s, inputs_of<T>(s, kept.qkv, kept.prefix_k, kept.prefix_v), kept.out,
                        kept.log_sum_exp, dy, grad);
  if (kept.prefix_k.defined() && kept.prefix_k.shape().rank() == 2) {
    for (int64_t i = operands; i < operands + 2; ++i)
      if (result[i].defined()) result[i] = cpu::sum_images<T>(result[i]);
  }
  return result;
}

// What the entries of a device are told of both directions. `qkv` as in Kept; the queries alone in backward if no token
// wants a gradient.
gpu::Attention arguments_on(const Device& device, const Sizes& s, const std::vector<Tensor>& qkv,
                            const Tensor& prefix_k, const Tensor& prefix_v, Tensor& out,
                            Tensor& log_sum_exp) {
  const int64_t d = s.model();
  gpu::Attention a{.dtype = qkv[0].dtype(),
                   .batch = s.batch,
                   .heads = s.heads,
                   .width = s.width,
                   .queries = s.queries,
                   .tokens = s.tokens,
                   .prefix = s.prefix,
                   .q = {},
                   .k = {},
                   .v = {},
                   .prefix_k = {},
                   .prefix_v = {},
                   .out = gpu::out(device, out),
                   .log_sum_exp = gpu::out<float>(device, log_sum_exp)};
  if (qkv.size() == 1) {
    const auto* data = static_cast<const std::byte*>(gpu::in(device, qkv[0]));
    const auto part = [&](int64_t i) {
      return gpu::Rows{data + i * d * static_cast<int64_t>(size_of(a.dtype)), s.tokens * 3 * d, 3 * d};
    };
    a.q = part(0), a.k = part(1), a.v = part(2);
  } else {
    a.q = {gpu::in(device, qkv[0]), s.queries * d, d};
    a.k = {gpu::in(device, qkv[1]), s.tokens * d, d};
    a.v = {gpu::in(device, qkv[2]), s.tokens * d, d};
  }
  if (s.prefix) {
    const int64_t image = prefix_k.shape().rank() == 3 ? s.prefix * d : 0;
    a.prefix_k = {gpu::in(device, prefix_k), image, d};
    a.prefix_v = {gpu::in(device, prefix_v), image, d};
  }
  return a;
}

std::vector<Tensor> gradients_on(const Device& device, const Kept& kept, const Tensor& dy) {
  const Sizes& s = kept.sizes;
  const int64_t d = s.model(), operands = static_cast<int64_t>(kept.wanted.size()) - 2;
  std::vector<Tensor> result(operands + 2);
  Tensor out = kept.out, log_sum_exp = kept.log_sum_exp;
  Tensor dots = Tensor::empty(log_sum_exp.shape(), DType::f32, dy.memory());
  gpu::AttentionBackward a{
      .forward = arguments_on(device, s, kept.qkv, kept.prefix_k, kept.prefix_v, out, log_sum_exp),
      .dy = gpu::in(device, dy),
      .dq = {},
      .dk = {},
      .dv = {},
      .dprefix_k = nullptr,
      .dprefix_v = nullptr,
      .slices = 0,
      .dots = gpu::out<float>(device, dots)};
  const auto rows = [&](int64_t i, int64_t part, const gpu::Rows& like) {
    if (!result[i].defined()) return gpu::MutableRows{};
    auto* data = static_cast<std::byte*>(gpu::out(device, result[i]));
    return gpu::MutableRows{data + part * d * static_cast<int64_t>(size_of(dy.dtype())), like.image,
                            like.row};
  };
  for (int64_t i = 0; i < operands; ++i)
    if (kept.wanted[i]) result[i] = Tensor::empty(kept.qkv[i].shape(), dy.dtype(), dy.memory());
  const bool joined = operands == 1;
  a.dq = rows(0, 0, a.forward.q);
  a.dk = rows(joined ? 0 : 1, joined ? 1 : 0, a.forward.k);
  a.dv = rows(joined ? 0 : 2, joined ? 2 : 0, a.forward.v);
  a.slices = device.table().attention_slices(device.queue(), a);
  std::array<Tensor, 2> parts;
  for (int64_t i = 0; i < 2; ++i)
    if (kept.wanted[operands + i]) parts[i] = Tensor::empty({a.slices, s.prefix, d}, DType::f32, dy.memory());
  a.dprefix_k = gpu::out<float>(device, parts[0]);
  a.dprefix_v = gpu::out<float>(device, parts[1]);
  device.run(&gpu::Kernels::attention_backward, a);
  const bool shared = kept.prefix_k.defined() && kept.prefix_k.shape().rank() == 2;
  for (int64_t i = 0; i < 2; ++i)
    if (parts[i].defined())
      result[operands + i] = shared ? gpu::sum_first(parts[i], dy.dtype()) : parts[i].to(dy.dtype());
  return result;
}

Variable attend(const char* op, const Sizes& s, const std::vector<Variable>& qkv,
                const KeyValuePrefix& prefix) {
  const DType dtype = qkv[0].dtype();
  std::vector<Variable> inputs = qkv;
  inputs.push_back(prefix.keys);
  inputs.push_back(prefix.values);
  Kept kept{s, {}, prefix.keys.value(), prefix.values.value(), {}, {}, {}};
  for (const Variable& x : qkv) kept.qkv.push_back(x.value());
  const Memory memory = qkv[0].value().memory();
  Tensor out = Tensor::empty({s.batch, s.queries, s.model()}, dtype, memory);
  const Device* device = device_of(qkv[0].value(), op);
  kept.log_sum_exp =
      Tensor::empty({s.batch, s.heads, s.queries}, device == nullptr ? dtype : DType::f32, memory);
  if (device != nullptr) {
    gpu::check_head_width(op, s.width);
    device->run(&gpu::Kernels::attention,
                arguments_on(*device, s, kept.qkv, kept.prefix_k, kept.prefix_v, out, kept.log_sum_exp));
  } else {
    dispatch(dtype, op, [&](auto zero) {
      using T = decltype(zero);
      attention_forward<T>(s, inputs_of<T>(s, kept.qkv, kept.prefix_k, kept.prefix_v), out, kept.log_sum_exp);
    });
  }
  return record_jointly(out, inputs, [&](const std::vector<bool>& wanted) -> JointRule {
    bool tokens_wanted = false;
    for (size_t i = 0; i < qkv.size(); ++i) tokens_wanted = tokens_wanted || wanted[i];
    kept.wanted = wanted;
    if (!tokens_wanted || device != nullptr) kept.out = out;
    if (!tokens_wanted) {  // backward asks with the tokens' queries alone
      kept.qkv = {qkv.size() == 1 ? slice(kept.qkv[0], -1, 0, s.model()).value() : kept.qkv[0], {}, {}};
    }
    return [kept](const Tensor& dy) {
      if (const Device* home = dy.device()) return gradients_on(*home, kept, dy);
      return dispatch(dy.dtype(), "attention",
                      [&](auto zero) { return gradients_of<decltype(zero)>(kept, dy); });
    };
  });
}

}  // namespace

int64_t check_prefix(const char* op, const KeyValuePrefix& prefix, int64_t batch, int64_t model,
                     DType dtype) {
  check(prefix.defined() || !prefix.values.defined(), "{}: prefix values without keys", op);
  if (!prefix.defined()) return 0;
  const Shape& shape = prefix.keys.shape();
  check(shape.rank() >= 2 &&
            (shape == Shape{shape.dim(-2), model} || shape == Shape{batch, shape.dim(-2), model}) &&
            prefix.values.shape() == shape && prefix.keys.dtype() == dtype && prefix.values.dtype() == dtype,
        "{}: expected prefix keys and values (P, {}) or ({}, P, {}), got {} and {}", op, model, batch, model,
        shape, prefix.values.shape());
  return shape.dim(-2);
}

Variable attention(const Variable& q, const Variable& k, const Variable& v, int64_t heads,
                   const KeyValuePrefix& prefix) {
  check(q.shape().rank() == 3 && k.shape().rank() == 3 && k.dim(0) == q.dim(0) && k.dim(2) == q.dim(2) &&
            v.shape() == k.shape() && k.dtype() == q.dtype() && v.dtype() == q.dtype(),
        "attention: expected q (B, Tq, D), k and v (B, T, D), got {}, {}, {}", q.shape(), k.shape(),
        v.shape());
  check(heads > 0 && q.dim(2) % heads == 0, "attention: {} heads do not divide width {}", heads, q.dim(2));
  const int64_t p = check_prefix("attention", prefix, q.dim(0), q.dim(2), q.dtype());
  check(p + k.dim(1) > 0, "attention: no keys");
  return attend("attention", {q.dim(0), q.dim(1), k.dim(1), p, heads, q.dim(2) / heads}, {q, k, v}, prefix);
}

Variable self_attention(const Variable& qkv, int64_t heads, const KeyValuePrefix& prefix) {
  check(qkv.shape().rank() == 3 && heads > 0 && qkv.dim(2) % 3 == 0 && qkv.dim(2) / 3 % heads == 0,
        "self_attention: expected qkv (B, T, 3 D) with D a multiple of {} heads, got {}", heads, qkv.shape());
  const int64_t model = qkv.dim(2) / 3,
                p = check_prefix("self_attention", prefix, qkv.dim(0), model, qkv.dtype());
  check(qkv.dim(1) > 0, "self_attention: no tokens");
  return attend("self_attention", {qkv.dim(0), qkv.dim(1), qkv.dim(1), p, heads, model / heads}, {qkv},
                prefix);
}

}  // namespace vitrine
