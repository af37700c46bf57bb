// attention_windows.h: where the rows of one head lie, for Swin's windows (arXiv 2103.14030): the answers that
// attention_places.h gives for tokens.
//
// Nothing is tabulated: which token stands in a slot of a window, and which regions the roll brought together, is
// arithmetic on places, the same as plan_axis in engine/ops/windows.cpp. The keys of a window are the prefix, the
// prompts, its slots; its queries are the prompts, its slots.
#pragma once

#include "engine/gpu/attention_places.h"

namespace vitrine::gpu::attend {

// One axis of the map, rolled and filled up to whole windows.
struct Axis {
  int length, window, full, shift;
  bool filled_after_roll;

  __host__ __device__ Axis(int64_t extent, const WindowAttention& a)
      : length(static_cast<int>(extent)),
        window(static_cast<int>(a.window)),
        full((length + window - 1) / window * window),
        shift(full > window ? static_cast<int>(a.shift) : 0),
        filled_after_roll(a.filled_after_roll) {}
  __host__ __device__ int windows() const { return full / window; }
  // What stands at place i: a place on the map, or -1.
  __device__ int place(int i) const {
    const int around = filled_after_roll ? length : full, rolled = i + shift;
    if (i >= around) return -1;
    const int at = rolled < around ? rolled : rolled - around;
    return at < length ? at : -1;
  }
  __device__ int region(int i) const {
    return shift == 0 || i < full - window ? 0 : i < full - shift ? 1 : 2;
  }
};

// The parts into which an image's windows are cut, each a slice of the sums.
inline int64_t windows_of(const WindowAttention& a) {
  return int64_t{Axis(a.rows, a).windows()} * Axis(a.columns, a).windows();
}
// Only the prefix asks: qkv holds queries alone, and no other key is touched.
__host__ __device__ inline bool prefix_alone(const WindowAttentionBackward& a) {
  return a.dy && !a.dqkv && !a.dbias && !a.dpadding && a.forward.prompts == 0;
}

constexpr float masked = -100;  // the published models were trained with it, not with infinity

template <class Element>
struct WindowPlaces {
  using T = Element;
  using Arguments = WindowAttentionBackward;
  struct Spot {
    int y = -1, x = -1, region = 0;  // in the window; -1: a prompt or of the prefix
  };
  class Bias;

  const Arguments& a;
  Axis down, across;
  int windows, slots, lead;  // lead: keys before the slots'
  int64_t slice, item, image, head, offset, model;
  int top, left;  // of the window
  int queries, keys;
  bool alone, later;  // later: an earlier item of the slice has written its sums

  __device__ WindowPlaces(const Arguments& arguments, int64_t of_slice, int64_t of_item, int64_t of_head)
      : a(arguments),
        down(a.forward.rows, a.forward),
        across(a.forward.columns, a.forward),
        windows(down.windows() * across.windows()),
        slots(static_cast<int>(a.forward.window * a.forward.window)),
        lead(static_cast<int>(a.forward.prefix + a.forward.prompts)),
        slice(of_slice),
        item(of_item),
        image(static_cast<unsigned>(of_item) / static_cast<unsigned>(windows)),  // a grid holds no more items
        head(of_head),
        offset(of_head * a.forward.width),
        model(a.forward.heads * a.forward.width),
        top(static_cast<int>(of_item - image * windows) / across.windows() * across.window),
        left(static_cast<int>(of_item - image * windows) % across.windows() * across.window),
        queries(static_cast<int>(a.forward.prompts) + slots),
        alone(prefix_alone(a)),
        later(a.slices > 0 && item > first_item(a, slice)) {
    keys = alone ? static_cast<int>(a.forward.prefix) : lead + slots;
  }

