// The CUDA kernels of the graph operators, compiled to PTX by make_ptx.py: no CUDA toolkit is needed where they run.
//
// LoraAdd: y = plain + (x A) B.  x [rows, inputs], A [inputs, rank], B [rank, outputs], all row-major fp16; sums in fp32, added
// up in the same order each time. A prompt has many rows: two kernels. Decode has one: then all that counts is latency, and
// it is one kernel. rank is a multiple of 8, outputs of 2.

#include <cuda_fp16.h>

namespace {
constexpr int kThreads = 128;
constexpr int kMaxRank = 512;
constexpr int kEarly = 16;  // rows of B that a thread holds before the blocks meet

// Rows that one block of the second kernel works on together, so that B is read once for all of them.
constexpr int kRows = 8;

struct Eight {
  uint4 bits;
  __device__ void load(const __half* from) { bits = *reinterpret_cast<const uint4*>(from); }
  __device__ void spread(float* to) const {
    const __half2* pairs = reinterpret_cast<const __half2*>(&bits);
    for (int pair = 0; pair < 4; ++pair) {
      const float2 two = __half22float2(pairs[pair]);
      to[2 * pair] = two.x;
      to[2 * pair + 1] = two.y;
    }
  }
};
}  // namespace

// partial[row][slice][rank]: block (slice, row) adds up its slice of the inputs. Eight ranks a thread; rank % 8 == 0.
extern "C" __global__ void __launch_bounds__(kThreads)
lora_down(const __half* x, const __half* a, float* partial, int inputs, int rank, int slice_length) {
  __shared__ float sums[kThreads][8 + 1];
  const int slice = blockIdx.x, row = blockIdx.y, slices = gridDim.x;
  const int parts = rank / 8, part = threadIdx.x % parts, lane = threadIdx.x / parts, lanes = kThreads / parts;
  const int first = slice * slice_length, last = min(first + slice_length, inputs);
  float sum[8] = {};
  if (lane < lanes) {
    for (int k = first + lane; k < last; k += lanes) {
      Eight weights;
      weights.load(a + static_cast<size_t>(k) * rank + 8 * part);
      const float value = __half2float(x[static_cast<size_t>(row) * inputs + k]);
      float spread[8];
      weights.spread(spread);
      for (int j = 0; j < 8; ++j) sum[j] += value * spread[j];
    }
  }
  for (int j = 0; j < 8; ++j) sums[threadIdx.x][j] = sum[j];
  __syncthreads();
  for (int column = threadIdx.x; column < rank; column += kThreads) {
    float total = 0.f;
    for (int other = 0; other < lanes; ++other) total += sums[other * parts + column / 8][column % 8];
    partial[(static_cast<size_t>(row) * slices + slice) * rank + column] = total;
  }
}

// y[row][n] = plain[row][n] + sum_j t[row][j] B[j][n], t being the sum of the slices. Two outputs a thread, kRows rows a block.
extern "C" __global__ void __launch_bounds__(kThreads)
lora_up(const __half* plain, const float* partial, const __half* b, __half* y, int rows, int outputs, int rank, int slices) {
  extern __shared__ float t[];  // [kRows][rank]
  const int first_row = blockIdx.y * kRows;
  const int here = min(kRows, rows - first_row);
  for (int at = threadIdx.x; at < here * rank; at += kThreads) {
    const float* from = partial + (static_cast<size_t>(first_row + at / rank) * slices) * rank + at % rank;
    float total = 0.f;
    for (int slice = 0; slice < slices; ++slice) total += from[static_cast<size_t>(slice) * rank];
    t[at] = total;
  }
  __syncthreads();
  const int n = 2 * (blockIdx.x * kThreads + threadIdx.x);
  if (n >= outputs) return;
  float2 sum[kRows];
  for (int row = 0; row < kRows; ++row) sum[row] = make_float2(0.f, 0.f);
#pragma unroll 8
  for (int j = 0; j < rank; ++j) {
    const float2 weights = __half22float2(*reinterpret_cast<const __half2*>(b + static_cast<size_t>(j) * outputs + n));
    for (int row = 0; row < kRows; ++row) {
      if (row < here) {
        sum[row].x += t[row * rank + j] * weights.x;
        sum[row].y += t[row * rank + j] * weights.y;
      }
    }
  }
  for (int row = 0; row < here; ++row) {
    const size_t at = static_cast<size_t>(first_row + row) * outputs + n;
    const float2 before = __half22float2(*reinterpret_cast<const __half2*>(plain + at));
    *reinterpret_cast<__half2*>(y + at) = __floats2half2_rn(before.x + sum[row].x, before.y + sum[row].y);
  }
}

