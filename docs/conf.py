"""How the site is built: `make docs`. The source folder is the repository's root.

So a page links to another one by its path, on the site and on GitHub alike, and pages of `studies/`,
CHANGELOG and CONTRIBUTING are part of the site where they lie.
"""

import warnings

# Imported here, since autodoc imports for the first time with TYPE_CHECKING set, which pydantic minds.
import hwsearch.denoisers.own
import hwsearch.jobs.exporting
import hwsearch.jobs.verification
import hwsearch.study.settings
import hwsearch.testing  # noqa: F401
from hwsearch import __version__

# the table of contents looks at every object there is, and torch warns of one of its own
warnings.filterwarnings("ignore", category=FutureWarning, module="sphinx_external_toc")

project = "hwsearch"
author = project_copyright = "the hwsearch contributors"
release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_external_toc",
]
include_patterns = [
    "README.md",
    "docs/**",
    "studies/**",
    "examples/*.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = ["docs/_build", "studies/*/*/**", "**/.*"]
external_toc_path = "docs/_toc.yml"

# headings are targets under the names that GitHub gives them
myst_heading_anchors = 4
myst_links_external_new_tab = True

# docstrings: Google's sections, and backticks as in Markdown
default_role = "literal"
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Source", "returns_style")]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "exclude-members": "model_config, model_post_init"}
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"hwsearch {release}"
html_extra_path = ["_root"]  # index.html, which leads to docs/index.html
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
html_theme_options = {
    "source_repository": "https://github.com/hwsearch/hwsearch/",
    "source_branch": "main",
    "source_directory": "",
}
