"""adapterctl's commands about who may call, on the database itself: also while the service doesn't run."""

from typing import Annotated, Any

import typer

from service.command_settings import explained, settings_of
from service.setting_flags import setting_flags

keys = typer.Typer(no_args_is_help=True, help="Keys of those who call, also of a service that isn't running.")
teams = typer.Typer(no_args_is_help=True, help="Teams, also of a service that isn't running.")


@keys.command("create")
@setting_flags("database_url")
def create_key(
    *,
    role: Annotated[str, typer.Option(help="reader, caller, publisher or admin.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "made on the command line",
    team: Annotated[str, typer.Option(help="Whose it is.")] = "default",
    **flags: Any,
) -> None:
    """Make a key and print it, this once. A running service takes it within two seconds."""
    settings = settings_of(**flags)

    from service.operator_access import make_key

    with explained():
        typer.echo(make_key(settings, role, name, team))


@keys.command("list")
@setting_flags("database_url")
def list_keys(**flags: Any) -> None:
    """Every key, the oldest first: its id, role, team, name, and whether it is valid. The key itself is never kept."""
    settings = settings_of(**flags)

    from service.operator_access import describe_keys

    with explained():
        for line in describe_keys(settings):
            typer.echo(line)


@keys.command("revoke")
@setting_flags("database_url")
def revoke_key(*, id: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")], **flags: Any) -> None:
    """Revoke a key. A running service refuses it within two seconds."""
    settings = settings_of(**flags)

    from service.operator_access import revoke

    with explained():
        revoke(settings, id)
    typer.echo(f"Revoked {id}.")


@teams.command("create")
@setting_flags("database_url")
def create_team(*, name: Annotated[str, typer.Argument(help="As in fraud.")], **flags: Any) -> None:
    """Make a team; its limits are set over HTTP."""
    settings = settings_of(**flags)

    from service.operator_access import add_team

    with explained():
        add_team(settings, name)
    typer.echo(f"Made {name}. Its first key: adapterctl keys create --role publisher --team {name}")


@teams.command("remove")
@setting_flags("database_url")
def remove_team(*, name: Annotated[str, typer.Argument(help="As in fraud.")], **flags: Any) -> None:
    """Remove a team that has no adapters and no valid keys; what it used stays on record."""
    settings = settings_of(**flags)

    from service.operator_access import remove_team

    with explained():
        remove_team(settings, name)
    typer.echo(f"Removed {name}.")


@teams.command("list")
@setting_flags("database_url")
def list_teams(**flags: Any) -> None:
    """Every team with the limits that it has."""
    settings = settings_of(**flags)

    from service.operator_access import describe_teams

    with explained():
        for line in describe_teams(settings):
            typer.echo(line)
