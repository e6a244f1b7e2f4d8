"""Datasets that torchvision downloads."""

from pathlib import Path

from retrograde._torchvision import import_torchvision
from retrograde.errors import UserError

__all__ = ["import_torchvision", "not_had"]


def not_had(
    what: str,
    folder: Path,
    inside: str,
    files: str,
    error: Exception,
) -> UserError:
    """The error for a dataset that is not in the data folder and cannot be downloaded.

    Args:
        what: The name of the dataset.
        folder: The data folder.
        inside: The folder of the dataset inside the data folder.
        files: The files that belong there, in words.
        error: The reason why the download failed.
    """
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return UserError(
        f"{what} could not be had. Looked in {folder.resolve() / inside}, then tried to download "
        f"it there: {reason} Put {files} there, or set "
        f"RETROGRADE_DATA to the folder that holds {inside}."
    )
