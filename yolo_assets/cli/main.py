"""Entry point: composes the commands and turns errors into one line and an exit code.

0 done, 1 failed (one line says what to do), 2 called wrongly, 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import sys
from typing import Any

import typer
import typer.exceptions
from typer.core import TyperGroup

from yolo_assets import __version__
from yolo_assets.contracts.errors import InterruptedByUser, UsageError, UserError, missing_package
from yolo_assets.contracts.text import plain

GROUPS = {
    "alerts": "Alerts to people: ls, test.",
    "archive": "Cold archive: run, ls, show, verify, cat, hold, replicate.",
    "catalog": "Archive catalog: rebuild, query, find, gaps, stats.",
    "classes": "The plant's list of classes: ls, add, describe, rename, alias, retire, merge.",
    "datasets": "Dataset versions and the golden set: build, ls, show, diff, export, golden.",
    "edge": "Edge agent: try, init, check, run, status, audit, token.",
    "events": "Announcements of hours and labels: listen.",
    "evidence": "Evidence packs for auditors: make, verify.",
    "health": "What was found of each camera, and what people say about it: ls, ack, relearn, retire.",
    "keys": "Whose keys count: ls, enroll, rotate, revoke.",
    "labels": "Label files and their history: import, ls, history, conflicts, withdraw.",
    "models": "Models and releases: list, show, import, verify, promote, approve, rollout, rollback, validation.",
    "platform": "A plant's Dagster: init.",
    "storage": "Stores: doctor, init, policy.",
    "tables": "Detection tables, without Dagster: build, quarantine.",
    "training": "Trainings: status, search, trials.",
}
COMMANDS = {
    "audit": ("audit", "Who did what to a model, a camera, an hour: exports, releases, changes, verified."),
    "backfill": ("backfill", "Build hours of the past again, or those that are missing, through Dagster's daemon."),
    "demo": ("demo", "The whole loop on this machine, with real files, inference, training and hot reload."),
    "exporter": ("exporter", "The platform's figures for Prometheus: runs, backlog, gaps, fleet, verdicts."),
    "lineage": ("lineage", "Both ways: what a frame, label, model or archive came from, and what rests on it."),
    "restore": ("restore", "Frames back out of the archive, hashes verified."),
    "pages": ("pages", "Sample frames with boxes, gate reports and stored objects, for links in the UI."),
    "simulate": ("simulate", "Write closed spool hours of a simulated factory line."),
    "today": ("today", "The plant now: per camera what came, what lacks, what failed and why."),
    "up": ("up", "Dagster UI, daemon and one edge agent on this machine."),
}


INTERRUPTED = 130
ENVIRONMENT = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.ESTALE,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EMFILE,
        errno.ENFILE,
    }
)
"""What the operating system refuses because of a path, a right or a disk: a person can put it right."""


class LazyGroup(TyperGroup):
    """Imports a command's module when it is used: ``--help`` and a machine that only archives never load the rest.

    Typed ``Any`` where Typer's own click is private.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Names without importing anything."""
        return sorted([*GROUPS, *COMMANDS])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, its module imported now; None when there is none of that name."""
        if cmd_name in GROUPS:
            module = importlib.import_module(f"yolo_assets.cli.{cmd_name}")
            command: Any = typer.main.get_command(module.app)
            command.help = GROUPS[cmd_name]
            command.epilog = f"Example: yolo-assets {cmd_name} {next(iter(command.commands))} --help"
        elif cmd_name in COMMANDS:
            module_name, help_text = COMMANDS[cmd_name]
            module = importlib.import_module(f"yolo_assets.cli.{module_name}")
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(name=cmd_name)(getattr(module, cmd_name))
            command = typer.main.get_command(single)
            command.short_help = help_text
        else:
            return None
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The table of ``--help``, from the texts above."""
        rows = sorted([*GROUPS.items(), *((name, text) for name, (_, text) in COMMANDS.items())])
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="YOLO on the factory floor: cold archive, training, release and hot reload. Every command has --help.",
    epilog="Example: yolo-assets archive run --help",
)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(f"yolo-assets {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        sys.exit(_failed(str(error), 2))
    except InterruptedByUser as error:
        sys.exit(_failed(str(error), INTERRUPTED))
    except UserError as error:
        sys.exit(_failed(str(error), 1))
    except typer.exceptions.TyperException as error:
        message = error.format_message()
        if "\n" in message:  # called without arguments: the message is the help text
            print(message, file=sys.stderr)
            sys.exit(error.exit_code)
        sys.exit(_failed(f"{message} (see --help)", error.exit_code))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our pipe left: no traceback at exit
        sys.exit(1)
    except OSError as error:
        if error.errno not in ENVIRONMENT:
            raise
        sys.exit(_failed(f"{_refusal(error)}; make it usable or give another path, then run again", 1))
    except ModuleNotFoundError as error:
        extra = _extra_for(error.name or "")
        if extra is None:
            raise
        sys.exit(_failed(missing_package(error.name or "", extra), 1))
    if code == INTERRUPTED:  # Typer itself turns Ctrl-C inside a command into this code, and says nothing
        _failed("interrupted; run the same command again to continue", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _failed(message: str, code: int) -> int:
    print(f"error: {plain(message)}", file=sys.stderr)
    return code


def _refusal(error: OSError) -> str:
    """What the system refused, and where."""
    where = error.filename2 or error.filename
    return f"{where}: {error.strerror}" if where else f"{error.strerror or error}"


def _extra_for(module: str) -> str | None:
    root = module.partition(".")[0]
    extras = {
        "s3": {"boto3", "botocore"},
        "archive": {"pyarrow", "fsspec", "rfc3161_client"},
        "edge": {
            "cv2",
            "av",
            "fastapi",
            "uvicorn",
            "openvino",
            "onnxruntime",
            "watchfiles",
            "paho",
            "psutil",
            "ruamel",
            "zxingcpp",
        },
        "platform": {
            *("apprise", "dagster", "duckdb", "polars", "pandera"),
            *("dagster_aws", "dagster_postgres", "dagster_webserver"),
            *("defusedxml", "supervision", "fpdf", "fontTools", "uharfbuzz", "jinja2", "yaml"),
        },
        "events-kafka": {"confluent_kafka"},
        "events-nats": {"nats"},
        "oms": {"model_signing", "OpenSSL"},
        "train": {"torch", "ultralytics", "onnx", "torchvision", "optuna"},
    }
    return next((extra for extra, modules in extras.items() if root in modules), None)


if __name__ == "__main__":
    main()
