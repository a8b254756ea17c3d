"""Where the store is, as one URL; the topologies themselves are in tests/integration."""

from typing import Any

import pytest
from redis.asyncio import RedisCluster, SentinelConnectionPool, SSLConnection

from featsvc.accounts.topology import open_client
from featsvc.errors import ConfigInvalid


def settings(url: str) -> dict[str, Any]:
    """What connections are made with."""
    client = open_client(url)
    return dict(
        client.connection_kwargs
        if isinstance(client, RedisCluster)
        else client.connection_pool.connection_kwargs
    )


def test_urls() -> None:
    one = settings("redis://us%40er:p%3Aw@h:1/3")
    assert (one["host"], one["port"], one["db"]) == ("h", 1, 3)
    assert (one["username"], one["password"]) == ("us@er", "p:w")
    assert settings("redis://[::1]")["host"] == "::1"
    socket = settings("unix:///run/a%20b?db=2")
    assert (socket["path"], socket["db"]) == ("/run/a b", 2)
    secure = open_client("rediss://h:1?ssl_ca_certs=/authority.pem")
    assert not isinstance(secure, RedisCluster)
    assert secure.connection_pool.connection_class is SSLConnection


def test_a_cluster_s_nodes() -> None:
    cluster = open_client("redis+cluster://u:p@a:1,b:2")
    assert isinstance(cluster, RedisCluster)
    assert [node.name for node in cluster.startup_nodes] == ["a:1", "b:2"]
    assert cluster.connection_kwargs["username"] == "u"
    secure = open_client("rediss+cluster://a:1")
    assert isinstance(secure, RedisCluster)
    assert secure.connection_kwargs["connection_class"] is SSLConnection


def test_a_service_s_sentinels() -> None:
    client = open_client("redis+sentinel://u:p@a,b:7/4?service=m&sentinel_password=s")
    assert not isinstance(client, RedisCluster)
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "m"
    assert (pool.connection_kwargs["password"], pool.connection_kwargs["db"]) == ("p", 4)
    logins = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in logins] == [("a", 26379), ("b", 7)]
    assert [(one["password"], one["db"]) for one in logins] == [("s", 0)] * 2


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://h", "begins with none of"),
        ("redis://h:99999", "cannot be read"),
        ("redis://h/x", "the number of a database"),
        ("redis://a,b", "several hosts"),
        ("redis+sentinel://a", "wants ?service=NAME"),
        ("redis+cluster://a/1", "database 0 only"),
        ("redis://h?tls=1", "check the parameters"),
        ("redis://h?socket_read_size=x", "check the parameters"),
        ("redis://:hunter2@h:x", "percent-encode"),
        ("redis://:hunter2/x@h", "percent-encode what is special"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(url: str, message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        open_client(url)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
