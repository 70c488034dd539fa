"""`rnnfast.jax` under jit, grad, vmap, scan and checkpoint, and called from several threads."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from bridges.jax_programs import FUNCTIONS, arrays_of, jax, passes_run
from helpers.arrays import assert_equal, normal, normal64, parts
from helpers.processes import run_python
from helpers.threads import run_together
from helpers.tolerances import error

import rnnfast as rf

jnp = jax.numpy
T, B, I, H = 6, 4, 3, 5


def layer_of(name: str, **options):
    """A layer, its function of JAX and its parameters."""
    layer = {"rnn": rf.RNN, "lstm": rf.LSTM, "gru": rf.GRU}[name](I, H, rng=1, **options)
    return layer, FUNCTIONS[name], layer.state_dict()


def total(y, state):
    """A loss of all results, with distinct gradients."""
    return (y**2).sum() + sum((n + 2) * jnp.sin(part).sum() for n, part in enumerate(parts(state)))


def objective(function, params, x, state=None, **keywords):
    return total(*function(x, params, state, **keywords))


def scanned(name: str, x, params, state):
    """The same equations under `lax.scan`, as users of JAX write them."""
    w, u, b, d = (params[f"{kind}_l0"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))

    def step(state, x):
        a, q = x @ w.T + b, state[0] @ u.T + d
        if name == "rnn":
            h = (jnp.tanh(a + q),)
        elif name == "lstm":
            i, f, g, o = jnp.split(a + q, 4, axis=-1)
            c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = (jax.nn.sigmoid(o) * jnp.tanh(c), c)
        else:
            (r, z, n), (r_h, z_h, n_h) = jnp.split(a, 3, -1), jnp.split(q, 3, -1)
            z = jax.nn.sigmoid(z + z_h)
            h = ((1 - z) * jnp.tanh(n + jax.nn.sigmoid(r + r_h) * n_h) + z * state[0],)
        return h, h[0]

    state, y = jax.lax.scan(step, tuple(part[0] for part in parts(state)), x)
    return y, state


@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_and_grad_agree_with_lax_scan(name):
    layer, function, params = layer_of(name, dtype="float64")
    state = tuple(normal64(1, B, H, seed=n) for n in range(len(parts(layer(np.zeros((0, B, I)))[1]))))
    given = state if name == "lstm" else state[0]
    x = normal64(T, B, I)

    def by_scan(params, x, state):
        return total(*scanned(name, x, params, state))

    with jax.enable_x64(True):
        with passes_run(2):
            got = arrays_of(
                jax.jit(jax.value_and_grad(partial(objective, function), (0, 1, 2)))(params, x, given)
            )
        want = arrays_of(jax.jit(jax.value_and_grad(by_scan, (0, 1, 2)))(params, x, given))
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert error(one, other) < 1e-12


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jit_and_eager_calls_have_the_same_bits(name):
    _, function, params = layer_of(name, num_layers=2)
    x = normal(T, B, I)
    gradient = jax.value_and_grad(partial(objective, function))
    with passes_run(8):
        eager, compiled = arrays_of((gradient(params, x), jax.jit(gradient)(params, x)))
    assert_equal(eager[1], compiled[1])


MAPPED = {  # what vmap maps over: axes of x, state, lengths, reset
    "x": (0, None, None, None),
    "x, an inner axis": (2, None, None, None),
    "all": (0, 0, 0, 0),
    "state": (None, 1, None, None),
    "lengths": (None, None, 0, None),
}


@pytest.mark.parametrize(
    ("case", "batch_first"), [*((case, False) for case in MAPPED), ("x, an inner axis", True), ("all", True)]
)
def test_vmap_runs_one_larger_batch(case, batch_first):
    layer, function, params = layer_of("lstm", num_layers=2, batch_first=batch_first)
    N, axes = 3, MAPPED[case]
    rng = np.random.default_rng(0)
    first = (B, T) if batch_first else (T, B)
    sizes = [(*first, I), (2, B, H), (B,), first]
    shapes = [
        size if axis is None else (*size[:axis], N, *size[axis:])
        for size, axis in zip(sizes, axes, strict=True)
    ]
    x, h = normal(*shapes[0]), normal(*shapes[1])
    lengths, reset = rng.integers(0, T + 1, shapes[2]), rng.random(shapes[3]) < 0.3

    def call(params, x, h, lengths, reset):
        return function(x, params, (h, h), lengths=lengths, reset=reset, batch_first=batch_first)

    def loss(params, *arrays):
        return total(*jax.vmap(partial(call, params), axes)(*arrays))

    with passes_run(2):
        y, state = arrays_of(jax.jit(jax.vmap(partial(call, params), axes))(x, h, lengths, reset))
    for n in range(N):
        member = [
            a if axis is None else a.take(n, axis)
            for a, axis in zip((x, h, lengths, reset), axes, strict=True)
        ]
        want = layer(member[0], (member[1],) * 2, lengths=member[2], reset=member[3])
        assert_equal((y[n], tuple(part[n] for part in state)), want)
    with passes_run(4):  # forward and backward of both layers, whatever N is
        grads = arrays_of(jax.jit(jax.grad(loss))(params, x, h, lengths, reset))
    summed = jax.tree.map(np.zeros_like, params)
    for n in range(N):
        member = [
            a if axis is None else a.take(n, axis)
            for a, axis in zip((x, h, lengths, reset), axes, strict=True)
        ]
        one = jax.grad(lambda p, m: total(*call(p, *m)))(params, member)
        summed = jax.tree.map(np.add, summed, arrays_of(one))
    for name, gradient in grads.items():
        assert error(gradient, summed[name]) < 1e-5, name


def test_vmap_of_unbatched_sequences_has_the_bits_of_a_batch():
    layer, function, params = layer_of("gru", bidirectional=True)
    x = normal(T, B, I)
    with passes_run(2):
        y, h = arrays_of(jax.vmap(function, (1, None), (1, 1))(x, params))
    assert_equal((y, h), layer(x))
    got = jax.grad(lambda p: total(*jax.vmap(function, (1, None), (1, 1))(x, p)))(params)
    want = jax.grad(lambda p: total(*function(x, p)))(params)
    assert_equal(arrays_of(got), arrays_of(want))


@pytest.mark.parametrize("sizes", [(0, T, B), (2, 0, B), (2, T, 0)], ids=["no member", "T = 0", "B = 0"])
def test_vmap_of_nothing(sizes):
    _, function, params = layer_of("lstm")
    x = normal(*sizes, I)
    y, state = jax.vmap(function, (0, None))(x, params)
    assert y.shape == (*sizes, H)
    assert [part.shape for part in state] == [(sizes[0], 1, sizes[2], H)] * 2
    grads = jax.grad(lambda p: total(*jax.vmap(function, (0, None))(x, p)))(params)
    assert_equal(arrays_of(grads), jax.tree.map(np.zeros_like, params))


@pytest.mark.parametrize("what", ["members of an ensemble", "gradients of each sequence", "two levels"])
def test_vmap_where_one_call_cannot_do(what):
    """Weights that differ, and weight gradients of each member, take a call for each."""
    _, function, params = layer_of("lstm")
    x = normal(3, T, B, I)
    gradient = jax.grad(partial(objective, function))
    if what == "gradients of each sequence":
        axes, arguments, count = (None, 0), (params, x), 6
    else:
        members = jax.tree.map(lambda a: np.stack([a, a / 2, -a]), params)
        axes, arguments, count = (0, 0), (members, x), 6
    mapped = jax.vmap(gradient, axes)
    if what == "two levels":
        mapped, count = jax.vmap(mapped, (None, 1)), 6 * B
        arguments = (members, x[:, :, :, None].swapaxes(1, 2))
    with passes_run(count):
        got = arrays_of(jax.jit(mapped)(*arguments))

    def member(tree, axis, n):
        return tree if axis is None else jax.tree.map(lambda a: a[n], tree)

    for n in range(3):
        if what == "two levels":
            want = [gradient(member(members, 0, n), x[n, :, b : b + 1]) for b in range(B)]
            for b in range(B):
                assert_equal({key: a[b, n] for key, a in got.items()}, arrays_of(want[b]))
        else:
            want = arrays_of(
                gradient(*(member(tree, axis, n) for tree, axis in zip(arguments, axes, strict=True)))
            )
            assert_equal({key: a[n] for key, a in got.items()}, want)


def test_vmap_over_gradients_of_the_results():
    """jacrev maps the backward pass over unit vectors."""
    _, function, params = layer_of("rnn", dtype="float64")
    x = normal64(2, 1, I)
    with jax.enable_x64(True):
        got = jax.jacrev(lambda x: function(x, params)[0])(x)
        want = jax.jacrev(lambda x: scanned("rnn", x, params, np.zeros((1, 1, H)))[0])(x)
        assert error(np.asarray(got), np.asarray(want)) < 1e-12


def by_chunks(function, zero, params, x, wrap=lambda body: body):
    """The loss, y and the final state, from a scan over three chunks that carries the state."""

    @wrap
    def body(state, chunk):
        y, state = function(chunk, params, state)
        return state, y

    state, y = jax.lax.scan(body, zero, x.reshape(3, T // 3, B, I))
    y = y.reshape(T, B, H)
    return total(y, state), (y, state)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_scan_over_chunks_has_the_bits_of_one_call(name):
    layer, function, params = layer_of(name)
    x = normal(T, B, I)
    zero = jax.tree.map(jnp.zeros_like, layer(x)[1])
    program = jax.jit(jax.value_and_grad(partial(by_chunks, function, zero), (0, 1), has_aux=True))
    with passes_run(6):
        (_, results), (grads, dx) = arrays_of(program(params, x))
    assert_equal(results, layer(x))
    want, want_x = arrays_of(jax.jit(jax.grad(partial(objective, function), (0, 1)))(params, x))
    assert error(dx, want_x) < 1e-6
    for key, gradient in grads.items():
        assert error(gradient, want[key]) < 1e-5


def test_checkpoint_runs_the_forward_pass_again():
    layer, function, params = layer_of("lstm")
    x = normal(T, B, I)
    plain = jax.jit(jax.grad(partial(objective, function)))
    again = jax.jit(jax.grad(jax.checkpoint(partial(objective, function))))
    assert_equal(arrays_of(again(params, x)), arrays_of(plain(params, x)))

    zero = jax.tree.map(jnp.zeros_like, layer(x)[1])
    results = []
    for wrap, passes in ((lambda body: body, 6), (jax.checkpoint, 9)):
        program = jax.jit(jax.grad(partial(by_chunks, function, zero, wrap=wrap), has_aux=True))
        with passes_run(passes):
            results.append(arrays_of(program(params, x)))
    assert_equal(*results)


def test_both_branches_of_a_condition_and_a_while_loop():
    layer, function, params = layer_of("gru")
    x = normal(T, B, I)

    def by_turns(x, reversed):
        return jax.lax.cond(
            reversed, lambda x: function(x[::-1], params)[0], lambda x: function(x, params)[0], x
        )

    assert_equal(arrays_of(jax.jit(by_turns)(x, False)), layer(x)[0])
    assert_equal(arrays_of(jax.jit(by_turns)(x, True)), layer(np.ascontiguousarray(x[::-1]))[0])

    def until(x):
        def once(carry):
            n, state = carry
            return n + 1, function(x, params, state)[1]

        return jax.lax.while_loop(lambda carry: carry[0] < 3, once, (0, jnp.zeros((1, B, H))))[1]

    h = None
    for _ in range(3):
        _, h = layer(x, h)
    assert_equal(arrays_of(jax.jit(until)(x)), h)


@pytest.mark.parametrize("what", ["members of an ensemble", "gradients of each sequence"])
def test_an_eager_loop_over_members_is_compiled_once(what, caplog):
    _, function, params = layer_of("rnn")
    x = jnp.asarray(normal(2, T, B, I))
    several = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), params)

    def run():
        if what == "members of an ensemble":
            return jax.vmap(function, (None, 0))(x[0], several)
        return jax.vmap(jax.grad(partial(objective, function)), (None, 0))(params, x)

    first = arrays_of(run())
    with jax.log_compiles():
        caplog.clear()
        assert_equal(arrays_of(run()), first)
    assert not [record for record in caplog.records if "Finished XLA compilation" in record.getMessage()]


ON_TWO_DEVICES = """
import jax, jax.numpy as jnp, numpy as np, rnnfast.jax
from jax.sharding import PartitionSpec as P

