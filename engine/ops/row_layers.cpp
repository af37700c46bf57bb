// row_layers.cpp: what a transformer block does to each row by itself, as one op for frozen weights.
//
// Written one after another, layer_norm, linear, gelu and the sum with x each send the whole map through
// memory, and the hidden row of an MLP is four times as wide as the others: that costs more than it should
// beside the products. Here a task takes some rows through all layers while they are in the cache. Nothing is
// kept for backward but x, a mean and a deviation for each row, and gelu's slopes.
#include <cmath>
#include <functional>

#include "engine/check.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/rows.h"
#include "engine/gpu/run.h"
#include "engine/ops/gelu.h"
#include "engine/ops/weight.h"
#include "engine/parallel.h"

namespace vitrine {

namespace {

using cpu::data_of;
using cpu::kernels;

// The same with constant weights only, and the sizes: x (M, K), hidden rows (M, H) or none, out (M, N).
struct Layers {
  bool norm, second, residual;
  Tensor gamma, beta, w1, b1, w2, b2;
  double epsilon;
  Gelu form;
  int64_t k = w1.dim(1), h = second ? w1.dim(0) : 0, n = second ? w2.dim(0) : w1.dim(0);
};

// Undefined where not kept. On a device `slopes` holds what gelu was given, not its slopes.
struct Kept {
  Tensor x, mean, rstd, slopes;
};

// Calls body(first, rows, scratch) for all m rows, a part at a time: enough to use a weight well that comes
// from memory. `columns` elements of scratch belong to each row. A row's numbers do not depend on its company.
template <class T, class Body>
void for_rows(int64_t m, int64_t columns, const Memory& memory, const Body& body) {
  constexpr int64_t unit = 12, most = cpu::most_rows_of_part;
  const cpu::Scratch<T> scratch(most * columns, memory);
  // Few rows are shared out once: each part of them reads all weights.
  const int64_t units = (m + unit - 1) / unit, own_share = (units + thread_count() - 1) / thread_count();
  const int64_t grain = own_share * unit <= 2 * most ? own_share : 2;
  parallel_for_threads(units, grain, [&](int thread, int64_t begin, int64_t end) {
    const int64_t last = std::min(end * unit, m), at_once = cpu::rows_of_part(last - begin * unit);
    T* own = scratch.of(thread).take(most * columns);
    for (int64_t i = begin * unit; i < last; i += at_once) body(i, std::min(at_once, last - i), own);
  });
}

template <class T>
void row_layers_forward(const Tensor& x, const Layers& l, Kept& kept, Tensor& out) {
  const int64_t k = l.k, h = l.h, n = l.n, m = x.shape().rows_before(-1);
  const PackedWeight<T> first = packed_weight<T>(l.w1, for_forward, x.memory()),
                        second =
                            l.second ? packed_weight<T>(l.w2, for_forward, x.memory()) : PackedWeight<T>();
  const T *from = data_of<T>(x), *gamma = data_of<T>(l.gamma), *beta = data_of<T>(l.beta);
  const T *b1 = data_of<T>(l.b1), *b2 = data_of<T>(l.b2);
  T *to = data_of<T>(out), *means = data_of<T>(kept.mean), *rstds = data_of<T>(kept.rstd);
  T* slopes = data_of<T>(kept.slopes);
  for_rows<T>(m, (l.norm ? k : 0) + h, x.memory(), [&](int64_t i, int64_t rows, T* scratch) {
    const T* in = from + i * k;
    if (l.norm) {
      for (int64_t r = 0; r < rows; ++r) {
        T mean, rstd;
        kernels<T>().layer_norm(in + r * k, k, gamma, beta, static_cast<T>(l.epsilon), scratch + r * k, &mean,
                                &rstd);
        if (means) means[i + r] = mean, rstds[i + r] = rstd;
      }
      in = scratch;
    }
    int64_t width = k;
    if (l.second) {
      T* hidden = scratch + (l.norm ? rows * k : 0);
      cpu::multiply_packed_serially<T>({rows, h, k, {in, k, 1}, hidden, h, false, b1}, first.panels);
      for (int64_t r = 0; r < rows; ++r)
        gelu_run<T>(l.form, hidden + r * h, h, hidden + r * h, slopes ? slopes + (i + r) * h : nullptr);
      in = hidden;
      width = h;
    }
    const T* bias = l.second ? b2 : b1;
    T* own = to + i * n;
    cpu::multiply_packed_serially<T>({rows, n, width, {in, width, 1}, own, n, false, bias},
                                     (l.second ? second : first).panels);
    if (l.residual) kernels<T>().add(own, from + i * n, rows * n, own);
  });
}

template <class T>
void row_layers_backward(const Layers& l, const Kept& kept, const Tensor& dy, Tensor& dx) {
  const int64_t k = l.k, h = l.h, n = l.n, m = dy.shape().rows_before(-1);
  const PackedWeight<T> first = packed_weight<T>(l.w1, for_backward, dy.memory()),
                        second =
                            l.second ? packed_weight<T>(l.w2, for_backward, dy.memory()) : PackedWeight<T>();
  const T *from = data_of<T>(dy), *x = data_of<T>(kept.x), *gamma = data_of<T>(l.gamma);
  const T *means = data_of<T>(kept.mean), *rstds = data_of<T>(kept.rstd), *slopes = data_of<T>(kept.slopes);
  T* to = data_of<T>(dx);
  for_rows<T>(m, k + h, dy.memory(), [&](int64_t i, int64_t rows, T* scratch) {
    const T* in = from + i * n;
    int64_t width = n;
    if (l.second) {
      T* hidden = scratch + rows * k;
      cpu::multiply_packed_serially<T>({rows, h, n, {in, n, 1}, hidden, h}, second.panels);
      kernels<T>().multiply_rows(hidden, slopes + i * h, rows * h, hidden);
      in = hidden;
      width = h;
    }
    // dx may be dy's memory, which is still needed: what the rows become waits in scratch.
    cpu::multiply_packed_serially<T>({rows, k, width, {in, width, 1}, scratch, k}, first.panels);
    for (int64_t r = 0; l.norm && r < rows; ++r) {
      T* row = scratch + r * k;
      kernels<T>().layer_norm_backward(x + (i + r) * k, row, k, gamma, means[i + r], rstds[i + r], row);
    }
    if (l.residual)
      kernels<T>().add(scratch, from + i * k, rows * k, to + i * k);
    else
      std::copy_n(scratch, rows * k, to + i * k);
  });
}

// The same on a device, where products take bias, gelu and the sum with x along: x (M, K) w^T, or dy w.
void run_product(const Device& device, const Tensor& x, const Tensor& w, bool transposed, Tensor& out,
                 const std::function<void(gpu::Product&)>& more) {
  gpu::Product p = gpu::product_of(device, x, w, out);
  p.k = x.dim(-1), p.n = out.dim(-1), p.m = out.shape().rows_before(-1);
  p.a.step = p.k, p.b.step = w.dim(1), p.b.transposed = transposed, p.out_step = p.n;
  more(p);
  if (p.m > 0 && p.n > 0) device.run(&gpu::Kernels::product, p);
}

void row_layers_forward_on(const Device& device, const Tensor& x, const Layers& l, Kept& kept, Tensor& out) {
  const auto empty = [&](int64_t width) {
    return Tensor::empty(x.shape().with(-1, width), x.dtype(), x.memory());
  };
  Tensor in = x;
  if (l.norm) {
    in = empty(l.k);
    device.run(&gpu::Kernels::layer_norm,
               {x.dtype(), x.shape().rows_before(-1), l.k, gpu::in(device, x), gpu::in(device, l.gamma),
                gpu::in(device, l.beta), static_cast<float>(l.epsilon), gpu::out(device, in),
                gpu::out<float>(device, kept.mean), gpu::out<float>(device, kept.rstd)});
  }
  const Tensor& added = l.residual ? x : Tensor();
  if (l.second) {
    Tensor hidden = empty(l.h), inner = kept.slopes.defined() ? kept.slopes : empty(l.h);
    run_product(device, in, l.w1, true, hidden, [&](gpu::Product& p) {
      p.bias = gpu::in(device, l.b1);
      p.epilogue = gpu::Epilogue::gelu, p.form = device_form(l.form), p.inner = gpu::out(device, inner);
    });
    in = hidden;
  }
  run_product(device, in, l.second ? l.w2 : l.w1, true, out, [&](gpu::Product& p) {
    p.bias = gpu::in(device, l.second ? l.b2 : l.b1);
    p.added = gpu::in(device, added);
  });
}

void row_layers_backward_on(const Device& device, const Layers& l, const Kept& kept, const Tensor& dy,
                            Tensor& dx) {
  const auto empty = [&](int64_t width) {
    return Tensor::empty(dy.shape().with(-1, width), dy.dtype(), dy.memory());
  };
  Tensor in = dy;
  if (l.second) {
    Tensor hidden = empty(l.h), inner = kept.slopes;
    run_product(device, in, l.w2, false, hidden, [&](gpu::Product& p) {
      p.epilogue = gpu::Epilogue::gelu_backward, p.form = device_form(l.form),
      p.inner = gpu::out(device, inner);
    });
    in = hidden;
  }
  if (!l.norm) {
    run_product(device, in, l.w1, false, dx,
                [&](gpu::Product& p) { p.added = l.residual ? gpu::in(device, dy) : nullptr; });
    return;
  }
  Tensor normed = empty(l.k);
  run_product(device, in, l.w1, false, normed, [](gpu::Product&) {});
  device.run(&gpu::Kernels::layer_norm_backward,
             {dy.dtype(), dy.shape().rows_before(-1), l.k, gpu::in(device, kept.x), gpu::in(device, normed),
              gpu::in(device, l.gamma), gpu::in<float>(device, kept.mean), gpu::in<float>(device, kept.rstd),
              l.residual ? gpu::in(device, dy) : nullptr, gpu::out(device, dx)});
}

// The definition, and the way for weights that are trained.
Variable composed(const Variable& x, const RowLayers& l, bool residual) {
  const Variable in = l.gamma.defined() ? layer_norm(x, l.gamma, l.beta, l.epsilon) : x;
  Variable out = linear(in, l.w1, l.b1);
  if (l.w2.defined()) out = linear(gelu(out, l.form), l.w2, l.b2);
  return residual ? add(x, out) : out;
}

void check_layers(const Variable& x, const RowLayers& l, bool residual) {
  const auto fits = [&](const Variable& v, const Shape& shape, const char* name) {
    check(v.shape() == shape && v.dtype() == x.dtype(), "row_layers: expected {} {} {}, got {} {}", name,
          shape, name_of(x.dtype()), v.shape(), name_of(v.dtype()));
  };
  check(x.shape().rank() >= 1, "row_layers: expected x (..., K), got {}", x.shape());
  check(l.w1.shape().rank() == 2, "row_layers: expected w1 (H, {}), got {}", x.dim(-1), l.w1.shape());
  const int64_t k = x.dim(-1), h = l.w1.dim(0);
  check(l.gamma.defined() == l.beta.defined() && (l.w2.defined() || !l.b2.defined()),
        "row_layers: expected gamma and beta together, and b2 only with w2");
  if (l.gamma.defined()) {
    check(k > 0 && std::isfinite(l.epsilon) && l.epsilon >= 0,
          "row_layers: expected rows of numbers and a finite epsilon >= 0, got {} and {}", x.shape(),
          l.epsilon);
    fits(l.gamma, {k}, "gamma");
    fits(l.beta, {k}, "beta");
  }
  fits(l.w1, {h, k}, "w1");
  if (l.b1.defined()) fits(l.b1, {h}, "b1");
  int64_t n = h;
  if (l.w2.defined()) {
    check(l.w2.shape().rank() == 2, "row_layers: expected w2 (N, {}), got {}", h, l.w2.shape());
    n = l.w2.dim(0);
    fits(l.w2, {n, h}, "w2");
    if (l.b2.defined()) fits(l.b2, {n}, "b2");
  }
  check(!residual || n == k, "row_layers: rows of {} cannot be added to rows of {}", n, k);
}

}  // namespace

Variable row_layers(const Variable& x, const RowLayers& l, bool residual) {
  check_layers(x, l, residual);
  for (const Variable* v : {&l.gamma, &l.beta, &l.w1, &l.b1, &l.w2, &l.b2})
    if (v->wants_gradient()) return composed(x, l, residual);
  const Layers layers{.norm = l.gamma.defined(),
                      .second = l.w2.defined(),
                      .residual = residual,
                      .gamma = l.gamma.value(),
                      .beta = l.beta.value(),
                      .w1 = l.w1.value(),
                      .b1 = l.b1.value(),
                      .w2 = l.w2.value(),
                      .b2 = l.b2.value(),
                      .epsilon = l.epsilon,
                      .form = l.form};
  const Memory memory = x.value().memory();
  const Device* device = device_of(x.value(), "row_layers");
  Tensor out = Tensor::empty(x.shape().with(-1, layers.n), x.dtype(), memory);
  Kept kept;
  if (x.wants_gradient()) {
    const int64_t m = x.shape().rows_before(-1);
    if (layers.norm) {
      kept.x = x.value();
      const DType type = device == nullptr ? x.dtype() : DType::f32;
      kept.mean = Tensor::empty({m}, type, memory);
      kept.rstd = Tensor::empty({m}, type, memory);
    }
    if (layers.second) kept.slopes = Tensor::empty(x.shape().with(-1, layers.h), x.dtype(), memory);
  }
  if (device != nullptr) {
    row_layers_forward_on(*device, x.value(), layers, kept, out);
  } else {
    dispatch(x.dtype(), "row_layers",
             [&](auto zero) { row_layers_forward<decltype(zero)>(x.value(), layers, kept, out); });
  }
  return record(std::move(out), {{x, [layers, kept](const Tensor& dy) {
                                    Tensor dx = layers.residual ? cpu::over(dy)
                                                                : Tensor::empty(dy.shape().with(-1, layers.k),
                                                                                dy.dtype(), dy.memory());
                                    if (const Device* home = dy.device()) {
                                      row_layers_backward_on(*home, layers, kept, dy, dx);
                                      return dx;
                                    }
                                    dispatch(dy.dtype(), "row_layers", [&](auto zero) {
                                      row_layers_backward<decltype(zero)>(layers, kept, dy, dx);
                                    });
                                    return dx;
                                  }}});
}

}  // namespace vitrine
