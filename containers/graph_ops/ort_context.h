// What operators read from ONNX Runtime's context, and what they say when it does not fit. Included once, by graph_ops.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lora_pack.h"
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

OrtStatus* make_output(OrtKernelContext* context, size_t index, const std::vector<int64_t>& shape, void** data) {
  OrtValue* value = nullptr;
  RETURN_IF_FAILED(api->KernelContext_GetOutput(context, index, shape.data(), shape.size(), &value));
  return api->GetTensorMutableData(value, data);
}

OrtStatus* misfit(const std::string& what) { return what.empty() ? nullptr : failure("The adapter does not fit the graph: " + what + "."); }

OrtStatus* read_pack(OrtKernelContext* context, size_t index, LoraPack& pack) {
  Tensor tensor;
  RETURN_IF_FAILED(read_input(context, index, tensor));
  if (tensor.shape.size() != 1) return misfit("it is no row of bytes");
  return misfit(pack.open(tensor.data, static_cast<uint64_t>(tensor.last())));
}

OrtStatus* attribute(const OrtKernelInfo* info, const char* name, std::vector<int64_t>& values) {
  size_t count = 0;
  RETURN_IF_FAILED(api->KernelInfoGetAttributeArray_int64(info, name, nullptr, &count));
  values.resize(count);
  return api->KernelInfoGetAttributeArray_int64(info, name, values.data(), &count);
}

}  // namespace
