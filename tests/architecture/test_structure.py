"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("components", "feature_repo", "monitoring", "pipelines", "serving")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMELESS = {"utils", "util", "helpers", "helper", "common", "manager", "info", "misc"}  # `data` is a command here
HEAVY = {"kfp", "evidently"}
TOP = {
    "components", "pipelines", "feature_repo", "serving", "k8s", "monitoring", "tests", "pyproject.toml", "README.md",
    "LICENSE", "CHANGELOG.md", "Makefile", "requirements.lock", "benchmarks", ".ci", ".gitignore",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Top-level packages that a module imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    found = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    return found | {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\n") if name]


def test_top_level_holds_nothing_but_what_a_project_has():
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_named_by_what_it_holds_and_package_files_are_empty(path):
    assert path.stem not in NAMELESS
    assert path.name != "__init__.py" or path.read_text() == ""


def test_only_step_wrappers_and_pipelines_import_kfp():
    guilty = [
        path
        for path in FILES
        if "kfp" in imports(path) and path.name != "component.py" and "pipelines" not in path.parts
    ]
    assert guilty == []


def test_only_monitoring_imports_evidently_and_only_inside_functions():
    users = [path for path in FILES if "evidently" in imports(path)]
    assert {path.parent.name for path in users} == {"monitoring"}
    for path in users:
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("evidently" in ast.unparse(node) for node in top)


def test_steps_do_not_import_each_other():
    steps = {path.parent.name for path in FILES if path.name == "component.py" and "components" in path.parts}
    for path in FILES:
        if path.parent.name in steps:
            others = steps - {path.parent.name}
            assert not re.search(rf"from components\.({'|'.join(others)})\b", path.read_text()), path


def test_nothing_stores_a_pickle():
    guilty = [path for path in FILES if imports(path) & {"pickle", "joblib", "cloudpickle", "dill"}]
    assert guilty == []


@pytest.mark.parametrize("path", ["requirements.lock", "benchmarks/requirements.lock"])
def test_lock_has_hashes_and_no_index(path):
    lock = (ROOT / path).read_text()
    assert "--hash=sha256:" in lock
    assert "index-url" not in lock
    assert "://" not in lock


def test_every_make_target_and_every_setting_is_explained():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert targets is not None
    for target in targets[1].split():
        assert re.search(rf"^{target}:.*## \w", makefile, re.M), target


def test_every_configuration_field_is_described():
    from pipelines.config import PipelineConfig

    def fields(model, place=""):
        for name, field in model.model_fields.items():
            yield f"{place}{name}", field
            if hasattr(field.annotation, "model_fields"):
                yield from fields(field.annotation, f"{place}{name}.")

    assert [place for place, field in fields(PipelineConfig) if not field.description] == []


@pytest.mark.parametrize("module", ["pipelines.cli.main", "components.artifacts.registry", "pipelines.rollouts"])
def test_commands_that_load_no_model_start_without_the_heavy_imports(module):
    heavy = {"kfp", "evidently", "feast", "kserve", "xgboost", "sklearn", "numba"}
    heavy |= {"pandas"} if module == "pipelines.cli.main" else set()
    code = f"import sys; import {module}; print(sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_wheel_ships_every_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert tuple(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES


def test_benchmarks_lock_pins_nothing_otherwise_than_the_products_own():
    own, benchmarks = (
        dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / path).read_text(), re.M))
        for path in ("requirements.lock", "benchmarks/requirements.lock")
    )
    assert {name for name in benchmarks if name in own and own[name] != benchmarks[name]} == set()
