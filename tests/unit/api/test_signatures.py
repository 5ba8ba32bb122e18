"""The document's signatures and classes, and the official SDK's, held against ours."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import pytest
import twelvelabs.wrapper.embed_client_wrapper as sdk

from batchembed import AsyncTasksClient, TasksClient
from batchembed.api import models

#: "Create video embeddings": each method's parameters with their defaults, self left out.
OMIT = ...
REQUIRED = inspect.Parameter.empty
DOCUMENT: dict[str, dict[str, Any]] = {
    "create": {
        "model_name": REQUIRED,
        "video_file": OMIT,
        "video_url": OMIT,
        "video_start_offset_sec": OMIT,
        "video_end_offset_sec": OMIT,
        "video_clip_length": OMIT,
        "video_embedding_scope": OMIT,
        "request_options": None,
    },
    "status": {"task_id": REQUIRED, "request_options": None},
    "wait_for_done": {
        "task_id": REQUIRED,
        "sleep_interval": 5.0,
        "callback": None,
        "request_options": None,
    },
    "retrieve": {"task_id": REQUIRED, "embedding_option": None, "request_options": None},
}
#: The document has no signature for it; these are the official SDK's.
LISTING: dict[str, Any] = dict.fromkeys(
    ("started_at", "ended_at", "status", "page", "page_limit", "request_options")
)
OWN = {
    "create": {"idempotency_key", "progress"},
    "wait_for_done": {"timeout", "raise_on_failed", "policy"},
}
POSITIONAL = {"task_id"}


@pytest.mark.parametrize("client", [TasksClient, AsyncTasksClient])
@pytest.mark.parametrize("method", [*DOCUMENT, "list"])
def test_a_method_has_the_documents_parameters_in_their_order(client: type, method: str) -> None:
    wanted = {**DOCUMENT, "list": LISTING}[method]
    _, *found = inspect.signature(getattr(client, method)).parameters.values()

    documented = [parameter for parameter in found if parameter.name in wanted]
    assert {parameter.name: parameter.default for parameter in documented} == wanted
    assert [parameter.name for parameter in documented] == list(wanted)
    for parameter in found:
        keyword_only = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert keyword_only == (parameter.name not in POSITIONAL)
    # What is ours comes by keyword, and has a default.
    own = [parameter for parameter in found if parameter.name not in wanted]
    assert {parameter.name for parameter in own} == OWN.get(method, set())
    assert all(parameter.default is not REQUIRED for parameter in own)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (sdk.EmbedTasksClientWrapper, TasksClient),
        (sdk.AsyncEmbedTasksClientWrapper, AsyncTasksClient),
    ],
    ids=["sync", "async"],
)
@pytest.mark.parametrize("method", [*DOCUMENT, "list"])
def test_a_call_that_the_official_sdk_takes_is_taken(theirs: type, ours: type, method: str) -> None:
    for parameter in list(inspect.signature(getattr(theirs, method)).parameters.values())[1:]:
        found = inspect.signature(getattr(ours, method)).parameters[parameter.name]
        assert (found.kind, found.default) == (parameter.kind, parameter.default)


BASE = {"input_url": "str", "input_filename": "str"}
METADATA = {
    **BASE,
    "video_clip_length": "float",
    "video_embedding_scope": "list[str]",
    "duration": "float",
}
#: Each class with its properties, which are all optional.
CLASSES: dict[str, dict[str, str]] = {
    "TasksCreateResponse": {"id": "str"},
    "TasksStatusResponse": {
        "id": "str",
        "status": "str",
        "model_name": "str",
        "video_embedding": "TasksStatusResponseVideoEmbedding",
    },
    "TasksStatusResponseVideoEmbedding": {"metadata": "VideoEmbeddingMetadata"},
    "BaseEmbeddingMetadata": BASE,
    "VideoEmbeddingMetadata": METADATA,
    "TasksRetrieveResponse": {
        "id": "str",
        "model_name": "str",
        "status": "str",
        "created_at": "datetime",
        "video_embedding": "TasksRetrieveResponseVideoEmbedding",
    },
    "TasksRetrieveResponseVideoEmbedding": {
        "metadata": "VideoEmbeddingMetadata",
        "segments": "list[VideoSegment]",
    },
    "AudioSegment": {"start_offset_sec": "float", "float_": "list[float]"},
    "VideoSegment": {
        "start_offset_sec": "float",
        "end_offset_sec": "float",
        "embedding_option": "str",
        "embedding_scope": "str",
        "float_": "list[float]",
    },
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_response_class_has_the_documents_properties(name: str) -> None:
    model = getattr(models, name)
    annotations = {
        key: value
        for each in reversed(model.__mro__)
        for key, value in vars(each).get("__annotations__", {}).items()
    }

    for field, kind in CLASSES[name].items():
        assert annotations[field] == f"{kind} | None"
        assert getattr(model(), field) is None
    # What is more is the engine's own word on a failure, which the document lacks.
    assert set(annotations) - set(CLASSES[name]) <= {"error", "warnings"}


def test_classes_extend_those_that_the_document_says() -> None:
    assert issubclass(models.VideoEmbeddingMetadata, models.BaseEmbeddingMetadata)
    assert issubclass(models.VideoSegment, models.AudioSegment)


@pytest.mark.parametrize("name", CLASSES)
def test_a_response_is_frozen_and_tolerates_what_is_new(name: str) -> None:
    model = getattr(models, name)
    answer = msgspec.json.decode(b'{"brand_new": [1]}', type=model)

    with pytest.raises(AttributeError):
        answer.id = "t2"
