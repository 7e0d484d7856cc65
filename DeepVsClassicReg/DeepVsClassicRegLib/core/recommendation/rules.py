"""The recommendation of the paper as ordered rules, each with a condition, an effect on the ranking and a source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from ..result import DOUBTFUL_CONFIDENCE, FAILED_CONFIDENCE
from .advice import Reason
from .facts import Facts
from .limits import SEQUEL
from .strengths import expected_gain, ranked

MANY_LABELS = 100
LITTLE_OVERLAP = 0.3
LITTLE_SHARE = 0.15
LINEAR = "linear"
PAPER = "Jena et al., NeurIPS 2024, arXiv 2408.05839, section "
MEASURED = "measured, Testing/bench/RECOMMENDATION.md"
OWN = "own choice"


@dataclass(frozen=True)
class Plan:
    """The state of the recommendation after some rules.

    Attributes
    ----------
    ranking : tuple of str
        Entries, the best first.
    sure : bool
        Whether the evidence for the first one is sufficient.
    reasons : tuple of Reason
        The reasons so far.
    """

    ranking: tuple[str, ...] = ()
    sure: bool = True
    reasons: tuple[Reason, ...] = ()

    def with_first(self, *entries: str) -> Plan:
        """Return the plan with these entries moved to the front."""
        rest = tuple(entry for entry in self.ranking if entry not in entries)
        return dataclasses.replace(self, ranking=(*entries, *rest))

    def only(self, keep: Callable[[str], bool]) -> Plan:
        """Return the plan with the entries that fail the test moved to the end, in their order."""
        good = tuple(entry for entry in self.ranking if keep(entry))
        return dataclasses.replace(self, ranking=(*good, *(entry for entry in self.ranking if entry not in good)))

    def unsure(self) -> Plan:
        """Return the plan marked as not sure."""
        return dataclasses.replace(self, sure=False)


@dataclass(frozen=True)
class Rule:
    """One rule of the recommendation.

    Attributes
    ----------
    name, source : str
        Name in the advice; the paper or benchmark behind it.
    applies : callable
        (facts, current plan) -> whether it applies.
    words : callable
        (facts, current plan) -> the reason in plain words.
    act : callable
        (facts, current plan) -> new plan.
    """

    name: str
    source: str
    applies: Callable[[Facts, Plan], bool]
    words: Callable[[Facts, Plan], str]
    act: Callable[[Facts, Plan], Plan] = lambda facts, plan: plan


def apply_rules(facts: Facts) -> Plan:
    """Return the plan after applying all rules in order."""
    plan = Plan()
    for rule in RULES:
        if rule.applies(facts, plan):
            reason = Reason(rule.name, rule.words(facts, plan), rule.source)
            plan = rule.act(facts, plan)
            plan = dataclasses.replace(plan, reasons=(*plan.reasons, reason))
    return plan


def _all_classical(facts: Facts, plan: Plan) -> Plan:
    classical = ranked(facts.strengths, facts.kind, facts.entries("classical"))
    return dataclasses.replace(plan, ranking=(*classical, *facts.entries("deep"), *facts.entries(LINEAR)))


def _deep_first(facts: Facts, plan: Plan) -> Plan:
    # Refinement by intensities loses part of what labels taught: Dice 0.834 without and 0.760 with it on eight pairs of
    # hippocampus crops.
    deep = sorted(facts.entries("deep"), key=lambda entry: "refine" in entry)
    return plan.with_first(*deep)


def _multimodal_only(facts: Facts, plan: Plan) -> Plan:
    return plan.only(lambda entry: facts.engine(entry).multimodal or entry == LINEAR)


def _in_time(facts: Facts, plan: Plan) -> Plan:
    budget = facts.time_budget_s or 0.0
    kept = plan.only(lambda entry: facts.seconds.get(entry, float("inf")) <= budget)
    return kept if facts.seconds.get(kept.ranking[0], float("inf")) <= budget else kept.unsure()


def _too_slow(facts: Facts, plan: Plan) -> bool:
    if facts.time_budget_s is None or not plan.ranking:
        return False
    return facts.seconds.get(plan.ranking[0], float("inf")) > facts.time_budget_s


def _time_words(facts: Facts, plan: Plan) -> str:
    slow, budget = plan.ranking[0], facts.time_budget_s or 0.0
    quick = next((e for e in plan.ranking if facts.seconds.get(e, float("inf")) <= budget), None)
    known = facts.seconds.get(slow)
    cost = f"would take about {known:.0f} s" if known is not None else "has no measured run time"
    instead = f"{quick} does not" if quick else "no installed engine is known to be faster"
    return f"{slow} {cost}, more than the limit of {budget:g} s; {instead}."


def _measured_words(facts: Facts, plan: Plan) -> str:
    best = plan.ranking[0]
    own = facts.strengths.get(facts.kind, {}).get(best)
    value = expected_gain(facts.strengths, facts.kind, best) or 0.0
    where = f"{own.pairs} pairs of {own.datasets} datasets" if own else "other kinds of pairs only"
    return (
        f"Of the installed classical engines {best} is the most promising for {facts.kind}: measured on {where}, "
        f"it is expected to remove {100 * value:.0f} % of the error that remains after the linear alignment."
    )


def _gpu_first(facts: Facts, plan: Plan) -> Plan:
    return plan.with_first(plan.ranking[0], "fireants")


RULES: tuple[Rule, ...] = (
    Rule(
        "classical-by-default",
        f"{PAPER}7; {SEQUEL}",
        lambda facts, plan: True,
        lambda facts, plan: (
            "Classical optimization is the more accurate and reliable choice unless a large labeled training set from "
            "the same distribution is available."
        ),
        _all_classical,
    ),
    Rule(
        "no-training-labels",
        PAPER + "4 and 7",
        lambda facts, plan: facts.training_labels == 0,
        lambda facts, plan: (
            "No segmented cases for training: an unsupervised network is limited by the same mutual information of "
            "intensities and labels as a classical method; it is faster, not more accurate."
        ),
    ),
    Rule(
        "labels-not-representative",
        PAPER + "6 and 7",
        lambda facts, plan: facts.training_labels > 0 and facts.representative is False,
        lambda facts, plan: (
            f"The {facts.training_labels} segmented cases differ from this pair: the gain of a supervised network is "
            "lost when scanner, protocol or labeling differ. Label cases of this kind, or use a classical method."
        ),
    ),
    Rule(
        "few-training-labels",
        PAPER + "5 and 7 ('large labeled dataset'; the paper used 364 cases, the limit of 100 is our choice)",
        lambda facts, plan: 0 < facts.training_labels < MANY_LABELS and facts.representative is not False,
        lambda facts, plan: (
            f"{facts.training_labels} segmented cases are few: a network overfits them (limit {MANY_LABELS})."
        ),
    ),
    Rule(
        "train-supervised",
        PAPER + "5 and 7",
        lambda facts, plan: (
            facts.training_labels >= MANY_LABELS and facts.representative is not False and facts.fitting_model() is None
        ),
        lambda facts, plan: (
            f"{facts.training_labels} segmented cases are enough to train a supervised network (`dvcreg train`); in "
            "the paper such networks gained about 0.1 Dice on the trained labels, on images of the same kind only"
            + ("." if facts.representative else "; it is not known whether your cases resemble this pair.")
        ),
    ),
    Rule(
        "supervised-in-domain",
        PAPER + "5 and 7",
        lambda facts, plan: facts.fitting_model() is not None and bool(facts.entries("deep")),
        lambda facts, plan: (
            f"The network '{_fitting_name(facts)}' was trained with the requested labels on images like this pair"
            f"{_fitting_dice(facts)}."
        ),
        _deep_first,
    ),
    Rule(
        "model-out-of-domain",
        PAPER + "6",
        lambda facts, plan: any(m.domain is not None and not m.in_domain and not m.randomized for m in facts.models),
        lambda facts, plan: (
            "; ".join(
                f"The network '{m.name}' was trained on other images: {', '.join(m.domain.reasons[:2])}"
                for m in facts.models
                if m.domain is not None and not m.in_domain and not m.randomized
            )
            + ". Outside their domain supervised networks are less accurate than classical methods."
        ),
    ),
    Rule(
        "labels-not-supervised",
        PAPER + "5",
        lambda facts, plan: any(m.supervised and not m.randomized and m.covers_labels is False for m in facts.models),
        lambda facts, plan: (
            "No installed network was trained with the requested labels; supervision improves only the labels used in "
            "training."
        ),
    ),
    Rule(
        "randomized-model",
        PAPER + "6 (figure 5)",
        lambda facts, plan: any(model.randomized for model in facts.models) and bool(facts.entries("deep")),
        lambda facts, plan: (
            "The installed network trained on synthetic contrasts is the most robust kind, but was less accurate than "
            "classical methods on all datasets of the paper; use it when speed is important."
        ),
    ),
    Rule(
        "measured-best",
        MEASURED,
        lambda facts, plan: (
            bool(plan.ranking)
            and facts.engine(plan.ranking[0]).family == "classical"
            and expected_gain(facts.strengths, facts.kind, plan.ranking[0]) is not None
        ),
        _measured_words,
    ),
    Rule(
        "gpu",
        PAPER + "1",
        lambda facts, plan: facts.device == "cuda" and "fireants" in plan.ranking[1:],
        lambda facts, plan: "On a GPU a classical method (fireants) is as fast as a network; it is the runner-up.",
        _gpu_first,
    ),
    Rule(
        "different-contrasts",
        f"{MEASURED}; the paper did not study it (section 7), its sequel did: {SEQUEL}",
        lambda facts, plan: facts.same_contrast is False,
        lambda facts, plan: (
            f"The two volumes have different contrasts: {facts.contrast_words}. Engines for one contrast are ranked "
            "last; with the paper's settings greedy was worse than its linear start on such pairs."
        ),
        _multimodal_only,
    ),
    Rule(
        "time-budget",
        OWN,
        _too_slow,
        _time_words,
        _in_time,
    ),
    Rule(
        "alignment-failed",
        MEASURED,
        lambda facts, plan: facts.confidence is not None and facts.confidence < FAILED_CONFIDENCE,
        lambda facts, plan: (
            f"The linear alignment has low confidence ({100 * (facts.confidence or 0):.0f} %): no pose "
            "fits clearly better than chance, and engines for a single contrast often make such a start worse. "
            "First check that both volumes show the same body part, or use an initial transform or landmarks, "
            "and compare the result with the linear alignment."
        ),
        lambda facts, plan: _multimodal_only(facts, plan).unsure(),
    ),
    Rule(
        "alignment-doubtful",
        MEASURED,
        lambda facts, plan: (
            facts.confidence is not None and FAILED_CONFIDENCE <= facts.confidence < DOUBTFUL_CONFIDENCE
        ),
        lambda facts, plan: (
            f"The linear alignment is uncertain (confidence {100 * (facts.confidence or 0):.0f} %): check the overlay."
        ),
        lambda facts, plan: plan.unsure(),
    ),
    Rule(
        "little-overlap",
        OWN,
        lambda facts, plan: facts.overlap is not None and facts.overlap < LITTLE_OVERLAP,
        lambda facts, plan: (
            f"Only {100 * (facts.overlap or 0):.0f} % of the smaller object is visible in both volumes."
        ),
        lambda facts, plan: plan.unsure(),
    ),
    Rule(
        "little-information",
        PAPER + "4 and 5",
        lambda facts, plan: facts.label_share is not None and facts.label_share < LITTLE_SHARE,
        lambda facts, plan: (
            f"The intensities explain only {100 * (facts.label_share or 0):.0f} % of the entropy of these "
            "labels. Matching intensities improves the overlap only to a limit; beyond it only supervision on such "
            "images helps."
        ),
    ),
    Rule(
        "no-segmentation",
        OWN,
        lambda facts, plan: facts.label_share is None,
        lambda facts, plan: "Without a segmentation of the structures of interest no Dice can be predicted.",
    ),
    Rule(
        "beyond-calibration",
        MEASURED,
        lambda facts, plan: bool(facts.beyond),
        lambda facts, plan: f"No Dice is predicted: {facts.beyond}.",
        lambda facts, plan: plan.unsure(),
    ),
    Rule(
        "landmarks",
        OWN,
        lambda facts, plan: facts.landmarks > 0,
        lambda facts, plan: (
            f"The {facts.landmarks} landmark pairs evaluate the result; their error is more reliable than a Dice."
        ),
    ),
)


def _fitting_dice(facts: Facts) -> str:
    model = facts.fitting_model()
    if model is None or model.expected is None:
        return ""
    band = model.expected
    return f"; pairs it was not trained on had a Dice of {band.mean:.2f} (80 %: {band.low:.2f} to {band.high:.2f})"


def _fitting_name(facts: Facts) -> str:
    model = facts.fitting_model()
    return model.name if model else ""
