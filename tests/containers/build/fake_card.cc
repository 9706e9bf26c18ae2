// The real graph_ops.cc without a card: ONNX Runtime's context and the CUDA driver are stand-ins that write down what they are asked.
// One line a case; the exit status is how many do not hold.
#include "graph_ops.cc"

#include <cstdio>
#include <cstdlib>
#include <set>

extern "C" const char kernels_ptx[] = "";

namespace {

struct Value {
  std::vector<int64_t> shape;
  void* data;
};

Value inputs[4], output;
std::set<CUdeviceptr> alive;
std::vector<CUdeviceptr> scratch_of_many, given_to_one;
unsigned tallest = 0;
int copies = 0, bad = 0;

OrtStatus* get_input(const OrtKernelContext*, size_t at, const OrtValue** value) noexcept {
  *value = reinterpret_cast<const OrtValue*>(&inputs[at]);
  return nullptr;
}
OrtStatus* get_output(OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue** value) noexcept {
  *value = reinterpret_cast<OrtValue*>(&output);
  return nullptr;
}
OrtStatus* info_of(const OrtValue* value, OrtTensorTypeAndShapeInfo** info) noexcept {
  *info = reinterpret_cast<OrtTensorTypeAndShapeInfo*>(const_cast<OrtValue*>(value));
  return nullptr;
}
OrtStatus* count_of(const OrtTensorTypeAndShapeInfo* info, size_t* count) noexcept {
  *count = reinterpret_cast<const Value*>(info)->shape.size();
  return nullptr;
}
OrtStatus* sizes_of(const OrtTensorTypeAndShapeInfo* info, int64_t* sizes, size_t count) noexcept {
  std::memcpy(sizes, reinterpret_cast<const Value*>(info)->shape.data(), count * sizeof(int64_t));
  return nullptr;
}
void release(OrtTensorTypeAndShapeInfo*) noexcept {}
OrtStatus* data_of(OrtValue* value, void** data) noexcept {
  *data = reinterpret_cast<Value*>(value)->data;
  return nullptr;
}
OrtStatus* stream_of(const OrtKernelContext*, void** stream) noexcept {
  *stream = reinterpret_cast<void*>(0x51);
  return nullptr;
}
OrtStatus* status_of(OrtErrorCode, const char* said) noexcept {
  std::printf("     status: %s\n", said);
  return reinterpret_cast<OrtStatus*>(1);
}

const CUfunction kOne = reinterpret_cast<CUfunction>(1), kDown = reinterpret_cast<CUfunction>(2), kOther = reinterpret_cast<CUfunction>(3);

int launch(CUfunction function, unsigned, unsigned high, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void** given, void**) {
  tallest = std::max(tallest, high);
  if (function == kDown) scratch_of_many.push_back(*static_cast<CUdeviceptr*>(given[2]));
  if (function == kOne)
    for (int at : {2, 5, 6}) given_to_one.push_back(*static_cast<CUdeviceptr*>(given[at]));
  return high > 65535;
}

void make_driver(int processors) {
  static int count;
  count = processors;
  Driver& driver = const_cast<Driver&>(Driver::get());
  driver.is_there = true;
  driver.cuCtxGetCurrent = [](CUcontext* context) { return *context = reinterpret_cast<CUcontext>(1), 0; };
  driver.cuCtxGetDevice = [](int* device) { return *device = 0, 0; };
  driver.cuDeviceGetAttribute = [](int* value, int, int) { return *value = count, 0; };
  driver.cuModuleLoadData = [](CUmodule* module, const void*) { return *module = reinterpret_cast<CUmodule>(1), 0; };
  driver.cuModuleGetFunction = [](CUfunction* function, CUmodule, const char* name) {
    *function = !std::strcmp(name, "lora_one") ? kOne : !std::strcmp(name, "lora_down") ? kDown : kOther;
    return 0;
  };
  driver.cuMemAlloc = [](CUdeviceptr* at, size_t bytes) { return *at = reinterpret_cast<CUdeviceptr>(std::malloc(bytes)), alive.insert(*at), 0; };
  driver.cuMemFree = [](CUdeviceptr at) { return alive.erase(at), 0; };  // never given back, so that no address comes twice
  driver.cuMemcpyHtoD = [](CUdeviceptr to, const void* from, size_t bytes) {
    ++copies;
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return 0;
  };
  driver.cuMemcpyDtoDAsync = [](CUdeviceptr, CUdeviceptr, size_t, void*) { return 0; };
  driver.cuLaunchKernel = launch;
  driver.cuGetErrorName = [](int, const char** name) { return *name = "CUDA_ERROR_INVALID_VALUE", 0; };
}

void make_runtime() {
  static OrtApi fake{};
  fake.KernelContext_GetInput = get_input;
  fake.KernelContext_GetOutput = get_output;
  fake.GetTensorTypeAndShape = info_of;
  fake.GetDimensionsCount = count_of;
  fake.GetDimensions = sizes_of;
  fake.ReleaseTensorTypeAndShapeInfo = release;
  fake.GetTensorMutableData = data_of;
  fake.KernelContext_GetGPUComputeStream = stream_of;
  fake.CreateStatus = status_of;
  api = &fake;
}

void run(LoraCuda& op, int64_t rows, std::vector<uint16_t>& a, std::vector<uint16_t>& b, int64_t rank) {
  static uint16_t plain;
  inputs[0] = inputs[1] = output = {{1, rows, 64}, &plain};
  inputs[2] = {{64, rank}, a.data()};
  inputs[3] = {{rank, 64}, b.data()};
  scratch_of_many.clear();
  given_to_one.clear();
  op.compute(nullptr);
}

void must(bool holds, const char* what) {
  std::printf("%s %s\n", holds ? "ok " : "BAD", what);
  bad += !holds;
}

}  // namespace

