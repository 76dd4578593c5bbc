"""Publish a trained model on the Hub: a self-contained folder, its card, revisions and tags."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, ModelCard, ModelCardData, constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
from safetensors.torch import load_file

from anatomy_vlm.training.export_hub import export
from anatomy_vlm.training.export_masks import export_mask_model, is_mask_model
from anatomy_vlm.training.model_folder import load_checkpoint


PLACEHOLDER = "path/to/this/folder"
TAG = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
# What may be published: nothing that runs on loading but the code that was exported.
PUBLISHED = (".safetensors", ".json", ".md", ".py", ".txt", ".jinja")
GATES = ("auto", "manual")


class PushError(ValueError):
    """A model that cannot be published; one line that says why and what to do."""


@dataclass(frozen=True)
class Published:
    """
    Args:
        url: The repository's page.
        commit: Id of the last commit; pin it with `revision=`.
        tags: Tags that were set.
    """

    url: str
    commit: str
    tags: tuple[str, ...] = ()


def push(
    model: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    gated: Literal["auto", "manual"] | None = None,
    branch: str = "main",
    tag: str | None = None,
    stages: bool = False,
    message: str = "Upload Anatomy-VLM",
    half: bool = False,
    code: bool = True,
    max_shard_size: str = "1GB",
    scratch: Path | None = None,
) -> Published:
    """
    Publish a model, or every stage of a run; what the Hub already holds is not sent again.

    An upload that broke off goes on when the same call is made again: files that arrived are known by their content,
    and weights are in shards of `max_shard_size`. Nothing can be loaded until all files of a commit are there.

    Args:
        model: Folder or Hub id of a model, or the folder of a mask writer or of a segmentation model; with `stages`
            the folder of a run.
        repo_id: `owner/name`.
        private: Make a new repository private.
        gated: "auto" or "manual": who loads it has to ask, and is let in at once or by you.
        branch: Where the files go; made if it is not there.
        tag: A tag for the commit, such as "v1.0".
        stages: Publish the model after each stage of the run too, one commit each, tagged `stage-1-detection`, ...
        message: Of the commits.
        half: Store the weights in float16.
        code: Put the code beside the weights, for users without this package.
        max_shard_size: Size of the files that the weights are cut into.
        scratch: Folder for what is sent; in the current folder by default, removed at the end.

    Raises:
        PushError: for a name, token, right, tag or connection that will not do.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise PushError(f"'{repo_id}' is no repository; write it as owner/name") from None
    if repo_id.count("/") != 1:
        raise PushError(f"'{repo_id}' is no repository; write it as owner/name")
    if gated is not None and gated not in GATES:
        raise PushError(f"gated must be auto or manual, not '{gated}'")
    for name in (tag, branch):
        if name is not None and not TAG.fullmatch(name):
            raise PushError(f"'{name}' is no name of a tag or branch; use letters, digits, dots and dashes")
    if not get_token():
        raise PushError("no token of the Hub: run `hf auth login`, or set HF_TOKEN to a token with write access")
    scratch = Path(scratch or f".push-{repo_id.replace('/', '--')}-{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        versions = list(_versions(Path(model), scratch, stages, half, code, max_shard_size, tag))
        with explained(repo_id):
            return _send(versions, repo_id, private=private, gated=gated, branch=branch, message=message)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _versions(
    model: Path, scratch: Path, stages: bool, half: bool, code: bool, max_shard_size: str, tag: str | None
) -> Iterator[tuple[Path, str | None]]:
    """Folders to send, one after another, each with its tag."""
    if not stages:
        yield _folder(model, scratch / "model", half, code, max_shard_size), tag
        return
    finished = sorted(model.glob("[0-9]*-*/stage.json"))
    if not (model / "model").is_dir() or not finished:
        raise PushError(
            f"{model}: no finished stages; name the folder of a run, which holds model and 1-detection, ..."
        )
    last = finished[-1].parent
    for number, note in enumerate(finished, start=1):
        name = json.loads(note.read_text(encoding="utf-8"))["name"]
        network, processor = load_checkpoint(model / "model")
        network.load_state_dict(load_file(note.parent / "trained.safetensors"), strict=False)
        card = (model / "model" / "README.md").read_text(encoding="utf-8") if note.parent == last else None
        intermediate = export(network, scratch / f"stage-{number}", processor, card=card or _stage_card(model, name))
        yield _folder(intermediate, scratch / f"sent-{number}", half, code, max_shard_size), f"stage-{number}-{name}"
    if tag:
        yield scratch / f"sent-{len(finished)}", tag


def _stage_card(run: Path, stage: str) -> str:
    card = ModelCard((run / "model" / "README.md").read_text(encoding="utf-8"))
    # The numbers are those of the last stage.
    card.data = ModelCardData(**{k: v for k, v in card.data.to_dict().items() if k != "model-index"})
    return (
        f"---\n{card.data.to_yaml()}\n---\n\n# After the stage {stage}\n\n"
        "An intermediate state of a run; the last commit of this repository has the finished model and its numbers.\n"
    )


def _folder(model: Path, folder: Path, half: bool, code: bool, max_shard_size: str) -> Path:
    """A folder ready to be sent: exported, with a card whose examples name no folder of this machine."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    write = export_mask_model if is_mask_model(model) else export
    write(model, folder, half=half, code=code, max_shard_size=max_shard_size)
    card = folder / "README.md"
    if not card.is_file():
        raise PushError(
            f"{model}: has no README.md; a model needs a card that says what it is "
            "(`anatomy-vlm train` and `train-masks` write one)"
        )
    card.write_text(card.read_text(encoding="utf-8").replace(str(model), PLACEHOLDER), encoding="utf-8")
    strange = [path.name for path in folder.iterdir() if path.suffix not in PUBLISHED]
    if strange:
        raise PushError(
            f"{model}: {strange[0]} is not published; only weights in safetensors, settings, card and code"
        )
    return folder


def _send(
    versions: list[tuple[Path, str | None]],
    repo_id: str,
    *,
    private: bool,
    gated: Literal["auto", "manual"] | None,
    branch: str,
    message: str,
) -> Published:
    api = HfApi()
    api.whoami()
    url = api.create_repo(repo_id, private=private, exist_ok=True)
    if gated is not None:
        api.update_repo_settings(repo_id, gated=gated)
    if branch != "main":
        api.create_branch(repo_id, branch=branch, exist_ok=True)
    tags = []
    commit = ""
    for folder, tag in versions:
        card = folder / "README.md"
        card.write_text(card.read_text(encoding="utf-8").replace(PLACEHOLDER, repo_id), encoding="utf-8")
        info = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=branch,
            commit_message=f"{message} ({tag})" if tag else message,
            # Shards of an earlier upload would be loaded by nobody, but downloaded by all.
            delete_patterns=["*.safetensors", "*.safetensors.index.json", "*_anatomy_vlm.py"],
        )
        commit = info.oid
        if tag:
            api.create_tag(repo_id, tag=tag, revision=commit)
            tags.append(tag)
    return Published(str(url), commit, tuple(tags))


@contextmanager
def explained(repo_id: str) -> Iterator[None]:
    """What the Hub refuses, as a `PushError` that says what to do."""
    owner = repo_id.split("/")[0]
    again = "; what has arrived stays there, and the same command goes on"
    try:
        yield
    except GatedRepoError:
        raise PushError(f"{repo_id}: is gated, and you have no access; ask for it on its page") from None
    except RevisionNotFoundError as error:
        raise PushError(f"{repo_id}: {_reason(error)}") from None
    except RepositoryNotFoundError:
        raise PushError(f"{repo_id}: no such repository, or your token may not see it") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        reasons = {
            401: "the token is not valid; run `hf auth login` again",
            403: f"your token may not write to {owner}; take one with write access, or another owner",
            409: f"exists already ({_reason(error)}); choose another name",
            413: "a file is too large for this repository",
            429: f"too many requests; wait a little{again}",
        }
        reason = reasons.get(status) or f"the Hub answered {status}: {_reason(error)}{again}"
        raise PushError(f"{repo_id}: {reason}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise PushError(
            f"{repo_id}: the connection to {constants.ENDPOINT} failed ({_reason(error)}){again}"
        ) from error
    except Exception as error:
        # The HTTP client has errors of its own for a line that goes dead.
        if not type(error).__module__.startswith(("httpx", "httpcore")):
            raise
        raise PushError(
            f"{repo_id}: the connection to {constants.ENDPOINT} failed ({_reason(error)}){again}"
        ) from error


def _reason(error: Exception) -> str:
    """What lies at the bottom of an error, in one line."""
    if isinstance(error, HfHubHTTPError) and error.server_message:
        return " ".join(error.server_message.split())
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
