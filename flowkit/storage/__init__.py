"""Trajectories on disk, in an open format that other programs read.

The suffix chooses the container: `.npz` (NumPy, no extra needed), `.nc` (NetCDF-4) or `.zarr`
(Zarr, version 2, consolidated), both through xarray, with the extra `labelled`. All hold the same.

Arrays, by name:
    time: The saved times. A coordinate, whose attribute `long_name` says what the clock counts.
    final_time: The time of the final state, one number.
    states, states.PATH: Each array of the states, time first. PATH leads to it through the state:
        `states.0` is the first factor, `states.layers.0.weight` a weight of an Equinox model.
    final, final.PATH: The final state likewise, without time.
    NAME, NAME.PATH: What was recorded as observable NAME, time first.

Characters that a container does not allow become `_`, and a name that differs from another by case
at most gets a number; `structure` has the true keys. The axes besides `time` are called
`states.PATH:axis_0` and so on, and the final state shares those of the states.

Attributes:
    format, format_version, flowkit_version: "flowkit trajectory"; 1; who wrote it.
    clock, units: What the times count, and a sentence on the units of the rest.
    successful, reason: 1 or 0, and why the solve ended.
    stats: Counts of work done.
    structure: The pytrees of `states`, `final` and `observables`; leaves are names of arrays, see
        `flowkit.storage.structure`.
    numpy_arrays: Names of the arrays that were NumPy's, not JAX's.
    types: The type of each array that the container cannot store as it is. Complex numbers get a
        last axis of real and imaginary part; others (`bfloat16`, and in NetCDF and Zarr `float16`
        and `bool`) are stored as unsigned integers of the same bits.

In NetCDF and Zarr the last four are JSON text in attributes of the dataset. In `.npz` all are in
one JSON text under the name `attributes`, see `save_arrays`. How JSON holds tuples and non-finite
numbers is said in `flowkit.storage.values`.

Without flowkit: `xarray.open_dataset("run.nc")["loss"]`, or `numpy.load("run.npz")["loss"]`.
"""

from flowkit.storage.arrays import load_arrays as load_arrays, save_arrays as save_arrays
from flowkit.storage.trajectories import (
    load_trajectory as load_trajectory,
    save_trajectory as save_trajectory,
    to_dataset as to_dataset,
)
