import torch
from torch import Tensor, nn

from service.host.generation.module_state import ModuleState


class Remembering(nn.Module):
    """Adds up what it has read, in each way that a module may keep it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.sum: Tensor | None = None
        self.total = torch.zeros(1)
        self.parts = [torch.zeros(1)]

    def forward(self, x: Tensor) -> Tensor:
        self.sum = x if self.sum is None else self.sum + x
        self.total += x
        self.parts[0] += x
        self.last = x
        return self.sum + self.total + self.parts[0]


def test_what_a_module_keeps_is_as_it_was() -> None:
    module = Remembering()
    weight = module.weight
    before = ModuleState(tuple(module.modules()))
    first = module(torch.ones(1)).item()
    after = ModuleState(tuple(module.modules()))
    second = module(torch.ones(1)).item()
    assert first != second
    after.restore()
    assert module(torch.ones(1)).item() == second
    before.restore()
    assert not hasattr(module, "last")
    assert module.sum is None
    assert module(torch.ones(1)).item() == first
    assert module.weight is weight