  static Extent extent(const Arguments& a) {
    const WindowAttention& f = a.forward;
    const int64_t own = f.prompts + f.window * f.window;
    return {f.batch * windows_of(f), f.heads, f.width, own, f.prefix + own};
  }
  static bool aligned(const Arguments& a) {
    const WindowAttention& f = a.forward;
    return whole_chunks(f.qkv, 0, 0) && whole_chunks(f.padding, 0, 0) && whole_chunks(f.prefix_k) &&
           whole_chunks(f.prefix_v) && whole_chunks(f.out, 0, 0) && whole_chunks(a.dy, 0, 0) &&
           whole_chunks(a.dqkv, 0, 0);
  }
  __device__ static int64_t first_item(const Arguments& a, int64_t slice) {
    const int64_t windows =
        int64_t{Axis(a.forward.rows, a.forward).windows()} * Axis(a.forward.columns, a.forward).windows();
    const int64_t bands = a.slices / a.forward.batch;
    return slice / bands * windows + windows * (slice % bands) / bands;
  }

  // The token of prompt or slot n (queries: 0 ..), or -1.
  __device__ int64_t token(int n) const {
    const int slot = n - static_cast<int>(a.forward.prompts);
    if (slot < 0) return n;
    const int y = down.place(top + slot / down.window), x = across.place(left + slot % across.window);
    return y < 0 || x < 0 ? -1 : a.forward.prompts + y * a.forward.columns + x;
  }
  __device__ bool is_prompt(int n) const { return n < a.forward.prompts; }
  __device__ int64_t prompt_row(int n) const { return item * a.forward.prompts + n; }

  __device__ const T* of_qkv(int n, int part) const {
    const int64_t at = token(n), step = alone ? model : 3 * model;
    if (at >= 0)
      return static_cast<const T*>(a.forward.qkv) + (image * a.forward.tokens + at) * step + part * model +
             offset;
    if (part == 0 || !a.forward.padding) return nullptr;
    return static_cast<const T*>(a.forward.padding) + part * model + offset;
  }
  __device__ const T* of_prefix(const Rows& rows, int j) const {
    return static_cast<const T*>(rows.data) + image * rows.image + j * rows.row + offset;
  }
  __device__ const T* query(int i) const { return of_qkv(i, 0); }
  __device__ const T* key(int j) const {
    const int own = j - static_cast<int>(a.forward.prefix);
    return own < 0 ? of_prefix(a.forward.prefix_k, j) : of_qkv(own, 1);
  }
  __device__ const T* value(int j) const {
    const int own = j - static_cast<int>(a.forward.prefix);
    return own < 0 ? of_prefix(a.forward.prefix_v, j) : of_qkv(own, 2);
  }
  __device__ int64_t of_token(int64_t at) const { return (image * a.forward.tokens + at) * model + offset; }
  __device__ const T* dy(int i) const {
    const int64_t at = token(i);
    return at < 0 ? nullptr : static_cast<const T*>(a.dy) + of_token(at);
  }
  // The windows' answers to a prompt are averaged.
  __device__ float dy_factor(int i) const { return is_prompt(i) ? 1.0f / static_cast<float>(windows) : 1.0f; }
  __device__ Source<T> y(int i) const {
    if (is_prompt(i)) return {nullptr, a.forward.prompts_out + prompt_row(i) * model + offset};
    const int64_t at = token(i);
    if (at < 0) return {};
    return {static_cast<const T*>(a.forward.out) + of_token(at), nullptr};
  }
  __device__ int64_t statistic(int i) const { return (item * a.forward.heads + head) * queries + i; }

  __device__ Spot spot_of_query(int i) const { return spot_of_key(i + static_cast<int>(a.forward.prefix)); }
  __device__ Spot spot_of_key(int j) const {
    const int slot = j - lead;
    if (slot < 0) return {};
    const int y = slot / down.window, x = slot % across.window;
    return {y, x, 3 * down.region(top + y) + across.region(left + x)};
  }
  __device__ float added(const Spot& query, const Spot& key) const {
    if (query.y < 0 || key.y < 0) return 0;
    const int w = down.window, row = (query.y - key.y + w - 1) * (2 * w - 1) + query.x - key.x + w - 1;
    return widen(static_cast<const T*>(a.forward.bias)[row * a.forward.heads + head]) +
           (query.region == key.region ? 0.0f : masked);
  }

