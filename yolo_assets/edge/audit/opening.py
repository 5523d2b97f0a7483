"""Opens the log of an agent from its configuration; the rest of the package knows no configuration."""

from __future__ import annotations

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.config.agent import AgentConfig


def open_audit(config: AgentConfig) -> AuditLog:
    """The audit log below the state folder, whose lock the caller holds.

    Raises:
        BadInputError: the folder cannot be used.
    """
    folder = config.state_dir / "audit"
    try:
        return AuditLog(
            folder,
            config.device_id,
            lines_per_file=config.audit.lines_per_file,
            keep_files=config.audit.keep_files,
        )
    except OSError as error:
        raise BadInputError(f"state: cannot keep the audit log in {folder}: {error.strerror}") from None
