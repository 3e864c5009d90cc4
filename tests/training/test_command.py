"""`voxelome-tools train`: what it writes can be fetched and run, and what cannot be trained is said."""

import re
import sys

import numpy as np
import pytest
import yaml

from voxelome.app.models import registry
from voxelome.app.train_plans import plan_labelled, plan_synthetic
from voxelome.errors import InputError
from voxelome.imageio import load_volume, save_volume
from voxelome.segmentation.cards import load_card
from voxelome.segmentation.engine import open_members
from voxelome.segmentation.infer import segment
from voxelome.segmentation.spec import parse_spec
from voxelome.tools import build_parser, main
from voxelome.training import cases
from voxelome.training.anatomy import Anatomy
from voxelome.training.label_maps import load_anatomy

from .toys import save_label_map, save_run

torch = pytest.importorskip("torch", reason="training needs torch, which is in an environment of its own")
pytest.importorskip("monai", reason="training needs MONAI, which is in an environment of its own")
QUICK = ["--device", "cpu", "--spacing", "3", "--patch", "16"]


def fetched(name, out, models_dir):
    """Specification and network of a model that the tools fetched from what the training wrote."""
    arguments = ["models", "fetch", name, "--registry", f"{out}/entry.yaml", "--models-dir", str(models_dir)]
    assert main(arguments) == 0
    card = load_card(models_dir, name)
    spec = parse_spec(card)
    return spec, open_members(models_dir / name, spec, card["sha256"])


@pytest.fixture(autouse=True)
def few_new_cases(monkeypatch):
    monkeypatch.setattr("voxelome.app.train_plans.CASES", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("run") / "out", people=6)


