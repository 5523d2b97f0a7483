"""The error of everything that sends to a receiver or a broker.

Does not belong here: sending, and what is done about what did not arrive.
"""

from __future__ import annotations

from typing import Literal

Blame = Literal["away", "error", "refused"]


class DeliveryError(Exception):
    """Something did not arrive.

    Args:
        message: one line for the operator, without a secret.
        reason: a short word for metrics, such as ``timeout``.
        blame: ``away``: the receiver is unreachable, retry for ever; ``error``: it failed on what was sent, retry a
            limited number of times; ``refused``: it will never take it.
        retry_after: seconds that the receiver asks for.
    """

    def __init__(
        self, message: str, reason: str = "connection", blame: Blame = "away", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.blame: Blame = blame
        self.retry_after = retry_after