// One row in one launch: every block adds up its share of the inputs, all blocks meet, every block makes its share of the
// outputs. They meet at a counter that only grows, so a captured graph can be replayed. The host starts few enough blocks
// that all of them are on the card together. What does not depend on the meeting is loaded before it.
extern "C" __global__ void __launch_bounds__(kThreads)
lora_one(const __half* x, const __half* plain, const __half* a, const __half* b, __half* y, float* partial, unsigned long long* met,
         int inputs, int outputs, int rank) {
  __shared__ float sums[kThreads][8 + 1];
  __shared__ float t[kMaxRank];
  const int blocks = gridDim.x;
  const int pairs = (outputs / 2 + blocks - 1) / blocks;  // outputs of a block, two and two; never more than kThreads
  const int n = 2 * (blockIdx.x * pairs + threadIdx.x);
  const bool is_mine = threadIdx.x < pairs && n < outputs;
  __half2 early[kEarly];
  float2 sum = make_float2(0.f, 0.f);
  if (is_mine) {
#pragma unroll
    for (int j = 0; j < kEarly; ++j)
      if (j < rank) early[j] = *reinterpret_cast<const __half2*>(b + static_cast<size_t>(j) * outputs + n);
    sum = __half22float2(*reinterpret_cast<const __half2*>(plain + n));
  }

  const int share = (inputs + blocks - 1) / blocks, first = blockIdx.x * share, last = min(first + share, inputs);
  const int parts = rank / 8, part = threadIdx.x % parts, lane = threadIdx.x / parts, lanes = kThreads / parts;
  float mine[8] = {};
  if (lane < lanes) {
#pragma unroll 4
    for (int k = first + lane; k < last; k += lanes) {
      Eight weights;
      weights.load(a + static_cast<size_t>(k) * rank + 8 * part);
      const float value = __half2float(x[k]);
      float spread[8];
      weights.spread(spread);
      for (int j = 0; j < 8; ++j) mine[j] += value * spread[j];
    }
  }
  for (int j = 0; j < 8; ++j) sums[threadIdx.x][j] = mine[j];
  __syncthreads();
  for (int column = threadIdx.x; column < rank; column += kThreads) {
    float total = 0.f;
#pragma unroll 8
    for (int other = 0; other < lanes; ++other) total += sums[other * parts + column / 8][column % 8];
    __stcg(partial + static_cast<size_t>(blockIdx.x) * rank + column, total);
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    const unsigned long long before = atomicAdd(met, 1ULL);
    const unsigned long long all = (before / blocks + 1) * blocks;
    while (*static_cast<volatile unsigned long long*>(met) < all) {
    }
    __threadfence();
  }
  __syncthreads();

  // The shares of all blocks, added up in a fixed order: as many threads a column as there are.
  const int helpers = max(1, kThreads / rank);
  if (threadIdx.x < helpers * rank || helpers == 1) {
    for (int column = threadIdx.x % (helpers * rank); column < rank * helpers; column += kThreads) {
      float total = 0.f;
#pragma unroll 8
      for (int block = column / rank; block < blocks; block += helpers) total += __ldcg(partial + static_cast<size_t>(block) * rank + column % rank);
      if (helpers == 1) t[column] = total;
      else sums[column][0] = total;
    }
  }
  __syncthreads();
  if (helpers > 1 && threadIdx.x < rank) {
    float total = 0.f;
    for (int helper = 0; helper < helpers; ++helper) total += sums[helper * rank + threadIdx.x][0];
    t[threadIdx.x] = total;
  }
  if (helpers > 1) __syncthreads();
  if (!is_mine) return;
#pragma unroll
  for (int j = 0; j < kEarly; ++j) {
    if (j < rank) {
      const float2 weights = __half22float2(early[j]);
      sum.x += t[j] * weights.x;
      sum.y += t[j] * weights.y;
    }
  }
#pragma unroll 8
  for (int j = kEarly; j < rank; ++j) {
    const float2 weights = __half22float2(*reinterpret_cast<const __half2*>(b + static_cast<size_t>(j) * outputs + n));
    sum.x += t[j] * weights.x;
    sum.y += t[j] * weights.y;
  }
  *reinterpret_cast<__half2*>(y + n) = __floats2half2_rn(sum.x, sum.y);
}

// y = gate * sigmoid(gate) * up, two values a thread; `pairs` of them.
extern "C" __global__ void __launch_bounds__(kThreads) silu_mul(const __half2* gate, const __half2* up, __half2* y, long long pairs) {
  const long long at = static_cast<long long>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= pairs) return;
  const float2 g = __half22float2(gate[at]), u = __half22float2(up[at]);
  y[at] = __floats2half2_rn(g.x / (1.f + __expf(-g.x)) * u.x, g.y / (1.f + __expf(-g.y)) * u.y);
}
