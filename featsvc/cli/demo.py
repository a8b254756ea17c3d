"""`featsvc demo`: screen real photographs with embedded stores, and judge the result.

The demo starts a service as users start it, and builds a bank from five of the ten photographs in
`photographs/`. Two accounts upload edited copies and the other five. The demo fails if a copy is
not found, or if an unrelated picture matches.
"""

import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import click
import grpc
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, features_pb2, screening_pb2, types_pb2
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from featsvc.cli import output
from featsvc.cli.kernels import prepare_kernels
from featsvc.cli.match import variants_text
from featsvc.cli.messages import message_json, number
from featsvc.cli.remote import connect
from featsvc.cli.words import counted, echo

BANK = "demo-photographs"
PHOTOGRAPHS = Path(__file__).with_name("photographs")
KNOWN = ("camera.jpg", "chelsea.jpg", "coffee.jpg", "retina.jpg", "hubble.jpg")
UNRELATED = ("astronaut.jpg", "brick.jpg", "cell.jpg", "grass.jpg", "gravel.jpg")
SHOWN_FEATURES = ("uploads_1h", "uploads_24h", "upload_bytes_1h")


@dataclass(frozen=True, slots=True)
class Edit:
    """A way to edit a copy of a picture, and how Pillow saves the copy."""

    name: str
    apply: Callable[[Image.Image], Image.Image]
    save: dict[str, object]

    @property
    def file_suffix(self) -> str:
        """End of a copy's file name, such as "mirrored-cropped.jpg"."""
        words = re.findall(r"[a-z0-9]+", self.name)
        extension = str(self.save["format"]).lower().replace("jpeg", "jpg")
        return f"{'-'.join(words)}.{extension}"


def _crop(image: Image.Image) -> Image.Image:
    """Crop width and height by 5 %, half at each end."""
    across, down = image.width // 40, image.height // 40
    return image.crop((across, down, image.width - across, image.height - down))


def _mirror_and_crop(image: Image.Image) -> Image.Image:
    return _crop(ImageOps.mirror(image))


