"""Made-up results of the GPU's benchmark, parts that are lost among them."""

from typing import Any


def systems(**seconds: float) -> dict[str, Any]:
    return {
        name: {
            "seconds": [value, value],
            "target_tokens_per_second": {"median": 1e6 / value},
            "sentences_per_second": {"median": 1e3 / value},
            "tokens_per_second": 1e4 / value,
            "share_of_matrix_peak": 0.45 / value,
            "peak_memory_gb": 20 * value,
        }
        for name, value in seconds.items()
    }


RECORD = {
    "card": {"name": "NVIDIA H100", "memory_gb": 85.0, "driver": "580.1", "cuda": "13.0"},
    "machine": "Xeon, 16 cores, Linux",
    "versions": {"torch": "2.11.0"},
    "precision": "bfloat16",
    "git_commit": "abc",
    "parts": {
        "CUDA tests": {"status": "done", "result": {"passed": 9, "skipped": 0, "failed": {}}},
        "training, base": {
            "status": "done",
            "result": {
                "settings": {"tokens": 25000},
                "systems": systems(**{"lit_transformer": 1.0, "torch.nn loop": 2.0, "Hugging Face Marian": 3.0}),
            },
        },
        "training, base, compiled": {
            "status": "done",
            "result": {
                "settings": {"tokens": 25000},
                "systems": systems(
                    **{
                        "lit_transformer": 1.0,
                        "torch.nn loop": 2.0,
                        "lit_transformer, compiled": 0.5,
                        "torch.nn loop, compiled": 1.5,
                    }
                ),
            },
        },
        "processes": {
            "status": "timed out",
            "error": "stopped after 9 s",
            "result": {
                "processes": {
                    "1": {"cells_per_hour": 100.0, "peak_memory_gb": 1.5},
                    "2": {"cells_per_hour": 150.0, "peak_memory_gb": 1.25},
                }
            },
        },
        "decoding, base": {
            "status": "done",
            "result": {
                "settings": {"beam": 4},
                "systems": systems(**{"lit_transformer": 1.0, "Hugging Face generate": 4.0}),
            },
        },
        "training, big": {"status": "no time"},
    },
}
