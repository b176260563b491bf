"""What a host's end is to those who wait for its answers."""

from models_registry.errors import Invalid, Unavailable


class HostLost(Unavailable):
    """The model's host has ended, and is restarting; try again. `reason` says how it ended: a signal, an exit code,
    that it was stuck. `running` are the ids of the requests whose forward it ran in that moment.
    `host` distinguishes it from others that run beside it; empty where only one does."""

    def __init__(self, model: str, reason: str, running: tuple[int, ...] = (), host: str = "") -> None:
        super().__init__(f"The process of the base model {model!r} ended ({reason}); it is being started again.")
        self.model = model
        self.reason = reason
        self.running = running
        self.host = host


class RequestEndsHost(Invalid):
    """A request that has ended its model's host twice. The model keeps running without it; the same inputs are refused
    for an hour."""
