// Graph operators for ONNX Runtime, on the CPU and on CUDA, in one library that loads where there is no CUDA as well.
//
//   edge.toolkit::LoraAdd(x, plain, pack) -> plain + (x A) B                CPU, float. Attribute `branch`: whose A and B.
//   edge.toolkit::LoraBegin(x, pack) -> x, t                                CUDA, fp16. t = x A, begun beside what comes next. Attribute
//                                                                           `branches`: of all projections that read this x.
//   edge.toolkit::LoraEnd(plain, t, x, pack) -> plain + t B                 CUDA, fp16. x only so that its memory is not given away before.
//   edge.toolkit::SiluMul(gate, up) -> gate * sigmoid(gate) * up            CUDA, fp16.
//
// `pack` is a whole adapter in one tensor (lora_pack.h), on the host; empty: no adapter, and nothing is done. One tensor, for ONNX
// Runtime takes in each tensor of an adapter anew at every token. The CUDA ones keep a copy on the card.
// The CUDA driver is opened by name at run time; kernels come as PTX, which every driver from release 530 on compiles.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lora_cpu.h"
#include "lora_cuda.h"
#include "ort_context.h"

namespace {

// ---- CPU -----------------------------------------------------------------------------------------------------------------

constexpr int64_t kPart = 256;  // outputs of a row that a thread makes at a time

// What threads share: many rows, one by each; or one row, its outputs in parts.
struct LoraTask {
  const Tensor &x, &plain;
  const char* pack;
  const PackBranch& branch;
  float* y;
  std::vector<float> t;  // of one row

  LoraRow row(int64_t number, float* sums) const {
    const int64_t outputs = plain.last();
    return {static_cast<const float*>(x.data) + number * x.last(), static_cast<const float*>(plain.data) + number * outputs, pack, branch,
            y + number * outputs, sums};
  }
  static void whole_row(void* self, size_t number) {
    const LoraTask& task = *static_cast<LoraTask*>(self);
    std::vector<float> sums(task.branch.rank);
    const LoraRow row = task.row(static_cast<int64_t>(number), sums.data());
    row.run_down(0, row.tiles());
    row.run_up(0, task.plain.last());
  }
  static void part_of_row(void* self, size_t number) {
    LoraTask& task = *static_cast<LoraTask*>(self);
    const int64_t first = static_cast<int64_t>(number) * kPart;
    task.row(0, task.t.data()).run_up(first, std::min(first + kPart, task.plain.last()));
  }
};

struct LoraCpu {
  std::vector<int64_t> branch;

  OrtStatus* prepare(const OrtKernelInfo* info) {
    branch.resize(1);
    return api->KernelInfoGetAttribute_int64(info, "branch", branch.data());
  }

