"""Every field of every answer is filled by the service at least once.

One run through all methods records which fields of the answers were set; what is never set was
forgotten by a servicer or a conversion. A field that is added to an answer needs a step here.
"""

import importlib.util
import io
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from featsvc_client import Client
from featsvc_client.v1 import (
    banks_pb2,
    features_pb2,
    hashing_pb2,
    matching_pb2,
    screening_pb2,
    types_pb2,
)
from google.protobuf.message import Message
from PIL import Image

from tests.embedding.onnx_files import models_file
from tests.hashing.photographs import encode
from tests.hashing.unstable import picture as mirrored
from tests.integration.running import running
from tests.patience import until
from tests.photographs import ROOT, edited, jpeg, photograph

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is of the `embed` extra"
)

ELSEWHERE = {
    # Room for servers to come.
    "Signal.time_us", "Match.time_us", "Match.entry_time_us", "Match.entry_frame",
    "EntrySignal.time_us", "EntrySignal.frame", "EntryVector.time_us", "EntryVector.frame",
    # tests/matching/test_indexer.py and tests/integration/test_workers.py
    "AlgorithmIndex.segment_revision", "AlgorithmIndex.bytes_mapped",
    "GetIndexStatusResponse.worker",
    # tests/service/test_screening.py
    "ScreenError.retry_delay", "ScreenError.metadata",
    # tests/integration/test_failures.py
    "ScreenResponse.features_outcome_reason", "GetIndexStatusResponse.set_aside",
    "SetAsideSignals.algorithm", "SetAsideSignals.reason", "SetAsideSignals.signals",
    "SetAsideSignals.entries", "GetIndexStatusResponse.failure",
    "SearchedAlgorithm.set_aside_signals",
    # tests/banks/test_migrations.py: of stores of older versions
    "Revision.settings_unknown", "DiffRevisionsResponse.settings_unknown",
    "RollbackBankResponse.settings_unknown",
}  # fmt: skip

EARLIER_FEATURES = """namespace = "ts"
[entities]
account = "account"
[events.upload]
keys = ["account"]
[features.uploads]
on = "upload"
agg = "count"
windows = ["1h"]
"""
"""Of a service before: what it lacks is complete only since then."""

COFFEE = photograph("coffee.png").read_bytes()
ROCKET = photograph("rocket.jpg").read_bytes()
TEXT = "win a brand new phone today, just send your bank details to claim it before midnight"
PLAIN = "0" * 64
FLAG = encode(Image.fromarray(mirrored("mirrored", 4, 200, 300)), "PNG")
HASHED = f"""{{"file": "flag.png", "outcome": "UNSTABLE", "signals": [
{{"algorithm": "pdq", "signal": "{8:064x}", "outcome": "UNSTABLE"}}]}}""".replace("\n", " ")
LIST = f"""algorithm,signal,external_id,labels,withdrawn
pdq,{1:064x},one,x,
pdq,{1:064x},one,x,
md5,{2:032x},safe,x,
pdq,{PLAIN},plain,,
pdna,AAAA,opaque,,
pdq,nonsense,bad,,
"""

M = TypeVar("M", bound=Message)


class Record:
    """Which fields of which messages were set in the answers that it saw, as `Message.field`."""

    def __init__(self) -> None:
        self.set: set[str] = set()

    def see(self, answer: M) -> M:
        """The answer itself."""
        for field, value in answer.ListFields():
            self.set.add(f"{name_of(answer.DESCRIPTOR)}.{field.name}")
            inner_type = field.message_type
            if inner_type is None or inner_type.GetOptions().map_entry:
                continue
            for inner in value if field.is_repeated else [value]:
                self.see(inner)
        return answer


def name_of(descriptor: Any) -> str:
    return str(descriptor.full_name).removeprefix("featsvc.v1.")


def fields_of(descriptor: Any) -> Iterator[str]:
    """All of a message and of the messages in it, ours only."""
    for field in descriptor.fields:
        yield f"{name_of(descriptor)}.{field.name}"
        inner = field.message_type
        ours = inner is not None and inner.full_name.startswith("featsvc.")
        if ours and not inner.GetOptions().map_entry:
            yield from fields_of(inner)


def answered() -> set[str]:
    files = (banks_pb2, features_pb2, hashing_pb2, matching_pb2, screening_pb2)
    return {
        field
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        for field in fields_of(method.output_type)
    }


