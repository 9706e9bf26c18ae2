// Two graph operators for ONNX Runtime, on the CPU and on CUDA, in one library that loads where there is no CUDA as well.
//
//   edge.toolkit::LoraAdd(x, plain, A, B) -> plain + (x A) B      A [inputs, rank], B [rank, outputs], both fp16; rank 0 adds nothing
//                                                                 x and plain: float on a CPU, fp16 on CUDA
//   edge.toolkit::SiluMul(gate, up) -> gate * sigmoid(gate) * up
//
// Why: the three nodes that ONNX has for LoraAdd cost three small kernels each, and ONNX Runtime copies the tensors of an
// adapter from the host at every token. Here A and B are taken where they lie, on the host, and kept on the card.
// The CUDA driver is opened by name at run time; kernels come as PTX, which every driver from release 530 on compiles.

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cuda_driver.h"
#include "lora_cpu.h"
#include "onnxruntime/onnxruntime_c_api.h"

namespace {

const OrtApi* api = nullptr;

constexpr int kApiVersion = 18;  // the first with GetMayInplace; ONNX Runtime 1.18 and newer have it

OrtStatus* failure(const std::string& said) { return api->CreateStatus(ORT_FAIL, said.c_str()); }

#define RETURN_IF_FAILED(call)                         \
  do {                                                 \
    if (OrtStatus* status = (call)) return status;     \
  } while (0)

struct Tensor {
  std::vector<int64_t> shape;
  const void* data = nullptr;

  int64_t last() const { return shape.back(); }
  int64_t rows() const {
    int64_t count = 1;
    for (size_t at = 0; at + 1 < shape.size(); ++at) count *= shape[at];
    return count;
  }
};

OrtStatus* read_input(OrtKernelContext* context, size_t index, Tensor& tensor) {
  const OrtValue* value = nullptr;
  RETURN_IF_FAILED(api->KernelContext_GetInput(context, index, &value));
  OrtTensorTypeAndShapeInfo* info = nullptr;
  RETURN_IF_FAILED(api->GetTensorTypeAndShape(value, &info));
  size_t dimensions = 0;
  OrtStatus* status = api->GetDimensionsCount(info, &dimensions);
  tensor.shape.resize(dimensions);
  if (!status) status = api->GetDimensions(info, tensor.shape.data(), dimensions);
  api->ReleaseTensorTypeAndShapeInfo(info);
  if (status) return status;
  return api->GetTensorMutableData(const_cast<OrtValue*>(value), const_cast<void**>(&tensor.data));
}

OrtStatus* make_output(OrtKernelContext* context, const std::vector<int64_t>& shape, void** data) {
  OrtValue* value = nullptr;
  RETURN_IF_FAILED(api->KernelContext_GetOutput(context, 0, shape.data(), shape.size(), &value));
  return api->GetTensorMutableData(value, data);
}

struct LoraInputs {
  Tensor x, plain, a, b;

  int64_t rank() const { return a.last(); }

  OrtStatus* read(OrtKernelContext* context) {
    RETURN_IF_FAILED(read_input(context, 0, x));
    RETURN_IF_FAILED(read_input(context, 1, plain));
    RETURN_IF_FAILED(read_input(context, 2, a));
    RETURN_IF_FAILED(read_input(context, 3, b));
    const bool fits = a.shape.size() == 2 && b.shape.size() == 2 && a.shape[0] == x.last() && b.shape[0] == a.shape[1] &&
                      b.shape[1] == plain.last() && x.rows() == plain.rows();
    return fits ? nullptr : failure("LoraAdd: the adapter does not fit the projection.");
  }
};

// ---- CPU -----------------------------------------------------------------------------------------------------------------

constexpr int64_t kPart = 256;  // outputs of a row that a thread makes at a time

// What threads share: many rows, one by each; or one row, its outputs in parts.
struct LoraTask {
  const LoraInputs& in;
  float* y;
  std::vector<float> t;  // of one row

