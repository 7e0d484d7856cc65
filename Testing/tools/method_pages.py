"""Writes the facts of every engine and network method into its page of Docs/methods: `make pages`.

The text of a page is written by hand. The blocks between `<!-- begin NAME -->` and `<!-- end NAME -->` come from the
catalogues and from the result pages of the benchmarks, so a page cannot contradict them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "DeepVsClassicReg"))
METHODS = ROOT / "Docs" / "methods"
BENCH = ROOT / "Testing" / "bench"
KINDS = {
    "field": "Networks that predict a map",
    "metric": "Learned similarities",
    "features": "Learned features",
    "error": "Error estimation",
    "agent": "Agents",
    "segmentation": "Segmentation",
}
SUPERVISION = {
    "none": "images alone",
    "labels": "segmentations",
    "displacement": "known or computed displacements",
    "error": "known misalignments",
    "pose": "known rigid misalignments",
    "momentum": "momenta that LDDMM finds",
}
DATA_SETS = {
    "brain_malf_oasis": "brain, OASIS",
    "brain_lpba40": "brain, LPBA40",
    "brain_fs": "brain, FreeSurfer's bert",
    "brain_openms": "brain, MS, T1 and T2",
    "hippocampus_msd": "hippocampus",
    "lung_ct_elastix": "lung CT",
    "liver_mr_eth": "liver MR",
    "prostate_mr_us_demo": "prostate, MR to ultrasound",
    "abdomen_ct_mr_ts": "abdomen, MR to CT",
}
# Systems that a page of their own measures.
OWN_PAGES = {
    "agent": "AGENTS.md",
    "agent-deformable": "AGENTS.md",
    "rigid-agent": "AGENTS.md",
    "deformable-agent": "AGENTS.md",
    "learned-metric": "ERRORS.md",
    "haskins": "ERRORS.md",
    "simonovsky": "ERRORS.md",
    "eppenhof": "ERRORS.md",
    "segmenter": "STRUCTURES.md",
    "ssemnet": "STACKS.md",
    "synthmorph": "MODELS.md",
}
BLOCK = r"<!-- begin {name} -->\n.*?<!-- end {name} -->"
NEW_PAGE = """<!-- begin facts -->
<!-- end facts -->

## When to use it


## When not


## Measured

<!-- begin measured -->
<!-- end measured -->
"""


def linked(citation: str) -> str:
    """Return a citation whose DOIs and arXiv numbers are links.

    Examples
    --------
    >>> linked("A, 2020, doi 10.1000/x.1, arXiv 2003.12345")
    'A, 2020, doi [10.1000/x.1](https://doi.org/10.1000/x.1), arXiv [2003.12345](https://arxiv.org/abs/2003.12345)'
    """
    text = re.sub(r"doi (10\.[^\s,;)]+)", r"doi [\1](https://doi.org/\1)", citation)
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"arXiv [\1](https://arxiv.org/abs/\1)", text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def result_rows(page: str, first: str) -> list[dict[str, str]]:
    """Return the lines of the first table of a result page whose header begins with a title."""
    lines = iter((BENCH / page).read_text(encoding="utf-8").splitlines())
    header = next(cells(line) for line in lines if line.startswith(f"| {first} |"))
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append(dict(zip(header, cells(line), strict=True)))
    return found


def cells(line: str) -> list[str]:
    """Return the cells of a line of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def page_of(name: str, kind: str) -> Path:
    """Return the page of an engine or a network method."""
    return METHODS / kind / f"{name.replace('+', '-')}.md"


# ----------------------------------------------------------------------------------------------------------- engines
def engine_facts(info: Any) -> str:
    """Return title, summary, properties and paper of an engine."""
    packages = [need.title or need.package or need.name for need in info.requires]
    rows = [
        ["Name", f"`{info.name}`"],
        ["Family", info.family],
        ["Contrasts", "any pair of contrasts" if info.multimodal else "the same in both volumes"],
        ["Masks", "used" if info.uses_masks else "not used"],
        ["Segmentations and landmarks", "can be used" if info.uses_annotations else "only for the evaluation"],
        ["Devices", ", ".join(info.devices)],
        ["Packages", ", ".join(packages) if packages else "none beyond those of the library"],
        ["License", info.licence],
    ]
    return facts(info, rows, f"Settings and presets: `dvcreg engines --settings {info.name}`.")


def facts(info: Any, rows: list[list[str]], use: str) -> str:
    """Return title, summary, properties, how it is used, and paper."""
    properties = table(["Property", "Value"], rows)
    return "\n\n".join([f"# {info.title}", info.summary, properties, use, f"Paper: {linked(info.citation)}."])


