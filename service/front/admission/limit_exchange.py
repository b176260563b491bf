"""Has the processes over one database share each team's limits: what one lets pass counts in all.

They tell each other every second. Until then each may let pass what was left when it heard last: so much, times the
other processes, is passed too much at most, and paid back from what is refilled.
"""

import logging

from models_registry.errors import RegistryError
from models_registry.team_spending import TeamSpending
from service.front.admission.team_admission import TeamAdmission

log = logging.getLogger(__name__)


class LimitExchange:
    def __init__(self, spending: TeamSpending, admission: TeamAdmission) -> None:
        self._spending = spending
        self._admission = admission
        self._trouble: str | None = None

    def exchange(self) -> None:
        """Tell and hear, once. May block. Where the others can't be told, this process has the limits for itself
        meanwhile, and tells them later."""
        spent = self._admission.report()
        if not spent:
            return
        try:
            shared = self._spending.exchange(spent)
        except RegistryError as error:
            self._admission.unreport(spent)
            self._note(error.detail)
        else:
            self._admission.follow(shared)
            self._note(None)

    def _note(self, trouble: str | None) -> None:
        """Log what has changed since the last exchange."""
        if trouble == self._trouble:
            return
        if trouble is None:
            log.info("the teams' limits are shared with other processes again")
        else:
            log.warning("this process has the teams' limits for itself: %s", trouble)
        self._trouble = trouble
