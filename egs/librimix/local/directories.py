"""Finished batches of wavs -> data directories: tables, options.json, manifest, .done."""

import json
from collections.abc import Callable
from pathlib import Path

import speech_tree
from build import LAYOUT, Kind

from codecsep.data import atomic, datadir, manifest, mixture_dir
from codecsep.data.batch import Batch, Record
from codecsep.data.digest import text_sha256
from codecsep.data.lock import locked


def prepare_mixtures(out: Path, batches: list[Batch], tree: Path, kind: Kind) -> None:
    """data/<set>: the mixtures of one or more lists."""
    records = [(batch, record) for batch in batches for record in batch.records().values()]
    paths = [path for batch in batches for item in batch.items for path in item.what["sources"]]
    texts = _texts(tree, paths)
    sources = {item.key: item.what["sources"] for batch in batches for item in batch.items}

    def fill(folder: Path) -> None:
        mixture_dir.write((_mixture(one, record, sources, texts, kind) for one, record in records), folder)

    audio = _outputs(records)
    _prepare(out, batches, kind, texts, audio, len(records), fill)


def prepare_sources(out: Path, batches: list[Batch], tree: Path, kind: Kind) -> None:
    """data/<set>_sources: the single utterances of one or more lists, each once."""
    records = [(batch, record) for batch in batches for record in batch.records().values()]
    records = list({record["key"]: (batch, record) for batch, record in records}.values())
    texts = _texts(tree, [item.what for batch in batches for item in batch.items])

    def fill(folder: Path) -> None:
        for name, table in _source_tables(records, texts).items():
            datadir.write_table(folder / name, table)

    audio = _outputs(records) or {path: one for _, record in records for path, one in record["inputs"].items()}
    _prepare(out, batches, kind, texts, audio, len(records), fill)


def _prepare(
    out: Path, batches: list[Batch], kind: Kind, texts: dict, audio: dict, number: int, fill: Callable[[Path], None]
) -> None:
    """Let `fill` write the tables of a directory, unless they stand."""
    settings = {"num_spk": kind.num_spk, "mixture": kind.mixture, "mode": kind.mode, "sample_rate": kind.rate}
    values = {"layout": LAYOUT, "texts": text_sha256(json.dumps(texts, sort_keys=True))}
    made = [manifest.manifest_file(batch.folder, batch.name) for batch in batches]
    work = manifest.Work("0", made, values, settings, audio)
    if manifest.current(out, work) is None:
        print(f"{out}: up to date")
        return
    with locked(out.parent, f".{out.name}.lock"), atomic.replacing_dir(out) as beside:
        fill(beside)
        atomic.write_text(beside / "options.json", json.dumps(settings, indent=1) + "\n")
        manifest.finish(beside, work, sorted(beside.iterdir()), manifest.Counts(number, number))
    print(f"{out}: {number} utterances" + ("" if texts else ", without transcripts: the tree lacks some or all"))


def _mixture(batch: Batch, record: Record, sources: dict, texts: dict, kind: Kind) -> mixture_dir.Mixture:
    key, measures, speakers = record["key"], record["measures"], kind.speakers()
    ids = [speech_tree.utterance(path) for path in sources[key]][: len(speakers)]
    return mixture_dir.Mixture(
        key=key,
        wav=_wav(batch, f"mix_{kind.mixture}", key),
        sources=[_wav(batch, name, key) for name in speakers],
        samples=measures["samples"],
        order=measures["order"],
        source_ids=ids,
        texts=[texts[one] for one in ids] if texts else (),
        noise="" if kind.mixture == "clean" else _wav(batch, "noise", key),
    )


def _source_tables(records: list[tuple[Batch, Record]], texts: dict) -> dict[str, dict[str, object]]:
    """Name of a table -> its content."""
    tables = {"wav.scp": {}, "utt2spk": {}, "utt2num_samples": {}, "utt2lufs": {}, "utt2peak": {}, "utt2onset": {}}
    for batch, record in records:
        key, measures = record["key"], record["measures"]
        outputs = [mixture_dir.relative(batch.folder / name) for name in record["outputs"]]
        values = [measures[name] for name in ("samples", "lufs", "peak", "onset")]
        row = [(outputs or list(record["inputs"]))[0], speech_tree.speaker(key), *values]
        for table, value in zip(tables.values(), row, strict=True):
            table[key] = value
    tables["spk2utt"] = datadir.invert(tables["utt2spk"])
    return tables | ({"text": {key: texts[key] for key in tables["wav.scp"]}} if texts else {})


def _texts(tree: Path, paths: list[str]) -> dict[str, str]:
    """{utterance: transcript}, or {} when they are not known for every one."""
    texts, needed = speech_tree.transcripts(tree, set(paths)), {speech_tree.utterance(path) for path in paths}
    return texts if len(texts) == len(needed) else {}


def _outputs(records: list[tuple[Batch, Record]]) -> dict[str, dict]:
    """{path: {"size", "sha256"}} of the files that the batches have made."""
    return {
        manifest.name_of(batch.folder / name): noted
        for batch, record in records
        for name, noted in record["outputs"].items()
    }


def _wav(batch: Batch, name: str, key: str) -> str:
    return mixture_dir.relative(batch.folder / name / f"{key}.wav")
