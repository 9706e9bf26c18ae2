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

constexpr int64_t kWidth = 64;
constexpr size_t kWeightsBegin = sizeof(PackHead) + 2 * sizeof(PackBranch);
char* const kMain = reinterpret_cast<char*>(0x51);  // ONNX Runtime's stream
char* const kBeside = reinterpret_cast<char*>(0x52);

Value inputs[4], outputs[2];
std::set<CUdeviceptr> alive;
std::vector<std::string> asked;        // of the driver, in order
std::vector<CUdeviceptr> weights;      // that kernels were given
std::vector<const void*> streams;      // that they were started on
unsigned tallest = 0;
int copies = 0, bad = 0;
std::string said;

OrtStatus* get_input(const OrtKernelContext*, size_t at, const OrtValue** value) noexcept {
  *value = reinterpret_cast<const OrtValue*>(&inputs[at]);
  return nullptr;
}
OrtStatus* get_output(OrtKernelContext*, size_t at, const int64_t* sizes, size_t count, OrtValue** value) noexcept {
  outputs[at].shape.assign(sizes, sizes + count);
  *value = reinterpret_cast<OrtValue*>(&outputs[at]);
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
  *stream = kMain;
  return nullptr;
}
OrtStatus* status_of(OrtErrorCode, const char* words) noexcept {
  said = words;
  return reinterpret_cast<OrtStatus*>(1);
}

const CUfunction kDown = reinterpret_cast<CUfunction>(2), kUp = reinterpret_cast<CUfunction>(3);

int launch(CUfunction function, unsigned, unsigned high, unsigned, unsigned, unsigned, unsigned, unsigned, void* stream, void** given, void**) {
  tallest = std::max(tallest, high);
  asked.push_back(function == kDown ? "down" : "up");
  streams.push_back(stream);
  weights.push_back(function == kDown ? static_cast<DownArguments*>(given[2])->a[0] : static_cast<UpArguments*>(given[3])->of[0].b);
  return high > 65535;
}

void make_driver() {
  Driver& driver = const_cast<Driver&>(Driver::get());
  driver.is_there = true;
  driver.cuCtxGetCurrent = [](CUcontext* context) { return *context = reinterpret_cast<CUcontext>(1), 0; };
  driver.cuModuleLoadData = [](CUmodule* module, const void*) { return *module = reinterpret_cast<CUmodule>(1), 0; };
  driver.cuModuleGetFunction = [](CUfunction* function, CUmodule, const char* name) {
    *function = std::strncmp(name, "lora_down", 9) ? kUp : kDown;
    return 0;
  };
  driver.cuMemAlloc = [](CUdeviceptr* at, size_t bytes) { return *at = reinterpret_cast<CUdeviceptr>(std::malloc(bytes)), alive.insert(*at), 0; };
  driver.cuMemFree = [](CUdeviceptr at) { return alive.erase(at), 0; };  // never given back, so that no address comes twice
  driver.cuMemcpyHtoD = [](CUdeviceptr to, const void* from, size_t bytes) {
    ++copies;
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return 0;
  };
  driver.cuMemcpyDtoDAsync = [](CUdeviceptr, CUdeviceptr, size_t, void*) { return asked.push_back("copy"), 0; };
  driver.cuLaunchKernel = launch;
  driver.cuStreamCreate = [](CUstream* stream, unsigned) { return *stream = reinterpret_cast<CUstream>(kBeside), 0; };
  driver.cuStreamSynchronize = [](void*) { return 0; };
  driver.cuEventCreate = [](CUevent* event, unsigned) {
    static int count = 0;
    return *event = reinterpret_cast<CUevent>(static_cast<intptr_t>(++count)), 0;
  };
  driver.cuEventRecord = [](CUevent, void* on) { return asked.push_back(on == kMain ? "main records" : "beside records"), 0; };
  driver.cuStreamWaitEvent = [](void* on, CUevent, unsigned) { return asked.push_back(on == kMain ? "main waits" : "beside waits"), 0; };
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

// An adapter of two branches of 64 x 64; `mark` stands for its content.
std::vector<char> pack_of(uint64_t mark, uint32_t first_rank, uint32_t second_rank) {
  PackHead head{{'E', 'D', 'G', 'E', 'L', 'O', 'R', 'A'}, 1, 2, mark, 0, {}};
  uint64_t at = sizeof head + 2 * sizeof(PackBranch);
  PackBranch branches[2]{};
  for (int number = 0; number < 2; ++number) {
    const uint32_t rank = number ? second_rank : first_rank;
    branches[number] = {kWidth, kWidth, rank, rank ? 1u : 0u, at, 0, {}};
    branches[number].of[0] = {0, kWidth, 0, rank, at + kWidth * rank * 2};
    at += kWidth * rank * 4;
  }
  head.bytes = at;
  std::vector<char> bytes(at, 0);
  std::memcpy(bytes.data(), &head, sizeof head);
  std::memcpy(bytes.data() + sizeof head, branches, sizeof branches);
  return bytes;
}

struct Pair {
  LoraBeginCuda begin;
  LoraEndCuda end;

  Pair() { begin.branches = end.branches = {0, 1}; }
  // One projection's branch: what is asked of the driver, and whether there was no error.
  bool run(int64_t rows, std::vector<char>& pack) {
    static uint16_t x, plain;
    static float t[8];
    asked.clear(), weights.clear(), streams.clear(), said.clear();
    const Value bytes{{static_cast<int64_t>(pack.size())}, pack.data()};
    inputs[0] = {{1, rows, kWidth}, &x};
    inputs[1] = bytes;
    outputs[0].data = &x, outputs[1].data = t;
    if (begin.compute(nullptr)) return false;
    asked.push_back("product");
    inputs[0] = {{1, rows, kWidth}, &plain};
    inputs[1] = {outputs[1].shape, t};
    inputs[2] = {{1, rows, kWidth}, &x};
    inputs[3] = bytes;
    outputs[0].data = &plain;
    return !end.compute(nullptr);
  }
};

void must(bool holds, const char* what) {
  std::printf("%s %s%s%s\n", holds ? "ok " : "BAD", what, said.empty() ? "" : ": ", said.c_str());
  bad += !holds;
}

using Asked = std::vector<std::string>;
const Asked kAside = {"main records", "beside waits", "down", "product", "beside records", "main waits", "up"};

}  // namespace

