"""The configuration of the documentation site."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for the extension

project = "retrograde"
author = "The retrograde maintainers"
version = release = version_of("retrograde")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "_extension",
]
exclude_patterns = ["_build", "_extension"]

html_theme = "furo"
html_title = "retrograde"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_copyright = False
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

nb_execution_mode = "force"  # a cache would not see that the library has changed
nb_execution_in_temp = True
nb_execution_timeout = 60
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

default_role = "code"  # docstrings write code between single backquotes
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Return value"]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

nitpicky = True
# Types of other libraries, type variables and private names stand in signatures without a link.
nitpick_ignore_regex = [(r"py:.*", r"(?!retrograde\.\w+$).*")]
