// emulator_attention_test.cpp: the GPU's kernels of attention, run by the emulator, against sums in double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "engine/ops/attention.cu"
#include "tests/emulator_arrays.h"
#include "tests/emulator_queue.h"

namespace {

using namespace vitrine::testing;
using vitrine::DType;
using vitrine::Random;
namespace gpu = vitrine::gpu;

struct Case {
  std::string name;
  DType dtype;
  int64_t batch, heads, width, queries, tokens, prefix;
  bool per_image = false, joined = true;
  bool q = true, k = true, v = true, pk = true, pv = true;  // whose gradients are wanted
  int64_t odd = 0;     // elements before each row, which spoil its alignment
  double apart = 0;    // added to queries, taken from keys: the scores are far below zero
  int64_t shared = 0;  // bytes that a block can have; 0: as on an H100
  int64_t model() const { return heads * width; }
  int64_t prefix_images() const { return per_image ? batch : 1; }
  // Whether the kernels that multiply small matrices take it: all of these sizes fit into shared memory.
  bool in_tiles() const { return dtype == DType::bf16 && width % 16 == 0 && width <= 80 && odd == 0; }
  bool tokens_wanted() const { return q || k || v; }
};

struct Data {
  Doubles q, k, v, pk, pv, dy;
};

struct Found {
  Doubles out, log_sum_exp, tokens, prefix;  // tokens: the wanted ones of dq, dk, dv after each other
};

Data data_of(const Case& c) {
  Random random(7, vitrine::Purpose::init);
  Data x;
  const int64_t d = c.model();
  x.q = random_values(c.batch * c.queries * d, random, c.dtype);
  x.k = random_values(c.batch * c.tokens * d, random, c.dtype);
  x.v = random_values(c.batch * c.tokens * d, random, c.dtype);
  x.pk = random_values(c.prefix_images() * c.prefix * d, random, c.dtype);
  x.pv = random_values(c.prefix_images() * c.prefix * d, random, c.dtype);
  x.dy = random_values(c.batch * c.queries * d, random, c.dtype);
  for (double& q : x.q) q += c.apart;
  for (Doubles* keys : {&x.k, &x.pk})
    for (double& k : *keys) k -= c.apart;
  for (Doubles* rows : {&x.q, &x.k, &x.pk}) *rows = Array::of(c.dtype, *rows).values();
  return x;
}

void append(Doubles& to, const Doubles& more) { to.insert(to.end(), more.begin(), more.end()); }

Found expected_of(const Case& c, const Data& x) {
  const int64_t d = c.model(), keys = c.prefix + c.tokens, w = c.width;
  Found y;
  y.out.resize(x.q.size());
  y.log_sum_exp.resize(static_cast<size_t>(c.batch * c.heads * c.queries));
  Doubles dq(x.q.size()), dk(x.k.size()), dv(x.v.size()), dpk(x.pk.size()), dpv(x.pv.size());
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h) {
      const auto key = [&](auto& prefix, auto& tokens, int64_t j) {
        const int64_t image = c.per_image ? b : 0;
        return j < c.prefix ? &prefix[static_cast<size_t>((image * c.prefix + j) * d + h * w)]
                            : &tokens[static_cast<size_t>((b * c.tokens + j - c.prefix) * d + h * w)];
      };
      for (int64_t i = 0; i < c.queries; ++i) {
        const auto row = static_cast<size_t>((b * c.queries + i) * d + h * w);
        Doubles p(static_cast<size_t>(keys)), slope(p.size());
        double sum = 0, mean = 0;
        for (int64_t j = 0; j < keys; ++j) {
          double score = 0;
          for (int64_t e = 0; e < w; ++e) score += x.q[row + e] * key(x.pk, x.k, j)[e];
          sum += p[j] = std::exp(score / std::sqrt(static_cast<double>(w)));
        }
        y.log_sum_exp[static_cast<size_t>((b * c.heads + h) * c.queries + i)] = std::log(sum);
        for (int64_t j = 0; j < keys; ++j) {
          p[j] /= sum;
          for (int64_t e = 0; e < w; ++e) {
            y.out[row + e] += p[j] * key(x.pv, x.v, j)[e];
            slope[j] += x.dy[row + e] * key(x.pv, x.v, j)[e];
          }
          mean += p[j] * slope[j];
        }
        for (int64_t j = 0; j < keys; ++j) {
          const double ds = p[j] * (slope[j] - mean) / std::sqrt(static_cast<double>(w));
          for (int64_t e = 0; e < w; ++e) {
            dq[row + e] += ds * key(x.pk, x.k, j)[e];
            key(dpk, dk, j)[e] += ds * x.q[row + e];
            key(dpv, dv, j)[e] += p[j] * x.dy[row + e];
          }
        }
      }
    }
  if (c.q) append(y.tokens, dq);
  if (c.k) append(y.tokens, dk);
  if (c.v) append(y.tokens, dv);
  if (c.pk) append(y.prefix, dpk);
  if (c.pv) append(y.prefix, dpv);
  return y;
}

