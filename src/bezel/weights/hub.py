"""Where a model name leads: a local path, or files of a hub repository in the Hugging Face cache.

`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` are honoured by huggingface_hub itself.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bezel.errors import DownloadError, GatedModelError, InvalidRequestError, StorageError, UnknownModelError
from bezel.weights import embedded

# Code and pickled weights are never fetched.
_CHECKPOINT_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer.model", "*.jinja"]


@dataclass(frozen=True)
class Reference:
    """A name taken apart: a local `path`, or `repo` with an optional `revision` and GGUF `file`."""

    path: Path | None = None
    repo: str | None = None
    revision: str | None = None
    file: str | None = None


def parse_reference(name: str) -> Reference:
    """Read `path`, `owner/name`, `owner/name@revision`, `owner/name:file.gguf` or both suffixes.

    "tiny" is the embedded model. What exists on disk wins; a name that can only be a path (absolute, `./`,
    `~`, or ending in .gguf without a colon) is never looked up on the hub.

    Raises InvalidRequestError or UnknownModelError.
    """
    if name == embedded.NAME:
        return Reference(path=embedded.writing().model)
    path = Path(name).expanduser()
    if name and path.exists():
        return Reference(path=path)
    match = re.fullmatch(r"([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]+))?(?::([\w./-]+\.gguf))?", name)
    looks_local = name.startswith(("/", "./", "../", "~")) or (name.endswith(".gguf") and ":" not in name)
    if match and not looks_local:
        repo, revision, file = match.groups()
        if ".." in Path(file or "").parts:
            raise InvalidRequestError(f"{name}: the file must lie inside the repository")
        return Reference(repo=repo, revision=revision, file=file)
    raise UnknownModelError(
        f"{name!r} is neither a file or folder here nor a hub name; "
        "write owner/name, owner/name@revision, owner/name:file.gguf, a path, or tiny"
    )


def fetch(reference: Reference) -> Path:
    """The local path of what `reference` names, downloaded where it is not cached yet.

    Interrupted downloads go on where they stopped. Raises GatedModelError, DownloadError, StorageError
    or UnknownModelError, each saying what to do next.
    """
    if reference.path is not None:
        return reference.path
    from huggingface_hub import hf_hub_download, snapshot_download

    with explained(reference) as repo:
        if reference.file:
            return Path(hf_hub_download(repo, reference.file, revision=reference.revision))
        return Path(snapshot_download(repo, revision=reference.revision, allow_patterns=_CHECKPOINT_FILES))


def fetch_optional(reference: Reference, file: str) -> Path | None:
    """The local path of one file of a repository, downloaded where it is not cached yet; None where it has none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with explained(reference) as repo:
        try:
            return Path(hf_hub_download(repo, file, revision=reference.revision))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return None


@contextmanager
def explained(reference: Reference, file: str | None = None) -> Iterator[str]:
    """Lends the repository's name and turns what huggingface_hub raises into our errors."""
    from huggingface_hub import errors as hub

    repo, revision, file = reference.repo or "", reference.revision, file or reference.file
    try:
        yield repo
    except hub.GatedRepoError as error:
        raise GatedModelError(
            f"{repo} is gated: accept its licence at https://huggingface.co/{repo} and set HF_TOKEN to a token "
            "of that account, then try again"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise UnknownModelError(f"{repo} has no revision {revision!r}; leave it out for the newest") from error
    except hub.RepositoryNotFoundError as error:
        raise UnknownModelError(
            f"the hub has no repository {repo}, or it is private; check the name, or set HF_TOKEN"
        ) from error
    except hub.LocalEntryNotFoundError as error:
        raise DownloadError(
            f"{repo} is not in the local cache and the hub cannot be reached; connect once (or unset "
            "HF_HUB_OFFLINE) and run: bezel pull " + repo
        ) from error
    except hub.EntryNotFoundError as error:
        raise UnknownModelError(f"{repo} has no file {file}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
            raise StorageError(
                f"cannot write {repo} to the cache: {error}; free space, or point HF_HOME at a folder you can write"
            ) from error
        raise DownloadError(f"downloading {repo} failed: {error}; run the command again to go on") from error
