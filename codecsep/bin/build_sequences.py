"""Stage 3: codes of the speakers -> the sequences that a model learns, as its `sequence` lays them out.

    python -m codecsep.bin.build_sequences --config conf/ar.yaml --data data/train --dump dump/train

Of the configuration only `model` and `network` are read. Written into the dump directory: seq.{ark,scp}, utt2seq_len,
token_list.txt, whose line i (from 0) names the id i, and last of all seq.manifest.json and .seq.done. The order of the
speakers is that of data/<set>/sot_order. What was made from the same codes, order and network is not made again.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from codecsep import config
from codecsep.data import atomic, manifest
from codecsep.data.ark import ArkError, CodecInfo, TokenWriter, read_codec_info
from codecsep.data.datadir import write_table
from codecsep.data.lock import locked
from codecsep.data.spans import check_span
from codecsep.errors import CodecsepError
from codecsep.faults import faultpoint

if TYPE_CHECKING:
    from codecsep.data.examples import Dataset

PROG = "build_sequences"
NAME = "seq"
TOKEN_FIELDS = {"codes", "sequence"}


class BuildError(CodecsepError):
    """A call, a model and a codec that do not fit together."""


def parser() -> argparse.ArgumentParser:
    result = config.parser(PROG, __doc__.split("\n")[0])
    result.add_argument("--data", type=Path, required=True, help="data directory, of stage 0")
    result.add_argument("--dump", type=Path, required=True, help="its dump directory, of stage 2")
    result.add_argument("--force", action="store_true", help="make the sequences again even when they are up to date")
    return result


@config.command(PROG)
def main(argv: list[str] | None = None) -> int:
    arguments, overrides = config.parse(parser(), argv)
    given = model_keys(arguments.config, overrides)
    made = manifest.require(arguments.dump, "2")
    manifest.require_unless_brought(arguments.data, "0")
    work = work_of(given, arguments.data, arguments.dump)
    if not arguments.force and manifest.current(arguments.dump, work, NAME) is None:
        print(f"{PROG}: {arguments.dump} is up to date: same codes, same model", file=sys.stderr)
        return 0
    with locked(arguments.dump, f".{NAME}.lock"):
        lengths = build_for(given, arguments)
        if lengths:
            finish(arguments.dump, work, made["counts"]["made"], lengths)
    what = f"{len(lengths)} sequences, {sum(lengths.values())} steps" if lengths else (
        f"the model {given['model']} needs no sequences; nothing to do"
    )  # fmt: skip
    print(f"{PROG}: {arguments.dump}: {what}", file=sys.stderr)
    return 0


def model_keys(path: Path | None, overrides: list[str]) -> dict[str, Any]:
    """The keys `model` and `network` of the configuration, as they were given."""
    given = config.merge(config.read_yaml(path) if path else {}, config.parse_overrides(overrides))
    if "model" not in given:
        what = "the key 'model' is missing"
        raise BuildError("E805", what, path or "command line", "give --config conf/<name>.yaml")
    return {"model": str(given["model"]), "network": given.get("network") or {}}


def work_of(given: dict[str, Any], data: Path, dump: Path) -> manifest.Work:
    """What the sequences depend on: the codes, the order of the speakers, the network's configuration."""
    order = data / "sot_order"
    return manifest.Work("3", [manifest.manifest_file(dump), *([order] if order.is_file() else [])], settings=given)


def build_for(given: dict[str, Any], arguments: argparse.Namespace) -> dict[str, int]:
    """Write the sequences of all utterances; their lengths by utterance, {} when the model has none."""
    network, model = make_model(given, str(arguments.config))
    if not TOKEN_FIELDS & set(model.fields):
        return {}
    check_sizes(network, read_codec_info(arguments.dump))
    return build(model, arguments.data, arguments.dump)


def make_model(given: dict[str, Any], origin: str) -> tuple[Any, Any]:
    """The configuration of the network and the model itself, untrained."""
    module = config.find_model(given["model"])
    config.check_keys(module.Config, given["network"], origin, "network.")
    network = config.build(module.Config, given["network"], origin)
    return network, module.Model(network)


