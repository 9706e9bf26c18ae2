// The CUDA kernels of the graph operators, compiled to PTX by make_ptx.py: no CUDA toolkit is needed where they run.
//
// A branch is y = plain + (x A) B in two halves: t = x A, beside the base's product, and then y = plain + t B. All fp16, t and all
// sums in fp32, added up in the same order each time. A lies in tiles of eight ranks, [rank / 8][inputs][8]; B in segments of
// columns, each [ranks][columns]; see lora_pack.h. ranks, columns and inputs are multiples of 8.

#include <cuda_fp16.h>

namespace {
constexpr int kThreads = 128;
constexpr int kDownThreads = 512;  // of the first half
constexpr int kTogether = 8;       // loads that a thread of it has under way at once
constexpr int kColumns = 64;       // outputs of a block of the second half, for one row
constexpr int kRows = 8;           // rows of a prompt that a block works on together, so that weights are read once for all of them
constexpr int kWarp = 32;
constexpr int kSiblings = 4, kSegments = 4;  // as in lora_pack.h

struct Eight {
  uint4 bits;
  __device__ void load(const __half* from) { bits = *reinterpret_cast<const uint4*>(from); }
  __device__ void add_to(float* sums, float factor) const {
    const __half2* pairs = reinterpret_cast<const __half2*>(&bits);
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      const float2 two = __half22float2(pairs[pair]);
      sums[2 * pair] += factor * two.x;
      sums[2 * pair + 1] += factor * two.y;
    }
  }
};
}  // namespace

// Projections that read the same x: the tiles of each one's A, and where its B lies.
struct Siblings {
  const __half* a[kSiblings];
  const char* b[kSiblings];
  int b_bytes[kSiblings];
  int tiles[kSiblings];
};

struct Segment {
  const __half* b;
  int first_column, columns, first_rank, ranks;
};

struct Segments {
  Segment of[kSegments];
};

namespace {

__device__ const __half* tile_of(const Siblings& all, int tile, int inputs) {
  const __half* a = all.a[0];
  int left = tile;
#pragma unroll
  for (int at = 0; at + 1 < kSiblings; ++at) {
    if (a == all.a[at] && left >= all.tiles[at]) {
      left -= all.tiles[at];
      a = all.a[at + 1];
    }
  }
  return a + static_cast<size_t>(left) * inputs * 8;
}

// B is wanted right after the product: have the card fetch it into its cache meanwhile.
__device__ void fetch_ahead(const Siblings& all) {
  constexpr int kLine = 128;
  const int stride = gridDim.x * kDownThreads * kLine;
#pragma unroll
  for (int at = 0; at < kSiblings; ++at)
    for (int byte = (blockIdx.x * kDownThreads + threadIdx.x) * kLine; byte < all.b_bytes[at]; byte += stride)
      asm volatile("prefetch.global.L2 [%0];" ::"l"(all.b[at] + byte));
}

__device__ Segment segment_of(const Segments& all, int column) {
  Segment found = {nullptr, 0, 0, 0, 0};
#pragma unroll
  for (int at = 0; at < kSegments; ++at) {
    const Segment each = all.of[at];
    if (column >= each.first_column && column < each.first_column + each.columns) found = each;
  }
  return found;
}

// Eight sums of every thread of a block, added up; the first eight threads hold one each.
__device__ float of_block(float* sum) {
  __shared__ float of_warps[kDownThreads / kWarp][8];
#pragma unroll
  for (int j = 0; j < 8; ++j)
    for (int other = kWarp / 2; other; other /= 2) sum[j] += __shfl_xor_sync(0xffffffffu, sum[j], other);
  if (threadIdx.x % kWarp == 0)
#pragma unroll
    for (int j = 0; j < 8; ++j) of_warps[threadIdx.x / kWarp][j] = sum[j];
  __syncthreads();
  float total = 0.f;
  if (threadIdx.x < 8)
#pragma unroll
    for (int warp = 0; warp < kDownThreads / kWarp; ++warp) total += of_warps[warp][threadIdx.x];
  __syncthreads();
  return total;
}
}  // namespace

// t[8 tile ...] of one row: block `tile` reads one tile of A, everything at once.
extern "C" __global__ void __launch_bounds__(kDownThreads) lora_down_one(const __half* x, float* t, Siblings all, int inputs) {
  const __half* a = tile_of(all, blockIdx.x, inputs);
  float sum[8] = {};
  for (int first = threadIdx.x; first < inputs; first += kDownThreads * kTogether) {
    Eight weights[kTogether];
    __half values[kTogether];
#pragma unroll
    for (int at = 0; at < kTogether; ++at) {
      const int k = first + at * kDownThreads;
      values[at] = __float2half(0.f);
      weights[at].bits = make_uint4(0, 0, 0, 0);
      if (k < inputs) {
        values[at] = x[k];
        weights[at].load(a + static_cast<size_t>(k) * 8);
      }
    }
    if (first == static_cast<int>(threadIdx.x)) fetch_ahead(all);
#pragma unroll
    for (int at = 0; at < kTogether; ++at) weights[at].add_to(sum, __half2float(values[at]));
  }
  const float total = of_block(sum);
  if (threadIdx.x < 8) t[blockIdx.x * 8 + threadIdx.x] = total;
}

