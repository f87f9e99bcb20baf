"""The guarded room: how every file from outside is opened, read, and how folders are written whole."""

from hwsearch.files.folders import recover_folder, refuse_existing, whole_folder
from hwsearch.files.kinds import FileKind
from hwsearch.files.opening import check_inside, check_plain, open_plain, read_bytes, read_text
from hwsearch.files.parsing import checked, parse_json, read_json, read_schema, read_toml
from hwsearch.files.refusals import refused_by

__all__ = [
    "FileKind",
    "check_inside",
    "check_plain",
    "checked",
    "open_plain",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_schema",
    "read_text",
    "read_toml",
    "recover_folder",
    "refuse_existing",
    "refused_by",
    "whole_folder",
]
