"""The choice among many settings of a model, as far as a budget goes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of the settings tried on a share of the participants one in so many goes on, to a share so much larger.
FACTOR = 3
ALL_TRIED, OUT_OF_TRIALS, OUT_OF_TIME = "all were tried", "trials were used up", "time was used up"
# So many draws in a row of what was drawn before mean that there is hardly more.
_PATIENCE = 100

Settings = dict[str, Any]
Space = Mapping[str, Sequence[Any] | Mapping[str, Any]]
# Gets the numbers of the settings and the share of the training participants, returns their losses.
Evaluate = Callable[[list[int], float], Sequence[float] | NDArray[np.float64]]


@dataclass(frozen=True)
class Budget:
    """How much a search may take.

    Attributes
    ----------
    trials : float
        Settings tried; one tried on a share of the participants counts as that share.
    seconds : float
        Time after which no further setting is tried. What is found then depends on the machine.
    clock : callable
        Tells the time in seconds.
    """

    trials: float = math.inf
    seconds: float = math.inf
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class SearchResult:
    """What a search chose, and how it came to that.

    Attributes
    ----------
    chosen : int
        Number of the settings with the smallest loss on all participants; of equals the first.
    losses : ndarray, shape (n_candidates,)
        On all participants; NaN where not tried on all.
    shares : ndarray, shape (n_candidates,)
        Largest share of the participants that each was tried on; 0 where it was not tried.
    trials : float
        Settings tried, one on a share as that share.
    stopped : str
        Why the search ended.
    """

    chosen: int
    losses: NDArray[np.float64]
    shares: NDArray[np.float64]
    trials: float
    stopped: str


def draw_settings(space: Space, trials: int, seed: int) -> list[Settings]:
    """Return settings drawn at random, no two the same; all there are, where these are not more.

    Parameters
    ----------
    space : mapping
        For each setting a list to choose from, each as probable, or a range {"low", "high"}: whole numbers,
        both ends included, where both ends are, and else uniform. With "log": true it is uniform in the
        logarithm.
    trials : int
        How many.
    seed : int
        Of the draws. The first of many draws are those of few.

    Raises
    ------
    ValueError
        A list is empty, or a range is none.
    """
    for name, values in space.items():
        _check(name, values)
    if all(not isinstance(values, Mapping) for values in space.values()):
        every = [dict(zip(space, chosen, strict=True)) for chosen in product(*space.values())]
        if len(every) <= trials:
            return every
    rng = np.random.default_rng(seed)
    drawn: list[Settings] = []
    repeats = 0
    while len(drawn) < trials and repeats < _PATIENCE:
        settings = {name: _draw(values, rng) for name, values in space.items()}
        repeats = repeats + 1 if settings in drawn else 0
        if not repeats:
            drawn.append(settings)
    return drawn


def _check(name: str, values: Sequence[Any] | Mapping[str, Any]) -> None:
    """Raise a ValueError unless something can be drawn."""
    if isinstance(values, Mapping):
        known = set(values) <= {"low", "high", "log"} and {"low", "high"} <= set(values)
        if not known or not values["low"] < values["high"] or (values.get("log") and values["low"] <= 0):
            raise ValueError(f"{name} is {dict(values)}, which is no range")
    elif len(values) == 0:
        raise ValueError(f"{name} has no values to choose from")


def _draw(values: Sequence[Any] | Mapping[str, Any], rng: np.random.Generator) -> Any:
    """Return one of a list, or a number of a range."""
    if not isinstance(values, Mapping):
        return values[int(rng.integers(len(values)))]
    low, high = values["low"], values["high"]
    whole = isinstance(low, int) and isinstance(high, int)
    # The ends of whole numbers are as wide as the others.
    ends = (low - 0.5, high + 0.5) if whole else (low, high)
    drawn = math.exp(rng.uniform(*np.log(ends))) if values.get("log") else float(rng.uniform(*ends))
    found = min(max(drawn, low), high)
    return round(found) if whole else found


@dataclass
class _Ledger:
    """What was tried so far, and what is left of the budget."""

    evaluate: Evaluate
    budget: Budget
    losses: NDArray[np.float64]
    shares: NDArray[np.float64]
    trials: float = 0.0
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.budget.clock()

    @property
    def timed(self) -> bool:
        return math.isfinite(self.budget.seconds)

    @property
    def late(self) -> bool:
        return self.timed and self.budget.clock() - self.begun >= self.budget.seconds

    def affords(self, cost: float) -> bool:
        # Thirds do not add up to 1 exactly.
        return self.trials + cost <= self.budget.trials + 1e-9

    def try_all(self, candidates: list[int], share: float) -> NDArray[np.float64] | None:
        """Return the losses on a share, one after the other where time is limited; None if it ran out."""
        if not self.timed:
            return self._try(candidates, share)
        found = []
        for candidate in candidates:
            if self.late:
                return None
            found.append(self._try([candidate], share))
        return np.concatenate(found) if found else np.empty(0)

    def _try(self, candidates: list[int], share: float) -> NDArray[np.float64]:
        if not candidates:
            return np.empty(0)
        losses = np.asarray(self.evaluate(candidates, share), dtype=np.float64)
        if losses.shape != (len(candidates),):
            raise ValueError(f"{len(candidates)} settings have losses of shape {losses.shape}")
        self.trials += len(candidates) * share
        self.shares[candidates] = share
        if share == 1:
            self.losses[candidates] = losses
        return np.where(np.isfinite(losses), losses, np.inf)

    def result(self, stopped: str) -> SearchResult:
        known = np.where(np.isfinite(self.losses), self.losses, np.inf)
        return SearchResult(int(np.argmin(known)), self.losses, self.shares, round(self.trials, 9), stopped)


def search(
    candidates: Sequence[Settings],
    evaluate: Evaluate,
    budget: Budget | None = None,
    how: str = "random",
    least_share: float = 1 / 9,
) -> SearchResult:
    """Return which settings do best, as far as the budget goes.

    The first candidate, the default, is always tried on all participants, whatever the budget. Then the
    others, in their order:

    - ``random``: each on all participants.
    - ``halving``: successive halving. All on a share of the participants, the best third of them on three
      times as many, and so on; the last on all. Only losses on all are compared with that of the default.

    Settings whose loss is not finite are not chosen, unless none has one.

    Parameters
    ----------
    candidates : sequence of dict
        Settings of a model, the default first.
    evaluate : callable
        Gets the numbers of some candidates and a share, and returns their losses when fitted to that share of
        the training participants. With a limit of time it is given one candidate at a time.
    budget : Budget, optional
        None is without limit.
    how : str
        ``random`` or ``halving``.
    least_share : float
        Share below which halving does not start.

    Raises
    ------
    ValueError
        There are no candidates, `how` is unknown, or not every candidate tried has a loss.

    References
    ----------
    Bergstra and Bengio (2012), Journal of Machine Learning Research 13:281-305. Jamieson and Talwalkar
    (2016), AISTATS, PMLR 51:240-248. Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar (2018), Journal of
    Machine Learning Research 18(185):1-52.
    """
    if how not in ("random", "halving"):
        raise ValueError(f"how is {how!r}, but must be random or halving")
    n = len(candidates)
    if n == 0:
        raise ValueError("there are no settings to choose from")
    ledger = _Ledger(evaluate, budget or Budget(), np.full(n, np.nan), np.zeros(n))
    ledger._try([0], 1.0)
    least = least_share if how == "halving" else 1.0
    taken = next((count for count in range(n - 1, 0, -1) if ledger.affords(_cost(count, least))), 0)
    active = list(range(1, taken + 1))
    for size, share in _rungs(taken, least):
        # Stable: of equals the earlier goes on.
        losses = ledger.try_all(active[:size], share)
        if losses is None:
            return ledger.result(OUT_OF_TIME)
        active = [active[place] for place in np.argsort(losses, kind="stable")]
    return ledger.result(ALL_TRIED if taken == n - 1 else OUT_OF_TRIALS)


def _rungs(count: int, least_share: float) -> list[tuple[int, float]]:
    """Return how many candidates are tried on which share, from the smallest share to 1."""
    steps = 0
    while FACTOR ** (steps + 1) <= count and FACTOR ** -(steps + 1) >= least_share - 1e-9:
        steps += 1
    sizes = [count]
    for _ in range(steps):
        sizes.append(math.ceil(sizes[-1] / FACTOR))
    return [(size, float(FACTOR) ** (place - steps)) for place, size in enumerate(sizes)]


def _cost(count: int, least_share: float) -> float:
    """Return what trying so many candidates takes, in candidates tried on all participants."""
    return sum(size * share for size, share in _rungs(count, least_share))