jax.config.update("jax_num_cpu_devices", 2)
mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
params = rnnfast.jax.init_params(jax.random.key(0), "lstm", 2, 3)
x = jax.random.normal(jax.random.key(1), (5, 4, 2))

def gradients(params, x):
    return jax.grad(lambda params, x: jnp.sum(rnnfast.jax.lstm(x, params)[0] ** 2), (0, 1))(params, x)

def mapped(function, out):
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=(P(), P(None, "batch")), out_specs=out))

along = P(None, "batch")
forward = mapped(lambda params, x: rnnfast.jax.lstm(x, params)[0], along)
np.testing.assert_array_equal(forward(params, x), rnnfast.jax.lstm(x, params)[0])
around = jax.grad(lambda params, x: jnp.sum(forward(params, x) ** 2), (0, 1))
for got in (mapped(gradients, (P(), along))(params, x), around(params, x)):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, gradients(params, x))
"""


@pytest.mark.skipif(
    not hasattr(jax, "shard_map"), reason="an older JAX does not check along which axes arrays vary"
)
def test_shard_map_sums_the_gradients_of_the_parameters():
    """A batch on two devices: each has gradients of its own sequences, and JAX adds them up."""
    done = run_python(ON_TWO_DEVICES)
    assert done.returncode == 0, done.stderr


def test_a_backward_pass_may_run_twice():
    """The tape is overwritten by a backward pass, so JAX must keep a copy of what it needs again."""
    _, function, params = layer_of("lstm")
    x, dy = normal(T, B, I), normal(T, B, H)
    _, back = jax.vjp(lambda p: function(x, p)[0], params)
    first = arrays_of(back(dy))
    assert_equal(arrays_of(back(dy)), first)

    @jax.jit
    def twice(params):
        _, back = jax.vjp(lambda p: function(x, p)[0], params)
        return back(dy), back(2 * dy)

    with passes_run(3):
        assert_equal(arrays_of(twice(params)), (first, jax.tree.map(lambda a: 2 * a, first)))


def test_several_callers_at_once():
    programs = []
    for n, name in enumerate(FUNCTIONS):
        _, function, params = layer_of(name)
        x = normal(20, 8, I, seed=n)
        programs.append((jax.jit(jax.grad(partial(objective, function))), params, x))
    want = [arrays_of(program(params, x)) for program, params, x in programs]
    got: list[list] = [[] for _ in range(6)]

    def call(place):
        program, params, x = programs[place % 3]
        for _ in range(10):
            got[place].append(arrays_of(program(params, x)))

    run_together(*(partial(call, place) for place in range(6)))
    for place, results in enumerate(got):
        assert len(results) == 10
        for one in results:
            assert_equal(one, want[place % 3])


def test_independent_layers_of_one_program():
    """XLA may run them at the same time, on threads of its own."""
    layers = [layer_of("lstm")[0] for _ in range(4)]
    xs = [normal(30, 8, I, seed=n) for n in range(4)]

    def program(params, xs):
        return [rf.jax.lstm(x, p)[0] for p, x in zip(params, xs, strict=True)]

    with passes_run(4):
        got = arrays_of(jax.jit(program)([layer.state_dict() for layer in layers], xs))
    for y, layer, x in zip(got, layers, xs, strict=True):
        assert_equal(y, layer(x)[0])


def test_init_params_are_taken_by_the_functions_and_by_layers():
    key = jax.random.key(0)
    for name, options in (("rnn", {}), ("gru", {"bias": False}), ("lstm", {"proj_size": 2})):
        params = rf.jax.init_params(key, name, I, H, num_layers=2, bidirectional=True, **options)
        layer = {"rnn": rf.RNN, "lstm": rf.LSTM, "gru": rf.GRU}[name](I, H, 2, bidirectional=True, **options)
        layer.load_state_dict(arrays_of(params))
        x = normal(T, B, I)
        assert_equal(arrays_of(FUNCTIONS[name](x, params)), layer(x))
        values = np.concatenate([np.ravel(array) for array in params.values()])
        assert np.abs(values).max() <= H**-0.5
        assert len(np.unique(values)) > 0.99 * len(values)
