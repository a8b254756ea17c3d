"""Python clients of featsvc: `Client` blocks, `AsyncClient` is for asyncio.

`decide` turns an answer into what to do with the upload. Calls that fail raise `ServiceError`;
`explain` makes one from an error of gRPC.
"""

from featsvc_client.channel import AsyncClient, Client
from featsvc_client.connection import DEFAULT_TARGET, TlsOptions
from featsvc_client.decisions import Action, Decision, decide
from featsvc_client.errors import ServiceError, explain

__all__ = [
    "DEFAULT_TARGET",
    "Action",
    "AsyncClient",
    "Client",
    "Decision",
    "ServiceError",
    "TlsOptions",
    "decide",
    "explain",
]
