"""The filter of a dataset: which images to take, as fMRIPrep's ``--bids-filter-file`` says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voxelome.bids.entities import ENTITY_NAMES, SHORT_NAMES, matching_value
from voxelome.errors import InputError, suggest

SOURCE = "--bids-filter-file"

# What a query is about unless it names a suffix itself. Those of other programs are known, so that one
# file serves several.
_SUFFIXES = [
    "T1w",
    "T2w",
    "FLAIR",
    "PDw",
    "MEGRE",
    "MESE",
    "T2starw",
    "T2star",
    "MP2RAGE",
    "UNIT1",
    "inplaneT1",
    "inplaneT2",
    "angio",
    "FLASH",
    "PD",
    "VFA",
    "MPM",
    "MTS",
    "T1map",
    "T2map",
    "T2starmap",
    "R1map",
    "R2map",
    "R2starmap",
    "Chimap",
    "bold",
    "sbref",
    "dwi",
    "asl",
    "m0scan",
    "pet",
    "ct",
    "roi",
    "mask",
    "dseg",
    "probseg",
]
QUERIES: dict[str, dict[str, object]] = {
    **{suffix.lower(): {"suffix": suffix} for suffix in _SUFFIXES},
    "fmap": {"datatype": "fmap"},
}

_ANY = ("*", "Query.ANY", "Query.REQUIRED")
_NONE = (None, "Query.NONE")
_OPTIONAL = ("Query.OPTIONAL",)


@dataclass(frozen=True)
class _Condition:
    """What one entity must be: among the values, absent, or present with any value."""

    name: str
    values: frozenset[object]
    absent: bool
    present: bool

    def holds(self, entities: Mapping[str, str]) -> bool:
        if self.name not in entities:
            return self.absent
        return self.present or matching_value(self.name, entities[self.name]) in self.values


@dataclass(frozen=True)
class Query:
    """Images that it is about, and what must hold for those."""

    scope: tuple[_Condition, ...]
    conditions: tuple[_Condition, ...]


def compile_filters(filters: Mapping[str, Mapping[str, object]] | None) -> tuple[Query, ...]:
    """Compile the content of a filter file.

    Parameters
    ----------
    filters : mapping or None
        Entity filters by the query's name: ``{"t1w": {"acquisition": ["a", "b"], "ceagent": null}}``. A
        value is a text or number, a list of them, ``null`` (the entity must be absent) or ``"*"`` (it
        must be there).

    Raises
    ------
    InputError
        A query or an entity is unknown, or a value is none of these.
    """
    return tuple(_compile(name, wanted) for name, wanted in (filters or {}).items())


def keeps(queries: Sequence[Query], entities: Mapping[str, str]) -> bool:
    """Whether an image passes: each query that is about it must hold; others do not touch it."""
    return all(
        all(condition.holds(entities) for condition in query.conditions)
        for query in queries
        if all(condition.holds(entities) for condition in query.scope)
    )


def _compile(name: str, wanted: object) -> Query:
    if name.lower() not in QUERIES:
        raise InputError(SOURCE, f"there is no query {name!r}", suggest(name, list(QUERIES)))
    if not isinstance(wanted, Mapping):
        raise InputError(SOURCE, f"query {name!r} is not a mapping of entities", 'write {"t1w": {"run": 1}}')
    for entity in wanted:
        if entity not in ENTITY_NAMES:
            problem = f"query {name!r} has an unknown entity {entity!r}"
            raise InputError(SOURCE, problem, _suggest_entity(str(entity)))
    conditions = [_condition(name, entity, value) for entity, value in wanted.items()]
    own = [condition for condition in conditions if condition.name == "suffix"]
    scope = own or [_condition(name, entity, value) for entity, value in QUERIES[name.lower()].items()]
    return Query(tuple(scope), tuple(condition for condition in conditions if condition not in own))


def _condition(query: str, entity: str, value: object) -> _Condition:
    values = list(value) if isinstance(value, list | tuple) else [value]
    for item in values:
        if item is not None and not isinstance(item, str | int | float):
            problem = f"query {query!r}: {entity} = {item!r} is no value"
            raise InputError(SOURCE, problem, "give a text, a number, a list, null or '*'")
    optional = any(item in _OPTIONAL for item in values)
    special = (*_ANY, *_NONE, *_OPTIONAL)
    plain = frozenset(matching_value(entity, item) for item in values if item not in special)
    return _Condition(
        entity,
        plain,
        absent=optional or any(item in _NONE for item in values),
        present=optional or any(item in _ANY for item in values),
    )


def _suggest_entity(word: str) -> str:
    """Advise pybids' long name; filter files use those."""
    long_names = {key: name for name, key in SHORT_NAMES.items() if key != name}
    if word in long_names:
        return f"its name in a filter is {long_names[word]!r}"
    return suggest(word, list(ENTITY_NAMES))
