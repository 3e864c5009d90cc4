"""Every command of the README and the docs is one that the programs take."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

import voxelome.tools
from voxelome.app.arguments import build_parser, parse
from voxelome.app.config import check_config, default_config, merge
from voxelome.app.demo import both_levels

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {"make", "voxelome", "voxelome-tools", "snakemake", "docker", "truncate"}


def commands() -> list[tuple[str, list[str]]]:
    """Page and words of each command in a shell block."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    found.append((page.name, [words[0].removeprefix(".venv/bin/"), *words[1:]]))
    return found


COMMANDS = commands()


# Of Snakemake, of programs that build and run containers, and of MRIQC.
OF_OTHERS = {
    "--forcerun",
    "--me",
    "--pull",
    "--sdm",
    "--software-deployment-method",
    "--tmpfs",
    "--verbose-reports",
    "--volume",
}


def those_of(program: str) -> list:
    return [
        pytest.param(words[1:], id=f"{page} {shlex.join(words)}")
        for page, words in COMMANDS
        if words[0] == program
    ]


def test_the_pages_name_no_program_that_is_not_tried_here():
    assert {words[0] for _, words in COMMANDS} <= PROGRAMS
    assert len(COMMANDS) > 25


@pytest.mark.parametrize("words", those_of("voxelome"))
def test_voxelome_takes_what_the_pages_say(words):
    options = parse(words)[0]
    assert options.level in ("participant", "group")


def test_the_tutorial_gives_the_commands_that_the_demonstration_runs():
    said = [words[1:] for page, words in COMMANDS if page == "tutorial.md" and words[0] == "voxelome"]
    assert said[:2] == both_levels(Path("demo"))


@pytest.mark.parametrize("words", those_of("voxelome-tools"))
def test_the_tools_take_what_the_pages_say(words):
    assert callable(voxelome.tools.build_parser().parse_args(words).action)


@pytest.mark.parametrize("words", those_of("docker"))
def test_the_container_takes_what_the_pages_say_of_folders_inside_it(words):
    image = next(index for index, word in enumerate(words) if word.startswith("voxelome:"))
    bound = [words[index + 1].split(":")[1] for index, word in enumerate(words) if word == "-v"]
    options = parse(words[image + 1 :])[0]
    assert [str(options.bids_dir), str(options.out_dir)] == bound


@pytest.mark.parametrize("words", those_of("make"))
def test_make_has_the_targets_that_the_pages_name(words):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert next(word for word in words if "=" not in word) in targets


@pytest.mark.parametrize("words", those_of("snakemake"))
def test_the_profiles_of_snakemake_that_the_pages_name_are_there(words):
    profile = ROOT / words[words.index("--profile") + 1] / "config.yaml"
    assert yaml.safe_load(profile.read_text())


def settings() -> list:
    """The blocks of settings in the pages: those whose first key is one of them."""
    known = default_config()
    found = []
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            content = yaml.safe_load(block)
            if isinstance(content, dict) and known.keys() & content.keys():
                found.append(pytest.param(content, id=f"{page.name} {','.join(content)}"))
    return found


@pytest.mark.parametrize("content", settings())
def test_the_settings_in_the_pages_are_settings(content):
    check_config(merge(default_config(), content), "a page")


def test_every_option_that_the_pages_name_is_one():
    parsers = [build_parser(), *_commands(voxelome.tools.build_parser())]
    options = {option for parser in parsers for option in parser._option_string_actions}
    named = {
        (page.name, option)
        for page in PAGES
        for code in re.findall(
            r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.M)
        )
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code)
    }
    assert {option for _, option in named} - options == OF_OTHERS


def _commands(parser):
    (commands,) = (
        action for action in parser._actions if action.choices and isinstance(action.choices, dict)
    )
    return commands.choices.values()
