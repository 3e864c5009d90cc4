"""What was planted in the cohort is found again, already on 4 mm voxels."""

from voxelome.app.recovery import (
    Cohort,
    recover_brain,
    recover_lesion,
    recover_registration,
    recover_relaxation,
)


def rows(finished, make):
    return list(make(Cohort(finished.bids, finished.out, finished.work)))


def test_the_brain_mask_overlaps_the_true_brain(finished):
    assert all(row.reached for row in rows(finished, recover_brain)), rows(finished, recover_brain)


def test_every_image_is_aligned_to_a_millimetre(finished):
    found = rows(finished, recover_registration)
    assert {row.quantity for row in found} == {
        f"{n} (mm)" for n in ("ce-gadolinium_T1w", "T2w", "FLAIR", "MEGRE")
    }
    assert all(row.reached for row in found), found


def test_the_lesion_is_carried_to_where_it_is(finished):
    assert all(row.reached for row in rows(finished, recover_lesion)), rows(finished, recover_lesion)


def test_the_decay_rate_of_the_deep_nuclei_is_found(finished):
    assert all(row.reached for row in rows(finished, recover_relaxation)), rows(finished, recover_relaxation)
