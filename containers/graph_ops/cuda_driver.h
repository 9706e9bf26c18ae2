// The few functions of the CUDA driver that are needed, found at run time, so that nothing is linked against CUDA.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <string>

using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUdeviceptr = std::uintptr_t;

struct Driver {
  bool is_there = false;
  int (*cuCtxGetCurrent)(CUcontext*) = nullptr;
  int (*cuCtxGetDevice)(int*) = nullptr;
  int (*cuDeviceGetAttribute)(int*, int, int) = nullptr;
  int (*cuModuleLoadData)(CUmodule*, const void*) = nullptr;
  int (*cuModuleGetFunction)(CUfunction*, CUmodule, const char*) = nullptr;
  int (*cuMemAlloc)(CUdeviceptr*, std::size_t) = nullptr;
  int (*cuMemFree)(CUdeviceptr) = nullptr;
  int (*cuMemcpyHtoD)(CUdeviceptr, const void*, std::size_t) = nullptr;
  int (*cuMemcpyDtoDAsync)(CUdeviceptr, CUdeviceptr, std::size_t, void*) = nullptr;
  int (*cuLaunchKernel)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**) = nullptr;
  int (*cuStreamCreate)(CUstream*, unsigned) = nullptr;
  int (*cuStreamSynchronize)(void*) = nullptr;
  int (*cuEventCreate)(CUevent*, unsigned) = nullptr;
  int (*cuEventRecord)(CUevent, void*) = nullptr;
  int (*cuStreamWaitEvent)(void*, CUevent, unsigned) = nullptr;
  int (*cuGetErrorName)(int, const char**) = nullptr;

  static const Driver& get() {
    static const Driver driver;
    return driver;
  }

  std::string name_of(int code) const {
    const char* name = nullptr;
    return !cuGetErrorName(code, &name) && name ? name : std::to_string(code);
  }

 private:
  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) return;
    bool has_all = true;
    auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
      has_all = has_all && function;
    };
    find(cuCtxGetCurrent, "cuCtxGetCurrent");
    find(cuCtxGetDevice, "cuCtxGetDevice");
    find(cuDeviceGetAttribute, "cuDeviceGetAttribute");
    find(cuModuleLoadData, "cuModuleLoadData");
    find(cuModuleGetFunction, "cuModuleGetFunction");
    find(cuMemAlloc, "cuMemAlloc_v2");
    find(cuMemFree, "cuMemFree_v2");
    find(cuMemcpyHtoD, "cuMemcpyHtoD_v2");
    find(cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2");
    find(cuLaunchKernel, "cuLaunchKernel");
    find(cuStreamCreate, "cuStreamCreate");
    find(cuStreamSynchronize, "cuStreamSynchronize");
    find(cuEventCreate, "cuEventCreate");
    find(cuEventRecord, "cuEventRecord");
    find(cuStreamWaitEvent, "cuStreamWaitEvent");
    find(cuGetErrorName, "cuGetErrorName");
    is_there = has_all;
  }
};