// Rows of a part, `odd` elements apart from where they would be, in an array of rows of `step` elements.
struct Placed {
  int64_t part, step, odd;
  Doubles spread(const Doubles& rows, int64_t d, Doubles to) const {
    const int64_t count = d ? static_cast<int64_t>(rows.size()) / d : 0;
    to.resize(static_cast<size_t>(count * step + odd), 0.0);
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(rows.begin() + i * d, d, to.begin() + odd + i * step + part * d);
    return to;
  }
  Doubles gather(const Doubles& from, int64_t count, int64_t d) const {
    Doubles rows;
    for (int64_t i = 0; i < count; ++i) {
      const auto first = from.begin() + odd + i * step + part * d;
      rows.insert(rows.end(), first, first + d);
    }
    return rows;
  }
};

Found found_of(const Case& c, const Data& x, gpu::Queue* queue) {
  const int64_t d = c.model();
  const Placed placed[3] = {{0, c.joined ? 3 * d : d, c.odd},
                            {c.joined ? 1 : 0, c.joined ? 3 * d : d, c.odd},
                            {c.joined ? 2 : 0, c.joined ? 3 * d : d, c.odd}};
  const Doubles* parts[3] = {&x.q, &x.k, &x.v};
  const int64_t lengths[3] = {c.queries, c.tokens, c.tokens};
  Array arrays[3], gradients[3];
  if (c.joined) {
    Doubles all;
    for (int i = 0; i < 3; ++i) all = placed[i].spread(*parts[i], d, all);
    arrays[0] = Array::of(c.dtype, all);
  } else {
    for (int i = 0; i < 3; ++i) arrays[i] = Array::of(c.dtype, placed[i].spread(*parts[i], d, {}));
  }
  const auto array_of = [&](int i) { return c.joined ? 0 : i; };
  for (int i = 0; i < 3; ++i)
    gradients[i] = Array(c.dtype, c.batch * std::max(lengths[i], c.queries) * placed[i].step + c.odd);
  const auto rows_of = [&](int i) -> gpu::Rows {
    if (lengths[i] == 0) return {};
    return {arrays[array_of(i)].at(c.odd + placed[i].part * d), lengths[i] * placed[i].step, placed[i].step};
  };
  const auto gradient_of = [&](int i, bool wanted) -> gpu::MutableRows {
    if (!wanted || lengths[i] == 0) return {};
    Array& to = gradients[array_of(i)];
    return {to.at(c.odd + placed[i].part * d), lengths[i] * placed[i].step, placed[i].step};
  };
  Array pk = Array::of(c.dtype, x.pk), pv = Array::of(c.dtype, x.pv), dy = Array::of(c.dtype, x.dy);
  Array out(c.dtype, c.batch * c.queries * d), log_sum_exp(DType::f32, c.batch * c.heads * c.queries),
      dots(DType::f32, c.batch * c.heads * c.queries);
  const int64_t image = c.per_image ? c.prefix * d : 0;
  gpu::Attention a{.dtype = c.dtype,
                   .batch = c.batch,
                   .heads = c.heads,
                   .width = c.width,
                   .queries = c.queries,
                   .tokens = c.tokens,
                   .prefix = c.prefix,
                   .q = rows_of(0),
                   .k = rows_of(1),
                   .v = rows_of(2),
                   .prefix_k = {pk.at(), image, d},
                   .prefix_v = {pv.at(), image, d},
                   .out = out.at(),
                   .log_sum_exp = log_sum_exp.floats()};
  REQUIRE(done(queue, gpu::attention(queue, a)) == "");
  Found y{out.values(), log_sum_exp.values(), {}, {}};

  if (!c.tokens_wanted()) a.k.data = a.v.data = nullptr;
  gpu::AttentionBackward back{.forward = a,
                              .dy = dy.at(),
                              .dq = gradient_of(0, c.q),
                              .dk = gradient_of(1, c.k),
                              .dv = gradient_of(2, c.v),
                              .dprefix_k = nullptr,
                              .dprefix_v = nullptr,
                              .slices = 0,
                              .dots = dots.floats()};
  float some = 0;  // a place that says that something is wanted, until it is known how much
  if (c.prefix && c.pk) back.dprefix_k = &some;
  if (c.prefix && c.pv) back.dprefix_v = &some;
  if (back.dprefix_k || back.dprefix_v) back.slices = gpu::attention_slices(queue, back);
  Array dpk(DType::f32, back.slices * c.prefix * d), dpv(DType::f32, back.slices * c.prefix * d);
  if (back.dprefix_k) back.dprefix_k = dpk.floats();
  if (back.dprefix_v) back.dprefix_v = dpv.floats();
  REQUIRE(done(queue, gpu::attention_backward(queue, back)) == "");
  CHECK((out.values() == y.out && log_sum_exp.values() == y.log_sum_exp));  // forward's are left alone

  const bool wanted[3] = {c.q, c.k, c.v};
  for (int i = 0; i < 3; ++i)
    if (wanted[i] && lengths[i])
      append(y.tokens, placed[i].gather(gradients[array_of(i)].values(), c.batch * lengths[i], d));
  for (Array* sums : {&dpk, &dpv}) {
    if (!(sums == &dpk ? c.pk : c.pv)) continue;
    const Doubles slices = sums->values();
    Doubles all(static_cast<size_t>(c.prefix_images() * c.prefix * d));
    if (c.per_image) CHECK(slices.size() == all.size());
    for (size_t i = 0; i < slices.size(); ++i) all[i % all.size()] += slices[i];
    append(y.prefix, all);
  }
  return y;
}