def test_every_field_of_every_answer_is_filled(tmp_path: Path) -> None:
    features = tmp_path / "features.toml"
    shipped = (ROOT / "featsvc" / "accounts" / "features.toml").read_text()
    features.write_text(shipped.replace('on = "upload"', 'on = "upload"\nmax_age = "1h"', 1))
    environ = {
        "FEATSVC_EMBED_MODELS_FILE": str(models_file(tmp_path)),
        "FEATSVC_FEATURES_FILE": str(features),
    }
    record = Record()
    earlier = tmp_path / "earlier.toml"
    earlier.write_text(EARLIER_FEATURES)
    arguments = ("--features", str(earlier))
    with running(tmp_path / "data", *arguments) as service, service.client() as client:
        ingest_upload(client)
    with running(tmp_path / "data", environ=environ) as service, service.client() as client:
        fill_banks(client, record)
        hash_and_match(client, record)
        screen(client, record)
        read_features(client, record)
        curate(client, record)
        count_matches(client, record)
    forgotten = answered() - record.set - ELSEWHERE
    assert forgotten == set(), "never set in any answer; a step that fills it belongs here"
    assert ELSEWHERE - answered() == set(), "named in ELSEWHERE, and no field of an answer"


def picture(data: bytes) -> types_pb2.Content:
    return types_pb2.Content(data=data)


def fill_banks(client: Client, record: Record) -> None:
    for bank_id, settings in {
        "known": banks_pb2.Bank(
            display_name="Known", description="all", thresholds={"pdq": 31}, engine="auto"
        ),
        "safe": banks_pb2.Bank(safe=True),
        "other": banks_pb2.Bank(mode=types_pb2.BANK_MODE_SHADOW),
    }.items():
        made = banks_pb2.CreateBankRequest(bank_id=bank_id, bank=settings)
        record.see(client.banks.CreateBank(made))
    add = banks_pb2.AddEntriesRequest(
        parent="banks/known",
        entries=[
            banks_pb2.Entry(
                external_id="coffee", source="us", labels=["x"], note="n",
                opinion=banks_pb2.OPINION_POSITIVE,
            ),
            banks_pb2.Entry(external_id="text"),
            banks_pb2.Entry(external_id="flag"),
        ],
        contents=[picture(COFFEE), types_pb2.Content(text=TEXT), picture(FLAG)],
        entry_variants=True,
    )  # fmt: skip
    add.entries[0].expire_time.FromSeconds(int(time.time()) + 1_000_000)
    record.see(client.banks.AddEntries(add))
    vectors = banks_pb2.AddEntriesRequest(
        parent="banks/other",
        entries=[
            banks_pb2.Entry(
                external_id="v",
                vectors=[
                    banks_pb2.EntryVector(model="m@1", values=[1, 2], variant="v", quality=60)
                ],
            )
        ],
    )
    record.see(client.banks.AddEntries(vectors))
    read_list(client, record, "banks/safe", LIST.replace(f"{1:064x}", f"{7:064x}"))
    read_list(client, record, "banks/known", LIST)
    changed = LIST.replace("one,x", "one,y") + f"md5,{2:032x},safe,,true\n"
    read_list(client, record, "banks/known", changed)
    read_list(client, record, "banks/known", HASHED, "hashes")
    expired = f"algorithm,signal,external_id,expire_time\nmd5,{9:032x},old,2020-01-01\n"
    read_list(client, record, "banks/known", expired)
    unknown = f"algorithm,signal,external_id,withdrawn\nmd5,{8:032x},nobody,true\n"
    read_list(client, record, "banks/known", unknown)
    other = LIST.replace(f"{1:064x}", f"{11:064x}")
    read_list(client, record, "banks/known", other, dry_run=True)
    read_list(client, record, "banks/known", f"MD5 (a) = {3:032x}\nSHA512 (a) = {3:0128x}\n", "")
    columns = {"algorithm": "kind", "signal": "fp"}
    read_list(client, record, "banks/known", f"kind,fp,size\nmd5,{4:032x},1\n", "", columns)
    read_list(client, record, "banks/known", f"kind,fp,size\nmd5,{5:032x},1\n", "")
    record.see(client.banks.GetBank(banks_pb2.GetBankRequest(name="banks/known")))


