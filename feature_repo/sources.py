"""Where a view's snapshots lie. One factory: another offline store is another branch here and nowhere else."""

from pathlib import Path

from feast import FileSource, PushSource

from feature_repo.schema import EVENT_TIMESTAMP, ViewSpec

OFFLINE = "offline"
"""Folder of the offline store under the state folder."""


def source(spec: ViewSpec, home: Path) -> FileSource | PushSource:
    """The folder of snapshot files, behind a push source where events update the view between snapshots."""
    files = FileSource(
        name=f"{spec.name}_snapshots",
        path=str(home / OFFLINE / spec.name / "*.parquet"),
        timestamp_field=EVENT_TIMESTAMP,
        description=f"Dated snapshots of {spec.name}, one file each",
    )
    return PushSource(name=f"{spec.name}_push", batch_source=files) if spec.is_live else files
