"""Builders of small files in the published layouts. Fixtures give the builder: tests cannot import a conftest."""

import h5py
import numpy as np
import pytest

HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://www.ismrm.org/ISMRMRD ismrmrd.xsd">
 <acquisitionSystemInformation><systemVendor>SIEMENS</systemVendor>
  <systemFieldStrength_T>2.893620</systemFieldStrength_T>
  <relativeReceiverNoiseBandwidth>0.793</relativeReceiverNoiseBandwidth>
  <receiverChannels>{channels}</receiverChannels></acquisitionSystemInformation>
 <experimentalConditions><H1resonanceFrequency_Hz>123207870</H1resonanceFrequency_Hz></experimentalConditions>
 <encoding>
  <encodedSpace><matrixSize><x>{enc[0]}</x><y>{enc[1]}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>280.0</x><y>162.8</y><z>4.5</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>{recon[0]}</x><y>{recon[1]}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>140.0</x><y>140.0</y><z>4.5</z></fieldOfView_mm></reconSpace>
  <encodingLimits>
   <kspace_encoding_step_1><minimum>0</minimum><maximum>{maximum}</maximum><center>{center}</center></kspace_encoding_step_1>
   <slice><minimum>0</minimum><maximum>{last_slice}</maximum><center>0</center></slice>
  </encodingLimits>
  <trajectory>cartesian</trajectory>
  <parallelImaging><accelerationFactor><kspace_encoding_step_1>1</kspace_encoding_step_1>
   <kspace_encoding_step_2>1</kspace_encoding_step_2></accelerationFactor></parallelImaging>
  <echoTrainLength>4</echoTrainLength>
 </encoding>
 <sequenceParameters><TR>2750</TR><TE>32</TE><TI>100</TI><flipAngle_deg>140</flipAngle_deg>
  <echo_spacing>10.8</echo_spacing></sequenceParameters>
</ismrmrdHeader>
"""


def random_kspace(shape, seed=0, dtype=np.complex64):
    """Return complex Gaussian samples of the size of fastMRI's (1e-4)."""
    rng = np.random.default_rng(seed)
    return (1e-4 * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))).astype(dtype)


def build_fastmri(
    path,
    *,
    n_slices=3,
    n_coils=5,
    n_readout=38,
    n_columns=27,
    padding=(3, 2),
    recon=(19, 16),
    header=True,
    header_changes=None,
    target="reconstruction_rss",
    acquisition="CORPDFS_FBK",
    single=False,
    kspace=None,
    dtype=np.complex64,
    **datasets,
):
    """Write a fastMRI file as published; return its k-space (slice, [coil,] readout, phase_encode)."""
    shape = (n_slices, n_readout, n_columns) if single else (n_slices, n_coils, n_readout, n_columns)
    if kspace is None:
        kspace = random_kspace(shape, dtype=dtype)
        kspace[..., : padding[0]] = 0
        kspace[..., n_columns - padding[1] :] = 0
    values = {
        "channels": n_coils,
        "enc": (n_readout, n_columns),
        "recon": recon,
        "maximum": n_columns - sum(padding) - 1,
        "center": n_columns // 2 - padding[0],
        "last_slice": n_slices - 1,
    } | (header_changes or {})
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        if header:
            file["ismrmrd_header"] = HEADER.format(**values).encode() if header is True else header
        if target:
            image = np.abs(random_kspace((n_slices, *recon), seed=1)).astype(np.float32)
            file[target] = image
            file.attrs["max"], file.attrs["norm"] = float(image.max()), float(np.linalg.norm(image))
        for name, data in datasets.items():
            file[name] = data
        file.attrs["acquisition"] = acquisition
        file.attrs["patient_id"] = "0b1c2d"
    return kspace


@pytest.fixture
def fastmri_file():
    return build_fastmri


@pytest.fixture
def fastmri_header():
    return HEADER


@pytest.fixture
def random_samples():
    return random_kspace