def _caption(image: Image.Image) -> Image.Image:
    """Add a white band at the top with a line of text."""
    band = image.height // 6
    out = ImageOps.expand(image, (0, band, 0, 0), fill="white")
    middle = (image.width // 2, band // 2)
    ImageDraw.Draw(out).text(middle, "LOOK AT THIS", fill="black", anchor="mm", font_size=band // 2)
    return out


EDITS = (
    Edit("re-compressed, q40", lambda i: i, {"format": "JPEG", "quality": 40}),
    Edit("half the size", lambda i: i.reduce(2), {"format": "PNG"}),
    Edit(
        "recoloured",
        lambda i: ImageEnhance.Color(ImageEnhance.Brightness(i).enhance(1.2)).enhance(1.5),
        {"format": "WEBP", "quality": 80},
    ),
    Edit("mirrored, cropped", _mirror_and_crop, {"format": "JPEG", "quality": 90}),
    Edit("cropped", _crop, {"format": "JPEG", "quality": 90}),
    Edit("captioned", _caption, {"format": "JPEG", "quality": 90}),
)


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that an account uploads."""

    account: str
    picture: str
    edit: str
    content: bytes
    file: str
    """The name under which `--save` writes it."""
    expected: str
    """The known picture that must match; "" if none may."""


@click.command()
@click.option(
    "--save",
    "save_dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the photographs and their edited copies to DIR too.",
)
def demo(save_dir: Path | None) -> None:
    """Screen real photographs with embedded stores.

    Starts a service and builds a bank from five photographs. Two accounts upload edited copies and
    five unrelated pictures. Prints what matched, and exits with 0 if every copy was found and
    nothing else.
    """
    prepare_kernels("serve")
    uploads = list(all_uploads())
    if save_dir is not None:
        _save(uploads, save_dir)
    with tempfile.TemporaryDirectory(prefix="featsvc-demo-") as folder:
        started = time.monotonic()
        with _service(Path(folder)) as address, connect(address) as client:
            echo(f"serving on {address} after {time.monotonic() - started:.1f} s")
            revision = _build_bank(client)
            echo(f"bank {BANK}: {counted(len(KNOWN), 'photograph')}, revision {revision}")
            wrong = _screen_all(client, uploads)
    if wrong:
        raise click.ClickException("wrong results: " + "; ".join(wrong))
    echo("every copy was found, nothing unrelated matched")


def _save(uploads: list[Upload], folder: Path) -> None:
    """Write the photographs, and the copies that are uploaded, to `folder`."""
    pictures = {name: (PHOTOGRAPHS / name).read_bytes() for name in (*KNOWN, *UNRELATED)}
    pictures |= {upload.file: upload.content for upload in uploads}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in pictures.items():
            (folder / name).write_bytes(content)
    except OSError as exc:
        raise click.ClickException(f"cannot save the pictures: {exc}") from exc
    echo(f"{counted(len(pictures), 'picture')} saved in {folder}")


@contextmanager
def _service(data_dir: Path) -> Iterator[str]:
    """Run `featsvc serve` in a process; yield its address once it serves."""
    command = [sys.executable, "-m", "featsvc", "serve", "--listen", "127.0.0.1:0"]
    with (data_dir / "log").open("w+b") as log:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [*command, "--data-dir", str(data_dir)], stdout=subprocess.PIPE, stderr=log
        )
        try:
            line = cast("IO[bytes]", process.stdout).readline().decode()
            if not line.startswith("serving on "):
                log.seek(0)
                raise click.ClickException(
                    f"the service did not start:\n{log.read().decode(errors='replace')}"
                )
            yield line.removeprefix("serving on ").strip()
        finally:
            process.terminate()
            process.wait(timeout=30)


def all_uploads() -> Iterator[Upload]:
    """Two edited copies of each known picture, then the unrelated pictures, in order."""
    for index, picture in enumerate(KNOWN):
        with Image.open(PHOTOGRAPHS / picture) as image:
            original = image.convert("RGB")
        for edit in (EDITS[index], EDITS[index + 1]):
            content = io.BytesIO()
            edit.apply(original).save(content, **edit.save)  # type: ignore[arg-type]
            file = f"{picture.removesuffix('.jpg')}-{edit.file_suffix}"
            yield Upload("mallory", picture, edit.name, content.getvalue(), file, picture)
    for picture in UNRELATED:
        unchanged = (PHOTOGRAPHS / picture).read_bytes()
        yield Upload("alice", picture, "unrelated", unchanged, picture, "")


def _build_bank(client: Client) -> int:
    """Add the known photographs with their variants; return the revision."""
    client.banks.CreateBank(
        banks_pb2.CreateBankRequest(
            bank_id=BANK, bank=banks_pb2.Bank(description="photographs of the demo")
        )
    )
    added = client.banks.AddEntries(
        banks_pb2.AddEntriesRequest(
            parent=f"banks/{BANK}",
            entries=[banks_pb2.Entry(external_id=name, labels=["demo"]) for name in KNOWN],
            contents=[types_pb2.Content(data=(PHOTOGRAPHS / name).read_bytes()) for name in KNOWN],
            entry_variants=True,
        )
    )
    return int(added.revision)


def _screen_all(client: Client, uploads: list[Upload]) -> list[str]:
    """Screen each upload and print a row for it; return the wrong results."""
    rows: list[tuple[object, ...]] = []
    wrong: list[str] = []
    for index, upload in enumerate(uploads):
        started = time.perf_counter()
        try:
            response = client.screening.Screen(_request(upload, index))
        except grpc.RpcError as exc:
            wrong.append(f"{upload.picture} ({upload.edit}): {exc.details()}")
            continue
        elapsed_ms = (time.perf_counter() - started) * 1000
        best = response.matches[0] if response.matches else None
        features = message_json(response)["features"]
        problem = _problem(upload, response)
        if problem:
            wrong.append(f"{upload.picture} ({upload.edit}): {problem}")
        rows.append(
            (
                upload.account,
                f"{upload.picture}, {upload.edit}",
                best.external_id if best else "-",
                variants_text(best) if best else "",
                number(best.distance) if best else None,
                features["uploads_1h"]["value"],
                features["upload_bytes_1h"]["value"],
                round(elapsed_ms, 1),
            )
        )
    output.table(
        ("account", "upload", "matched", "by variant", "bits", "uploads 1h", "bytes 1h", "ms"), rows
    )
    return wrong


def _request(upload: Upload, index: int) -> screening_pb2.ScreenRequest:
    request = screening_pb2.ScreenRequest(
        content=types_pb2.Content(data=upload.content),
        entities=[types_pb2.EntityRef(entity="account", id=upload.account)],
        selection=features_pb2.FeatureSelection(features=SHOWN_FEATURES),
        options=types_pb2.MatchOptions(banks=[BANK]),
    )
    event = request.record_event
    event.event_id = f"demo-{index}"
    event.type = "upload"
    event.time.GetCurrentTime()
    event.entities["account"] = upload.account
    event.attributes["bytes"].number = len(upload.content)
    return request


def _problem(upload: Upload, response: screening_pb2.ScreenResponse) -> str:
    """Return what is wrong with an answer; empty if nothing is."""
    if response.content_outcome != types_pb2.OUTCOME_OK:
        return f"outcome {types_pb2.Outcome.Name(response.content_outcome)}"
    if response.features_outcome != types_pb2.OUTCOME_OK:
        return f"features are {types_pb2.Outcome.Name(response.features_outcome)}"
    matched = {m.external_id for m in response.matches}
    if upload.expected == "" and matched:
        return f"is unrelated but matched {', '.join(sorted(matched))}"
    if upload.expected and upload.expected not in matched:
        return "is a copy, but was not found"
    return ""
