"""Python clients: `Client` (blocking) and `AsyncClient`; errors arrive as `ServiceError`."""

from featsvc.client.channel import DEFAULT_TARGET, AsyncClient, Client
from featsvc.client.errors import ServiceError, explain

__all__ = ["DEFAULT_TARGET", "AsyncClient", "Client", "ServiceError", "explain"]
