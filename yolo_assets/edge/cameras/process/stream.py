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

from yolo_assets.edge.cameras.decoding import SoundDecoder, UprightPictures
from yolo_assets.edge.cameras.process.channel import AgentChannel, Thinning, since_start
from yolo_assets.edge.cameras.process.wire import MOST_PIXELS, StreamOrder

_MOST_BYTES = 64 << 20
_PROTOCOLS = "rtsp,rtsps,rtp,udp,tcp,tls,http,https,httpproxy,srt,crypto"
"""A playlist or a redirection of a stranger's server must not lead to the files of this machine."""
_REMEMBERED = 64
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
    one_picture = False
    try:
        with _open(order) as container:
            if not container.streams.video:
                channel.end("the stream holds no video", hopeless=False)
                return
            stream = container.streams.video[0]
            channel.opened(codec=stream.codec_context.name, width=stream.width, height=stream.height)
            one_picture = container.format.name.endswith("_pipe")
            _read(container, stream, order, channel, closing)
            words, hopeless = "the stream ended", False
    except (av.error.FFmpegError, OSError, ValueError) as error:
        # Only what the error is: its full text names the address, with whatever secret that holds.
        words = getattr(error, "strerror", None) or (str(error) or type(error).__name__)
        words, hopeless = f"the stream failed: {words}", isinstance(error, _HOPELESS)
        if isinstance(error, av.error.ProtocolNotFoundError):
            words = f"this FFmpeg cannot read {order['url'].partition(':')[0]}://; use rtsp, http, tcp or udp"
        elif isinstance(error, av.error.InvalidDataError):
            words = "what comes from this address is no video; is it a login page, or does it lack a path?"
    if one_picture and not hopeless:
        words += "; for an address that gives one picture a request use kind: snapshot"
    if not closing.is_set():
        channel.end(words, hopeless=hopeless)


def _open(order: StreamOrder) -> Any:
    options = {**order["options"], **_ALWAYS}
    container = av.open(order["url"], options=options)
    if container.format.name != "mpjpeg" or container.streams.video[0].width:
        return container
    container.close()
    # FFmpeg refuses a multipart stream whose parts have no Content-Type; the JPEGs in it can be found without.
    return av.open(order["url"], format="mjpeg", options=options)


def _read(container: Any, stream: Any, order: StreamOrder, channel: AgentChannel, closing: threading.Event) -> None:
    queue = PacketQueue(order["patience_s"])
    decoding = Decoding(queue, channel, SoundDecoder(stream, threads=1), order["fps"])
    decoding.start()
    try:
        for packet in container.demux(stream):
            if closing.is_set() or decoding.failed:
                break
            if packet.size:
                queue.put(Packet(packet, since_start(), packet.is_keyframe, packet.size))
                channel.packets()
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


class CaptureTimes:
    """When the pictures of a stream came: each later than the one shown before it.

    A picture that others are predicted from is sent ahead of those that are shown before it. The stream's own times say
    by how much, and it counts as having come so much later: as if all had been sent in the order in which they are
    shown.
    """

    _LONGEST = 10.0
    _STEP = 0.001

    def __init__(self) -> None:
        self._arrivals: dict[int, float] = {}
        self._latest = 0.0

    def arrived(self, packet: Any, at: float) -> None:
        """Remember a packet that goes into the decoder.

        Args:
            packet: of the demuxer.
            at: seconds on the clock of the machine since it started.
        """
        if packet.pts is None:
            return
        ahead = 0.0
        if packet.dts is not None and packet.time_base is not None:
            ahead = float((packet.pts - packet.dts) * packet.time_base)
        ahead = ahead if 0 <= ahead <= self._LONGEST else 0.0  # nonsense
        self._arrivals[packet.pts] = at + ahead
        while len(self._arrivals) > _REMEMBERED:
            del self._arrivals[next(iter(self._arrivals))]

    def of(self, pts: int | None, now: float) -> float:
        """The time of a picture that the decoder gives, on the clock of the arrivals.

        Args:
            pts: its time in the stream.
            now: arrival of the newest packet, for a picture without a time.
        """
        came = now if pts is None else self._arrivals.pop(pts, now)
        self._latest = max(self._latest + self._STEP, came)
        return self._latest


class Decoding:
    """Decodes until the end of the stream.

    Attributes:
        failed: what broke it, if anything did: a stream whose pictures cannot be handed over.
    """

    def __init__(self, queue: PacketQueue, channel: AgentChannel, decoder: SoundDecoder, fps: float | None) -> None:
        self.failed: Exception | None = None
        self._queue = queue
        self._channel = channel
        self._decoder = decoder
        self._thinning = Thinning(fps)
        self._pictures = UprightPictures()
        self._times = CaptureTimes()
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
        self._times.arrived(packet, arrived)
        for frame in self._decoder.decode(packet):
            if frame is None:
                self._channel.lost("unreadable")
                continue
            at = self._times.of(frame.pts, arrived)
            if not self._thinning.wanted(at):
                self._channel.alive()
            else:
                height, width = self._pictures.size(frame)
                self._channel.picture(at, height, width, lambda into, f=frame: self._pictures.write(f, into))
