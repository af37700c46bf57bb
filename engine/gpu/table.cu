// table.cu: the table that a device library gives to the engine.
#include <cstring>

#include "engine/gpu/entries.h"

#ifndef VITRINE_GPU_BORDER
#error "CMake says what VITRINE_GPU_BORDER is: the digest of kernels.h"
#endif

extern "C" __attribute__((visibility("default"))) const vitrine::gpu::Kernels* vitrine_device_library(
    const char* border) {
  using namespace vitrine::gpu;
  static const Kernels table = {
      .kind = device_kind,
      .open = open_queue,
      .close = close_queue,
      .describe = describe_queue,
      .allocate = allocate,
      .release = release,
      .spoil = spoil,
      .upload = upload,
      .download = download,
      .upload_ahead = upload_ahead,
      .copy = copy,
      .clear = clear,
      .wait = wait,
      .free_memory = free_memory,
      .take_note = take_note,
      .begin_record = begin_record,
      .end_record = end_record,
      .replay = replay,
      .drop = drop,
      .move = move,
      .combine = combine,
      .sum = sum,
      .gather = gather,
      .planes = planes,
      .map = map,
      .gelu = gelu,
      .gelu_backward = gelu_backward,
      .swiglu = swiglu,
      .dropout = dropout,
      .layer_norm = layer_norm,
      .layer_norm_backward = layer_norm_backward,
      .layer_norm_weights = layer_norm_weights,
      .batch_norm = batch_norm,
      .batch_norm_backward = batch_norm_backward,
      .softmax = softmax,
      .softmax_backward = softmax_backward,
      .embedding_add = embedding_add,
      .embedding_sum = embedding_sum,
      .product = product,
      .attention = attention,
      .attention_slices = attention_slices,
      .attention_backward = attention_backward,
      .window_attention = window_attention,
      .window_attention_slices = window_attention_slices,
      .window_attention_backward = window_attention_backward,
      .window_table = window_table,
      .cross_entropy = cross_entropy,
      .cross_entropy_backward = cross_entropy_backward,
      .optimizer_step = optimizer_step,
      .square_sum = square_sum,
      .clip_gradients = clip_gradients,
  };
  return std::strcmp(border, VITRINE_GPU_BORDER) == 0 ? &table : nullptr;
}
