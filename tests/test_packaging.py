"""What is written down twice: versions, packages, requirements, extras, the recipe for conda."""

import itertools
import pathlib
import re

import pytest
import smoke

import fastcos

ROOT = pathlib.Path(__file__).parents[1]
#: Extras of those who work on fastcos: no page for its users has to name them.
OF_DEVELOPERS = {"bench", "dev", "docs", "peers"}


def read(name):
    return (ROOT / name).read_text("utf-8")


#: Versions and dates of the releases, the newest first.
RELEASES = re.findall(
    r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", read("CHANGELOG.md"), re.MULTILINE
)


@pytest.fixture(scope="module")
def project():
    toml = pytest.importorskip("tomllib")  # from Python 3.11
    return toml.loads(read("pyproject.toml"))


# -- versions --------------------------------------------------------------------------------------


def test_the_citation_is_that_of_the_release():
    version, date = RELEASES[0]
    citation = read("CITATION.cff").splitlines()
    assert f"version: {fastcos.__version__}" in citation
    dated = [line for line in citation if line.startswith("date-released: ")]
    # Between releases there is no date.
    assert dated == ([f"date-released: {date}"] if fastcos.__version__ == version else [])


def test_the_changelog_has_this_version():
    headings = re.findall(r"^## (.*)$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert len(headings) == 1 + len(RELEASES), headings
    number = tuple(map(int, fastcos.__version__.partition(".dev")[0].split(".")))
    last = tuple(map(int, RELEASES[0][0].split(".")))
    assert number > last if "dev" in fastcos.__version__ else number == last


# -- pyproject.toml --------------------------------------------------------------------------------


def test_every_package_is_listed(project):
    package = pathlib.Path(fastcos.__file__).parent
    folders = {path.parent for path in package.rglob("__init__.py")}
    # rglob does not follow the link.
    folders |= {path.parent for path in (package / "adapters").rglob("__init__.py")}
    names = {".".join(("fastcos", *folder.relative_to(package).parts)) for folder in folders}
    assert names == set(project["tool"]["setuptools"]["packages"])


def test_the_command_is_there(project):
    module, _, name = project["project"]["scripts"]["fastcos"].partition(":")
    assert module == "fastcos.__main__"
    assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_every_extra_is_tried_where_it_is_installed(project):
    # ``docs`` is tried by building the site, ``dev`` by these tests.
    assert set(smoke.EXTRAS) == set(project["project"]["optional-dependencies"]) - {"dev", "docs"}


def test_every_extra_is_on_a_page(project):
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    named = set(re.findall(r"`(\w+)`", text))
    for extras in re.findall(r"\.\[([\w,]+)\]", text):
        named |= set(extras.split(","))
    assert set(project["project"]["optional-dependencies"]) - OF_DEVELOPERS <= named


def test_every_requirement_is_pinned_within_its_bounds(project):
    requirements = pytest.importorskip("packaging.requirements")
    utils = pytest.importorskip("packaging.utils")
    pins = {}
    for line in read("constraints.txt").splitlines():
        if not line.startswith("#"):
            pin = requirements.Requirement(line)
            name = utils.canonicalize_name(pin.name)
            assert name not in pins, f"{name} twice"
            (pins[name],) = pin.specifier
    about = project["project"]
    of_extras = itertools.chain(*about["optional-dependencies"].values())
    listed = [*about["dependencies"], *of_extras]
    for requirement in map(requirements.Requirement, listed):
        name = utils.canonicalize_name(requirement.name)
        if name != "fastcos":
            assert requirement.specifier.contains(pins[name].version), requirement


# -- the recipe ------------------------------------------------------------------------------------


def test_the_recipe_says_the_same(project):
    yaml = pytest.importorskip("yaml")
    recipe, about = yaml.safe_load(read("recipe/recipe.yaml")), project["project"]
    assert recipe["context"]["version"] == fastcos.__version__
    assert f">={recipe['context']['python_min']}" == about["requires-python"]
    needed = recipe["requirements"]
    build = project["build-system"]["requires"]
    assert needed["host"][2:] == [one.replace(">", " >", 1) for one in build]
    assert needed["run"][1:] == [one.replace(">", " >", 1) for one in about["dependencies"]]
    (command,) = about["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [" = ".join(command)]
    assert recipe["about"]["summary"] == about["description"]
    assert recipe["about"]["license"] == about["license"]
    for path in recipe["tests"][1]["files"]["source"]:
        assert (ROOT / path).is_file()
