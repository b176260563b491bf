"""What a request passes before it reaches a host."""

from dataclasses import dataclass

from service.front.admission.team_admission import TeamAdmission
from service.front.admission.version_leases import VersionLeases
from service.protocol.types import HostLimits


@dataclass(frozen=True, slots=True)
class Admission:
    """The service's own `limits`, those of `teams`, and `leases` of the versions that it uses."""

    limits: HostLimits
    teams: TeamAdmission
    leases: VersionLeases
