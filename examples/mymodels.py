"""A base model of one's own: any `nn.Module`, from a factory that the operator allows (`ADAPTER_SERVICE_FACTORIES`)."""

import torch
from torch import Tensor, nn

__all__ = ["net"]


class Net(nn.Module):
    """Rows of 4 numbers in; 2 scores and what the last layer reads out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(4, width)
        self.hidden = nn.Linear(width, width)
        self.score = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = torch.relu(self.hidden(torch.relu(self.read(x))))
        return {"scores": self.score(features), "features": features}


def net(width: int = 8, weights: str | None = None) -> nn.Module:
    """Called with exactly the `kwargs` of the registration. Without a file its weights are drawn, each time alike."""
    model = Net(width)
    if weights is not None:
        model.load_state_dict(torch.load(weights, weights_only=True))
    return model
