// attention_places.h: where the rows of one head lie, for attention over tokens: what the kernels of attention_plain.h and
// attention_tiles.h ask for. attention_windows.h answers the same questions for Swin's windows.
//
// An item is what is attended to at once: an image, or a window of one. Its keys are counted from the prefix on.
#pragma once

#include "engine/gpu/port.h"

namespace vitrine::gpu::attend {

constexpr float log2_e = 1.4426950408889634f, ln_2 = 0.6931471805599453f;

// A row that was left by forward: rounded to T, or kept as f32. Null: none, zeros.
template <class T>
struct Source {
  const T* elements = nullptr;
  const float* sums = nullptr;
  __device__ float at(int column) const {
    return elements ? widen(elements[column]) : sums ? sums[column] : 0.0f;
  }
  // Of bf16: an even column and the next.
  __device__ float2 pair_at(int column) const {
    if (elements) return unpack(*reinterpret_cast<const uint32_t*>(elements + column));
    return sums ? *reinterpret_cast<const float2*>(sums + column) : make_float2(0, 0);
  }
};

// Where a row is to be written. Null: nowhere.
template <class T>
struct Target {
  T* elements = nullptr;
  float* sums = nullptr;
  bool add = false;      // to what stands in `sums`
  bool padding = false;  // it is the row of a place that was filled up
  __device__ void put(int column, float x) const {
    if (elements) elements[column] = narrow<T>(x);
    if (sums) sums[column] = add ? sums[column] + x : x;
  }
};

// How many of what.
struct Extent {
  int64_t items, heads, width, queries, keys;  // of one item
};

// Whether whole chunks of rows can be copied: what lies at `data`, and the steps between its rows, is a multiple of 16
// bytes for bf16.
inline bool whole_chunks(const void* data, int64_t image, int64_t row) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && image % 8 == 0 && row % 8 == 0;
}
inline bool whole_chunks(const Rows& rows) { return whole_chunks(rows.data, rows.image, rows.row); }
inline bool whole_chunks(const MutableRows& rows) { return whole_chunks(rows.data, rows.image, rows.row); }

// What the kernels of attention_tiles.h add to the scores, all in powers of 2, and what they keep of it in shared memory.
// This one adds nothing.
struct NoBias {
  struct Mark {};  // what it knows of a row
  template <class Arguments>
  static int64_t bytes(const Arguments&) {
    return 0;
  }
  template <class Arguments>
  __device__ NoBias(const Arguments&, int64_t, unsigned char*) {}
  template <class Places>
  __device__ void mark_rows(const Places&) {}
  __device__ Mark of_query(int) const { return {}; }
  __device__ Mark of_key(int) const { return {}; }
  __device__ float add(float score, Mark, Mark) const { return score; }
};

template <class Element>
struct TokenPlaces {
  using T = Element;
  using Arguments = AttentionBackward;
  struct Spot {};  // what the score of a query and a key depends on but their rows: nothing
  using Bias = NoBias;

  const Arguments& a;
  int64_t slice, image, head, offset;
  int queries, keys;
  bool later;  // an earlier item of the slice has written its sums

  __device__ TokenPlaces(const Arguments& arguments, int64_t of_slice, int64_t item, int64_t of_head)
      : a(arguments),
        slice(of_slice),
        image(item),
        head(of_head),
        offset(of_head * a.forward.width),
        queries(static_cast<int>(a.forward.queries)),
        keys(static_cast<int>(a.forward.prefix + (a.forward.k.data ? a.forward.tokens : 0))),
        later(a.slices > 0 && item > first_item(a, slice)) {}

  static Extent extent(const Arguments& a) {
    return {a.forward.batch, a.forward.heads, a.forward.width, a.forward.queries,
            a.forward.prefix + a.forward.tokens};
  }
  static bool aligned(const Arguments& a) {
    const Attention& f = a.forward;
    return whole_chunks(f.q) && whole_chunks(f.k) && whole_chunks(f.v) && whole_chunks(f.prefix_k) &&
           whole_chunks(f.prefix_v) && whole_chunks(f.out, 0, 0) && whole_chunks(a.dy, 0, 0) &&
           whole_chunks(a.dq) && whole_chunks(a.dk) && whole_chunks(a.dv);
  }
  // Slice s holds the items [first_item(s), first_item(s + 1)).
  __device__ static int64_t first_item(const Arguments& a, int64_t slice) {
    return a.forward.batch * slice / a.slices;
  }

  __device__ const T* at(const Rows& rows, int64_t row) const {
    return rows.data ? static_cast<const T*>(rows.data) + image * rows.image + row * rows.row + offset
                     : nullptr;
  }
  __device__ T* at(const MutableRows& rows, int64_t row) const {
    return rows.data ? static_cast<T*>(rows.data) + image * rows.image + row * rows.row + offset : nullptr;
  }
  __device__ int64_t of_query(int i) const {  // in (B, Tq, D)
    return (image * a.forward.queries + i) * a.forward.heads * a.forward.width + offset;
  }

  __device__ const T* query(int i) const { return at(a.forward.q, i); }
  __device__ const T* key(int j) const {
    const int64_t token = j - a.forward.prefix;
    return token < 0 ? at(a.forward.prefix_k, j) : at(a.forward.k, token);
  }
  __device__ const T* value(int j) const {
    const int64_t token = j - a.forward.prefix;
    return token < 0 ? at(a.forward.prefix_v, j) : at(a.forward.v, token);
  }
  __device__ const T* dy(int i) const { return static_cast<const T*>(a.dy) + of_query(i); }
  __device__ float dy_factor(int) const { return 1.0f; }  // of what reached the row of query i
  __device__ Source<T> y(int i) const {
    return {static_cast<const T*>(a.forward.out) + of_query(i), nullptr};
  }
  __device__ int64_t statistic(int i) const { return (image * a.forward.heads + head) * queries + i; }

  __device__ Spot spot_of_query(int) const { return {}; }
  __device__ Spot spot_of_key(int) const { return {}; }
  __device__ float added(Spot, Spot) const { return 0.0f; }

  __device__ Target<T> out(int i) const { return {static_cast<T*>(a.forward.out) + of_query(i)}; }
  __device__ Target<T> dq(int i) const { return {at(a.dq, i)}; }
  // The keys that a gradient asks for are the first so many.
  __device__ int keys_asked() const {
    if (a.dk.data || a.dv.data) return keys;
    return a.dprefix_k || a.dprefix_v ? static_cast<int>(a.forward.prefix) : 0;
  }
  __device__ bool queries_asked() const { return a.dq.data != nullptr; }
  __device__ Target<T> dk(int j) const { return of_key(j, a.dk, a.dprefix_k); }
  __device__ Target<T> dv(int j) const { return of_key(j, a.dv, a.dprefix_v); }
  __device__ Target<T> of_key(int j, const MutableRows& rows, float* prefix) const {
    const int64_t token = j - a.forward.prefix;
    if (token >= 0) return {at(rows, token)};
    if (!prefix) return {};
    return {nullptr, prefix + (slice * a.forward.prefix + j) * a.forward.heads * a.forward.width + offset,
            later};
  }
  __device__ float* dbias(int, int) const { return nullptr; }
  __device__ float* dpadding(int64_t) const { return nullptr; }
};

}  // namespace vitrine::gpu::attend
