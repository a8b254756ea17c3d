"""What a change of definitions does to stored values."""

from collections.abc import Callable
from pathlib import Path

import pytest

from featsvc.accounts.comparing import Change, FeatureChange, compare_definitions
from tests.accounts.stores import define

BASE = """namespace = "t"
[entities]
account = "account"
ip = "ip"
[events.act]
keys = ["account", "ip"]
[events.other]
keys = ["account"]
[features.n]
on = "act"
agg = "count"
where = { x = [1, 2], y = "a" }
windows = ["1h", "lifetime"]
[features.mean]
on = "act"
agg = "mean"
value = "x"
windows = ["24h"]
[features.ips]
on = "act"
agg = "distinct"
value = "ip"
windows = ["24h"]
[derived]
rate = "n_1h / max(mean_24h, 1)"
"""
HOUR_MS = 3_600_000

Compare = Callable[[str], dict[str, FeatureChange]]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    old = define(tmp_path, BASE)

    def compare(text: str) -> dict[str, FeatureChange]:
        changes = compare_definitions(old, define(tmp_path, text))
        assert len({change.name for change in changes}) == len(changes)
        return {
            change.name: change
            for change in changes
            if change != FeatureChange(change.name, Change.KEPT)
        }

    return compare


def test_what_changes_no_value_is_kept(compare: Compare) -> None:
    assert compare(BASE) == {}
    assert compare(BASE.replace('agg = "count"', 'agg = "count"\ndescription = "d"')) == {}


def test_another_spelling_of_a_filter_is_kept(compare: Compare) -> None:
    text = BASE.replace('x = [1, 2], y = "a"', 'y = ["a"], x = [2.0, 1]')
    changes = compare(text)
    assert [(c.change, c.loses_state) for c in changes.values()] == [(Change.RESPELLED, False)] * 2


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('on = "act"\nagg = "count"', 'on = "other"\nagg = "count"', "on"),
        ('agg = "count"', 'agg = "age_of_last"', "agg"),
        ("x = [1, 2]", "x = [1, 3]", "where"),
        ("x = [1, 2]", "x = [true, 2]", "where"),
        ("x = [1, 2]", 'x = ["1", 2]', "where"),
        ('agg = "count"', 'agg = "count"\nversion = 2', "version"),
        ('agg = "count"', 'agg = "count"\nentity = "ip"', "entity"),
    ],
)
def test_another_meaning_starts_anew(
    compare: Compare, before: str, after: str, reason: str
) -> None:
    text = BASE.replace(before, after, 1).replace("n_1h / max(mean_24h, 1)", "n_1h")
    changes = compare(text)
    anew = (Change.RESTARTED, "", (reason,))
    assert changes["n_1h"] == FeatureChange("n_1h", *anew, HOUR_MS)
    assert changes["n_lifetime"] == FeatureChange("n_lifetime", *anew, 0)
    assert changes["n_1h"].loses_state
    assert changes["rate"].reasons == ("expression",)
    assert changes["rate"].warming_ms == HOUR_MS


def test_another_namespace_starts_all_anew(compare: Compare) -> None:
    changes = compare(BASE.replace('"t"', '"u"'))
    assert {c.reasons for c in changes.values()} == {("namespace",), ()}
    assert {c.change for c in changes.values()} == {Change.RESTARTED, Change.KEPT}
    assert changes["rate"].warming_ms == 24 * HOUR_MS


def test_aggregations_of_one_state_keep_it(compare: Compare) -> None:
    changes = compare(BASE.replace('agg = "mean"', 'agg = "stddev"'))
    assert changes == {"mean_24h": FeatureChange("mean_24h", Change.KEPT, "", ("agg",))}


def test_settings_and_fields_are_reported(compare: Compare) -> None:
    text = BASE.replace('account = "account"', 'account = "user"').replace(
        'value = "ip"', 'value = "ip"\ncap = 9\ndefault = 0\nmax_age = "1h"'
    )
    changes = compare(text)
    assert changes["n_1h"] == FeatureChange("n_1h", Change.KEPT, "", ("entities.account",))
    assert changes["ips_24h"].reasons == ("cap", "default", "max_age", "entities.account")


def test_windows_are_complete_if_their_ring_is(compare: Compare) -> None:
    changes = compare(BASE.replace('["1h", "lifetime"]', '["1h", "2h", "24h", "lifetime"]'))
    assert changes == {
        "n_2h": FeatureChange("n_2h", Change.NEW_WINDOW, "n_1h"),
        "n_24h": FeatureChange("n_24h", Change.NEW_WINDOW, "", (), 24 * HOUR_MS),
    }
    # Members of a distinct state are pruned to the longest window.
    changes = compare(BASE.replace('"ip"\nwindows = ["24h"]', '"ip"\nwindows = ["24h", "7d"]'))
    assert changes == {
        "ips_7d": FeatureChange("ips_7d", Change.NEW_WINDOW, "", (), 7 * 24 * HOUR_MS)
    }


def test_new_renamed_and_removed_features(compare: Compare) -> None:
    text = BASE.replace("[features.n]", "[features.count]").replace("n_1h", "count_1h")
    text = text.replace('["1h", "lifetime"]', '["1h"]').replace("[features.ips]", "[features.k]")
    text = text.replace('value = "ip"', 'value = "z"').replace("rate =", "ratio =")
    assert compare(text) == {
        "count_1h": FeatureChange("count_1h", Change.RENAMED, "n_1h"),
        "k_24h": FeatureChange("k_24h", Change.NEW, "", (), 24 * HOUR_MS),
        "ratio": FeatureChange("ratio", Change.NEW),
        "n_lifetime": FeatureChange("n_lifetime", Change.REMOVED),
        "ips_24h": FeatureChange("ips_24h", Change.REMOVED),
        "rate": FeatureChange("rate", Change.REMOVED),
    }