bool same_bits(const Doubles& a, const Doubles& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

void check_case(const Case& c) {
  CAPTURE(c.name);
  CAPTURE(c.dtype == DType::bf16);
  CAPTURE(c.width);
  CAPTURE(c.queries);
  CAPTURE(c.prefix);
  const Data x = data_of(c);
  const Found expected = expected_of(c, x);
  const Tolerance most = tolerance_of(c.dtype);
  Found first;
  for (const std::string order : {"forward", "reverse"}) {
    CAPTURE(order);
    EmulatorQueue queue(order, "", "", "", c.shared ? std::to_string(c.shared) : "");
    const Found found = found_of(c, x, queue);
    if (c.in_tiles()) CHECK(sentence(gpu::take_note(queue)) == "");
    const gpu::emulator::Counts counts = static_cast<gpu::Queue*>(queue)->machine.counts();
    CHECK((counts.products > 0) == c.in_tiles());
    CHECK(counts.bank_conflicts == 0);
    CHECK(error_of(expected.out, found.out) < most.out);
    CHECK(error_of(expected.log_sum_exp, found.log_sum_exp) < most.log_sum_exp);
    CHECK(error_of(expected.tokens, found.tokens) < most.tokens);
    CHECK(error_of(expected.prefix, found.prefix) < most.prefix);
    if (order == "forward") {
      first = found;
    } else {  // equal calls give equal bits
      CHECK(same_bits(first.out, found.out));
      CHECK(same_bits(first.log_sum_exp, found.log_sum_exp));
      CHECK(same_bits(first.tokens, found.tokens));
      CHECK(same_bits(first.prefix, found.prefix));
    }
  }
}

}  // namespace

