"""``yolo-assets demo``."""

from yolo_assets.cli.common import JsonOption, emit_json, need, settings


def demo(as_json: JsonOption = False) -> None:
    """The whole loop on this machine: frames, archive, catalog, training, promotion, hot reload. Some minutes.

    Example: yolo-assets demo
    """
    need("dagster", "torch", "ultralytics")
    from yolo_assets.local.demo.screen import Screen
    from yolo_assets.local.demo.story import run

    figures = run(settings(), Screen(stderr=as_json))
    if as_json:
        emit_json(figures.model_dump(mode="json"))
