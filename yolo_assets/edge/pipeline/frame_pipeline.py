"""Cameras, queue and workers put together: started and stopped as one.

Belongs here: the order in which they begin and end. Does not belong here: what one of them does.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING

from yolo_assets.edge.cameras.open import ConfiguredSource
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.lots.book import LotBook
from yolo_assets.edge.pipeline.capture import CameraThread
from yolo_assets.edge.pipeline.masking import PictureMask
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.pipeline.sampling import Sampler
from yolo_assets.edge.pipeline.worker import FrameProcessor, TruthWriter, Worker
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import SlotManager

if TYPE_CHECKING:
    from yolo_assets.edge.lots.codes import LotReader


class FramePipeline:
    """The way of every frame from its source to its record.

    Args:
        config: of the agent.
        sources: one for each camera.
        recorder: where frames are counted and written.
        slots: where leases on models come from.
        has_model: set once a model serves.
        lots: what is in front of each camera.
    """

    def __init__(
        self,
        config: AgentConfig,
        sources: Sequence[ConfiguredSource],
        recorder: FrameRecorder,
        slots: SlotManager[LoadedModel],
        has_model: Event,
        lots: LotBook,
    ) -> None:
        self._recorder = recorder
        self.queue = FrameQueue(config.camera_ids, config.queue_size)
        self.sampler = Sampler(config.sampling, config.disk.fewer)
        readers = _lot_readers(config, lots)
        masks = {camera: PictureMask(section.mask) for camera, section in config.by_camera.items() if section.mask}
        self.cameras = [
            CameraThread(source, self.queue, recorder, has_model, readers.get(camera), masks.get(camera))
            for camera, source in ((each.source.camera_id, each) for each in sources)
        ]
        self.processor = FrameProcessor(config, self.queue, slots, recorder, self.sampler, TruthWriter(config), lots)
        self._workers = [Worker(self.processor, number) for number in range(config.engine.workers)]

    def start(self) -> None:
        """Workers first, so that no frame waits for one."""
        for worker in self._workers:
            worker.start()
        for camera in self.cameras:
            camera.start()

    def finished(self) -> bool:
        """Whether every source has ended and every frame has its outcome."""
        return all(camera.state == "finished" for camera in self.cameras) and not self._recorder.journal.in_flight()

    def stop(self, drain_seconds: float) -> bool:
        """Stop capturing, finish the frames that wait, drop what is not finished in time.

        Returns:
            False when a camera or an inference hung and was left behind.
        """
        for camera in self.cameras:
            camera.stop()
        ended = [camera.join(5.0) for camera in self.cameras]
        self.queue.close()
        ended += [worker.join(drain_seconds) for worker in self._workers]
        for frame in self.queue.take_all():
            self._recorder.drop(frame, "stopped")
        return all(ended)


def _lot_readers(config: AgentConfig, lots: LotBook) -> dict[str, LotReader]:
    """For each camera that asks for it, by its id."""
    wanted = {camera: section.codes for camera, section in config.by_camera.items() if section.codes is not None}
    if not wanted:
        return {}
    from yolo_assets.edge.lots.codes import CodeReader, LotReader  # a device without codes loads no reader

    return {camera: LotReader(camera, CodeReader(codes), lots) for camera, codes in wanted.items()}
