"""Runs one target: ``python -m yolo_assets_tests.fuzz.runner TARGET SECONDS FOLDER [-libfuzzer-option…]``.

Ends with 0 when nothing was found in that time. What breaks the law lies in FOLDER as ``crash-…``, ``timeout-…`` or
``oom-…``, and its traceback on standard error; give such a file as the last argument to run it alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

LONGEST = 4096
"""Bytes of an input. Longer ones find little that these do not, and slowly."""
MEMORY_MB = 2048
INPUT_SECONDS = 20


def main(target: str, seconds: str, folder: str, *more: str) -> None:
    """Run the fuzzer in this process; it ends the process."""
    atheris: Any = importlib.import_module("atheris")  # it has no types of its own
    tempfile.tempdir = folder
    with atheris.instrument_imports(include=["yolo_assets"], enable_loader_override=False):
        module = importlib.import_module(f"yolo_assets_tests.fuzz.{target}")
    corpus = Path(folder) / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in module.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    warnings.simplefilter("ignore")
    logging.disable()
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={getattr(module, 'LONGEST', LONGEST)}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={INPUT_SECONDS}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    alone = [argument for argument in more if not argument.startswith("-")]
    options += [argument for argument in more if argument.startswith("-")]
    with contextlib.suppress(RuntimeError):  # a fork server would have set it already
        importlib.import_module("multiprocessing").set_start_method("spawn")
    mutator = {"custom_mutator": module.mutate} if hasattr(module, "mutate") else {}
    atheris.Setup([sys.argv[0], *options, *(alone or [str(corpus)])], module.check, **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
