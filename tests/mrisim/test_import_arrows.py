"""Imports go one way: each layer knows only those beneath it, and the command lines are leaves."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYERS = [
    {
        "errors",
        "files",
        "import_warnings",
        "out_of_memory",
        "worker_threads",
        "gpu_probe",
        "fourier",
        "host_fft",
        "fft_kernels",
        "tiles",
        "lane_vectors",
        "gridding_vectors",
        "eigenvectors",
        "kernel_cache",
        "seeding",
        "scan",
        "provenance",
    },
    {"coil_sums", "plane_waves", "slice_batches", "gridding_kernels", "encoding_kernels", "finer_grid_kernels"},
    {"quality", "kaiser_bessel", "host_normal"},
    {"finer_grid", "reference", "coils", "echo_order", "counter_noise", "gridding", "prewhitening"},
    {"rigid"},
    {"espirit"},
    {"calibration", "g_factor", "encoding", "sparsity"},
    {"solvers"},
    {"reconstruct"},
    {"object_model"},
    {"artifacts"},
    {"formats", "datasets", "phantoms"},
    {"corrupt"},
    {"sidecar", "kinds", "testing"},
    {"items", "calibrate", "preview", "selftest", "doctor", "progress", "cohort"},
    {"job", "contact_sheet", "describe_scan"},
    {"batch", "dask", "output_folder", "replay"},
    {"cli"},
]
LAYER_OF = {name: depth for depth, names in enumerate(LAYERS) for name in names}
# scanner, default and brain need the coils' maps; formats synthesise them: both lie above the coils by design.


def _layer(module: str) -> int:
    first = module.split(".")[1] if "." in module else ""
    name = first.split("_")[0] if first.startswith(("cohort_", "cli_", "dask_")) else first
    return LAYER_OF.get(name, -1)


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "mrisim" else {node.module}
            )
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def test_layers_of_mrisim() -> None:
    for path in _modules("mrisim"):
        relative = path.relative_to(ROOT).with_suffix("")
        module = ".".join(relative.parts)
        own = _layer(module)
        assert own >= 0 or path.name == "__init__.py", f"{module} is in no layer"
        for imported in _imports(path):
            if imported.startswith("mrisim.") and path != ROOT / "mrisim" / "__init__.py":
                assert _layer(imported) <= own, f"{module} imports {imported}, which lies above it"


def test_mrisim_never_imports_diagnose() -> None:
    for path in _modules("mrisim"):
        assert not any(name.split(".")[0] in ("diagnose", "experiments") for name in _imports(path)), path


def test_nothing_imports_a_command_line() -> None:
    for path in _modules("mrisim") + _modules("diagnose"):
        if not path.name.startswith("cli"):
            assert not any(".cli" in name for name in _imports(path)), path


def test_click_is_never_imported() -> None:
    for path in _modules("mrisim") + _modules("diagnose"):
        assert "click" not in {name.split(".")[0] for name in _imports(path)}, path
