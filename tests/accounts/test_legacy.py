"""Counts of the layout before one key an entity, on a real Valkey."""

import asyncio
import struct

import pytest
import redis

from featsvc.accounts.legacy import LegacyCount, count_legacy
from featsvc.errors import Unavailable

OLD_META = struct.pack("<dd", 1.0, 2.0)
NEW_META = OLD_META + bytes([2, 0, 0, 0])


def count(url: str, **limits: int) -> LegacyCount:
    return asyncio.run(count_legacy(url, "ts", **limits))


def test_an_empty_store_has_none(url: str) -> None:
    assert count(url) == LegacyCount(scanned=0, total=0, hashes=0, keys=0)


def test_hashes_and_keys_of_the_earlier_layout_are_counted(url: str, server: redis.Redis) -> None:
    for number in range(3):
        server.hset(f"fs:{{ts:account:old{number}}}:v1", "m", OLD_META)
    server.hset("fs:{ts:ip:old}:v1", mapping={"m": OLD_META, "e": b"12345678"})
    server.pfadd("fs:{ts:ip:old}:v1:AAAAAAAAh490000", b"x")
    server.zadd("fs:{ts:ip:old}:v1:ids", {b"x": 1})
    server.hset("fs:{ts:account:new}:v1", "m", NEW_META)
    # Others: no meta, another kind of key, other namespaces, other programs, an id that looks so.
    server.hset("fs:{ts:account:empty}:v1", "x", "y")
    server.set("fs:{ts:account:text}:v1", "text")
    server.hset("fs:{ts2:account:old}:v1", "m", OLD_META)
    server.hset("fs:{ts}:definitions", "m", OLD_META)
    server.set("else", "x")
    server.hset("fs:{ts:account:a%7D:v1:b}:v1", "m", NEW_META)
    assert count(url) == LegacyCount(scanned=13, total=13, hashes=4, keys=2)


def test_the_scan_is_bounded(url: str, server: redis.Redis) -> None:
    with server.pipeline(transaction=False) as pipeline:
        for number in range(5000):
            pipeline.hset(f"fs:{{ts:account:{number}}}:v1", "m", OLD_META)
        pipeline.execute()
    counted = count(url, max_keys=2000)
    assert (counted.scanned, counted.total) == (2000, 5000)
    assert 0 < counted.hashes < 5000
    assert count(url, max_s=0).scanned == 1000
    assert count(url) == LegacyCount(scanned=5000, total=5000, hashes=5000, keys=0)


def test_a_user_without_the_rights_is_told(url: str, server: redis.Redis) -> None:
    server.acl_setuser(
        "narrow", enabled=True, passwords=["+p"], keys=["fs:*"], categories=["+@connection"]
    )
    with pytest.raises(Unavailable, match=r"\+scan, \+dbsize and \+hstrlen"):
        count(url.replace("unix://", "unix://narrow:p@"))
    server.acl_deluser("narrow")


def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="Redis: "):
        count("redis://127.0.0.1:1")
