"""The engine's check of itself; `python -m tests.numerics.test_selfcheck` makes PyRadiomics write it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pywt
import SimpleITK
from radiomics.featureextractor import RadiomicsFeatureExtractor

from voxelome.errors import DataError
from voxelome.radiomics import selfcheck

SETTINGS = selfcheck.SETTINGS["pyradiomics"]
STORED = Path(selfcheck.__file__).with_name("selfcheck_pyradiomics.json")


def by_pyradiomics():
    """Every feature of the phantom, by PyRadiomics' own extractor."""
    image, region, affine = selfcheck.phantom()
    pair = [SimpleITK.GetImageFromArray(item.transpose()) for item in (image, region.astype(np.uint8))]
    for item in pair:
        item.SetSpacing(np.diag(affine)[:3].tolist())
    extractor = RadiomicsFeatureExtractor(
        {
            "setting": {"binWidth": SETTINGS.bin_width},
            "imageType": {name: dict(own) for name, own in SETTINGS.image_types.items()},
            "featureClass": dict.fromkeys((*SETTINGS.shapes, *SETTINGS.classes)),
        }
    )
    found = extractor.execute(*pair)
    return {name: float(value) for name, value in found.items() if not name.startswith("diagnostics")}


@pytest.fixture(autouse=True)
def afresh():
    selfcheck.check_engine.cache_clear()
    yield
    selfcheck.check_engine.cache_clear()


def test_the_stored_values_are_those_of_pyradiomics():
    stored = json.loads(STORED.read_text())
    peer = by_pyradiomics()
    assert stored.keys() == peer.keys()
    assert len(stored) > 900
    assert np.allclose(list(stored.values()), list(peer.values()), rtol=1e-9, atol=1e-12)


def test_a_good_build_passes_on_every_feature():
    assert selfcheck.check_engine() == len(json.loads(STORED.read_text()))


def test_a_wavelet_that_is_off_by_a_voxel_stops_the_run(monkeypatch):
    right = pywt.swtn

    def shifted(*args, **settings):
        return [
            {band: np.roll(part, 1) for band, part in level.items()} for level in right(*args, **settings)
        ]

    monkeypatch.setattr(pywt, "swtn", shifted)
    with pytest.raises(DataError, match=r"gets \d+ of \d+ features of its test image wrong \(wavelet"):
        selfcheck.check_engine()


def test_a_feature_that_a_build_lacks_stops_the_run(monkeypatch):
    values = selfcheck.computed()
    monkeypatch.setattr(selfcheck, "computed", lambda engine: {**values, "original_glcm_Idn": None})
    with pytest.raises(DataError, match=r"1 of .*original_glcm_Idn is None"):
        selfcheck.check_engine()


def test_the_check_takes_a_fraction_of_a_second():
    code = (
        "import voxelome.radiomics.selfcheck as s, time; begin = time.process_time();"
        " s.check_engine(); print(time.process_time() - begin)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 2


if __name__ == "__main__":
    lines = ",\n".join(f' "{name}": {value:.12g}' for name, value in by_pyradiomics().items())
    STORED.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
