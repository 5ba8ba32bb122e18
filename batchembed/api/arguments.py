"""The arguments of a create, refused before anything is sent where they can't be right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from batchembed.api.models import CreateForm
from batchembed.api.options import pairs
from batchembed.api.uploads import as_upload
from batchembed.errors import ArgumentError
from batchembed.profiles import parameter_breaches

#: "Not given", as the official SDK spells it.
OMIT = cast("Any", ...)


def given(value: object) -> bool:
    """Whether an argument was given. An explicit None counts as not given: it sends no part."""
    return value is not ... and value is not None


def create_form(
    *,
    model_name: str,
    video_file: object,
    video_url: str | None,
    parameters: Mapping[str, Any],
    more: Mapping[str, Any],
) -> CreateForm:
    """The form of a create. Lists become repeated parts, numbers are written by `str`.

    Args:
        model_name: passed through; a published profile's limits are applied.
        video_file: an open binary file, bytes, a path, or `(name, content[, type[, headers]])`.
        video_url: instead of a file.
        parameters: clip length, offsets and scope, as the caller gave them or not.
        more: parts that the caller adds on its own account, unchecked.

    Raises:
        ArgumentError: every rule of the document that is broken.
    """
    asked = {name: value for name, value in parameters.items() if given(value)}
    if "video_embedding_scope" in asked:
        asked["video_embedding_scope"] = _listed(asked["video_embedding_scope"])
    problems = [
        f"The {name} parameter is invalid. It is {value}"
        for name, value in asked.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    if not _is_text(model_name):
        problems.append("The model_name parameter is required but was not provided.")
    if not problems:
        problems = [reason.message for reason in parameter_breaches(model_name, asked)]
    if given(video_url) and not _is_text(video_url):
        problems.append("The video_url parameter is invalid. It is no URL")
    if given(video_file) and given(video_url):
        problems.append("give video_file or video_url, not both: the service would take the URL")
    if not given(video_file) and not given(video_url):
        problems.append("a create needs video_file or video_url")
    if problems:
        raise ArgumentError("; ".join(problems))
    values = {"model_name": model_name, "video_url": video_url, **asked, **more}
    return CreateForm(
        fields=tuple(part for name, value in values.items() for part in pairs(name, value)),
        upload=as_upload(video_file) if given(video_file) else None,
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _listed(scope: object) -> object:
    """As JSON Schema knows it: a tuple is a list, and one text stands for a list of one."""
    if isinstance(scope, str):
        return [scope]
    return list(scope) if isinstance(scope, tuple) else scope
