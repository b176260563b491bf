"""What each process of a cluster begins with: the settings of its machine's environment, and the log."""

from service.log import quiet_libraries, start_log
from service.secret_values import redactor_of
from service.settings import Settings, read_settings


def begin_log() -> Settings:
    """Raises `Invalid` with every setting that is wrong."""
    settings = read_settings()
    quiet_libraries()
    start_log(settings.log_format, redactor_of(settings), level=settings.log_level)
    return settings
