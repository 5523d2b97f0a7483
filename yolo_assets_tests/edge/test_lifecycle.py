"""The life of models under live frames, row by row of what a model server must survive.

Whole agents, real bundles, real ONNX files. Version ``v<n>`` reports at most ``n`` boxes and every picture holds eight
blobs, so the number of boxes in a record proves which model processed it, whatever the record says.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.names import model_key
from yolo_assets.edge.rollout.controller import NothingToRollBackError
from yolo_assets.edge.rollout.request import UpdateRequest
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.vision.model import Model
from yolo_assets_tests.edge.plant import MODEL, Plant, until
from yolo_assets_tests.edge.rollout.box import BLOBS, LiveBox, camera
from yolo_assets_tests.support.tiny_model import Variant, blob_frame

WORKERS = {"kind": "onnxruntime", "workers": 2}


@contextmanager
def live_line(plant: Plant, versions: dict[str, Variant], **options: Any) -> Iterator[LiveBox]:
    """Two live cameras on the first of these versions; every record is checked at the end."""
    for version, variant in versions.items():
        plant.register(version, variant, most=int(version[1:]))
    first = next(iter(versions))
    plant.promote(first)
    cameras = [camera(plant, name, fps=20) for name in ("cam1", "cam2")]
    with LiveBox(plant, cameras, engine=WORKERS, poll_seconds=0.05, **options) as box:
        until(lambda: box.serving == first and processed(box) > 4, 90)
        yield box
    check_records(plant, box)


def processed(box: LiveBox) -> int:
    return sum(count.processed for count in box.agent.recorder.journal.counts().values())


def check_records(plant: Plant, box: LiveBox) -> None:
    """Each frame has one end, each processed one a record, each record the boxes of the model that it names."""
    records, dropped = plant.records(), Counter[str]()
    for count in box.agent.recorder.journal.counts().values():
        assert count.balanced and count.in_flight == 0
        dropped.update(count.dropped)
    # Live cameras do not wait: on a busy machine the queue refuses frames at its door. Nothing else may be dropped.
    assert set(dropped) <= {"stopped", "no_model", "queue_full"}, dropped
    assert len(records) == processed(box)
    assert len({(record["camera_id"], record["sequence"]) for record in records}) == len(records)
    for record in records:
        expected = int(record["model_version"].removeprefix(f"{MODEL}/v"))
        assert len(record["detections"]) == min(expected, BLOBS), f"{record['image_path']} was seen by another model"


def test_the_old_model_answers_while_a_slow_one_loads(plant: Plant) -> None:
    with live_line(plant, {"v4": "good", "v5": "slow"}) as box:
        plant.promote("v5")
        until(lambda: box.agent.stager.working is not None)
        before = processed(box)
        by_old = 0
        while box.serving == "v4":
            by_old = processed(box) - before
            time.sleep(0.002)
        swap = until(lambda: next((s for s in box.agent.swaps.swaps() if s.event.target == f"{MODEL}/v5"), None))
        loading = sum(swap.steps[step] for step in ("load", "warm", "golden"))
        assert loading > 0.15, "the slow model is not slow here; the test would prove nothing"
        assert by_old >= 3  # 40 frames a second are due, and two cores are busy with the slow model
        until(lambda: (last := box.agent.swaps.swaps()[-1]).lost is not None and last.first_result_at)
        settled = box.agent.swaps.swaps()[-1]
        assert settled.lost == 0 and set(settled.dropped) <= {"queue_full"} and (settled.switch_seconds or 1) < 0.05
    assert {record["model_version"] for record in plant.records()} == {f"{MODEL}/v4", f"{MODEL}/v5"}


def test_failing_reloads_cost_no_frame(plant: Plant) -> None:
    broken: dict[str, Variant] = {"v5": "nan", "v6": "garbage", "v7": "wrong_names", "v3": "wrong_output_shape"}
    with live_line(plant, {"v4": "good", **broken, "v2": "good", "v8": "good"}) as box:
        for number, version in enumerate(broken):
            plant.promote(version)
            until(lambda number=number: len(box.events()) == number + 2)
            assert box.events()[-1][0] == f"{MODEL}/{version}" and box.events()[-1][1] in ("failed", "refused")
            before = processed(box)
            until(lambda before=before: processed(box) > before + 4)
            assert box.serving == "v4"
        box.agent.updates.poller.stop()  # the file is cut after its release, before the agent looks
        pointer = plant.promote("v2")
        path = plant.store_folder / model_key(MODEL, "v2", ONNX)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-100])
        update = UpdateRequest.by_pointer(pointer, "primary", "the channel")
        assert box.agent.stager.request(update)
        until(lambda: len(box.events()) == len(broken) + 2)
        assert box.events()[-1] == (f"{MODEL}/v2", "refused") and box.serving == "v4"
        pointer = plant.promote("v8")  # a failure is not held against the next one
        update = UpdateRequest.by_pointer(pointer, "primary", "the channel")
        assert box.agent.stager.request(update)
        until(lambda: box.serving == "v8" and box.agent.stager.idle())
        assert [slot.label for _, slot in box.agent.control.slots.loaded()] == [f"{MODEL}/v8", f"{MODEL}/v4"]
    assert {record["model_version"] for record in plant.records()} <= {f"{MODEL}/v4", f"{MODEL}/v8"}


def test_a_storm_of_loads_and_rollbacks_frees_all_but_two(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Model] = []
    closed: Counter[int] = Counter()
    load, close = Model.load.__func__, Model.close  # type: ignore[attr-defined]

    def counted_load(cls: type[Model], *arguments: Any, **options: Any) -> Model:
        loaded.append(load(cls, *arguments, **options))
        return loaded[-1]

    def counted_close(model: Model) -> None:
        closed[id(model)] += 1
        close(model)

    monkeypatch.setattr(Model, "load", classmethod(counted_load))
    monkeypatch.setattr(Model, "close", counted_close)
    with live_line(plant, {"v4": "good", "v5": "good", "v6": "good", "v7": "nan", "v8": "good"}) as box:
        calm, end = threading.Event(), time.monotonic() + 90

        def enough() -> bool:
            results = Counter(result for _, result in box.events())
            seen = len(loaded) > 8 and results["committed"] > 4 and results["rolled_back"] > 0
            assert seen or time.monotonic() < end, f"a storm of {len(loaded)} loads and {results} proves nothing"
            return seen

        def go_on() -> bool:
            """Some notices overtake the one before, others let it arrive: however slow the machine is, both happen."""
            patient = random.random() < 0.7
            calm.wait(random.uniform(0, 0.2))
            while patient and not box.agent.stager.idle() and not calm.wait(0.02):
                pass
            return not calm.is_set()

        def releases() -> None:
            for number in itertools.count():
                plant.promote(("v5", "v6", "v7", "v8")[number % 4])
                if not go_on():
                    return

        def wishes() -> None:
            for number in itertools.count():
                version = ("v8", "v4", "v5")[number % 3]
                box.agent.stager.request(UpdateRequest(version, None, "push", "storm", requested_by="storm"))
                if not go_on():
                    return

        def rollbacks() -> None:
            while not calm.wait(random.uniform(0, 0.2)):
                with suppress(NothingToRollBackError):
                    box.agent.control.roll_back("storm")

        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(work) for work in (releases, wishes, rollbacks)]
            try:
                until(enough, 120)
            finally:
                calm.set()
            for future in running:
                future.result(30)
        until(box.agent.stager.idle)  # a wish of the storm that comes to serve later pins the box against them
        plant.promote("v6")  # if the storm did not end on it: a release that outdates every pin of the storm
        plant.promote("v4")
        until(lambda: box.agent.stager.idle() and box.serving == "v4")
        slots = box.agent.control.slots
        until(lambda: all(role in ("current", "previous") for role, _ in slots.loaded()))
        kept = {id(slot.model.predictor) for _, slot in slots.loaded()}
        assert {id(model) for model in loaded if not closed[id(model)]} == kept and len(kept) <= 2
    assert {closed[id(model)] for model in loaded} == {1}  # each was freed once, none twice


def test_a_stop_finishes_the_inferences_that_run(plant: Plant) -> None:
    with live_line(plant, {"v4": "slow"}) as box:
        until(lambda: sum(slot.leases for _, slot in box.agent.control.slots.loaded()) == WORKERS["workers"])
        plant.register("v5", "slow", most=5)
        plant.promote("v5")
        until(lambda: box.agent.stager.working is not None)  # and while a candidate is on its way in
        journal = box.agent.recorder.journal
        open_frames, before = journal.in_flight(), processed(box)
        assert open_frames
        begin = time.monotonic()
        assert box.agent.stop()
        assert time.monotonic() - begin < 20
        assert not journal.still_open(open_frames) and processed(box) >= before + int(WORKERS["workers"])
        assert box.agent.control.slots.loaded() == [] and box.agent.stager.working is None
    # The candidate may have come to serve before the last frame was finished: each record is proven either way.
    assert f"{MODEL}/v4" in {record["model_version"] for record in plant.records()}


class Hanging:
    """A predictor that hangs until it is told to go on; otherwise the model that it wraps."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.inside, self.go_on, self.closed = threading.Event(), threading.Event(), False

    def predict(self, bgr: Any) -> Any:
        self.inside.set()
        assert self.go_on.wait(30)
        assert not self.closed, "the model was freed under a running inference"
        return self.model.predict(bgr)

    def close(self) -> None:
        self.closed = True
        self.model.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


