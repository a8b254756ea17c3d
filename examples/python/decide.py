"""Screen files and print what to do with each: act, hold, watch or pass.

python decide.py [--server HOST:PORT] [--account ID] [--timeout SECONDS] FILE...
"""

import argparse
from pathlib import Path

from featsvc_client import Client, Decision, ServiceError, decide
from featsvc_client.v1 import screening_pb2, types_pb2


def screen(client: Client, request: screening_pb2.ScreenRequest, timeout_s: float) -> Decision:
    """Make one call; the client tries it again if the server advises a delay."""
    try:
        return decide(client.screening.Screen(request, timeout=timeout_s))
    except ServiceError as error:  # "could not look", never "no match"
        field = f", field {error.path}" if error.path else ""
        return decide(error)._replace(reason=f"{error}{field}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", help="HOST:PORT of featsvc", default="localhost:50051")
    parser.add_argument("--account", help="the account that uploads", default="")
    parser.add_argument("--timeout", type=float, help="seconds for each file", default=1.0)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    options = parser.parse_args()

    # With an account, the answer also has its features, for rules of your own: docs/features.md.
    entities = [types_pb2.EntityRef(entity="account", id=options.account)] * bool(options.account)
    with Client(options.server) as client:
        for file in options.files:
            content = types_pb2.Content(data=file.read_bytes())
            request = screening_pb2.ScreenRequest(content=content, entities=entities)
            decision = screen(client, request, options.timeout)
            print(f"{file}: {decision.action.value} - {decision.reason}")


if __name__ == "__main__":
    main()