  __device__ Target<T> out(int i) const {
    if (is_prompt(i)) return {nullptr, a.forward.prompts_out + prompt_row(i) * model + offset};
    const int64_t at = token(i);
    if (at < 0) return {};
    return {static_cast<T*>(a.forward.out) + of_token(at)};
  }
  __device__ Target<T> dqkv(int n, int part) const {
    if (is_prompt(n)) {
      if (!a.dprompts) return {};
      return {nullptr, a.dprompts + prompt_row(n) * 3 * model + part * model + offset};
    }
    const int64_t at = token(n);
    if (at < 0) return {nullptr, nullptr, false, true};
    if (!a.dqkv) return {};
    return {static_cast<T*>(a.dqkv) + (image * a.forward.tokens + at) * 3 * model + part * model + offset};
  }
  __device__ int keys_asked() const {
    if (a.dqkv) return keys;
    return a.dprefix_k || a.dprefix_v ? static_cast<int>(a.forward.prefix) : 0;
  }
  __device__ bool queries_asked() const { return a.dqkv != nullptr; }
  __device__ Target<T> dq(int i) const { return dqkv(i, 0); }
  __device__ Target<T> dk(int j) const { return of_key(j, 1, a.dprefix_k); }
  __device__ Target<T> dv(int j) const { return of_key(j, 2, a.dprefix_v); }
  __device__ Target<T> of_key(int j, int part, float* prefix) const {
    const int own = j - static_cast<int>(a.forward.prefix);
    if (own >= 0) return dqkv(own, part);
    if (!prefix) return {};
    return {nullptr, prefix + (slice * a.forward.prefix + j) * model + offset, later};
  }
  __device__ float* dbias(int i, int j) const {
    const int from = i - static_cast<int>(a.forward.prompts), to = j - lead;
    if (!a.dbias || from < 0 || to < 0) return nullptr;
    return a.dbias + ((slice * a.forward.heads + head) * slots + from) * slots + to;
  }
  __device__ float* dpadding(int64_t part) const {
    return a.dpadding ? a.dpadding + (slice * 3 + part) * model + offset : nullptr;
  }
};

// The head's column of the table, and for each row a mark: as the row of the table is found from the difference of two
// places, each place is one number, and nothing is divided where scores are made.
template <class Element>
class WindowPlaces<Element>::Bias {
 public:
  using Mark = int;  // place + 2^16 region; -1: a prompt or of the prefix

  static int64_t bytes(const Arguments& a) {
    const int64_t side = 2 * a.forward.window - 1;
    return (side * side + rows(a)) * int64_t{sizeof(float)};
  }
  __device__ Bias(const Arguments& a, int64_t head, unsigned char* shared)
      : side_(2 * static_cast<int>(a.forward.window) - 1),
        rows_(static_cast<int>(rows(a))),
        prefix_(static_cast<int>(a.forward.prefix)),
        table_(reinterpret_cast<float*>(shared)),
        marks_(reinterpret_cast<int*>(table_ + side_ * side_)) {
    for (int i = static_cast<int>(threadIdx.x); i < side_ * side_; i += static_cast<int>(blockDim.x))
      table_[i] = log2_e * widen(static_cast<const Element*>(a.forward.bias)[i * a.forward.heads + head]);
  }
  // Behind a barrier on either side, as rows are.
  __device__ void mark_rows(const WindowPlaces& places) {
    for (int j = static_cast<int>(threadIdx.x); j < rows_; j += static_cast<int>(blockDim.x)) {
      const Spot spot = j < places.keys ? places.spot_of_key(j) : Spot{};
      marks_[j] = spot.y < 0 ? -1 : (spot.region << 16) + spot.y * side_ + spot.x;
    }
  }
  __device__ Mark of_query(int i) const { return marks_[prefix_ + i]; }
  __device__ Mark of_key(int j) const { return marks_[j]; }
  __device__ float add(float score, Mark query, Mark key) const {
    if (query < 0 || key < 0) return score;
    const float bias = table_[(query & 0xffff) - (key & 0xffff) + side_ * side_ / 2];
    return score + bias + (query >> 16 == key >> 16 ? 0.0f : log2_e * masked);
  }

 private:
  // The keys, and the queries behind the prefix, each up to a multiple of 16.
  __host__ __device__ static int64_t rows(const Arguments& a) {
    return a.forward.prefix + a.forward.prompts + a.forward.window * a.forward.window + 2 * 16;
  }

  int side_, rows_, prefix_;
  float* table_;
  int* marks_;
};

}  // namespace vitrine::gpu::attend
