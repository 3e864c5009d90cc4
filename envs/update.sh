#!/bin/sh
# Resolve every dependency once (lock.txt), then pin each stage to the same versions.
set -eu
cd "$(dirname "$0")/.."
compile="uv pip compile -q --universal --python-version 3.11 --no-annotate --custom-compile-command 'make lock'"
eval "$compile" --extra all --group dev pyproject.toml -o envs/lock.txt
for stage in preprocess register qsm segment radiomics radiomics-ibsi model report; do
  # mirp needs a newer scipy than antspyx allows: its environment has versions of its own.
  case $stage in radiomics-ibsi) same="" ;; *) same="-c envs/lock.txt" ;; esac
  eval "$compile" --extra $stage $same pyproject.toml -o envs/$stage.txt
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
# The image of the app holds every stage and the workflow, and no tools of development.
eval "$compile" --extra all -c envs/lock.txt pyproject.toml -o envs/app.txt
