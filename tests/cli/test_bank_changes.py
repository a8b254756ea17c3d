"""Words for changes of settings and fields."""

import pytest
from featsvc_client.v1.banks_pb2 import Revision, SettingChange

from featsvc.cli.bank_changes import describe_fields, describe_settings
from featsvc.signals.variants import DEFAULT_QUERY_VARIANTS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (SettingChange(name="mode", old="shadow", new="enforce"), "mode shadow -> enforce"),
        (SettingChange(name="mode", new="shadow"), "mode shadow"),
        (SettingChange(name="mode", old="shadow"), "mode shadow -> none"),
        (
            SettingChange(name="thresholds[pdqf@1]", old="default", new="0.5"),
            "threshold pdqf@1 default -> 0.5",
        ),
        (SettingChange(name="safe", old="false", new="true"), "safe no -> yes"),
        (SettingChange(name="query_variants", old="", new="flip_x"), "variants none -> flip_x"),
        (
            SettingChange(name="query_variants", old=", ".join(DEFAULT_QUERY_VARIANTS), new=""),
            "variants default -> none",
        ),
        (
            SettingChange(name="description", old='a "\x1b', new="n" * 50),
            'description "a \\"\\u001b" -> "' + "n" * 40 + '..."',
        ),
    ],
)
def test_settings(change: SettingChange, words: str) -> None:
    assert describe_settings(Revision(setting_changes=[change])) == words
    both = Revision(setting_changes=[change, change])
    assert describe_settings(both) == f"{words}, {words}"


def test_settings_that_are_not_known_are_not_invented() -> None:
    assert describe_settings(Revision()) == ""
    assert describe_settings(Revision(settings_unknown=True)) == "settings not recorded"


def test_fields() -> None:
    assert describe_fields({}) == ""
    assert (
        describe_fields({"labels": 2, "expire_time": 1200}) == "labels of 2, expire time of 1,200"
    )
