"""What people may do to the list of classes: each a function from the classes of one version to those of the next.

No change moves a class or frees a name. Does not belong here: the store (``stored``).
"""

from __future__ import annotations

from collections.abc import Mapping

from yolo_assets.contracts.class_list import ClassEntry, id_in, nearest_name
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_class_name

Classes = tuple[ClassEntry, ...]


def added(
    classes: Classes, name: str, display_names: Mapping[str, str] | None = None, *, critical: bool = False
) -> Classes:
    """With one more class at the end; a retired one of this name is taken back into use.

    Raises:
        BadInputError: the name means a class that is in use, differs from one in case alone, or is none.
    """
    check_class_name(name)
    held = id_in(classes, name)
    if held is None:
        for entry in classes:
            if name.casefold() in (one.casefold() for one in (entry.name, *entry.aliases)):
                raise BadInputError(
                    f"{name} is {entry.name} in other letters; make it another spelling of that class: "
                    f"yolo-assets classes alias {entry.name} {name}"
                )
        return (*classes, ClassEntry(name=name, display_names=dict(display_names or {}), critical=critical))
    entry = classes[held]
    if entry.name != name or not entry.retired:
        raise BadInputError(f"{name} is a class already{_as(entry, name)}; see: yolo-assets classes ls")
    again = {"retired": False, "display_names": {**entry.display_names, **(display_names or {})}}
    return _with(classes, held, again | ({"critical": True} if critical else {}))


def described(
    classes: Classes, name: str, display_names: Mapping[str, str], *, critical: bool | None = None
) -> Classes:
    """With other display names of a class, and perhaps another answer to whether it is critical.

    Args:
        classes: before.
        name: of the class.
        display_names: by language; an empty one takes that language out.
        critical: None leaves it as it is.
    """
    place = _known(classes, name)
    shown = {lang: text for lang, text in {**classes[place].display_names, **display_names}.items() if text}
    return _with(classes, place, {"display_names": shown} | ({} if critical is None else {"critical": critical}))


def renamed(classes: Classes, old: str, new: str) -> Classes:
    """With another name of a class; the old one stays an alias.

    Raises:
        BadInputError: no such class, or the new name means another one.
    """
    check_class_name(new)
    place = _known(classes, old)
    held = id_in(classes, new)
    if held not in (None, place):
        raise BadInputError(
            f"{new} means class {held}{_as(classes[held or 0], new)}; merge the two, or take another name"
        )
    entry = classes[place]
    aliases = tuple(dict.fromkeys([*entry.aliases, entry.name]))
    changed = _with(classes, place, {"name": new, "aliases": tuple(a for a in aliases if a != new)})
    # What was merged into it names it.
    return tuple(
        one.model_copy(update={"merged_into": new}) if one.merged_into == entry.name else one for one in changed
    )


def aliased(classes: Classes, name: str, other: str) -> Classes:
    """With another spelling of a class, under which labels and old records may hold it.

    Raises:
        BadInputError: no such class, or the spelling means another one.
    """
    check_class_name(other)
    place = _known(classes, name)
    held = id_in(classes, other)
    if held == place:
        return classes
    if held is not None:
        raise BadInputError(f"{other} means class {held}{_as(classes[held], other)}; merge the two instead")
    return _with(classes, place, {"aliases": (*classes[place].aliases, other)})


def retired(classes: Classes, name: str) -> Classes:
    """With a class that is no longer labelled, trained or reported. Its id stays its own.

    Raises:
        BadInputError: no such class, it was merged into another one, or it is the only one.
    """
    place = _known(classes, name)
    entry = classes[place]
    if entry.merged_into is not None:
        raise BadInputError(f"{entry.name} is part of {entry.merged_into} since it was merged; retire that one")
    if sum(one.in_use for one in classes) == 1 and entry.in_use:
        raise BadInputError(f"{entry.name} is the only class in use; add another one first")
    return _with(classes, place, {"retired": True})


def merged(classes: Classes, source: str, target: str) -> Classes:
    """With one class as part of another one: both are labelled, trained and reported as the second.

    Raises:
        BadInputError: no such class, the same class, or one that is not in use.
    """
    place, into = _known(classes, source), _known(classes, target)
    if place == into:
        raise BadInputError(f"{source} and {target} are the same class; see: yolo-assets classes ls")
    for one in (classes[place], classes[into]):
        if one.merged_into is not None:
            raise BadInputError(f"{one.name} is part of {one.merged_into} since it was merged; name that one")
    if classes[into].retired:
        raise BadInputError(f"{classes[into].name} is retired; take it back first: yolo-assets classes add {target}")
    name = classes[into].name
    changed = _with(classes, place, {"merged_into": name, "retired": False})
    # What was merged into the first goes with it.
    return tuple(
        one.model_copy(update={"merged_into": name}) if one.merged_into == classes[place].name else one
        for one in changed
    )


def _known(classes: Classes, name: str) -> int:
    place = id_in(classes, name)
    if place is None:
        near = nearest_name(name, (n for entry in classes for n in (entry.name, *entry.aliases)))
        advice = f"did you mean {near}?" if near else "see: yolo-assets classes ls"
        raise BadInputError(f"there is no class {name}; {advice}")
    return place


def _with(classes: Classes, place: int, update: Mapping[str, object]) -> Classes:
    return (*classes[:place], classes[place].model_copy(update=dict(update)), *classes[place + 1 :])


def _as(entry: ClassEntry, name: str) -> str:
    if entry.merged_into is not None:
        return f", merged into {entry.merged_into}"
    return f", as another name of {entry.name}" if entry.name != name else ""
