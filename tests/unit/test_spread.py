"""Work that is spread over processes gives what one process gives, in the same order."""

import os
from dataclasses import asdict
from pathlib import Path

import pytest

from voxelome.bids import spread as spreading
from voxelome.bids.inventory import update_inventory
from voxelome.bids.spread import spread
from voxelome.errors import InputError


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes for whatever there is more than one of."""
    monkeypatch.setattr(spreading, "LEAST", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})


def where(number: int) -> tuple[int, int]:
    return number, os.getpid()


def test_few_items_stay_in_this_process():
    assert spread(where, range(100)) == [(number, os.getpid()) for number in range(100)]


@pytest.mark.usefixtures("several")
def test_results_of_several_processes_come_in_the_order_of_the_items():
    found = spread(where, range(200))
    assert [number for number, _ in found] == list(range(200))
    assert os.getpid() not in {process for _, process in found}


@pytest.mark.usefixtures("several")
def test_what_a_function_knows_need_not_be_copied_to_other_processes():
    known = {number: number**2 for number in range(20)}
    assert spread(lambda number: known[number], range(20)) == list(known.values())


@pytest.mark.usefixtures("several")
def test_the_first_error_in_the_order_of_the_items_is_raised_here():
    def refuse(number: int) -> None:
        if number > 3:
            raise InputError(f"file{number}", "is wrong", "mend it")

    with pytest.raises(InputError, match="file4: is wrong; mend it"):
        spread(refuse, range(9))


def write(path: Path, text: str = "{}") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def contents(folder: Path) -> dict[str, str]:
    """What lies in an inventory, but for the times at which it was written."""
    return {path.name: path.read_text() for path in folder.glob("sub-*.json")}


def test_an_inventory_made_by_several_processes_is_that_of_one(tmp_path, request):
    bids = tmp_path / "bids"
    write(bids / "dataset_description.json", '{"Name": "a", "BIDSVersion": "1.10.0"}')
    write(bids / "task-rest_bold.json")
    for number in range(20):
        stem = bids / f"sub-{number:02d}" / "anat" / f"sub-{number:02d}_T1w"
        write(stem.with_suffix(".json"), f'{{"EchoTime": {number}}}')
        write(stem.with_suffix(".nii.gz"), f"image {number}")
    one, other = tmp_path / "one", tmp_path / "other"
    alone = [update_inventory(bids, one)]
    request.getfixturevalue("several")
    together = [update_inventory(bids, other)]
    assert contents(one) == contents(other)
    (bids / "sub-07" / "anat" / "sub-07_T1w.json").write_text('{"EchoTime": 77}')
    write(bids / "sub-new" / "anat" / "sub-new_T1w.nii.gz", "new")
    together.append(update_inventory(bids, other))
    request.getfixturevalue("monkeypatch").undo()
    alone.append(update_inventory(bids, one))
    assert contents(one) == contents(other)
    assert [asdict(update) for update in alone] == [asdict(update) for update in together]
    assert (together[1].changed, together[1].added) == (["07"], ["new"])