@pytest.fixture(scope="module")
def spotter(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "spotter"
    arguments = ["train", "spotter", "--out", str(out), "--derivatives", str(run), "--labels", "spot"]
    arguments += [*QUICK, "--steps", "60"]
    assert main(arguments) == 0
    return out, arguments


def left_out(out):
    return re.search("left out to test on: (.*)", (out / "README.md").read_text()).group(1)


def test_a_network_of_a_dataset_finds_the_lesion_of_a_person_whom_it_has_not_seen(run, spotter, tmp_path):
    out, _ = spotter
    spec, members = fetched("spotter", out, tmp_path)
    assert [item.label for item in spec.inputs] == ["FLAIR", "T1w"]
    assert spec.labels == {1: "spot"}
    person = left_out(out)
    anat = run / f"sub-{person}" / "anat"
    images = [load_volume(next(anat.glob(f"*desc-preproc_{kind}.nii.gz"))) for kind in ("FLAIR", "T1w")]
    brain = load_volume(next(anat.glob("*brain_mask.nii.gz"))).data > 0
    truth = load_volume(next(anat.glob("*dseg.nii.gz"))).data > 0
    found = segment([image.data for image in images], images[0].affine, brain, spec, members).labels > 0
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.5
    # The card reports that very figure.
    assert f"| sub-{person} | {round(dice, 3)} |" in (out / "README.md").read_text()


def test_the_card_says_how_it_was_made_and_what_it_is_not_for(spotter):
    card = (spotter[0] / "README.md").read_text()
    for text in ("steps: 60", "seed: 0", "device: cpu", "seconds:", "5 visit(s) of 5 participant(s)"):
        assert text in card
    assert f"torch: {torch.__version__}" in card
    assert "It must not be used for diagnosis" in card
    entry = registry(spotter[0] / "entry.yaml")["spotter"]
    # Not of the sixth, on whom it was tested.
    assert entry["trained_on"].startswith("images of 5 visit(s) of 5 participant(s)")
    assert entry["files"][0]["size"] == (spotter[0] / "model.onnx").stat().st_size


def test_a_training_that_is_stopped_goes_on_from_what_is_kept(spotter, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("voxelome.training.fit.train", stop)
    assert main(spotter[1]) == 130
    assert "the same command goes on from the last state" in capsys.readouterr().out


def test_the_same_command_goes_on_and_another_one_is_refused(spotter, capsys):
    out, arguments = spotter
    before = (out / "entry.yaml").read_text()
    assert main(arguments) == 0
    assert "going on from the last state" in capsys.readouterr().out
    assert (out / "entry.yaml").read_text() == before
    assert main([*arguments[:-1], "61"]) == 3
    assert "holds a training with another steps" in capsys.readouterr().err
    (out / "training" / "request.json").unlink()
    assert main(arguments) == 3
    assert "holds a model.onnx that is not of this training" in capsys.readouterr().err


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    head = save_label_map(folder)
    arguments = ["train", "flairer", "--synthetic", "--label-maps", str(head), "--device", "cpu"]
    arguments += ["--steps", "3", "--spacing", "2", "--patch", "16"]
    return folder, arguments


def test_two_trainings_on_synthetic_images_come_to_the_same_bytes(synthetic):
    folder, arguments = synthetic
    for name in ("one", "two"):
        assert main([*arguments, "--out", str(folder / name)]) == 0
    files = [yaml.safe_load((folder / name / "entry.yaml").read_text()) for name in ("one", "two")]
    assert files[0] == files[1]
    assert files[0]["flairer"]["files"][0]["sha256"]


def test_a_network_of_synthetic_images_can_be_fetched_and_run_with_one_contrast(synthetic, tmp_path):
    folder, arguments = synthetic
    main([*arguments, "--out", str(folder / "one")])
    spec, members = fetched("flairer", folder / "one", tmp_path)
    assert spec.lesions
    assert spec.grid.spacing == (2.0, 2.0, 2.0)
    rng = np.random.default_rng(0)
    image, brain = rng.normal(100, 10, (24, 24, 24)), np.ones((24, 24, 24), bool)
    found = segment([image, None, None, None], np.diag([2.0, 2, 2, 1]), brain, spec, members)
    assert found.labels.shape == (24, 24, 24)
    card = (folder / "one" / "README.md").read_text()
    assert "| FLAIR, T1w, T1w enhanced, T2w |" in card
    assert "head_dseg.nii.gz" in card


def test_an_entry_says_inputs_and_terms_and_is_refused_where_images_cannot_be_so(synthetic, capsys):
    folder, arguments = synthetic
    own = {"inputs": [{"contrast": "FLAIR", "clip": [-6, 10]}], "licence": "CC0-1.0", "title": "Mine"}
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"flairer": own}))
    out = folder / "own"
    assert main([*arguments, "--out", str(out), "--entry", str(path)]) == 0
    entry = registry(out / "entry.yaml")["flairer"]
    assert (entry["licence"], entry["title"], len(entry["inputs"])) == ("CC0-1.0", "Mine", 1)
    assert entry["outputs"]["labels"] == {"1": "lesion"}
    capsys.readouterr()
    for change, says in (
        ({"inputs": [{"contrast": "PDw"}]}, "cannot train other contrasts"),
        ({"inputs": [{"contrast": "T1w", "region": "image"}]}, "not scaled by zscore or percentile"),
        ({"grid": {"kind": "conform"}}, "a grid of the kind conform"),
        ({"grid": {"overlapp": 1}}, "did you mean overlap"),
    ):
        path.write_text(yaml.safe_dump({"flairer": {**own, **change}}))
        assert main([*arguments, "--out", str(folder / "none"), "--entry", str(path)]) == 3
        assert says in capsys.readouterr().err
    assert not (folder / "none").exists()


def test_a_demonstration_needs_no_monai_and_can_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "monai", None)
    few = cases.age_bank(8, 0)
    monkeypatch.setattr(cases, "age_bank", lambda count, *more: few)
    out = tmp_path / "age"
    arguments = ["train", "toyage", "--demo", "age", "--steps", "2", "--device", "cpu", "--out", str(out)]
    assert main(arguments) == 0
    spec, _ = fetched("toyage", out, tmp_path / "models")
    assert (spec.task, spec.outcome, spec.unit) == ("regression", "age", "years")
    card = (out / "README.md").read_text()
    assert "mae of the mean" in card
    assert f"torch: {torch.__version__}" in card
    assert "monai" not in card


def test_without_a_package_that_a_training_takes_it_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "monai", None)
    assert main(["train", "net", "--out", str(tmp_path / "out"), "--synthetic"]) == 3
    assert "needs the package monai" in capsys.readouterr().err


@pytest.mark.parametrize("what", [["--demo", "age"], ["--synthetic", *QUICK, "--label-maps", "head"]])
def test_a_training_that_is_stopped_before_anything_is_kept_does_not_say_that_it_goes_on(
    tmp_path, monkeypatch, capsys, what
):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cases, "train_age", stop)
    monkeypatch.setattr("voxelome.training.fit.train", stop)
    head = str(save_label_map(tmp_path))
    what = [head if word == "head" else word for word in what]
    assert main(["train", "net", "--out", str(tmp_path / "out"), *what]) == 130
    assert "begins anew" in capsys.readouterr().out


