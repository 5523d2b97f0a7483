"""``yolo-assets classes``: the plant's list of classes, and each change to it."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_assets.cli.common import (
    JsonOption,
    StoreOption,
    emit_json,
    need,
    note,
    on_the_trail,
    out,
    settings,
    show_table,
    valid,
)
from yolo_assets.contracts.errors import UsageError
from yolo_assets.contracts.names import check_class_name

if TYPE_CHECKING:
    from yolo_assets.classes.stored import Change
    from yolo_assets.contracts.class_list import ClassEntry, ClassList
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.storage.base import ObjectStore

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_HISTORY = 20
"""Versions that ``ls`` prints; ``--json`` has them all."""

_name = valid(check_class_name)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A class.", parser=_name)]
ByOption = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who changes it; default: the login name.")]
DisplayOption = Annotated[
    list[str] | None,
    typer.Option("--display", metavar="LANG=TEXT", help="What people call it, like de=Riss. May be repeated."),
]


@app.command()
def ls(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """The list: ids, names, display names, what is retired, merged or critical; and who changed what.

    A plant without a list has the classes of the model that serves, of its newest dataset and of YOLO_ASSETS_CLASSES;
    the first change makes the list of them.

    Example: yolo-assets classes ls
    """
    from yolo_assets.classes.stored import class_list_history
    from yolo_assets.contracts.class_list import ClassEntry

    where, opened = _opened(store)
    history = list(class_list_history(opened))
    listed = history[0] if history else None
    classes = listed.classes if listed else tuple(ClassEntry(name=name) for name in _first(opened, where)())
    if as_json:
        emit_json({**_rows(listed, classes), "history": [_version(one) for one in history]})
        return
    if not classes:
        note("there are no classes yet; add one with: yolo-assets classes add NAME")
        return
    show_table(
        ["id", "class", "shown as", "also called", "state"],
        [
            [
                str(number),
                entry.name,
                ", ".join(f"{lang}: {text}" for lang, text in sorted(entry.display_names.items())),
                ", ".join(entry.aliases),
                _state(entry),
            ]
            for number, entry in enumerate(classes)
        ],
    )
    if listed is None:
        note("the plant has no list yet: the first change makes it of these")
        return
    out().print(f"list {listed.id}, version {listed.version}", markup=False)
    for one in history[:_HISTORY]:
        out().print(f"  {one.version:>3}  {_version(one)['at']}  {one.by}: {one.change}", markup=False)


@app.command()
def add(
    name: NameArgument,
    display: DisplayOption = None,
    critical: Annotated[bool, typer.Option("--critical", help="Overlooking it does harm.")] = False,
    by: ByOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a class at the end of the list, or take a retired one back into use.

    Labels may use it at once. Agents take a model that knows it without a restart: a declared append.

    Example: yolo-assets classes add dent --display de=Delle --display zh=凹痕 --critical
    """
    from yolo_assets.classes.changes import added

    shown = _display_names(display)
    _change(partial(added, name=name, display_names=shown, critical=critical), f"added {name}", by, store, as_json)


@app.command()
def describe(
    name: NameArgument,
    display: DisplayOption = None,
    critical: Annotated[
        bool | None, typer.Option("--critical/--not-critical", help="Whether overlooking it does harm.")
    ] = None,
    by: ByOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what people call a class, or whether it is critical. An empty text takes a language out.

    Example: yolo-assets classes describe dent --display de=Beule --not-critical
    """
    from yolo_assets.classes.changes import described

    shown = _display_names(display)
    if not shown and critical is None:
        raise UsageError("nothing to change; give --display LANG=TEXT, --critical or --not-critical")
    _change(
        partial(described, name=name, display_names=shown, critical=critical), f"described {name}", by, store, as_json
    )


@app.command()
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The class.", parser=_name)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.", parser=_name)],
    by: ByOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a class another name. Its id stays, and the old name means it for ever: questions and old labels follow.

    Example: yolo-assets classes rename crack fissure
    """
    from yolo_assets.classes.changes import renamed

    _change(partial(renamed, old=old, new=new), f"renamed {old} to {new}", by, store, as_json)


@app.command()
def alias(
    name: NameArgument,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another spelling.", parser=_name)],
    by: ByOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accept another spelling of a class, in labels and in old records.

    Example: yolo-assets classes alias crack Crack
    """
    from yolo_assets.classes.changes import aliased

    _change(partial(aliased, name=name, other=other), f"{other} is {name}, too", by, store, as_json)


@app.command()
def retire(name: NameArgument, by: ByOption = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Stop labelling, training and reporting a class. Its id stays its own, and old records keep it.

    Example: yolo-assets classes retire spatter
    """
    from yolo_assets.classes.changes import retired

    _change(partial(retired, name=name), f"retired {name}", by, store, as_json)


@app.command()
def merge(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The class that ends.", parser=_name)],
    target: Annotated[str, typer.Argument(metavar="INTO", help="The class that it becomes part of.", parser=_name)],
    by: ByOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make one class part of another one: labels, datasets, questions and new models know only the second.

    Example: yolo-assets classes merge undercut porosity
    """
    from yolo_assets.classes.changes import merged

    _change(partial(merged, source=source, target=target), f"merged {source} into {target}", by, store, as_json)


def _opened(store: str | None) -> tuple[Settings, ObjectStore]:
    from yolo_assets.storage.open import open_store

    where = settings(store=store)
    return where, open_store(where.store_url, memory=where.known_stores)


def _first(store: ObjectStore, where: Settings) -> Any:
    def names() -> tuple[str, ...]:
        need("cv2", "polars")
        from yolo_assets.learning.plant_classes import first_class_names

        return first_class_names(store, where)

    return names


def _change(change: Change, what: str, by: str | None, store: str | None, as_json: bool) -> None:
    from yolo_assets.classes.stored import change_class_list, read_class_list
    from yolo_assets.contracts.trail import TrailTarget

    where, opened = _opened(store)
    before = read_class_list(opened)
    with on_the_trail(where, "classes change", TrailTarget(names=(what,)), by=by) as act:
        made = change_class_list(opened, change, by=by or getpass.getuser(), what=what, first=_first(opened, where))
        act.result = f"done: version {made.version}" if made != before else "done: nothing to change"
    if as_json:
        emit_json(_rows(made, made.classes))
    elif made == before:
        note(f"nothing to change; version {made.version} counts")
    else:
        out().print(f"version {made.version}: {what}", markup=False)


def _display_names(given: Sequence[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given or ():
        language, equals, text = one.partition("=")
        if (
            not equals
            or not language.replace("-", "").isalnum()
            or text != text.strip()
            or not (text + "x").isprintable()
        ):
            raise UsageError(f"--display {one!r} is no LANG=TEXT; write it like de=Riss")
        found[language] = text
    return found


def _state(entry: ClassEntry) -> str:
    if entry.merged_into is not None:
        return f"part of {entry.merged_into}"
    return "retired" if entry.retired else "critical" if entry.critical else ""


def _rows(listed: ClassList | None, classes: Sequence[ClassEntry]) -> Mapping[str, Any]:
    rows = [{"id": number, **entry.model_dump(mode="json")} for number, entry in enumerate(classes)]
    return {**(_version(listed) if listed else {"list": None, "version": None}), "classes": rows}


def _version(listed: ClassList) -> dict[str, Any]:
    document = listed.model_dump(mode="json", include={"id", "version", "by", "at", "change"})
    return {"list": document.pop("id"), **document}
