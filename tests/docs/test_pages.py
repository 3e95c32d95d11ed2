"""What the pages name exists: files, links, settings, reason codes, log events; generated pages are up to date."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from intarsia.catalog.mapping import CatalogMapping
from intarsia.catalog.rejects import Reason
from intarsia.image import ImageFault
from pipelines.job import RunConfig, load_job
from pipelines.jobs import CHECK_NAMES, JOB_NAMES
from serve_apps.settings import Budgets, ServingConfig
from tests.docs.pages import ALL_PAGES, DOCS, ROOT, WRITTEN, load_generator

SETTINGS_OF = {name: load_job(name).config for name in (*JOB_NAMES, *CHECK_NAMES)}
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]*)+|[\w-]+\.(?:md|toml|cff|yaml)")
_NOT_IN_THE_TREE = ("lake/", "releases/", "indexes/", "fusion_spec/", "runs/", "data/", "build/", "v1/", "page/")
_SHOWN_FILES = {"live.json", "encoder.json", "report.md", "shop.yaml", "mapping.yaml", "current.json"}
BANNED = re.compile(
    r"\b(arena|lessons?|mend|mended|twins?|beside|told|untold|contenders?|pictures?|made queries|"
    r"whose matter|organs?|foretell)\b",
    re.IGNORECASE,
)


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def spans(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def slugs(page: Path) -> set[str]:
    headings = re.findall(r"^#{1,4} (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).strip().replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_generated_pages_are_up_to_date() -> None:
    stale = [path.name for path, text in load_generator().rendered().items() if path.read_text("utf-8") != text]
    assert stale == [], "run python docs/generate.py"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_named_paths_exist(page: Path) -> None:
    for span in spans(page):
        if _PATH.fullmatch(span) and not span.startswith(_NOT_IN_THE_TREE) and span not in _SHOWN_FILES:
            assert any((root / span).exists() for root in (ROOT, ROOT / "platform" / "intarsia", DOCS)), span


def test_the_path_check_reads_the_pages() -> None:
    named = {span for span in spans(ROOT / "CONTRIBUTING.md") if _PATH.fullmatch(span)}
    assert {"features/themes/", "fusion/score/comb_sum_mnz.py", "pyproject.toml", ".ci/run"} <= named


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.stem)
def test_links_and_anchors_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in slugs(linked), target


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_named_settings_exist(page: Path) -> None:
    for span in spans(page):
        name, dot, rest = re.split(r"[=:]", span)[0].partition(".")
        if dot and name in SETTINGS_OF and rest.replace(".", "").isidentifier():
            assert has_setting(SETTINGS_OF[name], rest), span


def test_every_key_of_the_mapping_table_exists() -> None:
    known = {field.name for field in dataclasses.fields(CatalogMapping)}
    assert {"price", "merge", "variants", "attribute_objects", "placeholders"} <= known
    assert has_setting(RunConfig, "session.object_store_mb")


def test_every_reason_code_is_explained() -> None:
    text = (DOCS / "your-own-data.md").read_text(encoding="utf-8")
    assert [code.value for kind in (Reason, ImageFault) for code in kind if f"`{code.value}`" not in text] == []


def test_budgets_on_the_operations_page_are_the_defaults() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(Budgets):
        stated = re.search(rf"`{field.name}`, (\d+)", text)
        assert stated is not None, field.name
        assert int(stated[1]) == field.default, field.name


def test_log_events_on_the_operations_page_are_logged() -> None:
    section = (DOCS / "operations.md").read_text(encoding="utf-8").partition("## Logs")[2].partition("**Served")[0]
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "serve_apps").rglob("*.py"))
    for event in re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE):
        assert f'"{event}"' in code, event


def test_serving_settings_of_the_operations_page_exist() -> None:
    for span in spans(DOCS / "operations.md"):
        group = re.fullmatch(r"((?:budgets|replicas|limits)\.\w+).*", span)
        if group:
            assert has_setting(ServingConfig, group[1]), span


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_plain_words(page: Path) -> None:
    assert BANNED.findall(prose(page)) == []


def test_each_result_table_names_its_command_and_when_it_was_measured() -> None:
    for path in sorted((DOCS / "results").glob("*.json")):
        table = json.loads(path.read_text(encoding="utf-8"))
        assert table["command"].startswith("python -m "), path.name
        assert set(table["measured"]) == {"version", "date", "machine"}, path.name
        columns = {column["name"] for column in table["columns"]}
        assert set(table["key"]) <= columns, path.name
        assert all(set(row) - {"measured"} <= columns for row in table["rows"]), path.name


@pytest.mark.timeout(600)
def test_recorded_replies_have_the_form_of_the_replies_of_this_code(tmp_path: Path) -> None:
    generator = load_generator()
    generator.record_replies(tmp_path)
    for path in sorted((DOCS / "replies").glob("*.json")):
        recorded, now = (json.loads((folder / path.name).read_text("utf-8")) for folder in (path.parent, tmp_path))
        assert form_of(recorded) == form_of(now), f"{path.name}: run python docs/generate.py --record"


def has_setting(cls: type[Any], name: str) -> bool:
    known = [one.name for one in load_generator().settings_of(cls)]
    return any(one == name or one.startswith((f"{name}.", f"{name}[")) for one in known)


def form_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: form_of(item) if key != "contributions" else type(item).__name__ for key, item in value.items()}
    if isinstance(value, list):
        return [form_of(item) for item in value[:1]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