def read_list(
    client: Client,
    record: Record,
    parent: str,
    text: str,
    file_format: str = "csv",
    column_map: Mapping[str, str] | None = None,
    *,
    dry_run: bool = False,
) -> None:
    options = banks_pb2.ImportOptions(
        parent=parent, file_name="list", skip_bad=True, format=file_format, column_map=column_map,
        dry_run=dry_run,
        context=banks_pb2.ChangeContext(actor="a", reason="r"),
    )  # fmt: skip
    requests = (
        banks_pb2.ImportEntriesRequest(options=options),
        banks_pb2.ImportEntriesRequest(chunk=text.encode()),
    )
    for answer in client.banks.ImportEntries(iter(requests)):
        record.see(answer)


def animation() -> bytes:
    """Noise, then coffee: what matches is the second frame."""
    with Image.open(io.BytesIO(COFFEE)) as image:
        frames = [image.convert("RGB").transpose(Image.Transpose.ROTATE_90), image.convert("RGB")]
    content = io.BytesIO()
    frames[0].resize((600, 400)).save(
        content, "PNG", save_all=True, append_images=[frames[1].resize((600, 400))]
    )
    return content.getvalue()


def rotated() -> bytes:
    """A small JPEG whose EXIF says that it is turned."""
    content = io.BytesIO()
    with Image.open(io.BytesIO(ROCKET)) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(content, "JPEG", exif=exif)
    return content.getvalue()


def hash_and_match(client: Client, record: Record) -> None:
    record.see(client.hashing.ListAlgorithms(hashing_pb2.ListAlgorithmsRequest()))
    for data in (rotated(), b"no picture", animation()):
        decode = types_pb2.DecodeOptions(
            fidelity=types_pb2.DecodeOptions.FIDELITY_FAST,
            alpha=types_pb2.DecodeOptions.ALPHA_BLACK,
            frames=types_pb2.DecodeOptions.FRAMES_ALL,
        )
        record.see(
            client.hashing.Hash(hashing_pb2.HashRequest(content=picture(data), decode=decode))
        )
    with Image.open(io.BytesIO(COFFEE)) as image:
        large = jpeg(image.resize((900, 600)))
    luma = hashing_pb2.HashRequest(content=picture(large), algorithms=["pdq"])
    record.see(client.hashing.Hash(luma))
    for data in (COFFEE, b"no picture"):
        embed = hashing_pb2.EmbedRequest(content=picture(data), models=["pdqf", "means"])
        record.see(client.hashing.Embed(embed))
    side = hashing_pb2.CompareRequest.Side
    compare = hashing_pb2.CompareRequest(
        a=side(content=picture(COFFEE)), b=side(content=picture(edited("coffee.png")))
    )
    record.see(client.hashing.Compare(compare))
    damaged = hashing_pb2.CompareRequest(
        a=side(content=picture(ROCKET[:-9])), b=side(content=picture(ROCKET))
    )
    record.see(client.hashing.Compare(damaged))
    match = matching_pb2.MatchRequest(content=picture(edited("coffee.png")))
    match.options.thresholds.add(algorithm="pdq", threshold=60)
    record.see(client.matching.Match(match))
    match = matching_pb2.MatchRequest(content=picture(animation()))
    match.decode.frames = types_pb2.DecodeOptions.FRAMES_ALL
    match.options.max_results = 1
    match.options.thresholds.add(algorithm="pdq", threshold=256)
    record.see(client.matching.Match(match))
    poor = matching_pb2.MatchRequest(
        signal=types_pb2.Signal(algorithm="pdq", value=PLAIN, quality=0)
    )
    record.see(client.matching.Match(poor))
    for algorithm, signals in (
        ("pdq", b"\1" * 32 + bytes(32)),
        ("m@1", bytes.fromhex("0000803f00000040")),
    ):
        batch = matching_pb2.MatchBatchRequest(
            algorithm=algorithm, signals=signals, dimensions=2,
            options=types_pb2.MatchOptions(max_results=1, banks=["banks/known", "banks/other"]),
        )  # fmt: skip
        batch.options.thresholds.add(algorithm="pdq", threshold=256)
        record.see(client.matching.MatchBatch(batch))
    record.see(client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest()))


