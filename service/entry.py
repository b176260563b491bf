"""The command `adapterctl` where the package was installed without what a server needs."""

import sys


def adapterctl() -> None:
    """As `service.cli.main`; says what to install where something is missing."""
    try:
        from service.cli import main  # noqa: PLC0415 - so that what is missing can be said
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"adapterctl runs the service, which needs more than the client ({error.name} is missing): "
            "pip install 'adapter-service[server]'\n"
        )
        sys.exit(2)
    main()
