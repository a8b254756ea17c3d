"""Python clients: `Client` (blocking) and `AsyncClient`; errors arrive as `ServiceError`."""

from featsvc_client.channel import DEFAULT_TARGET, AsyncClient, Client
from featsvc_client.errors import ServiceError, explain

__all__ = ["DEFAULT_TARGET", "AsyncClient", "Client", "ServiceError", "explain"]
