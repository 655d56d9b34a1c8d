import pytest

from shared.pricing.names import NameIndex, split_name, strip_provider
from tests.pricing.price_card import CARD, make_model

INDEX = NameIndex(CARD)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("acme", "quill-1-mini"),
        ("ACME", "quill-1-mini"),
        ("acme", "acme/quill-1-mini"),
        ("acme", "acme:quill-1-mini"),
        ("Acme", "aCmE/quill-1-mini"),
        ("acme", "quill-1-mini-20260115"),
        ("acme", "acme:quill-1-mini-20260115"),
    ],
)
def test_every_declared_spelling_means_one_model(provider: str, model: str) -> None:
    assert INDEX.find_key(provider, model) == "acme:quill-1-mini"


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("acme", "Quill-1-Mini"),
        ("acme", "quill-1-19990101"),
        ("acme", "quill"),
        ("acme", "quill-1-min"),
        ("acme", "quill-1-mini "),
        ("globex", "acme:quill-1"),
        ("globex", "quill-1-mini"),
        ("acme", "acme:acme:quill-1"),
        ("acme", "acme:"),
        ("acme", ""),
        ("", "quill-1"),
        ("", "acme:quill-1"),
        ("acm", "e:quill-1"),
    ],
)
def test_a_name_that_nobody_declared_means_nothing(provider: str, model: str) -> None:
    assert INDEX.find_key(provider, model) is None


def test_the_same_bare_name_means_each_providers_own_model() -> None:
    assert INDEX.find_key("acme", "quill-1") == "acme:quill-1"
    assert INDEX.find_key("globex", "quill-1") == "globex:quill-1"


def test_an_exact_key_beats_an_alias_and_a_stripped_prefix() -> None:
    models = CARD | {
        "relay:acme/quill-1-mini": make_model("acme/quill-1-mini", "relay", input="0.50", output="2.00"),
        "relay:relay/odd": make_model("relay/odd", "relay"),
        "relay:odd": make_model("odd", "relay", model_aliases=["acme/quill-1-mini", "relay:relay/odd"]),
    }
    index = NameIndex(models)
    assert index.find_key("relay", "acme/quill-1-mini") == "relay:acme/quill-1-mini"
    assert index.find_key("relay", "relay/acme/quill-1-mini") == "relay:acme/quill-1-mini"
    assert index.find_key("relay", "relay/odd") == "relay:relay/odd"
    assert index.find_key("relay", "relay:relay/odd") == "relay:odd"


def test_an_alias_that_older_data_claims_twice_always_means_the_same_model() -> None:
    b, a = make_model("b", model_aliases=["x"]), make_model("a", model_aliases=["x"])
    assert NameIndex({"acme:b": b, "acme:a": a}).find_key("acme", "x") == "acme:a"
    assert NameIndex({"acme:a": a, "acme:b": b}).find_key("acme", "x") == "acme:a"


def test_names_that_differ_in_case_alone_stay_two_models() -> None:
    models = {"acme:GPT": make_model("GPT"), "acme:gpt": make_model("gpt")}
    assert [NameIndex(models).find_key("acme", name) for name in ("GPT", "gpt", "Gpt")] == [
        "acme:GPT",
        "acme:gpt",
        None,
    ]


def test_one_name_may_stand_for_both() -> None:
    assert split_name("acme:quill-1") == ("acme", "quill-1")
    assert split_name("acme/quill-1") == ("acme", "quill-1")
    assert split_name("relay:acme/quill-1") == ("relay", "acme/quill-1")
    assert split_name("relay/quill:free") == ("relay", "quill:free")
    assert split_name("quill-1") is None
    assert split_name(":quill-1") is None
    assert split_name("acme:") is None


def test_a_prefix_is_stripped_once_and_only_when_it_is_the_provider() -> None:
    assert strip_provider("acme", "acme:acme:x") == "acme:x"
    assert strip_provider("acme", "acmex") is None
    assert strip_provider("acme", "other:x") is None
