// A branch on CUDA: LoraBegin and LoraEnd, the adapters on the card, and the stream beside ONNX Runtime's. Included once, by graph_ops.cc.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda_driver.h"
#include "ort_context.h"

extern "C" const char kernels_ptx[];

namespace {

constexpr int kThreads = 128, kDownThreads = 512, kColumns = 64, kRowsTogether = 8;  // as in kernels.cu
constexpr size_t kSiblings = 4;
constexpr uint32_t kMostCudaRank = 1024;  // of a row of t, eight of which are in a block's shared memory

struct Kernels {
  CUfunction down_one = nullptr, down = nullptr, up_one = nullptr, up = nullptr, silu_mul = nullptr;
  CUcontext context = nullptr;
};

// The kernels in the context that is current on this thread, loaded once for each.
OrtStatus* kernels_here(Kernels& kernels) {
  static std::mutex mutex;
  static std::map<CUcontext, Kernels> loaded;
  const Driver& driver = Driver::get();
  if (!driver.is_there) return failure("The CUDA driver (libcuda.so.1) cannot be loaded.");
  CUcontext context = nullptr;
  if (driver.cuCtxGetCurrent(&context) || !context) return failure("No CUDA context is current on this thread.");
  std::lock_guard<std::mutex> lock(mutex);
  auto found = loaded.find(context);
  if (found == loaded.end()) {
    CUmodule module = nullptr;
    if (int code = driver.cuModuleLoadData(&module, kernels_ptx))
      return failure("The CUDA driver cannot compile the kernels of the graph operators (" + driver.name_of(code) + ").");
    Kernels made;
    made.context = context;
    driver.cuModuleGetFunction(&made.down_one, module, "lora_down_one");
    driver.cuModuleGetFunction(&made.down, module, "lora_down");
    driver.cuModuleGetFunction(&made.up_one, module, "lora_up_one");
    driver.cuModuleGetFunction(&made.up, module, "lora_up");
    driver.cuModuleGetFunction(&made.silu_mul, module, "silu_mul");
    found = loaded.emplace(context, made).first;
  }
  kernels = found->second;
  return nullptr;
}

OrtStatus* cuda_failure(const char* what, int code) {
  return code ? failure(std::string(what) + " (" + Driver::get().name_of(code) + ").") : nullptr;
}

// An adapter on the card. A captured graph may point to it, so it stays as long as a node that has used it.
struct OnCard {
  CUdeviceptr at = 0;

  OnCard() = default;
  OnCard(const OnCard&) = delete;
  ~OnCard() {
    if (at) Driver::get().cuMemFree(at);
  }
  OrtStatus* take(const LoraPack& pack) {
    const Driver& driver = Driver::get();
    RETURN_IF_FAILED(cuda_failure("No device memory for the adapter", driver.cuMemAlloc(&at, pack.bytes())));
    RETURN_IF_FAILED(cuda_failure("The adapter cannot be copied to the card", driver.cuMemcpyHtoD(at, pack.data(), pack.bytes())));
    // The call may return before the bytes are there, and kernels run on streams that do not wait for it.
    return cuda_failure("The adapter cannot be copied to the card", driver.cuStreamSynchronize(nullptr));
  }
};

// The adapters that a node has used. All nodes of a process share what lies on the card.
class Cards {
 public:
  OrtStatus* find(CUcontext context, const LoraPack& pack, CUdeviceptr& at) {
    const Key key{context, pack.mark(), pack.bytes()};
    auto known = mine_.find(key);
    if (known == mine_.end()) {
      static std::mutex mutex;
      static std::map<Key, std::weak_ptr<OnCard>> all;
      std::lock_guard<std::mutex> lock(mutex);
      std::shared_ptr<OnCard> card = all[key].lock();
      if (!card) {
        card = std::make_shared<OnCard>();
        RETURN_IF_FAILED(card->take(pack));
        all[key] = card;
      }
      known = mine_.emplace(key, card).first;
    }
    at = known->second->at;
    return nullptr;
  }

