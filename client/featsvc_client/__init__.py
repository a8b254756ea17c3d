"""Python clients of featsvc: `Client` blocks, `AsyncClient` is for asyncio.

`explain` turns the error of a failed call into a `ServiceError`.
"""

from featsvc_client.channel import DEFAULT_TARGET, AsyncClient, Client
from featsvc_client.errors import ServiceError, explain

__all__ = ["DEFAULT_TARGET", "AsyncClient", "Client", "ServiceError", "explain"]
