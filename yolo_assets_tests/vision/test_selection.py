"""``engine: auto``: every way is measured, a way that finds other things is not taken, batches only where they pay."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import ONNX, ModelManifest
from yolo_assets.vision import selection
from yolo_assets.vision.engines.interface import EngineSetup, EngineSpec
from yolo_assets.vision.engines.onnxruntime import engine_cache, provider_list
from yolo_assets.vision.hardware import cpu_flags
from yolo_assets.vision.model import Model
from yolo_assets.vision.selection import (
    BatchMeasurement,
    EngineMeasurement,
    EngineOptions,
    EngineSelection,
    ReferenceResults,
    measure,
    select_engine,
)
from yolo_assets_tests.support.tiny_model import blob_frame, tiny_bundle_files

FRAMES = [blob_frame(seed)[0] for seed in range(3)]
Bundle = tuple[ModelManifest, dict[str, bytes]]
has_bf16 = pytest.mark.skipif(
    not {"avx512_bf16", "amx_bf16"} & cpu_flags(), reason="this processor has no bf16 (avx512_bf16 or amx_bf16)"
)


def test_every_way_is_in_the_table_and_the_chosen_one_was_the_fastest(tiny_bundle: Bundle) -> None:
    manifest, files = tiny_bundle
    choice = select_engine(files[ONNX], manifest, EngineOptions(), EngineSetup(), FRAMES)
    assert [row.spec for row in choice.rows] == EngineOptions().specs()
    measured = [row for row in choice.rows if row.problem is None]
    assert {row.engine for row in measured} == {"openvino", "onnxruntime"}
    fastest = min(row.latency_ms or 0 for row in measured)
    assert (choice.chosen.latency_ms or 1e9) <= fastest * 1.06
    for row in choice.rows:
        assert (row.latency_ms or 0) > 0 or row.problem
    table = choice.table()
    assert f"* {choice.chosen.spec}" in table
    assert len(table.splitlines()) == len(choice.rows)
    assert EngineSelection.from_json(choice.to_json()) == choice


def test_without_an_engine_the_other_serves_without_any_all_reasons_are_given(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, files = tiny_bundle
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    choice = select_engine(files[ONNX], manifest, EngineOptions(), EngineSetup(), FRAMES)
    assert choice.chosen.engine == "openvino"
    assert all("not installed" in (row.problem or "") for row in choice.rows if row.engine == "onnxruntime")
    with pytest.raises(UserError, match=r"no engine can run model weld/1: onnxruntime cpu f32: .*not installed"):
        select_engine(files[ONNX], manifest, EngineOptions(engine="onnxruntime"), EngineSetup(), FRAMES)


def test_a_way_that_finds_other_things_is_not_taken_however_fast(tiny_bundle: Bundle) -> None:
    good = Model.load(*tiny_bundle)
    expected = ReferenceResults(good, FRAMES)
    assert expected.boxes >= 8
    assert expected.problem(Model.load(*tiny_bundle, engine="onnxruntime")) is None
    swapped = Model.load(*tiny_bundle_files(class_names=good.manifest.class_names[::-1]))
    assert "differs from f32 in picture 0" in (expected.problem(swapped) or "")
    blind = Model.load(*tiny_bundle_files(variant="blind"))
    assert "was not found" in (expected.problem(blind) or "")
    broken = Model.load(*tiny_bundle_files(variant="nan"))
    assert "not finite" in (expected.problem(broken) or "")


def test_pictures_without_an_object_still_reveal_a_model_that_differs(tiny_bundle: Bundle) -> None:
    dark = [np.full((96, 128, 3), 40, np.uint8)]
    quiet = ReferenceResults(Model.load(*tiny_bundle_files(variant="blind")), [*dark, FRAMES[0]])
    assert quiet.boxes == 0
    assert "differs from f32 in picture 1" in (quiet.problem(Model.load(*tiny_bundle)) or "")


@has_bf16
def test_bf16_is_used_when_requested_and_compared_with_f32(tiny_bundle: Bundle) -> None:
    exact, short = (Model.load(*tiny_bundle, engine=EngineSpec("openvino", "cpu", p)) for p in ("f32", "bf16"))
    assert short.engine_name == "openvino cpu bf16"
    found, wanted = short.predict(FRAMES[0]), exact.predict(FRAMES[0])
    assert len(found) == len(wanted) >= 3
    assert not np.array_equal(found.xyxy, wanted.xyxy), "bf16 gave f32's bits: the hint had no effect"


def row(
    engine: str = "openvino", precision: str = "f32", ms: float | None = 10.0, problem: str | None = None
) -> EngineMeasurement:
    per_second = 1000 / ms if ms else None
    return EngineMeasurement.model_validate(
        {"engine": engine, "precision": precision, "device": "cpu", "latency_ms": ms, "per_second": per_second}
        | {"problem": problem}
    )


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.booleans()), min_size=1, max_size=6))
def test_the_best_has_no_problem_and_is_never_far_from_the_fastest(ways: list[tuple[float, bool]]) -> None:
    rows = [row(ms=ms, problem=None if good else "differs") for ms, good in ways]
    for mode in ("latency", "throughput"):
        best = selection._best(rows, EngineOptions(mode=mode))
        usable = [r.latency_ms or 0 for r in rows if r.problem is None]
        assert (best is None) == (not usable)
        if best is not None:
            assert best.problem is None
            assert (best.latency_ms or 0) <= min(usable) * selection._WORTH * 1.0001


def test_a_lower_precision_must_be_worth_it() -> None:
    assert selection._best([row(ms=10.0), row(precision="bf16", ms=9.8)], EngineOptions()) == row(ms=10.0)
    assert selection._best([row(ms=10.0), row(precision="bf16", ms=5.0)], EngineOptions()) == row(
        precision="bf16", ms=5.0
    )


@pytest.mark.parametrize(
    ("speeds", "limit", "best"),
    [
        ([(1, 10, 100), (2, 12, 166), (4, 16, 250)], 100.0, 4),
        ([(1, 10, 100), (2, 12, 166), (4, 16, 250)], 15.0, 2),
        ([(1, 10, 100), (2, 19.5, 102), (4, 39, 102)], 100.0, 1),
        ([(1, 200, 5), (2, 210, 9)], 100.0, 1),
    ],
)
def test_a_batch_must_pay_and_keep_the_limit(speeds, limit: float, best: int) -> None:
    rows = [BatchMeasurement(batch=n, latency_ms=ms, per_second=rate) for n, ms, rate in speeds]
    assert selection._best_batch(rows, EngineOptions(batch=8, batch_latency_ms=limit)) == best


def test_batches_are_measured_where_a_file_takes_them_and_change_no_box() -> None:
    manifest, files = tiny_bundle_files(free_batch=True)
    choice = select_engine(
        files[ONNX], manifest, EngineOptions(engine="openvino", precision="f32", batch=6), EngineSetup(), FRAMES
    )
    assert [row.batch for row in choice.batches] == [1, 2, 4, 6]
    fixed = select_engine(*_fixed(), EngineOptions(engine="openvino", precision="f32", batch=6), EngineSetup(), FRAMES)
    assert (fixed.batches, fixed.batch) == ((), 1)
    for engine in ("openvino", "onnxruntime"):
        single = Model.load(manifest, files, engine=engine)
        several = Model.load(manifest, files, engine=engine, setup=EngineSetup(batch=4))
        frames = [blob_frame(seed, 100 + 20 * seed, 300)[0] for seed in range(7)]
        for alone, together in zip(map(single.predict, frames), several.predict_many(frames), strict=True):
            np.testing.assert_allclose(together.xyxy, alone.xyxy, atol=0.02)
            assert together.class_id.tolist() == alone.class_id.tolist()


def _fixed() -> tuple[bytes, ModelManifest]:
    manifest, files = tiny_bundle_files()
    return files[ONNX], manifest


def test_speed_counts_every_caller_and_reports_a_failure(tiny_bundle: Bundle) -> None:
    model = Model.load(*tiny_bundle, parallel=2)
    speed = measure(model, FRAMES, callers=2)
    assert speed.per_second == pytest.approx(2000 / speed.latency_ms, rel=0.8)
    model.close()
    with pytest.raises(UserError, match="closed"):
        measure(model, FRAMES, callers=2)


def test_gpu_providers_get_their_options_and_a_cache_of_their_own(tmp_path) -> None:
    """What ONNX Runtime is asked for; that it works needs a GPU, which tests do not have."""
    one, setup = b"one model", EngineSetup(cache=tmp_path)
    trt = EngineSpec("onnxruntime", "tensorrt", "f16")
    [(name, options), (cuda, cuda_options), (cpu, _)] = provider_list(trt, setup, one)
    assert (name, cuda, cpu) == ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    assert (options["trt_fp16_enable"], options["trt_bf16_enable"], cuda_options["use_tf32"]) == ("1", "0", "0")
    assert options["trt_engine_cache_path"] == str(engine_cache(tmp_path, one, trt, 1))
    folders = {
        engine_cache(tmp_path, model, EngineSpec("onnxruntime", "tensorrt", precision), batch)
        for model in (one, b"another")
        for precision in ("f32", "f16")
        for batch in (1, 4)
    }
    assert len(folders) == 8
    manifest, files = tiny_bundle_files(free_batch=True)
    options = provider_list(trt, EngineSetup(batch=4), files[ONNX])[0][1]
    height, width = manifest.input_shape[2:]
    assert options["trt_profile_max_shapes"] == f"images:4x3x{height}x{width}"
    assert options["trt_profile_min_shapes"] == f"images:1x3x{height}x{width}"
    assert "trt_engine_cache_enable" not in options


def test_the_table_says_when_a_choice_was_made() -> None:
    choice = EngineSelection(
        chosen=row(),
        rows=(row(), row("onnxruntime", ms=None, problem="not installed")),
        model_version="weld/1",
        measured_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    first, second = choice.table().splitlines()
    assert first.startswith("* openvino cpu f32")
    assert second.startswith("  onnxruntime cpu f32")
    assert second.endswith("not installed")
