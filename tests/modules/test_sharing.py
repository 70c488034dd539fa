"""What threads, forked children, signal handlers and the holders of arrays share with a module."""

from __future__ import annotations

import copy
import os
import pickle

import numpy as np
import pytest
from helpers.arrays import assert_equal
from helpers.models import forward_backward
from helpers.processes import run_python

import rnnfast as rf
from rnnfast import functional

posix = pytest.mark.skipif(os.name != "posix", reason="signals and fork of POSIX")

FORKS = """
import os, signal, threading
import numpy as np
import rnnfast as rf

weight = rf.Parameter(np.zeros(400_000))
ones = np.ones(400_000)
weight.add_grad(ones.copy())
gru = rf.GRU(2, 3, num_layers=2, dropout=0.5, rng=0)
x = np.ones((4, 1, 2), np.float32)
done = threading.Event()

def add():
    while not done.is_set():
        weight.add_grad(ones)
        gru.backward(gru.forward(x)[2], None)

threads = [threading.Thread(target=add) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)  # a child that hangs dies of it
        whole = len(set(weight.grad.tolist())) == 1  # none of the additions was half done
        weight.add_grad(ones)
        gru.backward(gru.forward(x)[2], None)
        os._exit(0 if whole else 3)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        break
done.set()
print(status)
"""

HANDLER = """
import signal
import numpy as np
import rnnfast as rf

weight = rf.Parameter(np.zeros(300_000))
ones = np.ones(300_000)
weight.add_grad(ones.copy())
came = []

def handler(*_):
    weight.add_grad(ones)
    weight.zero_grad()
    came.append(1)

signal.signal(signal.SIGALRM, handler)
while len(came) < 60:
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    for _ in range(5):
        weight.zero_grad()
        weight.add_grad(ones)
print("done")
"""


@posix
def test_a_child_forked_while_gradients_are_added_goes_on():
    done = run_python(FORKS, "-W", "ignore")
    assert (done.stdout, done.stderr) == ("0\n", "")


@posix
def test_a_signal_handler_may_touch_gradients():
    done = run_python(HANDLER, "-W", "ignore")
    assert (done.stdout, done.stderr) == ("done\n", "")


# Arrays that a module hands out, and what is computed with them.

X = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)


def reshape_in_place(array):
    """Another shape and dtype in place; and no other size."""
    array.shape = array.shape[::-1]
    array.shape = (-1,)
    array.dtype = np.uint8
    with pytest.raises(ValueError, match="resize"):
        array.resize(7, refcheck=False)


MODULES = {
    "linear": lambda: rf.Linear(2, 4, rng=0),
    "rnn": lambda: rf.RNN(2, 4, rng=0),
    "lstm": lambda: rf.LSTM(2, 4, peephole=True, proj_size=3, rng=0),
    "gru": lambda: rf.GRU(2, 4, bidirectional=True, rng=0),
    "sequential": lambda: rf.Sequential(rf.GRU(2, 4, rng=0), rf.Linear(4, 3, rng=1)),
}


def results(module):
    """Everything that the module computes of X, and its weights."""
    y, _ = module(X)
    return {**forward_backward(module, X, None, np.ones_like(y)), "weights": module.state_dict()}


@pytest.mark.parametrize("name", MODULES)
def test_parameters_keep_their_shape(name):
    module = MODULES[name]()
    want = results(module)
    for parameter in module.parameters():
        reshape_in_place(parameter.data)
        assert parameter.data.shape == parameter.shape
        assert parameter.data is parameter.data
    assert_equal(results(module), want)
    optimizers = []
    for each in (module, MODULES[name]()):
        results(each)
        optimizers.append(rf.optim.SGD(each.parameters(), lr=0.1))
    for parameter in module.parameters():
        reshape_in_place(parameter.data)
    for optimizer in optimizers:
        optimizer.step()
    assert_equal(*([p.data for p in optimizer.params] for optimizer in optimizers))


