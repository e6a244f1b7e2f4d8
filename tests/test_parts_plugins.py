"""A user's files as modules: what they import from their folder, and from nowhere else."""

import os
import pickle
import subprocess
import sys
from textwrap import dedent

import pytest

from retrograde.errors import UserError
from retrograde.parts.plugins import MODEL, known_as, load_file, module_name, plugin_modules
from retrograde.parts.provenance import beside, files

WAYS = {
    "import augment\nfound = augment.WHO": "augment.py",
    "import augment as a, json\nfound = a.WHO": "augment.py",
    "from augment import WHO as found": "augment.py",
    "from .augment import WHO as found": "augment.py",
    "from . import augment\nfound = augment.WHO": "augment.py",
    "import tools.deep\nfound = tools.deep.WHO": "tools/deep.py",
    "import tools.deep as d\nfound = d.WHO": "tools/deep.py",
    "from tools.deep import WHO as found": "tools/deep.py",
    "import relay\nfound = relay.WHO": "augment.py",
    "def later():\n    import augment\n    return augment.WHO\nfound = later()": "augment.py",
    "try:\n    import augment\nexcept ImportError:\n    pass\nfound = augment.WHO": "augment.py",
}


def lay(folder, main, name="mine.py"):
    """A plugin's folder with a helper that says which folder it is of."""
    (folder / "tools").mkdir(parents=True)
    (folder / "augment.py").write_text(f"WHO = {folder.name!r}\n")
    (folder / "tools" / "deep.py").write_text("from ..augment import WHO\n")
    (folder / "relay.py").write_text("from augment import WHO\n")
    (folder / name).write_text(main)
    return folder / name


@pytest.mark.parametrize("text", WAYS)
def test_two_folders_with_helpers_of_one_name_have_each_their_own(tmp_path, text):
    paths = [lay(tmp_path / name, text) for name in ("one", "two")]
    assert [load_file(path).found for path in paths] == ["one", "two"]
    assert "augment" not in sys.modules
    assert {"mine.py", WAYS[text]} <= files(paths[0]).keys() & beside(paths[0]).keys()


def test_a_file_hides_no_library(tmp_path):
    path = lay(tmp_path / "one", "import json, numpy\nfound = json.dumps(numpy.ones(1).tolist())")
    for name in ("json.py", "numpy.py"):
        (path.parent / name).write_text("")
    assert load_file(path).found == "[1.0]"


def test_a_helper_that_was_edited_is_imported_anew_with_the_file_that_is_loaded_again(tmp_path):
    path = lay(tmp_path / "one", "from augment import WHO as found")
    load_file(path)
    (path.parent / "augment.py").write_text("WHO = 'edited'\n")
    assert load_file(path).found == "edited"


def test_the_files_of_a_user_are_plugins_and_those_that_they_import_are_none(tmp_path):
    path = lay(tmp_path / "one", "import augment")
    load_file(path, MODEL)
    assert [module for module in plugin_modules() if str(tmp_path) in str(module.__file__)] == []
    module = load_file(path)
    own = [module for module in plugin_modules() if str(tmp_path) in str(module.__file__)]
    assert own == [module]


def test_a_bug_in_a_helper_is_reported_with_its_line(tmp_path):
    path = lay(tmp_path / "one", "import broken")
    (path.parent / "broken.py").write_text("x = 1\n1 / 0\n")
    with pytest.raises(UserError, match=r"mine\.py cannot be imported: broken\.py:2: ZeroDivision"):
        load_file(path)


def test_a_file_may_import_torchvision_whose_operators_do_not_load(tmp_path):
    text = "import sys, torchvision.transforms as T\nfound = T.CenterCrop(2)"
    path = lay(tmp_path / "one", text)
    code = f"from pathlib import Path; from retrograde.parts.plugins import load_file; load_file(Path({str(path)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_helper_that_is_missing_is_named(tmp_path):
    path = lay(tmp_path / "one", "import nothing_of_this_name")
    with pytest.raises(UserError, match="No module named 'nothing_of_this_name'"):
        load_file(path)


def test_an_object_of_a_module_that_has_another_name_elsewhere_can_be_read(tmp_path):
    path = lay(tmp_path / "one", "class Mine: pass")
    text = pickle.dumps(load_file(path).Mine())
    there = lay(tmp_path / "two", "class Mine: pass")
    name = module_name(path)
    for known in (name, name.rpartition(".")[0]):
        del sys.modules[known]
    known_as(load_file(there), name)
    assert pickle.loads(text).__class__.__module__ == module_name(there)


def test_a_strategy_with_a_helper_trains_in_worker_processes(tmp_path):
    lay(tmp_path / "one", "")
    text = """
        from dataclasses import dataclass
        import augment
        from retrograde.strategies.finetune import Finetune

        @dataclass(frozen=True)
        class Mine(Finetune):
            \"\"\"Mine.\"\"\"
            def step(self, net, state, data):
                import relay
                assert relay.WHO == augment.WHO == "one"
                return super().step(net, state, data)
        """
    (tmp_path / "one" / "mine.py").write_text(dedent(text))
    benchmark = "split:tasks=2,train_examples=20,test_examples=20,model=mlp-4"
    words = f"run --plugin one/mine.py --benchmark {benchmark} --strategy mine --seeds 2 --jobs 2"
    done = subprocess.run(
        [sys.executable, "-m", "retrograde", *words.split(), "--compile", "off"],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("seed-*.json"))) == 2
