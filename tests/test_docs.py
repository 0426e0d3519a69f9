"""The documentation says what the code does."""

from pathlib import Path

from kgrad.log import schema

ROOT = Path(__file__).parent.parent


def test_every_column_is_in_the_docs_as_the_schema_has_it():
    text = (ROOT / "docs" / "run-folder.md").read_text()
    for column in schema.COLUMNS.values():
        assert f"| `{column.name}` | {column.type} | {column.unit} | {column.meaning} |" in text


def test_the_readme_links_to_files_that_exist():
    import re

    text = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / link).exists(), link