@pytest.mark.parametrize("name", MODULES)
def test_a_gradient_of_another_shape_is_named(name):
    module = MODULES[name]()
    y, _, tape = module.forward(X)
    module.backward(tape, y, retain=True)
    (first, parameter), *others = module.named_parameters()
    before = [other.grad.copy() for _, other in others]
    parameter.grad.shape = (-1,)
    message = r"grad: expected float32 of shape \(\d+, 2\), got float32 of shape \(\d+,\), set in place"
    with pytest.raises(ValueError, match=f"{first}.{message}"):
        module.backward(tape, y, retain=True)
    for use in (rf.optim.SGD(module.parameters(), lr=1).step, lambda: rf.clip_grad_norm([parameter], 1)):
        with pytest.raises(ValueError, match=rf"^param(s|eters)\[0\]\.{message}"):
            use()
    assert_equal([other.grad for _, other in others], before)
    parameter.grad = None
    module.backward(tape, y)
    assert parameter.grad.shape == parameter.shape


def test_a_table_keeps_its_shape():
    model = rf.Sequential(rf.Embedding(5, 2, rng=0), rf.GRU(2, 4, rng=1))
    tokens = np.arange(12).reshape(4, 3) % 5
    y, _, tape = model.forward(tokens)
    model.backward(tape, y)
    want = [p.grad.copy() for p in model.parameters()]
    model.zero_grad()
    _, _, tape = model.forward(tokens)
    reshape_in_place(model[0].weight.data)
    tokens.shape = (12,)
    model.backward(tape, y)
    assert_equal([p.grad for p in model.parameters()], want)
    np.testing.assert_array_equal(model[0](np.array([4]))[0], model[0].weight.data[4:])


@pytest.mark.parametrize("checkpoint", [None, 2])
def test_a_tape_keeps_the_shapes_of_x_y_and_states(checkpoint):
    found = []
    for change in (lambda *_: None, reshape_in_place):
        lstm, x = rf.LSTM(2, 4, rng=0), X.copy()
        h, c = np.ones((1, 3, 4), np.float32), np.ones((1, 3, 4), np.float32)
        y, final, tape, states = lstm.forward(x, (h, c), checkpoint=checkpoint, return_states=True)
        dy = y.copy()
        for array in (y, *states):
            change(array)
        for array in (x, h, c, *final):
            if change is reshape_in_place:
                array.shape = (-1,)
        dx, dstate = lstm.backward(tape, dy)
        found.append([dx, *dstate, *(p.grad for p in lstm.parameters())])
    assert_equal(*found)


def test_the_functions_tapes_keep_their_shapes():
    found = []
    for reshaped in (False, True):
        weights = [np.arange(n * 3.0).reshape(n, 3) / 40 for n in (9, 9)]
        x = X.astype(float)[..., [0, 1, 1]].copy()
        y, h, tape = functional.gru_forward(x, *weights, state=np.ones((3, 3)))
        dy = y.copy()
        if reshaped:
            reshape_in_place(y)
            for array in (x, h, *weights):
                array.shape = (-1,)
        dx, dh, grads = functional.gru_backward(tape, dy, None)
        found.append([dx, dh, *grads.values()])
    assert_equal(*found)


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_a_stream_keeps_the_shapes_of_its_state(name):
    layer = MODULES[name]()
    want, step = [], layer.stream(3)
    for x_t in X:
        want.append(step(x_t))
    step = layer.stream(3)
    got = []
    for x_t in X:
        state = step.state
        for array in state if isinstance(state, tuple) else (state,):
            array.shape = (-1,)
        for parameter in layer.parameters():
            reshape_in_place(parameter.data)
        step.refresh()
        y = step(x_t)
        got.append(y.copy())
        y.shape = (-1,)
    assert_equal(got, want)


def test_copies_have_memory_of_their_own():
    gru = rf.GRU(2, 3, rng=0)
    y = gru(X)[0]
    gru.backward(gru.forward(X)[2], y)
    for twin in (copy.deepcopy(gru), pickle.loads(pickle.dumps(gru)), pickle.loads(pickle.dumps(gru, 5))):
        np.testing.assert_array_equal(twin.weight_ih_l0.grad, gru.weight_ih_l0.grad)
        twin.weight_ih_l0.data[:] = 0
        twin.weight_ih_l0.grad[:] = 0
        assert not np.array_equal(twin(X)[0], y)
        np.testing.assert_array_equal(gru(X)[0], y)
        assert gru.weight_ih_l0.grad.any()


def test_a_parameter_made_read_only_stays_so():
    weight = rf.Parameter(np.zeros((2, 3)))
    weight.data.flags.writeable = False
    weight.data.shape = (3, 2)
    with pytest.raises(ValueError, match="read-only"):
        weight.data -= np.ones((2, 3))
