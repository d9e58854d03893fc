"""Copies of bundles where a cluster's storage initializer reads them: an object store, or any other file system of Arrow."""

import logging
from pathlib import Path

from pyarrow import fs
from pyarrow.lib import ArrowException

from components.artifacts.errors import ConfigError, RecsysError
from components.artifacts.manifest import MANIFEST

log = logging.getLogger(__name__)

VOLUME = "pvc://"


class CopyFailedError(RecsysError):
    """The store was not reached, or refused."""


def is_on_a_volume(uri: str) -> bool:
    """Whether the address lies within a volume, where the registry itself has put the bundle."""
    return uri.startswith(VOLUME)


def ensure_copied(bundle: Path, uri: str) -> bool:
    """Have a bundle lie at an address as well; whether it was copied now. Harmless to repeat.

    Its manifest is written last, so a copy that was cut off is none and is made anew. Credentials are those that the store's
    own clients find in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL).

    Args:
        bundle: Folder of a version in the registry.
        uri: Where it should lie: s3://, gs:// or file://.

    Raises:
        ConfigError: No file system is known by that name.
        CopyFailedError: It could not be written.
    """
    try:
        there, path = fs.FileSystem.from_uri(uri)
    except (ArrowException, ValueError) as error:
        raise ConfigError(f"bundles {uri}: expected s3://, gs://, file:// or pvc:// ({error}).") from error
    try:
        if there.get_file_info(f"{path}/{MANIFEST}").type == fs.FileType.File:
            return False
        names = sorted(file.relative_to(bundle).as_posix() for file in bundle.rglob("*") if file.is_file())
        for folder in sorted({f"{path}/{name}".rpartition("/")[0] for name in names}):
            there.create_dir(folder)
        for name in (*(one for one in names if one != MANIFEST), MANIFEST):
            fs.copy_files(str(bundle / name), f"{path}/{name}", fs.LocalFileSystem(), there)
    except OSError as error:
        raise CopyFailedError(
            f"bundle {bundle.name}: not copied to {uri}: {error}. Run the command again: it goes on where it stopped."
        ) from error
    log.info("bundle %s copied to %s", bundle.name, uri)
    return True
