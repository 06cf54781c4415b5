"""A description tells kernels apart, and is the same in every process."""

import json

import numpy as np
from gramian.plain import Plain

import flowkit as fk
from flowkit.gramian.descriptions import describe_kernel, differences


def test_every_setting_of_a_kernel_is_pinned():
    convolutional = fk.kernels.Convolutional(3)
    others = {
        "depth": fk.kernels.Convolutional(4),
        "activation": fk.kernels.Convolutional(3, "erf"),
        "readout": fk.kernels.Convolutional(3, readout=fk.kernels.LocalAverage(2)),
        "filter": fk.kernels.Convolutional(3, filter_size=5),
        "bias_variance": fk.kernels.Convolutional(3, bias_variance=0.1),
        "train": fk.kernels.Convolutional(3, train=(1, 2)),
    }
    for name, other in others.items():
        found = list(differences(describe_kernel(convolutional), describe_kernel(other)))
        assert any(name in sentence for sentence in found), (name, found)
    assert not list(differences(describe_kernel(Plain()), describe_kernel(Plain())))


def test_a_function_is_described_by_its_name_and_where_it_has_none_by_its_code():
    assert describe_kernel(json.dumps) == "json.dumps"
    assert describe_kernel((1, np.arange(2), None)) == [1, [0, 1], None]
    scaled = lambda factor: lambda u: factor * u
    one, same, other = (describe_kernel(scaled(factor)) for factor in (1.0, 1.0, 2.0))
    assert one == same != other
    assert describe_kernel(lambda u: u) != describe_kernel(lambda u: -u)
