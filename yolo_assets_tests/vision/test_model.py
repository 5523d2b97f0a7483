"""`Model` and both engines on a small real file: right under threads, refusals in words, golden frames, no sockets."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest

from yolo_assets.contracts.errors import BadInputError, IntegrityError, UserError
from yolo_assets.contracts.model import ONNX, FileEntry, ModelManifest
from yolo_assets.vision.contract import class_differences, differences
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.engines.interface import EngineName, EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import open_engine
from yolo_assets.vision.matching import class_overlaps
from yolo_assets.vision.model import Model
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, Variant, blob_frame, tiny_bundle_files

Bundle = tuple[ModelManifest, dict[str, bytes]]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
on_both = pytest.mark.parametrize("engine", ENGINES)


@on_both
def test_blobs_are_found_where_they_are(tiny_bundle: Bundle, engine: EngineName) -> None:
    model = Model.load(*tiny_bundle, engine=engine)
    for seed in range(25):
        frame, truth = blob_frame(seed)
        found = model.predict(frame)
        for name, box in truth:
            fits = class_overlaps(found, Detections.of([box], [CLASS_NAMES.index(name)])) > 0.6
            assert fits.sum() == 1, f"frame {seed}: {name} at {box}"
    model.close()


@on_both
def test_the_golden_frames_hold_on_every_engine(tiny_bundle: Bundle, engine: EngineName) -> None:
    manifest, files = tiny_bundle
    model = Model.load(manifest, files, engine=engine)
    assert sum(len(frame.detections) for frame in manifest.golden_frames) >= 6
    assert model.check_golden(files) == []
    assert model.warm_up() > 0
    model.close()


def test_another_class_order_moves_the_ids_and_nothing_else(tiny_bundle: Bundle) -> None:
    frame, _ = blob_frame(5)
    turned = Model.load(*tiny_bundle_files(class_names=CLASS_NAMES[::-1])).predict(frame)
    straight = Model.load(*tiny_bundle).predict(frame)
    assert (3 - turned.class_id).tolist() == straight.class_id.tolist()
    np.testing.assert_allclose(turned.xyxy, straight.xyxy, atol=0.01)


@on_both
@pytest.mark.parametrize("parallel", [1, 2])
def test_many_threads_get_the_boxes_of_their_own_frame(tiny_bundle: Bundle, engine: EngineName, parallel: int) -> None:
    model = Model.load(*tiny_bundle, engine=engine, parallel=parallel)
    # frames of different sizes: a buffer or a request shared by mistake shows at once
    frames = [blob_frame(seed, 120 + 40 * (seed % 5), 160 + 60 * (seed % 3))[0] for seed in range(12)]
    alone = [model.predict(frame) for frame in frames]
    barrier = threading.Barrier(6)

    def work(worker: int) -> int:
        barrier.wait(10)
        order = np.random.default_rng(worker).integers(0, len(frames), 60)
        for index in order:
            found, wanted = model.predict(frames[index]), alone[index]
            np.testing.assert_array_equal(found.class_id, wanted.class_id)
            np.testing.assert_array_equal(found.xyxy, wanted.xyxy)
            np.testing.assert_array_equal(found.confidence, wanted.confidence)
        return len(order)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) == 360
    model.close()


@on_both
def test_closing_in_the_middle_ends_calls_normally_and_refuses_later_ones(engine: EngineName) -> None:
    model = Model.load(*tiny_bundle_files(variant="slow"), engine=engine)
    frame, truth = blob_frame(1)
    model.predict(frame)
    started = threading.Event()

    def call() -> int:
        started.set()
        return len(model.predict(frame))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(call)
        started.wait(5)
        while not running.done():  # the call may not yet have taken its engine when close comes first
            if not model._idle:  # its buffer is taken: it is inside
                break
        model.close()
        model.close()
        try:
            assert running.result(20) >= len(truth)
        except UserError as error:
            assert "closed" in str(error)
    with pytest.raises(UserError, match="closed"):
        model.predict(frame)


REFUSED: dict[Variant, str] = {
    "wrong_input_shape": r"input shape: manifest \[1, 3, 96, 128\], file \[1, 3, 192, 128\]",
    "wrong_output_shape": r"raw layout with 4 classes is \[1, 8, anchors\], file \[1, 9, 192\]",
    "wrong_names": r"class names: manifest \['crack', .*\], file \['undercut'",
    "external_data": "outside the ONNX file",
    "garbage": "not a readable ONNX",
}


@pytest.mark.parametrize("variant", sorted(REFUSED))
@on_both
def test_a_file_that_is_not_its_manifest_is_refused(variant: Variant, engine) -> None:
    with pytest.raises(BadInputError, match=REFUSED[variant]):
        Model.load(*tiny_bundle_files(variant=variant), engine=engine)


@on_both
def test_nan_is_an_error_never_an_empty_frame(engine: EngineName) -> None:
    manifest, files = tiny_bundle_files(variant="nan")
    model = Model.load(manifest, files, engine=engine)
    with pytest.raises(BadInputError, match="not finite"):
        model.predict(blob_frame(0)[0])
    with pytest.raises(BadInputError, match="not finite"):
        model.warm_up()
    problems = model.check_golden(files)
    assert len(problems) == 2
    assert all("not finite" in problem for problem in problems)


def test_golden_frames_reveal_a_blind_model_and_damaged_frames(tiny_bundle: Bundle) -> None:
    manifest, files = tiny_bundle_files(variant="blind")
    problems = Model.load(manifest, files).check_golden(files)
    assert len(problems) == sum(len(frame.detections) for frame in manifest.golden_frames)
    assert "was not found" in problems[0]

    manifest, files = tiny_bundle
    model = Model.load(manifest, files)
    (missing,) = model.check_golden({key: data for key, data in files.items() if key != "golden/1.png"})
    assert "no golden/1.png, it is missing" in missing
    (changed,) = model.check_golden({**files, "golden/0.png": files["golden/1.png"]})
    assert "differs from its manifest" in changed


def _with_first_box(manifest: ModelManifest, **change) -> ModelManifest:
    frame = manifest.golden_frames[0]
    first = frame.detections[0].model_copy(update=change)
    frames = (frame.model_copy(update={"detections": (first, *frame.detections[1:])}), *manifest.golden_frames[1:])
    return manifest.model_copy(update={"golden_frames": frames})


def test_golden_frames_compare_class_place_and_confidence(tiny_bundle: Bundle) -> None:
    manifest, files = tiny_bundle
    first = manifest.golden_frames[0].detections[0]
    x1, y1, x2, y2 = first.bbox
    for change, said in (
        ({"class_id": (first.class_id + 1) % 4}, ["was not found", "unexpected"]),
        ({"bbox": (x1 + 8, y1, x2 + 8, y2)}, ["nearest overlaps", "unexpected"]),
        ({"confidence": first.confidence - 0.1}, ["expected 0.89"]),
        ({"confidence": first.confidence - 0.04}, []),
        ({"class_id": 99}, ["class id 99 is not in the manifest", "unexpected"]),
    ):
        problems = Model.load(_with_first_box(manifest, **change), files).check_golden(files)
        assert len(problems) == len(said), problems
        assert all(any(word in problem for problem in problems) for word in said)
    none = manifest.model_copy(update={"golden_frames": ()})
    assert "no golden frames" in Model.load(none, files).check_golden(files)[0]


def test_only_the_bytes_of_the_manifest_are_loaded(tiny_bundle: Bundle) -> None:
    manifest, files = tiny_bundle
    with pytest.raises(IntegrityError, match="differs from its manifest"):
        Model.load(manifest, {**files, ONNX: files[ONNX] + b"\0"})
    with pytest.raises(IntegrityError, match="missing from the bundle"):
        Model.load(manifest, {})
    with pytest.raises(IntegrityError, match="does not list it"):
        Model.load(manifest.model_copy(update={"files": {}}), files)


def test_every_contradiction_is_reported_at_once(tiny_bundle: Bundle) -> None:
    manifest, files = tiny_bundle
    entry = FileEntry(sha256=hashlib.sha256(files[ONNX]).hexdigest(), size=len(files[ONNX]))
    lying = manifest.model_copy(
        update={"files": {ONNX: entry}, "stride": 32, "output_layout": "end2end", "input_shape": (2, 3, 96, 120)}
    )
    with pytest.raises(BadInputError) as error:
        Model.load(lying, files)
    for said in (
        "[2, 3, 96, 120], file [1, 3, 96, 128]",
        "not a multiple of the stride 32",
        "fed one by one",
        "[1, boxes, 6], file [1, 8, 192]",
        "stride: manifest 32, file 8",
    ):
        assert said in str(error.value)


def test_differences_between_models_are_one_line_each(tiny_bundle: Bundle) -> None:
    current, _ = tiny_bundle
    assert differences(current, current.model_copy(update={"version": "2", "metrics": {"map50": 0.5}})) == []
    candidate = current.model_copy(
        update={
            "class_names": ("porosity", "crack", "spatter", "burn"),
            "input_shape": (1, 3, 64, 64),
            "stride": 16,
            "output_layout": "end2end",
        }
    )
    assert differences(current, candidate) == [
        "class 'undercut' (id 3) is missing from the candidate",
        "class 'burn' (id 3) is new in the candidate",
        "class 'crack' moves from id 0 to id 1",
        "class 'porosity' moves from id 1 to id 0",
        "input shape: now [1, 3, 96, 128], candidate [1, 3, 64, 64]",
        "output layout: now raw, candidate end2end",
        "stride: now 8, candidate 16",
    ]
    assert class_differences(["a", "b"], ["a", "b", "b"]) == [
        "class names repeat: now ['a', 'b'], candidate ['a', 'b', 'b']"
    ]


def test_engines_refuse_with_one_line(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, files = tiny_bundle
    for name in ENGINES:
        engine = open_engine(files[ONNX], manifest, EngineSpec(name))
        with pytest.raises(BadInputError, match=r"takes float32 \[1, 3, 96, 128\], got float64 \[1, 3, 96, 127\]"):
            engine.infer(np.zeros((1, 3, 96, 127)))  # pyright: ignore[reportArgumentType]
        with pytest.raises(BadInputError, match=r"takes float32 \[1, 3, 96, 128\], got float32 \[2, 3, 96, 128\]"):
            engine.infer(np.zeros((2, 3, 96, 128), np.float32))
        engine.close()
    with pytest.raises(BadInputError, match="no engine 'tensorflow'"):
        open_engine(files[ONNX], manifest, EngineSpec("tensorflow"))  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInputError, match="at least 1 and the timeout positive, got 0, 1, 1"):
        EngineSetup(threads=0)
    with pytest.raises(BadInputError, match="weld/1 takes one frame at a time, not 4"):
        open_engine(files[ONNX], manifest, EngineSpec("openvino"), EngineSetup(batch=4))
    with pytest.raises(UserError, match="openvino does not run on cuda; choose onnxruntime for NVIDIA's cards"):
        open_engine(files[ONNX], manifest, EngineSpec("openvino", "cuda"))
    with pytest.raises(UserError, match="onnxruntime does not compute in bf16 on cpu; there it has f32"):
        open_engine(files[ONNX], manifest, EngineSpec("onnxruntime", "cpu", "bf16"))
    for name in ENGINES:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=f"engine {name} is not installed; .* run: pip install --no-index"):
            open_engine(files[ONNX], manifest, EngineSpec(name))


FRESH = """
import socket, sys
def refuse(*args, **kwargs): raise SystemExit("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
opened = []
sys.addaudithook(lambda event, args: opened.append(event) if event.startswith("socket.") else None)
from yolo_assets.vision.model import Model
assert not {"openvino", "onnxruntime", "torch", "onnx", "ultralytics", "cv2"} & set(sys.modules), "imported too early"
from yolo_assets.contracts.model import ModelManifest, ONNX
import numpy as np
manifest = ModelManifest.from_json(open(sys.argv[1], "rb").read())
model = Model.load(manifest, {ONNX: open(sys.argv[2], "rb").read()}, engine="openvino")
model.predict(np.zeros((50, 60, 3), np.uint8))
assert "openvino_telemetry.main" not in sys.modules, "telemetry was imported"
assert not {"torch", "onnx", "onnxruntime"} & set(sys.modules), "more than one engine was imported"
import time; time.sleep(0.5)  # a background sender would show by now
assert not opened, opened
print("quiet")
"""


def test_a_fresh_process_imports_one_engine_and_opens_no_socket(tiny_bundle: Bundle, tmp_path) -> None:
    manifest, files = tiny_bundle
    (tmp_path / "m.json").write_bytes(manifest.to_json())
    (tmp_path / "m.onnx").write_bytes(files[ONNX])
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "m.json"), str(tmp_path / "m.onnx")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "quiet", done.stdout + done.stderr
