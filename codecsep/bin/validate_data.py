"""Check data directories: tables, transcripts, audio headers, and the sum of the sources in some mixtures.

One line per problem on stderr, status 1; one line per good directory on stdout, status 0.
"""

import argparse
import sys
from pathlib import Path

from codecsep.data import check
from codecsep.data.datadir import DataDir, DataDirError


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="validate_data_dir.sh", description=__doc__)
    parser.add_argument("directories", nargs="+", type=Path, metavar="data/<set>")
    parser.add_argument("--sums", type=int, default=5, help="mixtures whose sources are summed (default: 5)")
    parser.add_argument("--tolerance", type=float, help="of the sum, full scale 1 (default: rounding to 16 bits)")
    return parser.parse_args()


def main() -> int:
    options = parse()
    failed = False
    for path in options.directories:
        try:
            directory = DataDir(path)
            found = check.problems(directory, options.sums, options.tolerance)
        except (DataDirError, OSError) as error:
            found = [str(error)]
        failed = failed or bool(found)
        for line in found:
            print(line, file=sys.stderr)
        if not found:
            print(f"{path}: {len(directory.ids)} utterances, {len(directory.speakers()) or 1} speaker(s) each: valid")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
