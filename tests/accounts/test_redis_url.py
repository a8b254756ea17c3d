"""Where the store is, as one URL."""

from pathlib import Path

import pytest

from featsvc.accounts.redis_url import parse_redis_url
from featsvc.errors import ConfigInvalid


def test_urls() -> None:
    one = parse_redis_url("redis://us%40er:p%3Aw@h:1/3")
    assert one.topology == ""
    (endpoint,) = one.endpoints
    assert (endpoint.host, endpoint.port, endpoint.db) == ("h", 1, 3)
    assert (endpoint.username, endpoint.password) == ("us@er", "p:w")
    assert parse_redis_url("redis://[::1]").endpoints[0].host == "::1"
    assert parse_redis_url("redis://h").endpoints[0].port == 6379
    socket = parse_redis_url("unix:///run/a%20b?db=2").endpoints[0]
    assert (socket.path, socket.db) == ("/run/a b", 2)
    secure = parse_redis_url("rediss://h:1").endpoints[0]
    assert secure.tls is not None


def test_topologies() -> None:
    cluster = parse_redis_url("redis+cluster://u:p@a:1,b:2")
    assert cluster.topology == "cluster"
    assert [(e.host, e.port, e.password) for e in cluster.endpoints] == [
        ("a", 1, "p"),
        ("b", 2, "p"),
    ]
    sentinel = parse_redis_url("redis+sentinel://u:p@a,b/4?service=m&sentinel_password=s")
    assert sentinel.service == "m"
    assert [(e.port, e.password, e.db) for e in sentinel.endpoints] == [(26379, "s", 0)] * 2
    assert (sentinel.server.password, sentinel.server.db) == ("p", 4)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://h", "begins with none of"),
        ("redis://h:99999", "no HOST:PORT"),
        ("redis://h/x", "database 'x' is no number"),
        ("redis://a,b", "several hosts"),
        ("redis+sentinel://a", "wants ?service=NAME"),
        ("redis+cluster://a/1", "database 0 only"),
        ("unix://relative", "absolute path"),
        ("redis://h?tls=1", "unknown parameter 'tls'"),
        ("rediss://h?ca=/nowhere", "certificate files cannot be read"),
        ("redis://:hunter2@h:x", "no HOST:PORT"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(url: str, message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        parse_redis_url(url)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_password_does_not_show(tmp_path: Path) -> None:
    assert "hunter2" not in repr(parse_redis_url("redis://:hunter2@h"))
