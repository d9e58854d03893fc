"""The images' install step, without a builder: each lock alone into an empty environment, and what starts there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "k8s" / "images"
UV = Path(sys.executable).parent / "uv"
STARTS = {
    "serving": [
        ["-m", "serving", "--help"],
        ["-m", "serving.api", "--help"],
        ["-m", "serving.stream", "--help"],
        ["-m", "serving.stream.mirror", "--help"],
        [
            "-c",
            "import confluent_kafka, serving.models, serving.routes, feature_repo.online; from kserve import model_server",
        ],
    ],
    "pipeline": [
        ["-c", "from pipelines.cli.entry import main; main()", "--help"],  # ENTRYPOINT recsys
        ["-c", "import kfp, evidently, kfp.kubernetes, optuna, pipelines.training"],
        ["-m", "serving.api", "--help"],  # as recsys-operations
        ["-m", "monitoring.console", "--help"],
        [
            "-c",
            "from evidently.ui.service.app import create_app; import monitoring.evidently_ui",
        ],  # as recsys-evidently
        ["-c", "import serving.api.app, pipelines.rollout_gate, pipelines.rollouts, pipelines.cluster_canary"],
    ],
}
ABSENT = {"serving": ["kfp", "evidently", "optuna", "pytest", "sklearn"], "pipeline": ["kserve", "pytest"]}


def run(*command: str | Path) -> str:
    environment = {
        name: os.environ[name] for name in os.environ if not name.startswith(("RECSYS", "PYTHON", "VIRTUAL"))
    }
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd="/", env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.M))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", out, ROOT)
    [path] = out.glob("*.whl")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("image", ["serving", "pipeline"])
def test_image_installs_from_its_lock_alone_and_its_entry_points_start(image, wheel, tmp_path):
    python = tmp_path / "environment" / "bin" / "python"
    run(UV, "venv", "--python", sys.executable, tmp_path / "environment")
    run(UV, "pip", "sync", "--python", python, "--require-hashes", IMAGES / f"{image}.lock")
    run(UV, "pip", "install", "--python", python, "--no-deps", wheel)
    for start in STARTS[image]:
        run(python, "-W", "ignore", *start)
    found = run(
        python, "-c", f"from importlib.util import find_spec; print([m for m in {ABSENT[image]} if find_spec(m)])"
    )
    assert found.strip() == "[]"


@pytest.mark.parametrize("image", ["serving", "pipeline", "build", "spark"])
def test_images_lock_has_hashes_no_address_and_the_versions_that_are_tested(image):
    own, lock = pins(ROOT / "requirements.lock"), (IMAGES / f"{image}.lock").read_text()
    added = {"pyspark", "py4j"} if image == "spark" else set()
    assert "--hash=sha256:" in lock
    assert "://" not in lock
    found = pins(IMAGES / f"{image}.lock")
    assert {name: version for name, version in found.items() if name not in added and own[name] != version} == {}


def test_image_is_built_from_named_versions_by_a_numbered_user_and_holds_no_state():
    text = (IMAGES / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=\S+:\d+\.\d+\.\d+-", text, re.M)
    assert re.search(r"^USER 10001:10001$", text, re.M)
    assert (IMAGES / "Dockerfile.dockerignore").read_text().splitlines()[1] == "*"


def test_dockerfile_copies_only_what_the_ignore_file_lets_through():
    let_through = {
        line.removeprefix("!") for line in (IMAGES / "Dockerfile.dockerignore").read_text().splitlines() if "!" in line
    }
    copies = re.findall(r"^COPY (?!--)(.*)$", (IMAGES / "Dockerfile").read_text(), re.M)
    sources = {source for line in copies for source in line.split()[:-1]}
    locks = {source for source in sources if source.startswith("k8s/images/")}
    assert all((ROOT / source).exists() for source in sources)
    assert sources - locks <= let_through
    assert "k8s/images/*.lock" in let_through


def test_environments_know_nothing_of_the_code_so_a_release_of_it_leaves_their_layers():
    stages = re.split(r"^FROM ", (IMAGES / "Dockerfile").read_text(), flags=re.M)[1:]
    named = {match[2]: (match[1], stage) for stage in stages if (match := re.match(r"(\S+) AS (\S+)", stage))}
    environments = [name for name in named if name.endswith("-environment")]
    assert len(environments) == 3
    for name in environments:
        while name in named:
            base, stage = named[name]
            copied = re.findall(r"^COPY (?!--)(.*) \S+$", stage, re.M)
            assert all(source.endswith(".lock") for line in copied for source in line.split()), (name, copied)
            name = base
    for image in ("serving", "pipeline", "spark"):
        copies = re.findall(r"^COPY --from=(\S+) \S+ /opt/recsys$", named[image][1], re.M)
        assert copies == [f"{image}-environment", "product"]
