// hello_tensor.cpp: a tour of tensors, the plain data that all else here is made of. Every claim is checked.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "engine/ops.h"

using namespace vitrine;

// Prints a claim with a tick; if it is false, the tour ends here.
static void must(bool condition, const char* claim) {
  std::printf("  %s %s\n", condition ? "✓" : "✗ FALSE:", claim);
  if (!condition) std::exit(1);
}

// What an error says when `action` is refused; empty if it is not.
template <class F>
static std::string refusal(F action) {
  try {
    action();
    return {};
  } catch (const Error& error) {
    std::printf("  the engine says: \"%s\"\n", error.what());
    return error.what();
  }
}

static void tour() {
  std::puts("1. A tensor is a shape, a type, and one block of memory");
  Tensor table = Tensor::of<float>({2, 3}, {1, 2, 3,  //
                                            4, 5, 6});
  must(table.numel() == 6 && table.bytes() == 24, "2 x 3 numbers of 4 bytes take 24 bytes");
  must(table.data<float>()[1 * 3 + 2] == 6, "row by row: row 1, column 2 is number 1 * 3 + 2 of the block");
  must(!refusal([&] { table.data<double>(); }).empty(), "who asks for another type than it holds is refused");

  std::puts("\n2. Copies and views share the block; only clone() makes a new one");
  Tensor copy = table, column = table.reshape({6, 1}), second_row = table.rows(1, 2), clone = table.clone();
  copy.mutable_data<float>()[5] = 60;
  must(table.data<float>()[5] == 60, "what is written through a copy is seen in the original,");
  must(column.data<float>()[5] == 60 && second_row.data<float>()[2] == 60,
       "and in a reshape and a row of it,");
  must(clone.data<float>()[5] == 6, "but not in a clone");

  std::puts("\n3. Sealing puts the block behind glass, for good");
  const Tensor sealed = clone.seal();
  must(!refusal([&] { clone.mutable_data<float>()[0] = 0; }).empty(), "no older handle can write it either");
  must(sealed.data<float>()[0] == 1, "and it can still be read");

  std::puts("\n4. Memory belongs to whoever gave it, to the byte");
  const Memory pool = Memory::counted(100);  // at most 100 bytes
  {
    const Tensor a = Tensor::full({2, 3}, 1, DType::f32, pool);
    must(pool.statistics().current == 24, "a tensor takes its 24 bytes from the pool that it was given");
    const Variable sum = add(a, a);
    must(pool.statistics().current == 48, "the result of an op lives where the op's first argument lives");
    must(!refusal([&] { Tensor::zeros({4, 4}, DType::f32, pool); }).empty(), "64 more would pass the limit");
  }
  must(pool.statistics().current == 0 && pool.statistics().peak == 48,
       "when the last handle goes, so do they");

  std::puts("\n5. Ops compute new tensors");
  const Tensor ten = Tensor::of<float>({3}, {10, 20, 30});
  const Tensor sum = add(sealed, ten).value();
  must(sum.shape() == Shape{2, 3} && sum.data<float>()[0] == 11 && sum.data<float>()[3] == 14,
       "a row (3) is added to each row of a table (2, 3)");
  const Tensor product = matmul(sealed, ten.reshape({3, 1})).value();
  must(product.shape() == Shape{2, 1} && product.data<float>()[0] == 1 * 10 + 2 * 20 + 3 * 30,
       "(2, 3) times (3, 1) is (2, 1): a row times a column is the sum of their products");
  const Tensor share = softmax(Tensor::of<double>({2}, {0, std::log(3.0)})).value();
  must(std::abs(share.data<double>()[0] - 0.25) < 1e-12,
       "softmax turns scores into shares: e^0 : e^(log 3) = 1 : 3");
  must(!refusal([&] { matmul(sealed, sealed); }).empty(),
       "what does not fit is refused in words, not by a crash");

  std::puts("\n6. Half-width numbers are for storage");
  const Tensor third = Tensor::full({1}, 1.0 / 3, DType::f32), stored = third.to(DType::bf16);
  must(stored.bytes() == 2, "a bf16 number takes 2 bytes instead of 4");
  const double error = std::abs(stored.to(DType::f32).item() - third.item());
  must(error > 0 && error <= third.item() / 256, "and keeps 8 binary digits: an error of at most 1 in 256");
}

int main() try {
  tour();
  std::puts("\nNext: hello_gradient, where numbers remember where they came from.");
} catch (const Error& error) {
  std::printf("  ✗ refused: %s\n", error.what());
  return 1;
}
