/* Plumb's C ABI: what a shared library exports so that `plumb verify --plugin ./libmine.so` can judge its
 * kernels.
 *
 * Three functions lead to an array of descriptors; a descriptor is data plus function pointers. A problem
 * arrives as one line of canonical text (attributes at their defaults are left out), so a library compiled
 * today keeps loading when layers grow new attributes, and declines by name what it does not know. Tensors
 * have DLPack's DLTensor layout. C99, no other header needed; C++ authors will prefer plumb/plugin.hpp, which
 * is sugar over this file. DLPack: https://dmlc.github.io/dlpack/latest/c_api.html (DLTensor, unchanged since
 * version 0.2). */
#ifndef PLUMB_ABI_H
#define PLUMB_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PLUMB_ABI_VERSION 1

#if defined(__GNUC__) || defined(__clang__)
#define PLUMB_EXPORT __attribute__((visibility("default"), used))
#else
#define PLUMB_EXPORT
#endif

/* ---- tensors: bit for bit DLPack's DLTensor, under names of our own so that both headers can be included
 * ---- */

enum { PLUMB_DL_CPU = 1, PLUMB_DL_CUDA = 2 };                       /* device.device_type */
enum { PLUMB_DL_INT = 0, PLUMB_DL_FLOAT = 2, PLUMB_DL_BFLOAT = 4 }; /* dtype.code */

typedef struct plumb_dl_device {
  int32_t device_type;
  int32_t device_id;
} plumb_dl_device;

typedef struct plumb_dl_dtype {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
} plumb_dl_dtype;

typedef struct plumb_dl_tensor {
  void* data; /* first element; NULL: an optional tensor (a bias) that this problem leaves out */
  plumb_dl_device device;
  int32_t ndim;
  plumb_dl_dtype dtype;
  int64_t* shape;   /* logical N,C,[D,]H,W, whatever the layout */
  int64_t* strides; /* in elements; NULL means dense row major */
  uint64_t byte_offset;
} plumb_dl_tensor;

enum {
  PLUMB_READ_ONLY = 1
}; /* plumb_tensor.flags; writing such a tensor is a fault and is reported as one */

typedef struct plumb_tensor {
  plumb_dl_tensor dl;
  uint64_t flags;
} plumb_tensor;

/* ---- the problem and the call ---- */

typedef struct plumb_problem {
  size_t size;      /* sizeof(plumb_problem) of the caller; later versions only append */
  const char* text; /* "conv2d x=16x64x56x56 weight=64x64x3x3 bias=64 pad=1" */
  plumb_dl_dtype dtype;
  const char* layout; /* "nchw" or "nhwc": how the tensors of rank 3 and more lie in memory */
  int32_t threads;    /* how many threads a call may use */
} plumb_problem;

typedef struct plumb_call {
  size_t size; /* sizeof(plumb_call) of the caller; later versions only append */
  const plumb_problem* problem;
  void* state;               /* what `open` returned, or NULL */
  const plumb_tensor* reads; /* in the layer's order for the pass, see `plumb list layers` */
  int32_t read_count;
  int32_t write_count;
  const plumb_tensor*
      writes;      /* overwritten, never accumulated into; contents before the call are arbitrary */
  void* workspace; /* workspace_size() bytes, 64-byte aligned, contents arbitrary */
  size_t workspace_size;
  int32_t threads;
  void*
      stream; /* the CUDA stream to work on, and not to wait for; NULL on the CPU. For a kernel of the device "cuda"
                 * every tensor and the workspace lie on the device, in the primary context of the current one */
} plumb_call;

/* ---- the kernel ---- */

enum { PLUMB_NOT_REPEATABLE = 0, PLUMB_REPEATABLE = 1, PLUMB_THREAD_INVARIANT = 2 }; /* determinism */
enum { PLUMB_ANY_STRIDES = 1 };                                                      /* plumb_kernel.flags */

typedef struct plumb_kernel plumb_kernel;
struct plumb_kernel {
  size_t size;         /* sizeof(plumb_kernel) the library was compiled with */
  const char* name;    /* "conv2d.forward/mine@cpu": layer.pass/algorithm@target */
  const char* dtypes;  /* "f32" or a list, "f32 f64 bf16 f16"; NULL: f32 */
  const char* layouts; /* "nchw", "nhwc" or both with a space between; NULL: nchw */
  const char* device;  /* "cpu" or "cuda"; NULL: cpu */
  const char*
      arithmetic; /* the rounding it promises, selects the error bound: "f32", "bf16_f32", …; NULL: f32 */
  double ulps;    /* element-wise kernels: largest error in units in the last place; 0: not declared */
  int32_t determinism; /* PLUMB_REPEATABLE: same bits for same inputs and threads; … */
  uint32_t flags;      /* PLUMB_ANY_STRIDES: takes every stride, not only the dense layouts above */
  void* user;          /* the library's own */

  /* NULL if the kernel takes this problem, else the reason in words (kept alive by the library at least until
   * the next call into it). May be NULL: takes everything. */
  const char* (*supports)(const plumb_kernel* self, const plumb_problem* problem);
  /* Bytes of scratch memory that `run` needs. May be NULL: none. */
  size_t (*workspace_size)(const plumb_kernel* self, const plumb_problem* problem);
  /* State for one problem (compiled code, packed weights), and its end. Both may be NULL. */
  void* (*open)(const plumb_kernel* self, const plumb_problem* problem);
  void (*close)(const plumb_kernel* self, void* state);
  /* Called before the first run and again whenever the weights change; sees the reads of the run. Returns 0,
   * or a code that is reported as a failure. May be NULL. */
  int32_t (*prepare)(const plumb_kernel* self, const plumb_call* call);
  /* The work. Allocates nothing, throws nothing. Returns 0, or a code that is reported as a failure. */
  int32_t (*run)(const plumb_kernel* self, const plumb_call* call);
};

/* ---- the three symbols a plugin exports ---- */

PLUMB_EXPORT uint32_t plumb_abi_version(void); /* PLUMB_ABI_VERSION */
PLUMB_EXPORT size_t plumb_kernel_count(void);
PLUMB_EXPORT const plumb_kernel* plumb_kernel_at(size_t index); /* lives as long as the library is loaded */

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
