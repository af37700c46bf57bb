// window_attention.cu: the entries of Swin's window attention, and the gradient of its table.
#include "engine/gpu/attention_plain_backward.h"
#include "engine/gpu/attention_tiles_backward.h"
#include "engine/gpu/attention_tiles_forward.h"
#include "engine/gpu/attention_windows.h"

namespace vitrine::gpu {

namespace {

constexpr int64_t blocks_wanted =
    1056;  // 8 for each of the 132 processors of an H100: fixed, for sums depend on it

// A thread for each entry (distance, head), in the order of the pairs of slots that have the distance.
template <class T>
__global__ void table_kernel(WindowTable a) {
  const int64_t w = a.window, side = 2 * w - 1;
  const int64_t entry = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (entry >= side * side * a.heads) return;
  const int64_t head = entry % a.heads, row = entry / a.heads;
  const int64_t down = row / side - (w - 1), across = row % side - (w - 1);  // from the key to the query
  const float* from = a.dbias + head * w * w * w * w;
  float sum = 0;
  for (int64_t y = down > 0 ? down : 0; y < w && y - down < w; ++y)
    for (int64_t x = across > 0 ? across : 0; x < w && x - across < w; ++x)
      sum += from[(y * w + x) * w * w + (y - down) * w + x - across];
  static_cast<T*>(a.dtable)[entry] = narrow<T>(sum);
}

}  // namespace

Result window_attention(Queue* queue, const WindowAttention& a) {
  WindowAttentionBackward all{};
  all.forward = a;
  all.slices = window_attention_slices(queue, all);
  Result result = nullptr;
  if (attend::tile_forward<attend::WindowPlaces<bf16>>(queue, all, result)) return result;
  return with_type(a.dtype, [&](auto zero) {
    return attend::plain_forward<attend::WindowPlaces<decltype(zero)>>(queue, all);
  });
}

int64_t window_attention_slices(Queue*, const WindowAttentionBackward& a) {
  const int64_t pairs = a.forward.batch * a.forward.heads, windows = attend::windows_of(a.forward);
  if (pairs == 0) return 0;
  const int64_t bands = divided_up(blocks_wanted, pairs);
  return a.forward.batch * (bands < windows ? bands : windows);
}

Result window_attention_backward(Queue* queue, const WindowAttentionBackward& given) {
  WindowAttentionBackward a = given;
  if (!a.dbias && !a.dpadding && !a.dprefix_k && !a.dprefix_v)  // nothing is cut
    a.slices = window_attention_slices(queue, a);
  if (a.slices != window_attention_slices(queue, a))
    return "window_attention: another number of slices was expected";
  // The gradients of table and padding are wanted where the whole net learns, which it does in f32: the kernels of small
  // matrices do without them.
  Result result = nullptr;
  if (!a.dbias && !a.dpadding &&
      attend::tile_backward<attend::WindowPlaces<bf16>>(queue, a, attend::prefix_alone(a), result))
    return result;
  const attend::Wanted wanted{.queries = a.dqkv || a.dbias,
                              .keys = a.dqkv || a.dpadding || a.dprefix_k || a.dprefix_v,
                              .all_rows = a.dpadding != nullptr};
  return with_type(a.forward.dtype, [&](auto zero) {
    return attend::plain_backward<attend::WindowPlaces<decltype(zero)>>(queue, a, wanted);
  });
}

Result window_table(Queue* queue, const WindowTable& a) {
  const int64_t side = 2 * a.window - 1;
  constexpr int threads = 128;
  const dim3 grid(static_cast<unsigned>(divided_up(side * side * a.heads, threads)));
  return with_type(
      a.dtype, [&](auto zero) { return launch(queue, table_kernel<decltype(zero)>, grid, threads, 0, a); });
}

}  // namespace vitrine::gpu
