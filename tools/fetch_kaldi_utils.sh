#!/usr/bin/env bash
# Fetch Kaldi's own utils/, to compare ours with (tests/utils/test_against_kaldi.py). They are inside the source
# archive of the PyPI package espnet. usage: tools/fetch_kaldi_utils.sh DIR; then CODECSEP_KALDI_UTILS=DIR/utils
set -euo pipefail
version=202611
sha256=eb5816c4d2e4a18eaa2afacc2f8cf74f93e5534dec0fdcee0b2c89b6f7ddd1fd
inside=egs2/TEMPLATE/asr1/utils

case ${1:-} in
    -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
    "" | -*) echo "fetch_kaldi_utils.sh: E131 no directory was given (fix: tools/fetch_kaldi_utils.sh DIR)" >&2; exit 1 ;;
esac
mkdir -p -- "$1"
beside=$(mktemp -d "$1/.fetch.XXXXXX")
trap 'rm -rf -- "${beside}"' EXIT
if [[ ! -d $1/utils ]]; then
    echo "espnet==${version} --hash=sha256:${sha256}" > "${beside}/wanted.txt"
    # The hash is checked before anything of the archive is run; its Python is newer than ours, which does not matter here.
    "${python:-python3}" -m pip download -q --no-deps --no-binary :all: --no-build-isolation --ignore-requires-python \
        --require-hashes -r "${beside}/wanted.txt" -d "${beside}"
    tar -xzf "${beside}/espnet-${version}.tar.gz" -C "${beside}" "espnet-${version}/${inside}"
    ln -sf data/split_data.sh "${beside}/espnet-${version}/${inside}/split_data.sh"   # links are lost in the archive
    mv -- "${beside}/espnet-${version}/${inside}" "$1/utils"
fi
echo "$1/utils: $(find "$1/utils" -maxdepth 1 -type f | wc -l) files of Kaldi"
