// products.cpp: the ceilings, and the products of a ViT's block.
#include "cases.h"
#include "engine/text.h"

namespace vitrine::bench {

namespace {

using gpu::Epilogue;
using gpu::GeluForm;

struct Shape3 {
  int64_t m, n, k;
};

struct Extras {
  bool bias = false, added = false;
  Epilogue epilogue = Epilogue::none;
  GeluForm form = GeluForm::erf;
};

// The weight of a linear layer is stored (out, in): forward takes it transposed, backward as it is.
enum class Weight { transposed, plain };

Call product_call(const Operands& o, const Shape3& s, Weight weight, const Extras& extras) {
  const auto [m, n, k] = s;
  const Tensor a = o.random({m, k}, DType::bf16);
  const Tensor b = o.random(weight == Weight::transposed ? Shape{n, k} : Shape{k, n}, DType::bf16, 0.02);
  const Tensor bias = extras.bias ? o.random({n}, DType::bf16) : Tensor();
  const Tensor added = extras.added ? o.random({m, n}, DType::bf16) : Tensor();
  Tensor out = o.empty({m, n}, DType::bf16), inner;
  if (extras.epilogue != Epilogue::none) inner = o.random({m, n}, DType::bf16);
  gpu::Product p = gpu::product_of(o.device(), a, b, out);
  p.m = m, p.n = n, p.k = k;
  p.a.step = k, p.out_step = n;
  p.b.transposed = weight == Weight::transposed;
  p.b.step = p.b.transposed ? k : n;
  p.bias = gpu::in(o.device(), bias);
  p.added = gpu::in(o.device(), added);
  p.epilogue = extras.epilogue;
  p.form = extras.form;
  p.inner = gpu::out(o.device(), inner);
  return [&device = o.device(), p, kept = std::vector{a, b, bias, added, out, inner}] {
    device.run(&gpu::Kernels::product, p);
  };
}

Case product_case(const std::string& group, const std::string& what, const Shape3& s, Weight weight,
                  const Extras& extras) {
  const auto [m, n, k] = s;
  const double inputs = static_cast<double>(m * k + k * n + (extras.bias ? n : 0));
  const int of_out = 1 + (extras.added ? 1 : 0) + (extras.epilogue != Epilogue::none ? 1 : 0);
  return {.group = group,
          .name = text("{} {}x{}x{}", what, m, n, k),
          .bytes = bf16_bytes * (inputs + of_out * static_cast<double>(m * n)),
          .flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
          .make = [=](const Operands& o) { return product_call(o, s, weight, extras); },
          .product = {1, m, n, k, static_cast<int64_t>(extras.epilogue), weight == Weight::transposed,
                      extras.added, extras.bias}};
}

}  // namespace

std::vector<Case> ceilings(const Sizes& sizes) {
  const auto bytes = static_cast<int64_t>(sizes.copied);
  const auto copied = [=](bool by_kernel) {
    return [=](const Operands& o) -> Call {
      const Tensor from = o.random({bytes / 4}, DType::f32);
      Tensor to = o.empty({bytes / 4}, DType::f32);
      if (by_kernel) return [from, to]() mutable { gpu::move(from, to); };
      return [&device = o.device(), from, to]() mutable {
        device.copy(to.mutable_address(), from.address(), from.bytes());
      };
    };
  };
  const std::string size = text(" {} MiB", bytes >> 20);
  const Extras none;
  const Shape3 square{sizes.square, sizes.square, sizes.square};
  return {{.group = "ceiling",
           .name = "copy" + size,
           .bytes = 2.0 * static_cast<double>(bytes),
           .flops = 0,
           .make = copied(false)},
          {.group = "ceiling",
           .name = "copy by a kernel" + size,
           .bytes = 2.0 * static_cast<double>(bytes),
           .flops = 0,
           .make = copied(true)},
          product_case("ceiling", "product", square, Weight::transposed, none)};
}

std::vector<Case> product_cases(const Sizes& sizes) {
  const int64_t m = sizes.rows(), d = sizes.width, hidden = 4 * d;
  const Extras none, bias{.bias = true}, residual{.bias = true, .added = true}, added{.added = true};
  const auto with = [](bool has_bias, Epilogue epilogue, GeluForm form) {
    return Extras{.bias = has_bias, .added = false, .epilogue = epilogue, .form = form};
  };
  const auto forward = [&](const char* what, int64_t n, int64_t k, const Extras& extras) {
    return product_case("product", what, {m, n, k}, Weight::transposed, extras);
  };
  const auto backward = [&](const char* what, int64_t n, int64_t k, const Extras& extras) {
    return product_case("product", what, {m, n, k}, Weight::plain, extras);
  };
  return {
      forward("qkv", 3 * d, d, bias),
      forward("proj", d, d, bias),
      forward("proj + residual", d, d, residual),
      forward("fc1", hidden, d, bias),
      forward("fc1, gelu (tanh)", hidden, d, with(true, Epilogue::gelu, GeluForm::tanh)),
      forward("fc1, gelu (erf)", hidden, d, with(true, Epilogue::gelu, GeluForm::erf)),
      forward("fc2", d, hidden, bias),
      forward("fc2 + residual", d, hidden, residual),
      backward("fc2 backward", hidden, d, none),
      backward("fc2 backward, gelu' (tanh)", hidden, d, with(false, Epilogue::gelu_backward, GeluForm::tanh)),
      backward("fc2 backward, gelu' (erf)", hidden, d, with(false, Epilogue::gelu_backward, GeluForm::erf)),
      backward("fc1 backward", d, hidden, none),
      backward("fc1 backward + residual", d, hidden, added),
      backward("proj backward", d, d, none),
      backward("qkv backward", d, 3 * d, none),
      backward("qkv backward + residual", d, 3 * d, added)};
}

}  // namespace vitrine::bench
