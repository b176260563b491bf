"""Has the processes over one database share each team's limits: what one lets pass counts in all.

They exchange what was spent every second. Between two exchanges each process may let pass what was left at the last
one: at most so much, times the other processes, is passed too much. It is paid back from what is refilled.
"""

import logging

from models_registry.errors import RegistryError
from models_registry.team_spending import TeamSpending
from service.front.admission.team_admission import TeamAdmission
from service.front.trouble_log import TroubleLog

log = logging.getLogger(__name__)


class LimitExchange:
    def __init__(self, spending: TeamSpending, admission: TeamAdmission) -> None:
        self._spending = spending
        self._admission = admission
        self._troubles = TroubleLog(log, "the teams' limits are shared with other processes again")

    def exchange(self) -> None:
        """Report what was spent and read what is left, once. May block. While the database is away, this process has
        the limits for itself; it reports later."""
        spent = self._admission.report()
        if not spent:
            return
        try:
            shared = self._spending.exchange(spent)
        except RegistryError as error:
            self._admission.unreport(spent)
            self._troubles.failed(f"this process has the teams' limits for itself: {error.detail}")
        else:
            self._admission.follow(shared)
            self._troubles.succeeded()
