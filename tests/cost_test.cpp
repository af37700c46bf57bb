// cost_test.cpp: the closed count of a step's products against a walk that multiplies nothing but counts every
// product op by op, in the order of the nets' code, with gradients wanted where the graph would want them.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "models/cost.h"

using namespace vitrine;

namespace {

// A value is its rows and whether it wants a gradient.
struct Rows {
  int64_t count = 0, width = 0;
  bool wanted = false;
};

// Counts forward at once, and backward when it is run.
class Tape {
 public:
  int64_t forward = 0, backward = 0;

  // x w^T: backward is one product for x if it wants it and one for w if it is trained.
  Rows linear(const Rows& x, int64_t out, bool trained = false) {
    forward += multiply(x.count, out, x.width);
    if (x.wanted) rules_.push_back([=] { return multiply(x.count, x.width, out); });
    if (trained) rules_.push_back([=] { return multiply(out, x.width, x.count); });
    return {x.count, out, x.wanted || trained};
  }
  // Of `images` groups, each with so many queries, own keys and keys of a prefix, all heads together: their
  // widths add up to q.width.
  Rows attention(const Rows& q, const Rows& tokens, const Rows& prefix, int64_t groups, int64_t queries,
                 int64_t own, int64_t shared) {
    const int64_t d = q.width;
    for (int64_t g = 0; g < groups; ++g) {
      forward += multiply(queries, own + shared, d);  // scores
      forward += multiply(queries, d, own + shared);  // weighted sum
      if (!q.wanted && !tokens.wanted && !prefix.wanted) continue;
      rules_.push_back([=] {
        const bool all = q.wanted || tokens.wanted;
        const int64_t keys = all ? own + shared : shared;  // others get no gradient
        int64_t sum = multiply(queries, keys, d);          // scores again
        sum += multiply(queries, keys, d);                 // of the weights
        sum += multiply(keys, d, queries);                 // of the keys
        sum += multiply(keys, d, queries);                 // of the values
        if (all) sum += multiply(queries, d, keys);        // of the queries
        return sum;
      });
    }
    return {q.count, d, q.wanted || tokens.wanted || prefix.wanted};
  }
  // One query per image, first of its tokens, over normalised rows: none is projected to a key or a value.
  Rows first_token_attention(const Rows& x, const Rows& prompts, int64_t batch, int64_t heads) {
    const int64_t d = x.width, head = d / heads, keys = x.count / batch + prompts.count;
    for (int64_t b = 0; b < batch; ++b) {
      forward += multiply(1, d, d);  // the query
      for (int64_t h = 0; h < heads; ++h) {
        forward += multiply(1, d, head);  // what it asks of the rows
        forward += multiply(1, keys, d);  // scores
        forward += multiply(1, d, keys);  // weighted sum of rows
        forward += multiply(1, head, d);  // its value
      }
      rules_.push_back([=] {
        int64_t sum = 0;
        for (int64_t h = 0; h < heads && (x.wanted || prompts.wanted); ++h) {
          sum += multiply(1, d, head);  // of the weighted sum
          sum += multiply(1, keys, d);  // of the weights
          const int64_t wanted = x.wanted ? keys : prompts.count;
          sum += 2 * multiply(wanted, d, 1);  // of the rows: through the scores, and through the sum
          if (x.wanted) sum += multiply(1, d, keys) + multiply(1, head, d);  // of what is asked, of the query
        }
        return sum + (x.wanted ? multiply(1, d, d) : 0);  // of the first row
      });
    }
    return {batch, d, x.wanted || prompts.wanted};
  }
  TuningCost finish() {
    for (const auto& rule : rules_) backward += rule();
    return {forward, backward};
  }

