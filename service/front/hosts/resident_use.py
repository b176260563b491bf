"""How much of models' memory for adapters a team's own take."""

from collections.abc import Iterable

from models_registry.references import team_of
from service.front.hosts.hosted_model import HostedModel


def resident_share(hosted: Iterable[HostedModel], team: str) -> float:
    """The part (0 to 1) of one model's memory for adapters, of the model in which it is the greatest."""
    return max((_share_in(one, team) for one in hosted), default=0.0)


def _share_in(hosted: HostedModel, team: str) -> float:
    own = [version for version in hosted.known if team_of(version.adapter) == team]
    if not own:
        return 0.0
    now = hosted.status(own)
    taken = sum(now.versions[version.key].bytes for version in own if version.key in now.versions)
    return taken / now.stats.adapters.max_bytes if now.stats.adapters.max_bytes else 0.0
