import pytest

from portraitist.train.import_closure import import_closure, imported_modules, module_file

FILES = {
    "__init__.py": "",
    "core/__init__.py": "",
    "core/files.py": "import os",
    "core/image.py": "from core_of_another_project import files",
    "train/__init__.py": "from toy.core.image import encode",
    "train/loop.py": "from toy.core import files\nimport numpy",
    "train/lazy.py": "def run():\n    import toy.app.server",
    "app/__init__.py": "",
    "app/server.py": "from toy.train import loop",
}


@pytest.fixture
def packages(tmp_path):
    for name, source in FILES.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return {"toy": tmp_path / "toy"}


def names(paths, packages):
    return {path.relative_to(packages["toy"]).as_posix() for path in paths}


def test_module_file_finds_modules_and_packages(packages):
    assert module_file("toy.core.files", packages) == packages["toy"] / "core" / "files.py"
    assert module_file("toy.core", packages) == packages["toy"] / "core" / "__init__.py"
    assert module_file("toy", packages) == packages["toy"] / "__init__.py"
    assert module_file("toy.core.files.FILES", packages) is None
    assert module_file("numpy", packages) is None


def test_imported_submodules_and_packages_count(packages):
    found = imported_modules(packages["toy"] / "train" / "loop.py", packages)
    assert found == {"toy", "toy.core", "toy.core.files"}


def test_closure_follows_imports_inside_functions(packages):
    closure = import_closure([packages["toy"] / "train" / "lazy.py"], packages)
    assert names(closure, packages) == {
        "__init__.py", "app/__init__.py", "app/server.py", "core/__init__.py", "core/files.py", "core/image.py",
        "train/__init__.py", "train/lazy.py", "train/loop.py",
    }  # fmt: skip


def test_closure_of_a_leaf_is_the_leaf(packages):
    assert names(import_closure([packages["toy"] / "core" / "files.py"], packages), packages) == {"core/files.py"}
