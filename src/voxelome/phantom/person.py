"""Who the simulated participants are: latent biology, what the scanner did, and the planted outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxelome.imageio import Affine
from voxelome.phantom.anatomy import NUCLEI
from voxelome.phantom.deform import Warp, random_motion, random_warp, rigid_matrix

# Half of every 8 participants carry the mutation; with two sites, 5 of 8 at one and 3 of 8 at the other.
_MUTATION = (1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0)
MOVED = ("ce-gadolinium_T1w", "T2w", "FLAIR", "MEGRE")
HEAD_CENTRE = (0.0, -18.0, 5.0)


@dataclass(frozen=True)
class Site:
    """How one hospital's scanner differs.

    Attributes
    ----------
    name : str
        Value of the column site.
    noise : float
        Standard deviation of the noise relative to white matter in T1w.
    scale : float
        Stored value of white matter in T1w.
    exponent : float
        Power to which relative intensities are raised: the scanner's contrast.
    bias : float
        Amplitude of the receive bias field (of its logarithm).
    """

    name: str
    noise: float
    scale: float
    exponent: float
    bias: float


@dataclass(frozen=True)
class Person:
    """One simulated participant.

    Attributes
    ----------
    label : str
        Participant's label without ``sub-``.
    seed : tuple of int
        Seeds everything that is drawn for this participant's images.
    site : Site
    age : float
        Years.
    sex : str
        M or F.
    mutation : int
        Latent outcome, 0 or 1.
    warp : Warp
        Own anatomy.
    motion : dict
        Contrast label to rigid matrix, reference world to image world.
    chi, r2star : dict
        Of every deep nucleus: susceptibility in ppm and R2* in 1/s.
    """

    label: str
    seed: tuple[int, int]
    site: Site
    age: float
    sex: str
    mutation: int
    warp: Warp
    motion: dict[str, Affine]
    chi: dict[str, float]
    r2star: dict[str, float]

    def rng(self, purpose: int) -> np.random.Generator:
        """Random numbers for one purpose, whatever else was drawn before."""
        return np.random.default_rng([*self.seed, purpose])


def make_site(index: int) -> Site:
    """Scanner of a site, the same for every seed: the sites alternate between two kinds, with a drift."""
    kind, drift = index % 2, index // 2
    return Site(
        f"site{index + 1}",
        noise=(0.022, 0.034)[kind],
        scale=(620.0, 980.0)[kind] * 1.1**drift,
        exponent=(1.0, 0.9)[kind],
        bias=(0.16, 0.22)[kind],
    )


def make_person(index: int, sites: int, seed: int) -> Person:
    """Participant number `index` (from 0) of a cohort with this seed; depends on no other participant."""
    rng = np.random.default_rng([seed, index])
    age = float(np.clip(rng.normal(56, 12), 22, 84))
    sex = "M" if rng.uniform() < 0.55 else "F"
    size = (0.935 if sex == "M" else 0.905) + rng.normal(0, 0.012)
    pose = rigid_matrix(rng.uniform(-5, 5, 3), rng.uniform(-5, 5, 3), HEAD_CENTRE)
    warp = random_warp(rng, size + rng.normal(0, 0.01, 3), pose)
    motion = {label: random_motion(rng, HEAD_CENTRE) for label in MOVED}
    chi = {}
    # Iron varies between people, with age, and a little between the sides.
    common = np.exp(rng.normal(0, 0.12) + 0.004 * (age - 56))
    for nucleus in NUCLEI:
        chi[nucleus.name] = float(np.clip(nucleus.chi * common * np.exp(rng.normal(0, 0.1)), 0.03, 0.18))
    # R2* rises linearly with iron, and so with susceptibility (Langkammer et al., Radiology 257 (2010) 455).
    r2star = {name: 17.0 + 120.0 * value for name, value in chi.items()}
    mutation = _MUTATION[index % len(_MUTATION)]
    site = make_site(index % sites)
    return Person(f"{index + 1:02d}", (seed, index), site, age, sex, mutation, warp, motion, chi, r2star)


def survival(person: Person, tumour_ml: float) -> tuple[int, int]:
    """Days of follow-up and whether death was observed.

    A Weibull law of shape 3 whose scale halves for every fourfold tumour volume and doubles with the
    mutation, under independent uniform censoring.

    Returns
    -------
    (int, int)
        Days; 1 for an event, 0 for censored.
    """
    rng = person.rng(9)
    scale = 420.0 * (tumour_ml / 8.0) ** -0.5 * 2.0**person.mutation
    event = scale * rng.weibull(3.0)
    censored = rng.uniform(250, 1800)
    return max(1, round(min(event, censored))), int(event <= censored)
