# cython: language_level=3
"""A Cython module that trains an LSTM in a loop without the GIL: forward, backward, refresh."""
from libc.string cimport memset
from rnnfast.capi cimport *

cdef const rnnfast_api *rnnfast = rnnfast_import()


def descend(float[:, ::1] weight_ih, float[:, ::1] weight_hh, float[::1] bias, const float[:, :, ::1] x,
            const float[:, :, ::1] targets, float lr, int updates):
    """Gradient descent on mean (y - targets)^2 / 2; the weights are changed in place, the last loss comes back.

    weight_ih [4*H, I], weight_hh [4*H, H], bias [4*H] (bias_hh is left out), x [T, B, I], targets [T, B, H].
    """
    cdef Py_ssize_t T = x.shape[0], B = x.shape[1], I = x.shape[2], H = weight_hh.shape[1], n
    cdef float[:, ::1] dweight_ih = weight_ih.copy(), dweight_hh = weight_hh.copy()
    cdef float[::1] dbias = bias.copy()
    cdef float[:, :, ::1] y = targets.copy(), dy = targets.copy()
    cdef rnnfast_options options = rnnfast_default_options()
    cdef rnnfast_gradients gradients = rnnfast_no_gradients()
    cdef rnnfast_weights weights, dweights
    cdef rnnfast_plan *plan
    cdef double loss = 0
    cdef int status = RNNFAST_OK, update

    memset(&weights, 0, sizeof(weights))
    memset(&dweights, 0, sizeof(dweights))
    weights.weight_ih, weights.weight_hh, weights.bias_ih = &weight_ih[0, 0], &weight_hh[0, 0], &bias[0]
    dweights.weight_ih, dweights.weight_hh, dweights.bias_ih = &dweight_ih[0, 0], &dweight_hh[0, 0], &dbias[0]
    gradients.dy, gradients.weights = &dy[0, 0, 0], &dweights
    options.cell, options.dtype, options.training = RNNFAST_LSTM, RNNFAST_FLOAT32, 1
    options.input_size, options.hidden_size, options.batch, options.max_steps = I, H, B, T
    plan = rnnfast.create(&options, &weights)
    if plan == NULL:
        raise ValueError(rnnfast.last_error().decode())
    with nogil:
        for update in range(updates):
            rnnfast.reset(plan, NULL)
            status = rnnfast.forward(plan, T, &x[0, 0, 0], &y[0, 0, 0], NULL, NULL)
            if status < 0:
                break
            loss = mean_squares(&y[0, 0, 0], &targets[0, 0, 0], &dy[0, 0, 0], T * B * H)
            status = rnnfast.backward(plan, &gradients)
            if status < 0:
                break
            go_down(&weight_ih[0, 0], &dweight_ih[0, 0], lr, 4 * H * I)
            go_down(&weight_hh[0, 0], &dweight_hh[0, 0], lr, 4 * H * H)
            go_down(&bias[0], &dbias[0], lr, 4 * H)
            rnnfast.refresh(plan, &weights)
    if status < 0:
        message = rnnfast.last_error().decode()
        rnnfast.destroy(plan)
        raise RuntimeError(message)
    rnnfast.destroy(plan)
    return loss


cdef double mean_squares(const float *y, const float *targets, float *dy, Py_ssize_t n) noexcept nogil:
    """The loss, and its gradient: dy [n] OUT."""
    cdef Py_ssize_t q
    cdef double total = 0
    for q in range(n):
        dy[q] = (y[q] - targets[q]) / n
        total += (y[q] - targets[q]) ** 2
    return total / (2 * n)

cdef void go_down(float *weight, const float *gradient, float lr, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t q
    for q in range(n):
        weight[q] -= lr * gradient[q]
