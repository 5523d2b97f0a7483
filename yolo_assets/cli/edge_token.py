"""``yolo-assets edge token``: the people who may use an agent, each with a token or a certificate and a role."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from yolo_assets.cli import common
from yolo_assets.contracts.errors import BadInputError, UsageError
from yolo_assets.contracts.locations import location_folder

if TYPE_CHECKING:
    from yolo_assets.edge.http.people import DevicePerson

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="People who may use an agent, with their roles: add, ls, withdraw.",
    epilog="Example: yolo-assets edge token add --help",
)
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration of the agent, which says where its people are.", metavar="FILE"),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        help="The file of people itself, to be brought to several devices as their people_file.",
        metavar="FILE",
        parser=location_folder,
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The person, as the audit log shall name them.")]


@app.command()
def add(
    name: NameArgument,
    role: Annotated[
        Literal["see", "operate", "administer"],
        typer.Option(help="see: look; operate: also batches and pins; administer: also models and releases."),
    ],
    certificate: Annotated[
        str | None,
        typer.Option(
            help="Common name of the client certificate that the person shows, instead of a token.", metavar="CN"
        ),
    ] = None,
    config: ConfigOption = None,
    file: FileOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Add a person and print a new token for them, once: only its hash is kept. Counts at once, without a restart.

    With --certificate there is no token: the agent's listen.tls_client_ca must have issued the certificate.

    Example: yolo-assets edge token add "A. Berg" --role operate --config edge.yaml
    """
    from yolo_assets.edge.http.people import add_person

    place = _place(config, file)
    token = add_person(place, name, role, certificate=certificate)
    if as_json:
        common.emit_json({"name": name, "role": role, "token": token, "certificate": certificate, "file": str(place)})
        return
    if token is not None:
        common.out().print(token, markup=False)
        common.note(f"this is the token of {name}, who may {role}; it is shown once and kept nowhere")
    else:
        common.note(f"{name} may {role} with a certificate for {certificate}")


@app.command()
def ls(config: ConfigOption = None, file: FileOption = None, as_json: common.JsonOption = False) -> None:
    """List everybody who was ever added: role, token or certificate, who added and withdrew them, and when.

    Example: yolo-assets edge token ls --config edge.yaml
    """
    from yolo_assets.contracts.times import format_time
    from yolo_assets.edge.http.people import read_people

    people = read_people(_place(config, file)).people
    if as_json:
        common.emit_json([person.model_dump(mode="json", exclude={"token_sha256"}) for person in people])
        return
    rows = [
        [
            *(person.name, person.role if person.active else "none", _known_by(person)),
            f"{format_time(person.added_at)} by {person.added_by}",
            f"{format_time(person.withdrawn_at)} by {person.withdrawn_by}" if person.withdrawn_at else "",
        ]
        for person in people
    ]
    common.show_table(["name", "role", "known by", "added", "withdrawn"], rows)


@app.command()
def withdraw(
    name: NameArgument, config: ConfigOption = None, file: FileOption = None, as_json: common.JsonOption = False
) -> None:
    """Let a person do nothing any more. Counts at once, without a restart; the name stays in the list.

    Example: yolo-assets edge token withdraw "A. Berg" --config edge.yaml
    """
    from yolo_assets.edge.http.people import withdraw_person

    place = _place(config, file)
    withdraw_person(place, name)
    if as_json:
        common.emit_json({"name": name, "file": str(place)})
    else:
        common.out().print(f"{name} may do nothing any more", markup=False)


def _known_by(person: DevicePerson) -> str:
    return f"certificate {person.certificate}" if person.certificate else "token"


def _place(config: Path | None, file: Path | None) -> Path:
    """The file of people.

    Raises:
        UsageError: not exactly one of both was given, or the configuration is wrong.
    """
    if (config is None) == (file is None):
        raise UsageError("give either --config FILE, the agent's configuration, or --file FILE, the people themselves")
    if file is not None:
        return file
    assert config is not None
    from yolo_assets.edge.config.agent import load_config

    try:
        return load_config(config).people
    except BadInputError as error:
        raise UsageError(str(error)) from None