TEST_CASE("attention on a GPU: sizes") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t width : {1, 6, 32, 64, 80}) check_case({"widths", dtype, 1, 1, width, 49, 49, 10});
    for (const int64_t width : {16, 48}) check_case({"more widths", dtype, 1, 2, width, 33, 33, 17});
    for (const int64_t prefix : {0, 1, 50}) check_case({"prefixes", dtype, 2, 2, 32, 49, 49, prefix});
    for (const int64_t tokens : {1, 17, 64}) check_case({"lengths", dtype, 2, 1, 32, tokens, tokens, 1});
    check_case({"ViT-B", dtype, 1, 1, 64, 197, 197, 50});
    check_case({"ViT-H", dtype, 1, 1, 80, 257, 257, 10});
    check_case({"more images than slices", dtype, 5, 70, 16, 33, 33, 3});
    check_case({"wide heads", dtype, 1, 1, 256, 20, 20, 3});
    check_case({"odd and wide", dtype, 1, 2, 131, 20, 20, 3});
  }
}

TEST_CASE("attention on a GPU: rows by turns where a block has less shared memory") {
  const auto check_with = [](Case c, int64_t shared) {
    c.shared = shared;
    check_case(c);
  };
  // Forward whole; backward by two warps.
  check_with({"small", DType::bf16, 2, 2, 32, 49, 49, 10}, 16'000);
  check_with({"more images than slices", DType::bf16, 5, 70, 16, 33, 33, 3}, 9'000);
  // Both by two warps.
  check_with({"one warp has two turns", DType::bf16, 1, 1, 16, 70, 70, 0}, 11'400);
  check_with({"ViT-B, 100 prompts", DType::bf16, 1, 1, 64, 197, 197, 100}, 99 << 10);
  // Backward by all warps, as on a card of compute capability 8.6, 8.9 or 12.0.
  check_with({"ViT-B", DType::bf16, 1, 1, 64, 197, 197, 50}, 99 << 10);
  check_with({"384 pixels", DType::bf16, 1, 1, 64, 577, 577, 50}, 0);
  for (const bool per_image : {false, true}) {
    Case alone{"prefix alone", DType::bf16, 3, 2, 32, 49, 0, 48};
    alone.joined = alone.q = false;
    alone.per_image = per_image;
    check_with(alone, 16'000);
  }
}

TEST_CASE("attention on a GPU: scores far below zero") {  // e to the minus score is more than f32 can hold
  for (const int64_t width : {6, 32}) {
    Case c{"far below", DType::bf16, 2, 1, width, 37, 37, 5};
    c.apart = 8;
    check_case(c);
  }
}

TEST_CASE("attention on a GPU: where its operands lie") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t width : {6, 32}) {
      Case c{"per image", dtype, 3, 2, width, 20, 20, 5};
      c.per_image = true;
      check_case(c);
      c.name = "operands apart";
      c.joined = false;
      c.queries = 33;
      check_case(c);
      c.name = "no alignment";
      c.odd = 1;
      check_case(c);
      c.odd = 0;
      c.name = "prefix alone is attended to";
      c.tokens = 0;
      check_case(c);
    }
    Case c{"the widest heads", dtype, 2, 2, 256, 35, 35, 2};
    check_case(c);
  }
}

TEST_CASE("attention on a GPU: gradients that are wanted") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int64_t width : {6, 64}) {
      for (unsigned wanted = 1; wanted < 32; ++wanted) {
        Case c{"wanted: " + std::to_string(wanted), dtype, 2, 1, width, 18, 18, 5};
        c.joined = false;
        c.q = wanted & 1, c.k = wanted & 2, c.v = wanted & 4, c.pk = wanted & 8, c.pv = wanted & 16;
        check_case(c);
      }
      Case c{"prefix alone", dtype, 3, 2, width, 49, 49, 21};
      c.q = c.k = c.v = false;
      check_case(c);
    }
}
