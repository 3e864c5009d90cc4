#!/bin/sh
# Resolve every dependency once (lock.txt), then pin each stage to the same versions.
set -eu
cd "$(dirname "$0")/.."
compile="uv pip compile -q --universal --python-version 3.11 --no-annotate --custom-compile-command 'make lock'"
eval "$compile" --all-extras --group dev pyproject.toml -o envs/lock.txt
for stage in preprocess register qsm segment radiomics model report; do
  eval "$compile" --extra $stage -c envs/lock.txt pyproject.toml -o envs/$stage.txt
  {
    echo "# Made by envs/update.sh from $stage.txt."
    echo "channels: [conda-forge, nodefaults]"
    echo "dependencies:"
    echo "  - python =3.11"
    echo "  - pip"
    echo "  - pip:"
    grep -v '^ *#' envs/$stage.txt | sed "s/'/\"/g; s/.*/      - '&'/"
  } > envs/$stage.yaml
done
