"""The comparison of devices, here of the CPU with itself."""

import runpy
from pathlib import Path

TOOL = Path(__file__).parents[1] / "tools" / "compare_devices.py"


def test_a_device_is_compared_with_the_cpu(tmp_path, traces_alone):
    tool = runpy.run_path(str(TOOL))
    cell = tool["Compared"]("split:tasks=2,train_examples=20,model=mlp-8", "er:lr=0.1", (1, 2))
    tool["main"].__globals__["CELLS"] = (cell,)
    tool["main"]([str(tmp_path / "table.md"), "--device", "cpu"])
    head, line, *rows = (tmp_path / "table.md").read_text().splitlines()
    assert head.count("|") == line.count("|") == rows[0].count("|")
    found = [[text.strip() for text in row.split("|")[1:-1]] for row in rows]
    # On the CPU alone, and on the device with one replicate and two; eager and compiled each.
    assert [row[3:5] for row in found] == [
        [count, compiled] for count in ("1", "1", "2") for compiled in ("False", "True")
    ]
    apart = [float(row[-1]) for row in found]
    assert apart[0] == apart[2] == 0
    assert max(apart) < 1e-4
    assert all(float(number) > 0 for row in found for number in row[6:8])


def test_what_is_not_begun_in_time_is_left_out(tmp_path):
    tool = runpy.run_path(str(TOOL))
    tool["main"]([str(tmp_path / "table.md"), "--minutes", "0"])
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2