// The same for kRows rows a block; t is [rows][8 tiles].
extern "C" __global__ void __launch_bounds__(kDownThreads)
lora_down(const __half* x, float* t, Siblings all, int inputs, int rows) {
  const __half* a = tile_of(all, blockIdx.x, inputs);
  const int first_row = blockIdx.y * kRows, here = min(kRows, rows - first_row);
  const __half* from = x + static_cast<size_t>(first_row) * inputs;
  float sum[kRows][8] = {};
  for (int k = threadIdx.x; k < inputs; k += kDownThreads) {
    Eight weights;
    weights.load(a + static_cast<size_t>(k) * 8);
#pragma unroll
    for (int row = 0; row < kRows; ++row)
      if (row < here) weights.add_to(sum[row], __half2float(from[static_cast<size_t>(row) * inputs + k]));
  }
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const float total = of_block(sum[row]);
    if (row < here && threadIdx.x < 8) t[static_cast<size_t>(first_row + row) * gridDim.x * 8 + blockIdx.x * 8 + threadIdx.x] = total;
  }
}

// y[n] = plain[n] + sum_j t[j] B[j][n] of one row, kColumns of it a block: eight columns and every sixteenth rank a thread.
extern "C" __global__ void __launch_bounds__(kThreads)
lora_up_one(const __half* plain, const float* t, __half* y, Segments all, int outputs) {
  constexpr int kGroups = kColumns / 8, kLanes = kThreads / kGroups, kLoads = 4;
  __shared__ float sums[kThreads / kWarp][kColumns];
  const int group = threadIdx.x % kGroups, lane = threadIdx.x / kGroups;
  const int column = blockIdx.x * kColumns + 8 * group, own = blockIdx.x * kColumns + threadIdx.x;
  const bool is_writer = threadIdx.x < kColumns && own < outputs;
  const float before = is_writer ? __half2float(plain[own]) : 0.f;
  const Segment mine = segment_of(all, column);
  const __half* b = mine.b + (column - mine.first_column);
  float sum[8] = {};
  for (int first = lane; first < mine.ranks; first += kLanes * kLoads) {
    Eight weights[kLoads];
    float factors[kLoads];
#pragma unroll
    for (int at = 0; at < kLoads; ++at) {
      const int j = first + at * kLanes;
      factors[at] = 0.f;
      weights[at].bits = make_uint4(0, 0, 0, 0);
      if (j < mine.ranks) {
        weights[at].load(b + static_cast<size_t>(j) * mine.columns);
        factors[at] = t[mine.first_rank + j];
      }
    }
#pragma unroll
    for (int at = 0; at < kLoads; ++at) weights[at].add_to(sum, factors[at]);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j)
    for (int other = kGroups; other < kWarp; other *= 2) sum[j] += __shfl_xor_sync(0xffffffffu, sum[j], other);
  if (threadIdx.x % kWarp < kGroups)
#pragma unroll
    for (int j = 0; j < 8; ++j) sums[threadIdx.x / kWarp][8 * group + j] = sum[j];
  __syncthreads();
  if (!is_writer) return;
  float total = before;
#pragma unroll
  for (int warp = 0; warp < kThreads / kWarp; ++warp) total += sums[warp][threadIdx.x];
  y[own] = __float2half_rn(total);
}

// The same for kRows rows a block, two columns a thread. A row of t has `stride` numbers, of which this branch has `rank`.
extern "C" __global__ void __launch_bounds__(kThreads)
lora_up(const __half* plain, const float* t, __half* y, Segments all, int rows, int outputs, int rank, int stride) {
  extern __shared__ float own[];  // [kRows][rank]
  const int first_row = blockIdx.y * kRows, here = min(kRows, rows - first_row);
  for (int at = threadIdx.x; at < here * rank; at += kThreads) own[at] = t[static_cast<size_t>(first_row + at / rank) * stride + at % rank];
  __syncthreads();
  const int n = 2 * (blockIdx.x * kThreads + threadIdx.x);
  if (n >= outputs) return;
  const Segment mine = segment_of(all, n);
  const __half* b = mine.b + (n - mine.first_column);
  float2 sum[kRows];
#pragma unroll
  for (int row = 0; row < kRows; ++row) sum[row] = make_float2(0.f, 0.f);
#pragma unroll 8
  for (int j = 0; j < mine.ranks; ++j) {
    const float2 weights = __half22float2(*reinterpret_cast<const __half2*>(b + static_cast<size_t>(j) * mine.columns));
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      if (row < here) {
        sum[row].x += own[row * rank + mine.first_rank + j] * weights.x;
        sum[row].y += own[row * rank + mine.first_rank + j] * weights.y;
      }
    }
  }
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    if (row >= here) continue;
    const size_t at = static_cast<size_t>(first_row + row) * outputs + n;
    const float2 before = __half22float2(*reinterpret_cast<const __half2*>(plain + at));
    *reinterpret_cast<__half2*>(y + at) = __floats2half2_rn(before.x + sum[row].x, before.y + sum[row].y);
  }
}

// y = gate * sigmoid(gate) * up, two values a thread; `pairs` of them.
extern "C" __global__ void __launch_bounds__(kThreads) silu_mul(const __half2* gate, const __half2* up, __half2* y, long long pairs) {
  const long long at = static_cast<long long>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= pairs) return;
  const float2 g = __half22float2(gate[at]), u = __half22float2(up[at]);
  y[at] = __floats2half2_rn(g.x / (1.f + __expf(-g.x)) * u.x, g.y / (1.f + __expf(-g.y)) * u.y);
}
