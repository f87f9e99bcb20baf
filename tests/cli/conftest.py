import sys

import pytest

from hwsearch.cli import main as cli
from hwsearch.cli.documents.catalog import DOCUMENTS, document_type


@pytest.fixture(autouse=True)
def few_questions(monkeypatch):
    """These tests look at words and exit codes; two calibration questions are enough for those."""
    monkeypatch.setenv("HWSEARCH_QUESTIONS", "2")


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the command line as a shell would; returns exit code, output, errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["hwsearch", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        verb = next((part for part in map(str, arguments) if part in DOCUMENTS), None)
        if verb is not None and "--json" in arguments and "--help" not in arguments:
            document_type(verb).validate_json(out)  # one document, whatever happened
        return stop.value.code or 0, out, err

    return call
