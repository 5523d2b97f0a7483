"""Configuration of the API, the page and the audit log. No behaviour here."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field, model_validator

from yolo_assets.edge.config.cameras import Section


class Listen(Section):
    """Where the API and the page are served. Port 0 takes a free one, which is printed."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    tls_cert: Path | None = Field(default=None, description="certificate chain, PEM; with it the page is https")
    tls_key: Path | None = Field(default=None, description="its private key, PEM")
    hosts: tuple[str, ...] = Field(
        default=(), description="names by which browsers may ask for the page, besides this machine's own and addresses"
    )
    viewers: int = Field(default=8, ge=1, le=1000, description="how many may watch live streams at the same time")
    max_body_bytes: int = Field(default=65536, ge=1024, le=1 << 30, description="of a request")

    @model_validator(mode="after")
    def _both(self) -> Listen:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; give both or none")
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class AuditFiles(Section):
    """The audit log on the box. Lines that the store does not hold are never removed."""

    lines_per_file: int = Field(default=1000, ge=10, le=1_000_000, description="a new file begins after so many lines")
    keep_files: int = Field(default=100, ge=2, le=100_000, description="older files go once the store holds them")
