"""Ingestion of events from a Redis Stream."""

import json
import time
from pathlib import Path

import redis
from featsvc_client.v1 import features_pb2, types_pb2

from tests.integration.running import running
from tests.patience import until

UPLOADS = features_pb2.GetFeaturesRequest(
    entities=[types_pb2.EntityRef(entity="account", id="a1")],
    selection=features_pb2.FeatureSelection(features=["uploads_1h"]),
)


def test_events_of_the_stream_become_features(data_dir: Path) -> None:
    settings = {"FEATSVC_FEATURES_STREAM": "uploads", "FEATSVC_FEATURES_STREAM_GROUP": "counters"}
    with (
        running(data_dir, environ=settings) as service,
        service.client() as client,
        redis.Redis(unix_socket_path=str(data_dir / "valkey" / "valkey.sock")) as server,
    ):
        for number in range(3):
            event = {
                "event_id": f"e{number}",
                "type": "upload",
                "time": int(time.time() * 1000),
                "entities": {"account": "a1"},
            }
            server.xadd("uploads", {"event": json.dumps(event)})
        server.xadd("uploads", {"event": "not an event"})
        until(lambda: server.exists("uploads:dead"))
        until(lambda: client.features.GetFeatures(UPLOADS).features.columns[0].values[0] == 3)
        (group,) = server.xinfo_groups("uploads")
        assert group["name"] == b"counters"
        assert service.stop() == 0
