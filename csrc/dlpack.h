/* How a library shows the memory of its tensors to C: the exchange functions of DLPack 1, as far as rnnfast uses them.
 *
 * No header of that library is needed to compile rnnfast, so the structs are declared here. tests/bridges/test_torch_tensors.py
 * compares them with the header in the installed torch. A class of tensors has a capsule `__dlpack_c_exchange_api__` around a
 * DlpackFunctions. Its function pointers need an attached thread state. They return 0, or -1 with a Python exception.
 */
#ifndef RNNFAST_DLPACK_H
#define RNNFAST_DLPACK_H

#include <stdint.h>

enum { DLPACK_MAJOR = 1 }; /* another major version has other structs */
enum { DLPACK_CPU = 1 };   /* DlpackTensor.device_type */
enum { DLPACK_FLOAT = 2 }; /* DlpackTensor.code */

typedef struct {
    void *data;
    int32_t device_type, device_id;
    int32_t ndim;
    uint8_t code, bits; /* of a number */
    uint16_t lanes;     /* 1, unless an element is a vector */
    int64_t *shape;     /* [ndim] */
    int64_t *strides;   /* [ndim], in elements; NULL: row-major without gaps */
    uint64_t byte_offset;
} DlpackTensor;

typedef struct {
    uint32_t major, minor;
} DlpackVersion;

/* A tensor whose memory stays until `deleter` is called. */
typedef struct DlpackOwned {
    DlpackVersion version;
    void *context;
    void (*deleter)(struct DlpackOwned *);
    uint64_t flags;
    DlpackTensor tensor;
} DlpackOwned;

typedef struct DlpackFunctions {
    DlpackVersion version;
    struct DlpackFunctions *previous; /* for an older major version, or NULL */
    int (*allocate)(void);            /* not used, as are the others without arguments */
    int (*own)(void *object, DlpackOwned **owned);
    int (*from_owned)(void);
    int (*look)(void *object, DlpackTensor *tensor); /* no ownership; may be NULL */
    int (*stream)(void);
} DlpackFunctions;

#endif
