"""Models that do with their rows what the probe must see through. Each takes `x` `[rows, 5, 4]` unless it says else."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.inner(torch.tanh(self.first(x))))

    def inner(self, x: Tensor) -> Tensor:
        return x


class FoldsTime(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x.flatten(0, 1))).unflatten(0, x.shape[:2]).mean(1))


class FoldsHeads(Plain):
    """`second` sees halves of features as rows of their own, in the order head, row."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        heads = torch.cat(self.first(x).chunk(2, -1))  # [2 · rows, 5, 2]
        return torch.cat(self.second(heads).chunk(2), -1)


class FoldsWindows(Plain):
    def forward(self, x: Tensor) -> Tensor:
        windows = self.first(x)[:, :4].unflatten(1, (2, 2)).flatten(0, 1)  # [2 · rows, 2, 4]
        return self.second(windows).unflatten(0, (-1, 2)).flatten(1, 2)


class FoldsChannels(Plain):
    """Channel by channel through one layer, as PatchTST does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.transpose(1, 2).flatten(0, 1)  # [4 · rows, 5]
        return self.second(torch.tanh(self.first(channels)).unflatten(0, (-1, 4)).mean(1))


class StepsFirst(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x.transpose(0, 1))).transpose(0, 1))


class SortsByContent(Plain):
    def forward(self, x: Tensor) -> Tensor:
        order = x.sum((1, 2)).argsort()
        return self.second(torch.tanh(self.first(x[order]))[order.argsort()])


class Reverses(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x.flip(0))).flip(0))


class Experts(nn.Module):
    """Each row goes to the one of two experts that its content chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)])
        self.gate = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.gate(x.mean(1)).argmax(-1)
        out = x.new_zeros(*x.shape[:2], 3)
        for index, expert in enumerate(self.experts):
            out[chosen == index] = expert(x[chosen == index])
        return out


class TokenExperts(Experts):
    """Each step of each row goes to an expert, so that a row may come there in parts."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        chosen = self.gate(flat).argmax(-1)
        out = flat.new_zeros(len(flat), 3)
        for index, expert in enumerate(self.experts):
            out[chosen == index] = expert(flat[chosen == index])
        return out.unflatten(0, x.shape[:2])


class CallsTwice(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(torch.tanh(self.first(x))))


class CallsTwiceDifferently(Plain):
    """First by rows, then by steps."""

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(torch.tanh(self.first(x)).transpose(0, 1)).transpose(0, 1))


class Loops(Plain):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(self.first(x))
        return self.second(x)


class LoopsOverRows(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.second(torch.tanh(self.first(row))) for row in x])


class LoopsOverSteps(Plain):
    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            state = torch.tanh(self.first(x[:, step] + state))
        return self.second(state)


class WithoutBatch(Plain):
    """Takes all rows for one."""

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)).mean((0, 1)))


class Pools(Plain):
    """Each row is compared with the batch's mean, so that rows see each other."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.tanh(self.first(x)))
        return y - y.mean(0)


class ScalarBesideRows(Plain):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride] - that is the point
        y = self.second(torch.tanh(self.first(x)))
        return y, y.pow(2).mean()


class Scalar(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x))).pow(2).mean()


class Similarities(Plain):
    """`[rows, rows]`, as CLIP gives."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.tanh(self.first(x))).mean(1)
        return y @ y.T


class Recurrent(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.lstm(torch.tanh(self.first(x)))[0])


class LastState(Recurrent):
    """Reads the state `[1, rows, 4]`, whose rows are not along the leading dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.lstm(torch.tanh(self.first(x)))[1][0][0])


class RecurrentStepsFirst(Recurrent):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.lstm(torch.tanh(self.first(x)).transpose(0, 1))[0]
        return self.second(steps.transpose(0, 1))


class Shares(Plain):
    """One layer in two places, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.again(torch.tanh(self.first(x))))


class Convolves(nn.Module):
    """Takes `[rows, 5, 4]` as images of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.norm(self.first(x[:, None]))).mean((2, 3)))


class ChoosesSteps(Plain):
    """One step of each row, chosen by content: as many as there are rows, but from the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        chosen = flat.sum(-1).topk(len(x)).indices.sort().values
        out = flat.clone()
        out[chosen] = self.first(flat[chosen])
        return self.second(out.unflatten(0, x.shape[:2]))


class SharedMask(Plain):
    """`inner` gets a mask `[5, 5]` for all rows, which may look like rows when there are five of them."""

    def __init__(self) -> None:
        super().__init__()
        self.mixer = Mixer()

    def inner(self, x: Tensor) -> Tensor:
        return self.mixer(x, x.new_ones(x.shape[1], x.shape[1]).tril())


class TableForEachRow(Plain):
    """As rotary positions that come for each row, alike; in a batch the processor rounds them another way."""

    def __init__(self) -> None:
        super().__init__()
        self.turner = Turner()

    def inner(self, x: Tensor) -> Tensor:
        table = torch.linspace(0.1, 1.0, x.shape[1], dtype=x.dtype)[None, :, None].repeat(len(x), 1, 1)
        return self.turner(x, table * (1 + torch.finfo(x.dtype).eps) if len(x) > 1 else table)


class Turner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        return self.inner(x * table)


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return mask @ self.inner(x)


MODELS: Mapping[str, Callable[[], nn.Module]] = {
    model.__name__: model
    for model in (
        Plain,
        FoldsTime,
        FoldsHeads,
        FoldsWindows,
        FoldsChannels,
        StepsFirst,
        SortsByContent,
        Reverses,
        Experts,
        TokenExperts,
        CallsTwice,
        CallsTwiceDifferently,
        Loops,
        LoopsOverRows,
        LoopsOverSteps,
        WithoutBatch,
        Pools,
        ScalarBesideRows,
        Scalar,
        Similarities,
        Recurrent,
        LastState,
        RecurrentStepsFirst,
        Shares,
        Convolves,
        ChoosesSteps,
        SharedMask,
        TableForEachRow,
    )
}


def odd_model(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return MODELS[name]().double().eval()
