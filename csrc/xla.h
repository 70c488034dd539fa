/* What a custom call of XLA gets and returns: the binary interface of XLA's FFI (version 0.x), as far as rnnfast's calls use it.
 *
 * jaxlib is not needed to compile rnnfast, so the structs are declared here. tests/bridges/test_jax_interface.py compares them
 * with the header in the installed jaxlib. XLA puts the size of each struct into its first field and adds fields at the end, so
 * a struct may be larger than it is here.
 */
#ifndef RNNFAST_XLA_H
#define RNNFAST_XLA_H

#include <stddef.h>
#include <stdint.h>

enum { XLA_MAJOR = 0, XLA_MINOR = 3 };              /* the version of the interface that this file describes */
enum { XLA_METADATA = 1 };                          /* XlaExtension.type: XLA asks for the version of a handler */
enum { XLA_SCALAR = 3 };                            /* XlaAttributes.types */
enum { XLA_BOOL = 1, XLA_S32 = 4, XLA_S64 = 5, XLA_F32 = 11, XLA_F64 = 12 }; /* dtypes */
enum { XLA_INVALID_ARGUMENT = 3, XLA_OUT_OF_MEMORY = 8, XLA_UNIMPLEMENTED = 12 }; /* codes of errors */

typedef struct XlaExtension {
    size_t size;
    int type;
    struct XlaExtension *next;
} XlaExtension;

typedef struct {
    size_t size;
    XlaExtension *extension;
    int major, minor;
} XlaVersion;

typedef struct {
    size_t size;
    XlaVersion version; /* OUT */
    uint32_t traits;    /* OUT: 0, as they are about GPUs */
} XlaMetadata;

typedef struct {
    XlaExtension base;
    XlaMetadata *metadata;
} XlaMetadataRequest;

typedef struct {
    size_t size;
    XlaExtension *extension;
    const char *message; /* XLA copies it */
    int code;
} XlaErrorArguments;

typedef struct {
    size_t size;
    XlaExtension *extension;
    XlaVersion version;
    const void *internal;
    void *(*create_error)(XlaErrorArguments *);
} XlaFunctions;

typedef struct {
    size_t size;
    XlaExtension *extension;
    int dtype;
    void *data; /* row-major without gaps; may be NULL if there are no numbers */
    int64_t rank;
    int64_t *dims;
} XlaBuffer;

typedef struct {
    size_t size;
    XlaExtension *extension;
    int64_t count;
    int *types;
    XlaBuffer **buffers; /* [count] */
} XlaBuffers;

typedef struct {
    const char *text; /* without a zero at its end */
    size_t length;
} XlaName;

typedef struct {
    int dtype;
    void *value;
} XlaScalar;

typedef struct {
    size_t size;
    XlaExtension *extension;
    int64_t count;
    int *types;
    XlaName **names; /* [count], sorted */
    XlaScalar **values; /* [count]: scalars where the type is XLA_SCALAR */
} XlaAttributes;

/* One call. A handler returns NULL, or an error that `create_error` made. */
typedef struct {
    size_t size;
    XlaExtension *extension;
    const XlaFunctions *functions;
    void *context;
    int stage;
    XlaBuffers arguments; /* IN */
    XlaBuffers results;   /* OUT */
    XlaAttributes attributes;
} XlaCall;

#endif
