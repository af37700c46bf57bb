// attention.cu: the entries of attention: which kernel takes which sizes.
#include "engine/gpu/attention_plain.h"
#include "engine/gpu/attention_tiles.h"

namespace vitrine::gpu {

namespace {

constexpr int64_t blocks_wanted = 264;  // two for each processor of an H100: fixed, for sums depend on it

bool whole_chunks(const void* data, int64_t image, int64_t row) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && image % 8 == 0 && row % 8 == 0;
}
bool whole_chunks(const Rows& rows) { return whole_chunks(rows.data, rows.image, rows.row); }
bool whole_chunks(const MutableRows& rows) { return whole_chunks(rows.data, rows.image, rows.row); }

// Whether the kernels of attention_tiles.h take it: `rows` of shared memory, and some more bytes.
bool in_tiles(Queue* queue, const Attention& a, int64_t rows, int64_t more) {
  const bool aligned = whole_chunks(a.q) && whole_chunks(a.k) && whole_chunks(a.v) &&
                       whole_chunks(a.prefix_k) && whole_chunks(a.prefix_v) && whole_chunks(a.out, 0, 0);
  const int64_t row = 2 * a.width + 16;  // at most
  return a.dtype == DType::bf16 && aligned && a.queries > 0 &&
         rows <= static_cast<int64_t>(most_shared_bytes(queue)) / row &&
         rows * row + more <= static_cast<int64_t>(most_shared_bytes(queue));
}

// Calls f with the width as a constant if there are kernels for it; false: there are none.
template <class F>
bool with_width(int64_t width, const F& f) {
  switch (width) {
    case 16:
      return f(std::integral_constant<int, 16>{}), true;
    case 32:
      return f(std::integral_constant<int, 32>{}), true;
    case 48:
      return f(std::integral_constant<int, 48>{}), true;
    case 64:
      return f(std::integral_constant<int, 64>{}), true;
    case 80:
      return f(std::integral_constant<int, 80>{}), true;
    default:
      return false;
  }
}

// So many warps that each has the same number of turns, as far as that goes.
int threads_for(int64_t rows) {
  const int64_t steps = divided_up(rows, attend::step_rows), most = attend::most_tile_threads / warp_size;
  const int64_t turns = divided_up(steps, most);
  return static_cast<int>(turns > 0 ? divided_up(steps, turns) : 1) * warp_size;
}

}  // namespace

Result attention(Queue* queue, const Attention& a) {
  const int64_t rows = attend::whole_steps(a.queries) + 2 * attend::whole_steps(a.prefix + a.tokens);
  if (in_tiles(queue, a, rows, 0)) {
    Result result = nullptr;
    const dim3 grid(static_cast<unsigned>(a.batch * a.heads));
    const bool done = with_width(a.width, [&](auto width) {
      result = launch(queue, attend::tile_forward<width()>, grid, threads_for(a.queries),
                      static_cast<size_t>(rows * attend::Layout<width()>::row_bytes), a);
    });
    if (done) return result;
  }
  return with_type(a.dtype, [&](auto zero) {
    AttentionBackward all{};
    all.forward = a;
    return attend::plain_forward<attend::TokenPlaces<decltype(zero)>>(queue, all);
  });
}

int64_t attention_slices(Queue*, const AttentionBackward& a) {
  const bool per_image = a.forward.prefix_k.image != 0 || a.forward.prefix_v.image != 0;
  const int64_t wanted = divided_up(blocks_wanted, a.forward.heads);
  return per_image || a.forward.batch < wanted ? a.forward.batch : wanted;
}

Result attention_backward(Queue* queue, const AttentionBackward& given) {
  AttentionBackward a = given;
  if (!a.dprefix_k && !a.dprefix_v) a.slices = attention_slices(queue, a);  // nothing is cut
  if (a.slices != attention_slices(queue, a)) return "attention: another number of slices was expected";
  const Attention& f = a.forward;
  const bool prefix_alone = !a.dq.data && !a.dk.data && !a.dv.data;
  const int64_t queries = attend::whole_steps(f.queries);
  const int64_t rows = 2 * queries + 2 * attend::whole_steps(f.prefix + (prefix_alone ? 0 : f.tokens));
  const auto statistics = 2 * queries * static_cast<int64_t>(sizeof(float));
  if (in_tiles(queue, f, rows, statistics) && whole_chunks(a.dy, 0, 0) && whole_chunks(a.dq) &&
      whole_chunks(a.dk) && whole_chunks(a.dv)) {
    Result result = nullptr;
    const dim3 grid(static_cast<unsigned>(a.slices * f.heads));
    const bool done = with_width(f.width, [&](auto width) {
      const auto kernel =
          prefix_alone ? attend::tile_backward<width(), true> : attend::tile_backward<width(), false>;
      const int64_t bytes = rows * attend::Layout<width()>::row_bytes + statistics;
      result = launch(queue, kernel, grid,
                      threads_for(f.queries > f.prefix + f.tokens ? f.queries : f.prefix + f.tokens),
                      static_cast<size_t>(bytes), a);
    });
    if (done) return result;
  }
  const attend::Wanted wanted{.queries = a.dq.data != nullptr,
                              .keys = a.dk.data || a.dv.data || a.dprefix_k || a.dprefix_v,
                              .all_rows = false};
  return with_type(f.dtype, [&](auto zero) {
    return attend::plain_backward<attend::TokenPlaces<decltype(zero)>>(queue, a, wanted);
  });
}

}  // namespace vitrine::gpu