  LoraRow row(int64_t number, float* sums) const {
    const int64_t width = in.x.last(), outputs = in.plain.last();
    return {static_cast<const float*>(in.x.data) + number * width, static_cast<const float*>(in.plain.data) + number * outputs,
            static_cast<const Half*>(in.a.data), static_cast<const Half*>(in.b.data), y + number * outputs, width, outputs, in.rank(), sums};
  }
  static void whole_row(void* self, size_t number) {
    const LoraTask& task = *static_cast<LoraTask*>(self);
    std::vector<float> sums(task.in.rank());
    task.row(static_cast<int64_t>(number), sums.data()).run();
  }
  static void part_of_row(void* self, size_t number) {
    LoraTask& task = *static_cast<LoraTask*>(self);
    const int64_t first = static_cast<int64_t>(number) * kPart;
    task.row(0, task.t.data()).run_up(first, std::min(first + kPart, task.in.plain.last()));
  }
};

struct LoraCpu {
  OrtStatus* compute(OrtKernelContext* context) {
    LoraInputs in;
    RETURN_IF_FAILED(in.read(context));
    void* y = nullptr;
    RETURN_IF_FAILED(make_output(context, in.plain.shape, &y));
    const size_t rows = in.plain.rows();
    if (in.rank() == 0) {
      if (y != in.plain.data) std::memcpy(y, in.plain.data, rows * in.plain.last() * sizeof(float));
      return nullptr;
    }
    LoraTask task{in, static_cast<float*>(y), std::vector<float>(in.rank())};
    if (rows > 1) return api->KernelContext_ParallelFor(context, LoraTask::whole_row, rows, 0, &task);
    task.row(0, task.t.data()).run_down();
    const size_t parts = (in.plain.last() + kPart - 1) / kPart;
    return api->KernelContext_ParallelFor(context, LoraTask::part_of_row, parts, 0, &task);
  }
};

// ---- CUDA ----------------------------------------------------------------------------------------------------------------

constexpr int kThreads = 128, kRowsTogether = 8, kRankStep = 8;  // as in kernels.cu
constexpr int kMostRank = 512, kSlices = 4;
constexpr unsigned kFewestBlocks = 24, kMostBlocks = 512;  // of the kernel for one row: enough for latency, few enough to meet

constexpr int kMultiprocessorCount = 16;  // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
constexpr int64_t kMostRows = 1024;        // of a prompt that are worked on at a time

extern "C" const char kernels_ptx[];

struct Kernels {
  CUfunction one = nullptr, down = nullptr, up = nullptr, silu_mul = nullptr;
  CUcontext context = nullptr;
  int processors = 0;
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
    int device = 0;
    if (!driver.cuCtxGetDevice(&device)) driver.cuDeviceGetAttribute(&made.processors, kMultiprocessorCount, device);
    driver.cuModuleGetFunction(&made.one, module, "lora_one");
    driver.cuModuleGetFunction(&made.down, module, "lora_down");
    driver.cuModuleGetFunction(&made.up, module, "lora_up");
    driver.cuModuleGetFunction(&made.silu_mul, module, "silu_mul");
    found = loaded.emplace(context, made).first;
  }
  kernels = found->second;
  return nullptr;
}

// Device memory. What a captured graph may point to is held once and for good.
struct DeviceBuffer {
  CUdeviceptr at = 0;
  size_t bytes = 0;

  ~DeviceBuffer() {
    if (at) Driver::get().cuMemFree(at);
  }
  OrtStatus* hold(size_t wanted) {
    if (wanted <= bytes) return nullptr;
    const Driver& driver = Driver::get();
    if (at) driver.cuMemFree(at);
    at = 0, bytes = 0;
    if (int code = driver.cuMemAlloc(&at, wanted)) return failure("LoraAdd: no device memory (" + driver.name_of(code) + ").");
    bytes = wanted;
    return nullptr;
  }
};

uint64_t mixed(uint64_t hash, const void* data, size_t bytes) {
  // A sample of the content: enough to tell another adapter at a reused address, cheap enough for each prompt.
  const auto* from = static_cast<const unsigned char*>(data);
  const size_t step = bytes / 509 + 1;
  for (size_t at = 0; at < bytes; at += step) hash = (hash ^ from[at]) * 1099511628211ULL;
  return (hash ^ bytes) * 1099511628211ULL;
}

// A projection's A and B on the card, the rank filled up with zeros to a multiple of eight.
struct OnCard {
  std::list<DeviceBuffer> memories;  // the last is in use; others may be what a captured graph still points to
  CUdeviceptr a = 0, b = 0;
  int rank = 0;
  uint64_t content = 0;
  const void* host_b = nullptr;
  int64_t host_rank = 0;

  bool is_of(const LoraInputs& in) const { return host_b == in.b.data && host_rank == in.rank(); }

