"""The last look at an exported file before a channel points to it: opened and run as an agent would.

Belongs here: that the file is what its manifest says, loads on an engine of the edge, and finds in the golden frames
what it found where it was built. Does not belong here: whether the model is good (``gate``).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import get_args

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import ONNX
from yolo_assets.models.bundle import VerifiedBundle
from yolo_assets.vision.contract import file_problems
from yolo_assets.vision.onnx_file import read_onnx


class ExportRefusedError(UserError):
    """The exported file is not what its manifest promises: no agent would take it."""


def check_exported_file(bundle: VerifiedBundle, run: bool = True) -> None:
    """Open a bundle's file and run its golden frames, on the first engine of the edge here that can.

    The engine runs in a process of its own, so that a file that crashes it is refused like any other.

    Args:
        bundle: with its ONNX file and golden frames.
        run: False looks only at what the file declares, which needs no engine.

    Raises:
        ExportRefusedError: the file contradicts its manifest, does not load, or finds other boxes; one line.
        UserError: no engine is installed on this machine.
    """
    model = bundle.manifest.model_version
    try:
        contradictions = file_problems(bundle.manifest, read_onnx(bundle.files[ONNX]))
    except BadInputError as error:
        raise ExportRefusedError(f"{model} is not released: {_line(error)}; export it again") from None
    if contradictions:
        raise ExportRefusedError(
            f"{model} is not released: its file is not what its manifest says: {'; '.join(contradictions)}; "
            "export it again"
        )
    if run:
        _run(bundle)


def _run(bundle: VerifiedBundle) -> None:
    # Only here: everything else that promotion does runs on a machine without an engine.
    from yolo_assets.vision.engines.interface import EngineName, EngineSetup
    from yolo_assets.vision.model import Model

    model = bundle.manifest.model_version
    engines = [name for name in reversed(get_args(EngineName)) if find_spec(name) is not None]
    if not engines:
        raise UserError(
            f"{model} is not released: its file must be run first, and no engine is installed here; run: "
            "pip install 'yolo-assets[edge]'"
        )
    problems: list[str] = []
    for engine in engines:
        try:
            loaded = Model.load(bundle.manifest, bundle.files, engine=engine, setup=EngineSetup(process=True))
        except BadInputError as error:
            raise ExportRefusedError(f"{model} is not released: {_line(error)}; export it again") from None
        except UserError as error:
            problems.append(f"{engine}: {_line(error)}")
            continue
        try:
            loaded.warm_up(1)
            found = loaded.check_golden(bundle.files)
        except UserError as error:
            found = [_line(error)]
        finally:
            loaded.close()
        if not found:
            return
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        problems.append(f"{engine}: {found[0]}{more}")
    raise ExportRefusedError(f"{model} is not released: {'; '.join(problems)}; export it again")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
