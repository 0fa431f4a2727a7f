"""Fit the codebooks of a codec that has them apart (melrvq, units) to the speech of a directory.

    python -m codecsep.bin.train_kmeans --codec melrvq --data data/train_sources --out exp/centres

k-means (residual, level after level, where the codec has several levels) of the codec's latents. Writes
centres.safetensors and kmeans.json (frames, share of the variance that is left after each level); then
`codecsep.bin.get_codec --codec melrvq --centres exp/centres ...` makes the codec's directory.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codecsep import config
from codecsep.bin import codec_export
from codecsep.bin.codec_folder import make, require_data
from codecsep.codecs.base import Codec, CodecError
from codecsep.data import atomic, audio
from codecsep.data.datadir import read_table

if TYPE_CHECKING:
    from torch import Tensor

PROG = "codecsep-train-kmeans"


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.add_argument("--codec", required=True, help="a file of codecs/ with fitted codebooks: melrvq, units")
    parser.add_argument("--weights", help="of its network: a file or directory, or the name of a download")
    parser.add_argument("--sha256", help="which the file of --weights must have")
    parser.add_argument("--data", type=Path, required=True, help="sources directory, such as data/train_sources")
    parser.add_argument("--out", type=Path, required=True, help="where the centres go, such as exp/centres")
    parser.add_argument("--max_frames", type=int, default=500_000, help="frames at most, of recordings drawn at random")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of Lloyd's algorithm at most, for each level")
    parser.add_argument("--seed", type=int, default=0, help="of the draw and of the start")
    parser.add_argument("--device", default="cpu", help="where the latents are computed")
    parser.add_argument("--force", action="store_true", help="fit again even when it is up to date")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    args, overrides = config.parse(make_parser(), argv)
    official = codec_export.Conversion(args, overrides)
    if not codec_export.has_centres(official.module):
        raise CodecError(
            "E358", "has no codebooks that are fitted apart", f"--codec {args.codec}", "see docs/codecs.md"
        )
    if args.max_frames < 1 or args.rounds < 1:
        raise CodecError("E855", "--max_frames and --rounds are at least 1", "command line", "see --help")
    work = official.work(require_data(args.data))
    work.settings["fit"] = {"max_frames": args.max_frames, "rounds": args.rounds, "seed": args.seed}
    stands = make(args.out, work, lambda folder: fit(official, args, folder), args.force)
    left = json.loads((args.out / "kmeans.json").read_text(encoding="utf-8"))["variance_left"]
    print(f"{PROG}: {args.out} {'is up to date' if stands else 'made'}: {len(left)} codebooks, "
          f"{100 * left[-1]:.2f} % of the variance is left", file=sys.stderr)  # fmt: skip
    return 0


def fit(official: codec_export.Conversion, args: argparse.Namespace, folder: Path) -> None:
    """Latents of the recordings, k-means, and the files of the result."""
    import torch
    from safetensors.torch import save_file

    from codecsep.codecs.centres import names
    from codecsep.nn.kmeans import KMeansConfig, residual_kmeans

    levels, size, width = official.module.centres_shape(official.sizes)
    blank = {name: torch.zeros(size, width) for name in names(levels)}
    state = official.module.convert(official.weights, official.sizes) | blank
    codec = official.module.make(official.sizes, state, official.module.describe(official.sizes), official.weights)
    frames = collect(codec.to(args.device).eval(), args)
    if len(frames) < size:
        what = f"its speech has {len(frames)} frames, and a codebook {size} entries"
        raise CodecError("E358", what, args.data, "give more speech, or set --codebook_size")
    centres, left = residual_kmeans(frames, levels, KMeansConfig(size, args.rounds, seed=args.seed))
    save_file(dict(zip(names(levels), centres, strict=True)), folder / codec_export.CENTRES)
    (folder / codec_export.CENTRES).chmod(0o644)
    facts = {"frames": len(frames), "variance_left": [round(share, 6) for share in left]}
    atomic.write_text(folder / "kmeans.json", json.dumps(facts) + "\n")


def collect(codec: Codec, args: argparse.Namespace) -> Tensor:
    """Latents [M, D] of recordings in random order, until there are --max_frames."""
    import torch

    paths = sorted(read_table(args.data / "wav.scp").values())
    random.Random(args.seed).shuffle(paths)
    found, count = [], 0
    for path in paths:
        samples, _ = audio.read_audio(path, codec.info.sample_rate)
        wav = torch.from_numpy(samples)[None].to(args.device)
        latents, _ = codec.latents(wav, torch.tensor([len(samples)], device=args.device))
        found.append(latents[0].cpu())
        count += found[-1].shape[0]
        if count >= args.max_frames:
            break
    return torch.cat(found)[: args.max_frames]


if __name__ == "__main__":
    sys.exit(main())