def screen(client: Client, record: Record) -> None:
    account = types_pb2.EntityRef(entity="account", id="answers")
    request = screening_pb2.ScreenRequest(
        request_id="r", content=picture(COFFEE), entities=[account], models=["means"]
    )
    event = request.record_event
    event.event_id, event.type = "e1", "upload"
    event.time.GetCurrentTime()
    event.entities["account"] = account.id
    event.attributes["bytes"].number = 1
    request.options.max_results = 1
    request.options.thresholds.add(algorithm="pdq", threshold=256)
    record.see(client.screening.Screen(request))
    # A safe list that knows the content suppresses.
    safe = f"algorithm,signal,external_id\npdq,{pdq_of(client, COFFEE)},coffee\n"
    read_list(client, record, "banks/safe", safe)
    record.see(client.screening.Screen(screening_pb2.ScreenRequest(content=picture(COFFEE))))
    stream = [
        screening_pb2.ScreenRequest(request_id="text", content=types_pb2.Content(text="hm")),
        screening_pb2.ScreenRequest(request_id="bad", content=picture(COFFEE[:1000])),
        screening_pb2.ScreenRequest(request_id="empty"),
    ]
    for answer in client.screening.ScreenStream(iter(stream)):
        record.see(answer)


def pdq_of(client: Client, data: bytes) -> str:
    hashed = client.hashing.Hash(hashing_pb2.HashRequest(content=picture(data), algorithms=["pdq"]))
    return str(hashed.signals[0].value)


def ingest_upload(client: Client) -> None:
    event = features_pb2.Event(event_id="e0", type="upload", entities={"account": "answers"})
    event.time.GetCurrentTime()
    client.features.IngestEvents(features_pb2.IngestEventsRequest(events=[event]))


def read_features(client: Client, record: Record) -> None:
    account = types_pb2.EntityRef(entity="account", id="answers")
    good = features_pb2.Event(event_id="e2", type="upload", entities={"account": account.id})
    good.time.GetCurrentTime()
    bad = features_pb2.Event(event_id="e3", type="upload")
    batch = features_pb2.IngestEventsRequest(events=[good, bad], tag="t")
    record.see(client.features.IngestEvents(batch))
    for answer in client.features.IngestEventStream(iter([batch])):
        record.see(answer)
    read = features_pb2.GetFeaturesRequest(entities=[account])
    record.see(client.features.GetFeatures(read))
    page = features_pb2.ListFeaturesRequest(page_size=5)
    while (names := record.see(client.features.ListFeatures(page))).next_page_token:
        page.page_token = names.next_page_token
    forget = features_pb2.DeleteEntityRequest(entity=account)
    record.see(client.features.DeleteEntity(forget))


def curate(client: Client, record: Record) -> None:
    banks = client.banks
    record.see(banks.GetBank(banks_pb2.GetBankRequest(name="banks/known")))
    record.see(banks.ListBanks(banks_pb2.ListBanksRequest(page_size=1)))
    for name in ("banks/other", "banks/known"):
        update = banks_pb2.UpdateBankRequest(bank=banks_pb2.Bank(name=name, description="d"))
        update.update_mask.paths.append("description")
        record.see(banks.UpdateBank(update))
    near = banks_pb2.ListEntriesRequest(parent="banks/known", page_size=1, max_distance=256)
    near.near.algorithm, near.near.value = "pdq", f"{3:064x}"
    record.see(banks.ListEntries(near))
    listed = banks.ListEntries(banks_pb2.ListEntriesRequest(parent="banks/known")).entries
    names = [entry.name for entry in listed]
    record.see(banks.GetEntry(banks_pb2.GetEntryRequest(name=names[0])))
    export = banks_pb2.ExportEntriesRequest(parent="banks/known", format="tx")
    for answer in banks.ExportEntries(export):
        record.see(answer)
    compare = banks_pb2.CompareBanksRequest(name="banks/known", other="banks/safe")
    record.see(banks.CompareBanks(compare))
    page = banks_pb2.CompareBanksRequest(name="banks/known", other="banks/known", max_pairs=1)
    record.see(banks.CompareBanks(page))
    samples = [(COFFEE, True), (ROCKET, False), (COFFEE, False), (b"none", False)]
    record.see(banks.EvaluateBank(evaluation(samples)))
    record.see(
        banks.QuarantineEntries(
            banks_pb2.QuarantineEntriesRequest(parent="banks/known", names=names[:1])
        )
    )
    record.see(banks.GetEntry(banks_pb2.GetEntryRequest(name=names[0])))
    record.see(
        banks.ReleaseEntries(banks_pb2.ReleaseEntriesRequest(parent="banks/known", names=names[:1]))
    )
    record.see(
        banks.WithdrawEntries(
            banks_pb2.WithdrawEntriesRequest(parent="banks/known", names=names[:1])
        )
    )
    record.see(banks.GetEntry(banks_pb2.GetEntryRequest(name=names[0])))
    record.see(
        banks.RestoreEntries(banks_pb2.RestoreEntriesRequest(parent="banks/known", names=names[:1]))
    )
    edit_entries(client, record)
    record.see(client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest()))
    record.see(
        banks.ListRevisions(banks_pb2.ListRevisionsRequest(parent="banks/known", page_size=1))
    )
    record.see(banks.ListRevisions(banks_pb2.ListRevisionsRequest(parent="banks/-")))
    record.see(
        banks.DiffRevisions(banks_pb2.DiffRevisionsRequest(parent="banks/known", page_size=1))
    )
    between = banks_pb2.DiffRevisionsRequest(parent="banks/known", from_revision=7, to_revision=8)
    record.see(banks.DiffRevisions(between))
    restore = banks_pb2.RollbackBankRequest(name="banks/known", revision=4)
    record.see(banks.RollbackBank(restore))
    gone = banks_pb2.DeleteBankRequest(name="banks/other", force=True)
    record.see(banks.DeleteBank(gone))