 private:
  // Each element of the result is a sum over k.
  static int64_t multiply(int64_t m, int64_t n, int64_t k) {
    int64_t sum = 0;
    for (int64_t i = 0; i < m; ++i) sum += n * k;
    return sum;
  }
  std::vector<std::function<int64_t()>> rules_;
};

Rows sum_of(const Rows& x, const Rows& y) {
  REQUIRE((x.count == y.count && x.width == y.width));
  return {x.count, x.width, x.wanted || y.wanted};
}

TuningCost walk(const VitConfig& c, int64_t prompts, int64_t batch) {
  Tape tape;
  const int64_t d = c.width, t = c.tokens();
  tape.linear({batch * c.patches(), 3 * c.patch * c.patch}, d);
  Rows x{batch * t, d};
  for (int64_t i = 0; i < c.depth; ++i) {
    const Rows own{prompts, d, prompts > 0};
    const auto prefix = [&] {
      const Rows keys = tape.linear(own, d), values = tape.linear(own, d);
      return Rows{prompts, d, keys.wanted || values.wanted};
    };
    Rows attended;
    if (i + 1 < c.depth || c.pooling != Pooling::token) {
      const Rows qkv = tape.linear(x, 3 * d), q{qkv.count, d, qkv.wanted};
      attended = tape.attention(q, q, prefix(), batch, t, t, prompts);
    } else if (c.distillation_token) {
      const Rows first{2 * batch, d, x.wanted}, q = tape.linear(first, d), keys = tape.linear(x, d);
      tape.linear(x, d);  // values
      attended = tape.attention(q, keys, prefix(), batch, 2, t, prompts);
      x = first;
    } else {
      attended = tape.first_token_attention(x, own, batch, c.heads);
      x = {batch, d, x.wanted};
    }
    x = sum_of(x, tape.linear(attended, d));
    const Rows inner{x.count, c.mlp_width, x.wanted};
    tape.linear(x, c.gated_mlp ? 2 * c.mlp_width : c.mlp_width);
    x = sum_of(x, tape.linear(inner, d));
  }
  if (c.pooling == Pooling::map) {
    const Rows patches{batch * c.patches(), d, x.wanted}, kv = tape.linear(patches, 2 * d);
    tape.linear({1, d}, d);
    const Rows found = tape.linear(
        tape.attention({batch, d}, {kv.count, d, kv.wanted}, {0, d}, batch, 1, c.patches(), 0), d);
    x = sum_of(found, tape.linear(tape.linear(found, c.mlp_width), d));
  }
  tape.linear({batch, d, x.wanted}, c.classes, true);
  return tape.finish();
}

// Maps whose sides are whole windows.
TuningCost walk(const SwinConfig& c, int64_t prompts, int64_t batch) {
  Tape tape;
  int64_t side = c.image_size / c.patch, d = c.width, block = 0;
  tape.linear({batch * side * side, 3 * c.patch * c.patch}, d);
  bool wanted = false;
  for (int64_t s = 0; s < c.stages(); ++s) {
    for (int64_t i = 0; i < c.depths[s]; ++i, ++block) {
      const bool full = block + 1 == c.blocks();
      Rows prefix;
      if (!full) {
        const Rows own{prompts, d, prompts > 0};
        const Rows keys = tape.linear(own, d), values = tape.linear(own, d);
        prefix = {prompts, d, keys.wanted || values.wanted};
      }
      const int64_t slots = c.window * c.window, windows = batch * side * side / slots;
      const int64_t more = full ? prompts : 0;
      Rows x{batch * (side * side + more), d, wanted || more > 0};
      const Rows qkv = tape.linear(x, 3 * d), q{qkv.count, d, qkv.wanted};
      const Rows attended =
          tape.attention(q, q, prefix, windows, slots + more, slots + more, full ? 0 : prompts);
      x = sum_of(x, tape.linear(attended, d));
      x = sum_of(x, tape.linear(tape.linear(x, c.mlp_ratio * d), d));
      wanted = x.wanted;
    }
    if (s + 1 == c.stages()) break;
    side /= 2;
    tape.linear({batch * side * side, 4 * d, wanted}, 2 * d);
    d *= 2;
  }
  tape.linear({batch, d, wanted}, c.classes, true);
  return tape.finish();
}

template <class Config>
void check_same(const Config& config) {
  for (const int64_t prompts : {0, 1, 50})
    for (const int64_t batch : {1, 3}) {
      CAPTURE(prompts);
      CAPTURE(batch);
      const TuningCost closed = tuning_cost(config, prompts, batch), walked = walk(config, prompts, batch);
      CHECK(closed.forward == walked.forward);
      CHECK(closed.backward == walked.backward);
    }
}

}  // namespace

TEST_CASE("cost: the closed count is that of a walk through the net") {
  VitConfig vit = vit_preset("vit-ti16");
  check_same(vit);
  check_same(vit_preset("vit-b16"));
  vit.depth = 1;  // the first block is the last
  check_same(vit);
  vit.depth = 3;
  vit.pooling = Pooling::mean;
  check_same(vit);
  vit.class_token = false;
  vit.registers = 4;
  vit.gated_mlp = true;
  check_same(vit);
  vit.pooling = Pooling::map;
  check_same(vit);
  vit.class_token = vit.distillation_token = true;
  vit.pooling = Pooling::token;
  check_same(vit);
  SwinConfig swin = swin_preset("swin-t");
  check_same(swin);
  swin.depths = {1, 2, 1, 1};
  swin.classes = 7;
  check_same(swin);
}

TEST_CASE("cost: without prompts forward is multiply_accumulates less what the last block spares") {
  for (const char* name : {"vit-ti16", "vit-b16", "vit-l14"}) {
    const VitConfig c = vit_preset(name);
    const int64_t d = c.width, t = c.tokens();
    const int64_t block = t * (4 * d * d + 2 * d * c.mlp_width) + 2 * t * t * d;
    const int64_t spared = block - (4 * d * d + 2 * d * c.mlp_width + 2 * c.heads * t * d);
    CHECK(tuning_cost(c, 0, 5).forward == 5 * (multiply_accumulates(c) - spared));
    CHECK(tuning_cost(c, 0, 5).backward == 5 * d * c.classes);  // the head's weight alone
  }
  const SwinConfig swin = swin_preset("swin-b");
  CHECK(tuning_cost(swin, 0, 2).forward == 2 * multiply_accumulates(swin));
}

TEST_CASE("cost: refusals") {
  CHECK_THROWS_WITH_AS(tuning_cost(VitConfig{}, -1, 1), doctest::Contains("prompts"), Error);
  CHECK_THROWS_WITH_AS(tuning_cost(VitConfig{.patch = 15}, 1, 1), doctest::Contains("patch"), Error);
}