  OrtStatus* compute(OrtKernelContext* context) {
    Tensor x, plain;
    LoraPack pack;
    PackBranch own;
    RETURN_IF_FAILED(read_input(context, 0, x));
    RETURN_IF_FAILED(read_input(context, 1, plain));
    RETURN_IF_FAILED(read_pack(context, 2, pack));
    RETURN_IF_FAILED(misfit(pack.branch(branch[0], x.last(), plain.last(), own)));
    void* y = nullptr;
    RETURN_IF_FAILED(make_output(context, 0, plain.shape, &y));
    const size_t rows = plain.rows();
    if (own.rank == 0 || rows == 0) {
      if (y != plain.data) std::memcpy(y, plain.data, rows * plain.last() * sizeof(float));
      return nullptr;
    }
    LoraTask task{x, plain, pack.data(), own, static_cast<float*>(y), std::vector<float>(own.rank)};
    if (rows > 1) return api->KernelContext_ParallelFor(context, LoraTask::whole_row, rows, 0, &task);
    const LoraRow row = task.row(0, task.t.data());
    row.run_down(0, row.tiles());
    const size_t parts = (plain.last() + kPart - 1) / kPart;
    return api->KernelContext_ParallelFor(context, LoraTask::part_of_row, parts, 0, &task);
  }
};

struct SiluMulCuda {
  OrtStatus* prepare(const OrtKernelInfo*) { return nullptr; }
  OrtStatus* compute(OrtKernelContext* context) {
    Tensor gate, up;
    RETURN_IF_FAILED(read_input(context, 0, gate));
    RETURN_IF_FAILED(read_input(context, 1, up));
    void* y = nullptr;
    RETURN_IF_FAILED(make_output(context, 0, gate.shape, &y));
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
constexpr auto kBytes = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
using Types = std::vector<ONNXTensorElementDataType>;

// How the first output has the memory of an input: always, where the kernel does not write it; or where nobody else reads it.
enum class Memory { kSame, kTakenOver };

template <class Kernel>
struct Operator : OrtCustomOp {
  const char *name, *provider;
  Types inputs, outputs;

  // Bytes stay in the host's memory. `shared`: the input whose memory the first output has.
  Operator(const char* name, const char* provider, Types inputs, Types outputs, Memory memory, int shared)
      : OrtCustomOp{}, name(name), provider(provider), inputs(std::move(inputs)), outputs(std::move(outputs)) {
    version = kApiVersion;
    GetName = [](const OrtCustomOp* op) { return self(op).name; };
    GetExecutionProviderType = [](const OrtCustomOp* op) { return self(op).provider; };
    GetInputType = [](const OrtCustomOp* op, size_t at) { return self(op).inputs[at]; };
    GetInputTypeCount = [](const OrtCustomOp* op) { return self(op).inputs.size(); };
    GetOutputType = [](const OrtCustomOp* op, size_t at) { return self(op).outputs[at]; };
    GetOutputTypeCount = [](const OrtCustomOp* op) { return self(op).outputs.size(); };
    GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    GetInputMemoryType = [](const OrtCustomOp* op, size_t at) { return self(op).inputs[at] == kBytes ? OrtMemTypeCPUInput : OrtMemTypeDefault; };
    GetVariadicInputMinArity = [](const OrtCustomOp*) { return 0; };
    GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
    GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 0; };
    GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 0; };
    CreateKernelV2 = [](const OrtCustomOp*, const OrtApi*, const OrtKernelInfo* info, void** kernel) -> OrtStatusPtr {
      auto made = std::make_unique<Kernel>();
      RETURN_IF_FAILED(made->prepare(info));
      *kernel = made.release();
      return nullptr;
    };
    KernelComputeV2 = [](void* kernel, OrtKernelContext* context) -> OrtStatusPtr { return static_cast<Kernel*>(kernel)->compute(context); };
    KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return 1; };
    GetMayInplace = [](int** input, int** output) { return pairs(Memory::kTakenOver, input, output); };
    ReleaseMayInplace = [](int* input, int* output) { release(input, output); };
    GetAliasMap = [](int** input, int** output) { return pairs(Memory::kSame, input, output); };
    ReleaseAliasMap = [](int* input, int* output) { release(input, output); };
    sharing() = {memory, shared};
  }

  static const Operator& self(const OrtCustomOp* op) { return *static_cast<const Operator*>(op); }

 private:
  static std::pair<Memory, int>& sharing() {  // the two questions do not tell which operator is asked; there is one for each kernel
    static std::pair<Memory, int> value;
    return value;
  }
  static size_t pairs(Memory asked, int** input, int** output) {
    *input = *output = nullptr;
    if (sharing().first != asked) return 0;
    *input = new int(sharing().second);
    *output = new int(0);
    return 1;
  }
  static void release(int* input, int* output) {
    delete input;
    delete output;
  }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  api = base->GetApi(kApiVersion);
  const char *cpu = "CPUExecutionProvider", *cuda = "CUDAExecutionProvider";
  static Operator<LoraCpu> add("LoraAdd", cpu, {kFloat, kFloat, kBytes}, {kFloat}, Memory::kTakenOver, 1);
  static Operator<LoraBeginCuda> begin("LoraBegin", cuda, {kHalf, kBytes}, {kHalf, kFloat}, Memory::kSame, 0);
  static Operator<LoraEndCuda> end("LoraEnd", cuda, {kHalf, kFloat, kHalf, kBytes}, {kHalf}, Memory::kTakenOver, 0);
  static Operator<SiluMulCuda> silu("SiluMul", cuda, {kHalf, kHalf}, {kHalf}, Memory::kTakenOver, 0);
  OrtCustomOpDomain* domain = nullptr;
  RETURN_IF_FAILED(api->CreateCustomOpDomain("edge.toolkit", &domain));  // lives as long as the process: sessions point to it
  for (OrtCustomOp* op : {static_cast<OrtCustomOp*>(&add), static_cast<OrtCustomOp*>(&begin), static_cast<OrtCustomOp*>(&end), static_cast<OrtCustomOp*>(&silu)})
    RETURN_IF_FAILED(api->CustomOpDomain_Add(domain, op));
  return api->AddCustomOpDomain(options, domain);
}
