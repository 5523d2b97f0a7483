"""``report.html``: one file, no script, nothing loaded from anywhere; written as it is rendered, in bounded memory."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import jinja2

from yolo_assets.evidence.report import PICTURES, Report
from yolo_assets.evidence.words import CUSTODY, DOES_NOT_PROVE, PROVES, how_to_verify, when


def html(report: Report) -> Iterator[bytes]:
    """The page, in pieces."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names and reasons come from strangers
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode()
    pieces = environment.get_template("report.html.j2").generate(
        report=report,
        pack=report.pack,
        made=when(report.pack.made_at),
        custody=CUSTODY,
        proves=PROVES,
        does_not_prove=DOES_NOT_PROVE,
        steps=how_to_verify(report.pack),
        pictures=PICTURES,
    )
    return (piece.encode() for piece in pieces)