  OrtStatus* take(const LoraInputs& in, uint64_t hash) {
    const int64_t inputs = in.x.last(), outputs = in.plain.last(), has = in.rank();
    rank = static_cast<int>((has + kRankStep - 1) / kRankStep * kRankStep);
    std::vector<uint16_t> filled((inputs + outputs) * rank, 0);
    const auto* from_a = static_cast<const uint16_t*>(in.a.data);
    for (int64_t k = 0; k < inputs; ++k) std::memcpy(&filled[k * rank], from_a + k * has, has * sizeof(uint16_t));
    std::memcpy(&filled[inputs * rank], in.b.data, has * outputs * sizeof(uint16_t));
    DeviceBuffer& memory = memories.emplace_back();
    RETURN_IF_FAILED(memory.hold(filled.size() * sizeof(uint16_t)));
    if (int code = Driver::get().cuMemcpyHtoD(memory.at, filled.data(), filled.size() * sizeof(uint16_t)))
      return failure("LoraAdd: the adapter cannot be copied to the card (" + Driver::get().name_of(code) + ").");
    a = memory.at, b = memory.at + inputs * rank * sizeof(uint16_t), content = hash;
    host_b = in.b.data, host_rank = has;
    return nullptr;
  }
};

// What kernels of one stream write down between their two halves. Kernels of a stream follow each other, so all nodes share it. It is
// of one size and never freed: captured graphs hold its address, and at the end of the process there may be no driver left.
OrtStatus* scratch_of(CUcontext context, void* stream, CUdeviceptr& at) {
  static std::mutex mutex;
  static auto& known = *new std::map<std::pair<CUcontext, void*>, DeviceBuffer>;
  std::lock_guard<std::mutex> lock(mutex);
  DeviceBuffer& buffer = known[{context, stream}];
  RETURN_IF_FAILED(buffer.hold(sizeof(float) * std::max<int64_t>(kMostBlocks, kMostRows * kSlices) * kMostRank));
  at = buffer.at;
  return nullptr;
}

unsigned blocks_for(int64_t outputs) { return std::max<unsigned>(kFewestBlocks, (outputs / 2 + kThreads - 1) / kThreads); }

struct LoraCuda {
  std::mutex mutex;
  std::map<const void*, OnCard> adapters;
  std::map<void*, DeviceBuffer> counters;  // where blocks meet, by stream

  OrtStatus* compute(OrtKernelContext* context) {
    LoraInputs in;
    RETURN_IF_FAILED(in.read(context));
    void* y = nullptr;
    RETURN_IF_FAILED(make_output(context, in.plain.shape, &y));
    void* stream = nullptr;
    RETURN_IF_FAILED(api->KernelContext_GetGPUComputeStream(context, &stream));
    const Driver& driver = Driver::get();
    const int64_t rows = in.plain.rows(), outputs = in.plain.last();
    if (in.rank() == 0 || rows == 0) {
      if (y == in.plain.data || rows == 0) return nullptr;
      const auto from = reinterpret_cast<CUdeviceptr>(in.plain.data);
      const int code = driver.cuMemcpyDtoDAsync(reinterpret_cast<CUdeviceptr>(y), from, rows * outputs * sizeof(uint16_t), stream);
      return code ? failure("LoraAdd: a copy failed (" + driver.name_of(code) + ").") : nullptr;
    }
    if (outputs % 2 || outputs > 2 * kThreads * static_cast<int64_t>(kMostBlocks) || in.rank() > kMostRank)
      return failure("LoraAdd: no kernel for a projection with " + std::to_string(outputs) + " outputs and rank " + std::to_string(in.rank()) + ".");
    Kernels kernels;
    RETURN_IF_FAILED(kernels_here(kernels));
    std::lock_guard<std::mutex> lock(mutex);
    OnCard* card = nullptr;
    RETURN_IF_FAILED(on_card(in, rows, card));
    return launch(kernels, in, *card, reinterpret_cast<CUdeviceptr>(y), stream);
  }

  OrtStatus* on_card(const LoraInputs& in, int64_t rows, OnCard*& card) {
    auto found = adapters.find(in.a.data);
    card = found == adapters.end() ? nullptr : &found->second;
    if (card && rows == 1 && card->is_of(in)) return nullptr;  // the prompt before has looked at the content
    const uint64_t hash = mixed(mixed(1469598103934665603ULL, in.a.data, in.x.last() * in.rank() * 2), in.b.data,
                                in.plain.last() * in.rank() * 2);
    if (card && card->is_of(in) && card->content == hash) return nullptr;
    card = &adapters[in.a.data];
    return card->take(in, hash);
  }

