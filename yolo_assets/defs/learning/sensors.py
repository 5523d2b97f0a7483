"""The labels sensor: imports what people put into the inbox and reports it as ``labels``."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import dagster as dg

from yolo_assets.classes.stored import read_class_list
from yolo_assets.contracts.names import CLASS_LIST_POINTER, LABELS_ACCEPTED, LABELS_INBOX
from yolo_assets.defs.cursors import SensorCursor
from yolo_assets.defs.learning.checks import EVERY_LABEL_ACCEPTED, archive_within_reach, label_problems
from yolo_assets.defs.metadata import table
from yolo_assets.defs.plant_sensor import plant_sensor
from yolo_assets.defs.resources import Locations
from yolo_assets.storage import ObjectStore

_LOOK_AGAIN_SECONDS = 600
"""While something waits, the inbox is judged again this often: a frame may have been archived since."""

_SHOWN = 100
"""Files and problems of a report that are shown; an event lies in Dagster's database for ever."""


class InboxCursor(SensorCursor):
    """What the inbox was judged with, and what came of it.

    Attributes:
        looked: hash of the inbox, of what was accepted, of the classes and, while something waits, of the batches.
        problems: hash of what was not accepted; empty when all was.
        at: seconds since 1970.
    """

    looked: str = ""
    problems: str = ""
    at: float = 0.0


@plant_sensor(
    target=dg.AssetSelection.assets("training_dataset"),
    description="Imports files from labels/inbox/ of the store and reports them to labels.",
)
def labels_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SensorResult | dg.SkipReason:
    """Read the inbox once a tick."""
    looked = look_at_inbox(context.instance, locations, InboxCursor.load(context.cursor), context.log.warning)
    return looked or dg.SkipReason("the inbox did not change")


def look_at_inbox(
    instance: dg.DagsterInstance, locations: Locations, cursor: InboxCursor, warn: Callable[[str], None]
) -> dg.SensorResult | None:
    """Import what is new in the inbox, and say what to report; None when the inbox did not change: it is only listed.

    What to report follows from the accepted labels and the newest report, not from what this tick imported: a tick that
    fails between the import and its report must not keep the labels from the dataset.
    """
    from yolo_assets.learning.label_history import accepted, labels_version
    from yolo_assets.learning.labels import import_inbox
    from yolo_assets.learning.plant_classes import add_new_classes, allowed_class_names

    store = locations.store()
    rested = time.time() < cursor.at + _LOOK_AGAIN_SECONDS
    if _state(locations, bool(cursor.problems)) == cursor.looked and (rested or not cursor.problems):
        return None
    classes = allowed_class_names(store, locations.settings)
    report = import_inbox(store, classes, archive=archive_within_reach(locations))
    for problem in report.problems[:_SHOWN]:
        warn(problem)
    for name in add_new_classes(store, locations.settings, accepted(store)):
        warn(f"a label has the new class {name}; it was added to the list of classes")
    waiting = report.open_problems
    after = InboxCursor(
        looked=_state(locations, bool(waiting)),
        problems=_hash(waiting) if waiting else "",
        at=time.time(),
    )
    version = _under_the_list(labels_version(accepted(store)), store)
    judged = label_problems(waiting)
    events: list[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation] = []
    if after.problems != cursor.problems or (cursor.at == 0 and version):
        events.append(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("labels"),
                check_name=EVERY_LABEL_ACCEPTED,
                passed=judged.passed,
                description=judged.description,
                metadata=judged.metadata,
                severity=judged.severity,
            )
        )
    if not version or version == _reported(instance):
        why = f"not accepted in the inbox: {len(waiting)}" if waiting else "every file was imported before"
        return dg.SensorResult(cursor=after.model_dump_json(), asset_events=events, skip_reason=why)
    taken = [file for file in report.new if file.accepted_key]
    columns = {"file": str, "images": int, "boxes": int, "backgrounds": int, "unreviewed": int, "problems": int}
    rows = [{**{name: getattr(f, name) for name in columns}, "problems": len(f.problems)} for f in report.new]
    notes = [f"{file.file}: {note}" for file in taken for note in file.notes]
    events.append(
        dg.AssetMaterialization(
            "labels",
            metadata={
                "files": table(rows[:_SHOWN], columns),
                "where": locations.links().stored("store", LABELS_ACCEPTED),
                **locations.links().label_tool(),
                "images": report.images,
                "problems": dg.MetadataValue.md(_listed(report.problems)),
                "notes": dg.MetadataValue.md(_listed(notes)),
            },
            tags={"dagster/data_version": version},
        )
    )
    return dg.SensorResult(
        asset_events=events,
        cursor=after.model_dump_json(),
        # Dagster calls every tick skipped that requests no run; the reason then says what the tick did.
        skip_reason=f"imported {len(taken)} files with {report.images} images; training_dataset follows",
    )


def _state(locations: Locations, waiting: bool) -> str:
    """Hash of what a judgement depends on and others can change."""
    store = locations.store()
    files = [f"{info.key} {info.etag}" for info in store.list(LABELS_INBOX)]
    files += [f"{info.key} {info.etag}" for info in store.list(LABELS_ACCEPTED)]  # withdrawals
    if waiting:  # a batch has thousands of pictures beside its manifest: they are listed only for a reason
        files += [f"{i.key} {i.etag}" for i in store.list("annotation/") if i.key.endswith("/manifest.json")]
    listed = store.head(CLASS_LIST_POINTER)
    return _hash([*files, *locations.settings.class_names, listed.etag if listed else ""])


def _under_the_list(labels: str, store: ObjectStore) -> str:
    """The version of the labels, which is another one when the list of classes gives them other names."""
    listed = read_class_list(store)
    if not labels or listed is None:
        return labels
    meanings = [f"{e.name} {e.aliases} {e.retired} {e.merged_into}" for e in listed.classes]
    return _hash([labels, listed.id, *meanings])


def _hash(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "backslashreplace")).hexdigest()


def _listed(lines: list[str]) -> str:
    more = [f"- … and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join([*(f"- {line[:300]}" for line in lines[:_SHOWN]), *more]) or "none"


def _reported(instance: dg.DagsterInstance) -> str | None:
    """The version of the labels that was reported last."""
    event = instance.get_latest_materialization_event(dg.AssetKey("labels"))
    tags = event.asset_materialization.tags if event is not None and event.asset_materialization is not None else None
    return tags.get("dagster/data_version") if tags else None
