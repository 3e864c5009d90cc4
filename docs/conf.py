"""Sphinx: the documentation as pages (make docs)."""

project = "voxelome"
copyright = "the voxelome authors, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "voxelome"
html_show_sourcelink = False
html_copy_source = False
# Files of the repository that pages name, and that are no pages.
myst_url_schemes = {"http": None, "https": None, "mailto": None}


def setup(app):
    """Model cards lie beside their models, and are pages here."""
    app.connect("source-read", lambda _, name, text: text.__setitem__(0, _cards_as_pages(text[0])))


def _cards_as_pages(text):
    import re

    return re.sub(r"\]\(\.\./models/(\w+)/README\.md\)", r"](generated/card-\1.md)", text)
