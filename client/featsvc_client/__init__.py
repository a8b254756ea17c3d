"""Python clients of featsvc: `Client` blocks, `AsyncClient` is for asyncio.

`decide` turns an answer into what to do with the upload, `explain` the error of a failed call into
a `ServiceError`.
"""

from featsvc_client.channel import DEFAULT_TARGET, AsyncClient, Client
from featsvc_client.decisions import Action, Decision, decide
from featsvc_client.errors import ServiceError, explain

__all__ = [
    "DEFAULT_TARGET",
    "Action",
    "AsyncClient",
    "Client",
    "Decision",
    "ServiceError",
    "decide",
    "explain",
]
