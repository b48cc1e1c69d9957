"""The documentation names only links, files, modules, commands, options and settings that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import click
import pytest

from perennial.cli import COMMANDS, app
from perennial.commands.training.retrain import RequestByDefault
from perennial.secret_settings import ENDINGS, SECRETS
from perennial.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "perennial"
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *(ROOT / ".github").rglob("*.md"),
        *ROOT.glob("tests/*.md"),
    }
)
SHELL_FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.M | re.S)
SPAN = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"(?<![\w/.<>-])((?:[\w-]+/)+[\w.-]+\.(?:py|yaml|yml|md|toml|txt))(?![\w<>*])")
COMMAND = re.compile(r"(?<![\w/.-])perennial +([a-z][\w-]*)((?: +[^|&;#`\n]+)?)")
MODULE = re.compile(
    r"(?<![\w./])(?:perennial\.)?((?:core|flows|adapters|ports|wiring|commands|models)(?:\.\w+)+)"
)
TOP_FOLDERS = {"src", "tests", "docs", "configs", "dags", "benchmarks", "feature_repo", "docker", "deploy"}
TOP_FOLDERS |= {".github", ".ci"}
TOP_FOLDERS |= {path.name for path in PACKAGE.iterdir() if path.is_dir()}


@cache
def text(page: Path) -> str:
    return page.read_text()


@cache
def code(page: Path) -> tuple[str, ...]:
    """Return the fenced blocks and inline spans of a page; escaped backticks end a span in a table."""
    fenced = SHELL_FENCE.findall(text(page))
    return (*fenced, *SPAN.findall(SHELL_FENCE.sub("", text(page)).replace("\\`", "'")))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", SHELL_FENCE.sub("", text(page)), re.M)
    plain = [re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return frozenset(re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain)


def every_page(check):
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))(check)


@every_page
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", SHELL_FENCE.sub("", text(page))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_named_files_exist(page):
    """A path counts from the root or from `src/perennial`."""
    for part in code(page):
        for name in FILE.findall(part):
            if name.split("/")[0] in TOP_FOLDERS:
                assert (ROOT / name).exists() or (PACKAGE / name).exists(), name


@every_page
def test_named_modules_exist(page):
    for part in code(page):
        for dotted in MODULE.findall(part):
            names = dotted.split(".")
            for length in range(len(names), 0, -1):
                path = PACKAGE.joinpath(*names[:length])
                source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
                if source.exists():
                    break
            else:
                pytest.fail(dotted)
            rest = names[length : length + 1]
            assert not rest or re.search(rf"\b{rest[0]}\b", source.read_text()), dotted


@every_page
def test_commands_and_their_options_exist(page):
    context = click.Context(app)
    for part in code(page):
        for name, rest in COMMAND.findall(part):
            assert name in COMMANDS, f"perennial {name}"
            command, words = app.get_command(context, name), rest.split()
            while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][\w-]*", words[0]):
                parent, command = command, command.commands.get(words[0])
                assert command is not None, f"perennial {name}{rest}: {sorted(parent.commands)}"
                words = words[1:]
            if isinstance(command, RequestByDefault):
                command = command.commands["request"]
            known = {option for parameter in command.params for option in parameter.opts}
            for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", " ".join(words)):
                assert option in known | {"--help"}, f"perennial {name}{rest}: {sorted(known)}"


@every_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    for part in code(page):
        for target in re.findall(r"(?:^|[\s(])make ([a-z][\w-]*)", part):
            assert target in targets, f"make {target}"


@every_page
def test_settings_exist(page):
    known = {f"PERENNIAL_{field.upper()}" for field in Settings.model_fields}
    known |= {f"PERENNIAL_{name.upper()}{ending}" for name in SECRETS for ending in ENDINGS}
    elsewhere = "".join(
        path.read_text()
        for folder in ("src", "dags", "feature_repo", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml")
    )
    for variable in re.findall(r"PERENNIAL_[A-Z_]*[A-Z]", text(page)):
        assert variable in known or variable in elsewhere, variable


def test_the_guide_lists_each_of_its_pages():
    folder = ROOT / "docs" / "guide"
    listed = set(re.findall(r"\]\((\w[\w-]*\.md)\)", text(folder / "README.md")))
    assert listed == {page.name for page in folder.glob("*.md")} - {"README.md"}


def test_each_decision_says_what_violates_it():
    for record in (ROOT / "docs" / "adr").glob("*.md"):
        assert text(record).rstrip().split("\n\n")[-1].startswith("**Violated when**"), record.name
