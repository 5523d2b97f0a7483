"""Reading a network stream, in the child: one thread takes packets off the network, one decodes.

Nothing here has a time-out: the agent has, and ends the whole process. It is the one way that works for every library
and every state that a connection can be in.
"""

from __future__ import annotations

import threading
from typing import Any

import av
import av.error
import av.logging

from yolo_assets.edge.cameras.process.decoding import Decoding
from yolo_assets.edge.cameras.process.line import PacketLine, Waiting
from yolo_assets.edge.cameras.process.outbox import Outbox, since_start
from yolo_assets.edge.cameras.process.wire import MOST_PIXELS, StreamOrder

_PROTOCOLS = "rtsp,rtsps,rtp,udp,tcp,tls,http,https,httpproxy,srt,crypto"
"""A playlist or a redirection of a stranger's server must not lead to the files of this machine."""

_ALWAYS = {"protocol_whitelist": _PROTOCOLS, "max_pixels": str(MOST_PIXELS)}
_HOPELESS = (
    av.error.ProtocolNotFoundError,
    av.error.DecoderNotFoundError,
    av.error.HTTPUnauthorizedError,
    av.error.HTTPForbiddenError,
)


def read_stream(order: StreamOrder, outbox: Outbox, closing: threading.Event) -> None:
    """Open, decode and hand over until the stream ends, breaks, or the agent lets go; says why at the end."""
    av.logging.set_level(None)
    try:
        with av.open(order["url"], options={**order["options"], **_ALWAYS}) as container:
            if not container.streams.video:
                outbox.last_words("the stream holds no video", hopeless=False)
                return
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # more would hold pictures back, and a camera needs one
            outbox.opened(codec=stream.codec_context.name, width=stream.width, height=stream.height)
            _read(container, stream, order, outbox, closing)
            words, hopeless = "the stream ended", False
    except (av.error.FFmpegError, OSError, ValueError) as error:
        # Only what the error is: its full text names the address, with whatever secret that holds.
        words = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        words, hopeless = f"the stream failed: {words}", isinstance(error, _HOPELESS)
        if isinstance(error, av.error.ProtocolNotFoundError):
            words = f"this FFmpeg cannot read {order['url'].partition(':')[0]}://; use rtsp, http, tcp or udp"
    if not closing.is_set():
        outbox.last_words(words, hopeless=hopeless)


def _read(container: Any, stream: Any, order: StreamOrder, outbox: Outbox, closing: threading.Event) -> None:
    line = PacketLine(order["patience_s"])
    decoding = Decoding(line, outbox, order["fps"])
    decoding.start()
    try:
        for packet in container.demux(stream):
            if closing.is_set() or decoding.failed:
                break
            if packet.size:
                line.put(Waiting(packet, since_start(), packet.is_keyframe, packet.size))
    finally:
        line.put(Waiting(None, since_start(), False, 0))
        decoding.join()
    if decoding.failed is not None:
        raise decoding.failed