def edit_entries(client: Client, record: Record) -> None:
    """Decide about the entry that says most; its list has it once more, then withdraws it."""
    banks = client.banks
    coffee = banks_pb2.ListEntriesRequest(parent="banks/known", external_id="coffee")
    (entry,) = banks.ListEntries(coffee).entries
    edit = banks_pb2.EditEntriesRequest(
        parent="banks/known", names=[entry.name], note="other", never_expires=True,
        opinion=banks_pb2.OPINION_NEGATIVE, add_labels=["mine"],
    )  # fmt: skip
    record.see(banks.EditEntries(edit))
    record.see(banks.GetEntry(banks_pb2.GetEntryRequest(name=entry.name)))
    withdraw = banks_pb2.WithdrawEntriesRequest(parent="banks/known", names=[entry.name])
    record.see(banks.WithdrawEntries(withdraw))
    signal = entry.signals[0]
    header = "algorithm,signal,external_id,source,withdrawn"
    for withdrawn in ("", "true"):
        row = f"{signal.algorithm},{signal.value},coffee,us,{withdrawn}"
        read_list(client, record, "banks/known", f"{header}\n{row}\n")
    restore = banks_pb2.RestoreEntriesRequest(parent="banks/known", names=[entry.name])
    record.see(banks.RestoreEntries(restore))


def evaluation(
    samples: Iterable[tuple[bytes, bool]],
) -> Iterator[banks_pb2.EvaluateBankRequest]:
    options = banks_pb2.EvaluateOptions(name="banks/known", max_false_match_rate=1)
    yield banks_pb2.EvaluateBankRequest(options=options)
    for data, positive in samples:
        sample = banks_pb2.Sample(content=picture(data), positive=positive)
        yield banks_pb2.EvaluateBankRequest(sample=sample)
    poor = types_pb2.Signal(algorithm="pdq", value=PLAIN, quality=0)
    yield banks_pb2.EvaluateBankRequest(sample=banks_pb2.Sample(signal=poor))


def count_matches(client: Client, record: Record) -> None:
    """Counts are written every few seconds."""
    match = matching_pb2.MatchRequest(
        signal=types_pb2.Signal(algorithm="pdq", value=f"{7:064x}", quality=100)
    )
    client.matching.Match(match)
    request = banks_pb2.ListMatchCountsRequest(parent="banks/safe")
    until(lambda: client.banks.ListMatchCounts(request).entries)
    record.see(client.banks.ListMatchCounts(request))
    page = banks_pb2.ListMatchCountsRequest(parent="banks/safe", page_size=1)
    until(lambda: client.banks.ListMatchCounts(page).next_page_token)
    record.see(client.banks.ListMatchCounts(page))
