"""The documentation says what the code does."""

from pathlib import Path

from kgrad.log import schema

ROOT = Path(__file__).parent.parent


def test_every_column_is_in_the_docs_as_the_schema_has_it():
    text = (ROOT / "docs" / "run-folder.md").read_text()
    tables = [column for table in schema.TABLES.values() for column in table]
    for column in [*schema.COLUMNS.values(), *tables]:
        assert f"| `{column.name}` | {column.type} | {column.unit} | {column.meaning} |" in text


def test_the_readme_links_to_files_that_exist():
    import re

    text = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / link).exists(), link


def test_the_gallery_is_what_the_code_writes_now():
    """Same headings and styles as a report rendered today; `just gallery` writes it anew."""
    import re

    from kgrad.demo import STORY_NAMES
    from kgrad.reporters.html import _asset, _script

    for name in STORY_NAMES:
        page = (ROOT / "reports" / f"{name.replace('-', '_')}.html").read_text()
        assert _asset("report.css") in page
        assert _script() in page
        headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", page)
        assert {"The run at a glance", "Layers and steps", "Audits", "The run"} <= set(headings)
        assert "Findings" in headings or name == "healthy"
    assert all(
        f'href="{name.replace("-", "_")}.html"' in (ROOT / "reports" / "index.html").read_text() for name in STORY_NAMES
    )
