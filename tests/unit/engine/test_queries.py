"""What a request asks, beyond its body."""

from __future__ import annotations

import pytest

from batchembed.engine.refusal import Refusal
from batchembed.engine.web.queries import idempotency_key


def test_a_create_has_one_key_or_none() -> None:
    assert idempotency_key() is None
    assert idempotency_key(None) is None
    assert idempotency_key("k 1") == "k 1"


@pytest.mark.parametrize("headers", [("a", "b"), ("a", "a"), ("",), ("é",), ("k" * 256,)])
def test_two_keys_or_what_can_be_none_are_refused(headers: tuple[str, ...]) -> None:
    with pytest.raises(Refusal, match="Idempotency-Key") as caught:
        idempotency_key(*headers)

    assert caught.value.status_code == 400
