from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from intarsia.config import build, check_range, describe, fingerprint, setting, to_jsonable
from intarsia.config_file import read_yaml, with_overrides
from intarsia.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A nested config."""

    dim: int = setting("width of a vector", 8)
    pooling: Literal["mean", "cls"] = setting("how tokens become one vector", "mean")

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"dim is {self.dim}; allowed: 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A config with a field of every kind."""

    source: Path = setting("the file of products")
    share: float = setting("part of the rows, 0..1", 0.05)
    limit: int | None = setting("rows to read; default: all", None)
    keep: bool = setting("whether to keep the rest", False)
    names: tuple[str, ...] = setting("columns", ())
    size: tuple[int, int] = setting("width and height, pixels", (2, 3))
    weights: Mapping[str, float] = setting("weight of each field", factory=dict)
    encoder: Encoder = setting("the encoder", factory=Encoder)
    spare: Encoder | None = setting("another one", None)
    either: int | str = setting("a count or a name", 0)


def test_values_are_converted_to_the_types_of_the_fields() -> None:
    shop = build(
        Shop,
        {
            "source": "~/a.csv",
            "share": 1,
            "limit": 7,
            "keep": True,
            "names": ["a", "b"],
            "size": [4, 5],
            "weights": {"title": 2},
            "encoder": {"dim": 3},
            "spare": {"pooling": "cls"},
            "either": "all",
        },
    )
    assert shop == Shop(
        source=Path("~/a.csv").expanduser(),
        share=1.0,
        limit=7,
        keep=True,
        names=("a", "b"),
        size=(4, 5),
        weights={"title": 2.0},
        encoder=Encoder(dim=3),
        spare=Encoder(pooling="cls"),
        either="all",
    )
    assert type(shop.share) is float
    assert type(shop.weights["title"]) is float


def test_a_path_starts_from_the_config_file_or_for_overrides_from_the_cwd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for written, path in (("a.csv", "/shop/a.csv"), ("../a.csv", "/a.csv"), ("/b/a.csv", "/b/a.csv")):
        assert build(Shop, {"source": written}, base=Path("/shop")).source == Path(path)
    values = with_overrides({"source": "a.csv"}, ["source=b.csv"])
    assert build(Shop, values, base=Path("/shop")).source == tmp_path / "b.csv"
    assert build(Shop, {"source": "a.csv"}).source == tmp_path / "a.csv"


def test_a_string_of_an_override_is_a_plain_str() -> None:
    shop = build(Shop, with_overrides({"source": "/a"}, ["either=all", "names=[x, y]", "encoder.pooling=cls"]))
    assert (type(shop.either), type(shop.encoder.pooling)) == (str, str)
    assert shop.names == ("x", "y")