# The frame that comes back after the stop finds the spool closed; its worker ends on that, and says so.
def test_a_stop_leaves_an_inference_that_hangs_its_memory(plant: Plant) -> None:
    plant.register("v4", most=4)
    plant.promote("v4")
    box = LiveBox(plant, [camera(plant, fps=20)])
    loader = box.agent.stager.preparer.loader
    real, hanging = loader.load, []

    def load(*arguments: Any, **options: Any) -> LoadedModel:
        model = real(*arguments, **options)
        hanging.append(Hanging(model.predictor))
        return LoadedModel(**{**vars(model), "predictor": hanging[0]})

    loader.load = load  # type: ignore[method-assign]
    box.agent.start()
    until(lambda: hanging and hanging[0].inside.is_set())
    try:
        assert not box.agent.stop(drain_seconds=0.2)  # said so: something was left behind
        assert not hanging[0].closed
    finally:
        hanging[0].go_on.set()
    until(lambda: hanging[0].closed)  # the inference that came back after all was the last one out
    until(lambda: not any(thread.name.startswith("worker-") for thread in threading.enumerate()))


def test_an_inference_that_began_before_two_updates_ends_on_its_model(plant: Plant) -> None:
    picture = blob_frame(1, 480, 640, BLOBS)[0]
    with live_line(plant, {"v4": "good", "v5": "good", "v6": "good"}) as box:
        slots = box.agent.control.slots
        with slots.acquire() as held:
            for version in ("v5", "v6"):
                plant.promote(version)
                until(lambda version=version: box.serving == version)
            roles = {slot.label: role for role, slot in slots.loaded()}
            assert roles == {f"{MODEL}/v6": "current", f"{MODEL}/v5": "previous", f"{MODEL}/v4": "retiring"}
            assert not held.freed and len(held.model.predictor.predict(picture)) == 4
            with slots.acquire() as new:
                assert len(new.model.predictor.predict(picture)) == 6
            model = held.model.predictor
        assert held.freed  # by the return of its last lease, not by a clock
        with pytest.raises(UserError, match="closed"):
            model.predict(picture)