 private:
  using Key = std::tuple<CUcontext, uint64_t, uint64_t>;
  std::map<Key, std::shared_ptr<OnCard>> mine_;
};

// Where branches are computed beside the products of a stream. Never destroyed: captured graphs hold on to it.
struct Side {
  CUstream stream = nullptr;
  CUevent fork = nullptr, join = nullptr;

  static OrtStatus* of(CUcontext context, void* main, Side& side) {
    static std::mutex mutex;
    static auto& known = *new std::map<std::pair<CUcontext, void*>, Side>;
    std::lock_guard<std::mutex> lock(mutex);
    Side& found = known[{context, main}];
    if (!found.stream) RETURN_IF_FAILED(found.make());
    side = found;
    return nullptr;
  }
  OrtStatus* begin(void* main) const {
    const Driver& driver = Driver::get();
    RETURN_IF_FAILED(cuda_failure("LoraBegin: no event", driver.cuEventRecord(fork, main)));
    return cuda_failure("LoraBegin: no fork", driver.cuStreamWaitEvent(stream, fork, 0));
  }
  OrtStatus* end(void* main) const {
    const Driver& driver = Driver::get();
    RETURN_IF_FAILED(cuda_failure("LoraEnd: no event", driver.cuEventRecord(join, stream)));
    return cuda_failure("LoraEnd: no join", driver.cuStreamWaitEvent(main, join, 0));
  }

 private:
  OrtStatus* make() {
    constexpr unsigned kNonBlocking = 1, kNoTiming = 2;
    const Driver& driver = Driver::get();
    RETURN_IF_FAILED(cuda_failure("LoraBegin: no event", driver.cuEventCreate(&fork, kNoTiming)));
    RETURN_IF_FAILED(cuda_failure("LoraBegin: no event", driver.cuEventCreate(&join, kNoTiming)));
    return cuda_failure("LoraBegin: no stream", driver.cuStreamCreate(&stream, kNonBlocking));
  }
};

// Arguments of kernels, as in kernels.cu.
struct DownArguments {
  CUdeviceptr a[kSiblings], b[kSiblings];
  int b_bytes[kSiblings], tiles[kSiblings];
};
struct UpArguments {
  struct {
    CUdeviceptr b;
    int first_column, columns, first_rank, ranks;
  } of[kSegments];
};

// What both halves of a branch know: which projections share their x.
struct LoraHalf {
  std::vector<int64_t> branches;
  Cards cards;
  std::mutex mutex;

  OrtStatus* prepare(const OrtKernelInfo* info) {
    RETURN_IF_FAILED(attribute(info, "branches", branches));
    return branches.empty() || branches.size() > kSiblings ? failure("LoraBegin: it has no branch, or too many.") : nullptr;
  }

  // The records of all of them, and how many numbers a row of t has.
  OrtStatus* read(const LoraPack& pack, int64_t inputs, PackBranch* found, int& width) const {
    width = 0;
    for (size_t at = 0; at < branches.size(); ++at) {
      RETURN_IF_FAILED(misfit(pack.branch(branches[at], inputs, -1, found[at])));
      if (found[at].rank > kMostCudaRank || (found[at].rank && (inputs % 8 || found[at].outputs % 8)))
        return misfit("no CUDA kernel for branch " + std::to_string(branches[at]) + " of rank " + std::to_string(found[at].rank));
      width += static_cast<int>(found[at].rank);
    }
    return nullptr;
  }
};

struct LoraBeginCuda : LoraHalf {
  OrtStatus* compute(OrtKernelContext* context) {
    Tensor x;
    LoraPack pack;
    PackBranch found[kSiblings];
    int width = 0;
    RETURN_IF_FAILED(read_input(context, 0, x));
    RETURN_IF_FAILED(read_pack(context, 1, pack));
    RETURN_IF_FAILED(read(pack, x.last(), found, width));
    void *same = nullptr, *t = nullptr, *stream = nullptr;
    RETURN_IF_FAILED(make_output(context, 0, x.shape, &same));
    RETURN_IF_FAILED(make_output(context, 1, {x.rows(), width}, &t));
    RETURN_IF_FAILED(api->KernelContext_GetGPUComputeStream(context, &stream));
    if (same != x.data) {  // ONNX Runtime promises one memory for both; this is for one that does not
      const size_t bytes = x.rows() * x.last() * sizeof(uint16_t);
      const auto to = reinterpret_cast<CUdeviceptr>(same), from = reinterpret_cast<CUdeviceptr>(x.data);
      RETURN_IF_FAILED(cuda_failure("LoraBegin: a copy failed", Driver::get().cuMemcpyDtoDAsync(to, from, bytes, stream)));
    }
    return width && x.rows() ? launch(pack, found, width, x, reinterpret_cast<CUdeviceptr>(t), stream) : nullptr;
  }