  OrtStatus* launch(const Kernels& kernels, const LoraInputs& in, const OnCard& card, CUdeviceptr y, void* stream) {
    // With the prompt already: nothing is allocated while a graph is captured.
    CUdeviceptr sums = 0;
    RETURN_IF_FAILED(scratch_of(kernels.context, stream, sums));
    DeviceBuffer& met = counters[stream];
    if (!met.at) {
      RETURN_IF_FAILED(met.hold(sizeof(uint64_t)));
      const uint64_t nobody = 0;
      if (int code = Driver::get().cuMemcpyHtoD(met.at, &nobody, sizeof nobody)) return failure("LoraAdd: " + Driver::get().name_of(code));
    }
    // Blocks that wait for each other must be on the card together; each processor has room for several.
    const bool can_meet = blocks_for(in.plain.last()) <= 2u * static_cast<unsigned>(kernels.processors);
    const int code = in.plain.rows() == 1 && can_meet ? launch_one(kernels, in, card, y, sums, met.at, stream)
                                                      : launch_many(kernels, in, card, y, sums, stream);
    return code ? failure("LoraAdd: a kernel was not launched (" + Driver::get().name_of(code) + ").") : nullptr;
  }

  static int launch_one(const Kernels& kernels, const LoraInputs& in, const OnCard& card, CUdeviceptr y, CUdeviceptr sums, CUdeviceptr met,
                        void* stream) {
    int inputs = static_cast<int>(in.x.last()), outputs = static_cast<int>(in.plain.last()), rank = card.rank;
    auto x = reinterpret_cast<CUdeviceptr>(in.x.data), plain = reinterpret_cast<CUdeviceptr>(in.plain.data);
    CUdeviceptr a = card.a, b = card.b;
    void* given[] = {&x, &plain, &a, &b, &y, &sums, &met, &inputs, &outputs, &rank};
    return Driver::get().cuLaunchKernel(kernels.one, blocks_for(outputs), 1, 1, kThreads, 1, 1, 0, stream, given, nullptr);
  }

  static int launch_many(const Kernels& kernels, const LoraInputs& in, const OnCard& card, CUdeviceptr y, CUdeviceptr sums, void* stream) {
    const int64_t all = in.plain.rows();
    for (int64_t first = 0; first < all; first += kMostRows) {
      const int rows = static_cast<int>(std::min(kMostRows, all - first));
      if (int code = launch_rows(kernels, in, card, y, sums, stream, first, rows)) return code;
    }
    return 0;
  }

  static int launch_rows(const Kernels& kernels, const LoraInputs& in, const OnCard& card, CUdeviceptr y, CUdeviceptr sums, void* stream,
                         int64_t first, int rows) {
    int inputs = static_cast<int>(in.x.last()), outputs = static_cast<int>(in.plain.last());
    int rank = card.rank, length = (inputs + kSlices - 1) / kSlices, slices = (inputs + length - 1) / length;
    const size_t before_x = first * inputs * sizeof(uint16_t), before_y = first * outputs * sizeof(uint16_t);
    auto x = reinterpret_cast<CUdeviceptr>(in.x.data) + before_x, plain = reinterpret_cast<CUdeviceptr>(in.plain.data) + before_y;
    CUdeviceptr a = card.a, b = card.b, made = y + before_y;
    void* down[] = {&x, &a, &sums, &inputs, &rank, &length};
    if (int code = Driver::get().cuLaunchKernel(kernels.down, slices, rows, 1, kThreads, 1, 1, 0, stream, down, nullptr)) return code;
    const unsigned wide = (outputs / 2 + kThreads - 1) / kThreads, high = (rows + kRowsTogether - 1) / kRowsTogether;
    void* up[] = {&plain, &sums, &b, &made, &rows, &outputs, &rank, &slices};
    return Driver::get().cuLaunchKernel(kernels.up, wide, high, 1, kThreads, 1, 1, kRowsTogether * rank * sizeof(float), stream, up, nullptr);
  }
};

