"""Images for the node of this folder, which pulls none: the product's own, by its Dockerfile, and those beside them.

    python -m tests.node.images [serving pipeline redis ...]

buildah builds them without a daemon. Where the base image's registry is not reached, RECSYS_TEST_BASE=stand-in makes a base of
Debian's packages and of the Python that runs this: the same commands of the Dockerfile on another base.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from types import MappingProxyType

from tests.cluster.control_plane import CACHE
from tests.node.place import Place, ctr

ROOT = Path(__file__).parents[2]
PAUSE = "registry.k8s.io/pause:3.10.1"
KSERVE = "docker.io/kserve/kserve-controller:v0.20.0"
BASE = "docker.io/library/python:3.11.13-slim-bookworm"
STAND_IN = "localhost/recsys-base:3.11"
TARGETS = {"serving": "docker.io/library/recsys-serving:0.1.0", "pipeline": "docker.io/library/recsys-pipeline:0.1.0"}
SERVERS = {"redis": "docker.io/library/redis:7.2.5-bookworm", "postgres": "docker.io/library/postgres:16.4-bookworm"}
"""Images of components."""
DEBIAN = "http://deb.debian.org/debian"
LIBRARIES = (
    "ca-certificates", "libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6", "libreadline8", "libsqlite3-0",
    "libssl3", "libuuid1", "netbase", "tzdata", "zlib1g",
)  # fmt: skip
NOBODY = "65532:65532"
START_POSTGRES = """\
#!/bin/sh
set -e
case "$1" in -*) set -- postgres "$@" ;; esac
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --encoding=UTF8 --pgdata="$PGDATA" --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \\
        --auth-local=trust --auth-host=scram-sha-256 > /dev/null
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --pgdata="$PGDATA" --options="-c listen_addresses=''" --wait start > /dev/null
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop > /dev/null
fi
exec "$@" -c listen_addresses='*'
"""
"""What the image's own entrypoint does with the variables that the manifests set."""


def main(arguments: Sequence[str]) -> int:
    """Build what is named, or all, and bring it to the node."""
    names = arguments or [*TARGETS, *SERVERS]
    if unknown := set(names) - {*TARGETS, *SERVERS}:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join([*TARGETS, *SERVERS])}", file=sys.stderr)
        return 2
    if shutil.which("buildah") is None:
        print("missing: apt-get install --no-install-recommends buildah debootstrap", file=sys.stderr)
        return 1
    place, store = Place(CACHE), Store(CACHE / "images")
    base = store.base()
    for name in names:
        image = (TARGETS | SERVERS)[name]
        print(f"{image} ...", file=sys.stderr)
        if name in TARGETS:
            store.build(image, ROOT, ROOT / "k8s" / "images" / "Dockerfile", target=name, arguments={"PYTHON": base})
        elif base == BASE:
            store.run("pull", image)
        else:
            _stand_in_server(store, base, name)
        store.load(image, ctr(place))
    return 0