 private:
  OrtStatus* launch(const LoraPack& pack, const PackBranch* found, int width, const Tensor& x, CUdeviceptr t, void* stream) {
    Kernels kernels;
    RETURN_IF_FAILED(kernels_here(kernels));
    std::lock_guard<std::mutex> lock(mutex);
    CUdeviceptr weights = 0;
    RETURN_IF_FAILED(cards.find(kernels.context, pack, weights));
    Side side{};
    RETURN_IF_FAILED(Side::of(kernels.context, stream, side));
    RETURN_IF_FAILED(side.begin(stream));
    DownArguments all = arguments(found, weights);
    int inputs = static_cast<int>(x.last()), rows = static_cast<int>(x.rows());
    CUdeviceptr from = reinterpret_cast<CUdeviceptr>(x.data);
    void* given[] = {&from, &t, &all, &inputs, &rows};
    const unsigned high = rows == 1 ? 1 : (rows + kRowsTogether - 1) / kRowsTogether;
    const int code = Driver::get().cuLaunchKernel(rows == 1 ? kernels.down_one : kernels.down, width / kRankStep, high, 1, kDownThreads, 1, 1, 0,
                                                  side.stream, given, nullptr);
    return cuda_failure("LoraBegin: a kernel was not launched", code);
  }

  DownArguments arguments(const PackBranch* found, CUdeviceptr weights) const {
    DownArguments all{};
    for (size_t at = 0; at < branches.size(); ++at) {
      const PackBranch& branch = found[at];
      all.a[at] = weights + branch.at;
      all.tiles[at] = static_cast<int>(branch.rank / kRankStep);
      if (!branch.segments) continue;
      const PackSegment& last = branch.of[branch.segments - 1];
      all.b[at] = weights + branch.of[0].at;
      if (last.at >= branch.of[0].at)
        all.b_bytes[at] = static_cast<int>(std::min<uint64_t>(last.at + uint64_t{2} * last.ranks * last.columns - branch.of[0].at, 1 << 24));
    }
    return all;
  }
};

struct LoraEndCuda : LoraHalf {
  int64_t own = 0;

  OrtStatus* prepare(const OrtKernelInfo* info) {
    RETURN_IF_FAILED(LoraHalf::prepare(info));
    RETURN_IF_FAILED(api->KernelInfoGetAttribute_int64(info, "branch", &own));
    return std::count(branches.begin(), branches.end(), own) ? nullptr : failure("LoraEnd: its branch is none of its branches.");
  }

