"""The two ends of a copy: wrong URLs are refused before anything is connected."""

import pytest

from featsvc.banks.moving.store_copy import copy_store
from featsvc.errors import ConfigInvalid, Unavailable


@pytest.mark.parametrize("place", ["--from", "--to"])
def test_a_malformed_url_is_refused_without_its_password(place: str) -> None:
    good = "postgresql+psycopg://u:secret@127.0.0.1:1/x"
    for bad in (
        "mysql://u:secret@h/x",
        "sqlite:///relative.db",
        "postgresql+psycopg://u:secret@h:x",
    ):
        urls = (bad, good) if place == "--from" else (good, bad)
        with pytest.raises(ConfigInvalid, match=f"^{place}: ") as caught:
            copy_store(*urls)
        assert "secret" not in str(caught.value)
    with pytest.raises(Unavailable, match=r"^--from: ") as away:
        copy_store(good, "sqlite:////nowhere/at/all.db")
    assert "secret" not in str(away.value)