def test_a_state_to_begin_with_that_is_not_there_is_refused(run, tmp_path, capsys):
    arguments = ["train", "spotter", "--out", str(tmp_path / "out"), "--derivatives", str(run)]
    assert main([*arguments, "--labels", "spot", "--initial", str(tmp_path / "state.pt")]) == 3
    assert "state.pt: there is no such state; check the name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def mirrored(folder, name, grid, arguments):
    """How often boxes are mirrored in training, and the axes of mirrored passes of the entry."""
    path = folder / "sides.yaml"
    path.write_text(yaml.safe_dump({"net": {"grid": grid}}))
    run = save_run(folder / "run", people=2, names={1: name})
    options = build_parser().parse_args(
        ["train", "net", "--out", str(folder), "--derivatives", str(run), "--entry", str(path), *arguments]
    )
    plan = plan_labelled(options, 16, lambda _: folder, lambda _: None)
    return plan.mirror, plan.entry["grid"]["mirror"]


@pytest.mark.parametrize(
    ("name", "grid", "chances", "passes"),
    [
        ("lesion", {}, (0.5, 0.15, 0.15), [0]),
        ("bright lesion", {"orientation": "SAR"}, (0.15, 0.15, 0.5), [2]),
        ("lesion", {"mirror": []}, (0.0, 0.15, 0.15), []),
        ("lesion", {"orientation": "SAR", "mirror": [0]}, (0.15, 0.15, 0.0), [0]),
        ("ctx-lh-cuneus", {}, (0.0, 0.15, 0.15), []),
        ("L_Hippocampus", {"orientation": "SAR"}, (0.15, 0.15, 0.0), []),
    ],
)
def test_left_and_right_are_mirrored_where_labels_have_no_side(tmp_path, name, grid, chances, passes):
    given = mirrored(tmp_path, name, grid, ["--labels", "spot", "--spacing", "3"])
    assert given == (chances, passes)


def test_passes_that_would_mix_the_sides_of_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match="its label Hippocampus-R has a side; leave that axis out"):
        mirrored(tmp_path, "Hippocampus-R", {"mirror": [0]}, ["--labels", "spot"])


def test_label_maps_of_one_file_name_are_not_taken_for_one_another(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    one = save_label_map(folders[0])
    two = save_label_map(folders[1])
    volume = load_volume(two, dtype=None)
    save_volume(two, volume.data[::-1], volume.affine)
    asked = []
    for paths in ([one, two], [two, one]):
        options = ["train", "net", "--out", "x", "--synthetic", "--label-maps", *map(str, paths)]

        def claimed(request):
            asked.append(request)
            return tmp_path

        plan = plan_synthetic(build_parser().parse_args(options), 16, claimed, lambda _: None)
        for kept, path in zip(plan.source.anatomies, paths, strict=True):
            # Distances are kept to mm/2; the thalamus of the one lies where the other has none.
            assert np.abs(Anatomy.load(kept).maps - load_anatomy(path).maps).max() < 0.3
    assert len(asked[0]["label_maps"]) == 2
    assert asked[0] != asked[1]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--labels", "sopt"], "no visit has labels named 'sopt'; did you mean spot?"),
        (["--labels", "spot", "--patch", "20"], "take a multiple of 16"),
        (["--labels", "spot", "--spacing", "-1"], "--spacing is -1"),
        (["--labels", "spot", "--entry", "none.yaml"], "cannot be read"),
        (["--labels", "spot", "--label-maps", "x.nii.gz"], "--label-maps goes with --synthetic"),
        ([], "--labels and --derivatives go together"),
    ],
)
def test_misuse_is_one_line_and_code_3(run, tmp_path, capsys, more, says):
    arguments = ["train", "spotter", "--out", str(tmp_path / "out"), "--derivatives", str(run), *more]
    assert main(arguments) == 3
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
    assert not (tmp_path / "out").exists()


def test_one_participant_cannot_be_trained_on(tmp_path, capsys):
    run = save_run(tmp_path / "run", people=1)
    out = str(tmp_path / "out")
    assert main(["train", "toy", "--out", out, "--derivatives", str(run), "--labels", "spot"]) == 3
    assert "give at least two participants" in capsys.readouterr().err
