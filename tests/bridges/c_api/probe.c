/* The C API as a C extension uses it, for tests: a plan's work in a thread that Python knows nothing of, while the calling one
 * holds the GIL; and how often that work asks for memory. Also compiled as C++ (probe_cpp.cpp). */
#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>
#include <dlfcn.h>
#include <pthread.h>
#include <rnnfast.h>

static const rnnfast_api *rnnfast;

typedef struct {
    rnnfast_plan *plan;
    Py_ssize_t T;
    char *x, *stepped, *y;        /* [T, B, I], [T, B, H], [T, B, H] */
    Py_ssize_t x_bytes, y_bytes;  /* of one step */
    rnnfast_gradients gradients;
    int failed;
    long allocated;
    const char *message;
} Work;

/* Steps, a run, a forward and a backward, and how often they allocate. Before them a first step: a thread's first call may make
 * what is the thread's own. */
static void *work(void *argument)
{
    Work *w = (Work *)argument;
    unsigned long (*allocations)(void);
    *(void **)&allocations = dlsym(RTLD_DEFAULT, "allocations");
    w->failed |= rnnfast->step(w->plan, w->x, w->stepped);
    const unsigned long before = allocations ? allocations() : 0;
    w->failed |= rnnfast->reset(w->plan, NULL);
    for (Py_ssize_t t = 0; t < w->T; t++)
        w->failed |= rnnfast->step(w->plan, w->x + t * w->x_bytes, w->stepped + t * w->y_bytes);
    w->failed |= rnnfast->reset(w->plan, NULL);
    w->failed |= rnnfast->run(w->plan, w->T, w->x, w->y, NULL, NULL);
    w->failed |= rnnfast->reset(w->plan, NULL);
    w->failed |= rnnfast->forward(w->plan, w->T, w->x, w->y, NULL, NULL);
    w->failed |= rnnfast->backward(w->plan, &w->gradients);
    w->allocated = allocations ? (long)(allocations() - before) : -1;
    w->message = rnnfast->last_error();
    return NULL;
}

/* run(*weights, *grads, x, stepped, y, dx, B, I, H, threads, bfloat16, apart): an LSTM of one layer, of floats; how often its work
 * has allocated, -1 if nobody counts. */
static PyObject *run(PyObject *self, PyObject *arguments)
{
    Py_buffer buffers[12];
    Py_ssize_t B, I, H;
    int threads, bfloat16, apart;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "y*y*y*y*w*w*w*w*y*w*w*w*nnniii", &buffers[0], &buffers[1], &buffers[2], &buffers[3],
                          &buffers[4], &buffers[5], &buffers[6], &buffers[7], &buffers[8], &buffers[9], &buffers[10],
                          &buffers[11], &B, &I, &H, &threads, &bfloat16, &apart))
        return NULL;
    rnnfast_options options = rnnfast_default_options();
    rnnfast_weights weights, grads;
    memset(&weights, 0, sizeof weights);
    memset(&grads, 0, sizeof grads);
    weights.weight_ih = buffers[0].buf, weights.weight_hh = buffers[1].buf;
    weights.bias_ih = buffers[2].buf, weights.bias_hh = buffers[3].buf;
    grads.weight_ih = buffers[4].buf, grads.weight_hh = buffers[5].buf;
    grads.bias_ih = buffers[6].buf, grads.bias_hh = buffers[7].buf;
    options.cell = RNNFAST_LSTM;
    options.training = 1;
    options.threads = threads;
    options.matmul_precision = bfloat16 ? RNNFAST_BFLOAT16 : RNNFAST_FLOAT32;
    options.input_size = I, options.hidden_size = H, options.batch = B;
    options.max_steps = buffers[8].len / (B * I * (Py_ssize_t)sizeof(float));

    Work w;
    memset(&w, 0, sizeof w);
    w.T = options.max_steps;
    w.x = (char *)buffers[8].buf, w.stepped = (char *)buffers[9].buf, w.y = (char *)buffers[10].buf;
    w.x_bytes = B * I * (Py_ssize_t)sizeof(float), w.y_bytes = B * H * (Py_ssize_t)sizeof(float);
    w.gradients = rnnfast_no_gradients();
    w.gradients.dy = w.y;
    w.gradients.dx = buffers[11].buf;
    w.gradients.weights = &grads;
    w.plan = rnnfast->create(&options, &weights);
    w.failed = !w.plan;
    if (w.failed) {
        w.message = rnnfast->last_error();
    } else if (apart) {
        pthread_t thread;
        w.failed = pthread_create(&thread, NULL, work, &w);
        if (!w.failed) pthread_join(thread, NULL);
    } else {
        work(&w);
    }
    if (w.failed) PyErr_SetString(PyExc_RuntimeError, apart ? "failed in its thread" : w.message);
    rnnfast->destroy(w.plan);
    for (int n = 0; n < 12; n++) PyBuffer_Release(&buffers[n]);
    return w.failed ? NULL : PyLong_FromLong(w.allocated);
}

static PyObject *load(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    if (!rnnfast_import()) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"run", run, METH_VARARGS, NULL}, {"load", load, METH_NOARGS, "rnnfast_import()"}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "probe", NULL, -1, methods, NULL, NULL, NULL, NULL};

#ifndef INIT
#define INIT PyInit_probe
#endif
PyMODINIT_FUNC INIT(void)
{
    rnnfast = rnnfast_import();
    return rnnfast ? PyModule_Create(&module) : NULL;
}
