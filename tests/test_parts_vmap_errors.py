"""Errors of PyTorch under vmap, which reach an author with a line, a rule and a remedy."""

import re
from textwrap import dedent

import pytest

import retrograde as rg
from retrograde.parts.registry import Registry
from retrograde.parts.vmap_errors import translated

TEMPLATE = '''
from dataclasses import dataclass
import torch
import torchvision.transforms.v2 as T
from retrograde.strategies.finetune import Finetune

@dataclass(frozen=True)
class Bad(Finetune):
    """Bad."""

    def step(self, net, state, data):
        gradient = net.grad(state.params, data.incoming)
        x = data.incoming.x
        {line}
        return net.update(state, gradient, self.lr)
'''
LINE = 14
CASES = {
    "if x.sum() > 0: gradient = gradient": "Python cannot branch on a tensor, .* torch.where",
    "gradient['0.bias'] = x.sum().item()": "cannot become a Python number .* print",
    "print(f'{x.sum():.2f}')": "cannot become a Python number .* print",
    "net.grad_of_loss(lambda p: x.sum() * float(x.sum()), state.params)": "cannot become a Python",
    "x.numpy()": "cannot leave PyTorch",
    "x[x > 0]": "a shape cannot depend on the values .* weight of 0",
    "x + torch.rand(x.shape)": "torch's own generator .* net.uniform",
    "T.RandomHorizontalFlip()(x)": "a random transform .* net.uniform",
    "torch.zeros(x.shape)[0] = x[0]": "cannot be changed in place .* torch.where for",
    "torch.zeros(x.shape).add_(x)": "cannot be changed in place .* x \\+ y for x.add_",
    "x.sum().backward()": "backward.* net.grad_of_loss",
    "net.grad_of_loss(lambda p: net.logits(p, x).sum(0), state.params)": "a loss is one number",
    "torch.equal(x, x)": "no version of this operation",
}


def refused(tmp_path, line):
    path = tmp_path / "bad.py"
    path.write_text(dedent(TEMPLATE).format(line=line))
    strategy = Registry((path,)).get("strategies", "bad")
    with pytest.raises(rg.UserError) as caught:
        rg.run("split:train_examples=20,test_examples=20", [strategy], seeds=1, progress=False)
    return str(caught.value)


@pytest.mark.parametrize("line", CASES)
def test_an_error_under_vmap_has_the_authors_line_the_rule_and_a_remedy(tmp_path, line):
    text = refused(tmp_path, line)
    assert f"bad.py:{LINE}: " in text
    assert len(text.splitlines()) == 1
    assert re.search(CASES[line], text)
    assert "vmap:" not in text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("state.params['1.bias'].add_(1)", r"Bad.step (bad.py:11) changes state.params['1.bias'] in place"),
        ("return state.replace(params={})", "Bad.step (bad.py:11) gives a State whose tensors have"),
        ("return None", "Bad.step (bad.py:11) gives a State; it gave None"),
    ],
)  # fmt: skip
def test_a_step_that_changes_its_inputs_or_their_shapes_is_named_with_its_line(
    tmp_path, line, said
):
    assert said in refused(tmp_path, line)


def test_another_error_keeps_its_own_words():
    assert translated("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)") == ""
