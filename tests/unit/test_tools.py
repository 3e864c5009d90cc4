"""The tools answer bad input in one line, as the app does."""

import pytest

from voxelome.tools import main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "{folder}", "--participants", "0"], "participants=0"),
        (["models", "fetch", "deepbett"], "no such model; did you mean deepbet?"),
        (["models", "verify", "nothing"], "no such model"),
        (["models", "verify", "deepbet", "--models-dir", "{folder}"], "models fetch deepbet --models-dir"),
        (["models", "list", "--registry", "{folder}/none.yaml"], "cannot be read"),
        (["models", "show"], "needs a name"),
        (["check", "{folder}/nowhere"], "no such folder"),
        (["inventory", "{folder}", "{folder}/work"], "no dataset_description.json"),
    ],
)
def test_bad_input_is_one_line_and_code_3(arguments, says, tmp_path, capsys):
    assert main([argument.format(folder=tmp_path) for argument in arguments]) == 3
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("voxelome-tools: error: ")
    assert says in line
