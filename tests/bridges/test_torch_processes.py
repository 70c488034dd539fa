"""`rnnfast.torch` in other processes and under torch.compile: fork, spawn, DataLoader workers, graphs."""

from __future__ import annotations

import copy
import shutil
from queue import SimpleQueue

import pytest

torch = pytest.importorskip("torch")

from bridges.torch_models import answer_of, kernels_run  # noqa: E402

import rnnfast  # noqa: E402
import rnnfast.torch  # noqa: E402


class Steps(torch.utils.data.Dataset):
    """Items that an rnnfast module computes, in a worker."""

    def __init__(self, module):
        self.module = module

    def __len__(self):
        return 4

    def __getitem__(self, index):
        with torch.no_grad(), kernels_run(1):
            return self.module(torch.full((5, 3), float(index)))[0]


@pytest.fixture
def trained_module():
    """A module that two threads have run here, forward and backward, its input, and what came out."""
    threads = rnnfast.get_num_threads()
    rnnfast.set_num_threads(2)
    torch.manual_seed(0)
    module, x = rnnfast.torch.LSTM(3, 96), torch.randn(64, 8, 3)
    queue = SimpleQueue()
    answer_of(module, x, queue)
    yield module, x, queue.get()
    rnnfast.set_num_threads(threads)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process(method, trained_module):
    module, x, want = trained_module
    context = torch.multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=answer_of, args=(module, x, queue), daemon=True)
    process.start()
    assert queue.get() == want
    process.join()
    assert process.exitcode == 0


def test_dataloader_workers(trained_module):
    items = Steps(trained_module[0])
    rows = torch.cat(list(torch.utils.data.DataLoader(items, batch_size=2, num_workers=2)))
    assert torch.equal(rows, torch.stack([items[index] for index in range(4)]))


class Model(torch.nn.Module):
    """Something to compile around two of rnnfast's modules."""

    def __init__(self):
        super().__init__()
        self.before = torch.nn.Linear(3, 4)
        self.gru = rnnfast.torch.GRU(4, 5)
        self.cell = rnnfast.torch.LSTMCell(5, 6)

    def forward(self, x):
        y, h = self.gru(self.before(x).tanh())
        h, c = self.cell(y[-1] + h[0])
        return (h * c.cos()).sum()


@pytest.mark.filterwarnings("error:Dynamo does not know how to trace")
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_torch_compile_of_a_model(backend):
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    torch.manual_seed(0)
    model = Model()
    x = torch.randn(4, 2, 3)
    model(x).backward()
    want = [parameter.grad for parameter in model.parameters()]
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend)
    for _ in range(2):
        model.zero_grad()
        with kernels_run(4):
            loss = compiled(x)
            loss.backward()
        assert torch.allclose(loss, model(x), atol=1e-6)
        for parameter, expected in zip(model.parameters(), want, strict=True):
            assert torch.allclose(parameter.grad, expected, atol=1e-6)


@pytest.mark.filterwarnings("error:Dynamo does not know how to trace")
def test_a_compiled_step_with_its_backward():
    torch.manual_seed(0)
    model = Model()
    twin = copy.deepcopy(model)

    def step(model, optimizer, x):
        optimizer.zero_grad()
        model(x).backward()
        optimizer.step()

    torch._dynamo.reset()
    x = torch.randn(4, 2, 3)
    with kernels_run(4):
        torch.compile(step, backend="eager")(model, torch.optim.SGD(model.parameters(), lr=0.1), x)
    step(twin, torch.optim.SGD(twin.parameters(), lr=0.1), x)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)
