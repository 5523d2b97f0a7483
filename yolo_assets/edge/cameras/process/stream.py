"""Reading a network stream, in the child: one thread takes packets off the network, one decodes.

Between them packets wait in a bounded queue, so that the pictures stay current. Nothing here has a time-out: the agent
has, and ends the whole process. It is the one way that works for every library and every state that a connection can be
in.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import av
import av.error
import av.logging
import numpy as np
from av.video.reformatter import VideoReformatter

from yolo_assets.edge.cameras.process.channel import AgentChannel, Thinning, since_start
from yolo_assets.edge.cameras.process.memory import Bytes
from yolo_assets.edge.cameras.process.wire import MOST_PIXELS, StreamOrder

_MOST_BYTES = 64 << 20
_REMEMBERED = 64
_PROTOCOLS = "rtsp,rtsps,rtp,udp,tcp,tls,http,https,httpproxy,srt,crypto"
"""A playlist or a redirection of a stranger's server must not lead to the files of this machine."""

_ALWAYS = {"protocol_whitelist": _PROTOCOLS, "max_pixels": str(MOST_PIXELS)}
_HOPELESS = (
    av.error.ProtocolNotFoundError,
    av.error.DecoderNotFoundError,
    av.error.HTTPUnauthorizedError,
    av.error.HTTPForbiddenError,
)


def read_stream(order: StreamOrder, channel: AgentChannel, closing: threading.Event) -> None:
    """Open, decode and hand over until the stream ends, breaks, or the agent closes the socket; says why at the end."""
    av.logging.set_level(None)
    try:
        with av.open(order["url"], options={**order["options"], **_ALWAYS}) as container:
            if not container.streams.video:
                channel.end("the stream holds no video", hopeless=False)
                return
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # more would hold pictures back, and a camera needs one
            channel.opened(codec=stream.codec_context.name, width=stream.width, height=stream.height)
            _read(container, stream, order, channel, closing)
            words, hopeless = "the stream ended", False
    except (av.error.FFmpegError, OSError, ValueError) as error:
        # Only what the error is: its full text names the address, with whatever secret that holds.
        words = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        words, hopeless = f"the stream failed: {words}", isinstance(error, _HOPELESS)
        if isinstance(error, av.error.ProtocolNotFoundError):
            words = f"this FFmpeg cannot read {order['url'].partition(':')[0]}://; use rtsp, http, tcp or udp"
    if not closing.is_set():
        channel.end(words, hopeless=hopeless)


def _read(container: Any, stream: Any, order: StreamOrder, channel: AgentChannel, closing: threading.Event) -> None:
    queue = PacketQueue(order["patience_s"])
    decoding = Decoding(queue, channel, order["fps"])
    decoding.start()
    try:
        for packet in container.demux(stream):
            if closing.is_set() or decoding.failed:
                break
            if packet.size:
                queue.put(Packet(packet, since_start(), packet.is_keyframe, packet.size))
    finally:
        queue.put(Packet(None, since_start(), False, 0))
        decoding.join()
    if decoding.failed is not None:
        raise decoding.failed


@dataclass(frozen=True)
class Packet:
    """One packet that waits for the decoder.

    Attributes:
        packet: of the demuxer; None marks the end of the stream.
        arrived: seconds on the clock of the machine since it started.
        key: whether decoding can begin here.
        size: bytes.
    """

    packet: Any
    arrived: float
    key: bool
    size: int


class PacketQueue:
    """First in, first out; when the oldest has waited too long, everything before the newest key packet goes.

    Where no young key packet waits all of them go, and those that follow until the next one: what depends on a packet
    that is gone would decode to a smear. A stream that never marks key packets is taken up again at once.

    Args:
        patience_s: how long a packet may wait for the decoder.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._queue: deque[Packet] = deque()
        self._bytes = 0
        self._lost = 0
        self._keys_seen = False
        self._until_key = False
        self._filled = threading.Condition()

    def put(self, item: Packet) -> None:
        """Add a packet; never waits."""
        with self._filled:
            self._keys_seen = self._keys_seen or item.key
            if self._until_key and not item.key and item.packet is not None:
                self._lost += 1
                return
            self._until_key = False
            self._queue.append(item)
            self._bytes += item.size
            late = item.arrived - self._queue[0].arrived > self._patience_s
            if item.packet is not None and (late or self._bytes > _MOST_BYTES):
                self._thin()
            self._filled.notify()

    def get(self) -> Packet:
        """The oldest, waiting for one."""
        with self._filled:
            self._filled.wait_for(lambda: self._queue)
            item = self._queue.popleft()
            self._bytes -= item.size
            return item

    def take_lost(self) -> int:
        """How many packets went unread since the last call."""
        with self._filled:
            lost, self._lost = self._lost, 0
            return lost

    def _thin(self) -> None:
        young = self._queue[-1].arrived - self._patience_s
        places = range(len(self._queue) - 1, 0, -1)
        newest_key = next((p for p in places if self._queue[p].key and self._queue[p].arrived >= young), None)
        gone = len(self._queue) if newest_key is None else newest_key
        for _ in range(gone):
            self._bytes -= self._queue.popleft().size
        self._lost += gone
        self._until_key = newest_key is None and self._keys_seen


class Decoding:
    """Decodes until the end of the stream.

    Attributes:
        failed: what broke it, if anything did: a stream whose pictures cannot be handed over.
    """

    def __init__(self, queue: PacketQueue, channel: AgentChannel, fps: float | None) -> None:
        self.failed: Exception | None = None
        self._queue = queue
        self._channel = channel
        self._thinning = Thinning(fps)
        self._reformatter = VideoReformatter()
        self._arrivals: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until everything in the queue is decoded."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while (item := self._queue.get()).packet is not None:
                if lost := self._queue.take_lost():
                    self._channel.lost("overrun", lost)
                self._decode(item.packet, item.arrived)
        except Exception as error:  # the reading thread reports it, and ends the child
            self.failed = error

    def _decode(self, packet: Any, arrived: float) -> None:
        if packet.pts is not None:
            self._arrivals[packet.pts] = arrived
            while len(self._arrivals) > _REMEMBERED:
                del self._arrivals[next(iter(self._arrivals))]
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            self._channel.lost("unreadable")
            return
        for frame in frames:
            # Pictures that wait for others to be decoded arrived when their own packet did.
            at = self._arrivals.pop(frame.pts, arrived)
            if frame.is_corrupt:  # concealed by the decoder: a model would see damage that the product does not have
                self._channel.lost("unreadable")
            elif not self._thinning.wanted(at):
                self._channel.alive()
            else:
                self._channel.picture(at, frame.height, frame.width, lambda into, f=frame: self._convert(f, into))

    def _convert(self, frame: Any, into: Bytes) -> None:
        height, width = into.shape[:2]
        plane = self._reformatter.reformat(frame, format="bgr24", threads=1).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        into.reshape(height, width * 3)[:] = rows[:height, : width * 3]
