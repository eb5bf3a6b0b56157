"""Figures of others for seed 1996 of protocol A, as data: (waste in GBh, failed attempts), by trace.

Sizey: Bader et al., Sizey: Memory-Efficient Execution of Scientific Workflow Tasks (CLUSTER 2024), by their own
program, as are those of its peers: Witt et al. (HPCS 2019), Witt et al., Learning Low-Wastage Memory Allocations for
Scientific Workflows at IceCube (HPCS 2019), Tovar et al. (TPDS 2018).
"""

from __future__ import annotations

SEED = 1996
FIGURES: dict[str, dict[str, tuple[float, int]]] = {
    "methylseq": {
        "presets": (22596, 0),
        "Witt-LR std": (2718, 23),
        "Witt-LR stdUnder": (989, 146),
        "percentile 95": (4372, 35),
        "Witt low-wastage": (3565, 150),
        "Tovar": (4081, 58),
        "Sizey": (632, 99),
    },
    "eager": {
        "presets": (2305, 0),
        "Witt-LR std": (2628, 150),
        "Witt-LR stdUnder": (3585, 229),
        "percentile 95": (860, 65),
        "Witt low-wastage": (491, 269),
        "Tovar": (624, 39),
        "Sizey": (678, 160),
    },
    "rnaseq": {
        "presets": (1239, 0),
        "Witt-LR std": (81.0, 51),
        "Witt-LR stdUnder": (57.9, 82),
        "percentile 95": (128.9, 49),
        "Witt low-wastage": (176.4, 173),
        "Tovar": (195.3, 55),
        "Sizey": (43.6, 74),
    },
    "chipseq": {
        "presets": (260.6, 0),
        "Witt-LR std": (105.7, 232),
        "Witt-LR stdUnder": (136.3, 337),
        "percentile 95": (94.7, 114),
        "Witt low-wastage": (214.6, 423),
        "Tovar": (211.0, 102),
    },
    "mag": {
        "presets": (1955, 0),
        "Witt-LR std": (289.8, 813),
        "Witt-LR stdUnder": (301.0, 978),
        "percentile 95": (309.8, 232),
        "Witt low-wastage": (323.6, 1119),
        "Tovar": (309.4, 762),
    },
    "iwd": {
        "presets": (15.9, 0),
        "Witt-LR std": (42.5, 39),
        "Witt-LR stdUnder": (2.94, 319),
        "percentile 95": (1.44, 62),
        "Witt low-wastage": (0.55, 176),
        "Tovar": (16.7, 196),
    },
}
