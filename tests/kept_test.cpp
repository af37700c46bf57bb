// kept_test.cpp: what the blocks of a ViT keep for backward, to the byte: gradients flow only where a prompt needs
// them, and a rule that was never recorded can compute nothing.
#include <doctest/doctest.h>

#include "models/tuned.h"
#include "tests/op_checks.h"
#include "tests/sine_models.h"

using namespace vitrine;
using namespace vitrine::testing;

namespace {

const VitConfig small{.image_size = 32, .patch = 8, .width = 16, .depth = 3, .heads = 2, .mlp_width = 32};
constexpr int64_t batch = 2, tokens = 17, width = 16, heads = 2, hidden = 32, count = 5;
constexpr size_t map = batch * tokens * width;  // numbers in (B, T, D)

enum class Tokens { constant, learning };
enum class Block { whole, first_token };

// The bytes in the tokens' memory that a block's history holds beside its result. Prompts live elsewhere.
size_t kept_by(const VitBlock& block, Block form, Tokens kind, bool prompted) {
  const Memory memory = Memory::counted();
  const Tensor value = random_tensor({batch, tokens, width}, DType::f32, 1, memory);
  const Variable leaf = kind == Tokens::learning ? Variable::leaf(value) : Variable(value);
  const size_t before = memory.statistics().current;
  Variable x = scale(leaf, 1);
  const Variable prompts =
      prompted ? Variable::leaf(random_tensor({count, width}, DType::f32, 2)) : Variable();
  const Variable y = form == Block::whole ? block(x, prompts, {}) : block.first_token(x, prompts, {});
  x = {};
  return memory.statistics().current - before - y.value().bytes();
}

}  // namespace

TEST_CASE("kept: a block keeps what its gradients need, and nothing where no prompt asks") {
  const Vit vit(small, frozen(sine_vit(small)));
  const VitBlock& block = vit.blocks()[0];
  const size_t row_statistics = 2 * batch * tokens,               // of a norm
      sums = batch * heads * tokens,                              // of softmax
      second_half = map + row_statistics + map / width * hidden;  // its input; gelu's slopes
  // qkv; attention's input, the norm of x, is not kept
  CHECK(kept_by(block, Block::whole, Tokens::learning, true) ==
        4 * (map + row_statistics + 3 * map + sums + second_half));
  CHECK(kept_by(block, Block::whole, Tokens::learning, false) ==
        4 * (map + row_statistics + 3 * map + sums + second_half));
  // The first block: neither x nor its norm's statistics; queries and attention's result in place of the tokens'
  // keys and values.
  CHECK(kept_by(block, Block::whole, Tokens::constant, true) == 4 * (map + map + sums + second_half));
  CHECK(kept_by(block, Block::whole, Tokens::constant, false) == 0);
  // The last one: x; per head the absorbed query and a weight for each row; the second half of one row.
  const auto last = [&](int64_t rows) {
    return 4 * (map + static_cast<size_t>(batch * heads * (width + rows) + batch * (width + 2 + hidden)));
  };
  CHECK(kept_by(block, Block::first_token, Tokens::learning, true) == last(tokens + count));
  CHECK(kept_by(block, Block::first_token, Tokens::learning, false) == last(tokens));
  CHECK(kept_by(block, Block::first_token, Tokens::constant, false) == 0);
}

TEST_CASE("kept: the trimmed first block gives its prompts the gradients of one whose tokens learn") {
  const Vit vit(small, frozen(sine_vit(small), DType::f64));
  const Tensor dy = normal({batch, tokens, width}, 3);
  for (const bool first_token : {false, true}) {
    std::vector<Tensor> gradients;
    for (const bool learning : {false, true}) {
      const Tensor value = normal({batch, tokens, width}, 1);
      const Variable x = learning ? Variable::leaf(value) : Variable(value),
                     prompts = Variable::leaf(normal({count, width}, 2));
      const VitBlock& block = vit.blocks()[1];
      if (first_token) {
        backward(block.first_token(x, prompts, {}), normal({batch, 1, width}, 3));
      } else {
        backward(block(x, prompts, {}), dy);
      }
      gradients.push_back(prompts.gradient());
    }
    check_close(values(gradients[0]), values(gradients[1]), 1e-12);
  }
}

TEST_CASE("kept: windows of constant tokens keep queries, result and sums for their prefix") {
  const Memory memory = Memory::counted();
  const WindowGrid grid{.rows = 5, .columns = 7, .window = 3, .shift = 1};
  const Tensor qkv = random_tensor({2, 35, 18}, DType::f32, 1, memory),
               table = normal({25, 2}, 2, DType::f32);
  const KeyValuePrefix prefix{Variable::leaf(normal({4, 6}, 3, DType::f32)), normal({4, 6}, 4, DType::f32)};
  const size_t before = memory.statistics().current;
  Variable given = scale(qkv, 1);
  const Variable y = window_attention(given, table, 2, grid, prefix);
  given = {};
  const size_t windows = 2 * 3;
  CHECK(memory.statistics().current - before == 4 * (2 * 35 * 6 + 2 * 35 * 6 + 2 * windows * 2 * 9));
}
