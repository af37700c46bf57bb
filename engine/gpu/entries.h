// entries.h: the entries of the table as functions, each in the file of its op. A device library is complete when it
// links: table.cu names every one of them.
#pragma once

#include <string>

#include "engine/gpu/kernels.h"

namespace vitrine::gpu {

// In the device's own folder (cuda/, emulator/).
Result open_queue(const Options& options, Queue** queue);
void close_queue(Queue* queue);
const char* describe_queue(Queue* queue);
Result allocate(Queue* queue, size_t bytes, void** to);
void release(Queue* queue, void* block);
Result upload(Queue* queue, void* to, const void* from, size_t bytes);
Result download(Queue* queue, void* to, const void* from, size_t bytes);
Result upload_ahead(Queue* queue, void* to, const void* from, size_t bytes);
Result copy(Queue* queue, void* to, const void* from, size_t bytes);
Result clear(Queue* queue, void* to, size_t bytes);
Result wait(Queue* queue);
size_t free_memory(Queue* queue);
extern const char* const device_kind;           // "cuda" or "emulator"
void note(Queue* queue, std::string sentence);  // what take_note gives
const char* take_note(Queue* queue);
Result begin_record(Queue* queue);
Result end_record(Queue* queue, Graph** graph);
Result replay(Queue* queue, Graph* graph);
void drop(Queue* queue, Graph* graph);
Result product(Queue* queue, const Product& a);
size_t most_shared_bytes(Queue* queue);                               // that a block can have
extern void (*const spoil)(Queue* queue, void* block, size_t bytes);  // may be null

// In engine/ops/*.cu.
Result move(Queue* queue, const Move& a);
Result combine(Queue* queue, const Combine& a);
Result sum(Queue* queue, const Sum& a);
Result gather(Queue* queue, const Gather& a);
Result planes(Queue* queue, const Planes& a);
Result map(Queue* queue, const Map& a);
Result gelu(Queue* queue, const Gelu& a);
Result gelu_backward(Queue* queue, const GeluBackward& a);
Result swiglu(Queue* queue, const Swiglu& a);
Result dropout(Queue* queue, const Dropout& a);
Result layer_norm(Queue* queue, const LayerNorm& a);
Result layer_norm_backward(Queue* queue, const LayerNormBackward& a);
Result layer_norm_weights(Queue* queue, const LayerNormWeights& a);
Result batch_norm(Queue* queue, const BatchNorm& a);
Result batch_norm_backward(Queue* queue, const BatchNormBackward& a);
Result softmax(Queue* queue, const Softmax& a);
Result softmax_backward(Queue* queue, const SoftmaxBackward& a);
Result embedding_add(Queue* queue, const EmbeddingAdd& a);
Result embedding_sum(Queue* queue, const EmbeddingSum& a);
Result attention(Queue* queue, const Attention& a);
int64_t attention_slices(Queue* queue, const AttentionBackward& a);
Result attention_backward(Queue* queue, const AttentionBackward& a);
Result window_attention(Queue* queue, const WindowAttention& a);
int64_t window_attention_slices(Queue* queue, const WindowAttentionBackward& a);
Result window_attention_backward(Queue* queue, const WindowAttentionBackward& a);
Result window_table(Queue* queue, const WindowTable& a);
Result cross_entropy(Queue* queue, const CrossEntropy& a);
Result cross_entropy_backward(Queue* queue, const CrossEntropyBackward& a);

// In nn/optimizer.cu.
Result optimizer_step(Queue* queue, const OptimizerStep& a);
Result square_sum(Queue* queue, const SquareSum& a);
Result clip_gradients(Queue* queue, const ClipGradients& a);

}  // namespace vitrine::gpu
