"""Stage 2: audio of a data directory -> codes, or latents, in `dump/<set>`.

    python -m codecsep.bin.tokenise --codec exp/codec --data data/train --out dump/train --job 1/4

Every spk<j>.scp becomes spk<j>_codes.{ark,scp}; in a directory of single sources wav.scp becomes codes.{ark,scp}. Also
written: codec.json, utt2num_frames, skipped.tsv, and last of all manifest.json and .done. With several jobs (--job i/n,
each with as much audio as the others) each writes <name>.<i>.{ark,scp}; the one that finishes last joins the scp files.

With --content latents the mixture too is encoded, into mixture_latents.{ark,scp} beside spk<j>_latents, each signal
divided by its peak and each source as long as its mixture: what a separator inside the codec reads (`audio_latents`).

A part that is there, whole, and made from the same audio by the same codec is not made again; one that is damaged is
made again alone. A data directory without manifest.json is the user's own and taken as it is.
"""

import argparse
import os
import sys
from pathlib import Path

from codecsep import config
from codecsep.bin.shards import Shard, audio_stamps, deal, job_of, join
from codecsep.data import manifest
from codecsep.data.ark import read_codec_info
from codecsep.data.datadir import DataDir
from codecsep.data.skipped import allowed_share
from codecsep.errors import CodecsepError
from codecsep.faults import faultpoint

PROG = "tokenise"
FORCED = "--force was given"
CONTENTS = ("codes", "latents")


class CallError(CodecsepError):
    """A call that cannot be followed."""


def parser() -> argparse.ArgumentParser:
    result = config.parser(PROG, __doc__.split("\n")[0])
    result.add_argument("--codec", type=Path, required=True, help="codec directory, of stage 1")
    result.add_argument("--data", type=Path, required=True, help="data directory, of stage 0")
    result.add_argument("--out", type=Path, required=True, help="where the codes go: dump/<set>")
    result.add_argument("--content", choices=CONTENTS, default="codes", help="codes: what the quantiser makes of each "
                        "source; latents: what it is given, float32, of mixtures and sources")  # fmt: skip
    result.add_argument("--job", default="1/1", help="which part: <i>/<n>, i from 1")
    result.add_argument("--batch_seconds", type=float, default=60.0, help="audio in a batch after padding, s")
    result.add_argument("--long_seconds", type=float, default=60.0, help="longer files are read and encoded piece by "
                        "piece, in bounded memory, s")  # fmt: skip
    result.add_argument("--max_skipped", type=float, help="share of utterances that may be unusable "
                        "(default: 0 for sets named test..., eval..., tt; 0.01 for others)")  # fmt: skip
    result.add_argument("--device", default="cpu", help="cpu, cuda or cuda:<i>")
    result.add_argument("--force", action="store_true", help="make this part again even when it is up to date")
    return result


@config.command(PROG)
def main(argv: list[str] | None = None) -> int:
    arguments, rest = config.parse(parser(), argv)
    if rest or arguments.config:
        raise CallError("E855", f"not understood: {' '.join(rest) or '--config'}", "command line", "see --help")
    job, num_jobs = job_of(arguments.job)
    data, info = DataDir(arguments.data), read_codec_info(arguments.codec)
    names = output_names(data, arguments.content)
    require_own(arguments.out, arguments.content)
    work = work_of(data, arguments.codec, list(names), arguments.content)
    shard = Shard(arguments.out, list(names.values()), job, num_jobs, work)
    pending = FORCED if arguments.force else shard.pending()
    if pending is None:
        print(f"{PROG}: {arguments.out} is up to date: same codec, same audio", file=sys.stderr)
        return 0
    if manifest.manifest_file(arguments.out).exists():
        print(f"{PROG}: {arguments.out} is made again: {pending}", file=sys.stderr)
    with shard.locked():
        if arguments.force or not shard.stands(job):
            encode(shard, data, names, arguments)
    faultpoint("tokenise.before_join")
    allowed = allowed_share(arguments.data) if arguments.max_skipped is None else arguments.max_skipped
    summary = join(shard, info, len(data.ids), allowed)
    print(f"{PROG}: {shard.out}: {summary or 'this part is done, others are not yet'}", file=sys.stderr)
    return 0


def output_names(data: DataDir, content: str = "codes") -> dict[str, str]:
    """Table to read -> name of the ark to write."""
    names = {f"{speaker}.scp": f"{speaker}_{content}" for speaker in data.speakers()}
    if names and content == "latents":
        names = {"wav.scp": "mixture_latents"} | names
    return names or {"wav.scp": content}


def require_own(out: Path, content: str) -> None:
    """Raise CallError when a directory holds the other kind: one list of frames and one manifest cannot be of both."""
    for other in CONTENTS:
        if other != content and (found := sorted(out.glob(f"*{other}.*scp"))):
            what = f"holds {other} ({found[0].name}), and {content} are to be made"
            raise CallError("E136", what, out, "give another --out, or remove it")


def work_of(data: DataDir, codec: Path, tables: list[str], content: str = "codes") -> manifest.Work:
    """What the codes depend on: the codec and the audio. Raises StageError when stage 0 or 1 is not done or damaged.

    Of a directory that stage 0 made, the manifest knows the content of every file; of a brought one sizes and times of
    change are noted.
    """
    manifest.require_unless_brought(codec, "1")
    is_made = manifest.require_unless_brought(data.path, "0")
    lists = [data.path / name for name in sorted({"wav.scp", "utt2num_samples", *tables})]
    files = [codec / "codec.json", *lists, *([manifest.manifest_file(data.path)] if is_made else [])]
    values = {} if is_made else {"audio": audio_stamps(data, tables)}
    if content != "codes":
        values["content"] = content
    return manifest.Work("2", files, values)


def encode(shard: Shard, data: DataDir, names: dict[str, str], arguments: argparse.Namespace) -> None:
    """Make the arks of one part."""
    import torch

    from codecsep.bin.audio_codes import Tokeniser  # torch: what is up to date is told without it
    from codecsep.bin.audio_latents import LatentTokeniser

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    num_samples = data.integers("utt2num_samples")
    shares = deal({key: num_samples.get(key, 0) for key in data.ids}, shard.num_jobs)
    make = LatentTokeniser if arguments.content == "latents" else Tokeniser
    make(data, names, arguments).run(shard, shares[shard.job - 1])


if __name__ == "__main__":
    sys.exit(main())
