/* A Python extension in C that runs a recurrent layer over a signal, sample by sample, without Python.
 *
 *     pip install setuptools Cython
 *     python setup.py build_ext --inplace && python run.py
 *
 * Python hands the weights over once (`new`); after that `run_samples` runs with the GIL released: it could as well be
 * called from the callback of an audio device. rnnfast.h documents the table's functions. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <rnnfast.h>

static const rnnfast_api *rnnfast; /* loaded once, in the module's initialisation */

/* The part that knows nothing of Python: n samples through the plan, y [n, H]. A negative number: last_error says why. */
static int run_samples(rnnfast_plan *plan, const float *x, float *y, Py_ssize_t n, Py_ssize_t H)
{
    for (Py_ssize_t t = 0; t < n; t++) {
        const int status = rnnfast->step(plan, x + t, y + t * H);
        if (status < 0) return status;
    }
    return RNNFAST_OK;
}

static void free_plan(PyObject *capsule)
{
    rnnfast->destroy((rnnfast_plan *)PyCapsule_GetPointer(capsule, "steps.plan"));
}

/* new(weight_ih [3*H, 1], weight_hh [3*H, H], bias_ih [3*H], bias_hh [3*H]): a GRU of float32, one sequence. */
static PyObject *new_plan(PyObject *self, PyObject *arguments)
{
    Py_buffer w[4];
    (void)self;
    if (!PyArg_ParseTuple(arguments, "y*y*y*y*", &w[0], &w[1], &w[2], &w[3])) return NULL;

    rnnfast_options options = rnnfast_default_options();
    options.cell = RNNFAST_GRU;
    options.dtype = RNNFAST_FLOAT32;
    options.input_size = 1;
    options.hidden_size = w[2].len / (Py_ssize_t)(3 * sizeof(float));
    const rnnfast_weights weights = {
        .weight_ih = w[0].buf, .weight_hh = w[1].buf, .bias_ih = w[2].buf, .bias_hh = w[3].buf};
    rnnfast_plan *plan = rnnfast->create(&options, &weights); /* copies them */
    for (int n = 0; n < 4; n++) PyBuffer_Release(&w[n]);
    if (!plan) return PyErr_Format(PyExc_ValueError, "%s", rnnfast->last_error());
    return PyCapsule_New(plan, "steps.plan", free_plan);
}

/* run(plan, x [n], y [n, H]) */
static PyObject *run(PyObject *self, PyObject *arguments)
{
    PyObject *capsule;
    Py_buffer x, y;
    int status = RNNFAST_INVALID;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "Oy*w*", &capsule, &x, &y)) return NULL;
    rnnfast_plan *plan = (rnnfast_plan *)PyCapsule_GetPointer(capsule, "steps.plan");
    if (plan && x.len) {
        const Py_ssize_t n = x.len / (Py_ssize_t)sizeof(float);
        Py_BEGIN_ALLOW_THREADS
        status = run_samples(plan, (const float *)x.buf, (float *)y.buf, n, y.len / x.len);
        Py_END_ALLOW_THREADS
        if (status < 0) PyErr_SetString(PyExc_RuntimeError, rnnfast->last_error());
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&y);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"new", new_plan, METH_VARARGS, "A plan from a GRU's four weights."},
                                {"run", run, METH_VARARGS, "Runs samples x [n] into y [n, H]."},
                                {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "steps", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_steps(void)
{
    rnnfast = rnnfast_import(); /* NULL: an exception is set */
    return rnnfast ? PyModule_Create(&module) : NULL;
}