  OrtStatus* compute(OrtKernelContext* context) {
    Tensor plain, t, x;
    LoraPack pack;
    PackBranch found[kSiblings];
    int width = 0;
    RETURN_IF_FAILED(read_input(context, 0, plain));
    RETURN_IF_FAILED(read_input(context, 1, t));
    RETURN_IF_FAILED(read_input(context, 2, x));
    RETURN_IF_FAILED(read_pack(context, 3, pack));
    RETURN_IF_FAILED(read(pack, x.last(), found, width));
    void *y = nullptr, *stream = nullptr;
    RETURN_IF_FAILED(make_output(context, 0, plain.shape, &y));
    RETURN_IF_FAILED(api->KernelContext_GetGPUComputeStream(context, &stream));
    const size_t at = std::find(branches.begin(), branches.end(), own) - branches.begin();
    PackBranch branch;
    RETURN_IF_FAILED(misfit(pack.branch(own, x.last(), plain.last(), branch)));
    if (t.rows() != plain.rows() || t.last() != width || x.rows() != plain.rows()) return misfit("t is not of the same adapter");
    if (width && plain.rows()) RETURN_IF_FAILED(join(stream));
    if (branch.rank == 0 || plain.rows() == 0) return same(plain, y, stream);
    int first = 0;
    for (size_t before = 0; before < at; ++before) first += static_cast<int>(found[before].rank);
    return launch(pack, branch, plain, static_cast<const float*>(t.data) + first, width, reinterpret_cast<CUdeviceptr>(y), stream);
  }

 private:
  OrtStatus* join(void* stream) const {
    Kernels kernels;
    RETURN_IF_FAILED(kernels_here(kernels));
    Side side{};
    RETURN_IF_FAILED(Side::of(kernels.context, stream, side));
    return side.end(stream);
  }

  static OrtStatus* same(const Tensor& plain, void* y, void* stream) {
    const size_t bytes = plain.rows() * plain.last() * sizeof(uint16_t);
    if (y == plain.data || bytes == 0) return nullptr;
    const auto to = reinterpret_cast<CUdeviceptr>(y), from = reinterpret_cast<CUdeviceptr>(plain.data);
    return cuda_failure("LoraEnd: a copy failed", Driver::get().cuMemcpyDtoDAsync(to, from, bytes, stream));
  }

  OrtStatus* launch(const LoraPack& pack, const PackBranch& branch, const Tensor& plain, const float* t, int stride, CUdeviceptr y, void* stream) {
    Kernels kernels;
    RETURN_IF_FAILED(kernels_here(kernels));
    std::lock_guard<std::mutex> lock(mutex);
    CUdeviceptr weights = 0;
    RETURN_IF_FAILED(cards.find(kernels.context, pack, weights));
    UpArguments all{};
    for (uint32_t at = 0; at < branch.segments; ++at) {
      const PackSegment& part = branch.of[at];
      if (part.first_column % 8 || part.columns % 8) return misfit("its parts do not begin at multiples of 8 outputs");
      all.of[at] = {weights + part.at, static_cast<int>(part.first_column), static_cast<int>(part.columns), static_cast<int>(part.first_rank),
                    static_cast<int>(part.ranks)};
    }
    int rows = static_cast<int>(plain.rows()), outputs = static_cast<int>(plain.last()), rank = static_cast<int>(branch.rank);
    auto before = reinterpret_cast<CUdeviceptr>(plain.data), sums = reinterpret_cast<CUdeviceptr>(t);
    int code = 0;
    if (rows == 1) {
      void* given[] = {&before, &sums, &y, &all, &outputs};
      code = Driver::get().cuLaunchKernel(kernels.up_one, (outputs + kColumns - 1) / kColumns, 1, 1, kThreads, 1, 1, 0, stream, given, nullptr);
    } else {
      void* given[] = {&before, &sums, &y, &all, &rows, &outputs, &rank, &stride};
      const unsigned wide = (outputs / 2 + kThreads - 1) / kThreads, high = (rows + kRowsTogether - 1) / kRowsTogether;
      code = Driver::get().cuLaunchKernel(kernels.up, wide, high, 1, kThreads, 1, 1, kRowsTogether * rank * sizeof(float), stream, given, nullptr);
    }
    return cuda_failure("LoraEnd: a kernel was not launched", code);
  }
};

}  // namespace
