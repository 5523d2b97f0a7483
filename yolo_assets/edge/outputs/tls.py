"""The TLS of a receiver: always verified, against the system's authorities or the one that is configured."""

from __future__ import annotations

import ssl

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config.outputs import MqttOutput, WebhookOutput


def client_context(where: str, settings: WebhookOutput | MqttOutput) -> ssl.SSLContext:
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
            # An encrypted key fails here, and never asks anybody.
            context.load_cert_chain(settings.client_cert, settings.client_key, password="")
        except (OSError, ssl.SSLError) as error:
            raise BadInputError(f"{where}: cannot use client_cert {settings.client_cert}: {_why(error)}") from None
    return context


def _why(error: OSError) -> str:
    return error.strerror or str(error)
