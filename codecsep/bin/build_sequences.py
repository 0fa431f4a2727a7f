"""Stage 3: codes of the speakers -> the sequences that a model learns, as its `sequence` lays them out.

    python -m codecsep.bin.build_sequences --config conf/ar.yaml --data data/train --dump dump/train

Of the configuration only `model` and `network` are read. Written into the dump directory: seq.{ark,scp}, utt2seq_len,
and token_list.txt, whose line i (from 0) names the id i. The order of the speakers is that of data/<set>/sot_order.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from codecsep import config
from codecsep.data import atomic
from codecsep.data.ark import CodecInfo, TokenWriter, read_codec_info
from codecsep.data.datadir import write_table
from codecsep.data.examples import Dataset
from codecsep.tokens.vocab import Vocab

PROG = "build_sequences"
TOKEN_FIELDS = {"codes", "sequence"}


class BuildError(ValueError):
    """A model and a codec that do not fit together."""


def parser() -> argparse.ArgumentParser:
    result = config.parser(PROG, __doc__.split("\n")[0])
    result.add_argument("--data", type=Path, required=True, help="data directory, of stage 0")
    result.add_argument("--dump", type=Path, required=True, help="its dump directory, of stage 2")
    return result


@config.command(PROG)
def main(argv: list[str] | None = None) -> int:
    arguments, overrides = config.parse(parser(), argv)
    name, network, model = make_model(arguments.config, overrides)
    lengths = {}
    if TOKEN_FIELDS & set(model.fields):
        check_sizes(network, read_codec_info(arguments.dump))
        lengths = build(model, arguments.data, arguments.dump)
    if not lengths:
        print(f"{PROG}: the model {name} needs no sequences; nothing to do", file=sys.stderr)
        return 0
    write_table(arguments.dump / "utt2seq_len", lengths)
    print(f"{PROG}: {arguments.dump}: {len(lengths)} sequences, {sum(lengths.values())} steps", file=sys.stderr)
    return 0


def make_model(path: Path | None, overrides: list[str]) -> tuple[str, Any, Any]:
    """The name of the model, its configuration and itself, untrained, from the keys `model` and `network` alone."""
    given = config.merge(config.read_yaml(path) if path else {}, config.parse_overrides(overrides))
    if "model" not in given:
        raise BuildError(f"{path or 'command line'}: the key 'model' is missing; give --config conf/<name>.yaml")
    module = config.find_model(str(given["model"]))
    values = given.get("network") or {}
    config.check_keys(module.Config, values, str(path), "network.")
    network = config.build(module.Config, values, str(path))
    return given["model"], network, module.Model(network)


def build(model: Any, data: Path, dump: Path) -> dict[str, int]:
    """Write the sequences of all utterances; their lengths by utterance, {} when the model has none."""
    rows = sequences(model, Dataset(data, dump, ("codes",)))
    first = next(rows, None)
    if first is None:
        return {}
    lengths = {}
    with TokenWriter(dump / "seq") as writer:
        for key, sequence in (first, *rows):
            writer.write(key, sequence)
            lengths[key] = sequence.shape[1]
        names = Vocab(read_codec_info(dump).codebook_size).names()
        atomic.write_text(dump / "token_list.txt", "".join(f"{name}\n" for name in names))
    return lengths


def sequences(model: Any, dataset: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """(utterance, ids [K, S]); stops at once when the model builds none."""
    for index in tqdm(range(len(dataset)), desc=str(dataset.data.path), disable=None, unit="utt"):
        example = dataset[index]
        sequence = model.sequence(example)
        if sequence is None:
            return
        yield example["id"], np.asarray(sequence)


def check_sizes(network: Any, info: CodecInfo) -> None:
    """Raise BuildError when the network has a `codebook_size` or `num_codebooks` that is not the codec's."""
    for name in ("codebook_size", "num_codebooks"):
        wanted, given = getattr(info, name), getattr(network, name, getattr(info, name))
        if given != wanted:
            raise BuildError(f"network.{name} is {given}, the codec {info.name} has {wanted}; set it to {wanted}")


if __name__ == "__main__":
    sys.exit(main())
