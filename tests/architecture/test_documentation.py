"""The pages name nothing that is not there: commands with their options, variables, targets, modules, files and links."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components.reranking.config import PolicyConfig
from pipelines.cli.main import command_line
from pipelines.config import load_config
from serving.api.settings import DoorSettings
from serving.settings import Settings
from serving.stream.settings import KafkaSettings

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(ROOT / name / "README.md" for name in ("components", "feature_repo", "serving", "monitoring", "pipelines")),
    ROOT / "k8s" / "README.md",
    ROOT / "benchmarks" / "README.md",
]
CODE = ("components", "feature_repo", "monitoring", "pipelines", "serving", "tests")
COMMANDS = command_line()
SETTINGS = {"RECSYS_": Settings, "RECSYS_API_": DoorSettings, "RECSYS_KAFKA_": KafkaSettings}


def each_page(test):
    return pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])(test)


def blocks(text: str, language: str = "") -> list[str]:
    """What stands between fences, in lists too."""
    return [body for said, body in re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.M | re.S) if said == language]


def commands_of(text: str) -> Iterator[str]:
    """What follows `recsys` in code, up to a comment, a pipe or the end of the code."""
    for block in blocks(text):
        for line in block.replace("\\\n", " ").split("\n"):
            yield from re.findall(r"(?:^|&& |-- |\$USER )recsys ([a-z][^#&|>]*)", line.strip())
    yield from re.findall(r"`recsys ([a-z][^`#|>]*)`", text)


def placed(words: list[str]):
    """The command that the words name, and the words that are left for it."""
    command = COMMANDS
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@each_page
def test_commands_are_there_with_their_options(page):
    for line in commands_of(page.read_text()):
        command, rest = placed(line.split())
        assert command.name != "recsys", line
        assert not hasattr(command, "commands") or not rest, f"{line}: no such command"
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
        assert {word.partition("=")[0] for word in rest if re.match(r"-{1,2}[a-z]", word)} <= known, line


def test_every_command_stands_in_the_table():
    """Those that a person gives; the trial is Katib's."""
    text = (ROOT / "README.md").read_text()
    rows = "\n".join(line for line in text.split("\n") if line.startswith("| `recsys "))
    for name, command in COMMANDS.commands.items():
        for below in getattr(command, "commands", {"": None}):
            assert f"{name} {below}".strip() in {
                "train trial",
                "kfp down",
                "monitor compile",
                "data configs",
            } or re.search(rf"`(recsys )?({name} )?{below or name}`", rows), f"recsys {name} {below}"


@pytest.fixture(scope="module")
def variables() -> set[str]:
    """All that code names, or reads as a setting."""
    code = "\n".join(
        path.read_text() for folder in CODE for path in (ROOT / folder).rglob("*.py") if path != Path(__file__)
    )
    known = set(re.findall(r"RECSYS_[A-Z0-9_]+", code))
    return known | {prefix + name.upper() for prefix, model in SETTINGS.items() for name in model.model_fields}


@each_page
def test_variables_are_read_by_something(page, variables):
    assert set(re.findall(r"RECSYS_[A-Z0-9_]*[A-Z0-9]", page.read_text())) <= variables | {
        "RECSYS",
        "RECSYS_API",
        "RECSYS_KAFKA",
    }


@each_page
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, section = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M) if section else []
        assert not section or section in [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in titles], link


@each_page
def test_targets_and_modules_are_there(page):
    text, makefile = page.read_text(), (ROOT / "Makefile").read_text()
    given = "\n".join([*blocks(text), *re.findall(r"`([^`\n]+)`", text)])
    for target in re.findall(r"^(?:KUBECONFIG=\S+ )?make ([a-z-]+)", given, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for module in re.findall(r"python -m ([\w.]+)", text):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


def yaml_blocks(page: str) -> list[str]:
    return blocks((ROOT / page).read_text(), "yaml")


@pytest.mark.parametrize("page", ["README.md", "components/README.md"])
def test_configuration_that_is_shown_is_one(page, tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(yaml_blocks(page)[0])
    assert load_config(str(path), {}).dataset.name == "web_shop"


def test_rules_that_are_shown_are_rules():
    assert PolicyConfig.model_validate(yaml.safe_load(yaml_blocks("components/README.md")[1])).rules.pin


def test_goals_that_are_shown_are_goals(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(yaml_blocks("README.md")[0] + yaml_blocks("monitoring/README.md")[0])
    assert load_config(str(path), {}).monitoring.kpis.goals
