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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import dagster as dg

from yolo_assets.contracts.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])

RETRY_POLICY = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""Three more tries after about 5, 15 and 35 seconds. ``by_kind`` decides which failures it applies to."""

REQUESTED_AGAIN = "requested_again"
"""Metadata of a failed step, and of an hour that is not complete.

Whether ``recovery`` requests it again, or it waits for a changed input or a person.
"""
_MOST_NAMED = 5


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
    # Some failures pass only when an operator acted: a step that retries within a minute would not help.
    return _failure(" ".join(message.split()), again, soon=again and getattr(error, "transient", True))


def several(failures: Mapping[str, dg.Failure]) -> dg.Failure:
    """One failure for those of several camera-hours: its line names them with their causes, of very many the first.

    Args:
        failures: made by ``to_failure``, by camera-hour.
    """
    told = [f"{name}: {failure.description}" for name, failure in sorted(failures.items())]
    more = f"; and {len(told) - _MOST_NAMED} more camera-hours" if len(told) > _MOST_NAMED else ""
    return _failure(
        "; ".join(told[:_MOST_NAMED]) + more,
        again=any(failure.metadata[REQUESTED_AGAIN].value for failure in failures.values()),
        soon=any(failure.allow_retries for failure in failures.values()),
    )


def _failure(description: str, again: bool, soon: bool) -> dg.Failure:
    return dg.Failure(
        description=description,
        metadata={
            REQUESTED_AGAIN: again,
            "next": (
                "nothing to do: it is retried, and requested again at growing intervals"
                if again
                else "correct the cause; a changed input or a run by hand starts it again"
            ),
        },
        allow_retries=soon,
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
