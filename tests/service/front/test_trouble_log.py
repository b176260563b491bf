"""Failures of a repeated job are logged once each."""

import logging

import pytest

from service.front.trouble_log import TroubleLog

LOG = logging.getLogger(__name__)


def test_a_trouble_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    troubles = TroubleLog(LOG, "back again")
    with caplog.at_level(logging.INFO):
        troubles.succeeded()
        logged = [troubles.failed("away"), troubles.failed("away"), troubles.failed("full")]
        troubles.succeeded()
        troubles.succeeded()
    assert logged == [True, False, True]
    assert caplog.messages == ["away", "full", "back again"]


def test_the_same_trouble_is_logged_again_after_a_success(caplog: pytest.LogCaptureFixture) -> None:
    troubles = TroubleLog(LOG, "back again")
    troubles.failed("away")
    troubles.succeeded()
    assert troubles.failed("away")
    assert [record.levelname for record in caplog.records if record.message == "away"] == ["WARNING", "WARNING"]
