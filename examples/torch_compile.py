"""A torch model with rnnfast's GRU: compiled in one graph, exported, and its gradients for each sequence.

The task: at every step, the mean of the last three inputs. The model is trained twice from the same weights,
as it is and compiled with fullgraph=True. Then it is exported with sizes of batch and time left open.

It needs PyTorch: pip install "rnnfast[torch]". An argument "inductor" compiles to C++, too.
"""

import copy
import io
import sys

try:
    import torch
except ImportError:
    sys.exit('torch_compile.py needs PyTorch: pip install "rnnfast[torch]"')

import rnnfast.torch

BACKEND = sys.argv[1] if len(sys.argv) > 1 else "aot_eager"
UPDATES = 150


class Filter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = rnnfast.torch.GRU(2, 32)
        self.head = torch.nn.Linear(32, 2)

    def forward(self, x):
        return self.head(self.gru(x)[0])


def batch(seed, T=20, B=16):
    x = torch.randn(T + 2, B, 2, generator=torch.Generator().manual_seed(seed))
    return x[2:], (x[2:] + x[1:-1] + x[:-2]) / 3


def train(model, call):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for update in range(UPDATES):
        x, targets = batch(update)
        loss = torch.nn.functional.mse_loss(call(x), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


torch.manual_seed(0)
model = Filter()
same = copy.deepcopy(model)
print(f"as it is  loss {train(model, model):.4f}")
print(f"compiled  loss {train(same, torch.compile(same, backend=BACKEND, fullgraph=True)):.4f}")
difference = max(
    (a - b).abs().max().item() for a, b in zip(model.parameters(), same.parameters(), strict=True)
)
print(f"trained parameters differ by at most {difference:.0e}")

x, targets = batch(UPDATES, T=50, B=4)
sizes = {0: torch.export.Dim("T", max=1000), 1: torch.export.Dim("B", max=1000)}
program = torch.export.export(model, (batch(0)[0],), dynamic_shapes=(sizes,))
file = io.BytesIO()
torch.export.save(program, file)
file.seek(0)
again = torch.export.load(file).module()
print(f"exported  the same results for 4 sequences of 50 steps: {torch.equal(again(x), model(x))}")


def loss_of(parameters, x, targets):
    """The loss of one sequence, [T, 2]."""
    y = torch.func.functional_call(model, parameters, (x,))
    return torch.nn.functional.mse_loss(y, targets)


parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
each = torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, 1, 1))(parameters, x, targets)
norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in each.values()]).norm(dim=0)
print("norms of the gradients of the 4 sequences:", *(f"{norm:.3f}" for norm in norms.tolist()))
