"""What `voxelome-tools train` says before it needs torch."""

from importlib.util import find_spec

import pytest

from voxelome.tools import main


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("my-net", ["--synthetic"], "'my-net' cannot name a model"),
        ("net", ["--synthetic", "--labels", "x"], "--labels and --derivatives go together"),
        ("net", ["--demo", "age", "--patch", "64"], "--patch does not go with --demo"),
        ("net", ["--demo", "age", "--initial", "state.pt"], "--initial does not go with --demo"),
        ("net", ["--synthetic", "--seed", "-1"], "--seed or --workers is below 0"),
        ("net", ["--synthetic", "--minutes", "0"], "--minutes is 0"),
    ],
)
def test_options_that_contradict_each_other_are_one_line_and_code_3(tmp_path, capsys, name, more, says):
    assert main(["train", name, "--out", str(tmp_path / "out"), *more]) == 3
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed here")
def test_without_torch_the_command_that_brings_it_is_said(tmp_path, capsys):
    assert main(["train", "net", "--out", str(tmp_path / "out"), "--synthetic"]) == 3
    assert 'run: pip install "voxelome[train]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_source_of_images_must_be_chosen(tmp_path, capsys):
    for more in ([], ["--synthetic", "--demo", "age"]):
        with pytest.raises(SystemExit) as ended:
            main(["train", "net", "--out", str(tmp_path), *more])
        assert ended.value.code == 2
    capsys.readouterr()