def test_a_missing_setting_has_its_default() -> None:
    assert build(Shop, {"source": "/a"}) == Shop(source=Path("/a"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wide:
    """A config that changes the defaults of the configs nested in it."""

    encoder: Encoder = setting("the encoder", factory=partial(Encoder, dim=512))
    shop: Shop = setting("a shop", factory=partial(Shop, source=Path("a.csv"), encoder=Encoder(dim=64)))


def test_a_missing_nested_setting_has_the_default_of_the_outer_config() -> None:
    wide = build(Wide, {"encoder": {"pooling": "cls"}, "shop": {"encoder": {"pooling": "cls"}}})
    assert wide.encoder == Encoder(dim=512, pooling="cls")
    assert wide.shop == Shop(source=Path("a.csv"), encoder=Encoder(dim=64, pooling="cls"))
    assert "      dim: int = 512" in describe(Wide).splitlines()
    assert "          dim: int = 64" in describe(Wide).splitlines()


def test_a_nested_config_object_is_used_as_it_is() -> None:
    encoder = Encoder(dim=5)
    assert build(Shop, {"source": "/a", "encoder": encoder}).encoder is encoder


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sorce": "a"}, r"unknown setting sorce; did you mean source\?"),
        ({"source": "/a", "encoder": {"dims": 3}}, r"unknown setting encoder\.dims; did you mean dim\?"),
        ({"source": "/a", "encoder": {"zzzzzz": 3}}, r"unknown setting encoder\.zzzzzz; known: dim, pooling"),
        ({"source": "/a", 7: 1}, r"unknown setting 7; known: source, share"),
        ({}, r"setting source is required: the file of products"),
        ({"source": 3}, r"source is 3; allowed: a path"),
        ({"source": "/a", "share": "much"}, r"share is 'much'; allowed: float"),
        ({"source": "/a", "share": True}, r"share is True; allowed: float"),
        ({"source": "/a", "limit": 1.5}, r"limit is 1\.5; allowed: int"),
        ({"source": "/a", "limit": True}, r"limit is True; allowed: int"),
        ({"source": "/a", "keep": 1}, r"keep is 1; allowed: bool"),
        ({"source": "/a", "keep": None}, r"keep is None; allowed: bool"),
        ({"source": "/a", "names": "ab"}, r"names is 'ab'; allowed: a list"),
        ({"source": "/a", "names": ["a", 3]}, r"names\[1\] is 3; allowed: str"),
        ({"source": "/a", "size": [1]}, r"size has 1 values; allowed: 2"),
        ({"source": "/a", "size": [1, "x"]}, r"size\[1\] is 'x'; allowed: int"),
        ({"source": "/a", "weights": [1]}, r"weights is \[1\]; allowed: a mapping"),
        ({"source": "/a", "weights": {"title": "x"}}, r"weights\.title is 'x'; allowed: float"),
        ({"source": "/a", "encoder": 3}, r"encoder is 3; allowed: a group of settings"),
        ({"source": "/a", "encoder": {"pooling": "max"}}, r"encoder\.pooling is 'max'; allowed: 'mean', 'cls'"),
        ({"source": "/a", "encoder": {"dim": 0}}, r"encoder: dim is 0; allowed: 1 or more"),
        ({"source": "/a", "spare": {"dim": -1}}, r"spare: dim is -1; allowed: 1 or more"),
        ({"source": "/a", "either": 1.5}, r"either is 1\.5; allowed: str"),
    ],
)
def test_an_invalid_value_is_refused_with_its_key_and_what_is_allowed(values: dict[Any, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{words}"):
        build(Shop, values)


def test_messages_start_with_the_name_of_the_group() -> None:
    with pytest.raises(ConfigError, match=r"^unknown setting ingest\.encoder\.dims; did you mean dim\?"):
        build(Shop, {"source": "/a", "encoder": {"dims": 1}}, where="ingest")
    with pytest.raises(ConfigError, match=r"^Encoder: dim is 0"):
        build(Encoder, {"dim": 0})
    with pytest.raises(ConfigError, match=r"^ingest is 3; allowed: a group of settings"):
        build(Shop, 3, where="ingest")  # type: ignore[arg-type]


def test_a_mapping_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("ingest:\n  rate: 1e-3\n  name: 红\n  empty:\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == {"ingest": {"rate": 0.001, "name": "红", "empty": None}}


def test_a_merged_group_may_override_a_setting(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  b: 3\n")
    assert read_yaml(tmp_path / "a.yaml")["other"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [1", r"is not YAML"),
        (b"a: \xff", r"is not YAML"),
        (b"", r"holds NoneType; allowed: a mapping of settings"),
        (b"- a", r"holds list; allowed: a mapping of settings"),
        (b"a: {dim: 1, size: 2, dim: 3}", r"is not YAML: dim is given twice\n.*line 1, column 4"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_with_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"config file .*a\.yaml {words}"):
        read_yaml(tmp_path / "a.yaml")


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"b\.yaml does not exist; give an existing file with --config"):
        read_yaml(tmp_path / "b.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("a.b=3", 3),
        ("a.b=3.0", 3.0),
        ("a.b=1e-3", 0.001),
        ("a.b=-2E6", -2e6),
        ("a.b=true", True),
        ("a.b=[1, x]", [1, "x"]),
        ("a.b={c: 1}", {"c": 1}),
        ("a.b=x=y", "x=y"),
        ("a.b=", None),
        ("a.b=红", "红"),
        ("a.b='3'", "3"),
    ],
)
def test_the_value_of_an_override_is_parsed_as_yaml(override: str, value: object) -> None:
    assert with_overrides({"a": {"b": 0, "c": 1}}, [override]) == {"a": {"b": value, "c": 1}}


def test_overrides_create_groups_and_the_last_one_wins() -> None:
    assert with_overrides({}, ["a.b.c=1", "a.b.c=2", "d=3"]) == {"a": {"b": {"c": 2}}, "d": 3}


def test_an_empty_group_can_be_overridden() -> None:
    assert with_overrides({"a": None}, ["a.b=1"]) == {"a": {"b": 1}}


def test_overrides_do_not_change_their_input() -> None:
    values = {"a": {"b": {"c": 1}}}
    with_overrides(values, ["a.b.c=2", "a.d=3"])
    assert values == {"a": {"b": {"c": 1}}}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("a", r"override 'a' is not key=value; write for example batch_size=64"),
        ("=3", r"override '=3' is not key=value"),
        ("a.b=3", r"override 'a\.b=3': a is not a group of settings"),
        ("b=[1", r"override 'b=\[1': '\[1' is not YAML; quote it"),
    ],
)
def test_an_invalid_override_is_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        with_overrides({"a": 1}, [override])


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(9, None, "dim is 8; allowed: 9 or more"), (0, 7, "dim is 8; allowed: 0 to 7")],
)
def test_a_number_outside_its_range_is_refused(low: int, high: int | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_range(Encoder(), "dim", low=low, high=high)
    check_range(Encoder(), "dim", low=8, high=8)


def test_a_config_can_be_built_from_its_json_values() -> None:
    shop = Shop(source=Path("/a"), names=("x",), weights={"t": 0.5}, spare=Encoder(dim=2))
    assert build(Shop, to_jsonable(shop)) == shop
    assert to_jsonable(shop)["spare"] == {"dim": 2, "pooling": "mean"}


def test_fingerprints_are_equal_for_equal_settings_only() -> None:
    first = Shop(source=Path("/a"), weights={"x": 1.0, "y": 2.0})
    assert fingerprint(first) == fingerprint(Shop(source=Path("/a"), weights={"y": 2.0, "x": 1.0}))
    assert fingerprint(first) != fingerprint(Shop(source=Path("/a"), weights={"x": 1.0, "y": 2.5}))


def test_the_description_has_the_default_and_meaning_of_every_setting() -> None:
    text = describe(Shop)
    for cls in (Shop, Encoder):
        for field in fields(cls):
            assert f"{field.name}: " in text
            assert field.metadata["help"] in text
    assert "source: Path  (required)" in text
    assert "limit: int | None = None" in text
    assert "names: tuple[str, ...] = []" in text
    assert text.count("dim: int = 8") == 2  # of `encoder` and of `spare`


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A common setting, and advanced ones."""

    num_steps: int = setting("steps of the fit", 10)
    warmup: int = setting("steps of rising learning rate", 2, advanced=True)
    encoder: Encoder = setting("the encoder", factory=Encoder, advanced=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlyAdvanced:
    """A config with an advanced setting only."""

    seed: int = setting("seed of all draws", 0, advanced=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Nests both configs."""

    training: Training = setting("the fit", factory=Training)
    random: OnlyAdvanced = setting("random numbers", factory=OnlyAdvanced)


def test_the_description_leaves_out_advanced_settings_on_request() -> None:
    assert describe(Job, advanced=False).splitlines() == [
        "  training: Training",
        "      the fit",
        "      num_steps: int = 10",
        "          steps of the fit",
    ]
    everything = describe(Job)
    assert all(f"{name}: " in everything for name in ("warmup", "encoder", "dim", "random", "seed"))


@pytest.mark.parametrize("text", ["day: 2020-99-99", "[" * 1200])
def test_text_that_yaml_cannot_hold_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml is not YAML"):
        read_yaml(tmp_path / "a.yaml")
