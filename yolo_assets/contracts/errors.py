"""Errors that are meant for a person: one line that says what is wrong and what to do.

The command line prints ``error: <message>`` and exits 1; Dagster shows the message as the cause of the failed step.
Bugs are not wrapped in these: they keep their traceback.
"""

from typing import ClassVar


class UserError(Exception):
    """Something a person can put right; the message is one line and says how.

    Attributes:
        may_pass: the same work may succeed later although none of its inputs changed: a store that was away, a lock
            that another process held. Dagster's assets are retried after these and no others.
    """

    may_pass: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class BadInputError(UserError):
    """Input that does not follow its contract: a name, a record, a file, a configuration."""


class UsageError(UserError):
    """The command was called wrongly: the command line exits 2 instead of 1."""


class InterruptedByUser(UserError):
    """Ctrl-C came, and something goes on without this command: the message says what. The command line exits 130."""


class SignatureError(UserError):
    """A signature is missing, does not fit the bytes, or was made by a key that is not trusted."""


class IntegrityError(UserError):
    """Bytes differ from what was promised for them: a hash, a size, a count."""


def missing_package(name: str, extra: str) -> str:
    """The message for a package that is not installed: which extra brings it, and how to install that.

    Never by the project's name alone: on the public index that name is free, and anyone may take it.
    """
    return (
        f"{name} is not installed; it belongs to the extra '{extra}'; from the folder that make dist made, run: "
        f"pip install --no-index --no-deps --find-links wheels -r wheels/requirements-{extra}.txt"
    )
