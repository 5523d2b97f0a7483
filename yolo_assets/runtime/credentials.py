"""Secrets and TLS of a receiver: read from files and the environment, never put into a message, always verified."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Protocol

from yolo_assets.contracts.errors import BadInputError


class TlsFiles(Protocol):
    """The files of a TLS connection, as sections of configurations name them."""

    @property
    def ca_file(self) -> Path | None:
        """Certificate authority of the receiver; None: the system's."""
        ...

    @property
    def client_cert(self) -> Path | None:
        """Certificate that this machine shows."""
        ...

    @property
    def client_key(self) -> Path | None:
        """Its private key."""
        ...


def read_secret(where: str, file: Path | None, variable: str | None) -> str | None:
    """A secret without the white space around it.

    Args:
        where: what the error should name, for example ``outputs.mes: secret``.
        file: that holds it; wins over ``variable``.
        variable: of the environment.

    Returns:
        None when neither is configured.

    Raises:
        BadInputError: the file cannot be read, the variable is not set, or what is there is empty.
    """
    if file is not None:
        try:
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise BadInputError(f"{where}: cannot read {file}: {why}") from None
        source = str(file)
    elif variable is not None:
        value, source = os.environ.get(variable, "").strip(), f"the variable {variable}"
    else:
        return None
    if not value:
        raise BadInputError(f"{where}: {source} is empty or not set; put the secret there")
    if not value.isprintable():
        raise BadInputError(f"{where}: {source} holds more than one line or characters that cannot be sent")
    return value


def client_context(where: str, settings: TlsFiles) -> ssl.SSLContext:
    """A context that checks the receiver's certificate and name. There is no way to switch that off.

    Raises:
        BadInputError: a certificate or key cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise BadInputError(f"{where}: cannot use ca_file {settings.ca_file}: {_why(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.client_cert is not None and settings.client_key is not None:
        try:
            # An encrypted key fails here, and never prompts.
            context.load_cert_chain(settings.client_cert, settings.client_key, password="")
        except (OSError, ssl.SSLError) as error:
            raise BadInputError(f"{where}: cannot use client_cert {settings.client_cert}: {_why(error)}") from None
    return context


def _why(error: OSError) -> str:
    return error.strerror or str(error)