def engine_measured(info: Any) -> str:
    """Return the results of an engine beside the linear start."""
    results = result_rows("RESULTS.md", "data set")
    starts = {row["data set"]: row for row in results if row["engine"] == "linear"}
    rows = []
    for row in results:
        if row["engine"].partition(":")[0] != info.name:
            continue
        start = starts[row["data set"]]
        values = [beside(row[name], start[name], info.name == "linear") for name in ("Dice", "TRE mm")]
        rows.append(
            [
                DATA_SETS[row["data set"]],
                row["done"].partition("/")[0],
                f"`{row['engine']}`",
                *values,
                percent(row["folds %"]),
                row["CPU s"],
            ]
        )
    if not rows:
        return elsewhere(info.name, "RESULTS.md")
    header = ["data set", "pairs", "run", "Dice (start)", "TRE mm (start)", "folded %", "CPU s"]
    source = "From [RESULTS.md](../../../Testing/bench/RESULTS.md), which describes data and protocol. In parentheses: "
    return source + "the linear alignment from which the engine starts.\n\n" + table(header, rows)


def elsewhere(name: str, expected: str) -> str:
    """Return where a system is measured that has no line in the usual table."""
    if name in OWN_PAGES:
        return f"See [{OWN_PAGES[name]}](../../../Testing/bench/{OWN_PAGES[name]})."
    return f"Not measured: [{expected}](../../../Testing/bench/{expected}) has no line for it."


def beside(value: str, start: str, alone: bool) -> str:
    """Return a value with that of the start in parentheses."""
    return value if alone or not value else f"{value} ({start})"


def percent(text: str) -> str:
    """Return a share of folded voxels in short."""
    value = float(text)
    return "0" if value == 0 else f"{value:.2g}"


# ---------------------------------------------------------------------------------------------------------- networks
def method_facts(info: Any) -> str:
    """Return title, summary, properties and paper of a network method."""
    rows = [
        ["Name", f"`{info.name}`"],
        ["Kind", KINDS[info.kind].lower()],
        ["Learns from", ", or ".join(SUPERVISION[name] for name in info.supervision)],
        ["Dimensions", " and ".join(f"{number}D" for number in info.dimensions)],
        ["Uncertainty", "predicts a distribution" if info.probabilistic else "none"],
    ]
    command = f"dvcreg train --method {info.name} --data FOLDER --hours 2 --out my-model"
    return facts(info, rows, f"Train it: `{command}` ([guide](../../guides/train.md)).")


def method_measured(info: Any) -> str:
    """Return the results of a method on hippocampus crops, beside those of `instance`."""
    results = result_rows("METHODS.md", "method")
    wanted = [row for row in results if row["method"].partition(" ")[0] == info.name and row["learned from"]]
    if not wanted:
        return elsewhere(info.name, "METHODS.md")
    names = ("learned from", "Dice in-domain", "Dice elsewhere", "folds %", "s per pair", "training CPU min")
    reference = next(row for row in results if row["method"] == "instance")
    rows = [[f"`{row['method']}`", *(row[name] for name in names)] for row in [*wanted, reference]]
    source = (
        "Hippocampus crops, from [METHODS.md](../../../Testing/bench/METHODS.md): trained on 180 of them, tested on "
    )
    source += "15 pairs of other subjects (in-domain) and on 22 pairs of crops of other data sets (elsewhere).\n\n"
    return source + table(["method", *names], rows)


# -------------------------------------------------------------------------------------------------------------- pages
def blocks() -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield every page with its generated blocks."""
    from DeepVsClassicRegLib.core.engines.catalogue import engine_infos
    from DeepVsClassicRegLib.core.networks.catalogue import method_infos

    engines, methods = engine_infos(), method_infos()
    for info in engines:
        yield page_of(info.name, "engines"), {"facts": engine_facts(info), "measured": engine_measured(info)}
    for info in methods:
        yield page_of(info.name, "networks"), {"facts": method_facts(info), "measured": method_measured(info)}
    yield METHODS / "index.md", {"engines": engine_list(engines), "networks": method_list(methods)}


def engine_list(infos: Sequence[Any]) -> str:
    """Return the table of all engines."""
    rows = [
        [f"[{info.title}](engines/{page_of(info.name, 'engines').name})", f"`{info.name}`", info.family, info.summary]
        for info in infos
    ]
    return table(["engine", "name", "family", "what it does"], rows)


def method_list(infos: Sequence[Any]) -> str:
    """Return the tables of all network methods, by kind."""
    parts = []
    for kind, title in KINDS.items():
        rows = [
            [f"[{info.title}](networks/{info.name}.md)", f"`{info.name}`", info.summary]
            for info in infos
            if info.kind == kind
        ]
        parts += [f"### {title}", table(["method", "name", "what it does"], rows)]
    return "\n\n".join(parts)


def updated(text: str, generated: dict[str, str]) -> str:
    """Return a page with its blocks replaced.

    Raises
    ------
    ValueError
        When the page lacks one of the blocks.
    """
    for name, content in generated.items():
        block = f"<!-- begin {name} -->\n{content}\n<!-- end {name} -->"
        text, count = re.subn(BLOCK.format(name=name), lambda _match, block=block: block, text, flags=re.S)
        if count != 1:
            raise ValueError(f"The page needs one block '{name}'.")
    return text


def main() -> None:
    """Write the pages; a page that does not exist yet is begun."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for path, generated in blocks():
        text = path.read_text(encoding="utf-8") if path.is_file() else NEW_PAGE
        path.write_text(updated(text, generated), encoding="utf-8")


if __name__ == "__main__":
    main()
