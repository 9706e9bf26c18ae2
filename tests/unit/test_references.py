"""Image references: what is taken and what is refused, and why."""

from __future__ import annotations

import pytest

from toolkit.core.reference import parse
from toolkit.errors import PublishError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:5000/travel", ("127.0.0.1:5000", "travel", "latest")),
        ("my.azurecr.io/team/travel-cpu:0007", ("my.azurecr.io", "team/travel-cpu", "0007")),
        ("localhost/x:a", ("localhost", "x", "a")),
        ("[::1]:5000/x", ("[::1]:5000", "x", "latest")),
    ],
)
def test_a_reference_is_host_repository_and_tag(text, parts):
    found = parse(text)
    assert (found.host, found.repository, found.tag) == parts


def test_the_tag_of_the_image_is_kept_where_none_is_given():
    assert str(parse("my.azurecr.io/travel", "0007")) == "my.azurecr.io/travel:0007"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("travel", "names no registry"),
        ("travel/x", "names no registry"),
        ("https://my.azurecr.io/x", "'https:' is no registry host"),
        ("my.azurecr.io/Travel", "'Travel' is no repository name"),
        ("my.azurecr.io/", "'' is no repository name"),
        ("my.azurecr.io/x:", "'' is no tag"),
        ("my.azurecr.io/x:a b", "'a b' is no tag"),
        ("my..io/x", "'my..io' is no registry host"),
        ("my.azurecr.io/x@sha256:0", "is no repository name"),
    ],
)
def test_a_malformed_reference_says_which_part(text, message):
    with pytest.raises(PublishError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [("localhost:1/x", True), ("127.0.0.2/x", True), ("[::1]:5/x", True), ("127x.io/x", False), ("my.azurecr.io/x", False)],
)
def test_only_loopback_is_spoken_to_without_tls(text, is_loopback):
    assert parse(text).is_loopback is is_loopback
