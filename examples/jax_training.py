"""A GRU trained in a JAX program, then run one step at a time by rnnfast.

The task: at every step, is the sum of all inputs so far above zero? The layer of the program is
`rnnfast.jax.gru`. The head, the loss and the optimizer are plain JAX, and one `jit` compiles all of it. The
same program runs with `lax.scan` in place of the layer, to compare the times. Needs jax.
"""

import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import rnnfast as rf
import rnnfast.jax

UPDATES = int(sys.argv[1]) if len(sys.argv) > 1 else 400
T, B, H = 50, 32, 24


def scanned(x, params):
    """The same GRU in JAX alone."""
    w, u, b, d = (params[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))

    def step(h, a):
        (r, z, n), (r_h, z_h, n_h) = jnp.split(a, 3, -1), jnp.split(h @ u.T + d, 3, -1)
        z = jax.nn.sigmoid(z + z_h)
        h = (1 - z) * jnp.tanh(n + jax.nn.sigmoid(r + r_h) * n_h) + z * h
        return h, h

    h, y = jax.lax.scan(step, jnp.zeros((x.shape[1], H)), x @ w.T + b)
    return y, h


def loss(params, layer, x):
    y, _ = layer(x, params["gru"])
    logits = (y @ params["head"])[..., 0]
    targets = x[..., 0].cumsum(0) > 0
    return jnp.mean(jnp.logaddexp(0, jnp.where(targets, -logits, logits)))


@partial(jax.jit, static_argnums=0)
def update(layer, params, moments, n, x):
    """One step of Adam."""
    value, grads = jax.value_and_grad(loss)(params, layer, x)
    m, v = moments
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
    scale = 0.01 * jnp.sqrt(1 - 0.999**n) / (1 - 0.9**n)
    params = jax.tree.map(lambda p, m, v: p - scale * m / (jnp.sqrt(v) + 1e-8), params, m, v)
    return value, params, (m, v)


def train(layer):
    """The trained parameters, the last loss, and the seconds of an update in the middle."""
    key = jax.random.key(0)
    params = {"gru": rnnfast.jax.init_params(key, "gru", 1, H), "head": jnp.zeros((H, 1))}
    zero = jax.tree.map(jnp.zeros_like, params)
    moments, seconds = (zero, zero), []
    for n in range(1, UPDATES + 1):
        x = jax.random.normal(jax.random.fold_in(key, n), (T, B, 1))
        start = time.perf_counter()
        value, params, moments = jax.block_until_ready(update(layer, params, moments, float(n), x))
        seconds.append(time.perf_counter() - start)
    return params, float(value), float(np.median(seconds))


def main():
    for name, layer in (("lax.scan", scanned), ("rnnfast", rnnfast.jax.gru)):
        params, value, seconds = train(layer)
        print(f"{name:9} loss {value:.3f} after {UPDATES} updates, {1e3 * seconds:.2f} ms each")

    gru = rf.GRU(1, H)
    gru.load_state_dict({name: np.asarray(array) for name, array in params["gru"].items()})
    step, head = gru.stream(batch=100), np.asarray(params["head"])
    x = np.random.default_rng(1).standard_normal((T, 100, 1), dtype=np.float32)
    y = np.stack([step(x_t) for x_t in x])
    right = ((y @ head) > 0) == (x.cumsum(0) > 0)
    same = np.array_equal(y, rnnfast.jax.gru(x, params["gru"])[0])
    print(f"as streams: {100 * right.mean():.0f}% of all steps right, the bits of the JAX program: {same}")


main()
