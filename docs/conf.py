"""How the site is built: ``python -m sphinx -W docs docs/_build/html``, without a network."""

import re
from typing import Any

import matplotlib
from docutils import nodes

import fastcos

project = "fastcos"
author = "The fastcos developers"
copyright = author
release = version = fastcos.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build", "gallery"]
templates_path = ["_templates"]
root_doc = "index"
nitpicky = True  # what a page points to is there
nitpick_ignore_regex = [("py:.*", r"(torch|numpy|np|numba|scipy|sklearn|matplotlib|dask)\..*")]
# The settings of the gallery hold a function, which the cache of the build does not take.
suppress_warnings = ["config.cache"]

# Pages: Markdown that reads well where it lies, too.
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3

# Docstrings: Google's form.
napoleon_numpy_docstring = False
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"

# Prompts and outputs of examples are not copied.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"fastcos {release}"
html_static_path = ["_static"]
html_css_files = ["fastcos.css"]
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
html_copy_source = False


def _is_skipped(app: Any, what: str, name: str, obj: object, skip: bool, options: Any) -> bool:
    """Fields of named tuples, which the class tells of, and what scikit-learn adds to a class."""
    added = name.startswith("set_") and name.endswith("_request")
    return skip or added or type(obj).__name__ == "_tuplegetter"


def _found(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A name without a module is one of fastcos, wherever the docstring is that has it."""
    if node.get("refdomain") != "py" or "." in node["reftarget"]:
        return None
    domain, page, kind = env.get_domain("py"), node["refdoc"], node["reftype"]
    for module in ("fastcos", "fastcos.listwise"):
        name = f"{module}.{node['reftarget']}"
        found = domain.resolve_xref(env, page, app.builder, kind, name, node, content)
        if found is not None:
            return found
    return None


def _trim(app: Any, page: str, source: list[str]) -> None:
    """The blank line that ends a doctest, before the end of its block, is not shown."""
    source[0] = re.sub(r"\n\n```\n(?=\n|$)", "\n```\n", source[0])


def _keep(app: Any, doctree: nodes.document) -> None:
    """A figure in a table stays with its unit; a list of them is broken after a comma."""
    for cell in doctree.findall(nodes.entry):
        if "text-right" not in cell["classes"] or isinstance(cell.parent.parent, nodes.thead):
            continue
        for text in list(cell.findall(nodes.Text)):
            kept = text.replace(" ", "\N{NO-BREAK SPACE}").replace(",\N{NO-BREAK SPACE}", ", ")
            text.parent.replace(text, nodes.Text(kept))


def _point_back(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """From a source to its page: viewcode takes the name in one module for that in all."""
    if page.startswith("_modules/fastcos"):
        link = r"(generated/((?:\w+\.)*(\w+))\.html#)(?:\w+\.)*\3\""
        context["body"] = re.sub(link, r'\1\2"', context["body"])


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.connect("source-read", _trim)
    app.connect("doctree-read", _keep)
    app.connect("html-page-context", _point_back)
    app.connect("autodoc-skip-member", _is_skipped)
    app.connect("missing-reference", _found)


def _reset(gallery_conf: dict[str, Any], file_name: str) -> None:
    """Every example begins with Matplotlib as it comes."""
    matplotlib.rcdefaults()
    matplotlib.rcParams.update({"figure.dpi": 110})


matplotlib.use("agg")
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": "/plot_",
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": (_reset,),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "remove_config_comments": True,
}
