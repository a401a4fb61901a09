"""A cohort on real anatomy: `mrisim cohort brain --anatomy FILE.nii`."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mrisim import formats
from mrisim.cli_cohort import cohort_app
from mrisim.errors import DataError
from mrisim.files import sha256_of_file

COLIN27 = Path("/usr/share/mricron/templates/ch2.nii.gz")
LABELS = Path("/usr/share/mricron/templates/aal.nii.gz")


@pytest.mark.skipif(not COLIN27.exists(), reason="Debian's mricron-data is not installed")
def test_a_real_head_gives_the_anatomy_and_its_path_is_written_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "heads"
    arguments = ["brain", "--patients", "1/0/0", "--slices", "1", "--matrix", "64", "--coils", "2", "--contrast", "t2"]
    result = CliRunner().invoke(
        cohort_app, [*arguments, "--anatomy", str(COLIN27), "--workers", "1", "--out", str(folder)]
    )
    assert result.exit_code == 0, result.output
    described = (folder / "dataset.json").read_text()
    assert sha256_of_file(COLIN27) in described
    assert "mricron" not in described
    scan = formats.read(next(folder.rglob("*.h5")))
    plain = CliRunner().invoke(cohort_app, [*arguments, "--workers", "1", "--out", str(tmp_path / "plain")])
    assert plain.exit_code == 0
    assert not np.array_equal(scan.kspace, formats.read(next((tmp_path / "plain").rglob("*.h5"))).kspace)


@pytest.mark.skipif(not LABELS.exists(), reason="Debian's mricron-data is not installed")
def test_a_label_map_is_no_anatomy(tmp_path: Path) -> None:
    result = CliRunner().invoke(cohort_app, ["brain", "--anatomy", str(LABELS), "--out", str(tmp_path / "o")])
    assert isinstance(result.exception, DataError)
    assert "label" in str(result.exception)
    assert not (tmp_path / "o").exists()