struct SiluMulCuda {
  OrtStatus* compute(OrtKernelContext* context) {
    Tensor gate, up;
    RETURN_IF_FAILED(read_input(context, 0, gate));
    RETURN_IF_FAILED(read_input(context, 1, up));
    void* y = nullptr;
    RETURN_IF_FAILED(make_output(context, gate.shape, &y));
    const long long values = gate.rows() * gate.last();
    if (gate.shape != up.shape || values % 2) return failure("SiluMul: gate and up differ in shape, or have an odd number of values.");
    long long pairs = values / 2;
    if (pairs == 0) return nullptr;
    Kernels kernels;
    RETURN_IF_FAILED(kernels_here(kernels));
    void* stream = nullptr;
    RETURN_IF_FAILED(api->KernelContext_GetGPUComputeStream(context, &stream));
    void* given[] = {&gate.data, &up.data, &y, &pairs};
    const unsigned blocks = static_cast<unsigned>((pairs + kThreads - 1) / kThreads);
    const int code = Driver::get().cuLaunchKernel(kernels.silu_mul, blocks, 1, 1, kThreads, 1, 1, 0, stream, given, nullptr);
    return code ? failure("SiluMul: the kernel was not launched (" + Driver::get().name_of(code) + ").") : nullptr;
  }
};

// ---- what ONNX Runtime asks of an operator -----------------------------------------------------------------------------------

constexpr auto kHalf = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
constexpr auto kFloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
constexpr size_t kNone = 99;

template <class Kernel>
struct Operator : OrtCustomOp {
  const char *name, *provider;
  size_t inputs, reused, on_host_from;
  ONNXTensorElementDataType type;

  // `reused`: the input whose memory the output may take over. Inputs from `on_host_from` on stay in the host's memory.
  Operator(const char* name, const char* provider, ONNXTensorElementDataType type, size_t inputs, size_t reused, size_t on_host_from)
      : OrtCustomOp{}, name(name), provider(provider), inputs(inputs), reused(reused), on_host_from(on_host_from), type(type) {
    version = kApiVersion;
    GetName = [](const OrtCustomOp* op) { return self(op).name; };
    GetExecutionProviderType = [](const OrtCustomOp* op) { return self(op).provider; };
    GetInputType = [](const OrtCustomOp* op, size_t at) { return at < 2 ? self(op).type : kHalf; };  // A and B have 16 bits everywhere
    GetInputTypeCount = [](const OrtCustomOp* op) { return self(op).inputs; };
    GetOutputType = [](const OrtCustomOp* op, size_t) { return self(op).type; };
    GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
    GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    GetInputMemoryType = [](const OrtCustomOp* op, size_t at) { return at >= self(op).on_host_from ? OrtMemTypeCPUInput : OrtMemTypeDefault; };
    GetVariadicInputMinArity = [](const OrtCustomOp*) { return 0; };
    GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
    GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 0; };
    GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 0; };
    CreateKernelV2 = [](const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel) -> OrtStatusPtr {
      *kernel = new Kernel();
      return nullptr;
    };
    KernelComputeV2 = [](void* kernel, OrtKernelContext* context) -> OrtStatusPtr { return static_cast<Kernel*>(kernel)->compute(context); };
    KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return 1; };
    GetMayInplace = [](int** input, int** output) -> size_t {
      *input = new int(static_cast<int>(shared_reused()));
      *output = new int(0);
      return 1;
    };
    ReleaseMayInplace = [](int* input, int* output) {
      delete input;
      delete output;
    };
    GetAliasMap = [](int**, int**) -> size_t { return 0; };
    ReleaseAliasMap = [](int*, int*) {};
    shared_reused() = reused;
  }

  static const Operator& self(const OrtCustomOp* op) { return *static_cast<const Operator*>(op); }
  static size_t& shared_reused() {  // GetMayInplace is not told which operator is asked; kernels of one type reuse alike
    static size_t value = 0;
    return value;
  }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  api = base->GetApi(kApiVersion);
  static Operator<LoraCpu> lora_cpu("LoraAdd", "CPUExecutionProvider", kFloat, 4, 1, kNone);
  static Operator<LoraCuda> lora_cuda("LoraAdd", "CUDAExecutionProvider", kHalf, 4, 1, 2);
  static Operator<SiluMulCuda> silu_cuda("SiluMul", "CUDAExecutionProvider", kHalf, 2, 0, kNone);
  OrtCustomOpDomain* domain = nullptr;
  RETURN_IF_FAILED(api->CreateCustomOpDomain("edge.toolkit", &domain));  // lives as long as the process: sessions point to it
  RETURN_IF_FAILED(api->CustomOpDomain_Add(domain, &lora_cpu));
  RETURN_IF_FAILED(api->CustomOpDomain_Add(domain, &lora_cuda));
  RETURN_IF_FAILED(api->CustomOpDomain_Add(domain, &silu_cuda));
  return api->AddCustomOpDomain(options, domain);
}