int main() {
  make_runtime();
  make_driver(132);
  std::vector<uint16_t> a(64 * 64, 1), b(64 * 64, 1), other(64 * 64, 2);
  {
    LoraCuda op;
    run(op, 20, a, b, 16);
    run(op, 1, a, b, 16);
    const std::vector<CUdeviceptr> captured = given_to_one;
    must(captured.size() == 3, "one row is one kernel");
    run(op, 5000, a, b, 16);
    must(std::all_of(captured.begin(), captured.end(), [](CUdeviceptr at) { return alive.count(at); }), "what a captured token points to outlives a longer prompt");
    const int before = copies;
    run(op, 1, a, b, 16);
    must(copies == before && given_to_one == captured, "the next token copies nothing and points to the same");
  }
  {
    LoraCuda op;
    run(op, 20, a, b, 16);
    run(op, 2, a, b, 16);
    const CUdeviceptr sums = scratch_of_many.at(0);
    run(op, 5000, a, b, 32);
    must(alive.count(sums) && scratch_of_many.at(0) == sums, "so does what a captured token of two sequences points to");
  }
  {
    LoraCuda op;
    run(op, 20, a, b, 8);
    run(op, 1, a, b, 8);
    const CUdeviceptr weights = given_to_one.at(0);
    run(op, 20, a, b, 16);
    must(alive.count(weights), "weights of a captured token outlive a larger adapter at the same address");
  }
  {
    LoraCuda op;
    run(op, 1, a, b, 16);
    int before = copies;
    run(op, 1, a, other, 16);
    must(copies > before, "another B beside an A at the same address is taken");
    before = copies;
    run(op, 1, a, other, 32);
    must(copies > before, "so is another rank");
    before = copies;
    std::fill(other.begin(), other.end(), 3);
    run(op, 20, a, other, 32);
    must(copies > before, "a prompt sees that other weights lie at the same address");
  }
  {
    LoraCuda op;
    run(op, 200000, a, b, 16);
    must(tallest <= 65535 && scratch_of_many.size() == 196, "a prompt of 200,000 rows is worked on piece by piece");
  }
  std::printf("%d do not hold\n", bad);
  return bad;
}
