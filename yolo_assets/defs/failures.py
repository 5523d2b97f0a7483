"""Failures by kind: what may pass is tried again, what will not is reported once, with what to do about it.

Three layers retry, each for its own length of time. A store retries a request for some seconds. ``RETRY_POLICY`` runs
the step of an asset again, in the same run, for about a minute. ``recovery`` requests a new run of what a failed run
left undone, with growing pauses, for about two days. Dagster's own run retries are only for runs whose process died
(``dagster.yaml``). A failure whose cause is in the data, the configuration or the code is not retried by any of them:
a changed input, or a person, starts the asset again.

Belongs here: the policy, and the decorator that every asset's function has. Does not belong here: what is retried in a
store (``yolo_assets.storage``), and new runs (``defs.recovery``).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import dagster as dg

from yolo_assets.contracts.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])

RETRY_POLICY = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""Three more tries after about 5, 15 and 35 seconds. ``by_kind`` decides which failures it applies to."""

REQUESTED_AGAIN = "requested_again"
"""Metadata of a failed step: whether ``recovery`` requests it again, or it waits for a changed input or a person."""
INCOMPLETE_TAG = "yolo_assets/incomplete_"
"""With the asset's name: tag of a successful run in which part of the work failed for a cause that may pass."""


def may_pass(error: Exception) -> bool:
    """Whether the same work may succeed later without a change of its inputs."""
    return error.may_pass if isinstance(error, UserError) else isinstance(error, OSError)


def to_failure(error: Exception) -> dg.Failure:
    """The failure that Dagster records: retried by the asset's policy or not, and what happens next.

    Args:
        error: raised by the asset's function.
    """
    if isinstance(error, UserError | OSError):
        message = str(error) or type(error).__name__
    else:
        message = f"{type(error).__name__}: {error}. This is a defect of the program; please report the traceback"
    again = may_pass(error)
    return dg.Failure(
        description=" ".join(message.split()),
        metadata={
            REQUESTED_AGAIN: again,
            "next": (
                "nothing to do: it is retried, and requested again at growing intervals"
                if again
                else "correct the cause; a changed input or a run by hand starts it again"
            ),
        },
        # Some failures pass only when an operator acted: a step that retries within a minute would not help.
        allow_retries=again and getattr(error, "transient", True),
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        raise to_failure(error) from error


def by_kind(function: F) -> F:
    """For every asset's function, under ``@dg.asset``: whatever it raises becomes a failure of a known kind.

    A static ``RetryPolicy`` alone would retry every exception, a broken label file as well as a lost connection.
    """
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with _translated():
                yield from function(*args, **kwargs)

        return generator  # pyright: ignore[reportReturnType]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _translated():
            return function(*args, **kwargs)

    return call  # pyright: ignore[reportReturnType]


def note_incomplete(context: dg.AssetExecutionContext) -> None:
    """Mark a run that will succeed although part of its work failed, so that ``recovery`` requests it again."""
    keys = [key.to_user_string() for key in context.selected_asset_keys]
    context.instance.add_run_tags(context.run_id, {f"{INCOMPLETE_TAG}{key}": "true" for key in keys})