int main() {
  make_runtime();
  make_driver();
  std::vector<char> none, first = pack_of(1, 16, 8), second = pack_of(2, 16, 8), only_other = pack_of(3, 0, 8), larger = pack_of(4, 64, 64);
  {
    Pair pair;
    must(pair.run(1, none) && asked == Asked{"product"}, "without an adapter nothing is asked of the card");
    must(pair.run(1, first) && asked == kAside, "the first half runs beside the product, and the second waits for both");
    must(streams == std::vector<const void*>({kBeside, kMain}), "each on its stream");
    must(pair.run(9, first) && asked == kAside, "so it is with a prompt");
    must(outputs[0].shape.size() == 3 && inputs[1].shape == std::vector<int64_t>({9, 24}), "the sums of all projections of one x have room");
    must(pair.run(1, only_other) && asked == Asked(kAside.begin(), kAside.end() - 1), "a branch without adapter waits for those begun with it");
  }
  {
    Pair pair;
    pair.run(20, first);
    pair.run(1, first);
    const std::vector<CUdeviceptr> captured = weights;
    const int before = copies;
    pair.run(1, first);
    must(copies == before && weights == captured, "the next token copies nothing and points to the same");
    Pair other;
    other.run(20, first);
    must(copies == before, "nodes share one copy on the card");
    pair.run(5000, larger);
    pair.run(20, second);
    must(alive.count(captured.at(0) - kWeightsBegin), "what a captured token points to outlives other adapters");
  }
  must(alive.empty(), "with the last node the adapters leave the card");
  {
    Pair pair;
    std::vector<char> memory = first;
    pair.run(1, memory);
    const CUdeviceptr old = weights.at(0);
    const int before = copies;
    std::copy(second.begin(), second.end(), memory.begin());
    pair.run(1, memory);
    must(copies == before + 1 && weights.at(0) != old, "a token sees that another adapter lies at the same address");
    std::copy(first.begin(), first.end(), memory.begin());
    pair.run(1, memory);
    must(copies == before + 1 && weights.at(0) == old, "and finds the one before where it was");
  }
  {
    Pair pair;
    must(pair.run(200000, first) && tallest <= 65535, "a prompt of 200,000 rows is no more than a card takes");
  }
  {
    Pair pair;
    const auto refuses = [&](size_t at, uint64_t value, size_t bytes) {
      std::vector<char> broken = first;
      std::memcpy(broken.data() + at, &value, bytes);
      return !pair.run(1, broken) && asked.empty() && said.find("does not fit the graph") != std::string::npos;
    };
    const size_t record = sizeof(PackHead), part = record + offsetof(PackBranch, of);
    must(refuses(0, 0, 4), "an adapter without its mark is refused");
    must(refuses(8, 2, 4), "one of another format");
    must(refuses(12, 1, 4), "one with too few branches");
    must(refuses(12, 0xffffffff, 4), "one with more than it has room for");
    must(refuses(24, 1 << 20, 8), "one that is cut off");
    must(refuses(record, 128, 4), "one for another width");
    must(refuses(record + 8, 0xfffffff8, 4), "one of a huge rank");
    must(refuses(record + 16, ~uint64_t{0} - 15, 8), "one whose A lies outside");
    must(refuses(part + 16, uint64_t{1} << 62, 8), "one whose B lies outside");
    must(refuses(part + 4, 1 << 30, 4), "one with more columns than the projection");
    must(refuses(part + 12, 1 << 30, 4), "one with more ranks than its branch");
    std::vector<char> half(first.begin(), first.begin() + 40);
    must(!pair.run(1, half), "one that ends within its head");
    must(pair.run(1, first) && asked == kAside, "and the next good one is taken");
  }
  std::printf("%d do not hold\n", bad);
  return bad;
}
