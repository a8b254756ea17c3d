"""Variants over gRPC and on the command line."""

import json
import re
import shlex
from pathlib import Path

import grpc
import pytest
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, matching_pb2, screening_pb2, types_pb2
from PIL import Image, ImageOps

from featsvc.signals.variants import DEFAULT_QUERY_VARIANTS, QUERY_VARIANTS
from tests.integration.running import Running, failure, featsvc
from tests.photographs import ROOT, jpeg, photograph

GUIDE = ROOT / "docs" / "variants.md"

Options = types_pb2.MatchOptions


def coffee() -> Image.Image:
    with Image.open(photograph("coffee.png")) as image:
        return image.convert("RGB")


def cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((width // 20, height // 20, width * 19 // 20, height * 19 // 20))


COPIES = {
    "mirrored": ("flip_y", ImageOps.mirror(coffee())),
    "letterboxed": ("trimmed", ImageOps.expand(coffee(), (0, 50), fill="black")),
}


def create(client: Client, bank: str, variants: tuple[str, ...] = ()) -> banks_pb2.Bank:
    created: banks_pb2.Bank = client.banks.CreateBank(
        banks_pb2.CreateBankRequest(bank_id=bank, bank=banks_pb2.Bank(query_variants=variants))
    )
    return created


def add(client: Client, bank: str, *, entry_variants: bool) -> banks_pb2.Entry:
    request = banks_pb2.AddEntriesRequest(
        parent=f"banks/{bank}",
        entries=[banks_pb2.Entry(external_id="coffee")],
        contents=[types_pb2.Content(data=photograph("coffee.png").read_bytes())],
        entry_variants=entry_variants,
    )
    entry: banks_pb2.Entry
    (entry,) = client.banks.AddEntries(request).entries
    return entry


def match(
    client: Client, bank: str, picture: Image.Image, variants: str = "DEFAULT"
) -> matching_pb2.MatchResponse:
    response: matching_pb2.MatchResponse = client.matching.Match(
        matching_pb2.MatchRequest(
            content=types_pb2.Content(data=jpeg(picture)),
            options=Options(banks=[bank], variants=f"VARIANTS_{variants}"),
        )
    )
    return response


def test_a_new_bank_has_the_default_variants(client: Client) -> None:
    assert tuple(create(client, "variants-new").query_variants) == DEFAULT_QUERY_VARIANTS
    assert tuple(create(client, "variants-none", ("none",)).query_variants) == ()
    assert tuple(create(client, "variants-all", ("all",)).query_variants) == QUERY_VARIANTS
    named = create(client, "variants-some", ("trimmed", "flip_y", "trimmed"))
    assert tuple(named.query_variants) == ("flip_y", "trimmed")


def test_an_update_sets_or_clears_them_and_refuses_a_wrong_name(client: Client) -> None:
    bank = create(client, "variants-update")
    update = banks_pb2.UpdateBankRequest(bank=banks_pb2.Bank(name=bank.name, description="x"))
    update.update_mask.paths.append("description")
    assert tuple(client.banks.UpdateBank(update).query_variants) == DEFAULT_QUERY_VARIANTS
    update.update_mask.paths[:] = ["query_variants"]
    assert tuple(client.banks.UpdateBank(update).query_variants) == ()
    update.bank.query_variants[:] = ["rotate_90", "sideways"]
    error = failure(lambda: client.banks.UpdateBank(update))
    assert (error.code(), error.path) == (grpc.StatusCode.INVALID_ARGUMENT, "bank.query_variants")
    assert "'sideways' is not a query variant; use flip_y" in error.message


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_found_by_a_variant_and_not_without(client: Client, copy: str) -> None:
    variant, picture = COPIES[copy]
    bank = f"variants-{copy}"
    create(client, bank)
    add(client, bank, entry_variants=False)
    assert match(client, bank, picture, "NONE").matches == []
    response = match(client, bank, picture)
    (found,) = response.matches
    assert (found.query_variant, found.entry_variant) == (variant, "original")
    assert (found.threshold, found.threshold_overridden) == (27, False)
    assert [s.variant for s in response.signals] == ["original"] * len(response.signals)
    update = banks_pb2.UpdateBankRequest(bank=banks_pb2.Bank(name=f"banks/{bank}"))
    update.update_mask.paths.append("query_variants")
    client.banks.UpdateBank(update)
    assert match(client, bank, picture).matches == []
    assert len(match(client, bank, picture, "ALL").matches) == 1


def test_a_crop_is_found_by_a_variant_of_the_entry(client: Client) -> None:
    create(client, "variants-fan")
    plain = add(client, "variants-fan", entry_variants=False)
    assert match(client, "variants-fan", cropped(coffee())).matches == []
    entry = add(client, "variants-fan", entry_variants=True)
    assert entry.name == plain.name, "the same entry, with more signals"
    variants = {s.variant for s in entry.signals if s.algorithm == "pdq"}
    assert {"original", "crop_5", "crop_10", "crop_left_4", "crop_1x1"} <= variants
    (found,) = match(client, "variants-fan", cropped(coffee())).matches
    assert (found.query_variant, found.entry_variant) == ("original", "crop_10")
    assert found.threshold == 29
    # A crop of a mirrored picture needs a variant of query and entry; the smaller share applies.
    (found,) = match(client, "variants-fan", ImageOps.mirror(cropped(coffee()))).matches
    assert (found.query_variant, found.entry_variant, found.threshold) == ("flip_y", "crop_10", 27)
    bank = client.banks.GetBank(banks_pb2.GetBankRequest(name="banks/variants-fan"))
    assert bank.entry_count == 1
    assert bank.signal_counts["pdq"] == len(variants)


def test_screen_uses_them_too(client: Client) -> None:
    create(client, "variants-screen")
    add(client, "variants-screen", entry_variants=True)
    request = screening_pb2.ScreenRequest(
        content=types_pb2.Content(data=jpeg(COPIES["mirrored"][1])),
        options=Options(banks=["variants-screen"]),
    )
    response = client.screening.Screen(request)
    assert [m.query_variant for m in response.matches] == ["flip_y"]
    assert {s.variant for s in response.signals} == {"original"}
    request.options.variants = Options.VARIANTS_NONE
    assert list(client.screening.Screen(request).matches) == []


def test_on_the_command_line(server: Running, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = featsvc(*arguments, server=server.address)
        assert result.returncode == 0, result.stderr
        return result.stdout

    original, copy, crop = (tmp_path / name for name in ("coffee.png", "copy.jpg", "crop.jpg"))
    coffee().save(original)
    copy.write_bytes(jpeg(ImageOps.mirror(coffee())))
    crop.write_bytes(jpeg(cropped(coffee())))
    run("bank", "create", "variants-cli", "--variants", "none")
    lines = run("bank", "show", "variants-cli").splitlines()
    assert ["variants", "none"] in map(str.split, lines)
    added = run("bank", "add", "variants-cli", str(original), "--no-variants")
    assert "variants" not in added.replace("variants-cli", "")
    assert "no match" in run("match", str(crop), "--bank", "variants-cli")
    assert " variants" in run("bank", "add", "variants-cli", str(original))
    assert "entry crop_10" in run("match", str(crop), "--bank", "variants-cli")
    assert "no match" in run("match", str(copy), "--bank", "variants-cli")
    shown = run("match", str(copy), "--bank", "variants-cli", "--variants", "all", "--json")
    (found,) = json.loads(shown)["matches"]
    assert (found["query_variant"], found["external_id"]) == ("flip_y", "coffee.png")
    assert found["threshold"] == 27
    assert all(e["query_variant"] == "flip_y" for e in found["evidence"])
    changed = run("bank", "set", "variants-cli", "--variants", "default", "--json")
    assert tuple(json.loads(changed)["variants"]) == DEFAULT_QUERY_VARIANTS
    assert "flip_y" in run("screen", str(copy), "--account", "a", "--bank", "variants-cli")
    run("bank", "set", "variants-cli", "--variants", "trimmed,rotate_90")
    refused = featsvc("bank", "set", "variants-cli", "--variants", "x", server=server.address)
    assert refused.returncode != 0
    assert "'x' is not a query variant" in refused.stderr


def test_the_commands_of_the_guide(server: Running, tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(jpeg(coffee()))
    (tmp_path / "logo.png").write_bytes(photograph("logo.png").read_bytes())
    (tmp_path / "copy.jpg").write_bytes(jpeg(ImageOps.flip(coffee())))
    commands = re.findall(r"^\$ (featsvc .*)$", GUIDE.read_text(), re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        words = shlex.split(command.replace(" known", " variants-guide"))[1:]
        paths = [str(tmp_path / w) if w.endswith((".jpg", ".png")) else w for w in words]
        result = featsvc(*paths, server=server.address)
        assert result.returncode == 0, f"{command}\n{result.stderr}"
    assert "flip_x" in result.stdout, "the last one matches the copy by a variant"
