// attention.cu: the entries of attention: which kernel takes which sizes.
#include "engine/gpu/attention_plain_backward.h"
#include "engine/gpu/attention_tiles_backward.h"
#include "engine/gpu/attention_tiles_forward.h"

namespace vitrine::gpu {

namespace {

constexpr int64_t blocks_wanted = 264;  // two for each processor of an H100: fixed, for sums depend on it

}  // namespace

Result attention(Queue* queue, const Attention& a) {
  AttentionBackward all{};
  all.forward = a;
  all.slices = a.batch;  // a block for each image
  Result result = nullptr;
  if (attend::tile_forward<attend::TokenPlaces<bf16>>(queue, all, result)) return result;
  return with_type(a.dtype, [&](auto zero) {
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
  Result result = nullptr;
  if (attend::tile_backward<attend::TokenPlaces<bf16>>(queue, a, prefix_alone, result)) return result;
  const attend::Wanted wanted{.queries = a.dq.data != nullptr,
                              .keys = a.dk.data || a.dv.data || a.dprefix_k || a.dprefix_v,
                              .all_rows = false};
  return with_type(f.dtype, [&](auto zero) {
    return attend::plain_backward<attend::TokenPlaces<decltype(zero)>>(queue, a, wanted);
  });
}

}  // namespace vitrine::gpu
