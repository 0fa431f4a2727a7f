"""Put a codec into a recipe's directory: `python -m codecsep.bin.get_codec --out exp/codec`.

Without `--from` the committed weights of the mini codec are copied; `--from exp/codec_train` exports a training as
float16 safetensors, config.yaml and codec.json with the weights' SHA-256 and the measured delay.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from codecsep import config
from codecsep.codecs.base import CodecError, check_fingerprint, load
from codecsep.data import atomic, audio
from codecsep.data.ark import CodecInfo, read_codec_info, write_codec_info
from codecsep.data.datadir import read_table
from codecsep.data.digest import file_sha256

PROG = "codecsep-get-codec"
COMMITTED = Path(__file__).resolve().parents[2] / "egs" / "prompts2mix" / "codec" / "weights"
NUM_DELAY_SIGNALS = 32
WAVEFORM_KEPT = 0.5  # mean correlation of resynthesis and input above which a delay is believed


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.add_argument("--out", type=Path, required=True, help="where the codec goes, such as exp/codec")
    parser.add_argument("--from", dest="source", type=Path, default=COMMITTED, help="a codec directory or a training")
    parser.add_argument("--data", type=Path, help="sources directory on whose speech the delay is measured (training)")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args, overrides = config.parse(make_parser(), argv)
    if overrides:
        raise CodecError(f"unknown options: {' '.join(overrides)}; see --help")
    if (args.source / "codec.json").is_file():
        copy(args.source, args.out)
    elif (args.source / "best.safetensors").is_file():
        export(args.source, args.out, args.data)
    else:
        raise CodecError(f"{args.source} holds neither codec.json nor best.safetensors; run the codec's stage 1")
    info = read_codec_info(args.out)
    print(f"{PROG}: {args.out}: {info.name}, {info.num_codebooks} x {info.codebook_size} at {info.frame_rate:g} Hz, "
          f"delay {info.delay_samples} samples, SHA-256 {info.fingerprint[:12]}...", file=sys.stderr)  # fmt: skip
    return 0


def copy(source: Path, out: Path) -> None:
    """Copy a codec directory after checking its weights; nothing is done when `out` already holds the same codec."""
    info = read_codec_info(source)
    check_fingerprint(source / f"{info.name}.safetensors", info.fingerprint)
    if is_same(info, out):
        return
    with atomic.replacing_dir(out) as beside:
        for name in (f"{info.name}.safetensors", "config.yaml", "codec.json"):
            shutil.copyfile(source / name, beside / name)


def is_same(info: CodecInfo, out: Path) -> bool:
    """Does `out` hold this codec, weights included?"""
    weights = out / f"{info.name}.safetensors"
    if not (out / "codec.json").is_file() or not weights.is_file() or read_codec_info(out) != info:
        return False
    return file_sha256(weights) == info.fingerprint


def export(experiment: Path, out: Path, data: Path | None) -> None:
    """Turn the training of a mini codec into a codec directory.

    Raises CodecError when --data is missing: the delay must be measured on real speech before it is stored.
    """
    from safetensors.torch import save_file

    from codecsep.codecs import mini
    from codecsep.train.checkpoint import load_network

    if data is None:
        raise CodecError("exporting a training needs --data data/dev_sources: the codec's delay is measured on it")
    network = load_network(experiment)[1].codec
    dropped = mini.training_state(network)
    state = {name: value.half().contiguous() for name, value in network.state_dict().items() if name not in dropped}
    sizes = network.config
    with atomic.replacing_dir(out) as beside:
        save_file(state, beside / "mini.safetensors")
        atomic.write_text(beside / "config.yaml", config.dump(sizes))
        info = CodecInfo(
            name="mini",
            fingerprint=file_sha256(beside / "mini.safetensors"),
            sample_rate=sizes.sample_rate,
            frame_rate=sizes.sample_rate / sizes.hop,
            hop=sizes.hop,
            num_codebooks=sizes.quantizer.num_codebooks,
            codebook_size=sizes.quantizer.codebook_size,
        )
        write_codec_info(beside, info)
        delay = measure_delay(beside, data)
        (beside / "mini.safetensors").chmod(0o644)
        write_codec_info(beside, CodecInfo(**{**vars(info), "delay_samples": delay}))


def measure_delay(directory: Path, data: Path) -> int:
    """Samples by which the resynthesis lags its input (negative: leads); 0 when the waveform is not kept at all."""
    import torch

    from codecsep.signal.delay import constant_delay

    codec, pairs = load(directory), []
    for path in list(read_table(data / "wav.scp").values())[:NUM_DELAY_SIGNALS]:
        samples, _ = audio.read_audio(path, codec.info.sample_rate)
        codes, frame_lengths = codec.encode(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
        pairs.append((codec.decode(codes, frame_lengths)[0, : len(samples)].numpy(), samples))
    delay, correlation = constant_delay(pairs)
    if correlation >= WAVEFORM_KEPT:
        return delay
    print(
        f"{PROG}: the codec does not keep the waveform (mean correlation {correlation:.2f}): "
        "there is no constant delay, and SI-SDR of its output means nothing",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
