"""Put a codec into a recipe's directory: `python -m codecsep.bin.get_codec --out exp/codec`.

Without `--from` the committed weights of the mini codec are copied; `--from exp/codec_train` exports a training as
float16 safetensors, config.yaml and codec.json with the weights' SHA-256 and the measured delay. The directory appears
whole, manifest.json and .done with it; what is there and made from the same weights is not made again (unless --force).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from codecsep import config
from codecsep.codecs.base import CodecError, check_fingerprint, load
from codecsep.data import atomic, manifest
from codecsep.data.ark import CodecInfo, read_codec_info, write_codec_info
from codecsep.data.datadir import read_table
from codecsep.data.digest import file_sha256
from codecsep.data.lock import locked
from codecsep.faults import faultpoint

PROG = "codecsep-get-codec"
COMMITTED = Path(__file__).resolve().parents[2] / "egs" / "prompts2mix" / "codec" / "weights"
NUM_DELAY_SIGNALS = 32
WAVEFORM_KEPT = 0.5  # mean correlation of resynthesis and input above which a delay is believed


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.add_argument("--out", type=Path, required=True, help="where the codec goes, such as exp/codec")
    parser.add_argument("--from", dest="source", type=Path, default=COMMITTED, help="a codec directory or a training")
    parser.add_argument("--data", type=Path, help="sources directory on whose speech the delay is measured (training)")
    parser.add_argument("--force", action="store_true", help="make it again even when it is up to date")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args, overrides = config.parse(make_parser(), argv)
    if overrides:
        raise CodecError("E855", f"not understood: {' '.join(overrides)}", "command line", "see --help")
    if (args.source / "codec.json").is_file():
        work, fill = work_of_copy(args.source), lambda folder: copy(args.source, folder)
    elif (args.source / "best.safetensors").is_file():
        work, fill = work_of_export(args.source, args.data), lambda folder: export(args.source, args.data, folder)
    else:
        what = "holds neither codec.json nor best.safetensors"
        raise CodecError("E350", what, args.source, "run the codec's stage 1")
    state = "is up to date" if make(args.out, work, fill, args.force) else "made"
    info = read_codec_info(args.out)
    print(f"{PROG}: {args.out} {state}: {info.name}, {info.num_codebooks} x {info.codebook_size} at "
          f"{info.frame_rate:g} Hz, delay {info.delay_samples} samples, SHA-256 {info.fingerprint[:12]}...",
          file=sys.stderr)  # fmt: skip
    return 0


def make(out: Path, work: manifest.Work, fill: Callable[[Path], None], forced: bool) -> bool:
    """Let `fill` write the files of a codec into a new directory that takes the place of `out`; True: it stands."""
    if not forced and manifest.current(out, work) is None:
        return True
    with locked(out.parent, f".{out.name}.lock"), atomic.replacing_dir(out) as beside:
        fill(beside)
        manifest.finish(beside, work, sorted(beside.iterdir()), manifest.Counts(1, 1))
    return False


def work_of_copy(source: Path) -> manifest.Work:
    """A copy depends on what is copied, wherever that lies. Raises CodecError when a file is missing or changed."""
    info = read_codec_info(source)
    names = files_of(info)
    check_fingerprint(source / names[0], info.fingerprint)
    for name in names[1:]:
        if not (source / name).is_file():
            raise CodecError("E350", "missing", source / name, "run the codec's stage 1")
    return manifest.Work("1", values={name: file_sha256(source / name) for name in names})


def copy(source: Path, folder: Path) -> None:
    """Copy the files of a codec directory, codec.json last."""
    *others, description = files_of(read_codec_info(source))
    for name in others:
        shutil.copyfile(source / name, folder / name)
    faultpoint("codec.mid")
    shutil.copyfile(source / description, folder / description)


def files_of(info: CodecInfo) -> list[str]:
    """The files of a codec directory, the weights first."""
    return [f"{info.name}.safetensors", "config.yaml", "codec.json"]


def work_of_export(experiment: Path, data: Path | None) -> manifest.Work:
    """An export depends on the trained weights and on the recordings on which the delay is measured.

    Raises CodecError when --data is missing: the delay must be measured on real speech before it is stored.
    """
    if data is None:
        what = "the codec's delay is measured on recordings"
        raise CodecError("E356", what, "--data", "give --data data/dev_sources")
    made = manifest.require_unless_brought(data, "0")
    lists = [manifest.manifest_file(data)] if made else [data / "wav.scp"]
    return manifest.Work("1", [experiment / "best.safetensors", experiment / "config.yaml", *lists])


def export(experiment: Path, data: Path, folder: Path) -> None:
    """Turn the training of a mini codec into the files of a codec directory."""
    from safetensors.torch import save_file

    from codecsep.codecs import mini
    from codecsep.train.checkpoint import load_network

    network = load_network(experiment)[1].codec
    dropped = mini.training_state(network)
    state = {name: value.half().contiguous() for name, value in network.state_dict().items() if name not in dropped}
    sizes = network.config
    save_file(state, folder / "mini.safetensors")
    (folder / "mini.safetensors").chmod(0o644)
    atomic.write_text(folder / "config.yaml", config.dump(sizes))
    info = CodecInfo(
        name="mini",
        fingerprint=file_sha256(folder / "mini.safetensors"),
        sample_rate=sizes.sample_rate,
        frame_rate=sizes.sample_rate / sizes.hop,
        hop=sizes.hop,
        num_codebooks=sizes.quantizer.num_codebooks,
        codebook_size=sizes.quantizer.codebook_size,
    )
    write_codec_info(folder, info)
    faultpoint("codec.mid")
    write_codec_info(folder, replace(info, delay_samples=measure_delay(folder, data)))


def measure_delay(directory: Path, data: Path) -> int:
    """Samples by which the resynthesis lags its input (negative: leads); 0 when the waveform is not kept at all."""
    import torch

    from codecsep.data import audio
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
