"""The layout of folders: tests mirror the source, and no file has a path of this checkout."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.photographs import ROOT

TESTS = ROOT / "tests"
# Folder of tests -> folder of sources, where it is not featsvc/ and the same name.
SOURCES = {"kernels": "kernels/featsvc_kernels", "client": "client/featsvc_client"}

# Tests of a behaviour that no one module has. Whatever is not here is named for its module, or for
# a folder of modules.
BEHAVIOURS = {
    "accounts/test_bounds.py": "limits of events, requests and streams, from both sides",
    "accounts/test_bursts.py": "the shipped burst features tell bursts from other histories",
    "accounts/test_cases.py": "inputs that once gave wrong numbers, and what each must give",
    "accounts/test_ids.py": "an event id counts once within the horizon, and is forgotten after it",
    "accounts/test_migration.py": "services of two versions on one namespace",
    "accounts/test_oracle.py": "all values against an independent implementation",
    "accounts/test_shared_cases.py": "cases of stores that share a namespace, a cluster, a clock",
    "accounts/test_values.py": "every operator and aggregation, from text to value",
    "banks/test_bounds.py": "limits of revisions, pages and counts, from both sides",
    "banks/test_concurrent.py": "many writers at once, on both databases",
    "banks/test_expired.py": "expired entries, from lists to exports",
    "banks/test_interrupted_calls.py": "callers that leave: every method of BankService",
    "banks/test_kill.py": "a large change is whole or absent after any kill",
    "banks/test_left_out.py": "what lists of exchanges hold is kept or counted, nothing is refused",
    "banks/test_query_plans.py": "small changes walk no bank, large ones read each row once",
    "banks/test_text_lists.py": "lists of texts, in all formats",
    "banks/test_vectors.py": "vectors, from lists to searches",
    "banks/test_versions.py": "versions of algorithms, from lists to matches",
    "banks/test_ways_in.py": "times and names of variants, by every way in",
    "cli/test_completion.py": "a shell completes commands and options, quickly",
    "cli/test_help.py": "all commands and options are documented",
    "cli/test_promises.py": "all commands with --json, as recorded",
    "config/test_matrix.py": "every key, every kind of wrong value, through each source",
    "hashing/test_pdq_dihedral.py": "PDQ's turned hashes against pdqhash",
    "hashing/test_pdq_unstable.py": "PDQ of pictures whose bits rounding decides",
    "hashing/test_plain_pictures.py": "plain pictures match nothing by accident",
    "hashing/test_table.py": "every computed row of the table of algorithms",
    "hashing/test_undecoded.py": "pictures that do not decode keep their byte hashes",
    "media/test_cases.py": "inputs that once failed, and what each must give",
    "media/test_memory.py": "a decode takes no more memory than estimated, and returns it",
    "banks/test_waits.py": "who holds a lock of PostgreSQL, or pauses, stops nobody for ever",
    "banks/test_pooler.py": "a store behind pgbouncer, in each of its modes",
    "matching/test_idle.py": "an idle poll reads a few rows, whatever the length of the log",
    "matching/test_pg_restore.py": "pg_restore under running followers and indexers",
    "matching/test_restoring.py": "half-restored stores are never served, at any subset of tables",
    "matching/test_every_way.py": "rules hold one by one, in columns, quick and in batches",
    "matching/test_batches.py": "the matches of a batch are those of its queries alone",
    "matching/test_families.py": "every engine of every distance against brute force",
    "matching/test_fusion.py": "signals and variants of an entry become one match",
    "matching/test_thresholds.py": "a match is within its threshold, exactly",
    "requests/test_cancelling.py": "a failed request cancels what it has queued",
}
# Modules without a test file of their own name: which tests go through them.
TESTED_THROUGH = {
    "accounts/test_definitions.py": "accounts/names accounts/toml_source accounts/toml_table",
    "accounts/test_migration.py": "accounts/adopting",
    "accounts/test_pipelining.py": "accounts/connections",
    "accounts/test_register.py": "accounts/compiled",
    "accounts/test_store.py": "accounts/ingest accounts/ingest_plan accounts/layout "
    "accounts/read accounts/read_plan accounts/table",
    "accounts/test_reading.py": "accounts/estimating accounts/replies",
    "banks/test_database.py": "banks/sql/failures banks/sql/sqlite banks/sql/sqlite_file",
    "banks/test_formats.py": "banks/lists/exporting",
    "banks/test_history.py": "banks/sql/bank_settings",
    "banks/test_interrupted_calls.py": "service/store_calls",
    "banks/test_interruption.py": "banks/sql/stopping",
    "banks/test_store.py": "banks/lists/importing banks/lists/joining banks/lists/merging "
    "banks/lists/stager banks/lists/staging banks/records banks/results banks/sql/changes "
    "banks/sql/copying "
    "banks/sql/schema banks/sql/stored banks/sql/temporary banks/sql/times "
    "banks/sql/view",
    "banks/test_identity.py": "banks/lists/withdrawing",
    "banks/test_vectors.py": "banks/sql/vector_models",
    "client/test_methods.py": "client/asynchronous client/blocking",
    "cli/test_promises.py": "cli/bank cli/bank_decisions cli/bank_entries "
    "cli/bank_history cli/import_report "
    "cli/bank_recount cli/bank_tuning cli/curating cli/hash cli/match cli/remote",
    "config/test_matrix.py": "config/keys",
    "embedding/test_learned.py": "embedding/onnx_outputs",
    "hashing/test_content.py": "signals/hashes",
    "hashing/test_imagehashes.py": "hashing/picture hashing/planes hashing/transforms",
    "hashing/test_table.py": "hashing/perceptual signals/computing signals/digests",
    "hashing/test_variants.py": "signals/variants",
    "integration/test_bank_guide.py": "cli/bank_plot",
    "integration/test_bank_service.py": "service/bank_evaluation service/banks",
    "integration/test_command.py": "cli/checks cli/doctor cli/main",
    "integration/test_embed.py": "embedding/embedder embedding/models requests/embed",
    "integration/test_failures.py": "cli/serve service/metrics service/server",
    "integration/test_hash_import.py": "cli/local_hashes",
    "integration/test_match_batch.py": "requests/compare service/matching",
    "integration/test_screen.py": "requests/hash requests/plan "
    "requests/report requests/runtime requests/signals service/hashing",
    "integration/test_variants.py": "requests/match",
    "integration/test_workers.py": "app processes worker",
    "kernels/test_compiling.py": "kernels/machine_code",
    "kernels/test_fold.py": "kernels/fold_codes kernels/fold_sums",
    "kernels/test_resample.py": "kernels/pictures",
    "kernels/test_search.py": "kernels/popcount",
    "matching/test_engines.py": "signals/bits",
    "matching/test_scope.py": "matching/holdings",
    "matching/test_snapshot.py": "matching/hits matching/match_builder matching/matches "
    "matching/part_search matching/parts matching/values",
    "matching/test_text_engine.py": "signals/text_index",
    "media/test_decode.py": "media/header media/options media/task media/codecs/libraries "
    "media/codecs/pillow",
    "media/test_isobmff.py": "media/codecs/libavif media/codecs/libheif",
    "media/test_webp.py": "media/flatten media/codecs/libwebp",
    "media/test_png.py": "media/inflate",
    "media/test_tiff.py": "media/samples media/codecs/libtiff",
    "media/test_jpeg.py": "media/codecs/turbojpeg",
    "service/test_status.py": "errors",
    "signals/test_text.py": "signals/text_grams signals/tlsh",
}


def modules() -> Iterator[Path]:
    """Every module as `room/folders/name`, but for stubs, migrations and twins of kernels."""
    for room in ("", *SOURCES):
        source = ROOT / SOURCES.get(room, "featsvc")
        for path in source.rglob("*.py"):
            name = path.relative_to(source)
            if not {"v1", "versions"} & {*name.parts} and not name.stem.startswith(
                ("_", "reference_")
            ):
                yield room / name.with_suffix("")


def files_for(module: Path) -> list[str]:
    """Where the tests of a module may be: in a file of its name, or of a folder that holds it."""
    *room, _ = module.parts
    return [str(Path(*room[:1], f"test_{name}.py")) for name in (*room[1:], module.name)]


def test_a_test_file_is_named_for_a_module_or_is_a_behaviour() -> None:
    named = {file for module in modules() for file in files_for(module)}
    rooms = [p for p in TESTS.iterdir() if p.is_dir() and p.name not in ("fuzz", "integration")]
    files = {str(p.relative_to(TESTS)) for room in rooms for p in room.glob("test_*.py")}
    others = {file for file in files - named if not file.endswith("/test_docs.py")}
    assert others - BEHAVIOURS.keys() == set(), "name them for a module, or list them"
    assert BEHAVIOURS.keys() - others == set(), "these are gone, or named for a module"


def test_the_tests_of_a_module_can_be_found() -> None:
    without = {str(m) for m in modules() if not any((TESTS / f).exists() for f in files_for(m))}
    listed = {module for line in TESTED_THROUGH.values() for module in line.split()}
    assert without - listed == set(), "add test files of their names, or say what tests them"
    assert listed - without == set(), "these are gone, or have test files of their names"
    assert [name for name in TESTED_THROUGH if not (TESTS / name).exists()] == []


def test_no_test_has_a_time_limit_of_its_own() -> None:
    limit = re.compile(r"\b(?:timeout=|timeout\(|wait\(|join\(|result\(|deadline=)[1-9]")
    limits = [
        f"{p.name}: {m[0]}" for p in TESTS.rglob("*.py") for m in limit.finditer(p.read_text())
    ]
    assert limits == [], "wait with tests/patience.py"


def test_every_test_folder_is_a_package() -> None:
    # Test files in two folders may have the same name.
    folders = {p.parent for p in (ROOT / "tests").rglob("*.py")}
    assert [f.name for f in folders if not (f / "__init__.py").exists()] == []


def test_no_file_contains_the_path_of_this_checkout() -> None:
    folders = ("bench", "client", "docs", "featsvc", "kernels", "proto", "tests")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]
    found = [p for p in files if p.suffix != ".pyc" and str(ROOT).encode() in p.read_bytes()]
    assert found == []