def build(model: Any, data: Path, dump: Path) -> dict[str, int]:
    """Write seq.{ark,scp,crc} and token_list.txt; lengths by utterance, {} when the model builds no sequences."""
    from codecsep.data.examples import Dataset
    from codecsep.tokens.vocab import Vocab

    rows = sequences(model, Dataset(data, dump, ("codes",)))
    first = next(rows, None)
    if first is None:
        return {}
    manifest.begin(dump, NAME)
    lengths = {}
    with TokenWriter(dump / NAME) as writer:
        for key, sequence in (first, *rows):
            writer.write(key, sequence)
            lengths[key] = sequence.shape[1]
            faultpoint("sequences.mid")
    names = Vocab(read_codec_info(dump).codebook_size).names()
    atomic.write_text(dump / "token_list.txt", "".join(f"{name}\n" for name in names))
    return lengths


def finish(dump: Path, work: manifest.Work, given: int, lengths: dict[str, int]) -> None:
    """The last files of the stage. Raises StageError when an utterance of stage 2 has no sequence."""
    write_table(dump / "utt2seq_len", lengths)
    names = [*(f"{NAME}.{ending}" for ending in ("ark", "crc", "scp")), "token_list.txt", "utt2seq_len"]
    counts = manifest.Counts(given, len(lengths))
    manifest.finish(dump, work, [dump / name for name in names], counts, NAME)


def sequences(model: Any, dataset: "Dataset") -> Iterator[tuple[str, np.ndarray]]:
    """(utterance, ids [K, S]); nothing when the model builds none. Raises BuildError when it does so for some only."""
    info = read_codec_info(dataset.dump)
    samples = samples_of(dataset, info)
    for index in tqdm(range(len(dataset)), desc=str(dataset.data.path), disable=None, unit="utt"):
        example = dataset[index]
        check_codes(dataset, info, example, samples[example["id"]])
        sequence = model.sequence(example)
        if sequence is None and index == 0:
            return
        if sequence is None:
            what = f"the model gave a sequence for {dataset.ids[0]}, none for {example['id']}"
            raise BuildError("E341", what, dataset.dump, "mend the model's `sequence`")
        yield example["id"], np.asarray(sequence)


def samples_of(dataset: "Dataset", info: CodecInfo) -> dict[str, float]:
    """Samples of each utterance at the codec's rate."""
    from codecsep.data import audio

    rate = audio.sample_rate(next(iter(dataset.data.table("wav.scp").values())))
    noted = dataset.data.table("utt2num_samples")
    return {key: int(value) * info.sample_rate / rate for key, value in noted.items()}


def check_codes(dataset: "Dataset", info: CodecInfo, example: dict, samples: float) -> None:
    """Raise ArkError (E305) unless the codes of an utterance fit its audio and utt2num_frames.

    A single source ends where its audio does, the source of a mixture there or before it.
    """
    where, fix = f"{dataset.dump}, {example['id']}", "run --stage 2 again"
    shortest = 0.0 if dataset.speakers else samples
    for codes in example["codes"]:
        check_span(codes.shape[1], shortest, samples, info, where, fix)
    found, noted = max(codes.shape[1] for codes in example["codes"]), dataset.num_frames[example["id"]]
    if found != noted:
        raise ArkError("E305", f"the longest codes have {found} frames, utt2num_frames says {noted}", where, fix)


def check_sizes(network: Any, info: CodecInfo) -> None:
    """Raise BuildError when the network has a `codebook_size` or `num_codebooks` that is not the codec's."""
    for name in ("codebook_size", "num_codebooks"):
        wanted, given = getattr(info, name), getattr(network, name, getattr(info, name))
        if given != wanted:
            what = f"is {given}, the codec {info.name} has {wanted}"
            raise BuildError("E340", what, f"network.{name}", f"set it to {wanted}")


if __name__ == "__main__":
    sys.exit(main())