class Store:
    """buildah's images, in a folder of their own.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def run(self, *arguments: str) -> str:
        """A command of buildah's; what it printed."""
        done = subprocess.run(
            ["buildah", f"--root={self._folder / 'storage'}", f"--runroot={self._folder / 'run'}", *arguments],
            check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"BUILDAH_ISOLATION": "chroot"},
        )  # fmt: skip
        return done.stdout.strip()

    def build(
        self, image: str, context: Path, file: Path, *, target: str = "", base: str = "", arguments: Mapping[str, str]
    ) -> None:
        """By a Dockerfile; on another base than it names first, where one is given."""
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        ignored = file.with_name(f"{file.name}.dockerignore")
        self.run(
            "build", "--quiet", "--layers", "--network=host", *([f"--target={target}"] if target else []),
            *([f"--from={base}"] if base else []), *given,
            *([f"--ignorefile={ignored}"] if ignored.exists() else []), f"--file={file}", f"--tag={image}", str(context),
        )  # fmt: skip

    def build_on(
        self,
        base: str,
        image: str,
        command: str,
        programs: Mapping[str, str] = MappingProxyType({}),
        *,
        entrypoint: str = "",
    ) -> None:
        """The base after a command, with programs of these texts in /bin, of which it starts one."""
        with TemporaryDirectory() as folder:
            context = Path(folder)
            for name, text in programs.items():
                (context / name).write_text(text)
            lines = [f"FROM {base}", f"RUN {command}", *(f"COPY --chmod=755 {name} /bin/" for name in programs)]
            if entrypoint:
                lines.append(f'ENTRYPOINT ["{entrypoint}"]')
            (context / "Dockerfile").write_text("\n".join(lines) + "\n")
            self.build(image, context, context / "Dockerfile", arguments={})

    def load(self, image: str, ctr: Sequence[str]) -> None:
        """Bring it to containerd."""
        with TemporaryDirectory(dir=self._folder) as folder:
            archive = Path(folder, "image.tar")
            self.run("push", "--quiet", image, f"docker-archive:{archive}:{image}")
            import_image(archive, ctr)

    def base(self) -> str:
        """What images are built on, as the environment says."""
        return self._stand_in() if os.environ.get("RECSYS_TEST_BASE") == "stand-in" else BASE

    def _stand_in(self) -> str:
        """Debian's smallest system with the libraries of a Python, and the Python that runs this."""
        if STAND_IN in self.run("images", "--format={{.Name}}:{{.Tag}}"):
            return STAND_IN
        root = self._folder / "stand-in"
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={','.join(LIBRARIES)}", "bookworm", root, DEBIAN],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        _copy_python(Path(sys.base_prefix), root / "usr" / "local")
        authorities = Path("/etc/ssl/certs/ca-certificates.crt")  # whom this machine believes
        shutil.copyfile(authorities, root / authorities.relative_to("/"))
        (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {authorities}\n")
        subprocess.run(["chroot", root, "ldconfig"], check=True)
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, str(root), "/")
        path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.run("config", f"--env={path}", f"--env=SSL_CERT_FILE={authorities}", "--cmd=python3", container)
        self.run("commit", "--quiet", "--rm", container, STAND_IN)
        shutil.rmtree(root)
        return STAND_IN


def _stand_in_server(store: Store, base: str, name: str) -> None:
    """Debian's package with the same program, started as the image would start it."""
    if name == "redis":
        store.build_on(base, SERVERS[name], debian("redis-server"))
        return
    user = "useradd --system --uid 999 --user-group postgres"
    store.build_on(
        base, SERVERS[name], f"{user} && {debian('postgresql')} && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/",
        {"docker-entrypoint.sh": START_POSTGRES}, entrypoint="docker-entrypoint.sh",
    )  # fmt: skip


def debian(package: str) -> str:
    """The command that installs a package of Debian's."""
    return f"apt-get update -qq && apt-get install -qq -y --no-install-recommends {package}"


def load_program(program: Path, image: str, *, ctr: Sequence[str], name: str) -> None:
    """An image that holds one statically linked program as /NAME, and an empty /tmp, for a user without rights."""
    layer = _tar({name: program.read_bytes()}, mode=0o755, scratch="tmp")
    config = json.dumps({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{name}"], "User": NOBODY},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }).encode()  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]
    archive = _tar({"config.json": config, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()})
    with NamedTemporaryFile(suffix=".tar") as file:
        file.write(archive)
        file.flush()
        import_image(Path(file.name), ctr)


def import_image(archive: Path, ctr: Sequence[str]) -> None:
    """Bring a docker-archive to containerd."""
    subprocess.run(
        [*ctr, "images", "import", "--digests=false", archive], check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _tar(files: Mapping[str, bytes], mode: int = 0o644, scratch: str = "") -> bytes:
    """The files, and a folder that anybody writes to, if it has a name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        if scratch:
            entry = tarfile.TarInfo(scratch)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _copy_python(prefix: Path, into: Path) -> None:
    """Program and standard library; of the packages only pip, which the Dockerfile begins with."""
    for part in ("bin", "lib", "include"):
        shutil.copytree(prefix / part, into / part, symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("site-packages", "test", "__pycache__"))  # fmt: skip
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for package in (prefix / "lib" / version / "site-packages").glob("pip*"):
        shutil.copytree(package, into / "lib" / version / "site-packages" / package.name)
    pip = into / "bin" / "pip"  # whose first line names the Python that it came with
    pip.write_text('#!/bin/sh\nexec python3 -m pip "$@"\n')


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
